"""What of a WordPiece tokenizer, BERT's, llama.cpp can reproduce, and the vocabulary that it then needs. Pure.

llama.cpp splits as BERT does (spaces, punctuation, ideographs), then takes the longest piece from the left, as WordPiece does;
it writes ``▁`` before pieces that begin a word where tokenizers write ``##`` before those that do not. Invariants: no two pieces
become one by that; every special id is written, for those that llama.cpp assumes belong to another vocabulary.

Two things it does otherwise, whatever the vocabulary, where accents are stripped: it drops all marks and not only those without
a width, and it leaves Hangul syllables whole (``comparable``). A word of more characters than WordPiece looks at becomes one
unknown token there and pieces here.

Source: llama.cpp ``src/llama-vocab.cpp`` (``llm_tokenizer_wpm_session``); tokenizers ``normalizers/bert.rs``,
``pre_tokenizers/bert.rs``, ``models/wordpiece``.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.gguf.pieces import SPACE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

CONTINUES = "##"
_OTHERWISE = frozenset({"Mc", "Me"})  # marks that take room, or enclose
_HANGUL = range(0xAC00, 0xD7A4)
_NEXT_LINE = "\x85"


@dataclass(frozen=True)
class WordPiece:
    """What llama.cpp is told of a WordPiece tokenizer beside its pieces.

    Args:
        lowercase: Whether it lowers letters.
        strips_accents: Whether it strips accents.
        unknown: Id of the piece for what is unknown.
        padding: Id of the piece that fills up.
        mask: Id of the piece that hides another.
    """

    lowercase: bool
    strips_accents: bool
    unknown: int
    padding: int
    mask: int


def problem(document: Mapping[str, Json]) -> str:
    """Say why a tokenizer is none that llama.cpp can be.

    Args:
        document: The backend tokenizer, written out and parsed; its model is WordPiece.

    Returns:
        The reason; empty if it is one.
    """
    model, normalizer, before = (document.get(name) for name in ("model", "normalizer", "pre_tokenizer"))
    if not isinstance(model, dict) or model.get("continuing_subword_prefix") != CONTINUES:
        return f"its pieces within words do not begin with {CONTINUES}"
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        return "its normalizer is not BERT's"
    if normalizer.get("clean_text") is not True or normalizer.get("handle_chinese_chars") is not True:
        return "its normalizer leaves control characters in, or ideographs together"
    if not isinstance(before, dict) or before.get("type") != "BertPreTokenizer":
        return "its pre-tokenizer is not BERT's"
    return ""


def settings(document: Mapping[str, Json], known: Mapping[str, int]) -> WordPiece:
    """Read what llama.cpp is told.

    Args:
        document: The backend tokenizer, without a ``problem``.
        known: Id of each token, by its text.

    Returns:
        The settings; where there is no piece for padding or hiding, that for what is unknown stands for it.
    """
    normalizer, model = document.get("normalizer"), document.get("model")
    lowers = isinstance(normalizer, dict) and normalizer.get("lowercase") is True
    strips = normalizer.get("strip_accents") if isinstance(normalizer, dict) else None
    unknown = known[str(model.get("unk_token"))] if isinstance(model, dict) else 0
    return WordPiece(
        lowercase=lowers,
        strips_accents=lowers if strips is None else strips is True,
        unknown=unknown,
        padding=known.get("[PAD]", unknown),
        mask=known.get("[MASK]", unknown),
    )


def spelled(text: str) -> str:
    """Write a piece as llama.cpp does.

    Args:
        text: The piece; not one of the special ones.

    Returns:
        Its text in llama.cpp, empty if it can't be written.
    """
    if SPACE in text:
        return ""
    return text[len(CONTINUES) :] if text.startswith(CONTINUES) else SPACE + text


def comparable(text: str, *, strips_accents: bool) -> bool:
    """Say whether llama.cpp can give a text the ids that the tokenizer gives it.

    Args:
        text: The text.
        strips_accents: Whether the tokenizer does.

    Returns:
        False if it holds what llama.cpp normalises otherwise.
    """
    if not strips_accents:
        return True
    return not any(
        character == _NEXT_LINE
        or ord(character) in _HANGUL
        or any(unicodedata.category(part) in _OTHERWISE for part in unicodedata.normalize("NFD", character))
        for character in text
    )
