"""The lanes of an engine: one context for each adapter set, made when it is first needed and within a budget of memory.

Order of operations of a step: make room and contexts for lanes that have none, then let every lane do one step. Invariants:
the memory of weights, adapters and contexts never exceeds the budget, by ``memory``'s estimate; only idle contexts are given
up, the one that was used longest ago first, and overwritten before they are freed; a lane that waits for memory is not
overtaken by requests that came later, so that every one has its turn; a lane that is detached ends with its last request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, NoSpace, NotFound
from holdfast.serving.engine import machine, widths
from holdfast.serving.engine.embedder import generates
from holdfast.serving.engine.memory import mib
from holdfast.serving.engine.scheduler import Lane
from holdfast.serving.engine.widths import Widths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.serving.engine.asked import Asked
    from holdfast.serving.engine.llama import Adapter, Context, Weights
    from holdfast.serving.engine.memory import Need
    from holdfast.serving.engine.threads import Threads
    from holdfast.serving.measured import Measured
    from holdfast.serving.spec import Limits

BARE = ""  # the lane of the model alone


@dataclass
class _Place:
    """What is known of one lane."""

    adapter: Adapter | None
    size: int = 0  # bytes of the adapter
    lane: Lane | None = None
    homeless: list[Asked] = field(default_factory=list)
    leaving: bool = False

    @property
    def idle(self) -> bool:
        return not self.homeless and (self.lane is None or self.lane.idle)


class Lanes:
    """All contexts of one model.

    Args:
        weights: The model.
        limits: How much is computed side by side.
        threads: Threads to compute with.
        need: What the model takes.
        budget: Bytes of memory that it may take.
        flush: Sends what was emitted; called before what takes longer than a step.
        stepped: Called after every step.
        due: Tells whether the computing thread has to do something else than answers.
        kept: What was measured of the model before.

    Raises:
        NoSpace: If not even one context can be made.
    """

    def __init__(
        self,
        weights: Weights,
        limits: Limits,
        threads: Threads,
        *,
        need: Need,
        budget: int,
        flush: Callable[[], None],
        stepped: Callable[[], None],
        due: Callable[[], bool],
        kept: Measured | None = None,
    ) -> None:
        self.measured: Measured | None = (
            None  # of the model, once there was a context; None if it can't be kept
        )
        self._kept = kept
        self._weights = weights
        self._limits = limits
        self._threads = threads
        self._need = need
        self._budget = budget
        self._flush = flush
        self._stepped = stepped
        self._due = due
        self._places: dict[str, _Place] = {}
        self._gone = 0  # tokens computed by contexts that were given up
        self._widths: Widths | None = None
        if generates(weights):
            bare = self._places[BARE] = _Place(None)
            self._make(bare)

    def __iter__(self) -> Iterator[Lane]:
        return (place.lane for place in self._places.values() if place.lane is not None)

    @property
    def names(self) -> list[str]:
        """The lanes that answer requests."""
        return [name for name, place in self._places.items() if not place.leaving]

    @property
    def contexts(self) -> int:
        """Lanes that have a context."""
        return sum(1 for _ in self)

    @property
    def adapters(self) -> int:
        """Bytes of all adapters."""
        return sum(place.size for place in self._places.values())

    @property
    def tokens(self) -> int:
        """Tokens computed so far, those of prompts not counted."""
        return self._gone + sum(lane.tokens for lane in self)

    @property
    def active(self) -> int:
        """Sequences in use."""
        return sum(lane.active for lane in self)

    @property
    def queued(self) -> int:
        """Answers that wait for a sequence."""
        homeless = sum(len(place.homeless) for place in self._places.values())
        return homeless + sum(len(lane.waiting) for lane in self)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return all(place.idle for place in self._places.values())

    def attach(self, name: str, adapter: Adapter, size: int) -> None:
        """Serve an adapter.

        Args:
            name: Its lane; one that is there already is kept as it is.
            adapter: The opened adapter, which belongs to this from here on.
            size: Its bytes.

        Raises:
            NoSpace: If its memory does not fit beside the weights and one context.
        """
        known = self._places.get(name)
        if known is not None:
            known.leaving = False
            adapter.close()
            return
        least = self._need.total + self.adapters + size
        if least > self._budget:
            adapter.close()
            raise NoSpace(
                "serve.memory",
                f"The adapter takes {mib(size)}; with the weights and one context that makes {mib(least)}, and "
                f"{mib(self._budget)} are allowed.",
                remedy="Allow more memory, serve with a shorter context, or detach another adapter.",
                needed_bytes=least,
                budget_bytes=self._budget,
            )
        self._places[name] = _Place(adapter, size)

    def detach(self, name: str) -> None:
        """Serve an adapter no more, once its last request has ended; nothing if it is not there.

        Args:
            name: Its lane.
        """
        place = self._places.get(name)
        if place is not None and place.adapter is not None:
            place.leaving = True
            self._leave()

    def limit(self, budget: int) -> None:
        """Change the budget; what is in use stays.

        Args:
            budget: Bytes of memory.
        """
        self._budget = budget
        self._shrink(0, time.monotonic())

    def push(self, asked: Asked) -> None:
        """Let a request wait.

        Args:
            asked: The request; it fails if its lane is not there.
        """
        place = self._places.get(asked.request.lane)
        if place is None or place.leaving:
            asked.fail(
                NotFound(
                    "serve.lane",
                    "The model is not being served.",
                    remedy="Ask for one that /v1/models lists.",
                    code="model_not_found",
                )
            )
        elif place.lane is None:
            place.homeless.append(asked)
        else:
            place.lane.push(asked)

    def forget(self, tenant: str | None) -> None:
        """Overwrite what is kept of a tenant's prompts.

        Args:
            tenant: Whose; None for everybody's.
        """
        for place in self._places.values():
            self._guard(place, lambda lane: lane.forget(tenant))

    def tidy(self, now: float) -> None:
        """Overwrite what lay unused for too long.

        Args:
            now: Monotonic seconds.
        """
        for place in self._places.values():
            self._guard(place, lambda lane: lane.tidy(now))

    def step(self) -> bool:
        """Do one step; see the module's description.

        Returns:
            False if there is nothing to do but to wait.
        """
        before = None
        if any(place.homeless for place in self._places.values()):
            self._flush()  # to make a context takes its time
            self._house()
            before = min(
                (place.homeless[0].received for place in self._places.values() if place.homeless),
                default=None,
            )
        worked = False
        only = before is None and sum(not place.idle for place in self._places.values()) == 1
        for place in list(self._places.values()):
            if self._guard(place, lambda lane: lane.step(before, only=only)):
                worked = True
                self._stepped()
        self._leave()
        return worked or before is not None

    def close(self, why: HoldfastError) -> None:
        """End every request as failed and free all contexts and adapters.

        Args:
            why: What they are told.
        """
        for place in self._places.values():
            for asked in place.homeless:
                asked.fail(why)
            if place.lane is not None:
                place.lane.fail(why)
                place.lane.close()
            if place.adapter is not None:
                place.adapter.close()
        self._places.clear()

    def _guard(self, place: _Place, work: Callable[[Lane], bool | None]) -> bool:
        """Do something with a lane; if llama.cpp's context breaks, its requests fail and it is made anew."""
        if place.lane is None:
            return False
        try:
            return bool(work(place.lane))
        except HoldfastError as error:
            place.lane.fail(error)
            self._drop(place)
            return True

    def _house(self) -> None:
        """Make contexts for those who wait for one, those who have waited longest first."""
        now = time.monotonic()
        for place in self._places.values():
            for asked in [one for one in place.homeless if one.over(now)]:
                place.homeless.remove(asked)
                asked.expire()
        waiting = [place for place in self._places.values() if place.homeless]
        for place in sorted(waiting, key=lambda one: one.homeless[0].received):
            if not self._shrink(self._need.context, place.homeless[0].received):
                return
            try:
                lane = self._make(place)
            except HoldfastError as error:
                for asked in place.homeless:
                    asked.fail(error)
            else:
                for asked in place.homeless:
                    lane.push(asked)
            place.homeless.clear()

    def _make(self, place: _Place) -> Lane:
        context = self._weights.context(place.adapter, self._limits.parallel, self._threads)
        if self._widths is None:
            self._widths = self._settle(context)
        used = self._widths if place.adapter is None else self._widths.with_adapter()
        context.single(alone=used.alone)
        place.lane = Lane(
            self._weights,
            context,
            used,
            threads=self._threads.count,
            keep=self._limits.keep_seconds,
            flush=self._flush,
            due=self._due,
        )
        return place.lane

    def _settle(self, context: Context) -> Widths:
        """Find how many rows may share a step, by what was measured before if that still holds."""
        weights, parallel, count = self._weights, self._limits.parallel, self._threads.count
        key = machine.key(weights.spec, parallel, count, weights.llama)
        if key is None:
            return widths.measure(context, weights.vocabulary.size)
        found = self.measured = widths.settle(context, weights.vocabulary.size, key, self._kept)
        return Widths(found.least, found.most, found.chunks, found.alone)

    def _shrink(self, more: int, since: float = 0.0) -> bool:
        """Give up contexts until so many bytes more fit into the budget; False if they do not.

        A context can be given up in which nothing is computed and for which nobody has waited since before that time.
        """
        while self._taken() + more > self._budget:
            idle = [
                place for place in self._places.values() if place.lane is not None and place.lane.spare(since)
            ]
            if not idle or (not more and self.contexts == 1):
                return False
            place = min(idle, key=_last_used)
            if place.lane is not None:
                place.homeless += place.lane.dismiss()
            self._drop(place)
        return True

    def _taken(self) -> int:
        fixed = self._need.weights + self._need.embedding
        return fixed + self.adapters + self.contexts * self._need.context

    def _leave(self) -> None:
        for name in [name for name, place in self._places.items() if place.leaving and place.idle]:
            place = self._places.pop(name)
            self._drop(place)
            if place.adapter is not None:
                place.adapter.close()

    def _drop(self, place: _Place) -> None:
        if place.lane is not None:
            self._gone += place.lane.tokens
            place.lane.close()
            place.lane = None


def _last_used(place: _Place) -> float:
    return 0.0 if place.lane is None else place.lane.used
