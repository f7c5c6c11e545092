"""Actions of serving: what is served and what keeps it running, applications' keys, requests, and answers. Pure."""

from __future__ import annotations

from holdfast.audit.params import (
    COUNT,
    DIGEST,
    FLAG,
    NUMBER,
    SEQ,
    TIME,
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
from holdfast.audit.registry.shared import KEY, LABEL, NAME, PERSON

# Model ids that one event names: a base, its 64 adapters, and as many aliases as are served at once.
MAX_SERVED = 97
_MODEL = Text(512)  # a model's id: base and adapter, each with its version
ROUTES = (  # of the endpoint, that ask for something; any other path is `other`
    "/v1/models",
    "/v1/models/{model}",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/tokenize",
    "/detokenize",
    "/openapi.json",
    "other",
)
HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other")
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
_ASKED: Fields = {  # nothing that an application writes
    "tenant": PERSON,
    "key": Text(64),
    "route": Choice(ROUTES),
    "method": Choice(HTTP_METHODS),
}
_DIED: Fields = {"how": Text(400), "deaths": COUNT}  # of those within the window that counts

ACTIONS: tuple[tuple[Action, ...], ...] = (
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
        "{who} {change}s[ {model}][ the certificate, {certificate} until {until},] in what event {started} started"
        "[, with the adapters {adapters}]",
        {
            "started": SEQ,
            "change": Choice(("load", "unload", "renew")),
            "model": Optional(_MODEL),
            "gguf": Optional(DIGEST),
            "adapters": Optional(ListOf(DIGEST, 64)),
            "certificate": Optional(DIGEST),  # of its DER form; `renew` names no model
            "until": Optional(TIME),
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
        "serve.request",
        "Handling a request of an application that no model answers",
        "{who} asks with {method} for {route}",
        _ASKED,
        done={**_ASKED, "status": COUNT},
        done_says="{who} was given {route}[ (event {cause})]",
        endings={"failed": {**_ASKED, "status": COUNT, "error": KEY}},
        endings_say={"failed": "{who} was refused {route}[ (event {cause})]: {error} (HTTP status {status})"},
        serves="AC-3 IA-9",
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
            "failed": {**_COUNTED, "error": KEY},
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
