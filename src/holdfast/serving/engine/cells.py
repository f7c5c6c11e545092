"""How llama.cpp writes down what a sequence's cells hold, read so far that cells of zeros can be written. Pure.

``llama_state_seq_set_data`` is the one way to overwrite the keys and values of a sequence while others are computed with;
forgetting a sequence leaves its bytes where they are. The layout is learnt from the state of a sequence of one cell, and
states of any number of cells are made of it. Invariant: a state that is not exactly as described here is refused, so that
nothing is believed to be overwritten that is not. The zeros are pages that nobody writes, so they take no memory.

Source: ``llama_context::state_seq_get_data`` and ``llama_kv_cache::state_write`` of the pinned llama.cpp: a magic number and
the sequence, which is not looked at when it is read; then for each cache the number of streams; for each stream the
number of cells; where there are any, for each cell its position, the number of its sequences and these, then whether values
are transposed, the number of layers, and for each layer the keys (type, bytes of a cell), then for each layer the values
(type, bytes of a cell; or, if transposed, type, bytes of an element, elements of a cell).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_STREAMS = 256  # sequences of a context; llama.cpp has as many
MAX_LAYERS = 1024  # twice what llama.cpp has room for
MAX_CELL = 2**24  # bytes of one cell of one layer
MAGIC = 0xAF143CD8  # llama-context.cpp, io_magic
_HEAD = struct.Struct("<II")
_CELL = struct.Struct("<iIi")  # position, number of sequences, the sequence
_COUNT = struct.Struct("<I")
_KEYS = struct.Struct("<iQ")
_TURNED = struct.Struct("<iII")


@dataclass(frozen=True)
class _Part:
    """A header, and how many bytes follow it for each cell."""

    header: bytes
    cell: int


@dataclass(frozen=True)
class _Cache:
    """One cache: its streams with the used one's index, and the parts of the used one."""

    streams: int
    used: int
    parts: tuple[_Part, ...]

    def size(self, count: int) -> int:
        """Count the bytes of the state of so many cells."""
        body = sum(len(part.header) + part.cell * count for part in self.parts)
        return _COUNT.size * (1 + self.streams) + _CELL.size * count + body


@dataclass(frozen=True)
class Layout:
    """How the state of one sequence is written.

    Args:
        caches: One, or two where some layers have a sliding window.
    """

    caches: tuple[_Cache, ...]

    def zeros(self, count: int) -> npt.NDArray[np.uint8]:
        """Make the state of a sequence whose cells hold zeros.

        Args:
            count: Cells, at least 1.

        Returns:
            The state's bytes.
        """
        state = np.zeros(_HEAD.size + sum(cache.size(count) for cache in self.caches), np.uint8)
        place = _put(state, 0, _HEAD.pack(MAGIC, 0))
        for cache in self.caches:
            counts = [count if stream == cache.used else 0 for stream in range(cache.streams)]
            before = [cache.streams, *counts[: cache.used + 1]]
            place = _put(state, place, struct.pack(f"<{len(before)}I", *before))
            place = _put(state, place, b"".join(_CELL.pack(at, 1, cache.used) for at in range(count)))
            for part in cache.parts:
                place = _put(state, place, part.header) + part.cell * count
            place += _COUNT.size * (cache.streams - cache.used - 1)  # the streams after it are empty
        return state

    @property
    def cell(self) -> int:
        """Bytes of keys and values that one cell holds over all layers."""
        return sum(part.cell for cache in self.caches for part in cache.parts)


def read(state: npt.NDArray[np.uint8]) -> Layout:
    """Learn the layout.

    Args:
        state: The state of a sequence of one cell.

    Returns:
        The layout.

    Raises:
        WorkerFailed: If the state is not written as this module's description says.
    """
    reader = _Reader(state.tobytes())
    if reader.take(_HEAD)[0] != MAGIC:
        raise _strange("its magic number is another one")
    caches = []
    while not reader.ended:
        caches.append(_cache(reader))
    if not caches:
        raise _strange("it is empty")
    return Layout(tuple(caches))


def _cache(reader: _Reader) -> _Cache:
    streams = reader.count(1, MAX_STREAMS)
    used, parts = -1, []
    for stream in range(streams):
        if reader.count(0, 1):
            if used >= 0:
                raise _strange("two streams hold it")
            used = stream
            reader.take(_CELL)
            parts = _parts(reader)
    if used < 0:
        raise _strange("no stream holds it")
    return _Cache(streams, used, tuple(parts))


def _parts(reader: _Reader) -> list[_Part]:
    turned, layers = reader.count(0, 1), reader.count(0, MAX_LAYERS)
    before = struct.pack("<II", turned, layers)
    if not layers:  # all layers of the model are in the other cache
        return [_Part(before, 0)]
    parts = []
    for _ in range(layers):
        parts.append(reader.part(_KEYS, before))
        before = b""
    parts += [reader.part(_TURNED if turned else _KEYS, b"") for _ in range(layers)]
    return parts


class _Reader:
    """Takes numbers from the beginning of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self._place == len(self._data)

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        """Take what a form describes."""
        end = self._place + form.size
        if end > len(self._data):
            raise _strange("it ends too early")
        found: tuple[int, ...] = form.unpack_from(self._data, self._place)
        self._place = end
        return found

    def count(self, least: int, most: int) -> int:
        """Take a count."""
        value = self.take(_COUNT)[0]
        if not least <= value <= most:
            raise _strange(f"a count is {value}, and {least} to {most} are known")
        return value

    def part(self, form: struct.Struct, before: bytes) -> _Part:
        """Take a part and skip what its one cell holds."""
        values = self.take(form)
        cell = values[1] * (values[2] if form is _TURNED else 1)
        if not 0 < cell <= MAX_CELL or self._place + cell > len(self._data):
            raise _strange(f"a cell of a layer has {cell} bytes")
        self._place += cell
        return _Part(before + form.pack(*values), cell)


def _put(state: npt.NDArray[np.uint8], place: int, data: bytes) -> int:
    state[place : place + len(data)] = np.frombuffer(data, np.uint8)
    return place + len(data)


def _strange(why: str) -> WorkerFailed:
    return WorkerFailed(
        "serve.state",
        f"llama.cpp writes the state of a sequence in a way that is not known here: {why}.",
        remedy="Serve with the llama.cpp that this version of Holdfast was built with.",
    )
