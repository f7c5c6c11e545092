"""The OpenAPI 3.1 document of the endpoint, made from the classes that requests are read by and answers are made to.

Invariant: an operation lists every status that it can answer with.

Source: the OpenAPI Specification 3.1.0; JSON Schema 2020-12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pydantic.json_schema import models_json_schema

from holdfast.serving.api import requests, responses
from holdfast.serving.front.deadline import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from holdfast.canonical import Json

VERSION = "3.1.0"
REFERENCE = "#/components/schemas/{model}"
_JSON = "application/json"
_EVENTS = "text/event-stream"
_TEXT = "text/plain"
REASONS = {
    400: "A parameter is unknown, not supported, missing or out of bounds; the error names it.",
    401: "No valid key was presented.",
    403: "The key does not open this path.",
    404: "The model does not exist, or the key does not open it.",
    408: "The body did not arrive in time.",
    410: "The model was revoked by its publisher.",
    413: "The body is too long.",
    429: "Too many requests wait, or a quota of the key is used up.",
    431: "The request's head is too long.",
    500: "The request could not be answered.",
    503: "The model is not there now, the answer took too long, or the audit log takes no new acts.",
}
_ANY = (400, 401, 403, 429, 431, 500, 503)
_NAMING = (404, 410)
_BODY = (408, 413)
_AGAIN = (429, 503)
_RECEIPTS = {
    "x-holdfast-request-receipt": "The sequence number of the request in the audit log; it was synced before this answer.",
    "x-holdfast-label": "The label of the answer.",
    "x-holdfast-model-digest": "The digest of the model.",
}
_SOMETIMES = {
    "x-holdfast-adapter-digest": "The digest of the adapter, if there is one.",
    "x-holdfast-release": "The request of the release that the model's name stands for, if it is one.",
}


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Args:
        path: The path.
        method: In lower case.
        name: Its id in the document.
        summary: What it does.
        answer: What it answers with; None for text that is no JSON.
        asks: What it reads, if it has a body.
        statuses: The errors it can answer with.
        chunk: What the events of its stream hold, if it streams.
        receipt: Whether it is recorded, hence answered with receipts.
    """

    path: str
    method: str
    name: str
    summary: str
    answer: type[BaseModel] | None
    asks: type[BaseModel] | None = None
    statuses: tuple[int, ...] = _ANY
    chunk: type[BaseModel] | None = None
    receipt: bool = False


def _recorded(  # noqa: PLR0917 - one line of the table below
    path: str,
    name: str,
    summary: str,
    asks: type[BaseModel],
    answer: type[BaseModel],
    chunk: type[BaseModel] | None = None,
) -> Operation:
    statuses = _ANY + _NAMING + _BODY
    return Operation(path, "post", name, summary, answer, asks, statuses, chunk, receipt=True)


OPERATIONS = (
    Operation("/v1/models", "get", "listModels", "List the models that the key opens.", responses.Models),
    Operation(
        "/v1/models/{model}",
        "get",
        "getModel",
        "Describe a model.",
        responses.Model,
        statuses=_ANY + _NAMING,
    ),
    _recorded(
        "/v1/chat/completions",
        "createChatCompletion",
        "Answer a conversation.",
        requests.ChatRequest,
        responses.ChatCompletion,
        responses.ChatCompletionChunk,
    ),
    _recorded(
        "/v1/completions",
        "createCompletion",
        "Continue texts.",
        requests.CompletionRequest,
        responses.Completion,
        responses.CompletionChunk,
    ),
    _recorded(
        "/v1/embeddings",
        "createEmbeddings",
        "Turn texts into vectors.",
        requests.EmbeddingRequest,
        responses.Embeddings,
    ),
    _recorded(
        "/tokenize",
        "tokenize",
        "Turn a text or a conversation into token ids.",
        requests.TokenizeRequest,
        responses.Tokenized,
    ),
    _recorded(
        "/detokenize",
        "detokenize",
        "Turn token ids into text.",
        requests.DetokenizeRequest,
        responses.Detokenized,
    ),
    Operation("/health", "get", "health", "Say whether answers are computed.", responses.Health),
    Operation("/metrics", "get", "metrics", "Give counters for Prometheus.", None),
    Operation("/openapi.json", "get", "openapi", "Give this document.", responses.Document),
)


