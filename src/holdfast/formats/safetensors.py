"""The header of a safetensors file, read strictly.

A file is an 8-byte little-endian length, that many bytes of JSON, then the tensors' data. Invariants: names are unique,
fields and element types are known, every tensor's extent equals its shape times its element size, and the extents fill the
data section without gap or overlap.

This is stricter than the format's own library, for a reason each time:

* Duplicate tensor names, duplicate metadata keys and unknown fields are refused: readers differ in which of two they take.
* The JSON begins with its brace and ends with it or with spaces, as the format says; the library also skips other blanks.
* Names are 1 to 512 printable characters, a tensor has at most 8 dimensions, metadata are text: what a person can review.
* The header has at most 32 MiB, where the library takes 100 MB: a table of that size is no model's.

Source: https://github.com/huggingface/safetensors, section "Format", and its ``tensor.rs`` for the element types.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from holdfast import canonical
from holdfast.errors import UntrustedBundle

Read = Callable[[int, int], bytes]  # (offset, length) -> at most that many bytes of the file

MAX_HEADER = 32 * 2**20  # bytes; 100,000 tensors need about 12 MB
MAX_TENSORS = 200_000  # a sharded mixture of experts has tens of thousands per file
MAX_RANK = 8  # dimensions of one tensor
MAX_ELEMENTS = 2**56  # of one tensor; times the widest element this still fits the library's 64 bits
MAX_NAME = 512  # characters of a tensor's name
MAX_METADATA = 256  # entries of free text
_LENGTH = struct.Struct("<Q")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
ELEMENT_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor of the table.

    Args:
        name: Its name, unique in the file.
        dtype: Its element type, a key of ``ELEMENT_BITS``.
        shape: Its dimensions.
        start: First byte, counted from the beginning of the data section.
        end: One past its last byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a header says.

    Args:
        size: Bytes before the data section: the length field and the JSON.
        metadata: Free text of the maker; never trusted.
        tensors: The table, in the order of the data.
    """

    size: int
    metadata: dict[str, str]
    tensors: tuple[Tensor, ...]


def parse(read: Read, size: int, name: str) -> Header:
    """Read and judge a header.

    Args:
        read: Gives bytes of the file.
        size: The file's size in bytes.
        name: The file's name, for messages.

    Returns:
        The header.

    Raises:
        UntrustedBundle: If anything is not as the module's description says.
    """
    first = read(0, _LENGTH.size)
    if len(first) < _LENGTH.size:
        raise _bad(name, "it is too short to hold a header")
    length: int = _LENGTH.unpack(first)[0]
    if length > MAX_HEADER or length > size - _LENGTH.size:
        raise _bad(
            name, f"its header claims {length} bytes; the file has {size} and {MAX_HEADER} are allowed"
        )
    text = read(_LENGTH.size, length)
    if len(text) != length:
        raise _bad(name, "its header ends early")
    if not text.startswith(b"{") or not text.rstrip(b" ").endswith(b"}"):
        raise _bad(name, "its header is not an object, alone but for spaces after it")
    # JSON's -0 is the integer 0 to Python and no count to the library.
    if b"-0" in text and b"-" in _STRING.sub(b"", text):
        raise _bad(name, "its header holds a negative number")
    table = canonical.decode(text, limit=MAX_HEADER, what=f"The header of {name}", error=UntrustedBundle)
    if not isinstance(table, dict) or len(table) > MAX_TENSORS + 1:
        raise _bad(name, f"its header is not an object of at most {MAX_TENSORS} tensors")
    metadata = _metadata(table.pop("__metadata__", {}), name)
    tensors = sorted(
        (_tensor(key, value, name) for key, value in table.items()), key=lambda t: (t.start, t.end)
    )
    data = size - _LENGTH.size - length
    position = 0
    for tensor in tensors:
        if tensor.start != position:
            raise _bad(
                name, f"tensor {tensor.name} begins at byte {tensor.start} where {position} is expected"
            )
        position = tensor.end
    if position != data:
        raise _bad(name, f"its tensors end at byte {position} of {data}")
    return Header(_LENGTH.size + length, metadata, tuple(tensors))


def _metadata(value: canonical.Json, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_METADATA:
        raise _bad(name, f"__metadata__ is not an object of at most {MAX_METADATA} entries")
    found = {key: text for key, text in value.items() if isinstance(text, str)}
    if len(found) != len(value):
        raise _bad(name, "__metadata__ holds something else than text")
    return found


def _tensor(key: str, value: canonical.Json, name: str) -> Tensor:
    shown = key[:80]
    if not 0 < len(key) <= MAX_NAME or not key.isprintable():
        raise _bad(name, f"a tensor's name {shown!r} is not 1 to {MAX_NAME} printable characters")
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _bad(name, f"tensor {shown} has other fields than dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ELEMENT_BITS:
        raise _bad(name, f"tensor {shown} has the unknown element type {str(dtype)[:20]!r}")
    dimensions = _counts(shape)
    if dimensions is None or len(dimensions) > MAX_RANK:
        raise _bad(name, f"tensor {shown} has a shape that is not at most {MAX_RANK} counts")
    extent = _counts(offsets)
    if extent is None or len(extent) != 2:  # noqa: PLR2004 - begin and end
        raise _bad(name, f"tensor {shown} has offsets that are not two counts")
    start, end = extent
    bits = ELEMENT_BITS[dtype]
    for length in dimensions:
        bits *= length
        if length > MAX_ELEMENTS or bits > MAX_ELEMENTS * 64:
            raise _bad(name, f"tensor {shown} has more elements than can be counted")
    if (end - start) * 8 != bits:
        raise _bad(name, f"tensor {shown} occupies {end - start} bytes, which is not what its shape needs")
    return Tensor(key, dtype, dimensions, start, end)


def _counts(value: canonical.Json) -> tuple[int, ...] | None:
    """Give a list of non-negative integers as a tuple, else None."""
    if not isinstance(value, list):
        return None
    found = tuple(item for item in value if type(item) is int and item >= 0)
    return found if len(found) == len(value) else None


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.safetensors",
        f"{name} is refused: {why}.",
        remedy="Have the file written again by the safetensors library.",
        file=name,
    )
