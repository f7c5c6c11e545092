"""What a GGUF file says of itself: an architecture, its dimensions, a vocabulary, and the tensors these need.

Invariants: every key is one that is known, with the type under which llama.cpp reads it; the dimensions are bounded and fit
each other; the tensors are exactly those of the architecture, each of the shape that the dimensions give it; pieces,
scores and types of the vocabulary are equally many, pieces differ, and merges join known pieces; an embedded chat template
keeps the rules of ``chattemplate``. So what is accepted here loads.

Stricter than llama.cpp, for a reason each time:

* Only the architectures that Holdfast converts and serves: nobody has judged what the others' tensors need.
* Unknown keys beneath ``tokenizer.`` and the architecture's name, and all other name spaces than ``general.``,
  ``quantize.`` and ``adapter.``, are refused: a later llama.cpp could give them a meaning.
* ``split.*`` is refused: llama.cpp would open other files that stand beside this one.
* Norms and biases are F32, as every converter writes them, and matrices have a type that the quantizer makes.
* Scores are finite, token types known, special ids within the vocabulary: llama.cpp would warn and go on.

Source: llama-arch.cpp, llama-vocab.cpp, llama-model.cpp and models/*.cpp of the pinned llama.cpp.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NoReturn

from holdfast.errors import UntrustedBundle
from holdfast.formats import chattemplate, gguf, ggufvocab

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from holdfast.canonical import Json
    from holdfast.formats.gguf import Header, Scalar, Tensor, Value

MAX_BLOCKS = 512  # layers; the most that llama.cpp has room for
MAX_DIMENSION = 2**20  # of a vector; the largest published has 53,248
MAX_HEADS = 1024  # of attention in a layer
MAX_HEAD = 1024  # dimensions of one; the largest published has 256
MAX_CONTEXT = 2**24  # tokens
MAX_TYPES = 4096  # kinds of texts that a model tells apart; BERT has two
SCALINGS = frozenset({"none", "linear", "yarn", "longrope"})

# Keys beneath the architecture's name, each with the type that llama.cpp reads and the converters write.
ARCHITECTURE_KEYS = {
    "context_length": "u32",
    "embedding_length": "u32",
    "block_count": "u32",
    "feed_forward_length": "u32",
    "vocab_size": "u32",
    "attention.head_count": "u32",
    "attention.head_count_kv": "u32",
    "attention.key_length": "u32",
    "attention.value_length": "u32",
    "attention.layer_norm_epsilon": "f32",
    "attention.layer_norm_rms_epsilon": "f32",
    "attention.causal": "bool",
    "attention.sliding_window": "u32",
    "pooling_type": "u32",
    "attn_logit_softcapping": "f32",
    "final_logit_softcapping": "f32",
    "rope.dimension_count": "u32",
    "rope.freq_base": "f32",
    "rope.freq_base_swa": "f32",
    "rope.scaling.type": "str",
    "rope.scaling.factor": "f32",
    "rope.scaling.attn_factor": "f32",
    "rope.scaling.original_context_length": "u32",
    "rope.scaling.finetuned": "bool",
}
GENERAL_KEYS = {
    "general.architecture": "str",
    "general.type": "str",
    "general.name": "str",
    "general.alignment": "u32",
    "general.file_type": "u32",
    "general.quantization_version": "u32",
}
_ADAPTER_KEYS = {"adapter.type": "str", "adapter.lora.alpha": "f32"}
_FREE = ("general.", "quantize.")  # what is described there changes nothing
_LIMITS = {
    "context_length": MAX_CONTEXT,
    "embedding_length": MAX_DIMENSION,
    "block_count": MAX_BLOCKS,
    "feed_forward_length": MAX_DIMENSION,
    "attention.head_count": MAX_HEADS,
}
_PLAIN = frozenset({"qwen2", "phi2", "phi3", "bert"})  # their heads always share the embedding's width
ARCHITECTURES = frozenset({"llama", "qwen2", "qwen3", "gemma3", "phi2", "phi3", "bert"})
_NORMED = frozenset({"phi2", "bert"})  # norms with a mean, hence with biases
POOLINGS = (1, 2, 3)  # mean, first token, last token
MATRIX_TYPES = frozenset(name for name, _, _ in gguf.TYPES.values()) - {
    "Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64",
}  # fmt: skip


def judge(header: Header, name: str) -> dict[str, Json]:
    """Judge what a GGUF file says of itself.

    Args:
        header: The file's header.
        name: The file's name, for messages.

    Returns:
        The facts that describe it: part (model or adapter), architecture, dimensions, types and number of tensors.

    Raises:
        UntrustedBundle: If anything is not as the module's description says.
    """
    architecture = _text(header.values, "general.architecture", name)
    if architecture not in ARCHITECTURES:
        _refuse(
            name,
            f"its architecture is {architecture[:40]!r}; known are {', '.join(sorted(ARCHITECTURES))}",
            "formats.architecture",
        )
    part = _text(header.values, "general.type", name) if "general.type" in header.values else "model"
    if part not in {"model", "adapter"}:
        _refuse(name, f"general.type is {part[:40]!r}; model and adapter are known")
    _keys(header.values, architecture, part, name)
    facts: dict[str, Json] = {
        "part": part,
        "architecture": architecture,
        "tensors": len(header.tensors),
        "types": [*sorted({tensor.type for tensor in header.tensors})],
    }
    if part == "adapter":
        return facts | _adapter(header, name)
    sizes = _Sizes(header.values, architecture, name)
    pieces = ggufvocab.judge(header.values, name)
    pools = _pooling(header.values, architecture, name)
    if (claimed := sizes.optional("vocab_size", pieces)) != pieces:
        _refuse(name, f"{architecture}.vocab_size is {claimed}, and its vocabulary has {pieces} pieces")
    _template(header.values, name)
    _tensors(header.tensors, sizes.table({tensor.name for tensor in header.tensors}, pieces), name)
    return (
        facts
        | pools
        | {
            "vocab_size": pieces,
            "hidden_size": sizes.width,
            "num_hidden_layers": sizes.blocks,
            "context_length": sizes.context,
        }
    )


def _pooling(values: Mapping[str, Value], architecture: str, name: str) -> dict[str, Json]:
    """Judge how a text's vector is made; a model that only embeds must say it."""
    value = values.get(f"{architecture}.pooling_type")
    if value is None:
        if architecture == "bert":
            _refuse(name, "bert.pooling_type is missing")
        return {}
    if value.data not in POOLINGS:
        _refuse(name, f"{architecture}.pooling_type is {str(value.data)[:20]}; {POOLINGS} are known")
    return {"pooling_type": int(str(value.data))}


