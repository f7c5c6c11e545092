"""What the front and an engine say to each other: typed messages in frames of JSON. Pure.

A frame is a 4-byte big-endian length and a JSON object (``holdfast.frames``). The front sends requests, each with a number
of its own; the engine first says ``Up``, then for each request ``Accepted`` and in the end exactly one of ``Failed``,
``Done``, ``Embedded``, ``Tokenized`` and ``Detokenized``. What a step of the engine computed for all requests comes in one
``Events`` frame. ``linkwriter`` makes frames of messages, ``linkreader`` messages of frames. Invariants: what is written is what
is read; bytes that are no such message raise ``WorkerFailed`` on either side, for neither trusts the other: the front reads
what untrusted people write, the engine runs code that untrusted files may have taken over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from holdfast.frames import MAX_FRAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.errors import HoldfastError

MAX_ID = 2**53 - 1  # numbers of requests, as JSON can carry them
MAX_TOKENS = 2**20  # of one prompt; the longest context that is served
MAX_TOKEN = 2**31 - 1  # ids are int32 in llama.cpp
MAX_MESSAGES = 1024  # of one conversation
MAX_INPUTS = 2048  # of one embedding request, as OpenAI allows
MAX_CHOICES = 128  # answers to one prompt, as OpenAI allows
MAX_STOPS = 16  # strings that may end an answer
MAX_STOP = 1024  # characters of one
MAX_BIASES = 1024  # tokens whose scores are moved
MAX_LOGPROBS = 20  # alternatives listed for each token, as OpenAI allows
MAX_NAME = 512  # characters of a lane or a tenant
MAX_TEXT = MAX_FRAME  # characters; the frame bounds them
MAX_SECONDS = 86_400.0  # that an answer may take
MAX_VOCABULARY = 2**22  # tokens of a model; the largest known has 262,144
MAX_DIMENSIONS = 2**17  # of an embedding
MAX_MILLISECONDS = 10**12  # of any duration: 30 years
MAX_SEED = 2**64 - 1


@dataclass(frozen=True)
class Chat:
    """A prompt made of messages by the model's chat template; each has ``role`` and ``content``."""

    messages: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Words:
    """A prompt as text."""

    text: str


@dataclass(frozen=True)
class Tokens:
    """A prompt as token ids."""

    tokens: tuple[int, ...]


Prompt = Chat | Words | Tokens


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; the defaults choose nothing but the model's own probabilities.

    Args:
        temperature: 0 for the highest score, else what scores are divided by.
        top_p: Probability mass that is kept, in (0, 1].
        top_k: The most probable tokens that are kept; 0 for all.
        min_p: The least probability that is kept, as a share of the highest, in [0, 1].
        repetition_penalty: Divides positive scores and multiplies negative ones of tokens seen, from 0.01; 1 for none.
        presence_penalty: Taken from the score of every token of the answer so far.
        frequency_penalty: Taken from it as often as the token occurs in the answer so far.
        logit_bias: Added to the scores of these tokens.
        seed: Begins the random sequence; 0 to 2**64 - 1.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0


class GrammarKind(StrEnum):
    """How a grammar is written; ``JSON`` needs no source."""

    JSON = "json"
    JSON_SCHEMA = "json_schema"
    GBNF = "gbnf"
    REGEX = "regex"


@dataclass(frozen=True)
class Grammar:
    """What an answer must look like."""

    kind: GrammarKind
    source: str = ""


@dataclass(frozen=True)
class Generate:
    """Compute answers to one prompt.

    Args:
        id: The request's number.
        lane: "" for the bare model, else the adapter's ``lane``.
        tenant: Whose request it is; nothing computed for one tenant is used for another.
        prompt: What is answered.
        most: Tokens to answer with at most; None for what the context and the limits allow, 0 to score the prompt only.
        choices: How many answers.
        sampling: How tokens are chosen; choice k draws with a seed derived from (seed, k).
        stops: Strings that end an answer and are not part of it.
        logprobs: Alternatives to list for each token; None for no log-probabilities at all.
        echo: Whether the prompt's text, and its log-probabilities if wanted, come first.
        grammar: What an answer must look like.
        seconds: That may pass until the last token.
    """

    id: int
    lane: str
    tenant: str
    prompt: Prompt
    most: int | None
    sampling: Sampling
    seconds: float
    choices: int = 1
    stops: tuple[str, ...] = ()
    logprobs: int | None = None
    echo: bool = False
    grammar: Grammar | None = None


@dataclass(frozen=True)
class Embed:
    """Compute the embeddings of texts or token ids."""

    id: int
    tenant: str
    inputs: tuple[Words | Tokens, ...]


