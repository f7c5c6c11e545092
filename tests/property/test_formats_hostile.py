"""Hostile files: whatever they hold, the readers give an answer or their own refusal, and no answer is wrong."""

from __future__ import annotations

import json
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.artefact import Kind
from holdfast.errors import UntrustedBundle
from holdfast.formats import chunking, content, inspection, jsonconfig, safetensors, tokenizer
from holdfast.formats.forms import Form

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


def reader(data):
    return lambda offset, length: data[offset : offset + length]


def pack(table, data=b""):
    head = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + data


def parse(blob):
    return safetensors.parse(reader(blob), len(blob), "x.safetensors")


def tensor(start, end, shape=None, dtype="U8"):
    return {"dtype": dtype, "shape": [end - start] if shape is None else shape, "data_offsets": [start, end]}


@given(st.lists(st.integers(0, 9), max_size=8), st.randoms())
def test_a_right_header_is_read_in_the_order_of_its_data(sizes, random):
    table, position = {}, 0
    for number, size in enumerate(sizes):
        table[f"t{number}"] = tensor(position, position + size)
        position += size
    names = list(table)
    random.shuffle(names)
    found = parse(pack({name: table[name] for name in names}, b"x" * position))
    assert sum(t.end - t.start for t in found.tensors) == position
    assert {t.name: [t.start, t.end] for t in found.tensors} == {n: table[n]["data_offsets"] for n in names}


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(blob):
    try:
        found = parse(blob)
    except UntrustedBundle:
        return
    assert found.size + sum(t.end - t.start for t in found.tensors) == len(blob)


@given(
    st.dictionaries(
        st.text(max_size=8),
        junk | st.fixed_dictionaries({"dtype": junk, "shape": junk, "data_offsets": junk}),
        max_size=4,
    )
)
def test_any_table_is_refused_or_read(table):
    try:
        blob = pack(json.dumps(table).encode("utf-8", "surrogatepass"))
        found = parse(blob)
    except UntrustedBundle:
        return
    assert all(t.start == t.end for t in found.tensors)


@pytest.mark.parametrize(
    ("why", "blob"),
    [
        ("overlap", pack({"a": tensor(0, 4), "b": tensor(2, 6)}, b"x" * 6)),
        ("same extent", pack({"a": tensor(0, 4), "b": tensor(0, 4)}, b"x" * 4)),
        ("gap", pack({"a": tensor(0, 2), "b": tensor(3, 4)}, b"x" * 4)),
        ("beyond the end", pack({"a": tensor(0, 9)}, b"x" * 4)),
        ("short of the end", pack({"a": tensor(0, 3)}, b"x" * 4)),
        ("negative", pack({"a": {"dtype": "U8", "shape": [1], "data_offsets": [-1, 0]}})),
        ("backwards", pack({"a": {"dtype": "U8", "shape": [0], "data_offsets": [4, 0]}}, b"x" * 4)),
        ("shape lies", pack({"a": tensor(0, 4, [2, 3])}, b"x" * 4)),
        ("shape overflows", pack({"a": tensor(0, 0, [2**32, 2**32, 0, 2**62])})),
        ("unknown type", pack({"a": tensor(0, 4, dtype="OBJ")}, b"x" * 4)),
        ("unknown field", pack({"a": {**tensor(0, 4), "code": "x"}}, b"x" * 4)),
        (
            "duplicate name",
            pack(
                b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
            ),
        ),
        ("duplicate metadata", pack(b'{"__metadata__":{"a":"1","a":"2"}}')),
        ("metadata is no text", pack({"__metadata__": {"a": 1}})),
        ("header claims more", struct.pack("<Q", 2**63) + b"{}"),
        ("header claims everything", struct.pack("<Q", 3) + b"{}"),
        ("header is a list", pack([])),
        ("too short", b"\x00\x00"),
        ("deep", pack(b"[" * 100_000)),
        ("float offsets", pack({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0.0, 1.0]}}, b"x")),
        ("booleans", pack({"a": {"dtype": "U8", "shape": [True], "data_offsets": [False, True]}}, b"x")),
        ("too many dimensions", pack({"a": tensor(0, 1, [1] * 9)}, b"x")),
        ("odd name", pack({"a\u0000b": tensor(0, 1)}, b"x")),
    ],
)
def test_a_lying_header_is_refused(why, blob):
    with pytest.raises(UntrustedBundle) as caught:
        parse(blob)
    assert caught.value.message, why


@given(st.lists(st.integers(0, 200 * 2**20), max_size=12))
def test_cuts_cover_the_file_at_tensor_boundaries(sizes):
    table, position = {}, 0
    for number, size in enumerate(sizes):
        table[f"t{number}"] = tensor(position, position + size)
        position += size
    head = pack(table)
    plan = chunking.plan_for("m.safetensors", reader(head), len(head) + position)
    assert sum(plan) == len(head) + position
    assert plan[0] == len(head)
    assert all(0 < cut <= chunking.LARGE for cut in plan)
    ends, at = set(), len(head)
    for cut in plan[1:]:
        at += cut
        ends.add(at)
    starts, at = {len(head)}, len(head)
    for size in sizes:
        at += size
        if size > chunking.SMALL:
            assert at in ends
            assert at - size in ends | starts


