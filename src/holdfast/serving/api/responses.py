"""What is answered, as classes: the half of the OpenAPI document that applications read.

``forms`` makes these objects; they are checked against these classes in tests, not at run time. Members that OpenAI's clients
do not know are ``holdfast``.

Source: the OpenAI API reference, the chat completion, completion, embedding and model objects.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Finish = Literal["stop", "length"]
Count = Annotated[int, Field(ge=0)]
Sequence = Annotated[int, Field(ge=0, description="The sequence number of an event of the audit log.")]


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Receipts(_Exact):
    """Where an answer is on the record."""

    request_seq: Sequence
    answer_seq: Sequence
    answer_leaf: str = Field(description="The digest of the answer's leaf in the log's tree.")


class CachedTokens(_Exact):
    """Which tokens of the prompts cost no computing."""

    cached_tokens: Count = Field(description="Computed before, for the same tenant and model.")


class Usage(_Exact):
    """What an answer took, in tokens."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: CachedTokens


class Token(_Exact):
    r"""A token and its log-probability; bytes that are no text by themselves read ``bytes:\xe2\x82``."""

    token: str
    logprob: float
    bytes: list[Annotated[int, Field(ge=0, le=255)]]


class ChosenToken(Token):
    """A token of an answer and its alternatives."""

    top_logprobs: list[Token]


class ChatLogprobs(_Exact):
    """Log-probabilities of a message's tokens."""

    content: list[ChosenToken]
    refusal: None


class AnswerMessage(_Exact):
    """What the model says."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(_Exact):
    """One of the answers."""

    index: Count
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Finish


class ChatCompletion(_Exact):
    """The answers to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: Count
    model: str
    choices: list[ChatChoice]
    usage: Usage
    holdfast: Receipts


class Delta(_Exact):
    """What a chunk adds to a message."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(_Exact):
    """What a chunk adds to one of the answers."""

    index: Count
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: Finish | None


class ChatCompletionChunk(_Exact):
    """One event of a stream; the last one has ``holdfast``, and ``usage`` if it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: Count
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    holdfast: Receipts | None = None


class CompletionLogprobs(_Exact):
    """Log-probabilities of a text's tokens; the first token of an echoed prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[Count]


class CompletionChoice(_Exact):
    """One of the continuations, or what a chunk of a stream adds to it."""

    index: Count
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Finish | None


class Completion(_Exact):
    """The continuations of one or several prompts; those of prompt i begin at index i·n."""

    id: str
    object: Literal["text_completion"]
    created: Count
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    holdfast: Receipts


class CompletionChunk(_Exact):
    """One event of a stream; the last one has ``holdfast``, and ``usage`` if it was asked for."""

    id: str
    object: Literal["text_completion"]
    created: Count
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    holdfast: Receipts | None = None


class Embedding(_Exact):
    """The vector of one input, of length 1: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class EmbeddingUsage(_Exact):
    """What embeddings took, in tokens."""

    prompt_tokens: Count
    total_tokens: Count


class Embeddings(_Exact):
    """The vectors of all inputs, in their order."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    holdfast: Receipts


class Tokenized(_Exact):
    """Token ids."""

    tokens: list[Count]
    holdfast: Receipts


class Detokenized(_Exact):
    """The text of token ids; bytes that are no text become U+FFFD."""

    content: str
    holdfast: Receipts


class ModelFacts(_Exact):
    """What a model id stands for."""

    digest: str
    adapter_digest: str | None
    version: str | None = Field(description="The version of the adapter.")
    release: Sequence | None = Field(description="The request of the release that gave it this id.")
    label: dict[str, object]
    context: Annotated[int, Field(ge=1, description="Tokens of prompt and answer together.")]


class Model(_Exact):
    """A model that the key opens."""

    id: str
    object: Literal["model"]
    created: Count = Field(description="When it began to be served here, in seconds since 1970.")
    owned_by: Literal["holdfast"]
    holdfast: ModelFacts


class Models(_Exact):
    """The models that the key opens."""

    object: Literal["list"]
    data: list[Model]


class Health(_Exact):
    """Whether answers are computed."""

    status: Literal["ok", "unavailable"]


class ErrorFacts(_Exact):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(_Exact):
    """An error in OpenAI's form."""

    error: ErrorFacts


class Document(BaseModel):
    """This document."""

    openapi: Annotated[str, WithJsonSchema({"type": "string", "const": "3.1.0"})]