@dataclass(frozen=True)
class Tokenize:
    """Turn text or messages into token ids.

    Args:
        id: The request's number.
        prompt: What is tokenized.
        special: Whether texts of special tokens are read as such; in messages those of the template are, and no others.
        begin: Whether the begin token is added where the model wants one; in messages the template writes it.
    """

    id: int
    prompt: Chat | Words
    special: bool = True
    begin: bool = True


@dataclass(frozen=True)
class Detokenize:
    """Turn token ids into text."""

    id: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Cancel:
    """Stop computing for a request; its ``Done`` comes all the same, unless it has come already."""

    id: int


@dataclass(frozen=True)
class Forget:
    """Overwrite all that is kept of a tenant's prompts that nobody computes with; of every tenant's if None."""

    tenant: str | None


Request = Generate | Embed | Tokenize | Detokenize | Cancel | Forget


@dataclass(frozen=True)
class Up:
    """An engine's first words.

    Args:
        model: The digest of the model.
        vocabulary: Its number of tokens.
        context: Tokens of prompt and answer together.
        chat: Whether it has a chat template.
        embeds: Dimensions of its embeddings; 0 if it gives none.
    """

    model: str
    vocabulary: int
    context: int
    chat: bool
    embeds: int


@dataclass(frozen=True)
class Accepted:
    """A request is tokenized, fits and waits for its turn."""

    id: int
    prompt_tokens: int


@dataclass(frozen=True)
class Alternative:
    """A token that might have been."""

    token: int
    text: str
    bytes: tuple[int, ...]
    logprob: float


@dataclass(frozen=True)
class Logprob:
    """One token of an answer, or of an echoed prompt.

    Args:
        token: Its id.
        text: Its bytes as UTF-8, malformed ones replaced.
        bytes: Its bytes.
        logprob: Its log-probability; None for the first token of an echoed prompt.
        top: The most probable tokens in its place, the most probable first.
        offset: Characters of the choice's text before it.
    """

    token: int
    text: str
    bytes: tuple[int, ...]
    logprob: float | None
    top: tuple[Alternative, ...]
    offset: int


class Piece(NamedTuple):  # a tuple, because one is made for every token
    """Text of a choice that may be sent, and the tokens that it came of if they were asked for; either may be empty."""

    id: int
    choice: int
    text: str
    logprobs: tuple[Logprob, ...] = ()


class Ending(StrEnum):
    """Why a choice ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class End:
    """The end of a choice."""

    id: int
    choice: int
    ending: Ending


@dataclass(frozen=True)
class Done:
    """The end of a request: what it took.

    Args:
        id: The request's number.
        prompt_tokens: Of the prompt, counted once whatever the number of choices.
        cached_tokens: Of these, how many had been computed before for the same tenant.
        completion_tokens: Of all choices, the tokens that ended them not counted.
        milliseconds: From acceptance to the end.
        first_ms: From acceptance to the first token; 0 if there was none.
        processor_ms: Milliseconds of processor time over all threads.
        cancelled: Whether it ended because the front asked for it.
    """

    id: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    milliseconds: int
    first_ms: int
    processor_ms: float
    cancelled: bool = False


@dataclass(frozen=True)
class Failed:
    """A request came to nothing, or to no more.

    Args:
        id: The request's number.
        error: Why.
        took: What it took until then, if computing had begun; the same number stands in it.
    """

    id: int
    error: HoldfastError
    took: Done | None = None

    def __eq__(self, other: object) -> bool:
        """Compare by what crosses the link."""
        return (
            isinstance(other, Failed)
            and self.id == other.id
            and self.error.to_dict() == other.error.to_dict()
            and self.took == other.took
        )

    __hash__ = None  # type: ignore[assignment]  # errors have no hash by value


Event = Piece | End | Done


@dataclass(frozen=True)
class Events:
    """What one step computed for all requests, in order."""

    events: tuple[Event, ...]


@dataclass(frozen=True)
class Embedded:
    """Embeddings.

    Args:
        id: The request's number.
        vectors: For each input, the base64 of little-endian float32 numbers.
        prompt_tokens: Of all inputs.
        processor_ms: Milliseconds of processor time over all threads.
    """

    id: int
    vectors: tuple[str, ...]
    prompt_tokens: int
    processor_ms: float = 0.0


@dataclass(frozen=True)
class Tokenized:
    """Token ids."""

    id: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Detokenized:
    """The text of token ids."""

    id: int
    text: str


Reply = Up | Accepted | Failed | Events | Embedded | Tokenized | Detokenized