def document() -> dict[str, Json]:
    """Make the document.

    Returns:
        Its JSON object.
    """
    asked = {operation.asks for operation in OPERATIONS if operation.asks}
    given = {responses.Error} | {
        one for operation in OPERATIONS for one in (operation.answer, operation.chunk) if one
    }
    return {
        "openapi": VERSION,
        "info": {
            "title": "Holdfast",
            "version": "1",
            "description": "An OpenAI-compatible endpoint. Every answer is on the audit log before its last byte; its receipts "
            "are in the headers and in `holdfast`.",
        },
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(asked, given),
        },
    }


def _schemas(asked: Iterable[type[BaseModel]], given: Iterable[type[BaseModel]]) -> Json:
    inputs = [(one, "validation") for one in sorted(asked, key=lambda one: one.__name__)]
    outputs = [(one, "serialization") for one in sorted(given, key=lambda one: one.__name__)]
    _, made = models_json_schema([*inputs, *outputs], ref_template=REFERENCE)  # type: ignore[list-item]  # the modes are literals
    return cast("Json", made["$defs"])


def _paths() -> dict[str, Json]:
    found: dict[str, Json] = {}
    for operation in OPERATIONS:
        found[operation.path] = {operation.method: _operation(operation)}
    return found


def _operation(operation: Operation) -> Json:
    described: dict[str, Json] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {"200": _success(operation), **_errors(operation)},
    }
    parameters: list[Json] = []
    if "{model}" in operation.path:
        parameters.append(
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        )
    if operation.asks is not None:
        described["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": _reference(operation.asks)}},
        }
        parameters.append(
            {
                "name": HEADER,
                "in": "header",
                "description": "Seconds that the client waits for the whole answer.",
                "schema": {"type": "string", "pattern": r"^(?=.*[1-9])[0-9]{1,6}(\.[0-9]{1,3})?$"},
            }
        )
    if parameters:
        described["parameters"] = parameters
    return described


def _success(operation: Operation) -> Json:
    content: dict[str, Json] = {_TEXT: {"schema": {"type": "string"}}}
    words = "Done."
    if operation.answer is not None:
        content = {_JSON: {"schema": _reference(operation.answer)}}
    if operation.chunk is not None:
        words = f"The answer; with `stream`, events of `{operation.chunk.__name__}`, then `[DONE]`."
        content[_EVENTS] = {}
    headers: dict[str, Json] = {}
    if operation.receipt:
        headers = {name: _header(words, required=True) for name, words in _RECEIPTS.items()}
        headers |= {name: _header(words, required=False) for name, words in _SOMETIMES.items()}
    return {"description": words, "content": content, "headers": headers}


def _errors(operation: Operation) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for status in sorted(operation.statuses):
        described: dict[str, Json] = {
            "description": REASONS[status],
            "content": {_JSON: {"schema": _reference(responses.Error)}},
        }
        if operation.name == "health" and status == 503:  # noqa: PLR2004 - the one error that is an answer
            described["content"] = {
                _JSON: {"schema": {"anyOf": [_reference(responses.Health), _reference(responses.Error)]}}
            }
        elif status in _AGAIN:
            described["headers"] = {
                "retry-after": _header("Seconds after which to come again.", required=True)
            }
        found[str(status)] = described
    return found


def _header(words: str, *, required: bool) -> Json:
    return {"description": words, "required": required, "schema": {"type": "string"}}


def _reference(model: type[BaseModel]) -> dict[str, Json]:
    return {"$ref": REFERENCE.format(model=model.__name__)}
