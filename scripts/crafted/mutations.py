"""Right files, changed here and there: what the differential tests and the long fuzzing run feed to both readers."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import TYPE_CHECKING, Any

from scripts.crafted import gguffile, tensors

from holdfast.formats import gguf, ggufmodel, ggufvocab

if TYPE_CHECKING:
    from scripts.crafted.gguffile import File

NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 64, 100, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1)
TEXTS = (
    "",
    "x",
    "llama",
    "gpt2",
    "yarn",
    "longrope",
    "none",
    "qwen2",
    "default",
    "Phi-3 mini",
    "a" * 300,
    "\n",
)
SHAPES = ((32, 8), (8,), (32,), (64,))
NAMES = (
    "output.weight", "rope_freqs.weight", "output.bias", "blk.0.attn_q.bias", "blk.0.ffn_up.bias", "x",
    "rope_factors_long.weight", "blk.0.attn_qkv.weight",
)  # fmt: skip
HEAD = 2400  # bytes in which the header of the small models lies


def changed_gguf(seed: int) -> bytes:
    """Give a small model of some family with up to two changes to what it says and up to two to its bytes."""
    random = Random(seed)
    made = gguffile.model(
        random.choice(sorted(ggufmodel.ARCHITECTURES)),
        tokenizer=random.choice(["llama", "gpt2"]),
        blocks=random.choice([1, 2]),
        width=random.choice([32, 32, 256]),
    )
    for _ in range(random.choice([0, 1, 1, 2])):
        made = random.choice(CHANGES)(made, random)
    try:
        data = bytearray(made.pack())
    except (struct.error, TypeError):  # two changes that can't be written together
        return b""
    for _ in range(random.choice([0, 0, 1, 1, 2])):
        at = random.randrange(min(len(data), HEAD))
        data[at] = random.choice([0, 1, 255, data[at] ^ 1, data[at] ^ 128, random.randrange(256)])
    return bytes(data)


def _value(made: File, random: Random) -> File:
    at = random.randrange(len(made.values)) if made.values else 0
    key, kind, value = made.values[at]
    if kind == "u32":
        value = random.choice(NUMBERS)
    elif kind == "f32":
        value = random.choice([0.0, -1.0, 1e30, -0.0, 1e-40])
    elif kind == "str":
        value = random.choice(TEXTS)
    elif kind == "bool":
        value = not value
    elif kind == "[str]":
        spoilt: tuple[list[str], ...] = (
            value[:-1],
            [*value, "zz"],
            value[::-1],
            ["", *value[1:]],
            [*value, *value[:1]],
            [],
            ["\0x", *value[1:]],
        )
        value = random.choice(spoilt)
    else:
        value = random.choice([value[:-1], [*value, 1], value[::-1], [0] * len(value), [1] * len(value)])
    return made.replace(values=[*made.values[:at], (key, kind, value), *made.values[at + 1 :]])


def _no_value(made: File, random: Random) -> File:
    return made.without(random.choice(made.values)[0]) if made.values else made


def _new_value(made: File, random: Random) -> File:
    family = made.values[0][2] if made.values and made.values[0][0] == "general.architecture" else "llama"
    known: dict[str, str] = {f"{family}.{key}": kind for key, kind in ggufmodel.ARCHITECTURE_KEYS.items()}
    known |= {**ggufvocab.KEYS, **ggufmodel.GENERAL_KEYS}
    known[f"{family}.attention.sliding_window_pattern"] = random.choice(["u32", "[bool]"])
    key = random.choice(sorted(known))
    values: dict[str, Any] = {
        "u32": random.choice(NUMBERS),
        "f32": random.choice([0.0, 2.5, -3.0]),
        "str": random.choice(TEXTS),
        "bool": True,
        "[str]": ["a b"],
        "[i32]": [1] * 8,
        "[f32]": [0.5] * 8,
        "[bool]": [True] * random.choice([0, 1, 2]),
    }
    return made.changed(key, known[key], values[known[key]])


def _shape(made: File, random: Random) -> File:
    tensor = random.choice(made.tensors)
    shape = list(tensor.shape)
    shape[random.randrange(len(shape))] = random.choice([1, 16, 32, 64, 256])
    tensor.shape = tuple(shape)
    return made


def _type(made: File, random: Random) -> File:
    tensor = random.choice(made.tensors)
    kind = random.choice(sorted(gguf.TYPES))
    _, block, width = gguf.TYPES[kind]
    elements = 1
    for length in tensor.shape:
        elements *= length
    if tensor.shape[0] % block == 0:
        tensor.type, tensor.data = kind, bytes(elements // block * width)
    return made


def _fewer(made: File, random: Random) -> File:
    gone = random.choice(made.tensors)
    return made.replace(tensors=[tensor for tensor in made.tensors if tensor is not gone] or made.tensors)


def _shuffled(made: File, random: Random) -> File:
    random.shuffle(made.tensors)
    return made


def _more(made: File, random: Random) -> File:
    return made.replace(tensors=[*made.tensors, gguffile.Tensor(random.choice(NAMES), random.choice(SHAPES))])


def _aligned(made: File, random: Random) -> File:
    alignment = random.choice([8, 16, 32, 64, 4096])
    return made.changed("general.alignment", "u32", alignment).replace(alignment=alignment)


CHANGES = (_value, _no_value, _new_value, _shape, _type, _fewer, _shuffled, _more, _aligned)


def changed_safetensors(seed: int) -> bytes:
    """Give a small file with up to three changes to its header's text, its table or its length."""
    random = Random(seed)
    kinds = sorted(tensors.EXTENTS)
    table: dict[str, Any] = {}
    position = 0
    for number in range(random.randrange(4)):
        kind = random.choice(kinds)
        shape = [random.choice([0, 1, 2, 4, 8]) for _ in range(random.randrange(3))]
        bits = tensors.EXTENTS[kind]
        for length in shape:
            bits *= length
        end = position + bits // 8
        table[f"t{number}"] = tensors.tensor(position, end, shape, kind)
        position = end
    if random.random() < 0.3:  # noqa: PLR2004 - a share
        table["__metadata__"] = random.choice([{"format": "pt"}, {}, None, {"a": 1}, {"a": "\ud800"}])
    for entry in list(table.values()):
        if random.random() < 0.2 and isinstance(entry, dict) and "shape" in entry:  # noqa: PLR2004 - a share
            entry[random.choice(sorted(entry))] = random.choice(
                [
                    [0, 0],
                    [2**52, 2**52, 0],
                    [position, position],
                    [],
                    "F32",
                    [1] * 9,
                    [1.0],
                    [True, True],
                    None,
                    -1,
                ]
            )
    text = bytearray(json.dumps(table).encode())
    for _ in range(random.choice([0, 0, 1, 2])):
        at = random.randrange(len(text))
        piece = random.choice(
            [b" ", b"-", b"0", b"e0", b".0", b'"', b",", b"}", b"\n", b"\\u0000", b"\xff", b"1", b"\t"]
        )
        text[at : at + random.randrange(2)] = piece
    text += random.choice([b"", b"", b" ", b"   ", b"\n", b"\0"])
    return tensors.pack(bytes(text), bytes(max(0, position + random.choice([0, 0, 0, 0, 1, -1]))))
