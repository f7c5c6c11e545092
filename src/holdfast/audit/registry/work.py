"""Actions of the work on models: data and recipes, training, evaluation, and conversion. Pure."""

from __future__ import annotations

from holdfast.audit.params import (
    COUNT,
    DIGEST,
    FLAG,
    NUMBER,
    SEQ,
    Choice,
    Fields,
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
    NAME,
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
)
