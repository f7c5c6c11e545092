"""The vocabulary inside a GGUF file.

Invariants: pieces, scores and types are equally many; pieces differ as llama.cpp reads them (up to a NUL, an empty one
numbered), since two equal ones abort its process; a piece for a byte names one; merges join known pieces into a known one; special ids lie within the
vocabulary; the pre-tokenizer is one that llama.cpp knows.

Source: llama_vocab::impl::load in llama-vocab.cpp of the pinned llama.cpp.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.formats.gguf import Scalar, Value

MAX_PIECES = 2_000_000  # the same bound as a model's vocab_size
MAX_PIECE = 4096  # characters of one piece
MODELS = frozenset({"llama", "gpt2", "bert"})  # SentencePiece's, byte-level BPE, and WordPiece
TEMPLATE = "tokenizer.chat_template"
_IDS = (
    "bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask", "fim_pre", "fim_suf", "fim_mid", "fim_pad",
    "fim_rep", "fim_sep", "prefix", "suffix", "middle",
)  # fmt: skip # the third but last of the first row is upstream's spelling
_WORD_IDS = ("bos", "seperator", "unknown", "padding", "mask")
KEYS = {
    "tokenizer.ggml.model": "str",
    "tokenizer.ggml.pre": "str",
    "tokenizer.ggml.tokens": "[str]",
    "tokenizer.ggml.token_type": "[i32]",
    "tokenizer.ggml.token_type_count": "u32",
    "tokenizer.ggml.scores": "[f32]",
    "tokenizer.ggml.merges": "[str]",
    "tokenizer.ggml.add_bos_token": "bool",
    "tokenizer.ggml.add_eos_token": "bool",
    "tokenizer.ggml.add_sep_token": "bool",
    "tokenizer.ggml.add_space_prefix": "bool",
    "tokenizer.ggml.remove_extra_whitespaces": "bool",
    "tokenizer.chat_templates": "[str]",
    "tokenizer.ggml.normalizer.lowercase": "bool",
    "tokenizer.ggml.normalizer.strip_accents": "bool",
    **{f"tokenizer.ggml.{which}_token_id": "u32" for which in _IDS},
}
PRE_TOKENIZERS = frozenset({
    "a.x-4.0", "afmoe", "bailingmoe", "bailingmoe2", "bloom", "chameleon", "chatglm-bpe", "codeshell", "cohere2moe",
    "command-r", "dbrx", "deepseek-coder", "deepseek-llm", "deepseek-r1-qwen", "deepseek-v3", "default", "exaone",
    "exaone-moe", "exaone4", "f2llmv2", "falcon", "falcon-h1", "falcon3", "gemma4", "gigachat", "glm4", "glm5",
    "gpt-2", "gpt-4o", "gpt3-finnish", "granite-docling", "granite-embed-multi-311m", "granite-embed-multi-97m",
    "grok-2", "hunyuan", "hunyuan-dense", "hy_v4", "jais", "jais-2", "jina-de", "jina-es", "jina-v1-en",
    "jina-v2-code", "jina-v2-de", "jina-v2-es", "jina-v5-nano", "joyai-llm", "kanana2", "kimi-k2", "kormo",
    "laguna", "lfm2", "llada-moe", "llama-bpe", "llama-v3", "llama3", "llama4", "megrez", "mellum", "mellum2",
    "midm-2.0", "minerva-7b", "minicpm5", "minimax-m2", "modern-bert", "mpt", "olmo", "phi-2", "pixtral",
    "poro-chat", "qwen2", "qwen35", "refact", "roberta-bpe", "sarvam-moe", "seed-coder", "smaug-bpe", "smollm",
    "solar-open", "spark2_5", "stablelm2", "starcoder", "superbpe", "talkie", "tekken", "tiny_aya", "trillion",
    "ufakzeka", "viking", "whitespace", "youtu",
})  # fmt: skip
_LAST_TYPE = _BYTE = 6  # normal, unknown, control, user-defined, unused, byte: 1 to 6
_PHI = re.compile(r"phi-?3", re.IGNORECASE)
_PHI_PIECES = frozenset({"</s>", "<unk>", "<s>", "<|endoftext|>"})
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def is_template(key: str) -> bool:
    """Tell whether a key holds a chat template.

    Args:
        key: The key.

    Returns:
        True for the default template and for named ones.
    """
    return key == TEMPLATE or key.startswith(TEMPLATE + ".")


def judge(values: Mapping[str, Value], name: str) -> int:
    """Judge the vocabulary; the types of its keys were checked before.

    Args:
        values: The file's values.
        name: The file's name, for messages.

    Returns:
        The number of pieces.

    Raises:
        UntrustedBundle: If it is not as the module's description says.
    """
    model = _get(values, "model")
    if model not in MODELS:
        _refuse(name, f"its model is {str(model)[:20]!r}; known are {', '.join(sorted(MODELS))}")
    raw = _array(values, "tokens")
    if not 0 < len(raw) <= MAX_PIECES or max(len(piece) for piece in raw) > MAX_PIECE:
        _refuse(name, f"it has not 1 to {MAX_PIECES} pieces of up to {MAX_PIECE} characters")
    pieces = {piece.split("\0", 1)[0] or f"[EMPTY_{number}]" for number, piece in enumerate(raw)}
    if len(pieces) != len(raw):
        _refuse(name, "two pieces are the same")
    title = values.get("general.name")
    if title is not None and _PHI.search(str(title.data)) and not pieces >= _PHI_PIECES:
        _refuse(name, "there are not the pieces that llama.cpp looks for in a model of the name Phi-3")
    _columns(values, raw, name, scored=model == "llama")
    if model == "gpt2":
        _byte_pairs(values, pieces, name)
    if model == "bert":
        _word_pieces(values, raw, name)
    for which in _IDS:
        number = _get(values, f"{which}_token_id")
        if isinstance(number, int) and number >= len(raw):
            _refuse(name, f"{which}_token_id is {number}, and there are {len(raw)} pieces")
    return len(raw)


def _columns(values: Mapping[str, Value], raw: tuple[str, ...], name: str, *, scored: bool) -> None:
    """Check what the file says of each piece beside its text."""
    count = len(raw)
    kinds, scores = _get(values, "token_type"), _get(values, "scores")
    if not isinstance(kinds, tuple) or len(kinds) != count:
        _refuse(name, "there is not one type for each piece")
    if not all(isinstance(kind, int) and 0 < kind <= _LAST_TYPE for kind in kinds):
        _refuse(name, f"a piece's type is not 1 to {_LAST_TYPE}")
    for piece, kind in zip(raw, kinds, strict=True):
        if kind == _BYTE and not _BYTE_PIECE.fullmatch(piece):
            _refuse(name, f"the piece {piece[:40]!r} claims to be a byte and names none")
    if scores is None and scored:
        _refuse(name, "there are no scores, by which its pieces are joined")
    if isinstance(scores, tuple) and len(scores) != count:
        _refuse(name, "there is not one score for each piece")


def _byte_pairs(values: Mapping[str, Value], pieces: set[str], name: str) -> None:
    pre = _get(values, "pre")
    if pre is not None and pre not in PRE_TOKENIZERS:
        _refuse(name, f"its pre-tokenizer is {str(pre)[:40]!r}, which llama.cpp does not know")
    if "tokenizer.ggml.merges" not in values:
        _refuse(name, "it has no merges")
    for merge in _array(values, "merges"):
        cut = merge.find(" ", 1)
        parts = (merge[:cut], merge[cut + 1 :])
        if cut < 0 or not all(_is_known(part, pieces) for part in (*parts, "".join(parts))):
            _refuse(name, f"the merge {merge[:40]!r} does not join known pieces into a known one")


def _word_pieces(values: Mapping[str, Value], raw: tuple[str, ...], name: str) -> None:
    """Check what llama.cpp would take from BERT's own vocabulary: it reads pieces by these ids without looking."""
    for which in _WORD_IDS:
        if f"tokenizer.ggml.{which}_token_id" not in values:
            _refuse(name, f"{which}_token_id is missing, and BERT's own would be taken")
    if not all(raw):
        _refuse(name, "a piece is empty")


def _is_known(part: str, pieces: set[str]) -> bool:
    # The converter writes a space inside a merge's part as the sign by which byte-level BPE shows one.
    return part in pieces or part.replace("\u0120", " ") in pieces


def _get(values: Mapping[str, Value], key: str) -> Scalar | tuple[Scalar, ...] | None:
    value = values.get(f"tokenizer.ggml.{key}")
    return None if value is None else value.data


def _array(values: Mapping[str, Value], key: str) -> tuple[str, ...]:
    found = _get(values, key)
    return tuple(text for text in found if isinstance(text, str)) if isinstance(found, tuple) else ()


def _refuse(name: str, why: str) -> NoReturn:
    raise UntrustedBundle(
        "formats.gguf-vocabulary",
        f"{name} is refused: in its vocabulary, {why}.",
        remedy="Have the file converted again by llama.cpp's own converter, from the original tokenizer.",
        file=name,
    )
