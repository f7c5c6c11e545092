"""GGUF files: whatever they hold, the reader gives an answer or its own refusal, and the cuts follow the tensors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts.crafted import gguffile, mutations
from scripts.crafted.gguffile import File, Tensor

from holdfast.errors import UntrustedBundle
from holdfast.formats import chunking, gguf, ggufmodel


def reader(data):
    return lambda offset, length: data[offset : offset + length]


def judge(data):
    header = gguf.parse(reader(data), len(data), "x.gguf")
    gguf.check_padding(reader(data), header, "x.gguf")
    return header, ggufmodel.judge(header, "x.gguf")


@settings(max_examples=600)
@given(st.integers(0, 2**32))
def test_any_mutant_is_refused_or_read(seed):
    data = mutations.changed_gguf(seed)
    try:
        header, _ = judge(data)
    except UntrustedBundle:
        return
    assert header.size + sum(tensor.extent for tensor in header.tensors) == len(data)


@given(st.binary(max_size=120))
def test_any_bytes_are_refused(rest):
    for data in (rest, b"GGUF\3\0\0\0" + rest):
        with pytest.raises(UntrustedBundle):
            judge(data)


@settings(max_examples=80)
@given(st.integers(0, len(gguffile.model(width=8).pack())))
def test_a_file_cut_anywhere_is_refused(length):
    whole = gguffile.model(width=8).pack()
    if length < len(whole):
        with pytest.raises(UntrustedBundle):
            judge(whole[:length])


@given(st.lists(st.integers(1, 30 * 2**20), min_size=1, max_size=12))
def test_cuts_cover_the_file_at_tensor_boundaries(sizes):
    tensors = [Tensor(f"t{number}", (size,), data=b"") for number, size in enumerate(sizes)]
    position = 0
    for tensor, size in zip(tensors, sizes, strict=True):
        tensor.offset = position
        position += (4 * size + 31) // 32 * 32
    head = File([], tensors).pack()
    plan = chunking.plan_for("m.gguf", reader(head), len(head) + position)
    assert sum(plan) == len(head) + position
    assert plan[0] == len(head)
    assert all(0 < cut <= chunking.LARGE for cut in plan)
    ends = {len(head)}
    for cut in plan[1:]:
        ends.add(max(ends) + cut)
    for number, size in enumerate(sizes):
        if 4 * size > chunking.SMALL:
            assert len(head) + tensors[number].offset in ends
            assert len(head) + tensors[number].offset + (4 * size + 31) // 32 * 32 in ends


def test_the_same_tensors_under_another_header_share_their_chunks():
    one = gguffile.model(width=256)
    other = one.changed("general.name", "str", "another name, much longer than the first one was")
    plans = [chunking.plan_for("m.gguf", reader(data), len(data)) for data in (one.pack(), other.pack())]
    assert plans[0][0] != plans[1][0]
    assert plans[0][1:] == plans[1][1:]


def test_only_the_header_is_read_for_the_cuts():
    data = gguffile.model(width=8).pack()
    header = gguf.parse(reader(data), len(data), "x.gguf")
    assert chunking.plan_for("m.gguf", reader(data[: header.size]), len(data))


def test_a_hundred_thousand_tensors_are_read():
    tensors = [Tensor(f"blk.{number}.ffn_up.weight", (1,)) for number in range(100_000)]
    data = File([], tensors).pack()
    assert len(gguf.parse(reader(data), len(data), "x").tensors) == 100_000


def test_a_large_vocabulary_is_read():
    pieces = [f"piece {number}" for number in range(260_000)]
    made = gguffile.model(width=2).replace(tensors=[Tensor("x", (1,))])
    made = made.changed("tokenizer.ggml.tokens", "[str]", pieces)
    data = made.pack()
    assert len(gguf.parse(reader(data), len(data), "x").values["tokenizer.ggml.tokens"].data) == 260_000


def test_the_last_padding_may_be_missing():
    data = gguffile.model(width=8).pack()
    small = File(gguffile.model(width=8).values, [Tensor("x", (1,))]).pack()
    assert gguf.parse(reader(small[:-28]), len(small) - 28, "x").tensors[0].extent == 4
    with pytest.raises(UntrustedBundle):
        gguf.parse(reader(data), len(data) - 1, "x")


def test_many_arrays_are_bounded_together(monkeypatch):
    made = gguffile.model(width=2)
    for number in range(3):
        made = made.changed(f"general.list{number}", "[u8]", [0] * 1000)
    data = made.pack()
    monkeypatch.setattr(gguf, "MAX_LISTED", 3_500)
    assert gguf.parse(reader(data), len(data), "x").values["general.list2"].type == "[u8]"
    monkeypatch.setattr(gguf, "MAX_LISTED", 2_999)
    with pytest.raises(UntrustedBundle, match="all arrays together"):
        gguf.parse(reader(data), len(data), "x")
