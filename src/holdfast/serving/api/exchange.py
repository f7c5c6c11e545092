"""One request and its answer: the question for the desk, and what comes of it in the form that was asked for.

Invariants: an answer that is given whole is held within ``MAX_HELD``; a chunk that says why an answer ended, and ``[DONE]``,
follow its outcome's ack; a client that goes away has its answer cancelled.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from starlette.responses import Response

from holdfast import canonical
from holdfast.canonical import Json
from holdfast.errors import HoldfastError, UntrustedRequest, WorkerFailed
from holdfast.serving import link
from holdfast.serving.api import forms, refusals
from holdfast.serving.api.forms import ChatForm, Gathered, TextForm
from holdfast.serving.api.generation import Wanted
from holdfast.serving.api.reading import refused
from holdfast.serving.api.stream import DONE, GONE, Chunk, EventStream, event, until_gone
from holdfast.serving.front.question import Kind, Query, Question, Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from starlette.requests import Request

    from holdfast.errors import Field
    from holdfast.serving.api.forms import Form
    from holdfast.serving.api.parameters import Generation
    from holdfast.serving.api.requests import (
        ChatRequest,
        CompletionRequest,
        DetokenizeRequest,
        EmbeddingRequest,
        TokenizeRequest,
    )
    from holdfast.serving.front.answer import Answer
    from holdfast.serving.front.desk import Desk
    from holdfast.serving.front.question import Computed
    from holdfast.serving.front.visits import Visit
    from holdfast.serving.spec import Choice

MAX_HELD = 2**17  # log-probabilities of one whole answer; each takes about half a kilobyte until it is sent
_R = TypeVar("_R", link.Embedded, link.Tokenized, link.Detokenized)
JSON_TYPE = "application/json"


class Exchange:
    """One request.

    Args:
        desk: Takes questions.
        request: The HTTP request, its body read.
        visit: What it is on the record, with the key that asks.
        choice: The model asked.
        seconds: What the client is willing to wait; None for as long as is allowed.
        now: Seconds since 1970.
    """

    def __init__(  # noqa: PLR0917 - each is another fact of the request
        self, desk: Desk, request: Request, visit: Visit, choice: Choice, seconds: float | None, now: int
    ) -> None:
        self._desk, self._request, self._visit, self._choice = desk, request, visit, choice
        self._key = visit.key
        self._seconds, self._now = seconds, now

    async def chat(self, asked: ChatRequest, new_tokens: int) -> Response:
        """Answer a conversation.

        Args:
            asked: What is asked.
            new_tokens: Tokens of an answer at most.

        Returns:
            The answer, whole or as a stream.
        """
        wanted = Wanted(asked, new_tokens)
        turns = [message.turn for message in asked.messages]
        probed = asked.alternatives
        asks = wanted.asks(
            [link.Chat(tuple(turns))], self._choice.lane, self._key.tenant, logprobs=probed, echo=False
        )
        document = wanted.document(self._choice.id, {"messages": [dict(turn) for turn in turns]})
        answer = await self._ask(Kind.CHAT, asks, document, asked)
        if answer is None:
            return Response(status_code=GONE)
        form = ChatForm(self._choice.id, answer.request.seq, self._now, probed=probed is not None)
        return await self._reply(asked, answer, form, asked.choices)

    async def complete(self, asked: CompletionRequest, new_tokens: int) -> Response:
        """Continue one or several texts.

        Args:
            asked: What is asked.
            new_tokens: Tokens of an answer at most.

        Returns:
            The continuations, whole or as a stream.
        """
        wanted = Wanted(asked, new_tokens)
        probed, echo = asked.logprobs, bool(asked.echo)
        asks = wanted.asks(
            _inputs(asked.prompts), self._choice.lane, self._key.tenant, logprobs=probed, echo=echo
        )
        document = wanted.document(
            self._choice.id, {"prompt": _plain(asked.prompts), "echo": echo, "logprobs": probed}
        )
        answer = await self._ask(Kind.COMPLETION, asks, document, asked)
        if answer is None:
            return Response(status_code=GONE)
        form = TextForm(self._choice.id, answer.request.seq, self._now, probed=probed is not None)
        return await self._reply(asked, answer, form, len(asks) * asked.choices)

    async def embed(self, asked: EmbeddingRequest) -> Response:
        """Turn texts into vectors.

        Args:
            asked: What is asked.

        Returns:
            The vectors.
        """
        ask = link.Embed(0, self._key.tenant, tuple(_inputs(asked.inputs)))
        computed = await self._compute(Kind.EMBEDDING, ask, {"input": _plain(asked.inputs)}, asked.user)
        if computed is None:
            return Response(status_code=GONE)
        vectors = _result(computed, link.Embedded).vectors
        numbers = asked.encoding_format != "base64"
        made = await asyncio.to_thread(forms.embeddings, self._choice.id, vectors, numbers=numbers)
        taken = computed.outcome.usage.prompt_tokens
        made["usage"] = {"prompt_tokens": taken, "total_tokens": taken}
        return await self._computed(computed, made)

    async def tokenize(self, asked: TokenizeRequest) -> Response:
        """Turn a text or a conversation into token ids.

        Args:
            asked: What is asked.

        Returns:
            The token ids.
        """
        given: dict[str, Json]
        if asked.messages is not None:
            turns = [message.turn for message in asked.messages]
            ask, given = link.Tokenize(0, link.Chat(tuple(turns))), {"messages": [dict(one) for one in turns]}
        else:
            text, begin = asked.content or "", bool(asked.add_special)
            special = asked.parse_special is not False
            ask = link.Tokenize(0, link.Words(text), special, begin)
            given = {"content": text, "add_special": begin, "parse_special": special}
        computed = await self._compute(Kind.TOKENIZE, ask, given, None)
        if computed is None:
            return Response(status_code=GONE)
        return await self._computed(computed, {"tokens": list(_result(computed, link.Tokenized).tokens)})

    async def detokenize(self, asked: DetokenizeRequest) -> Response:
        """Turn token ids into text.

        Args:
            asked: What is asked.

        Returns:
            The text.
        """
        ask = link.Detokenize(0, tuple(asked.tokens))
        computed = await self._compute(Kind.DETOKENIZE, ask, {"tokens": list(asked.tokens)}, None)
        if computed is None:
            return Response(status_code=GONE)
        return await self._computed(computed, {"content": _result(computed, link.Detokenized).text})

    async def _ask(
        self, kind: Kind, asks: tuple[link.Generate, ...], document: bytes, asked: Generation
    ) -> Answer | None:
        question = Question(self._choice, self._key, kind, asks, document, asked.user or "", self._seconds)
        try:
            return await until_gone(self._request.receive, self._desk.ask(question, self._visit), _nothing)
        except UntrustedRequest as refusal:  # an engine does not know by which parameter it was told what
            refusal.fields["param"] = _parameter(refusal, kind, asked)
            raise

    async def _reply(self, asked: Generation, answer: Answer, form: Form, count: int) -> Response:
        headers = forms.headers(self._choice, answer.request)
        cancel = partial(self._desk.cancel, answer)
        if asked.streams:
            without: dict[str, Json] = {"usage": None} if asked.wants_usage else {}
            chunks = _chunks(answer, form, count, without)
            return EventStream(chunks, headers, cancel, partial(_lend, answer, form, without))
        answer.gathered = True
        try:
            answers = await until_gone(self._request.receive, _gather(answer, count), cancel)
            if answers is None:
                return Response(status_code=GONE)
            record: dict[str, Json] = {
                "usage": forms.usage(answer.outcome.usage),
                "holdfast": forms.receipts(answer.request, answer.outcome),
            }
            return await _json(form.whole(answers) | record, headers)
        finally:
            answer.share.close()

    async def _compute(
        self,
        kind: Kind,
        ask: link.Embed | link.Tokenize | link.Detokenize,
        given: dict[str, Json],
        user: str | None,
    ) -> Computed | None:
        document = canonical.encode({**given, "model": self._choice.id, "user": user})
        query = Query(self._choice, self._key, kind, ask, document, user or "", self._seconds)
        return await until_gone(self._request.receive, self._desk.compute(query, self._visit), _nothing)

    async def _computed(self, computed: Computed, made: dict[str, Json]) -> Response:
        record: dict[str, Json] = {"holdfast": forms.receipts(computed.request, computed.outcome)}
        return await _json(made | record, forms.headers(self._choice, computed.request))


async def _gather(answer: Answer, count: int) -> list[Gathered]:
    """Read an answer to its end, within what may be held."""
    answers = [Gathered() for _ in range(count)]
    held = 0
    async for piece in answer.events():
        answers[piece.index].add(piece)
        held += sum(1 + len(prob.top) for prob in piece.logprobs or ())
        if held > MAX_HELD:
            raise refused(
                "logprobs",
                f"The answer has more than {MAX_HELD} log-probabilities, too many to be given whole.",
                "answer_too_large",
            )
    return answers


def _lend(answer: Answer, form: Form, without: dict[str, Json], send: Callable[[bytes], bool] | None) -> None:
    """Let an answer's pieces go straight to the client, but for those that say why it ended."""
    chunks: dict[int, Chunk] = {}

    def outlet(piece: Text) -> bool:
        if send is None or piece.finish is not None or piece.logprobs or not piece.text:
            return False
        chunk = chunks.get(piece.index)
        if chunk is None:
            chunk = chunks[piece.index] = Chunk(partial(_chunk, form, piece.index, without))
        return send(chunk.event(piece.text))

    answer.outlet = None if send is None else outlet


