"""Actions of the work on models: data and recipes, training, evaluation, conversion, and the answers served. Pure."""

from __future__ import annotations

from holdfast.audit.params import (
    COUNT,
    DIGEST,
    FLAG,
    NUMBER,
    SEQ,
    Choice,
    Fields,
    Hex,
    ListOf,
    MapOf,
    Nullable,
    Optional,
    Record,
    Text,
)
from holdfast.audit.registry.declare import Action, act, fact
from holdfast.audit.registry.shared import (
    ARTEFACT,
    ARTEFACTS,
    CALLED,
    FIGURES,
    KEY,
    LABEL,
    NAME,
    PERSON,
)

_TAKEN_IN: Fields = {"artefacts": ListOf(ARTEFACT, 1)}
_SCORES = MapOf(MapOf(MapOf(NUMBER, 256), 256), 16)  # by engine, suite and section
_REPLAYED: Fields = {
    "run": DIGEST,
    "adapter_digest": DIGEST,  # of what the run made: an adapter, or a whole model
    "replayed_digest": Nullable(DIGEST),  # none if the replay was ended where it diverged
    "equal": FLAG,
    "diverged": Nullable(COUNT),  # the first step whose state hash differs
    "differences": ListOf(Text(400), 64),  # of the two environments
    "seconds": NUMBER,
}
METHODS = ("sft", "cpt", "dpo")
TUNINGS = ("lora", "rslora", "dora", "full")
_MADE: Fields = {"adapter": Optional(DIGEST), "model": Optional(DIGEST)}  # exactly one of them
_JUDGED = Record(
    {
        "on": Text(64),  # the engine
        "suite": NAME,
        "section": NAME,
        "rule": Choice(("minimum", "improvement", "non_inferiority")),
        "holds": FLAG,
        "verdict": Choice(("better", "same", "worse within noise", "regression")),
    }
)
# Model ids that one event names: a base, its 64 adapters, and as many aliases as are served at once.
MAX_SERVED = 97
_MODEL = Text(512)  # a model's id: base and adapter, each with its version
_SEALED: Fields = {"commitments": MapOf(DIGEST, 4), "sealed_for": Hex(32)}
_ANSWER: Fields = {"model": _MODEL, "tenant": PERSON, **_SEALED}
_COUNTED: Fields = {
    **_ANSWER,
    "completion_tokens": COUNT,  # of all choices
    "cached_tokens": COUNT,  # of the prompt that needed no computing
    "milliseconds": NUMBER,  # from the request to the end of its answer
    "first_ms": Nullable(NUMBER),  # until the first token; none if there was none
    "processor_ms": NUMBER,  # processor time over all cores
}

_SERVED = ListOf(
    Record({"id": _MODEL, "digest": DIGEST, "label": LABEL, "release": Nullable(SEQ)}), MAX_SERVED
)
_DIED: Fields = {"how": Text(400), "deaths": COUNT}  # of those within the window that counts

