"""A folder that appears whole or not at all.

Order of operations: make a draft beside the goal; write and sync every file; sync every folder; rename the draft onto the goal;
sync the folder that holds it. Invariants: whatever interrupts, the goal is absent or complete, and the draft is removed; a
chunk that is copied is hashed on its way, so that what is written is what its digest names; memory does not grow with what is
copied, nor with how much is to be copied.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from holdfast.errors import Conflict, OperationFailed
from holdfast.media import layout
from holdfast.store import disk, hashfile
from holdfast.store.hashfile import THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from holdfast.errors import HoldfastError
    from holdfast.formats.chunking import Chunk

AHEAD = 4 * THREADS  # pieces of work handed out before the first of them is done

Item = TypeVar("Item")
Done = TypeVar("Done")


class Draft:
    """The folder being made; a context manager that removes it unless it was published.

    Args:
        goal: Where it shall be: nothing yet, or an empty folder.

    Raises:
        Conflict: If something is there.
    """

    def __init__(self, goal: Path) -> None:
        require_free(goal)
        self._goal = goal
        self.folder = goal.parent / f".{goal.name}.{secrets.token_hex(4)}.draft"

    def __enter__(self) -> Self:
        try:
            self._goal.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o755)
        except OSError as problem:
            raise disk.fault(str(self._goal), problem) from problem
        return self

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if isinstance(problem, OSError):
            raise self._failed(problem) from problem

    def require_space(self, needed: int, what: str) -> None:
        """Refuse to begin what the disk can't hold.

        Args:
            needed: Bytes.
            what: What they are, for the message.

        Raises:
            NoSpace: If fewer are free.
        """
        disk.require_space(self.folder, needed, what)

    def file(self, path: str, data: bytes) -> None:
        """Write a small file durably, with the folders above it.

        Args:
            path: Its path in the folder; nothing is there.
            data: Its whole contents.
        """
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def chunk(self, handle: int, start: int, chunk: Chunk) -> bool:
        """Copy a chunk durably out of an open file, hashing it on its way. Chunks may be copied by several threads.

        Args:
            handle: The file's descriptor; the position is not used.
            start: The chunk's first byte in it.
            chunk: The chunk; no other thread copies it.

        Returns:
            Whether the bytes were those that the digest names; if not, the chunk is not in the folder.
        """
        place = self.folder / layout.chunk(chunk.digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        whole, done, view = hashlib.sha512(), 0, hashfile.buffer()
        with place.open("xb", buffering=0) as file:
            while done < chunk.size:
                count = os.preadv(handle, [view[: min(len(view), chunk.size - done)]], start + done)
                if not count:
                    break
                whole.update(view[:count])
                _write(file.fileno(), view[:count])
                done += count
            os.fsync(file.fileno())
        if done == chunk.size and "sha512:" + whole.hexdigest() == chunk.digest:
            return True
        place.unlink()
        return False

    def publish(self) -> None:
        """Put the folder in its place, durably."""
        for parent, _, _ in os.walk(self.folder, topdown=False):
            disk.sync_folder(Path(parent))
        self.folder.rename(self._goal)
        disk.sync_folder(self._goal.parent)

    def _failed(self, problem: OSError) -> HoldfastError:
        if problem.errno in disk.FULL:
            return disk.fault(str(self._goal), problem)
        return OperationFailed(
            "media.disk",
            f"{self._goal} could not be made: {problem.strerror or problem}.",
            remedy="Check the disks that are read and written, then start again.",
            path=str(self._goal),
        )


def require_free(goal: Path) -> None:
    """Refuse to write over something.

    Args:
        goal: Where a folder shall be.

    Raises:
        Conflict: If something is there that is not an empty folder.
    """
    if goal.is_symlink() or (goal.exists() and (not goal.is_dir() or any(goal.iterdir()))):
        raise Conflict(
            "media.out-taken",
            f"{goal} is not empty.",
            remedy="Name a new folder; a medium is never written over another.",
            path=str(goal),
        )


def in_parallel(work: Callable[[Item], Done], items: Iterable[Item], done: Callable[[Done], None]) -> None:
    """Do independent pieces of work in threads, a bounded number ahead; stop at the first fault.

    Args:
        work: Does one piece.
        items: The pieces.
        done: Takes the results, in the order of the pieces, in the caller's thread.
    """
    pool = ThreadPoolExecutor(THREADS)
    waiting: deque[Future[Done]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= AHEAD:
                done(waiting.popleft().result())
        while waiting:
            done(waiting.popleft().result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write(handle: int, data: memoryview) -> None:
    while data:
        data = data[os.write(handle, data) :]