def _chunk(form: Form, index: int, without: dict[str, Json], text: str) -> dict[str, Json]:
    return form.piece(Text(index, text)) | without


async def _chunks(answer: Answer, form: Form, count: int, without: dict[str, Json]) -> AsyncIterator[bytes]:
    counted = bool(without)
    finishes: dict[int, str | None] = dict.fromkeys(range(count))
    for index in range(count):
        if (first := form.first(index)) is not None:
            yield event(first | without)
    try:
        async for piece in answer.events():
            if piece.text or piece.logprobs:
                yield event(form.piece(piece) | without)
            finishes[piece.index] = piece.finish or finishes[piece.index]
    except HoldfastError as error:
        refusals.log(error)
        yield event(refusals.body(error))
        return
    record: dict[str, Json] = {"holdfast": forms.receipts(answer.request, answer.outcome)}
    for index, finish in finishes.items():
        final = index == count - 1 and not counted
        yield event(form.last(index, finish) | without | (record if final else {}))
    if counted:
        yield event(form.counts() | {"usage": forms.usage(answer.outcome.usage)} | record)
    yield DONE


def _parameter(refusal: UntrustedRequest, kind: Kind, asked: Generation) -> Field:
    named = refusal.fields.get("param")
    if refusal.fields.get("code") == "invalid_grammar":
        return next(
            (name for name in ("grammar", "regex") if getattr(asked, name) is not None), "response_format"
        )
    return "messages" if named == "prompt" and kind is Kind.CHAT else named


def _inputs(given: Sequence[str] | Sequence[list[int]]) -> list[link.Words | link.Tokens]:
    return [link.Words(one) if isinstance(one, str) else link.Tokens(tuple(one)) for one in given]


def _plain(given: Sequence[str] | Sequence[list[int]]) -> Json:
    return [one if isinstance(one, str) else list[Json](one) for one in given]


def _result(computed: Computed, kind: type[_R]) -> _R:
    if not isinstance(computed.result, kind):
        raise WorkerFailed(
            "serve.result", "The engine answered another question.", remedy="See the worker's log."
        )
    return computed.result


async def _json(content: dict[str, Json], headers: dict[str, str]) -> Response:
    """Write an answer; in another thread, for it may be long."""
    data = await asyncio.to_thread(_written, content)
    return Response(data, 200, headers, JSON_TYPE)


def _written(content: dict[str, Json]) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _nothing() -> None:
    """Take note that nobody waits: the desk itself stops what it has not handed over yet."""
