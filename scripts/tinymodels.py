"""Tiny models of every family that Holdfast customises, as their makers' libraries write them.

``make`` writes one folder: weights from a seed, trained for some steps on given texts; the family's configuration, and a
tokenizer of the structure that the family publishes. Used by ``families.py`` and by tests; never installed.

A tokenizer of pieces is written as SentencePiece files are converted: every split of a piece is among its merges, in the order
of the pieces, and there is a piece for each byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

SPACE = "\u2581"
SPECIALS = ("<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>")
UNKNOWN, BEGIN, END = range(3)
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """One family: the classes of transformers, the tokenizer's structure and what differs from Llama's settings."""

    config: str
    model: str
    tokenizer: str
    settings: Mapping[str, object]


FAMILIES: Mapping[str, Family] = {
    "llama": Family("LlamaConfig", "LlamaForCausalLM", "llama-bpe", {}),
    "mistral": Family("MistralConfig", "MistralForCausalLM", "pieces-prefixed", {"sliding_window": None}),
    "qwen3": Family("Qwen3Config", "Qwen3ForCausalLM", "qwen2", {"head_dim": 64}),
    "gemma3": Family(
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        "pieces",
        {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 512},
    ),
    "phi": Family("PhiConfig", "PhiForCausalLM", "gpt-2", {}),
    "phi3": Family("Phi3Config", "Phi3ForCausalLM", "pieces-prefixed", {}),
}
TIED = {"gemma3": True, "phi": False}  # what a family always is; the others may be either


def make(
    folder: Path,
    family: str,
    texts: Sequence[str],
    *,
    hidden: int = 64,
    layers: int = 2,
    vocabulary: int = 512,
    tied: bool | None = None,
    steps: int = 0,
    dtype: str = "float32",
    shard: str = "5GB",
    seed: int = 5,
) -> None:
    """Write a model.

    Args:
        folder: Where to; made if it is not there.
        family: A key of ``FAMILIES``.
        texts: What tokenizer and weights are trained on.
        hidden: Size of the residual stream, a multiple of 64.
        layers: Layers.
        vocabulary: Tokens at most, at least 300.
        tied: Whether head and embedding are one; None: as the family is, or not.
        steps: Optimiser steps on the texts, of eight rows of 64 tokens.
        dtype: Element type of the stored weights.
        shard: Most bytes per file, as ``save_pretrained`` takes it.
        seed: Of the weights and of the rows' order.
    """
    import torch
    import transformers
    from transformers import PreTrainedTokenizerFast

    one = FAMILIES[family]
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # it has no type hints
        tokenizer_object=_tokenizer(one.tokenizer, texts, vocabulary),
        unk_token="<unk>",  # noqa: S106 - the text of a token
        bos_token="<s>",  # noqa: S106 - as above
        eos_token="</s>",  # noqa: S106 - as above
        chat_template=TEMPLATE,
    )
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer) + 3,  # as published tables are, rounded up
        "hidden_size": hidden,
        "intermediate_size": hidden * (4 if family == "phi" else 2),
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64 * 2 if family in {"llama", "mistral"} else max(hidden // 64, 1),
        "num_key_value_heads": max(hidden // 64, 1),
        "max_position_embeddings": 512,
        "tie_word_embeddings": TIED.get(family, False) if tied is None else tied,
        "pad_token_id": None,
        "bos_token_id": BEGIN,
        "eos_token_id": END,
    }
    config = getattr(transformers, one.config)(**shape | dict(one.settings))
    model = getattr(transformers, one.model)(config)
    if steps:
        _train(model, [tokenizer(text)["input_ids"] for text in texts], steps)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)


def _train(model: Any, rows: list[list[int]], steps: int, *, sequences: int = 8, length: int = 64) -> None:
    import torch

    stream = torch.tensor([number for row in rows for number in [*row, END]])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for step in range(steps):
        starts = torch.randint(0, len(stream) - length, (sequences,))
        batch = torch.stack([stream[start : start + length] for start in starts])
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 10) * (1 - step / steps)
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    model.eval()


def _tokenizer(structure: str, texts: Sequence[str], size: int) -> Tokenizer:
    if structure.startswith("pieces"):
        return _of_pieces(texts, size, prefixed=structure.endswith("prefixed"))
    return _of_bytes(texts, size, structure)


def _of_bytes(texts: Sequence[str], size: int, name: str) -> Tokenizer:
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )

    from holdfast.gguf.vocabulary import GPT2, SPLITS

    found = {known: (pattern, skips) for (pattern, skips), known in SPLITS.items()}
    pattern, skips = found[name]
    tokenizer = Tokenizer(models.BPE(ignore_merges=skips))
    if name == GPT2:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIALS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if name == "llama-bpe":
        _begins(tokenizer)
    return tokenizer


def _of_pieces(texts: Sequence[str], size: int, *, prefixed: bool) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")  # a piece never spans two words
    raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size - 262, show_progress=False))
    learnt = sorted(raw.get_vocab().items(), key=lambda item: item[1])
    order = [
        *SPECIALS,
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *sorted((text for text, _ in learnt), key=lambda text: len(text) == 1),  # characters last
    ]
    known = {text: number for number, text in enumerate(dict.fromkeys(order))}
    merges = [
        (text[:cut], text[cut:])
        for text in known
        if text not in SPECIALS
        for cut in range(1, len(text))
        if text[:cut] in known and text[cut:] in known
    ]
    tokenizer = Tokenizer(
        models.BPE(vocab=known, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)  # noqa: S106 - a token
    )
    spaces = normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces]) if prefixed else spaces
    if not prefixed:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    decoding: list[decoders.Decoder] = [
        decoders.Replace(SPACE, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ]
    tokenizer.decoder = decoders.Sequence([*decoding, *([decoders.Strip(" ", 1, 0)] if prefixed else [])])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIALS])
    _begins(tokenizer)
    return tokenizer


def _begins(tokenizer: Tokenizer) -> None:
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", BEGIN)]
    )
