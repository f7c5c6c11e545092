"""Tensors written as safetensors: the same tensors give the same bytes.

A model above a bound is written in shards of at most that many bytes of tensors (one tensor may be larger) with an index, as
model libraries read them. Invariants: nothing but names, types, shapes and values is in the files; wider elements stand first
so that each tensor is aligned, then names in order; one tensor at a time is in memory; files are on disk when it returns.

Source: https://github.com/huggingface/safetensors, section "Format"; the index is that of ``save_pretrained``.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.formats.safetensors import ELEMENT_BITS
from holdfast.weights.spec import INDEX, WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_ALIGNMENT = 8  # bytes to which the data section begins, so that the widest element is aligned
_BYTE = 8  # bits


@dataclass(frozen=True)
class Entry:
    """A tensor to be written.

    Args:
        name: Its name.
        dtype: Element type, as safetensors writes it.
        shape: Its dimensions.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        bits = ELEMENT_BITS[self.dtype]
        for length in self.shape:
            bits *= length
        return bits // _BYTE


def write(
    folder: Path, entries: Sequence[Entry], content: Callable[[str], bytes | bytearray], bound: int
) -> list[str]:
    """Write tensors into a folder.

    Args:
        folder: Where to.
        entries: The tensors, in any order.
        content: Gives a tensor's bytes by its name; called once for each.
        bound: Most bytes of tensors in one file.

    Returns:
        The names of the files written.
    """
    shards: list[list[Entry]] = [[]]
    for entry in sorted(entries, key=lambda one: one.name):
        if shards[-1] and sum(one.size for one in shards[-1]) + entry.size > bound:
            shards.append([])
        shards[-1].append(entry)
    if len(shards) == 1:
        _write_one(folder / WHOLE, shards[0], content)
        return [WHOLE]
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _write_one(folder / name, shard, content)
    index = {
        "metadata": {"total_size": sum(entry.size for entry in entries)},
        "weight_map": {one.name: name for name, shard in zip(names, shards, strict=True) for one in shard},
    }
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    write_file(folder / INDEX, text.encode())
    return [*names, INDEX]


def write_file(path: Path, data: bytes) -> None:
    """Write a small file and wait until it is on disk.

    Args:
        path: The file.
        data: Its bytes.
    """
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _write_one(path: Path, entries: Sequence[Entry], content: Callable[[str], bytes | bytearray]) -> None:
    ordered = sorted(entries, key=lambda one: (-ELEMENT_BITS[one.dtype], one.name))
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for entry in ordered:
        end = start + entry.size
        table[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [start, end]}
        start = end
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        for entry in ordered:
            stream.write(content(entry.name))
        stream.flush()
        os.fsync(stream.fileno())
