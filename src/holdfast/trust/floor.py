"""The time floor: the latest moment that evidence shows to have passed.

An isolated clock can be set back, and expired metadata would then look fresh. So "now" is never before the floor, and the
floor rises to the ``created`` of every fully verified manifest and to the time of events that the log took by a trusted clock.
Invariants: alone, the floor never goes to a metadata's ``expires`` (a promise, not a fact) and never past it, never down, and
never by more than ``MAX_JUMP`` beyond what we took for now, for that would make everything signed since look expired; two people
may set it to any plausible moment.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.errors import NotPermitted, UntrustedBundle, UsageRefused

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_JUMP = timedelta(days=400)  # more than a year's medium, less than a typing error in a year
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # no medium of this format is older
LATEST = datetime(2200, 1, 1, tzinfo=UTC)  # no key or medium lives so long: a year typed wrong
_NEEDED = 2  # people who must agree on a floor


def now(clock: datetime, floor: datetime | None) -> datetime:
    """Give the time to judge by.

    Args:
        clock: What the host's clock says, with a time zone.
        floor: The floor, or None before the first import.

    Returns:
        The later of the two.
    """
    return clock if floor is None else max(clock, floor)


def raised(clock: datetime, floor: datetime | None, created: datetime, expires: datetime) -> datetime:
    """Give the floor after a manifest was fully verified.

    Args:
        clock: What the host's clock says, with a time zone.
        floor: The floor so far, or None.
        created: The manifest's own time.
        expires: The earliest expiry of the metadata that vouches for it.

    Returns:
        The new floor, never below the old one.

    Raises:
        UntrustedBundle: If the rise is too large for one person.
    """
    shown = min(created, expires)
    reference = now(clock, floor)
    if shown - reference > MAX_JUMP:
        wanted = shown.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise UntrustedBundle(
            "trust.floor-jump",
            f"The medium was made on {shown:%Y-%m-%d}, {(shown - reference).days} days after what this host takes for"
            f" today ({reference:%Y-%m-%d}).",
            remedy="Set the host's clock if it is wrong; if it can't be set, two administrators may confirm the time with"
            f" `holdfast exception ask floor {wanted}`.",
            created=shown.isoformat(),
            now=reference.isoformat(),
        )
    return shown if floor is None else max(floor, shown)


def witnessed(floor: datetime | None, moment: datetime) -> datetime:
    """Give the floor after the log took an event by a trusted clock.

    Args:
        floor: The floor so far, or None.
        moment: The event's time, with a time zone.

    Returns:
        The new floor, never below the old one; the old one if the rise would be too large to be believed without two people.
    """
    if floor is None:
        return moment
    return floor if moment - floor > MAX_JUMP else max(floor, moment)


def set_by_two(wanted: datetime, people: Collection[str]) -> datetime:
    """Give the floor that two people agreed on, higher or lower than before.

    Args:
        wanted: The new floor, with a time zone.
        people: The names of those who asked and granted.

    Returns:
        The new floor, UTC to the second.

    Raises:
        NotPermitted: If they are not two different people.
        UsageRefused: If the moment is not plausible.
    """
    if len(set(people)) < _NEEDED:
        raise NotPermitted(
            "trust.floor-alone",
            "The time floor was to be set by one person.",
            remedy="Let a second administrator grant it with `holdfast exception grant`.",
        )
    if wanted.tzinfo is None or not EARLIEST <= wanted <= LATEST:
        raise UsageRefused(
            "trust.floor-range",
            f"The time floor {wanted.isoformat()} is not a moment in UTC from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}.",
            remedy="Ask again with the right time: `holdfast exception ask floor 2026-01-31T12:00:00Z`.",
        )
    return wanted.astimezone(UTC).replace(microsecond=0)
