"""Where questions are handed in: room, quota, and a life for each.

Order of operations: the log takes acts → a place → the key's quota → the life (see ``life``). Invariants: whatever is refused here
leaves nothing behind; a place and a ticket are held exactly as long as the life.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, NotAuthenticated
from holdfast.serving.front.answer import Held
from holdfast.serving.front.faults import paused
from holdfast.serving.front.life import Life
from holdfast.serving.front.places import Bounds
from holdfast.serving.front.question import Computed, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from holdfast.serving.front.answer import Answer
    from holdfast.serving.front.engines import Engines
    from holdfast.serving.front.gate import Vault
    from holdfast.serving.front.metrics import Metrics
    from holdfast.serving.front.places import Places
    from holdfast.serving.front.question import Query
    from holdfast.serving.front.record import Recorder
    from holdfast.serving.front.routing import Routing
    from holdfast.serving.front.visits import Visit


class Desk:
    """Where questions are handed in. Belongs to one event loop.

    Args:
        routing: What is served, and within which bounds.
        engines: Compute.
        recorder: Records.
        vault: Knows the keys and what they have taken.
        places: Whose turn it is.
        metrics: Counts.
    """

    def __init__(  # noqa: PLR0917 - the parts of the front
        self,
        routing: Routing,
        engines: Engines,
        recorder: Recorder,
        vault: Vault,
        places: Places,
        metrics: Metrics,
    ) -> None:
        self._routing, self._engines, self._recorder = routing, engines, recorder
        self._vault, self._places, self._metrics = vault, places, metrics
        self._lives: dict[asyncio.Task[None], Life] = {}
        self._by_answer: dict[Answer, Life] = {}
        self._held = Held()
        self._paused = False
        self.served = 0

    @property
    def active(self) -> int:
        """Requests that live."""
        return len(self._lives)

    def pause(self, *, paused: bool) -> None:
        """Refuse questions, because their answers could not be recorded, or take them again; those under way go on.

        Args:
            paused: Whether to refuse.
        """
        self._paused = paused

    async def ask(self, question: Question, visit: Visit) -> Answer:
        """Have a question answered.

        Args:
            question: What is asked.
            visit: The request that asks it.

        Returns:
            The answer under way; its intent is on the record.

        Raises:
            Busy: If too many wait already.
            OverQuota: If the key has taken what it may.
            Unavailable: If the engine is not there, or died.
            Late: If its time was over before it began.
            NotRecorded: If the log can't take the intent; nothing is then said.
        """
        return (await self._begun(question, visit)).answer

    async def compute(self, query: Query, visit: Visit) -> Computed:
        """Have something computed at once.

        Args:
            query: What is asked.
            visit: The request that asks it.

        Returns:
            The result; its outcome is on the record.

        Raises:
            HoldfastError: As ``ask``, or if it could not be computed.
        """
        life = await self._begun(query, visit)
        try:
            async for _piece in life.answer.events():
                pass  # there is none; the end is what is waited for
        except asyncio.CancelledError:
            life.stop()
            raise
        if life.result is None:
            raise RuntimeError("an engine ended a query without a result")
        return Computed(life.answer.request, life.answer.outcome, life.result)

    def cancel(self, answer: Answer) -> None:
        """Stop an answer, because nobody listens; its outcome is recorded all the same.

        Args:
            answer: The answer; nothing happens if it has ended.
        """
        life = self._by_answer.get(answer)
        if life is not None:
            life.stop()

    def withdraw(self, names: Collection[str], why: Callable[[str], HoldfastError]) -> None:
        """End what is being answered by models that may not be used any more.

        Args:
            names: Their ids.
            why: Gives what readers are told.
        """
        for answer, life in list(self._by_answer.items()):
            name = answer.question.choice.id
            if name in names:
                life.stop(why(name))

    def withdraw_files(self, why: Mapping[str, HoldfastError]) -> None:
        """End what is still being answered with files that may not be used any more, whatever their ids mean now.

        Args:
            why: What readers are told, by the digest of weights or adapter.
        """
        for answer, life in list(self._by_answer.items()):
            choice = answer.question.choice
            used = (choice.model.digest, *(() if choice.adapter is None else (choice.adapter.digest,)))
            found = next((why[digest] for digest in used if digest in why), None)
            if found is not None:
                life.stop(found)

    def disown(self, counts: Collection[str]) -> None:
        """End what is being answered for keys that do not count any more.

        Args:
            counts: Ids of those that do.
        """
        for answer, life in list(self._by_answer.items()):
            if answer.question.key.id not in counts:
                life.stop(
                    NotAuthenticated("serve.key-unknown", "The key was revoked.", remedy="Present another.")
                )

    async def drain(self) -> None:
        """Wait until every life has ended."""
        while self._lives:
            await asyncio.wait(set(self._lives))

    def hurry(self) -> None:
        """Have every life end, as if its client had gone."""
        for life in list(self._lives.values()):
            life.stop()

    async def _begun(self, question: Question | Query, visit: Visit) -> Life:
        if self._paused:
            raise paused()
        limits, key, loop = self._routing.limits, question.key, asyncio.get_running_loop()
        seconds = min(limits.answer_seconds, question.seconds or limits.answer_seconds)
        size = sum(ask.choices for ask in question.asks) if isinstance(question, Question) else 1
        life = Life(question, self._engines, self._recorder, self._metrics, seconds, limits, self._held)
        with ExitStack() as held:
            held.enter_context(self._routing.flight(question.choice))
            bounds = Bounds(limits.parallel, limits.queue, shared=self._vault.shared)
            place = self._places.take(question.choice.model.id, key.tenant, size, bounds, loop.time())
            held.callback(lambda: self._places.leave(place, loop.time() if life.recorded else None))
            ticket = self._vault.quotas.begin(key.id, key.quota)  # last, as it counts
            held.callback(ticket.end)
            released = held.pop_all()
        # What is refused from here on, and comes to no answer, is charged to this quota once.
        visit.charged, visit.answered = key.quota.requests_per_minute is not None, life.settled
        task = life.begin(ticket)
        self._lives[task] = life
        self._by_answer[life.answer] = life

        def ended(_task: asyncio.Task[None]) -> None:
            del self._lives[task], self._by_answer[life.answer]
            life.over(task)
            self.served += life.answered
            released.close()

        task.add_done_callback(ended)
        try:
            await asyncio.shield(life.answer.begun)
        except asyncio.CancelledError:
            life.stop()
            raise
        return life
