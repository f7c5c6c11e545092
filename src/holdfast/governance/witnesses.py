"""Witnesses of the site's log: auditors' devices that cosign what it signs, and what each cosigned last.

Invariants: a witness is known by a name of this site's and by the two verifier keys that were received from it; a cosignature
counts for the witness that was known by its keys then; who is removed is asked no more, and what they cosigned stays on the
record. What lies between two cosignatures can be rewritten by whoever steals the log's key, so a site that has witnesses is
told when none has cosigned for ``OVERDUE``. Pure: the time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.audit.event import Event
    from holdfast.canonical import Json

OVERDUE = timedelta(
    days=7
)  # without a cosignature: a week is what may have to be looked through after a theft
MAX_WITNESSES = 16  # of one site; a checkpoint with all their lines still fits its bound


@dataclass(frozen=True)
class Witness:
    """A witness and what it cosigned last.

    Args:
        name: What this site calls it.
        keys: Its two verifier keys, C2SP vkeys.
        added: When it was added, RFC 3339.
        size: Events it cosigned last; 0 if none.
        root: Their Merkle root, hexadecimal; empty if none.
        time: When it cosigned, POSIX seconds; None if it has not.
        origin: Name of the log that it cosigned; empty if none.
        note: The checkpoint with the log's signatures and its own; empty if none.
    """

    name: str
    keys: tuple[str, ...]
    added: str
    size: int = 0
    root: str = ""
    time: int | None = None
    origin: str = ""
    note: str = ""

    def last(self) -> datetime:
        """Give the moment since which nothing was cosigned.

        Returns:
            When it cosigned last; when it was added, if it never did.
        """
        return (
            datetime.fromisoformat(self.added)
            if self.time is None
            else datetime.fromtimestamp(self.time, UTC)
        )


class Witnesses:
    """The witnesses, folded from the log."""

    def __init__(self) -> None:
        self.known: dict[str, Witness] = {}

    def apply(self, event: Event) -> None:
        """Fold one event in.

        Args:
            event: The next event of the log.
        """
        told = event.params
        if event.action == "audit.witness.added":
            name, keys = str(told.get("name")), told.get("keys")
            listed = tuple(str(key) for key in keys) if isinstance(keys, list) else ()
            self.known[name] = Witness(name, listed, event.time)
        elif event.action == "audit.witness.removed":
            self.known.pop(str(told.get("name")), None)
        elif event.action == "audit.cosigned" and str(told.get("witness")) in self.known:
            name = str(told.get("witness"))
            self.known[name] = replace(
                self.known[name],
                size=_number(told.get("size")),
                root=str(told.get("root")),
                time=_number(told.get("time")),
                origin=str(told.get("origin")),
                note=str(told.get("note")),
            )

    def overdue(self, now: datetime) -> str | None:
        """Say that nobody has cosigned the log for long, if so.

        Args:
            now: The site's clock.

        Returns:
            A sentence; None if there is no witness, or one cosigned within ``OVERDUE``.
        """
        if not self.known:
            return None
        last = max(self.known.values(), key=Witness.last)
        if now - last.last() <= OVERDUE:
            return None
        days = (now - last.last()).days
        return (
            f"No witness has cosigned the audit log for {days} days (the last is {last.name}, at {last.size} events): run "
            "`holdfast audit checkpoint --witness NAME` and take it to an auditor."
        )


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
