"""Requests, strictly read: a parameter that is unknown, not supported or out of bounds is refused by its name.

Invariants: what passes is bounded in every size; nothing is ignored in silence. The OpenAPI document and the tables in
``docs/serving-api.md`` are these classes, written down.

Source: the OpenAI API reference for ``/v1/…``; the README of llama.cpp's server for ``/tokenize`` and ``/detokenize``.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from holdfast.serving.api.parameters import (
    MAX_TOP_LOGPROBS,
    Generation,
    ModelId,
    NotSupported,
    ParameterError,
    Strict,
    User,
)
from holdfast.serving.spec import MAX_CONTEXT

MAX_MESSAGES = 1024  # of one request; longer conversations exceed any context here
MAX_PARTS = 64  # text parts of one message
MAX_PROMPTS = 64  # of one request; each takes a place in the queue
MAX_INPUTS = 256  # texts of one request for embeddings
MAX_TOKENS = 2**17  # token ids in one list; a body of the largest size can hold no more
MAX_TOKEN = 10_000_000  # the highest token id that is looked up; no vocabulary here is larger
COMPLETION_DEFAULT = 16  # tokens of a text completion unless asked otherwise, as OpenAI does

Token = Annotated[int, Field(ge=0, lt=MAX_TOKEN)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=MAX_TOKENS, fail_fast=True)]


class TextPart(Strict):
    """A part of a message; only text is supported."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """One turn of a conversation. Members that OpenAI's answers hold may be sent back as null."""

    role: Literal["developer", "system", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS, fail_fast=True)]
    name: NotSupported = None
    refusal: NotSupported = None
    annotations: NotSupported = None
    audio: NotSupported = None
    function_call: NotSupported = None
    tool_calls: NotSupported = None

    @property
    def turn(self) -> dict[str, str]:
        """What a chat template is given; ``developer`` is OpenAI's newer name of ``system``."""
        whole = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": whole}


Messages = Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]


class ChatRequest(Generation):
    """``POST /v1/chat/completions``."""

    messages: Messages = Field(description="The conversation so far, as texts.")
    max_tokens: Annotated[int, Field(ge=1, le=MAX_CONTEXT)] | None = Field(
        None, description="Tokens of an answer at most; unset is the server's limit."
    )
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_CONTEXT)] | None = Field(
        None, description="OpenAI's newer name of `max_tokens`; not both."
    )
    logprobs: bool | None = Field(None, description="Give the log-probability of each token.")
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None, description="Give as many alternatives for each token; only with `logprobs`."
    )
    audio: NotSupported = None
    function_call: NotSupported = None
    functions: NotSupported = None
    metadata: NotSupported = None
    modalities: NotSupported = None
    moderation: NotSupported = None
    parallel_tool_calls: NotSupported = None
    prediction: NotSupported = None
    prompt_cache_key: NotSupported = None
    prompt_cache_options: NotSupported = None
    prompt_cache_retention: NotSupported = None
    reasoning_effort: NotSupported = None
    safety_identifier: NotSupported = None
    service_tier: NotSupported = None
    store: NotSupported = None
    tool_choice: NotSupported = None
    tools: NotSupported = None
    verbosity: NotSupported = None
    web_search_options: NotSupported = None

    @property
    def most(self) -> int | None:
        """Tokens to answer with at most, if the client says so."""
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens

    @property
    def default(self) -> int | None:
        """Tokens to answer with at most if it does not; None for as many as are allowed."""
        return None

    @property
    def alternatives(self) -> int | None:
        """Alternatives for each token; None if no log-probabilities are wanted."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ParameterError("max_tokens", "is given beside max_completion_tokens; give one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise ParameterError("top_logprobs", "needs logprobs to be true")
        return self


class CompletionRequest(Generation):
    """``POST /v1/completions``."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]
    ) = Field(description="A text, texts, token ids, or lists of token ids.")
    max_tokens: Annotated[int, Field(ge=0, le=MAX_CONTEXT)] | None = Field(
        None,
        description="Tokens of an answer at most; unset is 16, or the server's limit if that is less. 0 only with `echo`.",
    )
    echo: bool | None = Field(None, description="Give the prompt back before its continuation.")
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None,
        description="Give each token's log-probability, and that of as many alternatives; with `echo` the prompt's too.",
    )
    best_of: NotSupported = None
    suffix: NotSupported = None

    @property
    def most(self) -> int | None:
        """Tokens to answer with at most, if the client says so."""
        return self.max_tokens

    @property
    def default(self) -> int | None:
        """Tokens to answer with at most if it does not."""
        return COMPLETION_DEFAULT

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, one or several, all texts or all token ids."""
        return _listed(self.prompt)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise ParameterError("max_tokens", "may be 0 only with echo")
        return self


class EmbeddingRequest(Strict):
    """``POST /v1/embeddings``."""

    model: ModelId
    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]
    ) = Field(description="A text, texts, token ids, or lists of token ids.")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="Numbers, or base64 of little-endian float32; unset is numbers."
    )
    user: User = None
    dimensions: NotSupported = None

    @property
    def inputs(self) -> list[str] | list[list[int]]:
        """What to embed, all texts or all token ids."""
        return _listed(self.input)


class TokenizeRequest(Strict):
    """``POST /tokenize``."""

    model: ModelId | None = Field(None, description="Unset is the only model that the key opens.")
    content: str | None = Field(None, description="The text; or else `messages`.")
    messages: Messages | None = Field(
        None, description="A conversation, written by the model's chat template."
    )
    add_special: bool | None = Field(
        None, description="Begin as prompts of this model begin; unset is false. Only with `content`."
    )
    parse_special: bool | None = Field(
        None, description="Read the names of special tokens as those; unset is true. Only with `content`."
    )
    with_pieces: Literal[False] | None = Field(None, description="Only false.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.content is None) == (self.messages is None):
            raise ParameterError("content", "is needed, or messages, and not both")
        if self.messages is not None and self.add_special is not None:
            raise ParameterError(
                "add_special", "goes with content only: a chat template writes special tokens itself"
            )
        if self.messages is not None and self.parse_special is not None:
            raise ParameterError(
                "parse_special", "goes with content only: a chat template's special tokens are read"
            )
        return self


class DetokenizeRequest(Strict):
    """``POST /detokenize``."""

    model: ModelId | None = Field(None, description="Unset is the only model that the key opens.")
    tokens: Annotated[list[Token], Field(max_length=MAX_TOKENS, fail_fast=True)] = Field(
        description="Token ids."
    )


def _listed(given: str | list[str] | list[int] | list[list[int]]) -> list[str] | list[list[int]]:
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], int):
        return [given]
    return given
