"""Files with their chunks, as a manifest and a request list them.

Invariants: a file's chunks are named by SHA-512, have a bounded size, add up to the file's size and hash to its digest. What
is listed twice is written the same way by whoever lists it. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.formats.chunking import LARGE, MAX_CHUNKS, Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from holdfast.artefact import FileRef
    from holdfast.canonical import Json
    from holdfast.errors import UntrustedBundle

MAX_DOCUMENT = 32 * 2**20  # bytes of a manifest or request; 200,000 chunks, 12 TB in the largest
# A chunk takes two values in 160 bytes; what is denser is no such list, and would take a hundred times its size in memory.
MAX_CONTAINERS = 400_000  # objects and lists
MAX_VALUES = 1_000_000

Chunks = dict[str, tuple[Chunk, ...]]  # the chunks of each file in order, by the file's path


def is_crowded(data: bytes) -> bool:
    """Tell before parsing whether a document would take much more memory than its bytes.

    Args:
        data: Its bytes, at most ``MAX_DOCUMENT`` of them.

    Returns:
        True if it holds more than ``MAX_CONTAINERS`` brackets or ``MAX_VALUES`` commas.
    """
    return data.count(b"{") + data.count(b"[") > MAX_CONTAINERS or data.count(b",") > MAX_VALUES


def to_json(files: Iterable[FileRef], chunks: Mapping[str, tuple[Chunk, ...]]) -> list[Json]:
    """Give files with their chunks as plain data.

    Args:
        files: The files.
        chunks: Each file's chunks in order, by the file's path.

    Returns:
        An object with ``path``, ``size``, ``digest`` and ``chunks`` for each file.
    """
    return [
        {
            "path": file.path,
            "size": file.size,
            "digest": file.digest,
            "chunks": [{"digest": one.digest, "size": one.size} for one in chunks[file.path]],
        }
        for file in files
    ]


def parse(value: Json, refuse: Callable[[str], UntrustedBundle]) -> Chunks:
    """Read the chunks of files from outside.

    Args:
        value: What ``to_json`` gives; paths, sizes and digests of the files are judged by ``artefact.parse_files``.
        refuse: Makes the error of the document that lists them, from a reason.

    Returns:
        Each file's chunks.

    Raises:
        UntrustedBundle: If a file's fields are others, or its chunks do not make up the file.
        UntrustedInput: If something is no digest.
    """
    found: Chunks = {}
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, dict) or set(item) != {"path", "size", "digest", "chunks"}:
            raise refuse("a file's fields are not exactly path, size, digest, chunks")
        path = str(item["path"])
        parts = _chunks(item["chunks"], path, refuse)
        if sum(chunk.size for chunk in parts) != item["size"]:
            raise refuse(f"the chunks of {path} do not add up to its size")
        if hashing.of_chunks(chunk.digest for chunk in parts) != item["digest"]:
            raise refuse(f"the digest of {path} is not that of its chunks")
        found[path] = parts
    return found


def sizes(
    listed: Iterable[Mapping[str, tuple[Chunk, ...]]], refuse: Callable[[str], UntrustedBundle]
) -> dict[str, int]:
    """Give every chunk's size, and check that it has one.

    Args:
        listed: The chunks of the files of each artefact.
        refuse: Makes the error of the document that lists them, from a reason.

    Returns:
        Sizes in bytes by digest, in the order of the files.

    Raises:
        UntrustedBundle: If a chunk is listed with two sizes.
    """
    found: dict[str, int] = {}
    for chunks in listed:
        for parts in chunks.values():
            for chunk in parts:
                if found.setdefault(chunk.digest, chunk.size) != chunk.size:
                    raise refuse("a chunk has two sizes")
    return found


def _chunks(value: Json, path: str, refuse: Callable[[str], UntrustedBundle]) -> tuple[Chunk, ...]:
    if not isinstance(value, list) or len(value) > MAX_CHUNKS:
        raise refuse(f"the chunks of {path} are not a list of at most {MAX_CHUNKS}")
    found = []
    for item in value:
        if not isinstance(item, dict) or set(item) != {"digest", "size"}:
            raise refuse(f"a chunk of {path} has other fields than digest and size")
        size = item["size"]
        if type(size) is not int or not 0 < size <= LARGE:
            raise refuse(f"a chunk of {path} has no size from 1 to {LARGE} bytes")
        digest = hashing.parse(item["digest"])
        if not digest.startswith("sha512:"):
            raise refuse(f"a chunk of {path} is not named by SHA-512")
        found.append(Chunk(digest, size))
    return tuple(found)
