"""Digests of files on disk, by the chunks of their plan (see ``formats.chunking``).

Invariants: a file is read once, through one descriptor, in pieces of ``STEP`` bytes, by several threads; memory does not
grow with the file. A file that is shorter or longer than it said is an error.
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import FileRef
from holdfast.errors import VerificationFailed
from holdfast.formats import chunking
from holdfast.formats.chunking import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

STEP = 2**20  # bytes read at a time: larger than any disk's transfer, small beside the caches
THREADS = min(8, os.cpu_count() or 1)  # hashing saturates the disk well before eight
_LOCAL = threading.local()


@dataclass(frozen=True)
class Described:
    """A file and its chunks.

    Args:
        ref: Path inside the artefact, size and digest.
        chunks: In order.
    """

    ref: FileRef
    chunks: tuple[Chunk, ...]


def describe(
    path: Path, name: str | None = None, *, hashed: Callable[[int], None] = lambda _: None
) -> Described:
    """Hash a file on disk.

    Args:
        path: The file; links are not followed.
        name: Its path inside its artefact; its own name if not given.
        hashed: Told of the bytes of each chunk, in the caller's thread.

    Returns:
        The file's reference and chunks.

    Raises:
        VerificationFailed: If the file changes its length meanwhile.
        UntrustedBundle: If it is a safetensors file with a bad header.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return describe_open(handle, name or path.name, hashed=hashed)
    finally:
        os.close(handle)


def describe_open(handle: int, name: str, *, hashed: Callable[[int], None] = lambda _: None) -> Described:
    """Hash an open file.

    Args:
        handle: Its descriptor; the position is not used.
        name: Its path inside its artefact.
        hashed: Told of the bytes of each chunk, in the caller's thread.

    Returns:
        The file's reference and chunks.

    Raises:
        VerificationFailed: If the file changes its length meanwhile.
        UntrustedBundle: If it is a safetensors file with a bad header.
    """
    size = os.fstat(handle).st_size
    plan = chunking.plan_for(name, lambda offset, length: read_exactly(handle, offset, length), size)
    starts = accumulate(plan[:-1], initial=0) if plan else ()
    parts = tuple(zip(starts, plan, strict=True))
    chunks: list[Chunk] = []

    def take(found: Iterable[Chunk]) -> None:
        for chunk in found:
            chunks.append(chunk)
            hashed(chunk.size)

    if len(parts) <= 1:  # most files are small, and threads cost more than they do
        take(_hash(handle, start, length, name) for start, length in parts)
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            take(pool.map(lambda part: _hash(handle, part[0], part[1], name), parts))
    ref = FileRef(name, size, hashing.of_chunks(chunk.digest for chunk in chunks))
    return Described(ref, tuple(chunks))


def read_exactly(handle: int, offset: int, length: int) -> bytes:
    """Read from a position, however the system splits it.

    Args:
        handle: A descriptor.
        offset: First byte.
        length: Bytes wanted.

    Returns:
        Those bytes; fewer only at the end of the file.
    """
    parts = bytearray()
    while len(parts) < length:
        part = os.pread(handle, length - len(parts), offset + len(parts))
        if not part:
            break
        parts += part
    return bytes(parts)


def buffer() -> memoryview:
    """Give this thread's buffer, so that no piece is allocated anew.

    Returns:
        ``STEP`` writable bytes; valid until the thread asks for it again.
    """
    if not hasattr(_LOCAL, "view"):
        _LOCAL.view = memoryview(bytearray(STEP))
    view: memoryview = _LOCAL.view
    return view


def _hash(handle: int, offset: int, size: int, name: str) -> Chunk:
    digest = hashlib.sha512()
    view = buffer()
    done = 0
    while done < size:
        count = os.preadv(handle, [view[: min(STEP, size - done)]], offset + done)
        if not count:
            raise VerificationFailed(
                "store.file-short",
                f"{name} ended at byte {offset + done} while it was read.",
                remedy="Something else changes this file; stop that, then try again.",
                file=name,
            )
        digest.update(view[:count])
        done += count
    return Chunk("sha512:" + digest.hexdigest(), size)
