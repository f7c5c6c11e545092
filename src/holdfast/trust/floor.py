"""The time floor: the latest moment that signed evidence shows to have passed.

An isolated clock can be set back, and expired metadata would then look fresh. So "now" is never before the floor, and the
floor rises to the ``created`` of every fully verified manifest. Invariants: never to a metadata's ``expires`` (a promise, not
a fact), and never past it; never down; and a rise of more than ``MAX_JUMP`` beyond what we took for now is refused, for
it would make everything signed since look expired: two people must confirm it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from holdfast.errors import UntrustedBundle

MAX_JUMP = timedelta(days=400)  # more than a year's medium, less than a typing error in a year


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
        raise UntrustedBundle(
            "trust.floor-jump",
            f"The medium was made on {shown:%Y-%m-%d}, {(shown - reference).days} days after what this host takes for"
            f" today ({reference:%Y-%m-%d}).",
            remedy="Set the host's clock; if it is right, do not import this medium.",
            created=shown.isoformat(),
            now=reference.isoformat(),
        )
    return shown if floor is None else max(floor, shown)
