"""The chunks of a medium: each hashed against its name in the manifest, each file cut where our rule cuts it.

Invariants: every byte is read once for its digest; memory is one buffer per thread and the headers of files; what lies on another
volume or at the site is not judged here but where it is copied.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from holdfast.errors import OperationFailed, UntrustedBundle
from holdfast.formats import chunking
from holdfast.media import layout, read
from holdfast.store.hashfile import THREADS, buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from holdfast.formats.chunking import Chunk
    from holdfast.media.read import Medium
    from holdfast.media.verify import Progress, VerifiedMedium


def hash_all(verdict: VerifiedMedium, progress: Progress, cancelled: Callable[[], bool]) -> None:
    """Hash every chunk that is on a medium or volume, and check the cuts of every file whose header is there.

    Args:
        verdict: The verdict on everything else; its medium is open.
        progress: Told of the bytes hashed.
        cancelled: Asked between chunks whether to stop.

    Raises:
        UntrustedBundle: If a chunk is not what was signed, or a file is cut elsewhere.
        OperationFailed: If it was cancelled.
    """
    medium, found = verdict.medium, verdict.manifest
    chunks = {digest: size for digest, size in found.carried.items() if digest in verdict.expected}
    total, done = sum(chunks.values()), 0
    with ThreadPoolExecutor(THREADS) as pool:
        work = pool.map(lambda part: _hash_chunk(medium, part[0], part[1], cancelled), chunks.items())
        for size in work:
            done += size
            progress("verifying", done, total)
    for entry in found.entries:
        for file in entry.artefact.files:
            parts = entry.chunks[file.path]
            reader = _Reader(medium, parts, verdict.expected)
            try:
                check_cuts(file.path, reader.read, file.size, parts)
            except _ElsewhereError:
                continue  # the header lies on another volume or at the site; the import judges it there


def check_cuts(
    name: str, read_bytes: Callable[[int, int], bytes], size: int, chunks: tuple[Chunk, ...]
) -> None:
    """Check that a file is cut where our rule cuts it, so that its digest can be found again from the file alone.

    Args:
        name: The file's path, for the rule and for messages.
        read_bytes: Gives bytes of the file.
        size: The file's size in bytes.
        chunks: Its chunks as the manifest lists them.

    Raises:
        UntrustedBundle: If the cuts are others, or the file has no valid header.
    """
    if chunking.plan_for(name, read_bytes, size) != tuple(chunk.size for chunk in chunks):
        raise UntrustedBundle(
            "media.cuts",
            f"{name} is cut into chunks at other places than the format prescribes.",
            remedy="Have the medium built again by Holdfast.",
            file=name,
        )


def stopped() -> OperationFailed:
    """Say that somebody stopped the work.

    Returns:
        The error, not raised.
    """
    return OperationFailed("media.cancelled", "The work on the medium was stopped.", remedy="Start it again.")


def _hash_chunk(medium: Medium, digest: str, size: int, cancelled: Callable[[], bool]) -> int:
    if cancelled():
        raise stopped()
    path = layout.chunk(digest)
    whole, view = hashlib.sha512(), buffer()
    handle = medium.open(path)
    done = 0
    try:
        while done <= size and (count := os.readv(handle, [view])):
            whole.update(view[:count])
            done += count
    except OSError as problem:
        raise read.unreadable(path, problem) from problem
    finally:
        os.close(handle)
    if "sha512:" + whole.hexdigest() != digest:
        raise read.changed(path)
    return size


class _ElsewhereError(Exception):
    """Bytes were asked for that are not on this volume."""


class _Reader:
    """Gives bytes of a file that lies on the medium in chunks."""

    def __init__(self, medium: Medium, chunks: tuple[Chunk, ...], present: Collection[str]) -> None:
        self._medium = medium
        self._chunks = chunks
        self._present = present

    def read(self, offset: int, length: int) -> bytes:
        parts, start = bytearray(), 0
        for chunk in self._chunks:
            first, last = max(offset, start), min(offset + length, start + chunk.size)
            if first < last:
                parts += self._slice(chunk, first - start, last - first)
            start += chunk.size
        return bytes(parts)

    def _slice(self, chunk: Chunk, offset: int, length: int) -> bytes:
        if chunk.digest not in self._present:
            raise _ElsewhereError
        path = layout.chunk(chunk.digest)
        handle = self._medium.open(path)
        try:
            data = os.pread(handle, length, offset)
        except OSError as problem:
            raise read.unreadable(path, problem) from problem
        finally:
            os.close(handle)
        if len(data) != length:
            raise read.changed(path)
        return data
