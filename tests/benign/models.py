"""Tiny models of the known families, as transformers, tokenizers and peft write them: what no inspection may refuse.

Weights are random; dimensions are small and all different, so that a shape that is mixed up does not pass by chance. Every
maker writes one folder by the libraries' own ``save_pretrained``, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benign.templates import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "Grüße aus Köln: 12.345,67 € für 3 Äpfel. 'Don't', she said; we'll see.",
    "def add(a, b):\n    return a + b\n\n\nprint(add(1, 22))  # 23",
    "Доброго ранку. 你好 世界。 สวัสดีชาวโลก 👋🏽 مرحبا بالعالم",
]
SHAPE = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(pattern: str, *, normalize: bool = False, template: bool = False) -> Tokenizer:
    """Train a byte-level BPE, as Llama 3, Qwen 3 and Phi have it."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE(ignore_merges=template))
    if normalize:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if template:
        around = processors.TemplateProcessing("<s> $A", "<s> $A <s>:1 $B:1", [("<s>", 1)])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), around])
    tokenizer.add_special_tokens(["<|extra|>"])
    return tokenizer


def byte_fallback(*, metaspace: bool) -> Tokenizer:
    """Train a BPE with a piece for each byte, as Llama 2, Mistral and Gemma have it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[*SPECIAL, *pieces], limit_alphabet=60, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def llama_2() -> Tokenizer:
    """Train as older Llama files have it: the space put in by normalisers, no pre-tokeniser."""
    from tokenizers import normalizers, processors

    tokenizer = byte_fallback(metaspace=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None  # type: ignore[assignment]  # the library's stub leaves out that None takes it away
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s>:1 $B:1", [("<s>", 1)])
    return tokenizer


def unigram() -> Tokenizer:
    """Train a Unigram model, as sentencepiece files convert to."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=180, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    end = [("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B:1 </s>:1", end)
    return tokenizer


def word_piece() -> Tokenizer:
    """Train a WordPiece model, as BERT has it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding(pad_id=0, pad_token="<pad>")
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "llama-3": lambda: byte_level(LLAMA_3, template=True),
    "qwen-3": lambda: byte_level(QWEN, normalize=True),
    "tekken": lambda: byte_level(TEKKEN),
    "phi": lambda: byte_level(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
    "gemma-3": lambda: byte_fallback(metaspace=False),
    "mistral": lambda: byte_fallback(metaspace=True),
    "llama-2": llama_2,
    "unigram": unigram,
    "word-piece": word_piece,
}
FAMILIES = {  # family: its tokenizer, its chat template
    "llama": ("llama-3", "llama-3"),
    "mistral": ("mistral", "mistral"),
    "qwen3": ("qwen-3", "qwen-3"),
    "gemma3": ("gemma-3", "gemma-3"),
    "phi": ("phi", "chatml"),
    "phi3": ("llama-2", "phi-3"),
}


def wrapped(tokenizer: Tokenizer, template: str = "chatml") -> PreTrainedTokenizerBase:
    """Wrap a tokenizer for transformers."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=TEMPLATES[template],
    )


def model(family: str, rows: int, **settings: object) -> PreTrainedModel:
    """Make a model with random weights."""
    import transformers

    names = {
        "llama": ("LlamaConfig", "LlamaForCausalLM"),
        "mistral": ("MistralConfig", "MistralForCausalLM"),
        "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
        "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
        "phi": ("PhiConfig", "PhiForCausalLM"),
        "phi3": ("Phi3Config", "Phi3ForCausalLM"),
    }
    config, architecture = names[family]
    shape: dict[str, object] = {"vocab_size": rows, **SHAPE, **settings}
    if family in {"qwen3", "gemma3"}:
        shape = {"head_dim": 8, **shape}
    made: PreTrainedModel = getattr(transformers, architecture)(getattr(transformers, config)(**shape))
    return made


def base(folder: Path, family: str, *, shard: str = "5GB", **settings: object) -> None:
    """Write a base: weights, configurations, tokenizer and chat template."""
    import torch

    style, template = FAMILIES[family]
    tokenizer = wrapped(TOKENIZERS[style](), template)
    made = model(family, len(tokenizer) + 7, **settings)  # tables are padded to a round number
    made.to(torch.bfloat16).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)


def adapter(
    folder: Path, family: str, *, rows: int = 330, merged: Path | None = None, **settings: object
) -> None:
    """Write a LoRA adapter of a model, and the model with the adapter merged into it where that is asked for."""
    from peft import LoraConfig, get_peft_model

    made = model(family, rows)
    chosen: dict[str, object] = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **settings}
    tuned = get_peft_model(made, LoraConfig(**chosen))  # type: ignore[arg-type]  # settings are the tests' own
    tuned.save_pretrained(folder)
    if merged is not None:
        tuned.merge_and_unload().save_pretrained(merged)
