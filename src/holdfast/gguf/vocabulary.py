"""Which of llama.cpp's pre-tokenizers is the one that a `tokenizer.json` describes. Pure.

Upstream's converter knows tokenizers by a hash of the ids that one text gives, which fails for any vocabulary it has not
met. Here the structure decides: the same regular expression, in the same place, is the same pre-tokenizer whatever the
vocabulary. What llama.cpp cannot reproduce is refused; the ids are compared on probe texts afterwards all the same.

Source: llama.cpp `src/llama-vocab.cpp` (`llm_tokenizer_bpe`), which quotes the original expressions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from holdfast.canonical import Json

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"

# Expression of the one `Split` before the byte level → (llama.cpp's name, whether it skips merges for whole-word tokens).
SPLITS: dict[str, tuple[str, bool]] = {
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}": (
        "qwen2",
        False,
    ),
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}": (
        "llama-bpe",
        True,
    ),
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_TAIL}": (
        "qwen35",
        False,
    ),
}
GPT2 = "gpt-2"  # a byte level alone, with its built-in expression


def byte_alphabet() -> frozenset[str]:
    """Give the 256 characters by which byte-level tokenizers write bytes.

    Returns:
        Printable Latin-1 characters for themselves, the other bytes moved to U+0100 and on (GPT-2's table).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = 256 - len(printable)
    return frozenset(chr(code) for code in [*printable, *range(0x100, 0x100 + moved)])


def pre_tokenizer(tokenizer: Json) -> str:
    """Decide llama.cpp's `tokenizer.ggml.pre` for a tokenizer.

    Args:
        tokenizer: Parsed `tokenizer.json`.

    Returns:
        The pre-tokenizer's name in llama.cpp.

    Raises:
        UntrustedBundle: If llama.cpp has no pre-tokenizer of this structure.
    """
    if not isinstance(tokenizer, dict):
        _refuse("it is not an object")
    model = _object(tokenizer.get("model"), "its model")
    if model.get("type") != "BPE":
        _refuse("its model is not BPE")
    for option in ("byte_fallback", "dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            _refuse(f"its BPE model uses {option}")
    vocabulary = _object(model.get("vocab"), "its vocabulary")
    if not byte_alphabet() <= vocabulary.keys():
        _refuse("its vocabulary lacks some of the 256 bytes")
    normalizer = tokenizer.get("normalizer")
    if normalizer is not None and _object(normalizer, "its normalizer").get("type") != "NFC":
        _refuse("it normalises text in a way that llama.cpp does not")
    name, skips_merges = _name(_object(tokenizer.get("pre_tokenizer"), "its pre-tokenizer"))
    if bool(model.get("ignore_merges")) != skips_merges:
        _refuse(f"ignore_merges is not what llama.cpp assumes for {name}")
    return name


def _name(pre: dict[str, Json]) -> tuple[str, bool]:
    if _is_byte_level(pre, use_regex=True):
        return GPT2, False
    steps = pre.get("pretokenizers")
    if pre.get("type") != "Sequence" or not isinstance(steps, list) or len(steps) != 2:  # noqa: PLR2004 - split, bytes
        _refuse("its pre-tokenizer is neither a byte level nor a split followed by one")
    split, byte_level = _object(steps[0], "its split"), _object(steps[1], "its byte level")
    pattern = _object(split.get("pattern"), "the pattern of its split").get("Regex")
    plain = split.get("type") == "Split" and split.get("behavior") == "Isolated" and not split.get("invert")
    if not plain or not isinstance(pattern, str) or not _is_byte_level(byte_level, use_regex=False):
        _refuse("its pre-tokenizer is not an isolating split by an expression, then bytes")
    if pattern not in SPLITS:
        _refuse("llama.cpp knows no pre-tokenizer with its expression")
    return SPLITS[pattern]


def _is_byte_level(step: dict[str, Json], *, use_regex: bool) -> bool:
    return (
        step.get("type") == "ByteLevel"
        and step.get("use_regex", True) is use_regex
        and step.get("add_prefix_space", True) is False
    )


def _object(value: Json, what: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        _refuse(f"{what} is missing or malformed")
    return value


def _refuse(why: str) -> NoReturn:
    raise UntrustedBundle(
        "gguf.tokenizer",
        f"The tokenizer cannot be carried into GGUF: {why}.",
        remedy="Serve a base whose tokenizer is byte-level BPE with one of: "
        + ", ".join([GPT2, *_names()])
        + ".",
    )


def _names() -> list[str]:
    return sorted(name for name, _ in SPLITS.values())
