"""The engine: a thread that computes the answers of every model and adapter set, one step of each in turn.

Invariants: only the engine's thread calls llama.cpp to compute; the requests known for one model id, waiting and running,
never exceed ``parallel + queue``; a place is held from ``reserve`` until the job's last event or ``release``. Other
threads tokenize, which reads the vocabulary only.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, OperationFailed, WorkerFailed
from holdfast.serving import widths
from holdfast.serving.llama import Weights
from holdfast.serving.scheduler import Failed, Finished, Lane
from holdfast.serving.spec import choices

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.serving.scheduler import Event, Job
    from holdfast.serving.spec import Settings

RATE_WINDOW = 10.0  # seconds over which tokens per second are averaged
RECENT_JOBS = 32  # ended requests from which the waiting time of the next is estimated


class Busy(OperationFailed):
    """Too many requests wait for a model already."""

    http_status = 429


@dataclass
class _Place:
    """What is known of one model id."""

    lane: Lane
    known: int = 0
    withdrawn: HoldfastError | None = None


class Engine:
    """All models of a worker.

    Args:
        settings: What is served.
        threads: Threads that llama.cpp computes with.

    Raises:
        UntrustedBundle: If a model or an adapter is refused by llama.cpp.
        WorkerFailed: If memory does not suffice.
    """

    def __init__(self, settings: Settings, threads: int) -> None:
        self._limits = settings.limits
        self._wake = threading.Condition()
        self._inbox: deque[tuple[Lane, Job]] = deque()
        self._places: dict[str, _Place] = {}
        self._stopping = False
        self._on_end: Callable[[], None] = lambda: None
        self.crashed = False
        self._recent: deque[float] = deque(maxlen=RECENT_JOBS)  # seconds that ended jobs took
        self._counted: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self.served = 0
        self.weights: dict[str, Weights] = {}
        with ExitStack() as opened:
            for choice in choices(settings):
                if choice.adapter is None:  # every model comes alone first
                    weights = self.weights[choice.model.id] = Weights(choice.model)
                    opened.callback(weights.close)
                weights = self.weights[choice.model.id]
                context = weights.context(choice.adapter, self._limits.parallel, threads)
                opened.callback(context.close)
                if choice.adapter is None:
                    alone = widths.measure(context, weights.size)
                used = alone if choice.adapter is None else alone.with_adapter()
                self._places[choice.id] = _Place(Lane(weights, context, used))
            self._opened = opened.pop_all()
        self._thread = threading.Thread(target=self._run, name="engine")

    @property
    def alive(self) -> bool:
        """Whether answers are being computed."""
        return self._thread.is_alive() and not self._stopping

    def start(self, on_end: Callable[[], None]) -> None:
        """Begin to compute.

        Args:
            on_end: Called from the engine's thread when it ends; ``crashed`` tells whether that was asked for.
        """
        self._on_end = on_end
        self._thread.start()

    def stop(self) -> None:
        """End every job as failed; blocks for at most one step. Texts can still be tokenized."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Free all memory, after ``stop`` and once nobody tokenizes any more."""
        self._opened.close()

    def reserve(self, name: str) -> None:
        """Take a place for a request before it is recorded.

        Args:
            name: A model id that is served.

        Raises:
            Busy: If no more may wait; its field ``retry_after`` says for how many seconds.
        """
        place = self._places[name]
        with self._wake:
            if place.known >= self._limits.parallel + self._limits.queue:
                mean = sum(self._recent) / len(self._recent) if self._recent else 1.0
                wait = max(1, math.ceil(mean * self._limits.queue / self._limits.parallel))
                raise Busy(
                    "serve.busy",
                    f"{place.known} requests wait for {name} already.",
                    remedy=f"Try again in {wait} seconds.",
                    retry_after=wait,
                )
            place.known += 1

    def release(self, name: str) -> None:
        """Give a place back that was not used.

        Args:
            name: The model id.
        """
        with self._wake:
            self._places[name].known -= 1

    def submit(self, name: str, job: Job) -> None:
        """Compute an answer in a reserved place.

        Args:
            name: The model id.
            job: What to compute; its ``emit`` gets the events.
        """
        place = self._places[name]
        job.emit = self._released_at_end(name, job.emit)
        with self._wake:
            why = place.withdrawn or (_stopped() if self._stopping else None)
            if why is None:
                self._inbox.append((place.lane, job))
                self._wake.notify()
                return
        job.emit(Failed(why))

    def withdraw(self, name: str, why: HoldfastError) -> None:
        """Compute nothing more for a model id; what is under way fails at the next step.

        Args:
            name: The model id.
            why: What those who wait are told.
        """
        with self._wake:
            self._places[name].withdrawn = why
            self._wake.notify()

    def cancel(self, job: Job) -> None:
        """Stop computing an answer at the next step; nothing if it has ended.

        Args:
            job: The job.
        """
        with self._wake:
            job.cancelled = True
            self._wake.notify()

    def status(self) -> dict[str, Json]:
        """Count.

        Returns:
            ``active``, ``queued`` and ``served`` requests, and ``tokens_per_second`` over the last seconds.
        """
        with self._wake:
            lanes = [place.lane for place in self._places.values()]
            active = sum(lane.active for lane in lanes)
            known = sum(place.known for place in self._places.values())
            return {
                "active": active,
                "queued": max(known - active, 0),
                "served": self.served,
                "tokens_per_second": round(self._rate(), 1),
            }

    def _rate(self) -> float:
        now, total = time.monotonic(), sum(place.lane.tokens for place in self._places.values())
        while len(self._counted) > 1 and now - self._counted[0][0] > RATE_WINDOW:
            self._counted.popleft()
        since, before = self._counted[0]
        return (total - before) / max(now - since, 0.001)

    def _released_at_end(self, name: str, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        began = time.monotonic()

        def relay(event: Event) -> None:
            if isinstance(event, Finished | Failed):
                with self._wake:
                    self._places[name].known -= 1
                    self._recent.append(time.monotonic() - began)
                    self.served += isinstance(event, Finished)
            emit(event)

        return relay

    def _run(self) -> None:
        lanes = [place.lane for place in self._places.values()]
        try:
            while self._collect(lanes):
                while sum(lane.step() for lane in lanes):  # not any(): every lane has its turn
                    self._count()
                    if not self._collect(lanes, wait=False):
                        return
        finally:  # whatever ends the thread, nobody is left waiting
            with self._wake:
                self.crashed = not self._stopping
                self._stopping = True
                late = list(self._inbox)
                self._inbox.clear()
            for lane, job in late:
                lane.waiting.append(job)
            for lane in lanes:
                lane.close(_stopped())
            self._on_end()

    def _collect(self, lanes: list[Lane], *, wait: bool = True) -> bool:
        """Hand new jobs to their lanes; False when it is time to stop."""
        with self._wake:
            if wait:
                self._wake.wait_for(
                    lambda: self._stopping or self._inbox or any(lane.waiting for lane in lanes)
                )
            while self._inbox:
                lane, job = self._inbox.popleft()
                lane.waiting.append(job)
            for place in self._places.values():
                if place.withdrawn is not None:
                    place.lane.fail(place.withdrawn)
            return not self._stopping

    def _count(self) -> None:
        now = time.monotonic()
        if now - self._counted[-1][0] >= 1:
            total = sum(place.lane.tokens for place in self._places.values())
            with self._wake:
                self._counted.append((now, total))
                while now - self._counted[0][0] > RATE_WINDOW:
                    self._counted.popleft()


def _stopped() -> WorkerFailed:
    return WorkerFailed(
        "serve.stopped", "Serving was stopped.", remedy="Ask again once it has been started again."
    )
