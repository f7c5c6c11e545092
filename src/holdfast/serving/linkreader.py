"""The reading half of the link: untrusted bytes in, the messages of ``link`` out. Pure.

Invariants: bytes that are no message raise ``WorkerFailed`` and nothing else; every number lies within the bounds that
``link`` names; ``Splitter`` holds at most one frame that is not whole.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from holdfast import canonical, frames, hashing
from holdfast.errors import UntrustedInput, WorkerFailed, from_dict
from holdfast.frames import MAX_FRAME
from holdfast.serving import link
from holdfast.serving.fields import Fields, broken, finite, text, whole
from holdfast.serving.link import MAX_ID, MAX_MILLISECONDS, MAX_NAME, MAX_TEXT, MAX_TOKEN, MAX_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.canonical import Json

MAX_SCALAR = 4096  # characters of an error's message, remedy or field
MAX_FIELDS = 32  # of an error
MAX_ROLE = 64  # characters of a message's role
MAX_PIECE = 1024  # bytes of one token
MAX_PENALTY = 100.0  # of any penalty or bias, in logits
_BYTE = 255
_FLOAT = 4  # bytes of a float32

_GENERATE = frozenset(
    {"op", "id", "lane", "tenant", "prompt", "most", "choices", "sampling", "stops", "logprobs", "echo"}
    | {"grammar", "seconds"}
)
_SAMPLING = frozenset(vars(link.Sampling()))
_PROMPT = frozenset({"messages", "text", "tokens"})
_LOGPROB = frozenset({"token", "text", "bytes", "logprob", "top", "offset"})
_PIECE = frozenset({"id", "choice", "text", "logprobs"})
_END = frozenset({"id", "choice", "end"})
_DONE = frozenset({"id", "done"})
_COUNTS = frozenset(
    {"prompt_tokens", "cached_tokens", "completion_tokens", "milliseconds", "first_ms", "processor_ms"}
    | {"cancelled"}
)
_ERROR = frozenset({"type", "key", "message", "remedy", "fields"})


class Splitter:
    """Cuts a stream into the bodies of its frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def push(self, data: bytes) -> Iterator[bytes]:
        """Add what came.

        Args:
            data: Bytes, cut anywhere.

        Yields:
            The bodies that are whole; read all of them before the next call.

        Raises:
            WorkerFailed: If a frame is longer than one may be.
        """
        self._held += data
        place = 0
        try:
            while (found := frames.split(self._held, place)) is not None:
                body, place = found
                yield body
        finally:
            del self._held[:place]

    @property
    def empty(self) -> bool:
        """Whether the stream may end here."""
        return not self._held


def parse_request(body: bytes) -> link.Request:
    """Read what the front asks.

    Args:
        body: A frame's body.

    Returns:
        The request.

    Raises:
        WorkerFailed: If it is none.
    """
    data = _object(body)
    match data.get("op"):
        case "generate":
            return _generate(Fields(data, "a request", _GENERATE))
        case "embed":
            found = Fields(data, "a request", frozenset({"op", "id", "tenant", "inputs"}))
            inputs = found.items("inputs", link.MAX_INPUTS, _input)
            return link.Embed(_id(found), found.text("tenant", MAX_NAME), inputs)
        case "tokenize":
            found = Fields(data, "a request", frozenset({"op", "id", "messages", "text", "special", "begin"}))
            prompt = _prompt(found)
            if isinstance(prompt, link.Tokens):
                raise broken("token ids can't be tokenized")
            return link.Tokenize(_id(found), prompt, found.flag("special"), found.flag("begin"))
        case "detokenize":
            found = Fields(data, "a request", frozenset({"op", "id", "tokens"}))
            return link.Detokenize(_id(found), found.items("tokens", MAX_TOKENS, _token))
        case "cancel":
            return link.Cancel(_id(Fields(data, "a request", frozenset({"op", "id"}))))
        case "forget":
            found = Fields(data, "a request", frozenset({"op", "tenant"}))
            return link.Forget(found.text("tenant", MAX_NAME) if found.has("tenant") else None)
    raise broken("it asks for an operation that there is not")


def parse_reply(body: bytes) -> link.Reply:
    """Read what an engine says.

    Args:
        body: A frame's body.

    Returns:
        The reply.

    Raises:
        WorkerFailed: If it is none.
    """
    data = _object(body)
    if "events" in data:
        found = Fields(data, "a step's frame", frozenset({"events"}))
        return link.Events(found.items("events", MAX_FRAME, _event))
    for name, read in _REPLIES.items():
        if name in data:
            return read(data)
    raise broken("it is none of an engine's replies")


def _accepted(data: dict[str, Json]) -> link.Accepted:
    found = Fields(data, "a reply", frozenset({"id", "accepted"}))
    inner = Fields(found.raw("accepted"), "accepted", frozenset({"prompt_tokens"}))
    return link.Accepted(_id(found), inner.whole("prompt_tokens", 0, MAX_TOKENS))


