"""The life of one answer: a place, the intent on the record, the tokens, the outcome on the record.

A task of its own leads each life to its end, so that a client that goes away, or a handler that is cancelled, can't leave
an intent without its outcome. Invariants: nothing is computed before the intent is acked; whoever reads an answer to its
end has read one whose outcome is on the record.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError
from holdfast.serving.record import Act
from holdfast.serving.scheduler import Ending, Failed, Finished, Job, Piece

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.canonical import Json
    from holdfast.serving.engine import Engine
    from holdfast.serving.keys import ApiKey
    from holdfast.serving.record import Receipt, Recorder
    from holdfast.serving.sampling import Sampling
    from holdfast.serving.scheduler import Event
    from holdfast.serving.spec import Choice


@dataclass(frozen=True)
class Question:
    """A request that has passed every check.

    Args:
        choice: The model asked.
        key: Who asks.
        prompt: Token ids.
        most: Tokens to answer with at most.
        sampling: How they are chosen.
        stops: Strings that end the answer.
        document: The request as it was understood, to be sealed: enough to ask again and get the same answer.
        user: The application's own name of the person it asks for; may be empty.
    """

    choice: Choice
    key: ApiKey
    prompt: list[int]
    most: int
    sampling: Sampling
    stops: tuple[str, ...]
    document: bytes
    user: str


@dataclass(frozen=True)
class Outcome:
    """How an answer ended.

    Args:
        ending: Why.
        tokens: Tokens of the answer.
        receipt: The receipt of its outcome event.
    """

    ending: Ending
    tokens: int
    receipt: Receipt


class Answer:
    """One answer under way; made by ``Desk.ask``.

    Args:
        question: What was asked.
        job: What the engine computes.
    """

    def __init__(self, question: Question, job: Job) -> None:
        self.question = question
        self.job = job
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.ready: asyncio.Queue[str | Outcome | HoldfastError] = asyncio.Queue()
        self.begun: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._outcome: Outcome | None = None

    @property
    def request(self) -> Receipt:
        """The receipt of the request's intent."""
        return self.begun.result()

    @property
    def outcome(self) -> Outcome:
        """How it ended; only once ``pieces`` is exhausted."""
        if self._outcome is None:
            raise RuntimeError("the answer has not ended")
        return self._outcome

    async def pieces(self) -> AsyncIterator[str]:
        """Read the answer as it comes.

        Yields:
            Texts; after the last one the outcome is on the record.

        Raises:
            HoldfastError: If it could not be computed, or its outcome could not be recorded.
        """
        while True:
            item = await self.ready.get()
            if isinstance(item, str):
                yield item
            elif isinstance(item, Outcome):
                self._outcome = item
                return
            else:
                raise item


class Desk:
    """Where questions are handed in.

    Args:
        engine: Computes.
        recorder: Records.
    """

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self._engine = engine
        self._recorder = recorder
        self._lives: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question) -> Answer:
        """Record a question and begin to compute its answer.

        Args:
            question: What is asked.

        Returns:
            The answer under way; its intent is on the record.

        Raises:
            Busy: If too many wait already.
            NotRecorded: If the log can't take the intent; nothing is then computed.
        """
        loop = asyncio.get_running_loop()

        def emit(event: Event) -> None:  # in the engine's thread
            loop.call_soon_threadsafe(answer.events.put_nowait, event)

        self._engine.reserve(question.choice.place)
        answer = Answer(
            question, Job(question.prompt, question.most, question.sampling, question.stops, emit)
        )
        life = asyncio.create_task(self._live(answer))
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        try:
            await asyncio.shield(answer.begun)
        except asyncio.CancelledError:
            self.cancel(answer)
            raise
        return answer

    def cancel(self, answer: Answer) -> None:
        """Stop an answer; its outcome is recorded all the same.

        Args:
            answer: The answer; nothing happens if it has ended.
        """
        self._engine.cancel(answer.job)

    async def drain(self) -> None:
        """Wait until every life has ended."""
        while self._lives:
            await asyncio.wait(self._lives)

    async def _live(self, answer: Answer) -> None:
        name = answer.question.choice.place
        try:
            intent = await self._recorder.record(_intent(answer.question))
        except HoldfastError as error:
            self._engine.release(name)
            answer.begun.set_exception(error)
            answer.begun.exception()  # seen, even if the one who asked is gone
            return
        answer.begun.set_result(intent)
        self._engine.submit(name, answer.job)
        texts: list[str] = []
        while isinstance(event := await answer.events.get(), Piece):
            texts.append(event.text)
            answer.ready.put_nowait(event.text)
        try:
            receipt = await self._recorder.record(_outcome(answer.question, intent, event, "".join(texts)))
        except HoldfastError as error:
            answer.ready.put_nowait(error)
            return
        if isinstance(event, Failed):
            answer.ready.put_nowait(event.error)
        else:
            answer.ready.put_nowait(Outcome(event.ending, event.tokens, receipt))


def _intent(question: Question) -> Act:
    choice, key = question.choice, question.key
    released: dict[str, Json] = {} if choice.release is None else {"release": choice.release}
    return Act(
        action="answer",
        tenant=key.tenant,
        key=key.id,
        user=question.user,
        digest=choice.model.digest,
        label=choice.label,
        params={
            "model": choice.id,
            "model_digest": choice.model.digest,
            "adapter_digest": choice.adapter.digest if choice.adapter else None,
            "tenant": key.tenant,
            "key": key.id,
            "prompt_tokens": len(question.prompt),
            **released,
        },
        payloads={"prompt": question.document},
    )


def _outcome(question: Question, intent: Receipt, event: Finished | Failed, text: str) -> Act:
    params: dict[str, Json]
    if isinstance(event, Failed):
        action, params = "answer.failed", {"error": event.error.key}
    else:
        action = "answer.cancelled" if event.ending is Ending.CANCELLED else "answer.done"
        params = {
            "completion_tokens": event.tokens,
            "finish_reason": event.ending.value,
            "milliseconds": event.milliseconds,
        }
    return Act(
        action=action,
        tenant=question.key.tenant,
        key=question.key.id,
        user=question.user,
        digest=question.choice.model.digest,
        label=question.choice.label,
        params={"model": question.choice.id, "tenant": question.key.tenant, **params},
        cause=intent.seq,
        payloads={"answer": text.encode()},
    )