def _keys(values: Mapping[str, Value], architecture: str, part: str, name: str) -> None:
    known = {
        **GENERAL_KEYS,
        **{f"{architecture}.{key}": kind for key, kind in ARCHITECTURE_KEYS.items()},
        **(_ADAPTER_KEYS if part == "adapter" else ggufvocab.KEYS),
    }
    for key, value in values.items():
        kind = known.get(key)
        if key == f"{architecture}.attention.sliding_window_pattern":
            if value.type not in {"u32", "[bool]"}:
                _refuse(name, f"{key} is of type {value.type}; u32 or [bool] is expected")
        elif kind is not None:
            if value.type != kind:
                _refuse(name, f"{key} is of type {value.type}; {kind} is expected")
        elif key.startswith("split."):
            _refuse(name, f"{key} says that other files belong to it; only whole files come in")
        elif not key.startswith(_FREE) and not ggufvocab.is_template(key):
            _refuse(name, f"the key {key[:80]} is not known for {architecture}")
        floats = value.data if isinstance(value.data, tuple) else (value.data,)
        if value.type in {"f32", "f64", "[f32]", "[f64]"} and not all(map(_is_finite, floats)):
            _refuse(name, f"{key} is not finite")


def _is_finite(value: Scalar) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


class _Sizes:
    """The dimensions of a model, checked against each other."""

    def __init__(self, values: Mapping[str, Value], architecture: str, name: str) -> None:
        self._values, self._architecture, self._name = values, architecture, name
        self.context, self.width, self.blocks, self.inner, self.heads = (
            self._required(key, most) for key, most in _LIMITS.items()
        )
        epsilon = f"attention.layer_norm_{'' if architecture in _NORMED else 'rms_'}epsilon"
        if f"{architecture}.{epsilon}" not in values:
            self._refuse(epsilon, "is missing")
        self.heads_kv = self.optional("attention.head_count_kv", self.heads)
        if not 0 < self.heads_kv <= self.heads or self.heads % self.heads_kv:
            self._refuse("attention.head_count_kv", f"is {self.heads_kv}, which does not divide {self.heads}")
        self.head = self.optional("attention.key_length", self.width // self.heads)
        if not 0 < self.head <= MAX_HEAD or self.optional("attention.value_length", self.head) != self.head:
            self._refuse("attention.key_length", f"is not 1 to {MAX_HEAD}, or not that of values")
        if (architecture in _PLAIN or f"{architecture}.attention.key_length" not in values) and (
            self.head * self.heads != self.width
        ):
            self._refuse("embedding_length", f"is {self.width}, not {self.heads} heads of {self.head}")
        self.rotated = self.optional("rope.dimension_count", self.head)
        if not 0 < self.rotated <= self.head or self.rotated % 2:
            self._refuse("rope.dimension_count", f"is {self.rotated}, not even or beyond {self.head}")
        if architecture == "llama" and self.rotated != self.head:
            self._refuse("rope.dimension_count", f"is {self.rotated} where {self.head} is expected")
        scaling = values.get(f"{architecture}.rope.scaling.type")
        self.scaling = scaling.data if scaling else "linear"
        if self.scaling not in SCALINGS:
            self._refuse("rope.scaling.type", f"is {str(self.scaling)[:20]!r}")
        window = values.get(f"{architecture}.attention.sliding_window_pattern")
        if window and isinstance(window.data, tuple) and len(window.data) != self.blocks:
            self._refuse(
                "attention.sliding_window_pattern", f"has not one entry for each of {self.blocks} blocks"
            )

    def _required(self, key: str, most: int) -> int:
        if f"{self._architecture}.{key}" not in self._values:
            self._refuse(key, "is missing")
        found = self.optional(key, 0)
        if not 0 < found <= most:
            self._refuse(key, f"is {found}; 1 to {most} is allowed")
        return found

    def optional(self, key: str, default: int) -> int:
        value = self._values.get(f"{self._architecture}.{key}")
        return value.data if value is not None and isinstance(value.data, int) else default

    def _refuse(self, key: str, why: str) -> NoReturn:
        _refuse(self._name, f"{self._architecture}.{key} {why}")

    def table(self, present: Collection[str], pieces: int) -> dict[str, tuple[tuple[int, ...], bool]]:
        """Give each tensor's shape and whether it must be there, by its name.

        Args:
            present: The names that are there; a converter may have joined queries, keys and values into one matrix.
            pieces: Of the vocabulary.

        Returns:
            The table.
        """
        family = self._architecture
        if family == "bert":
            return self._encoder(pieces)
        biased = family == "phi2"
        found = {
            "token_embd.weight": ((self.width, pieces), True),
            "output_norm.weight": ((self.width,), True),
            "output.weight": ((self.width, pieces), biased),
            **self._rotation(family),
        }
        if biased or family == "qwen2":
            found["output.bias"] = ((pieces,), biased)
        if biased:
            found["output_norm.bias"] = ((self.width,), True)
        block = self._attention(family, joined="blk.0.attn_qkv.weight" in present) | self._forward(family)
        for number in range(self.blocks):
            found |= {f"blk.{number}.{key}": facts for key, facts in block.items()}
        return found

    def _encoder(self, pieces: int) -> dict[str, tuple[tuple[int, ...], bool]]:
        types = self._values.get("tokenizer.ggml.token_type_count")
        kinds = types.data if types is not None and isinstance(types.data, int) else 0
        if not 0 < kinds <= MAX_TYPES:
            _refuse(self._name, f"tokenizer.ggml.token_type_count is {kinds}; 1 to {MAX_TYPES} is allowed")
        if self.heads_kv != self.heads:
            self._refuse("attention.head_count_kv", "is not that of the queries")
        width, inner = self.width, self.inner
        found: dict[str, tuple[tuple[int, ...], bool]] = {
            "token_embd.weight": ((width, pieces), True),
            "token_types.weight": ((width, kinds), True),
            "position_embd.weight": ((width, self.context), True),
        }
        shapes = {
            **{f"attn_{side}": (width, width) for side in ("q", "k", "v", "output")},
            "ffn_up": (width, inner),
            "ffn_down": (inner, width),
        }
        norms = ["token_embd_norm"]
        for number in range(self.blocks):
            for part, shape in shapes.items():
                found[f"blk.{number}.{part}.weight"] = (shape, True)
                found[f"blk.{number}.{part}.bias"] = (shape[1:], True)
            norms += [f"blk.{number}.attn_output_norm", f"blk.{number}.layer_output_norm"]
        for norm in norms:
            found[f"{norm}.weight"] = found[f"{norm}.bias"] = ((width,), True)
        return found

    def _attention(self, family: str, *, joined: bool) -> dict[str, tuple[tuple[int, ...], bool]]:
        queries, keys = self.head * self.heads, self.head * self.heads_kv
        found: dict[str, tuple[tuple[int, ...], bool]] = {
            "attn_norm.weight": ((self.width,), True),
            "attn_output.weight": ((queries, self.width), True),
        }
        if joined:
            found["attn_qkv.weight"] = ((self.width, queries + 2 * keys), True)
            found["attn_qkv.bias"] = ((queries + 2 * keys,), False)
        else:
            for side, size in (("q", queries), ("k", keys), ("v", keys)):
                found[f"attn_{side}.weight"] = ((self.width, size), True)
                found[f"attn_{side}.bias"] = ((size,), False)
        if family in {"llama", "phi2"}:
            found["attn_output.bias"] = ((self.width,), family == "phi2")
        if family in {"qwen3", "gemma3"}:
            found["attn_q_norm.weight"] = found["attn_k_norm.weight"] = ((self.head,), True)
        return found

    def _forward(self, family: str) -> dict[str, tuple[tuple[int, ...], bool]]:
        up = 2 * self.inner if family == "phi3" else self.inner
        found: dict[str, tuple[tuple[int, ...], bool]] = {
            "ffn_up.weight": ((self.width, up), True),
            "ffn_down.weight": ((self.inner, self.width), True),
        }
        if family == "phi2":
            found["attn_norm.bias"] = ((self.width,), True)
        else:
            found["ffn_norm.weight"] = ((self.width,), True)
        if family not in {"phi2", "phi3"}:
            found["ffn_gate.weight"] = ((self.width, self.inner), True)
        if family == "gemma3":
            found["post_attention_norm.weight"] = found["post_ffw_norm.weight"] = ((self.width,), True)
        if family in {"llama", "phi2"}:
            found["ffn_down.bias"] = ((self.width,), family == "phi2")
            found["ffn_up.bias"] = ((self.inner,), family == "phi2")
        if family == "llama":
            found["ffn_gate.bias"] = ((self.inner,), False)
        return found

    def _rotation(self, family: str) -> dict[str, tuple[tuple[int, ...], bool]]:
        half = (self.rotated // 2,)
        if family == "phi3" or (family == "llama" and self.scaling == "longrope"):
            return {"rope_factors_long.weight": (half, False), "rope_factors_short.weight": (half, False)}
        return {"rope_freqs.weight": (half, False)} if family == "llama" else {}


def _tensors(
    tensors: tuple[Tensor, ...], table: Mapping[str, tuple[tuple[int, ...], bool]], name: str
) -> None:
    found = {tensor.name: tensor for tensor in tensors}
    for tensor in tensors:
        if tensor.name not in table:
            _refuse(name, f"the tensor {tensor.name} is none of its architecture's")
        shape = table[tensor.name][0]
        if tuple(length for length in _trimmed(tensor.shape)) != _trimmed(shape):
            _refuse(name, f"the tensor {tensor.name} has the shape {tensor.shape} where {shape} is expected")
        if tensor.type != "F32" if len(shape) == 1 else tensor.type not in MATRIX_TYPES:
            _refuse(
                name,
                f"the tensor {tensor.name} is of type {tensor.type}, in which such a tensor is never kept",
            )
    for wanted, (_, required) in table.items():
        if required and wanted not in found:
            _refuse(name, f"the tensor {wanted} is missing")


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop trailing dimensions of one, which ggml does not tell apart from none."""
    length = len(shape)
    while length > 1 and shape[length - 1] == 1:
        length -= 1
    return shape[:length]


_SIDE = re.compile(r"(.+\.weight)\.lora_([ab])")


def _adapter(header: Header, name: str) -> dict[str, Json]:
    """Judge a LoRA adapter: pairs of matrices of one rank, each for a matrix of the model."""
    if _text(header.values, "adapter.type", name) != "lora":
        _refuse(name, "adapter.type is not lora")
    if "adapter.lora.alpha" not in header.values:
        _refuse(name, "adapter.lora.alpha is missing")
    sides: dict[str, dict[str, Tensor]] = {}
    for tensor in header.tensors:
        match = _SIDE.fullmatch(tensor.name)
        if match is None:
            _refuse(name, f"the tensor {tensor.name} is no side of a LoRA pair")
        if tensor.type not in {"F32", "F16", "BF16"} or len(_trimmed(tensor.shape)) > 2:  # noqa: PLR2004 - matrices
            _refuse(name, f"the tensor {tensor.name} is not a matrix of F32, F16 or BF16")
        sides.setdefault(match[1], {})[match[2]] = tensor
    ranks = set()
    for weight, pair in sides.items():
        if pair.keys() != {"a", "b"}:
            _refuse(name, f"the LoRA pair of {weight} is not whole")
        rank = (*pair["a"].shape, 1)[1]
        if rank != pair["b"].shape[0]:
            _refuse(name, f"the sides of the LoRA pair of {weight} have different ranks")
        ranks.add(rank)
    return {"ranks": [*sorted(ranks)], "pairs": len(sides)}


def _template(values: Mapping[str, Value], name: str) -> None:
    for key, value in values.items():
        if ggufvocab.is_template(key):
            if not isinstance(value.data, str):
                _refuse(name, f"{key} is not text")
            chattemplate.trial(value.data.encode("utf-8"), f"{key} of {name}")


def _text(values: Mapping[str, Value], key: str, name: str) -> str:
    value = values.get(key)
    if value is None or not isinstance(value.data, str):
        _refuse(name, f"{key} is missing or no text")
    return value.data


def _refuse(name: str, why: str, key: str = "formats.gguf-model") -> NoReturn:
    raise UntrustedBundle(
        key,
        f"{name} is refused: {why}.",
        remedy="Have the file converted again by llama.cpp's own converter, from a supported model.",
        file=name,
    )
