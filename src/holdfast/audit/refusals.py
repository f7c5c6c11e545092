"""Refusals are counted, so that nobody can fill the log from outside.

``Tally`` adds up what was refused, by reason and by who asked; ``Pace`` says when a count may be put on the record. Invariants:
the sum over all counts taken is the number of refusals; a count's maps are bounded, and what does not fit is counted under
``other``; two counts are at least ``SHORTEST`` apart. Pure: the clock is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

OTHER = "other"
MAX_REASONS = (
    32  # told apart in one event; reasons are keys of our own errors, of which a caller can reach a dozen
)
MAX_CALLERS = 64  # told apart in one event: local users, or applications' keys
SHORTEST = 1.0  # seconds between two counts
BURST = 30.0  # refusals of one known caller that get an event each, however quickly they come
LONGEST = 60.0  # seconds between them while refusals go on: a flood of a whole day is some 1,500 events


@dataclass
class Tally:
    """A count of refusals."""

    count: int = 0
    since: float = 0.0  # when the first of them was added, in seconds of the caller's clock
    reasons: dict[str, int] = field(default_factory=dict)
    callers: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, caller: str | None, now: float) -> None:
        """Count one refusal.

        Args:
            reason: The error's key.
            caller: Who asked, as far as that is known.
            now: Seconds of a monotonic clock.
        """
        if not self.count:
            self.since = now
        self.count += 1
        _count(self.reasons, reason, 1, MAX_REASONS)
        if caller is not None:
            _count(self.callers, caller, 1, MAX_CALLERS)

    def put_back(self, other: Tally) -> None:
        """Add what could not be recorded.

        Args:
            other: An earlier count.
        """
        if other.count:
            self.since = other.since
        self.count += other.count
        for reason, number in other.reasons.items():
            _count(self.reasons, reason, number, MAX_REASONS)
        for caller, number in other.callers.items():
            _count(self.callers, caller, number, MAX_CALLERS)


def _count(counts: dict[str, int], name: str, number: int, most: int) -> None:
    if name not in counts and len(counts) >= most - (OTHER not in counts):
        name = OTHER
    counts[name] = counts.get(name, 0) + number


@dataclass
class Pace:
    """When the next count may be recorded: at once after a quiet time, then ever more rarely while refusals go on."""

    _last: float | None = None
    _pause: float = SHORTEST

    def wait(self, now: float) -> float:
        """Tell how long a refusal that happens now waits for its count to be recorded.

        Args:
            now: Seconds of a monotonic clock.

        Returns:
            Seconds; 0 if none was recorded for a while.
        """
        if self._last is None or now - self._last >= 2 * self._pause:
            self._last, self._pause = None, SHORTEST
            return 0.0
        return max(0.0, self._last + self._pause - now)

    def recorded(self, now: float) -> None:
        """Note that a count goes to the record.

        Args:
            now: Seconds of a monotonic clock.
        """
        if self._last is not None:
            self._pause = min(2 * self._pause, LONGEST)
        self._last = now


@dataclass
class Allowance:
    """How many refusals of one known caller get an event each, before they are counted too.

    Args:
        left: Events that may be recorded at once.
    """

    left: float = BURST
    _at: float = 0.0

    def take(self, now: float) -> bool:
        """Use one event, if there is one: as many as are left at first, one a second in the long run.

        Args:
            now: Seconds of a monotonic clock.

        Returns:
            Whether there was one.
        """
        self.left = min(BURST, self.left + (now - self._at) / SHORTEST)
        self._at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True
