"""The life of one request at the desk: an engine, the intent on the record, what is computed, the outcome on the record.

Order of operations: wait for the engine → ask it → it accepts → the intent goes to the log *while* it computes → the log acks:
from here on something may be said → pieces, until the engine has said its last → the reader has taken them → the outcome goes
to the log. A task of its own leads each life to its end, so that a client that goes away, or a handler that is cancelled, can't
leave an intent without its outcome. Invariants: no piece and no receipt is given before the ack; if the log refuses, the engine
is told to stop and nothing is said; exactly one outcome follows each intent, unless the log is gone; a client that goes away
before it has read everything is recorded as having cancelled.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from holdfast.errors import HoldfastError, OperationFailed
from holdfast.serving import link
from holdfast.serving.front import acts
from holdfast.serving.front.answer import MAX_UNREAD, Answer, Share, size_of
from holdfast.serving.front.engines import died
from holdfast.serving.front.faults import Busy, Late
from holdfast.serving.front.question import Outcome, Question, Text, Usage
from holdfast.serving.front.said import Said, Unbelievable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.serving.front.answer import Held
    from holdfast.serving.front.engines import Engines, Item, Link
    from holdfast.serving.front.metrics import Metrics
    from holdfast.serving.front.question import Query
    from holdfast.serving.front.record import Receipt, Recorder
    from holdfast.serving.quota import Ticket
    from holdfast.serving.spec import Limits

LOGGER = logging.getLogger("holdfast.serving")
ENGINE_SECONDS = 15.0  # that a request waits for an engine that is being started again
GRACE_SECONDS = 5.0  # for an engine to end by itself what it was told to, or what is over its time
LAST_SECONDS = (
    1.0  # for it to say what that took, when its reader waits to be told; a step rarely lasts as long
)
CORES = os.cpu_count() or 1  # of the host; an engine's threads compute on no more
LATER_MS = 1000  # that an engine may count more than the front, by whose clock its figures are judged


@dataclass(frozen=True)
class _Stop:
    """The life is to end: by an error, or because nobody listens any more."""

    error: HoldfastError | None


class _Read:
    """The reader has taken everything."""


class _Unheard:
    """The engine had its time to end what it was told to end."""


_Told = _Stop | _Read | _Unheard


class _Over(Exception):  # noqa: N818 - a way out of nested waiting, not an error
    """The life ends before its time; see ``_Stop``."""

    def __init__(self, error: HoldfastError | None) -> None:
        super().__init__()
        self.error = error


class Life:
    """One request's life.

    Args:
        question: What is asked.
        engines: Compute.
        recorder: Records.
        metrics: Counts.
        seconds: For the whole of it.
        limits: What it may take.
        held: What is held of all answers.
    """

    def __init__(  # noqa: PLR0917 - what a life is made of
        self,
        question: Question | Query,
        engines: Engines,
        recorder: Recorder,
        metrics: Metrics,
        seconds: float,
        limits: Limits,
        held: Held,
    ) -> None:
        self.answer = Answer(question, lambda: self._inbox.put_nowait(_Read()), held)
        self._early = Share(held)  # what came before anything may be said
        self._overrun = False  # that was too much
        self.result: link.Embedded | link.Tokenized | link.Detokenized | None = None
        self._question = question
        self._engines, self._recorder, self._metrics = engines, recorder, metrics
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._seconds = seconds
        self.recorded = False
        self.settled: asyncio.Future[bool] = self._loop.create_future()  # whether its intent is on the record
        self.answered = False
        self._relaying = False  # what the engine says is handed on as it comes
        self._inbox: asyncio.Queue[Item | _Told] = asyncio.Queue()
        self._link: Link | None = None
        self._open: dict[int, int] = {}  # requests to the engine without a last reply: number and place
        self._said = Said(question, limits)
        self._totals = acts.Totals()
        self._first = True
        self._cancelled = False
        self._task: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def begin(self, ticket: Ticket) -> asyncio.Task[None]:
        """Begin to live.

        Args:
            ticket: What the key's quota counts it by.

        Returns:
            The task that ends with the life.
        """
        self._task = asyncio.create_task(self._run(ticket), name="answer")
        self._timers.append(self._loop.call_later(self._seconds + GRACE_SECONDS, self.stop, _late()))
        return self._task

    def stop(self, error: HoldfastError | None = None) -> None:
        """End it; its outcome is recorded all the same.

        Args:
            error: What the reader is told; None if there is none any more.
        """
        if self._link is None and self._task is not None:
            if error is not None and not self.answer.begun.done():
                _refuse(self.answer, error)
            self._task.cancel()
        else:
            self._inbox.put_nowait(_Stop(error))

    def over(self, task: asyncio.Task[None]) -> None:
        """Let go of what was held, and leave nobody waiting.

        Args:
            task: The life, which has ended, however it did.
        """
        for timer in self._timers:
            timer.cancel()
        self._early.close()
        if not self.answer.gathered:
            self.answer.share.close()
        if not task.cancelled() and (fault := task.exception()) is not None:
            LOGGER.error("the life of an answer broke off", exc_info=fault)
            error = OperationFailed("serve.fault", "The answer broke off.", remedy="Read the front's log.")
            _refuse(self.answer, error)
            self.answer.put(error)
        self.answer.begun.cancel()
        if not self.settled.done():
            self.settled.set_result(False)

    async def _run(self, ticket: Ticket) -> None:
        try:
            await self._live(ticket)
        except (HoldfastError, _Over) as error:  # nothing is on the record
            self._abandon()
            found = error.error if isinstance(error, _Over) else error
            if found is None:
                self.answer.begun.cancel()
            else:
                _refuse(self.answer, found)

    async def _live(self, ticket: Ticket) -> None:
        self._link = await self._engines.ready(
            self._question.choice.model.engine, min(ENGINE_SECONDS, self._seconds)
        )
        self._ask(self._link)
        early = await self._accepted()
        self.answer.prompt_tokens = self._said.prompt_tokens
        ticket.accept(self.answer.prompt_tokens, self._said.most)
        intent = await self._recorder.record(acts.intent(self._question, self.answer.prompt_tokens))
        self.recorded = True
        self.settled.set_result(True)
        self._early.close()
        while not self._inbox.empty():
            early.append(self._inbox.get_nowait())
        ended = next((item for item in early if isinstance(item, link.Failed | _Stop)), None)
        if ended is None:
            self.answer.begun.set_result(intent)
        error: HoldfastError | None = None
        try:
            await self._relay(early)
        except _Over as over:
            error, self._cancelled = over.error, over.error is None
            await self._hear_out()
            self._totals.completion_tokens += self._said.untold  # what was said counts, however it ended
            self._abandon()
        if isinstance(self.result, link.Embedded):
            self._totals.processor_ms = self.result.processor_ms
        self._totals.limit(self.answer.prompt_tokens, self._said.most, self._milliseconds + LATER_MS, CORES)
        ticket.end(self._totals.completion_tokens)
        await self._end(intent, error)

    @property
    def _milliseconds(self) -> int:
        """Since the request came."""
        return round((self._loop.time() - self._began) * 1000)

    def _ask(self, one: Link) -> None:
        """Send everything that is asked."""
        question = self._question
        left = max(0.001, self._seconds - (self._loop.time() - self._began))
        asks = question.asks if isinstance(question, Question) else (question.ask,)
        for at, ask in enumerate(asks):
            number = self._engines.number()
            self._open[number] = at
            if isinstance(ask, link.Generate):
                self._totals.choices += ask.choices
                numbered: link.Generate | link.Embed | link.Tokenize | link.Detokenize = dataclasses.replace(
                    ask, id=number, lane=question.choice.lane, tenant=question.key.tenant, seconds=left
                )
            elif isinstance(ask, link.Embed):
                numbered = dataclasses.replace(ask, id=number, tenant=question.key.tenant)
            else:
                numbered = dataclasses.replace(ask, id=number)
            one.ask(numbered, self._hear)

    def _hear(self, item: Item) -> None:
        """Take what the engine says; while nothing may be handed on, only so much of it."""
        if isinstance(item, link.Accepted | link.Piece | link.End) and not self.recorded:
            if self._overrun:
                return
            self._early.add(size_of(item) if isinstance(item, link.Piece) else 64)
            if self._early.size > MAX_UNREAD or self._early.too_much:
                self._overrun = True
                self._inbox.put_nowait(_Stop(_crowded()))
                return
        if self._relaying and isinstance(item, link.Piece) and self._inbox.empty():
            try:
                self._take(item)  # at once: a turn of the loop for each token costs as much as the rest
            except _Over as over:
                self._inbox.put_nowait(_Stop(over.error))
        else:
            self._inbox.put_nowait(item)

    async def _accepted(self) -> list[Item | _Told]:
        """Wait until the engine has taken everything; give what else it said meanwhile."""
        missing = set(self._open)
        early: list[Item | _Told] = []
        while missing:
            item = await self._inbox.get()
            if isinstance(item, link.Failed):
                raise item.error
            if isinstance(item, _Stop):
                raise _Over(item.error)
            if isinstance(item, link.Accepted) or (isinstance(item, link.Embedded) and item.id in missing):
                try:
                    self._said.accept(self._place(item.id), item.prompt_tokens)
                except Unbelievable:
                    self._disbelieve()
            if isinstance(item, link.Accepted | link.Embedded | link.Tokenized | link.Detokenized):
                missing.discard(item.id)
            if not isinstance(item, link.Accepted | _Read | _Unheard):
                early.append(item)
        return early

    def _disbelieve(self) -> NoReturn:
        """Cut the link of an engine that says what nobody asked for; all that wait for it are told that it is gone."""
        if self._link is not None:
            self._link.close()
        self._open.clear()  # there is nothing to be heard any more
        raise _Over(died()) from None

    async def _relay(self, early: Iterable[Item | _Told]) -> None:
        """Hand on what is computed until all of it is, and is read."""
        for item in early:
            self._take(item)
        self._relaying = True
        while self._open:
            self._take(await self._inbox.get())
        self.answer.ended = True
        while self.answer.unread and not self._cancelled:
            item = await self._inbox.get()
            if isinstance(item, _Read):
                return
            self._take(item)

    def _take(self, item: Item | _Told) -> None:
        match item:
            case _Stop(None):
                self._cancel()
            case _Stop(error):
                raise _Over(error)
            case _Unheard():
                raise _Over(None)
            case _Read():
                pass  # more has come since
            case _:
                try:
                    self._learn(item)
                except Unbelievable:
                    self._disbelieve()

    def _learn(self, item: Item) -> None:
        """Take what the engine said."""
        match item:
            case link.Piece():  # first, as nearly everything is one
                index = self._said.piece(self._place(item.id), item)
                if item.text or item.logprobs:
                    self._put(Text(index, item.text, item.logprobs))
            case link.Accepted():
                self._said.accept(self._place(item.id), item.prompt_tokens)  # it has been before
            case link.End():
                index = self._said.end(self._place(item.id), item)
                self._totals.endings.append(item.ending)
                self._put(Text(index, "", finish=item.ending.value))
            case link.Done():
                self._said.done(self._place(item.id))
                del self._open[item.id]
                self._totals.add(item)
                self._cancelled |= item.cancelled
            case link.Embedded() | link.Tokenized() | link.Detokenized():
                self._said.result(item)
                self._open.pop(item.id, None)
                self.result = item
            case link.Failed():
                at = self._open.pop(item.id, None)
                if at is not None and item.took is not None:
                    self._said.failed(at)
                    self._totals.add(item.took)
                raise _Over(None if self._cancelled else item.error)  # what nobody waits for has not failed

    def _place(self, number: int) -> int:
        """Give the place of the prompt that a request to the engine is about."""
        at = self._open.get(number)
        if at is None:
            raise Unbelievable
        return at

    def _put(self, piece: Text) -> None:
        if self._first and piece.finish is None:
            self._first = False
            self._metrics.first(self._question.choice.id, self._loop.time() - self._began)
        if self._cancelled:
            return
        self.answer.put(piece)
        if self.answer.unread > MAX_UNREAD:
            self._cancel()
            self.answer.put(
                OperationFailed(
                    "serve.reader-slow", "The answer was not read.", remedy="Read answers as they come."
                )
            )
        elif self.answer.share.too_much:
            self._cancel()
            self.answer.put(_crowded())

    def _cancel(self) -> None:
        """Have the engine stop, and wait for what it says of what it did; not for long."""
        if self._cancelled:
            return
        self._cancelled = True
        for number in self._open:
            if self._link is not None:
                self._link.cancel(number)
        if self._open:
            self._timers.append(self._loop.call_later(GRACE_SECONDS, self._inbox.put_nowait, _Unheard()))

    async def _hear_out(self) -> None:
        """Have the engine stop what is not over yet, and take what it says of what that took; not for long."""
        self._relaying = False  # nothing more is handed on
        for number in self._open:
            if self._link is not None:
                self._link.cancel(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                while self._open:
                    item = await self._inbox.get()
                    if not isinstance(item, link.Accepted | link.Piece | link.End | _Told):
                        with suppress(_Over):
                            self._take(item)

    def _abandon(self) -> None:
        for number in self._open:
            if self._link is not None:
                self._link.abandon(number)
        self._open.clear()

    async def _end(self, intent: Receipt, error: HoldfastError | None) -> None:
        """Put the outcome on the record, then tell the reader."""
        question, totals = self._question, self._totals
        totals.prompt_tokens = self.answer.prompt_tokens
        totals.milliseconds = totals.milliseconds or self._milliseconds
        status = "failed" if error is not None else "cancelled" if self._cancelled else "done"
        found: Outcome | HoldfastError
        try:
            receipt = await self._recorder.record(
                acts.outcome(
                    question, intent, status, totals, error, acts.sealable(self._said.texts, self.result)
                )
            )
            found = Outcome(
                receipt, Usage(totals.prompt_tokens, totals.cached_tokens, totals.completion_tokens)
            )
        except HoldfastError as refused:
            found, status = refused, "failed"
        self._metrics.ended(question.choice.id, status, totals, self._loop.time() - self._began)
        self.answered = status == "done"
        if self._cancelled and isinstance(found, Outcome):
            found = OperationFailed(
                "serve.cancelled", "The answer was cancelled.", remedy="Ask again, and stay."
            )
        told = error or found
        if self.answer.begun.done():
            self.answer.put(told)
        elif isinstance(told, HoldfastError):
            _refuse(self.answer, told)


def _refuse(answer: Answer, error: HoldfastError) -> None:
    if not answer.begun.done():
        answer.begun.set_exception(error)
        with suppress(HoldfastError):
            answer.begun.result()  # seen, even if the one who asked is gone


def _crowded() -> Busy:
    return Busy(
        "serve.answers",
        "Too much is being answered at once.",
        remedy="Ask for less, or read answers as they come.",
        retry_after=1,
    )


def _late() -> Late:
    return Late(
        "serve.deadline",
        "The answer was not complete in time.",
        remedy="Ask for fewer tokens, or wait longer.",
    )
