"""The models that are served: one of a third of a billion random weights, shaped like Llama, and the starter; with adapters.

What a server's speed depends on is real: the shapes, the Q4_K_M quantization, a byte-level vocabulary of 32,768 tokens with its
merges. What the generated model answers is nonsense, so answers are as long as they may be. It is made once, in the cache of the
llama.cpp builds; the starter is converted every time, in a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scripts.serving_bench.workload import Vocabulary

from holdfast.gguf.convert import convert_base
from holdfast.gguf.quantize import quantize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@dataclass(frozen=True)
class Shape:
    """What a Llama is made of; every number of columns is a multiple of 256, so that Q4_K is really used.

    Args:
        hidden: Width of the stream.
        feed_forward: Width inside the feed-forward layers.
        layers: How many.
        heads: Of attention.
        kv_heads: Of keys and values.
        vocabulary: Tokens.
    """

    hidden: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads

    def matrices(self) -> dict[str, tuple[int, int]]:
        """List the matrices of a layer.

        Returns:
            Name to rows (outputs) and columns (inputs).
        """
        narrow = self.kv_heads * self.head
        return {
            "attn_q": (self.hidden, self.hidden),
            "attn_k": (narrow, self.hidden),
            "attn_v": (narrow, self.hidden),
            "attn_output": (self.hidden, self.hidden),
            "ffn_gate": (self.feed_forward, self.hidden),
            "ffn_up": (self.feed_forward, self.hidden),
            "ffn_down": (self.hidden, self.feed_forward),
        }

    def weights(self) -> int:
        """Count the weights.

        Returns:
            Those of all matrices; embeddings and output each have their own.
        """
        layer = sum(rows * columns for rows, columns in self.matrices().values())
        return 2 * self.vocabulary * self.hidden + self.layers * layer


SHAPE = Shape(1024, 2816, 24, 16, 4, 32_768)
CONTEXT = 2048  # tokens
END = 0  # the token that ends a text
RANK, ADAPTERS = 16, 4
SPREAD = 0.02  # standard deviation of weights, as such models are initialised
LAYOUT = 1  # raised by hand when what is generated changes
STARTER = Path(__file__).resolve().parents[2] / "bundles" / "starter" / "base"
QUANTIZATION = "q4_k_m"
OVERHEAD = 5.0  # how much of a small model's speed is lost to what is not its weights, roughly
_SPECIALS = ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_SPACE = "\u0120"  # how byte-level vocabularies write a space
_BYTES = 256
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_NORMAL, _CONTROL = 1, 3  # gguf.TokenType


@dataclass(frozen=True)
class Served:
    """A model as both servers get it.

    Args:
        name: What it is called in the tables.
        folder: Holds ``base.gguf`` and ``adapter-<n>.gguf``.
        vocabulary: What prompts are made of.
        speed: How many times as fast as the generated model, roughly.
    """

    name: str
    folder: Path
    vocabulary: Vocabulary
    speed: float = 1.0

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.folder / "base.gguf"

    @property
    def adapters(self) -> list[Path]:
        """The adapters' files."""
        return sorted(self.folder.glob("adapter-*.gguf"))


def generated(cache: Path) -> Served:
    """Have the generated model, making it the first time.

    Args:
        cache: Folder of the llama.cpp builds.

    Returns:
        The model, with adapters.
    """
    finished = cache / f"bench-model-{LAYOUT}"
    if not finished.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            whole, folder = Path(scratch) / "f16.gguf", Path(scratch) / "made"
            folder.mkdir()
            _write_model(whole)
            _finish_folder(whole, folder, SHAPE)
            folder.rename(finished)
    first = len(_SPECIALS) + _BYTES
    name = f"{SHAPE.weights() / 1e9:.2f} B, generated"
    return Served(name, finished, Vocabulary(first, SHAPE.vocabulary, (END,)))


