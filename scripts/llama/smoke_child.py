"""The child of the smoke test: a random Llama model, quantized and decoded with the installed wheels.

Run as `python smoke_child.py SOURCE`, where SOURCE holds the `holdfast` package. Prints the types that ran; any fault of
the libraries kills this process, which the parent sees.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])

from holdfast_llama_conversion import TREE

from holdfast.gguf.model import GgufModel
from holdfast.gguf.quantize import quantize

sys.path.insert(0, str(TREE))

import gguf  # type: ignore[import-not-found]  # upstream's tree is on the path only when it runs

# Every row is a multiple of 256 wide, so that Q4_K is really used; the prompt is long enough for matrix products.
HIDDEN, FEED_FORWARD, LAYERS, HEADS, VOCABULARY, PROMPT = 256, 512, 2, 4, 512, 96
THREADS = 2
QUANTIZATIONS = ("q8_0", "q4_k_m")
LEAST_COSINE = 0.95  # between f16 and quantized logits; wrong arithmetic gives about 0


def write_model(path: Path) -> None:
    """Write a random Llama model without a tokenizer.

    Args:
        path: File to write.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("none")
    random = np.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.05, (rows, columns)).astype(np.float16))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(HIDDEN, dtype=np.float32))

    matrix("token_embd", VOCABULARY, HIDDEN)
    matrix("output", VOCABULARY, HIDDEN)
    norm("output_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm")
        norm(f"{block}.ffn_norm")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{block}.{name}", HIDDEN, HIDDEN)
        matrix(f"{block}.ffn_gate", FEED_FORWARD, HIDDEN)
        matrix(f"{block}.ffn_up", FEED_FORWARD, HIDDEN)
        matrix(f"{block}.ffn_down", HIDDEN, FEED_FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits_of(path: Path) -> np.ndarray:
    """Decode a prompt at once, then one token alone.

    Args:
        path: A model.

    Returns:
        Logits [PROMPT + 1, VOCABULARY].
    """
    prompt = [index * 7 % VOCABULARY for index in range(PROMPT)]
    with GgufModel(path, THREADS) as model:
        return np.concatenate([model.logits(prompt), model.logits(prompt[:1])])


def main() -> None:
    """Generate, quantize, decode, compare."""
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "f16.gguf"
        write_model(original)
        wanted = logits_of(original)
        for quantization in QUANTIZATIONS:
            path = Path(folder) / f"{quantization}.gguf"
            quantize(original, path, quantization, THREADS)
            found = logits_of(path)
            cosine = float((wanted * found).sum() / np.linalg.norm(wanted) / np.linalg.norm(found))
            if not cosine >= LEAST_COSINE:  # NaN too
                sys.exit(f"{quantization} computes wrongly: cosine {cosine:.3f} with f16")
        sys.stdout.write(", ".join(QUANTIZATIONS))


if __name__ == "__main__":
    main()