def _failed(data: dict[str, Json]) -> link.Failed:
    found = Fields(data, "a reply", frozenset({"id", "failed", "took"}))
    inner = Fields(found.raw("failed"), "an error", _ERROR)
    fields = inner.raw("fields")
    if type(fields) is not dict or len(fields) > MAX_FIELDS or not all(map(_scalar, fields.values())):
        raise broken("the fields of an error are no short plain values")
    plain: dict[str, object] = {
        "fields": fields,
        **{name: inner.text(name, MAX_SCALAR) for name in ("type", "key", "message", "remedy")},
    }
    number, took = _id(found), found.raw("took")
    return link.Failed(number, from_dict(plain), None if took is None else _counts(number, took))


def _scalar(value: Json) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_SCALAR
    return value is None or isinstance(value, int | float)


def _up(data: dict[str, Json]) -> link.Up:
    found = Fields(data, "a reply", frozenset({"up"}))
    inner = Fields(found.raw("up"), "up", frozenset({"model", "vocabulary", "context", "chat", "embeds"}))
    try:
        digest = hashing.parse(inner.text("model", MAX_NAME))
    except UntrustedInput as error:
        raise broken("model of up is no digest") from error
    return link.Up(
        digest,
        inner.whole("vocabulary", 1, link.MAX_VOCABULARY),
        inner.whole("context", 1, MAX_TOKENS),
        inner.flag("chat"),
        inner.whole("embeds", 0, link.MAX_DIMENSIONS),
    )


def _embedded(data: dict[str, Json]) -> link.Embedded:
    found = Fields(data, "a reply", frozenset({"id", "embedded"}))
    inner = Fields(found.raw("embedded"), "embedded", frozenset({"vectors", "prompt_tokens", "processor_ms"}))
    vectors = inner.items("vectors", link.MAX_INPUTS, _vector)
    count = inner.whole("prompt_tokens", 0, link.MAX_INPUTS * MAX_TOKENS)
    return link.Embedded(_id(found), vectors, count, inner.number("processor_ms", 0.0, MAX_MILLISECONDS))


def _vector(value: Json) -> str:
    given = text(value, link.MAX_DIMENSIONS * 2 * _FLOAT, "a vector")
    try:
        size = len(binascii.a2b_base64(given, strict_mode=True))
    except ValueError as error:
        raise broken("a vector is no base64") from error
    if size == 0 or size % _FLOAT:
        raise broken("a vector holds no whole number of float32")
    return given


def _tokenized(data: dict[str, Json]) -> link.Tokenized:
    found = Fields(data, "a reply", frozenset({"id", "tokens"}))
    return link.Tokenized(_id(found), found.items("tokens", MAX_FRAME, _token))


def _detokenized(data: dict[str, Json]) -> link.Detokenized:
    found = Fields(data, "a reply", frozenset({"id", "text"}))
    return link.Detokenized(_id(found), found.text("text", MAX_TEXT))


_REPLIES: dict[str, Callable[[dict[str, Json]], link.Reply]] = {
    "accepted": _accepted,
    "failed": _failed,
    "embedded": _embedded,
    "tokens": _tokenized,
    "text": _detokenized,
    "up": _up,
}


def _event(data: Json) -> link.Event:
    if type(data) is not dict:
        raise broken("an event is no object")
    if "text" in data:
        found = Fields(data, "an event", _PIECE)
        logprobs = found.items("logprobs", MAX_TOKENS, _logprob)
        return link.Piece(_id(found), _choice(found), found.text("text", MAX_TEXT), logprobs)
    if "end" in data:
        found = Fields(data, "an event", _END)
        try:
            return link.End(_id(found), _choice(found), link.Ending(found.text("end", MAX_ROLE)))
        except ValueError as error:
            raise broken("an answer ended in a way that there is not") from error
    found = Fields(data, "an event", _DONE)
    return _counts(_id(found), found.raw("done"))


def _counts(number: int, data: Json) -> link.Done:
    counts = Fields(data, "what a request took", _COUNTS)
    return link.Done(
        id=number,
        prompt_tokens=counts.whole("prompt_tokens", 0, link.MAX_INPUTS * MAX_TOKENS),
        cached_tokens=counts.whole("cached_tokens", 0, MAX_TOKENS),
        completion_tokens=counts.whole("completion_tokens", 0, link.MAX_CHOICES * MAX_TOKENS),
        milliseconds=counts.whole("milliseconds", 0, MAX_MILLISECONDS),
        first_ms=counts.whole("first_ms", 0, MAX_MILLISECONDS),
        processor_ms=counts.number("processor_ms", 0.0, MAX_MILLISECONDS),
        cancelled=counts.flag("cancelled"),
    )


def _logprob(data: Json) -> link.Logprob:
    found = Fields(data, "a token", _LOGPROB)
    value = found.raw("logprob")
    return link.Logprob(
        found.whole("token", 0, MAX_TOKEN),
        found.text("text", MAX_PIECE),
        found.items("bytes", MAX_PIECE, _byte),
        None if value is None else finite(value, "logprob of a token"),
        found.items("top", link.MAX_LOGPROBS, _alternative),
        found.whole("offset", 0, MAX_TEXT),
    )


