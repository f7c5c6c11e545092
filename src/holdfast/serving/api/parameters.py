"""The parameters that every kind of generation shares, with their bounds.

Three kinds: OpenAI's that are supported, OpenAI's that are not (null is taken, because clients send it, and says nothing;
any value is refused), and this server's own (``top_k``, ``min_p``, ``repetition_penalty``, ``grammar``, ``regex``).
Invariants: what passes is bounded in every size; nothing is ignored in silence.

Source: the OpenAI API reference; the names of the further samplers are those of vLLM and llama.cpp.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from holdfast.canonical import MAX_SAFE_INTEGER

MAX_MODEL = 390  # characters of a model id: names of a base, an adapter and a version, two separators
MAX_STOPS = 16  # stop strings of one request; each is looked for at every token
MAX_STOP = 256  # characters of a stop string; all of them are held back while they may begin
MAX_USER = 128  # characters of the name that an application gives its own user
MAX_TEMPERATURE = 2.0  # as OpenAI allows
MAX_PENALTY = 2.0  # as OpenAI allows, either way
MIN_REPETITION = 0.01  # a smaller factor makes scores that are not numbers
MAX_TOP_K = 2**20  # tokens; more than any vocabulary here has
MAX_CHOICES = 8  # answers to one prompt; each takes a sequence of the engine
MAX_TOP_LOGPROBS = 20  # alternatives for each token, as OpenAI allows
MAX_BIASES = 1024  # tokens with a bias; each is added at every token
MAX_BIAS = 100.0  # as OpenAI allows, either way
MAX_REGEX = 4 * 2**10  # characters of a regular expression, as the engine takes them
MAX_GRAMMAR = 32 * 2**10  # characters of a grammar or a schema; escaped, it must fit into the sealed request
TOKEN_PATTERN = r"^(0|[1-9][0-9]{0,6})$"  # noqa: S105 - a token of a vocabulary; none here has ten million


class Strict(BaseModel):
    """A part of a request: no unknown member, no conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _short(value: dict[str, object]) -> dict[str, object]:
    if len(json.dumps(value, ensure_ascii=False)) > MAX_GRAMMAR:
        raise ValueError(f"has more than {MAX_GRAMMAR} characters")
    return value


NotSupported = Annotated[None, Field(description="Not supported: only null is taken.")]
ModelId = Annotated[
    str, Field(min_length=1, max_length=MAX_MODEL, description="Id of a model that `/v1/models` lists.")
]
User = Annotated[
    Annotated[str, Field(max_length=MAX_USER)] | None,
    Field(
        description="The application's own name of the person it asks for; prompt and answer are sealed for that person."
    ),
]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP)]
Penalty = Annotated[float, Field(ge=-MAX_PENALTY, le=MAX_PENALTY)]
Biases = Annotated[
    dict[Annotated[str, Field(pattern=TOKEN_PATTERN)], Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]],
    Field(max_length=MAX_BIASES),
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {
                TOKEN_PATTERN: {"type": "number", "minimum": -MAX_BIAS, "maximum": MAX_BIAS}
            },
            "additionalProperties": False,
            "maxProperties": MAX_BIASES,
        }
    ),
]
JsonSchema = Annotated[
    dict[str, object],
    AfterValidator(_short),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]


class StreamOptions(Strict):
    """What a stream holds besides the answer."""

    include_usage: bool | None = Field(None, description="End the stream with a chunk that counts tokens.")
    include_obfuscation: Literal[False] | None = Field(None, description="Only false: nothing is padded.")


class TextFormat(Strict):
    """Any text."""

    type: Literal["text"]


class ObjectFormat(Strict):
    """A JSON object."""

    type: Literal["json_object"]


class NamedSchema(Strict):
    """A JSON schema and its name."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: Annotated[str, Field(max_length=1024)] | None = None
    schema_: JsonSchema = Field(alias="schema")
    strict: bool | None = Field(None, description="Answers always follow the schema.")


class SchemaFormat(Strict):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class Generation(Strict):
    """What requests for a chat's answer and for a text's continuation share."""

    model: ModelId
    stream: bool | None = Field(None, description="Send the answer piece by piece, as server-sent events.")
    stream_options: StreamOptions | None = Field(None, description="Only with `stream`.")
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)] | None = Field(
        None, description="0 takes the most probable token; unset is 1."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Keep the most probable tokens of this mass; unset is 1."
    )
    top_k: Annotated[int, Field(ge=0, le=MAX_TOP_K)] | None = Field(
        None, description="Keep that many of the most probable tokens; unset and 0 keep all."
    )
    min_p: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Keep tokens of at least this part of the greatest probability; unset is 0."
    )
    repetition_penalty: Annotated[float, Field(ge=MIN_REPETITION, le=MAX_PENALTY)] | None = Field(
        None, description="Weaken tokens that have occurred by this factor; unset is 1."
    )
    presence_penalty: Penalty | None = Field(
        None, description="Weaken tokens that have occurred by this much; unset is 0."
    )
    frequency_penalty: Penalty | None = Field(
        None, description="Weaken tokens by this much for each time they have occurred; unset is 0."
    )
    seed: Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)] | None = Field(
        None, description="The same seed gives the same answer; unset draws one."
    )
    logit_bias: Biases | None = Field(None, description="Added to the scores of these token ids.")
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = Field(
        None, description="Strings that end the answer and are not part of it."
    )
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None, description="Answers to each prompt; unset is 1."
    )
    response_format: (
        Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")] | None
    ) = Field(None, description="What the answer must be: any text, a JSON object, or JSON by a schema.")
    grammar: Annotated[str, Field(min_length=1, max_length=MAX_GRAMMAR)] | None = Field(
        None, description="A grammar in GBNF that the answer must follow; not with `response_format`."
    )
    regex: Annotated[str, Field(min_length=1, max_length=MAX_REGEX)] | None = Field(
        None,
        description="A regular expression that the whole answer must match; not with `grammar` or `response_format`.",
    )
    user: User = None

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
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return 1 if self.n is None else self.n

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.stream_options is not None and not self.streams:
            raise ParameterError("stream_options", "needs stream to be true")
        forms = [name for name in ("grammar", "regex", "response_format") if getattr(self, name) is not None]
        if len(forms) > 1:
            raise ParameterError(forms[0], f"is given beside {forms[1]}; give one of them")
        return self


class ParameterError(ValueError):
    """Two parameters do not go together.

    Args:
        name: The one to correct.
        why: What is wrong with it.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} {why}")
        self.name = name
        self.why = why
