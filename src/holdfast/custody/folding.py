"""The fold of a log that may begin with a snapshot.

Order of operations: where the first events were archived, the newest snapshot at the log's first event is read and believed
only if ``state.snapshot``, an event that is still in the log, names its digest; then every event that is here is folded.
Invariant: the result is what folding every event from the first would give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.audit import event as events
from holdfast.audit import verify
from holdfast.custody import relog
from holdfast.errors import VerificationFailed
from holdfast.governance import snapshot
from holdfast.governance.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from holdfast.audit.event import Event
    from holdfast.audit.log import Log

TAKEN = "state.snapshot"  # the event that vouches for a snapshot


def snapshot_file(folder: Path, size: int) -> Path:
    """Name a snapshot's file.

    Args:
        folder: The log's folder.
        size: Events folded in it.

    Returns:
        Its path.
    """
    return folder / f"{size:020}{relog.SNAPSHOT}"


def fold(log: Log, folder: Path) -> State:
    """Fold a log as far as it goes.

    Args:
        log: The open log.
        folder: Its folder.

    Returns:
        The state.

    Raises:
        VerificationFailed: If the snapshot it begins with is missing, or is not the one that the log names.
    """
    return fold_until(log, folder, log.size)


def fold_until(log: Log, folder: Path, size: int) -> State:
    """Fold a log up to a size.

    Args:
        log: The open log.
        folder: Its folder.
        size: How many events; at least ``log.first``.

    Returns:
        The state.

    Raises:
        VerificationFailed: As for ``fold``.
    """
    state = begin(folder, log.first, (events.parse(body) for body in log.read(log.first, log.size)))
    for body in log.read(state.size, size):
        state.apply(events.parse(body))
    return state


def begin(folder: Path, first: int, following: Iterable[Event]) -> State:
    """Give the state that a log begins with.

    Args:
        folder: The log's folder.
        first: Its first event that is here.
        following: The events from there on; read only where a snapshot is needed.

    Returns:
        An empty fold for a log that begins at 0, else the one in the snapshot.

    Raises:
        VerificationFailed: As for ``fold``.
    """
    if first == 0:
        return State()
    data = relog.small(snapshot_file(folder, first), snapshot.MAX_SNAPSHOT)
    digest = hashing.sha512(data)
    vouched = any(
        one.action == TAKEN and one.params.get("size") == first and one.params.get("digest") == digest
        for one in following
    )
    if not vouched:
        raise VerificationFailed(
            "log.snapshot",
            f"The snapshot of the first {first} events is not one that the log names.",
            remedy="Keep the home as it is; put the snapshot back from the archive, or restore a backup.",
        )
    state = snapshot.decode(data)
    if state.size != first:
        raise VerificationFailed(
            "log.snapshot",
            f"The snapshot holds {state.size} events, the log begins at {first}.",
            remedy="Keep the home as it is, and restore a backup.",
        )
    return state


def root_at(folder: Path, size: int) -> bytes:
    """Give the Merkle root that a verified log had at a size.

    Args:
        folder: The log's folder.
        size: Leaves; the folder must reach so far.

    Returns:
        32 bytes.

    Raises:
        VerificationFailed: If the folder begins later or ends earlier.
    """
    tree = verify.begin(folder)
    for path in verify.segments(folder):
        _, _, data, begins = verify.read_segment(path)
        for record in verify.records(data, begins):
            if tree.size == size:
                return tree.root()
            tree.append(record.leaf)
    if tree.size != size:
        raise VerificationFailed(
            "restore.size",
            f"{folder} does not reach from the beginning to event {size}.",
            remedy="Bring the whole log folder.",
        )
    return tree.root()
