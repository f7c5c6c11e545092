"""Reading a log again when it is opened: what is whole, what was signed, and where an unfinished write begins.

Order of operations: every segment is read and checked, event by event, as the verifier does it; bytes after the last whole
event are set aside if they are an unfinished write, of which the disk may have kept any sectors and lost any others; then size and
root are compared with the checkpoint. Invariant: nothing is changed here but one new file beside the log, ``<seq>.torn``,
that keeps what is about to be cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.audit import segment
from holdfast.audit.verify import Chain, Refused, read_segment, records
from holdfast.errors import VerificationFailed

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.audit.merkle import Tree
    from holdfast.audit.verify import Note, Record


@dataclass(frozen=True)
class Torn:
    """An unfinished write that was found and cut off on opening.

    Args:
        seq: The event that it would have begun with.
        size: Bytes cut off.
        kept: Name of the file that keeps them.
    """

    seq: int
    size: int
    kept: str


@dataclass(frozen=True)
class Replayed:
    """What was found.

    Args:
        open: Intents without an outcome: action by sequence number.
        torn: An unfinished write at the end, if there was one.
        kept: The last segment's bytes up to the end of its last whole event.
    """

    open: dict[int, str]
    torn: Torn | None
    kept: bytes


def replay(disk: segment.Disk, files: list[Path], note: Note, tree: Tree, places: segment.Places) -> Replayed:
    """Read a log again.

    Args:
        disk: File operations, for keeping an unfinished write.
        files: The segments, in order.
        note: The stored checkpoint, its signatures verified.
        tree: An empty tree, which takes the leaves.
        places: Empty places, which take where events are.

    Returns:
        What was found.

    Raises:
        VerificationFailed: If an event is damaged, or the log is shorter or other than the checkpoint says.
    """
    reader = _Reader(disk, note, tree, places)
    kept = b""
    for path in files:
        kept = reader.read(path, last=path == files[-1])
    if tree.size < note.size:
        raise mismatch(f"it has {tree.size} events, but its checkpoint signs {note.size}")
    root = reader.chain.roots[note.size]
    if root != note.root:
        found = root.hex() if root else "none"
        raise mismatch(
            f"its root at {note.size} events is {found}, but its checkpoint signs {note.root.hex()}"
        )
    return Replayed(reader.chain.open, reader.torn, kept)


class _Reader:
    def __init__(self, disk: segment.Disk, note: Note, tree: Tree, places: segment.Places) -> None:
        self._disk, self._note, self._tree, self._places = disk, note, tree, places
        self.chain = Chain(tree, note.size)
        self.torn: Torn | None = None

    def read(self, path: Path, *, last: bool) -> bytes:
        """Read one segment; gives its bytes up to the end of the last whole event."""
        cuttable = last and self._tree.size >= self._note.size
        try:
            origin, first, data, end = read_segment(path)
        except Refused as error:
            header = segment.header(self._note.origin, self._tree.size)
            if cuttable and path.name == segment.name(self._tree.size):
                data = path.read_bytes()
                begun = header.startswith(data[: len(header)].rstrip(b"\0"))
                if begun and segment.is_torn(data, 0, self._tree.size):
                    self._cut(path, data)
                    return header
            raise segment.damaged(self._tree.size, path, str(error)) from error
        if origin != self._note.origin or first != self._tree.size:
            why = f"the segment begins at event {first} of the log {origin}"
            raise segment.damaged(self._tree.size, path, why)
        for record in records(data, end):
            cuttable = last and self._tree.size >= self._note.size
            if record.fault and cuttable and segment.is_torn(data, record.offset, self._tree.size):
                self._cut(path, data[record.offset :])
                break
            self._take(path, first, record)
            end = record.end
        if not last and end != len(data):
            raise segment.damaged(self._tree.size, path, "it goes on behind its last event")
        return data[:end]

    def _take(self, path: Path, first: int, record: Record) -> None:
        seq = self._tree.size
        problem, _ = self.chain.take(record)
        if problem:
            raise segment.damaged(seq, path, problem)
        self._places.note(seq, first, record.offset)

    def _cut(self, path: Path, rest: bytes) -> None:
        """Keep an unfinished write beside the log, less the unused space behind it."""
        rest = rest.rstrip(b"\0")
        self.torn = Torn(self._tree.size, len(rest), f"{self._tree.size:020}.torn")
        segment.replace(self._disk, path.with_name(self.torn.kept), rest)


def mismatch(why: str) -> VerificationFailed:
    """Make the error about a log that is not what was signed.

    Args:
        why: What differs.

    Returns:
        The error, not raised.
    """
    return VerificationFailed(
        "audit.checkpoint-mismatch",
        f"The audit log is not what was signed: {why}.",
        remedy="Keep the folder as it is and restore the log from a backup.",
    )