def _alternative(data: Json) -> link.Alternative:
    if type(data) is not list or len(data) != 4:  # noqa: PLR2004 - id, text, bytes, log-probability
        raise broken("an alternative is no list of four")
    number, given, octets, value = data
    if type(octets) is not list or len(octets) > MAX_PIECE:
        raise broken("the bytes of an alternative are no short list")
    return link.Alternative(
        _token(number),
        text(given, MAX_PIECE, "an alternative's text"),
        tuple(map(_byte, octets)),
        finite(value, "logprob of an alternative"),
    )


def _generate(found: Fields) -> link.Generate:
    return link.Generate(
        id=_id(found),
        lane=found.text("lane", MAX_NAME),
        tenant=found.text("tenant", MAX_NAME),
        prompt=_prompt(Fields(found.raw("prompt"), "a prompt", _PROMPT)),
        most=found.whole("most", 0, MAX_TOKENS) if found.has("most") else None,
        choices=found.whole("choices", 1, link.MAX_CHOICES),
        sampling=_sampling(Fields(found.raw("sampling"), "sampling", _SAMPLING)),
        stops=found.items("stops", link.MAX_STOPS, _stop),
        logprobs=found.whole("logprobs", 0, link.MAX_LOGPROBS) if found.has("logprobs") else None,
        echo=found.flag("echo"),
        grammar=_grammar(found.raw("grammar")),
        seconds=found.number("seconds", 0.0, link.MAX_SECONDS),
    )


def _sampling(found: Fields) -> link.Sampling:
    biases = found.raw("logit_bias")
    if type(biases) is not dict or len(biases) > link.MAX_BIASES:
        raise broken("logit_bias is no short object")
    return link.Sampling(
        temperature=found.number("temperature", 0.0, MAX_PENALTY),
        top_p=found.number("top_p", 0.0, 1.0),
        top_k=found.whole("top_k", 0, MAX_TOKEN),
        min_p=found.number("min_p", 0.0, 1.0),
        repetition_penalty=found.number("repetition_penalty", 0.01, MAX_PENALTY),
        presence_penalty=found.number("presence_penalty", -MAX_PENALTY, MAX_PENALTY),
        frequency_penalty=found.number("frequency_penalty", -MAX_PENALTY, MAX_PENALTY),
        logit_bias={_number(token, 10): _bias(bias) for token, bias in biases.items()},
        seed=_seed(found.text("seed", 16)),
    )


def _bias(value: Json) -> float:
    bias = finite(value, "a bias")
    if abs(bias) > MAX_PENALTY:
        raise broken(f"a bias is beyond {MAX_PENALTY}")
    return bias


def _number(given: str, base: int) -> int:
    if not (given.isascii() and given.isalnum()) or len(given) > 16:  # noqa: PLR2004 - digits of 64 bits
        raise broken("a number in a text is none")
    try:
        value = int(given, base)
    except ValueError as error:
        raise broken("a number in a text is none") from error
    return value if base != 10 else whole(value, 0, MAX_TOKEN, "a token")  # noqa: PLR2004 - tokens are decimal


def _seed(given: str) -> int:
    return _number(given, 16)


def _grammar(data: Json) -> link.Grammar | None:
    if data is None:
        return None
    found = Fields(data, "a grammar", frozenset({"kind", "source"}))
    try:
        return link.Grammar(link.GrammarKind(found.text("kind", MAX_ROLE)), found.text("source", MAX_TEXT))
    except ValueError as error:
        raise broken("a grammar is of a kind that there is not") from error


def _prompt(found: Fields) -> link.Prompt:
    given = [name for name in ("messages", "text", "tokens") if found.has(name)]
    match given:
        case ["messages"]:
            return link.Chat(found.items("messages", link.MAX_MESSAGES, _message))
        case ["text"]:
            return link.Words(found.text("text", MAX_TEXT))
        case ["tokens"]:
            return link.Tokens(found.items("tokens", MAX_TOKENS, _token))
    raise broken("a prompt is not one of messages, text and tokens")


def _message(data: Json) -> dict[str, str]:
    found = Fields(data, "a message", frozenset({"role", "content"}))
    return {"role": found.text("role", MAX_ROLE), "content": found.text("content", MAX_TEXT)}


def _input(data: Json) -> link.Words | link.Tokens:
    prompt = _prompt(Fields(data, "an input", frozenset({"text", "tokens"})))
    if isinstance(prompt, link.Chat):
        raise broken("messages have no embedding")
    return prompt


def _stop(value: Json) -> str:
    return text(value, link.MAX_STOP, "a stop string")


def _token(value: Json) -> int:
    return whole(value, 0, MAX_TOKEN, "a token")


def _byte(value: Json) -> int:
    return whole(value, 0, _BYTE, "a byte")


def _id(found: Fields) -> int:
    return found.whole("id", 0, MAX_ID)


def _choice(found: Fields) -> int:
    return found.whole("choice", 0, link.MAX_CHOICES - 1)


def _object(body: bytes) -> dict[str, Json]:
    data = canonical.decode(body, limit=MAX_FRAME, what="A message of the link", error=WorkerFailed)
    if type(data) is not dict:
        raise broken("it is no object")
    return data
