"""Whether somebody moved the clock.

Linux slews its clocks together: what NTP corrects by running slower or faster moves the wall clock and the clock since boot
alike, and a suspended machine's clock since boot goes on. So the difference between the two changes only when the wall clock
is *set*. Invariants: every reading is compared with the last known difference, never with the reading before it, so that many
small steps add up to one that is noticed; neither slewing nor suspending is a step. Pure: readings are taken elsewhere.

Source: Linux ``clock_getres(2)``, CLOCK_BOOTTIME and CLOCK_MONOTONIC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from holdfast.audit.event import timestamp

SECOND = 1_000_000_000  # nanoseconds
BOUND = SECOND // 4  # that the clock may be moved without being said: far above what reading two clocks costs


@dataclass(frozen=True)
class Reading:
    """The host's clocks at one moment.

    Args:
        wall: CLOCK_REALTIME: nanoseconds since 1970.
        boot: CLOCK_BOOTTIME: nanoseconds since the machine booted, also while it was suspended.
        awake: CLOCK_MONOTONIC: the same without the time in suspension.
        blur: Nanoseconds within which they were read, so how far they may be off each other.
    """

    wall: int
    boot: int
    awake: int
    blur: int = 0

    @property
    def moment(self) -> datetime:
        """The wall clock's time, UTC."""
        return _moment(self.wall)

    @property
    def booted(self) -> str:
        """When the machine booted, as the wall clock has it: RFC 3339. It changes only when the wall clock is set."""
        return _text(self.wall - self.boot)


@dataclass(frozen=True)
class Step:
    """The wall clock was moved.

    Args:
        moved: Nanoseconds; negative if it was moved back.
        after: What it showed when that was noticed: nanoseconds since 1970.
    """

    moved: int
    after: int

    def params(self) -> dict[str, str | float]:
        """Give the parameters of ``clock.stepped``.

        Returns:
            ``seconds``, ``before`` (what the clock should have shown) and ``after``.
        """
        return {
            "seconds": seconds(self.moved),
            "before": _text(self.after - self.moved),
            "after": _text(self.after),
        }


class Watch:
    """Compares readings with the first one.

    Args:
        first: A reading.
    """

    def __init__(self, first: Reading) -> None:
        self._first = first
        self._difference, self._blur = first.wall - first.boot, first.blur

    def look(self, now: Reading) -> Step | None:
        """Judge a reading.

        Args:
            now: A later one.

        Returns:
            The step since the first reading or the last step, if it is larger than ``BOUND`` and the readings' blur.
        """
        moved = now.wall - now.boot - self._difference
        if abs(moved) <= BOUND + now.blur + self._blur:
            return None
        self._difference, self._blur = now.wall - now.boot, now.blur
        return Step(moved, now.wall)

    def uptime(self, now: Reading) -> float:
        """Tell how long ago the first reading was.

        Args:
            now: A later one.

        Returns:
            Seconds, those in suspension included.
        """
        return seconds(now.boot - self._first.boot)

    def slept(self, now: Reading) -> float:
        """Tell how long the machine was suspended since the first reading.

        Args:
            now: A later one.

        Returns:
            Seconds; what reading the clocks costs is no sleep.
        """
        asleep = (now.boot - now.awake) - (self._first.boot - self._first.awake)
        return seconds(asleep) if asleep > BOUND + now.blur + self._blur else 0.0


def since(last: str | None, booted: str | None, shift: int, now: Reading) -> Step | None:
    """Judge the clock at a start by what the log says of it.

    Args:
        last: Time of the log's last event; None if there is none.
        booted: When the machine booted as the log has it, if the log speaks of this boot of the machine; else None.
        shift: Milliseconds by which the log says that the clock was moved since it said so.
        now: The clocks now.

    Returns:
        The step: within one boot exactly, else the least that the clock must have been moved back, because it stands
        before the log's last event; None if there was none that can be seen.
    """
    if booted is not None:
        due = _nanoseconds(booted) + shift * (SECOND // 1000)
        moved = now.wall - now.boot - due
    else:
        moved = min(0, now.wall - _nanoseconds(last)) if last is not None else 0
    return Step(moved, now.wall) if abs(moved) > BOUND + now.blur else None


def seconds(nanoseconds: int) -> float:
    """Give a duration as events tell it.

    Args:
        nanoseconds: The duration.

    Returns:
        Seconds, to the millisecond.
    """
    return round(nanoseconds / SECOND, 3)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _text(nanoseconds: int) -> str:
    return timestamp(_moment(nanoseconds))


def _nanoseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1) * 1000