def starter(scratch: Path) -> Served:
    """Convert the starter.

    Args:
        scratch: A folder that stays while it is served.

    Returns:
        The model, with adapters of random weights.
    """
    config = json.loads((STARTER / "config.json").read_text(encoding="utf-8"))
    shape = Shape(
        config["hidden_size"],
        config["intermediate_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["num_key_value_heads"],
        config["vocab_size"],
    )
    whole, folder = scratch / "f16.gguf", scratch / "starter"
    folder.mkdir()
    convert_base(STARTER, whole, "starter")
    _finish_folder(whole, folder, shape)
    tokens = json.loads((STARTER / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    special = [int(one["id"]) for one in tokens]
    words = Vocabulary(max(special) + 1 + _BYTES, shape.vocabulary, tuple(special))
    return Served("starter", folder, words, SHAPE.weights() / shape.weights() / OVERHEAD)


def _finish_folder(whole: Path, folder: Path, shape: Shape) -> None:
    quantize(whole, folder / "base.gguf", QUANTIZATION, os.cpu_count() or 1)
    whole.unlink()
    for number in range(ADAPTERS):
        _write_adapter(folder / f"adapter-{number}.gguf", shape, number)


def vocabulary() -> tuple[list[str], list[str]]:
    """Make up a byte-level vocabulary.

    Returns:
        The tokens, and the merges that the tokens beyond single bytes come from, in their order.
    """
    moved = iter(range(_BYTES, 2 * _BYTES))
    tokens = [*_SPECIALS, *(chr(byte) if byte in _PRINTABLE else chr(next(moved)) for byte in range(_BYTES))]
    merges: list[str] = []
    for left, right in _pairs():
        if len(tokens) == SHAPE.vocabulary:
            break
        tokens.append(left + right)
        merges.append(f"{left} {right}")
    return tokens, merges


def _pairs() -> Iterator[tuple[str, str]]:
    """Give what is joined: pairs of letters, words of two and three letters after a space, words of three and four."""
    twos = [a + b for a in _LETTERS for b in _LETTERS]
    yield from ((two[0], two[1]) for two in twos)
    yield from ((_SPACE, letter) for letter in _LETTERS)
    yield from ((_SPACE + two[0], two[1]) for two in twos)
    yield from ((two, letter) for two in twos for letter in _LETTERS)
    yield from ((left, right) for left in twos for right in twos)


def _gguf() -> ModuleType:
    from holdfast_llama_conversion import TREE

    if str(TREE) not in sys.path:
        sys.path.insert(0, str(TREE))
    import gguf  # type: ignore[import-not-found]  # upstream's tree is on the path only when it runs

    module: ModuleType = gguf
    return module


def _write_model(path: Path) -> None:
    gguf = _gguf()
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("bench")
    writer.add_vocab_size(SHAPE.vocabulary)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(SHAPE.hidden)
    writer.add_feed_forward_length(SHAPE.feed_forward)
    writer.add_block_count(SHAPE.layers)
    writer.add_head_count(SHAPE.heads)
    writer.add_head_count_kv(SHAPE.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(SHAPE.head)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tokens, merges = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL if token in _SPECIALS else _NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(value=False)

    def matrix(name: str, rows: int, columns: int) -> None:
        drawn = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(SPREAD)
        writer.add_tensor(f"{name}.weight", drawn.astype(np.float16))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(SHAPE.hidden, dtype=np.float32))

    matrix("token_embd", SHAPE.vocabulary, SHAPE.hidden)
    matrix("output", SHAPE.vocabulary, SHAPE.hidden)
    norm("output_norm")
    for layer in range(SHAPE.layers):
        norm(f"blk.{layer}.attn_norm")
        norm(f"blk.{layer}.ffn_norm")
        for name, (rows, columns) in SHAPE.matrices().items():
            matrix(f"blk.{layer}.{name}", rows, columns)
    _finish(writer)


def _write_adapter(path: Path, shape: Shape, seed: int) -> None:
    gguf = _gguf()
    random = np.random.default_rng(1 + seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for layer in range(shape.layers):
        for name, (rows, columns) in shape.matrices().items():
            for part, size in (("lora_a", (RANK, columns)), ("lora_b", (rows, RANK))):
                drawn = random.standard_normal(size, dtype=np.float32) * np.float32(SPREAD)
                writer.add_tensor(f"blk.{layer}.{name}.weight.{part}", drawn)
    _finish(writer)


def _finish(writer: object) -> None:
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
