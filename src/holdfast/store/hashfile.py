"""Digests of files on disk, by the chunks of their plan (see ``formats.chunking``).

Invariants: a file is read once, through one descriptor, in pieces of ``STEP`` bytes, by several threads; memory does not
grow with the file. A file that is shorter or longer than it said is an error.
"""

from __future__ import annotations

import hashlib
import os
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
    from pathlib import Path

STEP = 2**20  # bytes read at a time: larger than any disk's transfer, small beside the caches
THREADS = min(8, os.cpu_count() or 1)  # hashing saturates the disk well before eight


@dataclass(frozen=True)
class Described:
    """A file and its chunks.

    Args:
        ref: Path inside the artefact, size and digest.
        chunks: In order.
    """

    ref: FileRef
    chunks: tuple[Chunk, ...]


def describe(path: Path, name: str | None = None) -> Described:
    """Hash a file on disk.

    Args:
        path: The file; links are not followed.
        name: Its path inside its artefact; its own name if not given.

    Returns:
        The file's reference and chunks.

    Raises:
        VerificationFailed: If the file changes its length meanwhile.
        UntrustedBundle: If it is a safetensors file with a bad header.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return describe_open(handle, name or path.name)
    finally:
        os.close(handle)


def describe_open(handle: int, name: str) -> Described:
    """Hash an open file.

    Args:
        handle: Its descriptor; the position is not used.
        name: Its path inside its artefact.

    Returns:
        The file's reference and chunks.

    Raises:
        VerificationFailed: If the file changes its length meanwhile.
        UntrustedBundle: If it is a safetensors file with a bad header.
    """
    size = os.fstat(handle).st_size
    plan = chunking.plan_for(name, lambda offset, length: read_exactly(handle, offset, length), size)
    starts = accumulate(plan[:-1], initial=0) if plan else ()
    with ThreadPoolExecutor(THREADS) as pool:
        chunks = tuple(
            pool.map(lambda part: _hash(handle, part[0], part[1], name), zip(starts, plan, strict=True))
        )
    return Described(FileRef(name, size, hashing.of_chunks(chunk.digest for chunk in chunks)), chunks)


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


def _hash(handle: int, offset: int, size: int, name: str) -> Chunk:
    digest = hashlib.sha512()
    done = 0
    while done < size:
        part = os.pread(handle, min(STEP, size - done), offset + done)
        if not part:
            raise VerificationFailed(
                "store.file-short",
                f"{name} ended at byte {offset + done} while it was read.",
                remedy="Something else changes this file; stop that, then try again.",
                file=name,
            )
        digest.update(part)
        done += len(part)
    return Chunk("sha512:" + digest.hexdigest(), size)
