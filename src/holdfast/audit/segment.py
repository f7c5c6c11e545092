"""Segments: the files that hold the log's events.

Layout: see ``holdfast.audit.verify``, which reads them; this module writes them, and finds events in them again.
Invariants: what a segment holds is never overwritten but where it is unused, which reads as zeros; only the last one has
unused space at its end; its name is its first event's sequence number; events are found through one remembered place per
``TILE`` events, so that memory stays small. All file operations go through a ``Disk``, so that tests can cut the power
between any two.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from holdfast.audit.merkle import TILE
from holdfast.audit.verify import HEAD, MAGIC, Record, Refused, read_segment, records
from holdfast.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEGMENT = 16 * 2**20  # bytes after which a segment is closed; small enough to be read whole
AHEAD = 2**20  # bytes of zeros written ahead: about 1,500 events are synced without a change of the size
_BLOCK = 2**18  # bytes read at once when events are looked up


class Disk(Protocol):
    """The file operations of the log. Each raises ``OSError`` when it could not do its work."""

    def make_folder(self, path: Path) -> None:
        """Make a folder for the owner alone, on disk when this returns; nothing if it is there."""

    def create(self, path: Path) -> int:
        """Make an empty file, or empty the one that is there, and open it for writing."""

    def open(self, path: Path) -> int:
        """Open a file for writing."""

    def write(self, handle: int, data: bytes, offset: int = 0) -> None:
        """Write all of the data, from an offset in the file."""

    def truncate(self, handle: int, size: int) -> None:
        """Cut the file off after so many bytes."""

    def sync(self, handle: int) -> None:
        """Return when the file's content is on disk."""

    def close(self, handle: int) -> None:
        """Let go of a file."""

    def rename(self, source: Path, target: Path) -> None:
        """Put a file in the place of another, atomically."""

    def unlink(self, path: Path) -> None:
        """Take a file's name away."""

    def sync_folder(self, folder: Path) -> None:
        """Return when the folder's names are on disk."""

    def free(self, folder: Path) -> int:
        """Give the bytes that a file in the folder could still take."""

    def reserve(self, path: Path, size: int) -> None:
        """Make a file of a size in bytes, its blocks taken; no file is left behind if there is no room."""


class HostDisk:
    """The real thing."""

    def make_folder(self, path: Path) -> None:  # noqa: D102 - as in Disk
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
            self.sync_folder(path.parent)

    def create(self, path: Path) -> int:  # noqa: D102 - as in Disk
        return os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def open(self, path: Path) -> int:  # noqa: D102 - as in Disk
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, handle: int, data: bytes, offset: int = 0) -> None:  # noqa: D102 - as in Disk
        view = memoryview(data)
        while view:
            done = os.pwrite(handle, view, offset)
            view, offset = view[done:], offset + done

    def truncate(self, handle: int, size: int) -> None:  # noqa: D102 - as in Disk
        os.ftruncate(handle, size)

    def sync(self, handle: int) -> None:  # noqa: D102 - as in Disk
        os.fdatasync(handle)

    def close(self, handle: int) -> None:  # noqa: D102 - as in Disk
        os.close(handle)

    def rename(self, source: Path, target: Path) -> None:  # noqa: D102 - as in Disk
        source.replace(target)

    def unlink(self, path: Path) -> None:  # noqa: D102 - as in Disk
        path.unlink()

    def sync_folder(self, folder: Path) -> None:  # noqa: D102 - as in Disk
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def free(self, folder: Path) -> int:  # noqa: D102 - as in Disk
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def reserve(self, path: Path, size: int) -> None:  # noqa: D102 - as in Disk
        handle = self.create(path)
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(handle)


def replace(disk: Disk, path: Path, data: bytes) -> None:
    """Put a whole file in place so that after a crash either the old or the new one is there.

    Args:
        disk: Where.
        path: The file.
        data: Its new content.
    """
    fresh = path.with_name(path.name + ".new")
    handle = disk.create(fresh)
    try:
        disk.write(handle, data)
        disk.sync(handle)
    finally:
        with suppress(OSError):
            disk.close(handle)
    disk.rename(fresh, path)
    disk.sync_folder(path.parent)


def name(first: int) -> str:
    """Name a segment's file.

    Args:
        first: Sequence number of its first event.

    Returns:
        20 digits and ``.seg``.
    """
    return f"{first:020}.seg"


def header(origin: str, first: int) -> bytes:
    """Write a segment's header.

    Args:
        origin: The log's name.
        first: Sequence number of its first event.

    Returns:
        The bytes that precede the first record.
    """
    return f"{MAGIC}\n{origin}\n{first}\n\n".encode()


def record(body: bytes, leaf: bytes, synced: int) -> bytes:
    """Write a record.

    Args:
        body: The event's bytes.
        leaf: Their leaf hash, 32 bytes.
        synced: Events that were on disk before this one is written.

    Returns:
        Head and body.
    """
    check = zlib.crc32(HEAD.pack(len(body), synced, leaf, 0)[:-4])
    return HEAD.pack(len(body), synced, leaf, check) + body


