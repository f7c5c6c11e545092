"""GGUF files, byte by byte: whatever the format can say, right or wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

SCALARS = {
    "u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"), "i32": (5, "i"), "f32": (6, "f"),
    "bool": (7, "B"), "u64": (10, "Q"), "i64": (11, "q"), "f64": (12, "d"),
}  # fmt: skip
STRING, ARRAY = 8, 9
F32, F16, Q8_0 = 0, 1, 8
WIDTHS = {F32: (1, 4), F16: (1, 2), Q8_0: (32, 34)}  # elements and bytes of a block
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"


@dataclass
class Tensor:
    """A tensor's record; what is None is what it should be."""

    name: str
    shape: tuple[int, ...]
    type: int = F32
    offset: int | None = None
    data: bytes | None = None


@dataclass
class File:
    """A file to be packed; what is None is what it should be.

    Args:
        values: Key, type and value of each entry, in order.
        tensors: The table.
        version: Of the format.
        order: ``<`` or ``>``.
        keys: The number of keys claimed.
        count: The number of tensors claimed.
        alignment: What the data are padded to.
        tail: Bytes after everything.
        filler: The byte that pads.
    """

    values: list[tuple[str, str, Any]]
    tensors: list[Tensor]
    version: int = 3
    order: str = "<"
    keys: int | None = None
    count: int | None = None
    alignment: int = 32
    tail: bytes = b""
    filler: bytes = b"\0"
    magic: bytes = field(default=b"GGUF")

    def changed(self, key: str, kind: str, value: object) -> File:
        """Give a file with another value under a key, in the same place or at the end."""
        entry = (key, kind, value)
        values = [entry if old[0] == key else old for old in self.values]
        return self.replace(values=values if entry in values else [*values, entry])

    def without(self, key: str) -> File:
        """Give a file without a key."""
        return self.replace(values=[entry for entry in self.values if entry[0] != key])

    def replace(self, **fields: Any) -> File:
        """Give a file with other fields."""
        return File(**{**self.__dict__, **fields})

    def pack(self) -> bytes:
        """Write the file."""
        order = self.order
        head = bytearray(self.magic)
        head += struct.pack(
            order + "IQQ",
            self.version,
            len(self.tensors) if self.count is None else self.count,
            len(self.values) if self.keys is None else self.keys,
        )
        for key, kind, value in self.values:
            head += text(key, order) + typed(kind, value, order)
        body = bytearray()
        for tensor in self.tensors:
            data = tensor.data if tensor.data is not None else bytes(extent(tensor))
            head += text(tensor.name, order) + struct.pack(order + "I", len(tensor.shape))
            head += struct.pack(f"{order}{len(tensor.shape)}Q", *tensor.shape)
            head += struct.pack(
                order + "IQ", tensor.type, len(body) if tensor.offset is None else tensor.offset
            )
            body += data + self.filler * (-len(data) % self.alignment)
        head += self.filler * (-len(head) % self.alignment)
        return bytes(head + body) + self.tail


def text(value: str | bytes, order: str = "<") -> bytes:
    """Write a string: its length, then its bytes."""
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return struct.pack(order + "Q", len(data)) + data


def typed(kind: str, value: Any, order: str = "<") -> bytes:
    """Write a value with its type: a scalar's name, ``str``, a name in brackets for an array, ``raw`` for bytes as they are."""
    if kind == "raw":
        return bytes(value)
    if kind.startswith("["):
        inner = kind[1:-1]
        code = STRING if inner == "str" else SCALARS[inner][0]
        head = struct.pack(order + "IIQ", ARRAY, code, len(value))
        if inner == "str":
            return head + b"".join(text(item, order) for item in value)
        return head + struct.pack(f"{order}{len(value)}{SCALARS[inner][1]}", *value)
    if kind == "str":
        return struct.pack(order + "I", STRING) + text(value, order)
    code, form = SCALARS[kind]
    return struct.pack(f"{order}I{form}", code, value)


def extent(tensor: Tensor) -> int:
    """Give the bytes that a tensor's shape needs."""
    block, width = WIDTHS[tensor.type]
    elements = 1
    for length in tensor.shape:
        elements *= length
    return elements // block * width


