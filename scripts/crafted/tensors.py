"""Safetensors files, right and wrong."""

from __future__ import annotations

import json
import struct
from typing import Any

from scripts.crafted.vector import Vector

KEY = "formats.safetensors"
EXTENTS = {
    "U8": 8,
    "F16": 16,
    "F32": 32,
    "F4": 4,
    "F6_E2M3": 6,
    "F8_E8M0": 8,
    "C64": 64,
}  # bits of an element


def pack(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Write a file: a length, a header (bytes as they are, anything else as JSON), data."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start: int, end: int, shape: list[Any] | None = None, dtype: str = "U8") -> dict[str, Any]:
    """Give an entry of the table."""
    return {"dtype": dtype, "shape": [end - start] if shape is None else shape, "data_offsets": [start, end]}


def right() -> list[Vector]:
    """Give files that are accepted."""
    one = {"__metadata__": {"format": "pt"}, "a": tensor(0, 8, [2, 2], "F16"), "b": tensor(8, 12, [], "F32")}
    narrow = {
        "a": tensor(0, 4, [8], "F4"),
        "b": tensor(4, 10, [8], "F6_E2M3"),
        "c": tensor(10, 11, [1], "F8_E8M0"),
    }
    marked = json.dumps({"a": tensor(0, 4)}).encode().ljust(640)
    padded = json.dumps({"a": tensor(0, 4)}).encode() + b"   "
    return [
        Vector(
            "safetensors-two-tensors.safetensors",
            pack(one, bytes(12)),
            "two tensors, one of them a scalar, and metadata",
        ),
        Vector(
            "safetensors-narrow-types.safetensors",
            pack(narrow, bytes(11)),
            "elements of four, six and eight bits",
        ),
        Vector(
            "safetensors-padded-header.safetensors",
            pack(padded, bytes(4)),
            "spaces behind the header, as writers align it",
        ),
        Vector(
            "safetensors-header-of-640-bytes.safetensors",
            pack(marked, bytes(4)),
            "a length whose first bytes are those of a pickle of protocol 2",
        ),
        Vector(
            "safetensors-empty-tensor.safetensors",
            pack({"a": tensor(0, 0, [0, 4])}),
            "a tensor without elements",
        ),
        Vector(
            "safetensors-no-tensor.safetensors", pack({}), "no tensor at all, which the library writes too"
        ),
    ]


def wrong() -> list[Vector]:
    """Give files that are refused."""
    twice = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    cases: list[tuple[str, bytes, str]] = [
        ("overlap", pack({"a": tensor(0, 4), "b": tensor(2, 6)}, bytes(6)), "two tensors share bytes"),
        (
            "same-extent",
            pack({"a": tensor(0, 4), "b": tensor(0, 4)}, bytes(4)),
            "two tensors are the same bytes",
        ),
        (
            "gap",
            pack({"a": tensor(0, 2), "b": tensor(3, 4)}, bytes(4)),
            "a byte belongs to no tensor: something could hide",
        ),
        ("hole-at-start", pack({"a": tensor(2, 4)}, bytes(4)), "the first bytes belong to no tensor"),
        ("trailing-bytes", pack({"a": tensor(0, 4)}, bytes(4) + b"appended"), "bytes after the last tensor"),
        ("past-the-end", pack({"a": tensor(0, 400)}, bytes(4)), "a tensor ends behind the file"),
        ("backwards", pack({"a": tensor(4, 0, [0])}, bytes(4)), "a tensor ends before it begins"),
        ("negative-offset", pack({"a": tensor(-4, 0, [4])}, bytes(4)), "an offset is negative"),
        (
            "negative-zero",
            pack(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[-0,1]}}', b"x"),
            "-0, a count to some readers only",
        ),
        (
            "fractional-offset",
            pack({"a": {**tensor(0, 1), "data_offsets": [0.0, 1.0]}}, b"x"),
            "offsets are fractions",
        ),
        ("boolean-shape", pack({"a": tensor(0, 1, [True])}, b"x"), "true as a dimension"),
        (
            "shape-lies",
            pack({"a": tensor(0, 4, [2, 3])}, bytes(4)),
            "the shape needs more bytes than the tensor has",
        ),
        (
            "shape-overflow",
            pack({"a": tensor(0, 0, [2**52, 2**52, 0])}),
            "the product of the shape overflows 64 bits",
        ),
        (
            "part-of-a-byte",
            pack({"a": tensor(0, 2, [3], "F4")}, bytes(2)),
            "three elements of four bits end within a byte",
        ),
        ("many-dimensions", pack({"a": tensor(0, 1, [1] * 9)}, b"x"), "nine dimensions"),
        (
            "unknown-type",
            pack({"a": tensor(0, 4, dtype="OBJ")}, bytes(4)),
            "an element type that nobody knows",
        ),
        ("unknown-field", pack({"a": {**tensor(0, 4), "code": "x"}}, bytes(4)), "a field that nobody knows"),
        ("missing-field", pack({"a": {"dtype": "U8", "shape": [4]}}, bytes(4)), "no offsets"),
        ("control-in-name", pack({"a\u0000b": tensor(0, 1)}, b"x"), "a name with a NUL"),
        ("bidi-in-name", pack({"a\u202eb": tensor(0, 1)}, b"x"), "a name that is shown in another order"),
        ("empty-name", pack({"": tensor(0, 1)}, b"x"), "a tensor without a name"),
        ("metadata-number", pack({"__metadata__": {"a": 1}}), "metadata that are no text"),
        ("header-list", pack([]), "a header that is a list"),
        ("header-blank-before", pack(b" {}"), "a blank before the header's brace"),
        ("header-newline-after", pack(b"{}\n"), "something else than spaces after the header"),
        ("header-longer-than-file", pack(b"{}", length=2**40), "a header that claims a terabyte"),
        ("header-overflow", pack(b"{}", length=2**64 - 1), "a header length that wraps around"),
        ("header-above-bound", pack(b"{}" + b" " * 62, length=100_000_000), "a header above the bound"),
        ("too-short", b"\x02\x00", "fewer bytes than the length field"),
        ("empty", b"", "no byte at all"),
    ]
    found = [Vector(f"safetensors-{name}.safetensors", data, why, KEY) for name, data, why in cases]
    return [
        *found,
        Vector(
            "safetensors-duplicate-tensor.safetensors",
            pack(twice, bytes(2)),
            "two tensors of one name",
            "json.duplicate-key",
        ),
        Vector(
            "safetensors-duplicate-metadata.safetensors",
            pack(b'{"__metadata__":{"a":"1","a":"2"}}'),
            "two metadata of one name: readers differ in which they take",
            "json.duplicate-key",
        ),
        Vector("safetensors-deep-header.safetensors", pack(b"[" * 5000), "a header nested 5,000 deep", KEY),
        Vector(
            "safetensors-deep-object.safetensors",
            pack(b'{"a":' * 5000 + b"1" + b"}" * 5000),
            "a header nested 5,000 deep, in an object",
            "json.depth",
        ),
        Vector(
            "safetensors-not-utf8.safetensors",
            pack(b'{"\xff":1}'),
            "a header that is no UTF-8",
            "json.encoding",
        ),
        Vector(
            "safetensors-half-surrogate.safetensors",
            pack(b'{"__metadata__":{"a":"\\ud800"}}'),
            "half of a surrogate pair, at which other readers fail",
            "json.surrogate",
        ),
    ]