def is_torn(data: bytes, offset: int, seq: int) -> bool:
    """Tell whether unreadable bytes are an unfinished write rather than damage to events that were acknowledged.

    Every record says how many events were on disk before its group was written. So if a whole record stands behind the
    unreadable place and knew event ``seq`` to be on disk, that event was acknowledged and has been damaged since.

    Args:
        data: The segment's bytes.
        offset: Where reading failed.
        seq: The event expected there.

    Returns:
        False if a later record proves that the event was on disk.
    """
    place = offset
    while (place := data.find(b'{"action":"', place + 1)) >= 0:
        start = place - HEAD.size
        if start > offset:
            later: Record | None = next(records(data, start), None)
            if later is not None and later.body and later.synced > seq:
                return False
    return True


class Places:
    """Where events are: one remembered (segment, offset) per ``TILE`` events.

    Args:
        folder: The log's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seqs: list[int] = []
        self._found: list[tuple[int, int]] = []
        self.firsts: list[int] = []  # of each segment, in order

    def note(self, seq: int, first: int, offset: int) -> None:
        """Remember an event's place if it begins a tile or a segment.

        Args:
            seq: The event.
            first: First event of its segment.
            offset: Bytes from the segment's beginning to its record's head.
        """
        if seq % TILE == 0 or seq == first:
            self._seqs.append(seq)
            self._found.append((first, offset))
        if seq == first:
            self.firsts.append(first)

    def forget(self, until: int) -> None:
        """Forget the events of the first segments.

        Args:
            until: First event of the first segment that stays.
        """
        keep = bisect_right(self._seqs, until - 1)
        self._seqs, self._found = self._seqs[keep:], self._found[keep:]
        self.firsts = self.firsts[bisect_right(self.firsts, until - 1) :]

    def read(self, start: int, stop: int) -> Iterator[tuple[bytes, bytes]]:
        """Read stored events.

        Args:
            start: The first.
            stop: One past the last; must be on disk.

        Yields:
            Leaf hash and bytes as stored, in order.

        Raises:
            VerificationFailed: If a record is no longer what was written.
            FileNotFoundError: If the events were forgotten.
        """
        seqs, places = self._seqs, self._found  # forgetting puts others in their place
        at = bisect_right(seqs, start) - 1
        if at < 0 and start < stop:
            raise FileNotFoundError(name(start))
        while start < stop:
            seq, (first, offset) = seqs[at], places[at]
            path = self._folder / name(first)
            at += 1
            following = min(seqs[at], stop) if at < len(seqs) else stop
            for record, _ in walk(path, offset):
                if record.fault:
                    raise damaged(seq, path, record.fault)
                if seq >= start:
                    yield record.leaf, record.body
                seq += 1
                if seq == following:
                    break
            if seq < following:
                raise damaged(seq, path, "the segment ends too early")
            start = seq


class Follower:
    """Reads a growing log in order, from its first event that is here.

    Args:
        folder: The log's folder.
        first: Its first event; above 0 where a prefix was archived.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._folder = folder
        self._first, self._offset = first, 0
        self.seq = first
        self.origin = ""

    def read(self, stop: int) -> Iterator[tuple[bytes, bytes]]:
        """Read on.

        Args:
            stop: One past the last event wanted; must be on disk.

        Yields:
            Leaf hash and bytes as stored, in order.

        Raises:
            VerificationFailed: If a record is not what was written, or an event is missing.
        """
        while self.seq < stop:
            path = self._folder / name(self._first)
            try:
                if self._offset == 0:
                    self.origin, _, _, self._offset = read_segment(path)
                before = self.seq
                for record, end in walk(path, self._offset):
                    if record.fault:
                        raise damaged(self.seq, path, record.fault)
                    self.seq, self._offset = self.seq + 1, end
                    yield record.leaf, record.body
                    if self.seq == stop:
                        return
            except (Refused, OSError) as error:
                raise damaged(self.seq, path, str(error)) from error
            if self.seq == before and not (self._folder / name(self.seq)).exists():
                raise damaged(self.seq, path, "the segment ends too early")
            if (self._folder / name(self.seq)).exists():
                self._first, self._offset = self.seq, 0


def walk(path: Path, offset: int) -> Iterator[tuple[Record, int]]:
    """Read a segment's whole records, block by block.

    Args:
        path: The segment.
        offset: Where a record begins, bytes from the file's beginning.

    Yields:
        Each record, and where it ends in the file. An unfinished one and unused space at the end are left out.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(_BLOCK)
        while data:
            place = 0
            for found in records(data, 0):
                if found.torn:
                    break
                yield found, offset + found.end
                place = found.end
            more = file.read(_BLOCK)
            if not more:
                return
            data, offset = data[place:] + more, offset + place


def damaged(seq: int, path: Path, why: str) -> VerificationFailed:
    """Make the error about a stored event that is not what was written.

    Args:
        seq: The event.
        path: Its segment.
        why: What is wrong with it.

    Returns:
        The error, not raised.
    """
    return VerificationFailed(
        "audit.damaged",
        f"Event {seq} of the audit log (segment {path.name}) is damaged: {why}.",
        remedy="Keep the folder as it is, run `holdfast audit verify` on a copy, and restore from a backup.",
        seq=seq,
    )
