"""A tiny random model with a byte vocabulary, and adapters of it, written as GGUF."""

from __future__ import annotations

import sys

import numpy as np

HIDDEN, HEADS, LAYERS, RANK = 256, 4, 2, 4
SPECIALS = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
TEMPLATE = (
    "{%- for m in messages -%}{{- '<|' + m.role + '|>' + m.content + '<|end|>' -}}{%- endfor -%}<|assistant|>"
)
CONTEXT = 512


def _byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table, moved = {}, 0
    for byte in range(256):
        if byte in printable:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + moved)
            moved += 1
    return [table[byte] for byte in range(256)]


def _gguf():
    from holdfast_llama_conversion import TREE

    sys.path.insert(0, str(TREE))
    import gguf

    return gguf


def write_model(path, pooling=None):
    gguf = _gguf()
    random = np.random.default_rng(11)
    tokens = [*SPECIALS, *_byte_alphabet(), "th", "he"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIALS) + [1] * (len(tokens) - len(SPECIALS)))
    writer.add_token_merges(["t h", "h e"])
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(TEMPLATE)
    if pooling is not None:  # it gives embeddings too
        writer.add_pooling_type(gguf.PoolingType(pooling))
    shapes = {"token_embd": (len(tokens), HIDDEN), "output": (len(tokens), HIDDEN)}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            shapes[f"blk.{layer}.{name}"] = (HIDDEN, HIDDEN)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(HIDDEN, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for name, shape in shapes.items():
        values = random.normal(0, 0.12, shape).astype(np.float16)
        if name == "output":
            values[: len(SPECIALS)] = 0  # so that answers go on until they are long enough
        writer.add_tensor(f"{name}.weight", values)
    _finish(writer)


def write_adapter(path, seed, strength=0.5):
    gguf = _gguf()
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_v", "ffn_down"):
            for part, shape in (("lora_a", (RANK, HIDDEN)), ("lora_b", (HIDDEN, RANK))):
                values = random.normal(0, strength, shape).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.{name}.weight.{part}", values)
    _finish(writer)


def _finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
