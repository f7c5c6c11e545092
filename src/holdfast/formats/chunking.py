"""Where a file is cut into chunks.

Invariants: the cuts are a pure function of the file, so that a file has one digest wherever it is hashed; they cover it
without gap or overlap. Safetensors and GGUF files are cut at tensor boundaries: the header apart, tensors over ``SMALL``
by themselves, every ``LARGE`` bytes, runs of smaller ones grouped up to ``SMALL``; so two versions of a model share the
chunks of every unchanged tensor. A GGUF tensor's padding belongs to it. Any other file is cut every ``PIECE`` bytes.
Changing these constants changes every digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.formats import gguf, safetensors

if TYPE_CHECKING:
    from holdfast.formats.safetensors import Read

LARGE = 64 * 2**20  # bytes of the largest chunk: what one thread hashes at a time
SMALL = 4 * 2**20  # bytes up to which small tensors share a chunk: fewer files on the medium
PIECE = 16 * 2**20  # bytes of a chunk of a file without tensors
MAX_CHUNKS = 1_000_000  # of one file: 16 TB in pieces


@dataclass(frozen=True)
class Chunk:
    """One chunk of a file.

    Args:
        digest: SHA-512 of its bytes.
        size: Bytes.
    """

    digest: str
    size: int


def plan_for(name: str, read: Read, size: int) -> tuple[int, ...]:
    """Give the sizes of a file's chunks, in order.

    Args:
        name: The file's name; its ending decides the rule.
        read: Gives bytes of the file; only the header is asked for.
        size: The file's size in bytes.

    Returns:
        Sizes in bytes; their sum is ``size``. Empty for an empty file.

    Raises:
        UntrustedBundle: If the header of a safetensors or GGUF file is not valid.
    """
    if name.endswith(".safetensors"):
        header = safetensors.parse(read, size, name)
        return (header.size, *_group([tensor.end - tensor.start for tensor in header.tensors]))
    if name.endswith(".gguf"):
        table = gguf.parse(read, size, name)
        return (*_every(LARGE, table.size), *_group([tensor.extent for tensor in table.tensors]))
    return _every(PIECE, size)


def _group(sizes: list[int]) -> list[int]:
    cuts: list[int] = []
    group = 0
    for size in sizes:
        if group and group + size > SMALL:
            cuts.append(group)
            group = 0
        if size > SMALL:
            cuts.extend(_every(LARGE, size))
        else:
            group += size
    return [*cuts, group] if group else cuts


def _every(step: int, size: int) -> tuple[int, ...]:
    whole, rest = divmod(size, step)
    return (step,) * whole + ((rest,) if rest else ())
