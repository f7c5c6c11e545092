"""GGUF files, right and wrong."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from scripts.crafted import gguffile
from scripts.crafted.gguffile import File, Tensor
from scripts.crafted.vector import Vector

if TYPE_CHECKING:
    from collections.abc import Callable

FORM, MODEL, WORDS = "formats.gguf", "formats.gguf-model", "formats.gguf-vocabulary"
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3", "phi2", "phi3")
TOKENS, TYPES, SCORES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"


def small(tokenizer: str = "llama") -> File:
    """Give the smallest right model."""
    return gguffile.model(tokenizer=tokenizer, width=8)


def right() -> list[Vector]:
    """Give files that are accepted."""
    found = [
        Vector(
            f"gguf-{family}.gguf", gguffile.model(family, width=8).pack(), f"a model of the {family} family"
        )
        for family in FAMILIES
    ]
    wide = small().changed("general.alignment", "u32", 64).replace(alignment=64)
    eights = gguffile.model()
    for tensor in eights.tensors:
        if len(tensor.shape) > 1:
            tensor.type = gguffile.Q8_0
    return [
        *found,
        Vector("gguf-byte-pairs.gguf", small("gpt2").pack(), "a vocabulary with merges"),
        Vector("gguf-version-2.gguf", small().replace(version=2).pack(), "the format's version 2"),
        Vector("gguf-aligned-64.gguf", wide.pack(), "tensors aligned to 64 bytes"),
        Vector("gguf-q8_0.gguf", eights.pack(), "matrices in blocks of 32"),
        Vector("gguf-adapter.gguf", gguffile.adapter().pack(), "a LoRA adapter"),
    ]


def wrong() -> list[Vector]:
    """Give files that are refused."""
    return [*_forms(), *_models(), *_vocabularies(), *_adapters()]


def _forms() -> list[Vector]:
    base = small()
    second = 4 + 4  # where the number of tensors stands
    packed = base.pack()

    def claim(offset: int, number: int) -> bytes:
        return packed[:offset] + struct.pack("<Q", number) + packed[offset + 8 :]

    def tensors(change: Callable[[list[Tensor]], object]) -> bytes:
        made = small()
        change(made.tensors)
        return made.pack()

    def first(**fields: object) -> bytes:
        return tensors(lambda table: table[0].__dict__.update(fields))

    deep = gguffile.text("x") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQI", 4, 1, 0)
    cases: list[tuple[str, bytes, str]] = [
        ("magic", base.replace(magic=b"GGML").pack(), "another magic"),
        ("version-1", base.replace(version=1).pack(), "a version nobody reads any more"),
        ("version-4", base.replace(version=4).pack(), "a version nobody reads yet"),
        ("big-endian", base.replace(order=">").pack(), "written for another machine"),
        ("no-tensor", base.replace(tensors=[]).pack(), "no tensor"),
        ("tensors-claimed", claim(second, 2**62), "claims 2**62 tensors"),
        ("tensors-negative", claim(second, 2**64 - 1), "claims -1 tensors, to those who read a sign"),
        ("keys-claimed", claim(second + 8, 2**62), "claims 2**62 keys"),
        ("key-twice", base.replace(values=[*base.values, base.values[2]]).pack(), "one key twice"),
        ("key-empty", base.changed("", "u32", 1).pack(), "an empty key"),
        (
            "key-nul",
            base.changed("general.name\0x", "str", "x").pack(),
            "a key with a NUL, at which llama.cpp stops reading",
        ),
        ("key-long", base.changed("general." + "x" * 5000, "u32", 1).pack(), "a key of 5,000 letters"),
        (
            "string-claimed",
            base.changed("general.name", "raw", struct.pack("<IQ", 8, 2**63)).pack(),
            "a text of 2**63 bytes",
        ),
        (
            "string-not-utf8",
            base.changed("general.name", "str", b"\xff\xfe").pack(),
            "a text that is no UTF-8",
        ),
        (
            "string-nul",
            base.changed("general.name", "str", "shown\0hidden").pack(),
            "a text with a NUL, that two readers see differently",
        ),
        (
            "array-claimed",
            base.changed("general.x", "raw", struct.pack("<IIQ", 9, 4, 2**61)).pack(),
            "an array whose bytes overflow 64 bits",
        ),
        (
            "array-of-texts-claimed",
            base.changed("general.x", "raw", struct.pack("<IIQ", 9, 8, 2**30)).pack(),
            "an array of 2**30 texts",
        ),
        ("array-nested", packed_raw(base, deep), "an array of arrays"),
        (
            "array-of-unknown",
            base.changed("general.x", "raw", struct.pack("<IIQ", 9, 99, 1)).pack(),
            "an array of an unknown type",
        ),
        (
            "type-unknown",
            base.changed("general.x", "raw", struct.pack("<I", 99)).pack(),
            "a value of an unknown type",
        ),
        (
            "boolean-2",
            base.changed("general.x", "raw", struct.pack("<IB", 7, 2)).pack(),
            "a boolean that is neither",
        ),
        (
            "alignment-0",
            base.changed("general.alignment", "u32", 0).pack(),
            "an alignment of 0, by which readers divide",
        ),
        (
            "alignment-8",
            base.changed("general.alignment", "u32", 8).replace(alignment=8).pack(),
            "an alignment at which ggml aborts",
        ),
        (
            "alignment-48",
            base.changed("general.alignment", "u32", 48).replace(alignment=48).pack(),
            "an alignment that is no power of two",
        ),
        (
            "alignment-huge",
            base.changed("general.alignment", "u32", 2**31).replace(alignment=64).pack(),
            "an alignment of 2 GiB",
        ),
        (
            "alignment-text",
            base.changed("general.alignment", "str", "32").pack(),
            "an alignment that is text",
        ),
        ("tensor-twice", tensors(lambda table: table.append(table[1])), "two tensors of one name"),
        ("tensor-name-long", first(name="x" * 64), "a name that fills llama.cpp's room for it"),
        ("tensor-name-nul", first(name="token_embd.weight\0x"), "a name with a NUL"),
        ("tensor-dimensions-5", first(shape=(8, 8, 1, 1, 1)), "five dimensions"),
        ("tensor-dimensions-0", first(shape=()), "no dimension"),
        ("tensor-dimension-0", first(shape=(8, 0)), "a dimension of 0"),
        (
            "tensor-dimension-negative",
            first(shape=(8, 2**64 - 1), data=b""),
            "a dimension of -1, to those who read a sign",
        ),
        (
            "tensor-elements-overflow",
            first(shape=(2**32, 2**32, 2**32), data=b""),
            "more elements than 64 bits count",
        ),
        ("tensor-bytes-overflow", first(shape=(2**61, 2), data=b""), "more bytes than 64 bits count"),
        ("tensor-type-unknown", first(type=99, data=bytes(256)), "an unknown type"),
        ("tensor-type-retired", first(type=4, data=bytes(256)), "a type that was retired"),
        (
            "tensor-row-no-blocks",
            first(type=gguffile.Q8_0, data=bytes(272)),
            "rows that do not fill their blocks",
        ),
        (
            "tensor-offset-overlap",
            tensors(lambda table: table[1].__dict__.update(offset=0)),
            "two tensors share bytes",
        ),
        (
            "tensor-offset-gap",
            tensors(lambda table: table[1].__dict__.update(offset=4096)),
            "bytes between tensors",
        ),
        (
            "tensor-offset-unaligned",
            tensors(lambda table: table[1].__dict__.update(offset=257)),
            "an offset beside the alignment",
        ),
        (
            "tensor-offset-overflow",
            tensors(lambda table: table[1].__dict__.update(offset=2**64 - 32)),
            "an offset that wraps around",
        ),
        ("tensor-past-the-end", packed[:-64], "the last tensor ends behind the file"),
        (
            "tensor-order",
            tensors(lambda table: (table[0].__dict__.update(offset=256), table[1].__dict__.update(offset=0))),
            "tensors that stand in another order than their records",
        ),
        ("padding-used", base.replace(filler=b"x").pack(), "something written where padding belongs"),
        ("trailing-bytes", base.replace(tail=b"appended").pack(), "bytes after the last tensor"),
        ("truncated-header", packed[:200], "a header that ends in the middle"),
        ("magic-only", b"GGUF", "four bytes"),
        ("empty", b"", "no byte at all"),
    ]
    return [Vector(f"gguf-{name}.gguf", data, why, FORM) for name, data, why in cases]


def packed_raw(base: File, entry: bytes) -> bytes:
    """Give a file with one more entry, written as it is."""
    name, rest = entry[8:9].decode(), entry[9:]
    return base.changed(f"general.{name}", "raw", rest).pack()


def _models() -> list[Vector]:
    base = small()

    def value(key: str, kind: str, what: object) -> bytes:
        return base.changed(key, kind, what).pack()

    def tensors(change: Callable[[list[Tensor]], object]) -> bytes:
        made = small()
        change(made.tensors)
        return made.pack()

    cases: list[tuple[str, bytes, str]] = [
        ("no-architecture", base.without("general.architecture").pack(), "no architecture"),
        ("architecture-number", value("general.architecture", "u32", 1), "an architecture that is a number"),
        ("type-mmproj", value("general.type", "str", "mmproj"), "neither a model nor an adapter"),
        ("split", value("split.count", "u16", 2), "names other files, which llama.cpp would open by itself"),
        ("foreign-key", value("clip.has_vision_encoder", "bool", True), "a key of another name space"),
        (
            "foreign-tokenizer-key",
            value("tokenizer.huggingface.json", "str", "{}"),
            "a second tokenizer beside the first",
        ),
        (
            "key-of-other-type",
            value("llama.block_count", "i32", 1),
            "a key of a type that llama.cpp throws at",
        ),
        ("no-blocks", value("llama.block_count", "u32", 0), "no layers, at which llama.cpp aborts"),
        ("many-blocks", value("llama.block_count", "u32", 513), "more layers than llama.cpp has room for"),
        ("missing-dimension", base.without("llama.feed_forward_length").pack(), "a dimension is missing"),
        (
            "heads-0",
            value("llama.attention.head_count", "u32", 0),
            "no attention heads, by which readers divide",
        ),
        (
            "heads-uneven",
            value("llama.attention.head_count_kv", "u32", 3),
            "key-value heads that do not divide the heads",
        ),
        ("rope-beyond-head", value("llama.rope.dimension_count", "u32", 64), "a rotation wider than a head"),
        (
            "rope-scaling-unknown",
            value("llama.rope.scaling.type", "str", "x"),
            "a scaling at which llama.cpp aborts",
        ),
        ("not-finite", value("llama.rope.freq_base", "f32", math.nan), "a frequency that is no number"),
        (
            "vocab-size-lies",
            value("llama.vocab_size", "u32", 9),
            "a vocabulary of another size than the model's",
        ),
        ("tensor-missing", tensors(lambda table: table.pop()), "a tensor of the architecture is missing"),
        (
            "tensor-extra",
            tensors(lambda table: table.append(Tensor("x.weight", (8,)))),
            "a tensor that is none of the architecture's",
        ),
        (
            "tensor-misshapen",
            tensors(lambda table: table[0].__dict__.update(shape=(8, 9))),
            "embeddings for more ids than there are",
        ),
        (
            "tensor-integers",
            tensors(lambda table: table[0].__dict__.update(type=26, data=bytes(256))),
            "a matrix of integers, at which llama.cpp gives up",
        ),
        (
            "norm-half",
            tensors(lambda table: table[1].__dict__.update(type=gguffile.F16)),
            "a norm in half precision, as no converter writes it",
        ),
    ]
    found = [Vector(f"gguf-model-{name}.gguf", data, why, MODEL) for name, data, why in cases]
    template = "{{ messages.__class__.__mro__ }}"
    return [
        *found,
        Vector(
            "gguf-model-architecture-unknown.gguf",
            value("general.architecture", "str", "evil"),
            "an architecture that nobody converts or serves",
            "formats.architecture",
        ),
        Vector(
            "gguf-model-template-escape.gguf",
            value("tokenizer.chat_template", "str", template),
            "a chat template inside that reaches for Python's classes",
            "formats.chat-template",
        ),
        Vector(
            "gguf-model-named-template-escape.gguf",
            value("tokenizer.chat_template.tool_use", "str", template),
            "the same in a template of another name",
            "formats.chat-template",
        ),
    ]


def _vocabularies() -> list[Vector]:
    base, pairs = small(), small("gpt2")
    pieces = next(value for key, _, value in base.values if key == TOKENS)
    types = next(value for key, _, value in base.values if key == TYPES)
    scores = next(value for key, _, value in base.values if key == SCORES)
    cases: list[tuple[str, bytes, str]] = [
        (
            "piece-twice",
            base.changed(TOKENS, "[str]", [*pieces[:-1], "a"]).pack(),
            "a piece twice, at which llama.cpp aborts",
        ),
        (
            "piece-twice-by-nul",
            base.changed(TOKENS, "[str]", [*pieces[:-1], "a\0b"]).pack(),
            "two pieces that are the same up to a NUL",
        ),
        (
            "piece-twice-by-number",
            base.changed(TOKENS, "[str]", ["", "[EMPTY_0]", *pieces[2:]]).pack(),
            "a piece named as llama.cpp names an empty one",
        ),
        (
            "piece-long",
            base.changed(TOKENS, "[str]", [*pieces[:-1], "x" * 5000]).pack(),
            "a piece of 5,000 letters",
        ),
        ("no-pieces", base.changed(TOKENS, "[str]", []).pack(), "no pieces"),
        (
            "fewer-types",
            base.changed(TYPES, "[i32]", types[:-1]).pack(),
            "fewer types than pieces: read past the end",
        ),
        (
            "fewer-scores",
            base.changed(SCORES, "[f32]", scores[:-1]).pack(),
            "fewer scores than pieces: read past the end",
        ),
        ("no-scores", base.without(SCORES).pack(), "no scores where pieces are joined by them"),
        ("type-unknown", base.changed(TYPES, "[i32]", [99, *types[1:]]).pack(), "a type that no piece has"),
        (
            "byte-without-name",
            base.changed(TYPES, "[i32]", [6, *types[1:]]).pack(),
            "a piece for a byte that names none: read past its end",
        ),
        (
            "special-beyond",
            base.changed("tokenizer.ggml.eos_token_id", "u32", 8).pack(),
            "an end token beyond the vocabulary",
        ),
        (
            "model-unknown",
            base.changed("tokenizer.ggml.model", "str", "t5").pack(),
            "a kind of tokenizer nobody has judged",
        ),
        (
            "pre-unknown",
            pairs.changed("tokenizer.ggml.pre", "str", "x").pack(),
            "a pre-tokenizer that llama.cpp does not know",
        ),
        (
            "name-phi-3",
            base.changed("general.name", "str", "Phi-3").pack(),
            "a name by which llama.cpp looks for a piece that is not there",
        ),
        ("no-merges", pairs.without("tokenizer.ggml.merges").pack(), "no merges"),
        (
            "merge-unknown",
            pairs.changed("tokenizer.ggml.merges", "[str]", ["a z"]).pack(),
            "a merge of an unknown piece",
        ),
        (
            "merge-no-pair",
            pairs.changed("tokenizer.ggml.merges", "[str]", ["ab"]).pack(),
            "a merge that joins nothing",
        ),
    ]
    return [Vector(f"gguf-vocabulary-{name}.gguf", data, why, WORDS) for name, data, why in cases]


def _adapters() -> list[Vector]:
    base = gguffile.adapter()
    a, b = base.tensors
    odd = Tensor("blk.0.attn_q.weight.lora_b", (8, 32))
    cases: list[tuple[str, bytes, str]] = [
        ("one-side", base.replace(tensors=[a]).pack(), "half of a pair"),
        ("ranks-differ", base.replace(tensors=[a, odd]).pack(), "two sides of different ranks"),
        (
            "other-tensor",
            base.replace(tensors=[a, b, Tensor("token_embd.weight", (8, 8))]).pack(),
            "a tensor that would replace the base's",
        ),
        ("other-type", base.changed("adapter.type", "str", "control").pack(), "another sort of adapter"),
        ("no-alpha", base.without("adapter.lora.alpha").pack(), "no scale"),
    ]
    return [Vector(f"gguf-adapter-{name}.gguf", data, why, MODEL) for name, data, why in cases]
