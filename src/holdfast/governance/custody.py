"""The part of the fold that knows what became of the record itself: backups, archives, snapshots and restorations.

Invariants: a snapshot is believed only by the digest that stands here; what was archived stays archived; the highest counter
of a revocation list ever admitted stays known, whatever an older copy of the trust state says. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.audit.event import Event
    from holdfast.canonical import Json


@dataclass(frozen=True)
class Snapshot:
    """A folded state that was written down.

    Args:
        size: Events that are folded in it.
        digest: Of its bytes.
        kept: Digest of the events that stay when those are archived.
    """

    size: int
    digest: str
    kept: str


@dataclass(frozen=True)
class Archive:
    """A beginning of the log that was copied to be kept elsewhere.

    Args:
        seq: Sequence number of the intent.
        until: One past the last event in it.
        person: Who made it.
        manifest: Digest of the digest of the list of its files: who knows the latter, has the files.
    """

    seq: int
    until: int
    person: str
    manifest: str


@dataclass(frozen=True)
class Restoration:
    """That this home was made of a backup.

    Args:
        seq: Sequence number of the event.
        origin: The log that it continues.
        size: Events that came over from it.
        lost: What was named as lost.
    """

    seq: int
    origin: str
    size: int
    lost: tuple[str, ...]


class Custody:
    """The fold's part."""

    def __init__(self) -> None:
        # Of each backup, by its intent: when it was begun, and the digest of the trust state that it took.
        self.backups: dict[int, tuple[str, str | None]] = {}
        self.snapshots: dict[int, Snapshot] = {}  # by size
        self.archives: dict[int, Archive] = {}  # by the intent
        self.restorations: list[Restoration] = []
        self.revocations = 0  # the highest counter of a list that was admitted

    def apply(self, event: Event) -> None:
        """Fold one event in.

        Args:
            event: Any event.
        """
        told = event.params
        if event.action == "audit.backup":
            trust = told.get("trust")
            self.backups[event.seq] = (event.time, trust if isinstance(trust, str) else None)
        elif event.action == "revocation.listed":
            self.revocations = max(self.revocations, _number(told.get("counter")))
        elif event.action == "state.snapshot":
            size = _number(told.get("size"))
            self.snapshots[size] = Snapshot(size, str(told.get("digest")), str(told.get("kept")))
        elif event.action == "audit.archive.done" and event.cause is not None:
            self.archives[event.cause] = Archive(
                event.cause, _number(told.get("until")), event.actor.person, str(told.get("manifest"))
            )
        elif event.action == "home.restored":
            lost = told.get("lost")
            self.restorations.append(
                Restoration(
                    event.seq,
                    str(told.get("origin")),
                    _number(told.get("size")),
                    tuple(str(one) for one in lost) if isinstance(lost, list) else (),
                )
            )

    def backup_of(self, size: int) -> tuple[str, str | None] | None:
        """Find the backup whose log has a size.

        Args:
            size: Events in the backup's log; its own intent is the last of them.

        Returns:
            When it was begun, and the digest of the trust state that it took (None if there was none); None if there was no
            such backup.
        """
        return self.backups.get(size - 1)


def _number(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
