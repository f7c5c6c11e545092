"""Requests in OpenAI's form, strictly read: a parameter that is unknown or not supported is refused by its name.

Invariants: what passes is bounded in every size; texts are encodable as UTF-8; nothing is ignored in silence.

Source: the OpenAI API reference, ``/v1/chat/completions`` and ``/v1/completions``.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from holdfast import canonical
from holdfast.errors import UntrustedRequest

MAX_MESSAGES = 1024  # of one request; longer conversations exceed any context here
MAX_PARTS = 64  # text parts of one message
MAX_STOPS = 4  # as OpenAI allows
MAX_STOP = 256  # characters of a stop string; all of them are held back while they may begin
MAX_USER = 128  # characters of the name that an application gives its own user
MAX_TEMPERATURE = 2.0  # as OpenAI allows
COMPLETION_DEFAULT = 16  # tokens of a text completion unless asked otherwise, as OpenAI does


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Stop = Annotated[Text, Field(min_length=1, max_length=MAX_STOP)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TextPart(_Strict):
    """A part of a message; only text is supported."""

    type: Literal["text"]
    text: Text


class Message(_Strict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS)]

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(_Strict):
    """What a stream holds besides the answer."""

    include_usage: bool = False


class _Request(_Strict):
    """What both kinds of request share."""

    model: Annotated[Text, Field(min_length=1, max_length=260)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Literal[1] | None = None
    user: Annotated[Text, Field(max_length=MAX_USER)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted piece by piece."""
        return bool(self.stream)

    @property
    def wants_usage(self) -> bool:
        """Whether the stream ends with counts."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(_Request):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def most(self) -> int | None:
        """Tokens to answer with at most, if the client says so."""
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens


class CompletionRequest(_Request):
    """``POST /v1/completions``."""

    prompt: Text

    @property
    def most(self) -> int | None:
        """Tokens to answer with at most."""
        return COMPLETION_DEFAULT if self.max_tokens is None else self.max_tokens


_R = TypeVar("_R", ChatRequest, CompletionRequest)


def read(kind: type[_R], body: bytes, limit: int) -> _R:
    """Read a request's body.

    Args:
        kind: What it should be.
        body: The bytes received.
        limit: The most bytes allowed.

    Returns:
        The request.

    Raises:
        UntrustedRequest: If it is no JSON, or a parameter is unknown, missing or out of bounds. The fields ``param`` and
            ``code`` are those of OpenAI's errors.
    """
    value = canonical.decode(body, limit=limit, what="The request", error=UntrustedRequest)
    if not isinstance(value, dict):
        raise _refused(None, "The request is not a JSON object.", "invalid_type")
    try:
        request = kind.model_validate(value)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else None
        where = ".".join(str(part) for part in first["loc"])[:200]
        if first["type"] == "extra_forbidden":
            raise _refused(
                where, f"The parameter {where} is not supported here.", "unsupported_parameter"
            ) from problem
        if first["type"] == "missing":
            raise _refused(
                where, f"The parameter {where} is missing.", "missing_required_parameter"
            ) from problem
        raise _refused(
            name, f"The parameter {where} is refused: {first['msg']}.", "invalid_value"
        ) from problem
    if request.stream_options is not None and not request.streams:
        raise _refused(
            "stream_options", "The parameter stream_options needs stream to be true.", "invalid_value"
        )
    return request


def _refused(param: str | None, message: str, code: str) -> UntrustedRequest:
    return UntrustedRequest(
        f"serve.{code.replace('_', '-')}",
        message,
        remedy="Send only parameters that the documentation of this server lists.",
        param=param,
        code=code,
    )
