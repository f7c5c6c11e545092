"""The header of a GGUF file, read strictly: keys and values, then the table of tensors.

A file is the magic, a version, two counts, keys with typed values, tensor records, padding, and the tensors' data. All
numbers are little-endian. Invariants: every count and length is bounded by a named constant and by the bytes that are left
before anything is allocated for it; keys and tensor names are unique; every tensor's extent equals its shape in blocks of
its type; tensors follow one another in the order of their records, each padded to the alignment, from the beginning of the
data section to the end of the file.

This is stricter than llama.cpp's own loader, for a reason each time:

* Trailing bytes, and padding that is not zero, are refused: something else could be appended there.
* Versions other than 2 and 3 and big-endian files are refused, as this build of llama.cpp refuses them.
* Arrays of arrays are refused, as by llama.cpp, although the format describes them.
* Text is UTF-8, and only pieces of a vocabulary may hold NUL: llama.cpp reads text up to the first NUL, so that a
  reviewer would see another value than it does.
* All arrays together have a bounded number of elements, since each costs its reader time whatever its size.
* Names are printable ASCII, booleans are 0 or 1, the alignment is 32 to 4096, and a file has a tensor.

What the values mean together is judged by ``ggufmodel``.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; ggml/src/gguf.cpp of the pinned llama.cpp.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from holdfast.formats.safetensors import Read

MAX_HEADER = (
    128 * 2**20
)  # bytes before the data; 260,000 pieces with merges, scores and types take about 15 MB
MAX_KEYS = 4096  # keys; published files have up to 60
MAX_KEY = 256  # characters of a key
MAX_TENSORS = 200_000  # as of a safetensors file
MAX_TENSOR_NAME = 63  # characters; llama.cpp keeps 64 bytes with the terminator
MAX_DIMENSIONS = 4  # of one tensor; ggml has no more
MAX_LISTED = 4_000_000  # of all arrays together: three times what 260,000 pieces with merges need
MAX_ELEMENTS = 2**63 - 1  # of one tensor: what ggml counts with
ALIGNMENT = 32  # bytes, unless the file says otherwise
ALIGNMENTS = frozenset(
    2**power for power in range(5, 13)
)  # below 32 ggml aborts; beyond a page nothing is gained
STEP = 2**20  # bytes read at a time
MAGIC = b"GGUF"
VERSIONS = (2, 3)

# Each scalar type by its number in the file: name, form for ``struct``.
_SCALARS = {
    0: ("u8", "B"),
    1: ("i8", "b"),
    2: ("u16", "H"),
    3: ("i16", "h"),
    4: ("u32", "I"),
    5: ("i32", "i"),
    6: ("f32", "f"),
    7: ("bool", "B"),
    10: ("u64", "Q"),
    11: ("i64", "q"),
    12: ("f64", "d"),
}
_STRING, _ARRAY = 8, 9
_SIZES = {code: struct.calcsize("<" + form) for code, (_, form) in _SCALARS.items()}

# Each type of tensor by its number: name, elements of a block, bytes of a block. Numbers that are left out were retired.
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
_KEY = re.compile(r"[A-Za-z0-9_.\-]+")
_NUL_ALLOWED = frozenset(
    {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}
)  # ``ggufmodel`` reads them as llama.cpp does

Scalar = int | float | bool | str


@dataclass(frozen=True)
class Value:
    """A typed value.

    Args:
        type: Its type: ``u32``, ``f32``, ``str`` ..., in brackets for an array: ``[str]``.
        data: The value; a tuple for an array.
    """

    type: str
    data: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Tensor:
    """One tensor of the table.

    Args:
        name: Its name, unique in the file.
        type: Its type's name, as in ``TYPES``.
        shape: Its dimensions, the fastest first.
        size: Bytes of its data, without padding.
        extent: Bytes up to the next tensor, or to the end of the file.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    size: int
    extent: int