@given(st.integers(0, 100 * 2**20))
def test_other_files_are_cut_evenly(size):
    plan = chunking.plan_for("m.jsonl", reader(b""), size)
    assert sum(plan) == size
    assert all(cut == chunking.PIECE for cut in plan[:-1])


@settings(max_examples=50)
@given(junk)
def test_any_configuration_is_refused_or_read(value):
    data = json.dumps(value).encode("utf-8", "surrogatepass")
    for read in (jsonconfig.model, jsonconfig.adapter, tokenizer.read):
        with pytest.raises(UntrustedBundle):
            read(data, "x.json")


@pytest.mark.parametrize("key", sorted(jsonconfig.RUNS_CODE))
@pytest.mark.parametrize(
    "nest", [lambda x: x, lambda x: {"text_config": x}, lambda x: {"layers": [{"a": x}]}]
)
def test_a_key_that_could_run_code_is_refused_wherever_it_stands(key, nest):
    config = nest({key: {"AutoModel": "evil.Model"}})
    with pytest.raises(UntrustedBundle) as caught:
        jsonconfig.parse(json.dumps(config).encode(), "config.json")
    assert caught.value.key == "formats.runs-code"
    jsonconfig.parse(json.dumps(nest({key: None})).encode(), "config.json")


@pytest.mark.parametrize(
    "blob",
    [
        b"\x80\x04\x95",
        b"PK\x03\x04",
        b"\x7fELF",
        b"#!/bin/sh\n",
        b"\x1f\x8b\x08",
        b"cos\nsystem\n(S'x'\ntR.",
        b"(cos\nsystem\nS'id'\no.",
        b"cos\nsystem\n.",
        b"\x89HDF\r\n\x1a\n",
    ],
)
@pytest.mark.parametrize("form", list(Form))
def test_code_under_an_innocent_name_is_refused(blob, form):
    with pytest.raises(UntrustedBundle) as caught:
        content.check(reader(blob), len(blob), "x", form)
    assert caught.value.key == "formats.content"


@pytest.mark.parametrize("blob", [b"\xff\xfe", b"a\x00b", b"caf\xc3", b"\x1b[2J"])
def test_text_is_text(blob):
    with pytest.raises(UntrustedBundle):
        content.check(reader(blob), len(blob), "README.md", Form.TEXT)


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        (Kind.BASE, ["config.json"]),
        (Kind.BASE, ["config.json", "model.safetensors", "modeling_llama.py"]),
        (Kind.BASE, ["config.json", "pytorch_model.bin"]),
        (Kind.BASE, ["config.json", "model.safetensors", "sub/model.safetensors"]),
        (Kind.TOKENIZER, ["tokenizer_config.json"]),
        (Kind.TOKENIZER, ["tokenizer.json", "tokenizer.model"]),
        (Kind.ADAPTER, ["adapter_model.safetensors"]),
        (Kind.SUITE, ["items.jsonl"]),
        (Kind.GGUF, ["a.gguf", "b.gguf"]),
        (Kind.RUN, ["run.json"]),
    ],
)
def test_a_folder_with_other_files_than_its_kind_has_is_refused(kind, files):
    found = inspection.inspect(kind, dict.fromkeys(files, 0), lambda *_: b"")
    assert found.together
    assert {problem.key for problem in found.together} <= {
        "formats.file-name",
        "formats.file-missing",
        "formats.kind",
    }


@pytest.mark.parametrize(
    "lines",
    [
        b"{}\n[]\n",
        b"{}\n{\n",
        b"{}\n\n{}",
        b"\n{}\n",
        b'{"a":1,"a":2}',
        b'{"a":' + b"9" * 41 + b"}",
        b"x" * (inspection.MAX_LINE + 1),
    ],
    ids=["no object", "open", "blank within", "blank first", "twice", "digits", "long"],
)
def test_a_data_file_with_a_bad_line_is_refused(lines):
    assert len(suite(lines).refusals) == 1


def suite(lines):
    files = {"suite.toml": b"", "items.jsonl": lines}
    return inspection.inspect(
        Kind.SUITE,
        {n: len(d) for n, d in files.items()},
        lambda name, at, count: files[name][at : at + count],
    )


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (b'{"id":9223372036854775807}\n{"id":-18446744073709551615}', 2),
        (b"{}\n{}\n\n \n\t\n", 2),
        (b"{}\r\n{}\r\n\r\n", 2),
        (b"{}", 1),
        (b"", 0),
        (b"\n", 0),
    ],
)
def test_ids_of_64_bits_and_blank_lines_at_the_end_are_accepted(lines, count):
    found = suite(lines)
    assert found.refusals == []
    assert found.facts["lines"] == count


@pytest.mark.parametrize("line", [b"{}\n", b"\n"])
def test_more_lines_than_a_data_set_has_are_refused_before_they_are_judged(line):
    start = time.process_time()
    (found,) = suite(line * (inspection.MAX_LINES + 1)).refusals
    assert found.key == "formats.lines"
    assert found.fields["line"] == inspection.MAX_LINES + 1
    assert time.process_time() - start < 5  # judging them would take ten times as long
