"""Copying chunks into the files of a stage: one pass that reads, hashes and writes, by several threads.

Order of operations: pieces are carried in the order of the files, a few ahead; what has been carried gathers in a batch; a
batch is synced by a thread of its own while the next one is carried; only then is it recorded as safe. So the disk writes
all the time, the last sync is short, and a crash loses two batches at most. Invariants: bytes are hashed as they are
written; nothing is recorded before it is synced; memory is one buffer per thread; a file is open only while something of it
is carried or waits to be synced.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from holdfast.media.contents import stopped
from holdfast.store import disk
from holdfast.store.hashfile import STEP, THREADS, buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from holdfast.errors import HoldfastError
    from holdfast.media.journal import Journal
    from holdfast.media.verify import Progress
    from holdfast.store.disk import Disk

BATCH = 64 * 2**20  # bytes of a batch: enough that a sync costs little beside it
BATCH_FILES = 128  # files of a batch; each waits for its own sync, and descriptors are scarce
SYNCERS = 16  # syncs at a time: the file system commits small files together, and each only waits
CARRIERS = max(
    8, 2 * THREADS
)  # threads that carry: more than processors, for each waits for the medium part of the time
AHEAD = 2 * CARRIERS  # pieces handed to the threads before the oldest is asked for
READ_AHEAD = 4 * STEP  # bytes that the system is asked to fetch while others are hashed


class Source(Protocol):
    """Where the bytes of a piece come from."""

    def open(self) -> tuple[int, int]:
        """Open it.

        Returns:
            A descriptor, which the caller closes, and the first byte's place in it.
        """

    def unreadable(self, problem: OSError) -> HoldfastError:
        """Say that the system could not read it.

        Args:
            problem: What the system said.

        Returns:
            The error, not raised.
        """

    def wrong(self, found: str) -> HoldfastError:
        """Say that its bytes are others.

        Args:
            found: Their SHA-512, or of as many as there were.

        Returns:
            The error, not raised.
        """


@dataclass(frozen=True)
class Piece:
    """One chunk that shall go to one place.

    Args:
        number: The placement's number.
        goal: The file that it goes into; it exists.
        offset: The place of its first byte there.
        digest: SHA-512 of its bytes.
        size: How many they are.
        source: Where they come from.
    """

    number: int
    goal: Path
    offset: int
    digest: str
    size: int
    source: Source


@dataclass
class _Open:
    """A file that is being written: how many pieces of it are carried or wait to be synced."""

    handle: int
    users: int = 0


@dataclass
class _Batch:
    """What has been carried and is not yet synced."""

    pieces: list[Piece] = field(default_factory=list)
    size: int = 0


class Copier:
    """Carries pieces into a stage. Used once, by one thread.

    Args:
        on: The disk.
        journal: Takes what is safe.
        progress: Told of the bytes carried.
        cancelled: Asked between buffers whether to stop.
        total: Bytes in all, for the progress.
    """

    def __init__(
        self, on: Disk, journal: Journal, progress: Progress, cancelled: Callable[[], bool], total: int
    ) -> None:
        self._disk = on
        self._journal = journal
        self._progress = progress
        self._cancelled = cancelled
        self._total = total
        self._done = 0
        self._stop = threading.Event()
        self._files: dict[Path, _Open] = {}
        self._carried: deque[tuple[Piece, Future[None]]] = deque()
        self._batch = _Batch()
        self._syncing: tuple[_Batch, Future[None]] | None = None
        self._pool = ThreadPoolExecutor(CARRIERS)
        self._syncer = ThreadPoolExecutor(1)
        self._helpers = ThreadPoolExecutor(SYNCERS)

    def carry(self, pieces: Iterable[Piece]) -> None:
        """Copy pieces; all of them are safe when this returns.

        Args:
            pieces: In the order of their files.

        Raises:
            UntrustedBundle: If the medium's bytes are not what was signed.
            NoSpace: If the disk is full.
            OperationFailed: If the disk failed, or it was cancelled.
        """
        for piece in pieces:
            while len(self._carried) >= AHEAD:
                self._settle()
            handle = self._take(piece.goal)
            self._carried.append((piece, self._pool.submit(self._carry, piece, handle)))
        while self._carried:
            self._settle()
        self._hand_over()
        self._await_sync()

    def close(self) -> None:
        """Stop what is under way, wait for it, and let go of every file; nothing more becomes safe."""
        self._stop.set()
        for _, future in self._carried:
            future.cancel()
        self._pool.shutdown()  # a thread must not write to a descriptor that was closed
        self._syncer.shutdown()
        self._helpers.shutdown()
        for opened in self._files.values():
            with suppress(OSError):
                self._disk.close(opened.handle)
        self._files.clear()

    def _settle(self) -> None:
        piece, future = self._carried.popleft()
        future.result()
        self._batch.pieces.append(piece)
        self._batch.size += piece.size
        self._done += piece.size
        if self._batch.size >= BATCH or len(self._batch.pieces) >= BATCH_FILES:
            self._hand_over()
        self._progress("copying", self._done, self._total)

    def _hand_over(self) -> None:
        """Give the batch to the thread that syncs, once that has ended the one before."""
        if self._batch.pieces:
            self._await_sync()
            batch, self._batch = self._batch, _Batch()
            goals = {piece.goal: self._files[piece.goal].handle for piece in batch.pieces}
            self._syncing = batch, self._syncer.submit(self._sync, batch, tuple(goals.values()))

    def _await_sync(self) -> None:
        if self._syncing is not None:
            batch, future = self._syncing
            self._syncing = None
            future.result()
            for piece in batch.pieces:
                self._release(piece.goal)

    def _sync(self, batch: _Batch, handles: tuple[int, ...]) -> None:
        with disk.faults("the import"):
            for _ in self._helpers.map(self._disk.sync, handles):
                pass  # to hear of a sync that failed
            self._journal.append(piece.number for piece in batch.pieces)

    def _take(self, path: Path) -> int:
        opened = self._files.get(path)
        if opened is None:
            with disk.faults("the import"):
                opened = self._files[path] = _Open(self._disk.open(path))
        opened.users += 1
        return opened.handle

    def _release(self, path: Path) -> None:
        opened = self._files[path]
        opened.users -= 1
        if not opened.users:
            del self._files[path]
            with disk.faults("the import"):
                self._disk.close(opened.handle)

    def _carry(self, piece: Piece, goal: int) -> None:
        whole, view, done = hashlib.sha512(), buffer(), 0
        source, start = piece.source.open()
        try:
            _advise(source, start, min(READ_AHEAD, piece.size), os.POSIX_FADV_WILLNEED)
            while done < piece.size:
                if self._stop.is_set() or self._cancelled():
                    raise stopped()
                if done + READ_AHEAD < piece.size:
                    _advise(source, start + done + READ_AHEAD, STEP, os.POSIX_FADV_WILLNEED)
                try:
                    count = os.preadv(source, [view[: min(STEP, piece.size - done)]], start + done)
                except OSError as problem:
                    raise piece.source.unreadable(problem) from problem
                if not count:
                    break
                whole.update(view[:count])
                with disk.faults("the import"):
                    self._disk.write(goal, view[:count], piece.offset + done)
                done += count
        finally:
            os.close(source)
        found = "sha512:" + whole.hexdigest()
        if found != piece.digest:
            raise piece.source.wrong(found)


def _advise(handle: int, offset: int, length: int, advice: int) -> None:
    with suppress(OSError):  # advice: a file system that takes none is only slower
        os.posix_fadvise(handle, offset, length, advice)