@dataclass(frozen=True)
class Header:
    """What a header says.

    Args:
        size: Bytes before the data section, padding included.
        version: Of the format.
        values: Every key's value.
        tensors: The table, in the order of the data.
    """

    size: int
    version: int
    values: dict[str, Value]
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
    cursor = _Cursor(read, size, name)
    if cursor.take(len(MAGIC)) != MAGIC:
        cursor.refuse("it does not begin with GGUF")
    version = cursor.number("<I")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        cursor.refuse(
            "it is big-endian" if swapped in VERSIONS else f"its version is {version}; 2 and 3 are known"
        )
    tensors, keys = cursor.number("<Q"), cursor.number("<Q")
    if not 0 < tensors <= MAX_TENSORS:
        cursor.refuse(f"it claims {tensors} tensors; 1 to {MAX_TENSORS} are allowed")
    if keys > MAX_KEYS:
        cursor.refuse(f"it claims {keys} keys and {MAX_KEYS} are allowed")
    values: dict[str, Value] = {}
    for _ in range(keys):
        key = cursor.text(MAX_KEY, "a key")
        if not _KEY.fullmatch(key):
            cursor.refuse(f"the key {key[:40]!r} is not a plain name")
        if key in values:
            cursor.refuse(f"the key {key[:80]} appears twice")
        values[key] = _value(cursor, key)
    alignment = _alignment(values, cursor)
    records = _records(cursor, tensors)
    start = _padded(cursor.position, alignment)
    padding = cursor.take(start - cursor.position)
    if padding.strip(b"\0"):
        cursor.refuse("the padding before its data is not zero")
    return Header(start, version, values, _laid_out(cursor, records, size - start, alignment))


def check_padding(read: Read, header: Header, name: str) -> None:
    """Check that nothing hides between the tensors: what pads one to the next is zero.

    Args:
        read: Gives bytes of the file.
        header: The file's header.
        name: The file's name, for messages.

    Raises:
        UntrustedBundle: If it is not.
    """
    position = header.size
    for tensor in header.tensors:
        if read(position + tensor.size, tensor.extent - tensor.size).strip(b"\0"):
            raise _bad(name, f"the padding after tensor {tensor.name} is not zero")
        position += tensor.extent


class _Cursor:
    """A position in the file, that only moves on; it holds no more than it was asked for, or ``STEP`` bytes."""

    def __init__(self, read: Read, size: int, name: str) -> None:
        self._read, self._name = read, name
        self._limit = min(size, MAX_HEADER)
        self._size = size
        self._block = b""
        self._start = 0  # of the block
        self.position = 0
        self.listed = 0  # elements of arrays so far

    @property
    def left(self) -> int:
        """Bytes that the header may still have."""
        return self._limit - self.position

    def refuse(self, why: str) -> NoReturn:
        raise _bad(self._name, why)

    def take(self, count: int) -> bytes:
        if count > self.left:
            self.refuse(
                f"its header ends early, at byte {self.position}"
                if self._limit == self._size
                else f"its header is longer than the {MAX_HEADER} bytes allowed"
            )
        at = self.position - self._start
        if at + count > len(self._block):
            self._start, at = self.position, 0
            self._block = self._read(self.position, min(max(count, STEP), self.left))
            if len(self._block) < count:
                self.refuse(f"it ends early, at byte {self.position}")
        self.position += count
        return self._block[at : at + count]

    def number(self, form: str) -> int:
        value: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def text(self, most: int, what: str) -> str:
        length = self.number("<Q")
        if length > most:
            self.refuse(f"{what} claims {length} bytes and {most} are allowed")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(f"{what} is not UTF-8 text")


def _value(cursor: _Cursor, key: str) -> Value:
    code = cursor.number("<I")
    if code == _ARRAY:
        inner = cursor.number("<I")
        count = cursor.number("<Q")
        if inner == _ARRAY:
            cursor.refuse(f"the value of {key} is an array of arrays")
        least = _SIZES.get(inner, 8)  # a string is at least its length
        cursor.listed += count
        if cursor.listed > MAX_LISTED or count * least > cursor.left:
            cursor.refuse(
                f"the array {key} claims {count} elements, more than are left in the file or than the {MAX_LISTED} "
                "that all arrays together may have"
            )
        return Value(f"[{_type_name(cursor, inner, key)}]", _elements(cursor, inner, count, key))
    return Value(_type_name(cursor, code, key), _elements(cursor, code, 1, key)[0])