def model(family: str = "llama", *, tokenizer: str = "llama", blocks: int = 1, width: int = 32) -> File:
    """Give a right model of a family, with one small block of zeros."""
    heads, heads_kv, inner = 2, 1, 2 * width
    head = width // heads
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "a", "b", "ab", "Ċ"]
    values: list[tuple[str, str, Any]] = [
        ("general.architecture", "str", family),
        ("general.type", "str", "model"),
        ("general.name", "str", "tiny"),
        ("general.tags", "[str]", ["text-generation"]),
        ("general.file_type", "u32", 0),
        (f"{family}.context_length", "u32", 64),
        (f"{family}.embedding_length", "u32", width),
        (f"{family}.block_count", "u32", blocks),
        (f"{family}.feed_forward_length", "u32", inner),
        (f"{family}.attention.head_count", "u32", heads),
        (f"{family}.attention.head_count_kv", "u32", heads_kv),
        (f"{family}.attention.layer_norm_{'' if family == 'phi2' else 'rms_'}epsilon", "f32", 1e-5),
        (f"{family}.rope.freq_base", "f32", 10000.0),
        (f"{family}.rope.dimension_count", "u32", head),
        (f"{family}.vocab_size", "u32", len(pieces)),
        ("tokenizer.ggml.model", "str", tokenizer),
        ("tokenizer.ggml.tokens", "[str]", pieces),
        ("tokenizer.ggml.token_type", "[i32]", [2, 3, 3, 6, 1, 1, 1, 1]),
        ("tokenizer.ggml.bos_token_id", "u32", 1),
        ("tokenizer.ggml.eos_token_id", "u32", 2),
        ("tokenizer.ggml.add_bos_token", "bool", True),
        ("tokenizer.chat_template", "str", TEMPLATE),
    ]
    if tokenizer == "llama":
        values.append(("tokenizer.ggml.scores", "[f32]", [-float(n) for n in range(len(pieces))]))
    else:
        values += [("tokenizer.ggml.pre", "str", "qwen2"), ("tokenizer.ggml.merges", "[str]", ["a b"])]
    if family == "gemma3":
        values.append((f"{family}.attention.key_length", "u32", head))
        values.append((f"{family}.attention.value_length", "u32", head))
    return File(values, tensors(family, blocks, width, heads * head, heads_kv * head, inner, len(pieces)))


def tensors(  # noqa: PLR0917 - the dimensions of a model
    family: str, blocks: int, width: int, queries: int, keys: int, inner: int, pieces: int
) -> list[Tensor]:
    """Give the table of a model of a family."""
    found = [Tensor("token_embd.weight", (width, pieces)), Tensor("output_norm.weight", (width,))]
    for block in range(blocks):
        part: list[tuple[str, tuple[int, ...]]] = [("attn_norm", (width,))]
        if family == "phi3":
            part.append(("attn_qkv", (width, queries + 2 * keys)))
        else:
            part += [("attn_q", (width, queries)), ("attn_k", (width, keys)), ("attn_v", (width, keys))]
            if family != "phi2":
                part.append(("ffn_gate", (width, inner)))
        part.append(("attn_output", (queries, width)))
        if family != "phi2":
            part.append(("ffn_norm", (width,)))
        part += [("ffn_up", (width, 2 * inner if family == "phi3" else inner)), ("ffn_down", (inner, width))]
        if family in {"qwen3", "gemma3"}:
            part += [("attn_q_norm", (queries // 2,)), ("attn_k_norm", (queries // 2,))]
        if family == "gemma3":
            part += [("post_attention_norm", (width,)), ("post_ffw_norm", (width,))]
        found += [Tensor(f"blk.{block}.{name}.weight", shape) for name, shape in part]
        if family in {"qwen2", "phi2"}:
            found += [
                Tensor(f"blk.{block}.attn_{side}.bias", (queries if side == "q" else keys,)) for side in "qkv"
            ]
        if family == "phi2":
            widths = {"attn_norm": width, "attn_output": width, "ffn_up": inner, "ffn_down": width}
            found += [Tensor(f"blk.{block}.{name}.bias", (size,)) for name, size in widths.items()]
    if family == "phi2":
        found += [Tensor("output_norm.bias", (width,)), Tensor("output.weight", (width, pieces))]
        found.append(Tensor("output.bias", (pieces,)))
    return found


def adapter() -> File:
    """Give a right LoRA adapter for ``model()``."""
    values = [
        ("general.architecture", "str", "llama"),
        ("general.type", "str", "adapter"),
        ("adapter.type", "str", "lora"),
        ("adapter.lora.alpha", "f32", 16.0),
    ]
    return File(
        values,
        [Tensor("blk.0.attn_q.weight.lora_a", (32, 4)), Tensor("blk.0.attn_q.weight.lora_b", (4, 32))],
    )
