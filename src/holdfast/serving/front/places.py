"""Who may come in: a bounded number of requests for each model, of which no tenant can take all. Pure: the clock is the caller's.

A place is one answer to one prompt: a request for n answers to m prompts takes n·m. A model has ``parallel + queue`` of them.
While several tenants have keys, one of them may hold at most ``SHARE`` times as many as are then free, so that however many
greedy ones there are, the next to come finds some (dynamic thresholds, Choudhury and Hahne, IEEE/ACM Transactions on
Networking 6(2), 1998). Invariants: the places held of a model never exceed its bound; ``leave`` undoes exactly what ``take`` did.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field

from holdfast.errors import UntrustedRequest
from holdfast.serving.front.faults import Busy

SHARE = 2.0  # times the free places that one tenant may hold: two thirds of all, if it is the only greedy one
RECENT = 32  # ended requests of a model from which the waiting time of the next is estimated
LONGEST = 60  # seconds that anybody is told to wait; what lies further ahead can't be foreseen
FIRST = 1.0  # seconds that a request is assumed to take until one was measured


@dataclass(frozen=True)
class Bounds:
    """How much may be held.

    Args:
        parallel: Answers that the model computes side by side.
        queue: Answers that may wait besides.
        shared: Whether more than one tenant has a key.
    """

    parallel: int
    queue: int
    shared: bool


@dataclass(frozen=True, eq=False)
class Place:
    """What one request holds; made by ``Places.take``."""

    model: str
    tenant: str
    size: int
    since: float


@dataclass
class _Model:
    held: int = 0
    tenants: Counter[str] = field(default_factory=Counter)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def mean(self) -> float:
        return sum(self.recent) / len(self.recent) if self.recent else FIRST


class Places:
    """The places of all models."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    @property
    def held(self) -> int:
        """Places held of all models."""
        return sum(model.held for model in self._models.values())

    def take(self, model: str, tenant: str, size: int, bounds: Bounds, now: float) -> Place:
        """Take places for a request.

        Args:
            model: The model that computes.
            tenant: Who asks.
            size: Answers that are asked for.
            bounds: How much may be held.
            now: Seconds of a monotonic clock.

        Returns:
            What to give back.

        Raises:
            Busy: If there is no room for it now; its field ``retry_after`` says when to come again.
            UntrustedRequest: If there can never be room for so many answers at once.
        """
        found = self._models.setdefault(model, _Model())
        most = bounds.parallel + bounds.queue
        if size > most:
            raise UntrustedRequest(
                "serve.batch-size",
                f"{size} answers are asked for at once; {most} are possible here.",
                remedy="Ask for fewer in one request.",
                code="invalid_value",
                limit=most,
            )
        free = most - found.held
        if size > free:
            raise _busy(
                "serve.busy",
                f"{found.held} answers are being computed or wait already.",
                _seconds(found.mean * (found.held + size - most) / bounds.parallel),
            )
        own = found.tenants[tenant]
        if bounds.shared and own and own + size > SHARE * (free - size):
            raise _busy("serve.share", "Your share of the queue is used up.", _seconds(found.mean / own))
        found.held += size
        found.tenants[tenant] += size
        return Place(model, tenant, size, now)

    def leave(self, place: Place, now: float | None) -> None:
        """Give places back.

        Args:
            place: What ``take`` gave; to be given back once.
            now: Seconds of the same clock; None if nothing was computed, so that there is nothing to learn from it.
        """
        found = self._models[place.model]
        found.held -= place.size
        if now is not None:
            found.recent.append(max(0.0, now - place.since))
        found.tenants[place.tenant] -= place.size
        if not found.tenants[place.tenant]:
            del found.tenants[place.tenant]  # only those that hold something are remembered

    def keep(self, models: frozenset[str]) -> None:
        """Forget what was measured of models that are not served.

        Args:
            models: Those that are.
        """
        for name in [name for name, found in self._models.items() if name not in models and not found.held]:
            del self._models[name]


def _seconds(estimate: float) -> int:
    return min(LONGEST, max(1, math.ceil(estimate)))


def _busy(key: str, message: str, wait: int) -> Busy:
    return Busy(key, message, remedy=f"Try again in {wait} seconds.", retry_after=wait)
