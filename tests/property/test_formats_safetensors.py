"""What our reader of safetensors accepts, the format's own library accepts, and reads in the same way."""

from __future__ import annotations

import struct

import pytest
import safetensors
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripts.crafted import mutations, tensors

from holdfast.errors import UntrustedBundle
from holdfast.formats.safetensors import ELEMENT_BITS, MAX_TENSORS, parse


def read(data):
    return lambda offset, length: data[offset : offset + length]


def theirs(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        name: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for name, t in safetensors.deserialize(data)
    }


def compare(data: bytes) -> bool:
    try:
        ours = parse(read(data), len(data), "x.safetensors")
    except UntrustedBundle:
        return False
    assert {
        t.name: (t.dtype, t.shape, data[ours.size + t.start : ours.size + t.end]) for t in ours.tensors
    } == theirs(data)
    return True


@settings(max_examples=1500)
@given(st.integers(0, 2**32))
def test_what_we_accept_the_library_reads_the_same(seed):
    compare(mutations.changed_safetensors(seed))


def test_the_mutants_are_of_both_sorts():
    found = [compare(mutations.changed_safetensors(seed)) for seed in range(400)]
    assert 40 < sum(found) < 360


@given(st.binary(max_size=64))
@example(struct.pack("<Q", 2) + b"{}")
def test_any_bytes_after_a_length_are_read_alike(rest):
    compare(struct.pack("<Q", len(rest)) + rest)


@pytest.mark.parametrize("vector", tensors.right(), ids=lambda v: v.name)
def test_the_library_reads_every_valid_vector(vector):
    assert compare(vector.data)


@pytest.mark.parametrize("dtype", sorted(ELEMENT_BITS))
def test_every_element_type_has_the_librarys_size(dtype):
    size = ELEMENT_BITS[dtype]  # bytes of eight elements
    assert compare(tensors.pack({"a": tensors.tensor(0, size, [8], dtype)}, bytes(size)))
    for wrong in (size - 1, size + 1):
        assert not compare(tensors.pack({"a": tensors.tensor(0, wrong, [8], dtype)}, bytes(wrong)))


def test_the_library_knows_no_type_that_we_do_not():
    with pytest.raises(safetensors.SafetensorError, match="unknown variant") as caught:
        safetensors.deserialize(tensors.pack({"a": tensors.tensor(0, 1, dtype="?")}, b"x"))
    listed = str(caught.value).partition("expected one of ")[2].split(" at line")[0]
    assert {name.strip(" `") for name in listed.split(",")} == set(ELEMENT_BITS)


def test_a_hundred_thousand_tensors_are_read():
    table = {
        f"model.layers.{n}.mlp.experts.gate_proj.weight": tensors.tensor(n, n + 1) for n in range(100_000)
    }
    data = tensors.pack(table, bytes(100_000))
    assert len(parse(read(data), len(data), "x").tensors) == 100_000


def test_more_tensors_than_allowed_are_refused():
    entry = b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    data = tensors.pack(b"{" + b",".join(entry % n for n in range(MAX_TENSORS + 2)) + b"}")
    with pytest.raises(UntrustedBundle) as caught:
        parse(read(data), len(data), "x")
    assert caught.value.key == "formats.safetensors"
