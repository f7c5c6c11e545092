"""Events that stay when the log's beginning is archived: what reports, receipts and lineages are drawn from.

Most of a log is answers, heartbeats and visits; what was admitted, made, decided and permitted is little, and is needed for as long
as the site stands. So an archived log keeps, beside the hashes of all leaves, the bytes of those few events in one file,
``<size>.kept``: records as in a segment, without a header. Invariants: the file is the one whose digest ``state.snapshot`` recorded,
so that none of its events can be left out; an event from it has the leaf hash that the tree has at its place.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.audit import segment, verify
from holdfast.custody import relog
from holdfast.errors import NotFound, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.audit.log import Log

MAX_KEPT = 2**30  # bytes of the file, read whole: a million events of 1 KB
PASSING = frozenset(  # what may leave the site's own disk: it says who came and what was answered, and is counted, not named
    {
        "access.denied",
        "access.refused",
        "answer",
        "answer.cancelled",
        "answer.done",
        "answer.failed",
        "answer.interrupted",
        "audit.read",
        "audit.refused",
        "daemon.heartbeat",
        "serve.refused",
        "serve.request",
        "serve.request.cancelled",
        "serve.request.done",
        "serve.request.failed",
        "serve.request.interrupted",
        "session.closed",
        "session.opened",
    }
)


class Kept:
    """The kept events of a log whose beginning was archived; none of a log that is whole.

    Args:
        log: The open log.
        folder: Its folder.
        digest: Of the file, as the log has it; None for a log that is whole.
    """

    def __init__(self, log: Log, folder: Path, digest: str | None) -> None:
        self._log, self._folder, self._digest = log, folder, digest

    @cached_property
    def _bodies(self) -> dict[int, bytes]:
        first = self._log.first
        if first == 0:
            return {}
        path = file(self._folder, first)
        found: dict[int, bytes] = {}
        data = relog.small(path, MAX_KEPT)
        if hashing.sha512(data) != self._digest:
            raise _damaged(path, "it is not the file that the log names")
        for record in verify.records(data, 0):
            shape = verify.LAYOUT.fullmatch(record.body)
            if record.fault or shape is None:
                raise _damaged(path, f"a record at byte {record.offset} is not what was written")
            found[int(shape["seq"])] = record.body
        return found

    def read(self) -> Iterator[bytes]:
        """Read the kept events.

        Yields:
            Each event's bytes, in order.

        Raises:
            VerificationFailed: If the file is missing or an event in it is not the one in the tree.
        """
        for seq, body in sorted(self._bodies.items()):
            yield self._checked(seq, body)

    def get(self, seq: int) -> bytes:
        """Read one event, wherever it is.

        Args:
            seq: Its number.

        Returns:
            Its bytes as stored.

        Raises:
            NotFound: If it was archived and is not among those that stay.
            VerificationFailed: As for ``read``.
        """
        if seq >= self._log.first:
            return next(iter(self._log.read(seq, seq + 1)))
        if seq not in self._bodies:
            raise NotFound(
                "audit.archived",
                f"Event {seq} was archived; the first that is here is {self._log.first}.",
                remedy="Look it up in the archive that holds it.",
                seq=seq,
            )
        return self._checked(seq, self._bodies[seq])

    def _checked(self, seq: int, body: bytes) -> bytes:
        if [verify.leaf_hash(body)] != [*self._log.leaves(seq, seq + 1)]:
            raise _damaged(file(self._folder, self._log.first), f"event {seq} is not the one in the tree")
        return body


def file(folder: Path, size: int) -> Path:
    """Name the file of kept events.

    Args:
        folder: The log's folder.
        size: Events that are archived.

    Returns:
        Its path.
    """
    return folder / f"{size:020}{relog.KEPT}"


def gather(log: Log, stay: Kept, size: int) -> bytes:
    """Write down the events that stay when everything below a size goes.

    Args:
        log: The open log.
        stay: Its kept events so far.
        size: One past the last event that goes.

    Returns:
        The bytes of the file.
    """
    data = bytearray()
    for body in stay.read():
        data += segment.record(body, verify.leaf_hash(body), 0)
    for body in log.read(log.first, size):
        shape = verify.LAYOUT.fullmatch(body)
        if shape is not None and shape["action"].decode() not in PASSING:
            data += segment.record(body, verify.leaf_hash(body), 0)
    return bytes(data)


def _damaged(path: Path, why: str) -> VerificationFailed:
    return VerificationFailed(
        "log.kept",
        f"{path.name}, which holds the events that stay of an archived beginning, is damaged: {why}.",
        remedy="Put the file back from the archive, which holds it too.",
    )