ACTIONS: tuple[tuple[Action, ...], ...] = (
    act(
        "dataset.prepare",
        "Preparing a data set",
        "{who} prepares the data set {name} from {files} files for {method}[, compared with {suites#} suites]",
        {
            "name": NAME,
            "method": Choice(METHODS),
            "files": COUNT,
            "quarantine": FLAG,
            "heldout": NUMBER,
            "suites": MapOf(DIGEST, 64),
        },
        done={
            "dataset": DIGEST,
            "artefacts": ARTEFACTS,
            "form": Choice(("messages", "completion", "text", "preference")),
            "rows": COUNT,
            "held_out": COUNT,
            "quarantined": COUNT,
            "duplicates": COUNT,
            "near_duplicates": COUNT,
            "overlap": MapOf(COUNT, 64),
        },
        done_says="{who} prepared the data set {dataset}: {rows} rows to train on, {held_out} held out, {quarantined} set aside",
        serves="CM-8 SI-7 SR-4",
    ),
    fact(
        "recipe.added",
        "A recipe was added.",
        "{who} added the recipe[ {it}]",
        _TAKEN_IN,
        serves="CM-3 CM-8 SR-4",
    ),
    act(
        "train.run",
        "A training run",
        "{who} trains {base_name} by the recipe {recipe_name} with {datasets#} data sets[, going on from run {resumes}]",
        {
            "recipe": DIGEST,
            "recipe_name": CALLED,
            "base": DIGEST,
            "base_name": NAME,
            "tokenizer": DIGEST,
            "data": MapOf(DIGEST, 128),
            "datasets": ListOf(DIGEST, 128),
            "method": Choice(METHODS),
            "tuning": Choice(TUNINGS),
            "quarantine": FLAG,
            "suite": Optional(DIGEST),  # by which it may stop early
            "resumes": Nullable(SEQ),
        },
        done={
            "run": DIGEST,
            **_MADE,
            "artefacts": ARTEFACTS,
            "steps": COUNT,
            "tokens": COUNT,
            "tokens_per_second": NUMBER,
            "seconds": NUMBER,
            "final_loss": Nullable(NUMBER),
            "stopped_early": FLAG,
            "telemetry": DIGEST,
            "states": DIGEST,
            "estimate": FIGURES,
            "figures": FIGURES,
        },
        done_says="{who} trained[ the adapter {adapter}][ the model {model}] in {steps} steps over {tokens} tokens[, loss {final_loss}]",
        short={"steps": COUNT, "figures": FIGURES},
        serves="CM-3 SR-4",
    ),
    fact(
        "train.discarded",
        "The checkpoints of a stopped run were given up.",
        "{who} gave up the checkpoints of run {run}, {bytes} bytes",
        {"run": SEQ, "bytes": COUNT},
        serves="CM-3",
    ),
    act(
        "train.estimate",
        "Estimating a training run",
        "{who} has a run of the recipe {recipe_name} on {base_name} estimated",
        {
            "recipe": DIGEST,
            "recipe_name": CALLED,
            "base": DIGEST,
            "base_name": NAME,
            "tokenizer": DIGEST,
            "data": MapOf(DIGEST, 128),
        },
        done={"estimate": FIGURES},
        done_says="{who} had a run estimated",
        serves="CM-3",
    ),
    act(
        "train.replay",
        "Replaying a training run",
        "{who} replays the run {run}",
        {"run": DIGEST},
        done=_REPLAYED,
        done_says="{who} replayed the run {run}; the adapters are equal: {equal}",
        short=_REPLAYED,
        serves="SI-7 SR-4",
    ),
    act(
        "eval.run",
        "An evaluation",
        "{who} evaluates[ the run {run}][ the base {base}][ the model {model}][ with the adapter {adapter}] on {suites#} suites[: {suites}]",
        {
            "suites": MapOf(DIGEST, 64),
            "run": Optional(DIGEST),
            "base": Optional(DIGEST),
            "model": Optional(DIGEST),
            "adapter": Optional(Nullable(DIGEST)),
            "engine": Optional(Text(64)),
        },
        done={
            "scores": _SCORES,
            "artefacts": ARTEFACTS,
            "run": Optional(DIGEST),
            "evaluation": Optional(DIGEST),
        },
        done_says="{who} evaluated[ the run {run}] in {scores#} ways",
        serves="CA-7 CM-3 SI-7",
    ),
    fact(
        "gate.decided",
        "The gate compared two evaluations and decided whether a model may be used.",
        "The gate decided on[ the adapter {adapter}][ the model {model}]: go is {go}[, because {reasons}]",
        {
            "run": DIGEST,
            **_MADE,
            "evaluation": DIGEST,
            "suites": MapOf(DIGEST, 64),
            "go": FLAG,
            "reasons": ListOf(Text(1_000), 256),
            "judged": ListOf(_JUDGED, 256),
        },
        serves="CM-3 CM-5 SI-7",
    ),
    act(
        "model.quantize",
        "Quantizing a model",
        "{who} quantizes the base {base}[ with the adapter {adapter}][ to {quantizations}][, calibrated on {calibration}]",
        {
            "base": DIGEST,
            "adapter": Nullable(DIGEST),
            "quantizations": ListOf(Text(32), 64),  # those that are measured
            "keep": Optional(
                Choice(("all", "chosen", "none"))
            ),  # of the files; chosen: the smallest that keeps the floor
            "floor": Optional(Record({"kl": NUMBER, "top1": NUMBER, "cosine": NUMBER})),
            "memory": Optional(COUNT),  # most bytes of the file
            "calibration": Optional(DIGEST),
            "overrides": Optional(ListOf(Text(256), 64)),
            "suite": Optional(DIGEST),
        },
        done={
            "fidelity": FIGURES,
            "adapter_fidelity": Optional(FIGURES),
            "chosen": Optional(Nullable(Text(32))),
            "report": Optional(DIGEST),
            "artefacts": ARTEFACTS,
        },
        done_says="{who} made {artefacts#} artefacts by quantizing[; {chosen} keeps the floor]",
        short={"fidelity": FIGURES, "adapter_fidelity": FIGURES},
        serves="CM-3 SI-7 SR-4",
    ),
    act(
        "model.merge",
        "Merging an adapter into its base",
        "{who} merges the adapter {adapter} into the base {base}",
        {"base": DIGEST, "adapter": DIGEST},
        done={"model": DIGEST, "likeness": FIGURES, "artefacts": ARTEFACTS},
        done_says="{who} made the model {model}",
        serves="CM-3 SI-7 SR-4",
    ),
    act(
        "serve.start",
        "Starting to serve",
        "{who} starts to serve {model}[ with the adapters {adapters}][, released as {released}]",
        {
            "model": NAME,
            "gguf": DIGEST,
            "adapters": ListOf(DIGEST, 64),
            "released": MapOf(SEQ, 32),
            "context": Optional(COUNT),  # tokens
            "parallel": Optional(COUNT),
            "kv": Optional(Choice(("f16", "q8_0"))),
        },
        done={"address": Text(256), "models": _SERVED},
        done_says="{who} serves {models#} models at {address}",
        serves="CM-3 SI-7",
    ),
    act(
        "serve.change",
        "Changing what is served",
        "{who} {change}s {model} in what event {started} started[, with the adapters {adapters}]",
        {
            "started": SEQ,
            "change": Choice(("load", "unload")),
            "model": _MODEL,
            "gguf": Optional(DIGEST),
            "adapters": Optional(ListOf(DIGEST, 64)),
        },
        done={"models": _SERVED},
        done_says="{who} serves {models#} models from now on",
        serves="CM-3 SI-7",
    ),
    act(
        "serve.stop",
        "Stopping to serve",
        "{who} stops serving what event {started} started[ ({why}): {models}]",
        {
            "started": SEQ,
            "why": Optional(Choice(("revoked",))),
            "models": Optional(MapOf(DIGEST, MAX_SERVED)),
        },
        done={"started": SEQ, "models": Optional(ListOf(_MODEL, MAX_SERVED)), "told": Optional(FLAG)},
        done_says="{who} stopped serving what event {started} started[: {models}]",
        serves="CM-3 IR-4",
        essential=True,
    ),
    fact(
        "serve.engine.died",
        "A process that computes answers ended by itself; what it was computing is lost.",
        "{who} saw an engine[ of {models}] die (death {deaths})[, to start it again in {seconds} seconds]: {how}",
        {"models": ListOf(_MODEL, MAX_SERVED), **_DIED, "seconds": Optional(NUMBER)},
        serves="IR-5 SI-4",
        essential=True,
    ),
    fact(
        "serve.engine.restarted",
        "A process that computes answers took the place of one that had ended.",
        "{who} has an engine[ of {models}] up again after {seconds} seconds[, without the adapters {without}]",
        {
            "models": ListOf(_MODEL, MAX_SERVED),
            "deaths": COUNT,
            "seconds": NUMBER,
            "without": Optional(ListOf(DIGEST, MAX_SERVED)),
        },
        serves="IR-4",
        essential=True,
    ),
    fact(
        "serve.engine.withdrawn",
        "What computes answers ended too often and is not started again by itself.",
        "{who} took an engine[ of {models}] out after {deaths} deaths; the last: {how}",
        {"models": ListOf(_MODEL, MAX_SERVED), **_DIED},
        serves="IR-4 IR-5",
        essential=True,
    ),
    fact(
        "serve.front.died",
        "The process that speaks to applications ended by itself; answers under way are lost.",
        "{who} saw the front of serving die (death {deaths})[, to start it again in {seconds} seconds]: {how}",
        {**_DIED, "seconds": Optional(NUMBER)},
        serves="IR-5 SI-4",
        essential=True,
    ),
    fact(
        "serve.front.restarted",
        "A process that speaks to applications took the place of one that had ended.",
        "{who} has the front of serving up again after {seconds} seconds",
        {"deaths": COUNT, "seconds": NUMBER},
        serves="IR-4",
        essential=True,
    ),
    fact(
        "serve.key.created",
        "A key for applications was created.",
        "{who} created the key {key} for {tenant}, cleared for {record.clearance.level}[, to be used for {record.scopes}]",
        {
            "key": Text(64),
            "tenant": PERSON,
            "record": Record(
                {
                    "id": Text(64),
                    "tenant": PERSON,
                    "models": ListOf(_MODEL, 64),  # ids, a base with :* behind it, or *
                    "clearance": LABEL,
                    "scopes": ListOf(Choice(("inference", "metrics")), 2),
                    "quota": Record(
                        {
                            "requests_per_minute": Nullable(COUNT),
                            "tokens_per_day": Nullable(COUNT),
                            "parallel": Nullable(COUNT),
                        }
                    ),
                }
            ),
        },
        serves="AC-2 AC-6(9) IA-5 IA-9",
    ),
    fact(
        "serve.key.revoked",
        "A key for applications was revoked.",
        "{who} revoked the key {key}",
        {"key": Text(64)},
        serves="AC-2 AC-6(9) IA-5 IA-9",
    ),
    fact(
        "serve.refused",
        "Applications' requests were refused; how many in how many seconds.",
        "{who} refused {count} requests of applications in {seconds} seconds[: {reasons}]",
        {"count": COUNT, "seconds": NUMBER, "reasons": MapOf(COUNT, 64), "keys": MapOf(COUNT, 64)},
        serves="AC-3 AC-7 IA-9 IR-5 SI-4",
        producer="serve",
    ),
    act(
        "answer",
        "Answering an application's request",
        "{who} asks {model}[ (release {release})], with a prompt of {prompt_tokens} tokens",
        {
            "model": _MODEL,
            "model_digest": DIGEST,
            "adapter_digest": Nullable(DIGEST),
            "tenant": PERSON,
            "key": Text(64),
            "kind": Choice(("chat", "completion", "embedding", "tokenize", "detokenize")),
            "prompt_tokens": COUNT,
            "release": Optional(SEQ),  # the request of the release that the model id is an alias of
            **_SEALED,
        },
        done={**_COUNTED, "finish_reason": Nullable(Choice(("stop", "length")))},
        done_says="{model} answered {who}[ (event {cause})] with {completion_tokens} tokens in {milliseconds} ms",
        endings={
            "failed": {**_ANSWER, "error": KEY, "completion_tokens": Optional(COUNT)},
            "cancelled": {**_COUNTED, "finish_reason": Choice(("cancelled",))},
        },
        endings_say={
            "failed": "{model} gave {who}[ (event {cause})] no answer: {error}",
            "cancelled": "{who} stopped listening to {model}[ (event {cause})] after {completion_tokens} tokens",
        },
        serves="AC-3 AU-10 IA-9 SC-28 SR-4",
        producer="serve",
    ),
)
