"""A log as it lies on its disk: segments, tree and checkpoint, with one writer.

Order of operations of an append: write → ``fdatasync`` → (for a new segment: sync the folder) → Merkle tree. A group for
which the file has no room brings zeros with it, over which the next ones are written: to sync what does not change a file's
size takes about half the time. Invariants:

- ``size`` counts what is on disk; a sequence number is given to one event only;
- every segment but the last ends with its last event; the last one may go on with zeros, but not beyond the size at which
  it is closed, so that none are left then;
- a checkpoint is stored before it is handed out;
- on opening, everything is read again and compared with the stored checkpoint. An unfinished write at the end, which
  nobody was told of, is cut off and kept beside the log as ``<seq>.torn``. What lies after the checkpoint is written anew,
  because after a failed sync the kernel may hold as clean in memory what never reached the disk;
- events are forgotten only after what stands for them is on disk; segments that a crash left behind are removed on opening.

Whatever fails here raises ``OSError``; after that, a writer must open the folder anew before it appends again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from holdfast.audit import archived, checkpoint, replay, segment, verify
from holdfast.audit.merkle import TILE, Tree, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from holdfast.audit.replay import Torn
    from holdfast.audit.signer import LogSigner

_SHARE = 16  # of the space that is free, the part that zeros may take
_BLOCK = 4_096  # bytes in which a disk gives out space


class Stored:
    """The log on disk; opened, and founded if its folder is empty.

    Args:
        folder: The log's folder; made if missing. The caller sees to it that nobody else writes to it.
        origin: The log's name.
        signer: The log's keys.
        disk: File operations.
        segment_bytes: Bytes after which a segment is closed.
        time: POSIX seconds, for a checkpoint that has to be made on opening.
    """

    def __init__(
        self,
        folder: Path,
        *,
        origin: str,
        signer: LogSigner,
        disk: segment.Disk,
        segment_bytes: int,
        time: int,
    ) -> None:
        self.folder, self.origin = folder, origin
        self.first = 0  # event that is still here
        self.torn: Torn | None = None  # an unfinished write found on opening
        self.open: dict[int, str] = {}  # acts without an outcome on opening: action by sequence number
        self.signed, self.note = -1, b""  # the stored checkpoint and the size it signs
        self._signer, self._disk, self._segment_bytes = signer, disk, segment_bytes
        self._lock = threading.Lock()  # over tree and places
        self._places = segment.Places(folder)
        self._tree = Tree(lambda start, stop: list(self.leaves(start, stop)))
        self._last, self._length, self._handle = 0, 0, -1  # the segment being written
        self._room = 0  # bytes of its file that are events or known zeros
        self._load(time)

    @property
    def size(self) -> int:
        """Events on disk."""
        return self._tree.size

    @property
    def tail(self) -> int:
        """Bytes of the segment being written: what opening may have to write anew."""
        return self._length

    def root(self) -> tuple[int, bytes]:
        """Give the head of the tree.

        Returns:
            Its size, and its root of 32 bytes.
        """
        with self._lock:
            return self._tree.size, self._tree.root()

    @property
    def tree(self) -> Tree:
        """The tree; it answers for every size up to ``size``."""
        return self._tree

    @property
    def boundaries(self) -> list[int]:
        """First events of the segments, in order."""
        with self._lock:
            return list(self._places.firsts)

    def read(self, start: int, stop: int) -> Iterator[tuple[bytes, bytes]]:
        """Read stored events.

        Args:
            start: The first, at least ``first``.
            stop: One past the last, at most ``size``.

        Yields:
            Leaf hash and bytes of each, in order.
        """
        yield from self._places.read(start, stop)

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """Read leaf hashes, of archived events too.

        Args:
            start: The first.
            stop: One past the last, at most ``size``.

        Yields:
            32 bytes each, in order.
        """
        while start < stop:
            first = self.first
            try:
                for leaf in (
                    archived.read(self.folder, first, start, min(stop, first))
                    if start < first
                    else (leaf for leaf, _ in self._places.read(start, stop))
                ):
                    start += 1
                    yield leaf
            except FileNotFoundError:
                if self.first == first:  # else it was forgotten meanwhile, and its tile is there
                    raise

    def append(self, bodies: Sequence[bytes], free: int) -> list[bytes]:
        """Write events, on disk when this returns.

        Args:
            bodies: Their bytes, the first numbered ``size``.
            free: Bytes that are free on the disk; when they are few, no zeros are written ahead.

        Returns:
            Their leaf hashes.
        """
        start = self._tree.size
        fresh = self._handle < 0 or self._length >= self._segment_bytes
        data = bytearray(segment.header(self.origin, start) if fresh else b"")
        base = 0 if fresh else self._length
        offsets, leaves = [], []
        for body in bodies:
            leaf = leaf_hash(body)
            offsets.append(base + len(data))
            leaves.append(leaf)
            data += segment.record(body, leaf, start)
        if fresh:
            self._roll(start)
        end = base + len(data)
        if end > self._room:
            ahead = min(segment.AHEAD, free // _SHARE // _BLOCK * _BLOCK, max(0, self._segment_bytes - end))
            data += bytes(ahead)
        self._disk.write(self._handle, bytes(data), base)
        self._disk.sync(self._handle)
        if fresh:
            self._disk.sync_folder(self.folder)
        self._length, self._room = end, max(self._room, base + len(data))
        with self._lock:
            for seq, (leaf, offset) in enumerate(zip(leaves, offsets, strict=True), start):
                self._places.note(seq, self._last, offset)
                self._tree.append(leaf)
        return leaves

    def _roll(self, first: int) -> None:
        self.close()
        self._handle = self._disk.create(self.folder / segment.name(first))
        self._last, self._length, self._room = first, 0, 0

    def sign(self, time: int) -> bytes:
        """Sign the log as it is on disk, and store the checkpoint.

        Args:
            time: POSIX seconds.

        Returns:
            The signed note.
        """
        size, root = self.root()
        note = checkpoint.make(self.origin, size, root, self._signer, time=time)
        segment.replace(self._disk, self.folder / "checkpoint", note)
        self.note, self.signed = note, size
        return note

    def sign_at(self, size: int, time: int) -> bytes:
        """Sign a head that the log had; it is not stored.

        Args:
            size: Events, at most ``size``.
            time: POSIX seconds.

        Returns:
            The signed note.
        """
        return checkpoint.make(self.origin, size, self._tree.root_at(size), self._signer, time=time)

    def keep(self, name: str, data: bytes) -> None:
        """Store a small file, on disk when this returns.

        Args:
            name: Its name in the log's folder, or in a folder beneath.
            data: Its content.
        """
        path = self.folder / name
        if path.parent != self.folder:
            self._disk.make_folder(path.parent)
        segment.replace(self._disk, path, data)

    def forget(self, until: int) -> None:
        """Remove the first segments, after what stands for their events is on disk.

        Args:
            until: One of ``boundaries``; the first event that stays.
        """
        before = self.first
        leaves = self.leaves(before // TILE * TILE, until)
        archived.write(self._disk, self.folder, (before, until), leaves, self._tree.peaks(until))
        gone = [first for first in self.boundaries if first < until]
        with self._lock:
            self.first = until
            self._places.forget(until)
        for first in gone:
            self._disk.unlink(self.folder / segment.name(first))

    def end(self) -> None:
        """Cut off what the segment being written does not use, and let go of it; all of it must be on disk."""
        try:
            if self._handle >= 0:
                self._disk.truncate(self._handle, self._length)  # not synced: readers know unused space
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the segment being written, as it is."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            self._disk.close(handle)

    # --- opening

    def _load(self, time: int) -> None:
        stored, public = self.folder / "checkpoint", self._signer.public(self.origin)
        self._disk.make_folder(self.folder)
        if not verify.segments(self.folder) and not stored.exists():
            segment.replace(self._disk, self.folder / "log.pub", public)
            self.sign(time)
            return
        if (self.folder / "log.pub").read_bytes() != public:
            raise replay.mismatch("its verifier keys (log.pub) are not those of the key file in use")
        self.note = stored.read_bytes()
        note = checkpoint.parse(self.note, self._signer.keys(self.origin))
        self._load_archived()
        files = [path for path in verify.segments(self.folder) if int(path.stem) >= self.first]
        found = replay.replay(self._disk, files, note, self._tree, self._places)
        self.open, self.torn, self.signed = found.open, found.torn, note.size
        left = set(verify.segments(self.folder)) - set(files)
        for path in (*left, *self.folder.rglob("*.new")):  # a removal and writes that a crash cut short
            self._disk.unlink(path)
        if not files:
            return
        behind = self.torn is not None or self.size != note.size
        if behind or files[-1].stat().st_size != len(found.kept):
            segment.replace(self._disk, files[-1], found.kept)
        if behind:
            self.sign(time)
        self._last, self._length = int(files[-1].stem), len(found.kept)
        self._room = self._length
        self._handle = self._disk.open(files[-1])

    def _load_archived(self) -> None:
        """Begin the tree with what was archived."""
        try:
            begun = verify.begin(self.folder)
        except verify.Refused as error:
            raise archived.damaged(str(error)) from error
        self.first = begun.size
        for leaf in archived.read(self.folder, self.first, 0, self.first):
            self._tree.append(leaf)
        if self._tree.root() != begun.root():
            raise archived.damaged("its tiles do not lead to its frontier")
