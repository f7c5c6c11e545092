"""States of zeros are written as llama.cpp writes states; what is written otherwise is not taken for overwritten."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import WorkerFailed
from holdfast.serving.engine import cells

LAYER = st.tuples(st.integers(1, 40), st.integers(1, 40))  # bytes of a cell's keys, elements of its values
CACHE = st.tuples(st.integers(1, 5), st.booleans(), st.lists(LAYER, max_size=3))
CACHES = st.lists(CACHE, min_size=1, max_size=2)


def state(caches, used, count, fill):
    """Write what a sequence of so many cells holds, as ``llama_state_seq_get_data`` does."""
    parts = [struct.pack("<II", cells.MAGIC, used)]
    for streams, turned, layers in caches:
        stream = used % streams
        parts.append(struct.pack("<I", streams))
        for number in range(streams):
            parts.append(struct.pack("<I", count if number == stream else 0))
            if number != stream:
                continue
            parts += [struct.pack("<iIi", position, 1, stream) for position in range(count)]
            parts.append(struct.pack("<II", turned, len(layers)))
            parts += [struct.pack("<iQ", 1, size) + fill * size * count for size, _ in layers]
            form = [
                struct.pack("<iII", 1, 2, wide) if turned else struct.pack("<iQ", 1, 2 * wide)
                for _, wide in layers
            ]
            parts += [head + fill * 2 * wide * count for head, (_, wide) in zip(form, layers, strict=True)]
    return np.frombuffer(b"".join(parts), np.uint8)


@given(CACHES, st.integers(0, 4), st.integers(1, 5))
def test_zeros_are_written_as_a_state_of_as_many_cells(caches, used, count):
    layout = cells.read(state(caches, used, 1, b"\x07"))
    assert layout.zeros(count)[8:].tobytes() == state(caches, used, count, b"\0")[8:].tobytes()
    assert layout.cell == sum(size + 2 * wide for _, _, layers in caches for size, wide in layers)


@given(CACHES, st.data())
def test_what_is_cut_or_longer_is_refused(caches, data):
    whole = state(caches, 0, 1, b"\x07")
    cut = data.draw(st.integers(0, len(whole) - 1))
    ends = [len(state(caches[:known], 0, 1, b"\x07")) for known in range(1, len(caches))]
    if cut not in ends:  # a state of one cache less is a state too
        with pytest.raises(WorkerFailed):
            cells.read(whole[:cut])
    with pytest.raises(WorkerFailed):
        cells.read(np.append(whole, np.uint8(1)))


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_by_our_errors_alone(given):
    with pytest.raises(WorkerFailed):
        cells.read(np.frombuffer(given, np.uint8))
    with pytest.raises(WorkerFailed):
        cells.read(np.frombuffer(struct.pack("<II", cells.MAGIC, 0) + given[:7], np.uint8))