def _type_name(cursor: _Cursor, code: int, key: str) -> str:
    if code == _STRING:
        return "str"
    if code not in _SCALARS:
        cursor.refuse(f"the value of {key} has the unknown type {code}")
    return _SCALARS[code][0]


def _elements(cursor: _Cursor, code: int, count: int, key: str) -> tuple[Scalar, ...]:
    if code == _STRING:
        what = f"the value of {key}"
        found = tuple(cursor.text(cursor.left, what) for _ in range(count))
        if key not in _NUL_ALLOWED and any("\0" in text for text in found):
            cursor.refuse(f"{what} holds a NUL, at which llama.cpp would stop reading")
        return found
    name, form = _SCALARS[code]
    values: tuple[int | float, ...] = struct.unpack(f"<{count}{form}", cursor.take(count * _SIZES[code]))
    if name != "bool":
        return values
    if any(value > 1 for value in values):
        cursor.refuse(f"the value of {key} is neither true nor false")
    return tuple(map(bool, values))


def _alignment(values: dict[str, Value], cursor: _Cursor) -> int:
    given = values.get("general.alignment", Value("u32", ALIGNMENT))
    if given.type != "u32" or given.data not in ALIGNMENTS:
        cursor.refuse("general.alignment is not a power of two from 32 to 4096")
    return int(str(given.data))


def _records(cursor: _Cursor, count: int) -> list[tuple[Tensor, int]]:
    """Read the tensors' records: each tensor, its extent not known yet, and where it says its data begin."""
    found: list[tuple[Tensor, int]] = []
    seen = set()
    for _ in range(count):
        name = cursor.text(MAX_TENSOR_NAME, "a tensor's name")
        if not name.isascii() or not name.isprintable() or not name:
            cursor.refuse(f"a tensor's name {name!r} is not printable ASCII")
        if name in seen:
            cursor.refuse(f"two tensors are named {name}")
        seen.add(name)
        dimensions = cursor.number("<I")
        if not 0 < dimensions <= MAX_DIMENSIONS:
            cursor.refuse(f"tensor {name} has {dimensions} dimensions; 1 to {MAX_DIMENSIONS} are allowed")
        shape = tuple(cursor.number("<Q") for _ in range(dimensions))
        code, offset = cursor.number("<I"), cursor.number("<Q")
        if code not in TYPES:
            cursor.refuse(f"tensor {name} has the unknown type {code}")
        kind, block, width = TYPES[code]
        elements = 1
        for length in shape:
            elements *= length
            if not 0 < length <= MAX_ELEMENTS or elements > MAX_ELEMENTS:
                cursor.refuse(f"tensor {name} has a dimension of 0, or more elements than can be counted")
        if shape[0] % block:
            cursor.refuse(f"tensor {name} has rows of {shape[0]}, which is no multiple of {kind}'s {block}")
        found.append((Tensor(name, kind, shape, elements // block * width, 0), offset))
    return found


def _laid_out(
    cursor: _Cursor, records: list[tuple[Tensor, int]], data: int, alignment: int
) -> tuple[Tensor, ...]:
    """Check that the tensors fill the data section in order, and give each its extent."""
    position = 0
    found = []
    for number, (tensor, offset) in enumerate(records):
        if offset != position:
            cursor.refuse(f"tensor {tensor.name} begins at byte {offset} where {position} is expected")
        end = position + tensor.size
        if end > data:
            cursor.refuse(f"tensor {tensor.name} ends at byte {end} of {data}")
        padded = _padded(end, alignment)
        if number == len(records) - 1 and data == end:
            padded = end  # some writers leave the last padding out, and llama.cpp does not miss it
        found.append(Tensor(tensor.name, tensor.type, tensor.shape, tensor.size, padded - position))
        position = padded
    if position != data:
        cursor.refuse(f"its tensors end at byte {position} of {data}")
    return tuple(found)


def _padded(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.gguf",
        f"{name} is refused: {why}.",
        remedy="Have the file converted again by llama.cpp's own converter.",
        file=name,
    )
