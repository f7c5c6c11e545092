"""Tiny models that embed, as sentence-transformers writes them: an encoder of BERT's kind, and a decoder that pools.

Used by ``families.py`` and by tests; never installed. Weights are random and large enough that different texts get different
vectors.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from scripts import tinymodels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MODES = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")


def write_pooling(folder: Path, mode: str, dimensions: int) -> None:
    """Write how a model pools.

    Args:
        folder: The model's.
        mode: One of ``MODES``.
        dimensions: Length of its vectors.
    """
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    switches = {f"pooling_mode_{one}": one == mode for one in MODES}
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": dimensions, **switches, "include_prompt": True})
    )
    steps = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for at, (path, kind) in enumerate(steps)
            ]
        )
    )


def make_encoder(
    folder: Path,
    texts: Sequence[str],
    *,
    lowercase: bool = True,
    mode: str = "mean_tokens",
    hidden: int = 64,
    layers: int = 2,
    vocabulary: int = 400,
) -> None:
    """Write an encoder.

    Args:
        folder: Where to; made if it is not there.
        texts: What the tokenizer is trained on.
        lowercase: Whether the tokenizer lowers letters and strips accents.
        mode: How it pools.
        hidden: Size of its vectors, a multiple of 64.
        layers: Layers.
        vocabulary: Tokens at most.
    """
    import torch
    from tokenizers import (
        AddedToken,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - the text of a token
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIALS],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin, end = SPECIALS.index("[CLS]"), SPECIALS.index("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", begin), ("[SEP]", end)],
    )
    torch.manual_seed(6)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=hidden, intermediate_size=hidden * 4, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, max_position_embeddings=256, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # it has no type hints
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",  # noqa: S106 - texts of tokens
        mask_token="[MASK]",  # noqa: S106 - as above
    )  # fmt: skip
    fast.save_pretrained(folder)
    write_pooling(folder, mode, hidden)


def make_decoder(folder: Path, texts: Sequence[str], *, bare: bool = True, hidden: int = 64) -> None:
    """Write a decoder that embeds: Qwen 3's structure, the last token pooled.

    Args:
        folder: Where to; made if it is not there.
        texts: What tokenizer and weights are trained on.
        bare: Whether it is stored without its head, its tensors' names without ``model.``.
        hidden: Size of its vectors, a multiple of 64.
    """
    from safetensors.torch import load_file, save_file

    tinymodels.make(folder, "qwen3", texts, hidden=hidden, tied=True, steps=2)
    if bare:
        path = folder / "model.safetensors"
        tensors = {name.removeprefix("model."): tensor for name, tensor in load_file(path).items()}
        tensors.pop("lm_head.weight", None)
        save_file(tensors, path, metadata={"format": "pt"})
    write_pooling(folder, "lasttoken", hidden)
