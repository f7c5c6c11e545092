"""Taking a verified medium in: one pass that copies and hashes together.

Order of operations: is there room; make a stage on the store's file system; copy every file from its chunks, hashing what is
written, because a medium can change between check and copy; sync each file; check its cuts. Nothing outside the stage is
touched, and whatever goes wrong, the stage is removed. The caller has the staged folders inspected and admitted, then
gives them to ``Store.adopt`` and discards the stage.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from holdfast.media import layout
from holdfast.media.read import unreadable
from holdfast.media.verify import changed, check_cuts, stopped
from holdfast.store import disk
from holdfast.store.hashfile import STEP, THREADS, read_exactly

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.artefact import Artefact, FileRef
    from holdfast.formats.chunking import Chunk
    from holdfast.media.read import Medium
    from holdfast.media.verify import Progress, VerifiedMedium
    from holdfast.store.files import Store

OPEN_FILES = 32  # being written at a time; descriptors are scarce and each waits for its sync


def stage_medium(
    verified: VerifiedMedium,
    store: Store,
    progress: Progress,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[tuple[Artefact, Path]]:
    """Copy what is new on a medium into a stage of the store.

    Args:
        verified: The verdict, whose medium is open; its chunks need not have been hashed yet.
        store: Where the artefacts shall go.
        progress: Told of the bytes copied.
        cancelled: Asked between pieces whether to stop.

    Returns:
        Each artefact with the folder that holds its files: inside one new stage, or already in the store. The stage is
        the parent folder of the staged ones; see ``discard_staged``.

    Raises:
        NoSpace: If the disk can't hold it; nothing was copied or is left.
        UntrustedBundle: If a chunk is not what was signed.
        OperationFailed: If it was cancelled.
    """
    new = {e.artefact.digest: e for e in verified.manifest.entries if not store.has(e.artefact.digest)}
    size = sum(entry.artefact.size for entry in new.values())
    what = f"the medium {verified.manifest.name} {verified.manifest.version}"
    disk.require_space(store.root, size, what)
    stage = store.stage(f"import-{secrets.token_hex(8)}")
    copy = _Copy(verified.medium, progress, cancelled, size)
    places: dict[str, Path] = {}
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for number, (digest, entry) in enumerate(new.items()):
                    folder = places[digest] = stage / str(number)
                    folder.mkdir(mode=0o700)
                    for file in entry.artefact.files:
                        copy.begin(pool, folder / file.path, file, entry.chunks[file.path])
                copy.finish(pool)
            except BaseException:
                copy.abandon()
                raise
    except OSError as problem:
        store.discard_stage(stage)
        if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk.no_space(what, needed=size, free=shutil.disk_usage(store.root).free) from problem
        raise
    except BaseException:
        store.discard_stage(stage)
        raise
    if not new:
        store.discard_stage(stage)
    return [
        (entry.artefact, places.get(entry.artefact.digest) or store.folder(entry.artefact.digest))
        for entry in verified.manifest.entries
    ]


def discard_staged(staged: list[tuple[Artefact, Path]], store: Store) -> None:
    """Remove the stage of an import, whether its artefacts were adopted or not.

    Args:
        staged: What ``stage_medium`` gave.
        store: The store.
    """
    stages = {folder.parent for _, folder in staged if folder.parent.parent == store.root / "stage"}
    for stage in stages:
        store.discard_stage(stage)


@dataclass
class _Open:
    """A file being written."""

    path: Path
    handle: int
    file: FileRef
    chunks: tuple[Chunk, ...]
    work: list[Future[None]]


class _Copy:
    """The files of one import."""

    def __init__(self, medium: Medium, progress: Progress, cancelled: Callable[[], bool], total: int) -> None:
        self._medium = medium
        self._progress = progress
        self._cancelled = cancelled
        self._total = total
        self._done = 0
        self._stop = threading.Event()
        self._open: deque[_Open] = deque()

    def begin(self, pool: ThreadPoolExecutor, path: Path, file: FileRef, chunks: tuple[Chunk, ...]) -> None:
        while len(self._open) >= OPEN_FILES:
            self._close_first(pool)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        entry = _Open(path, handle, file, chunks, [])
        self._open.append(entry)
        starts = accumulate((chunk.size for chunk in chunks[:-1]), initial=0)
        entry.work = [
            pool.submit(self._chunk, handle, start, chunk)
            for start, chunk in zip(starts, chunks, strict=False)
        ]

    def finish(self, pool: ThreadPoolExecutor) -> None:
        while self._open:
            self._close_first(pool)

    def abandon(self) -> None:
        self._stop.set()
        for entry in self._open:
            for future in entry.work:
                if not future.cancel():
                    future.exception()  # wait: a thread must not write to a descriptor that was closed
            os.close(entry.handle)

    def _close_first(self, pool: ThreadPoolExecutor) -> None:
        entry = self._open[0]
        for future, chunk in zip(entry.work, entry.chunks, strict=True):
            future.result()
            self._done += chunk.size
            self._progress("copying", self._done, self._total)
        check_cuts(
            entry.file.path,
            lambda offset, length: read_exactly(entry.handle, offset, length),
            os.fstat(entry.handle).st_size,
            entry.chunks,
        )
        pool.submit(os.fsync, entry.handle).result()
        self._open.popleft()
        os.close(entry.handle)

    def _chunk(self, handle: int, offset: int, chunk: Chunk) -> None:
        path = layout.chunk(chunk.digest)
        digest = hashlib.sha512()
        done = 0
        source = self._medium.open(path)
        try:
            while done <= chunk.size:
                if self._stop.is_set() or self._cancelled():
                    raise stopped()
                try:
                    part = os.read(source, min(STEP, chunk.size + 1 - done))
                except OSError as problem:
                    raise unreadable(path, problem) from problem
                if not part:
                    break
                if done + len(part) > chunk.size:
                    raise changed(path)
                digest.update(part)
                _write(handle, part, offset + done)
                done += len(part)
        finally:
            os.close(source)
        if "sha512:" + digest.hexdigest() != chunk.digest:
            raise changed(path)


def _write(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count
