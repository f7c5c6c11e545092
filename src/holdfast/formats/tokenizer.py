"""tokenizer.json, read strictly.

Invariants: the model is of a known type; ids are unique and agree between vocabulary and added tokens; every merge joins two
known pieces into a known one; the special tokens that the model and the parts around it name exist. So the file can't make a
tokenizer fail or panic on a prompt, and its highest id tells whether the model's embedding table has a row for each.

Ids may have gaps, and a model may have more embeddings than its tokenizer has ids: vocabularies are published with ids kept
free, and tables are padded to a round number. Both are told as facts; what is refused is an id beyond the table
(``families.cross_check``). Nothing is accepted that the tokenizers library rejects. Stricter than the library: unknown fields,
two pieces with one id, an added token that contradicts the vocabulary, an empty token, dropout (it makes tokenisation random)
and a missing type of the model are refused.

Source: https://huggingface.co/docs/tokenizers, the components of a serialised tokenizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedBundle
from holdfast.formats import pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

MAX_TOKENIZER = 64 * 2**20  # bytes; vocabularies of 260,000 pieces with merges have about 35 MB
MAX_IDS = 2_000_000  # the same bound as a model's vocab_size
MAX_PIECE = 4096  # characters of one piece
MAX_WORD = 10_000  # characters of a word that WordPiece takes apart; the default is 100
_SECTIONS = frozenset(
    {
        "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
        "model",
    }
)  # fmt: skip
_FIELDS = {
    "BPE": {
        "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
        "ignore_merges", "vocab", "merges",
    },
    "Unigram": {"type", "unk_id", "vocab", "byte_fallback"},
    "WordPiece": {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"},
    "WordLevel": {"type", "unk_token", "vocab"},
}  # fmt: skip
MODELS = tuple(_FIELDS)
_ADDED = frozenset({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"})


def read(data: bytes, name: str) -> tuple[dict[str, Json], frozenset[str]]:
    """Read and judge a tokenizer.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Returns:
        The facts that describe it (the model's type, the number of ids, the highest id and the number of ids that are kept
        free below it), and every piece that has an id.

    Raises:
        UntrustedBundle: If anything is not as the module's description says.
    """
    value = canonical.decode(data, limit=MAX_TOKENIZER, what=name, error=UntrustedBundle)
    model = value.get("model") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(model, dict):
        raise _bad(name, "it has no model")
    if not _SECTIONS.issuperset(value) or value.get("version", "1.0") != "1.0":
        raise _bad(name, f"it is not of version 1.0, or has parts beyond {', '.join(sorted(_SECTIONS))}")
    kind = model.get("type")
    if not isinstance(kind, str) or kind not in MODELS:
        raise _bad(name, f"its model type is {str(kind)[:40]!r}; known are {', '.join(MODELS)}")
    if not _FIELDS[kind].issuperset(model):
        raise _bad(name, f"its {kind} has the unknown field {min(set(model) - _FIELDS[kind])[:40]!r}")
    vocabulary = _vocabulary(model.get("vocab"), kind, name)
    ids = {number: piece for piece, number in vocabulary.items()}
    if len(ids) != len(vocabulary):
        raise _bad(name, "two pieces have the same id")
    if kind == "BPE":  # merges are of the vocabulary proper
        _merges(model, vocabulary, name)
    for piece, number in _added(value.get("added_tokens", []), name):
        if vocabulary.get(piece, number) != number or ids.get(number, piece) != piece:
            raise _bad(name, f"the added token {piece[:40]!r} contradicts the vocabulary")
        ids[number] = piece
        vocabulary[piece] = number
    _options(model, kind, vocabulary, name)
    why = pipeline.problem(value, ids)
    if why:
        raise _bad(name, why)
    highest = max(ids)
    facts: dict[str, Json] = {
        "model": kind,
        "vocab_size": len(ids),
        "highest_id": highest,
        "free_ids": highest + 1 - len(ids),
    }
    return facts, frozenset(vocabulary)


def _vocabulary(value: Json, kind: str, name: str) -> dict[str, int]:
    if kind == "Unigram":  # a list of [piece, score]; the id is the position
        pieces = value if isinstance(value, list) else []
        listed = [
            item[0]
            for item in pieces
            if isinstance(item, list) and len(item) == 2 and isinstance(item[1], int | float)  # noqa: PLR2004 - a pair
            and not isinstance(item[1], bool)
        ]  # fmt: skip
        found = {piece: number for number, piece in enumerate(listed) if isinstance(piece, str)}
        expected = len(pieces)
    else:
        pairs = value if isinstance(value, dict) else {}
        found = {
            piece: number for piece, number in pairs.items() if type(number) is int and 0 <= number < MAX_IDS
        }
        expected = len(pairs)
    if not found or len(found) != expected or len(found) > MAX_IDS or max(map(len, found)) > MAX_PIECE:
        raise _bad(name, f"its vocabulary is not 1 to {MAX_IDS} different pieces with ids below that")
    return found


def _added(value: Json, name: str) -> list[tuple[str, int]]:
    if not isinstance(value, list) or len(value) > MAX_IDS:
        raise _bad(name, f"its added tokens are not a list of at most {MAX_IDS}")
    found = []
    for item in value:
        if not isinstance(item, dict) or set(item) != _ADDED:
            raise _bad(name, f"an added token has other fields than {', '.join(sorted(_ADDED))}")
        piece, number = item["content"], item["id"]
        if not isinstance(piece, str) or not 0 < len(piece) <= MAX_PIECE:
            raise _bad(name, "an added token has no content")
        if type(number) is not int or not 0 <= number < MAX_IDS:
            raise _bad(name, f"the added token {piece[:40]!r} has no id below {MAX_IDS}")
        if not all(isinstance(item[flag], bool) for flag in _ADDED - {"id", "content"}):
            raise _bad(name, f"the added token {piece[:40]!r} has a setting that is not true or false")
        found.append((piece, number))
    return found


def _merges(model: Mapping[str, Json], vocabulary: Mapping[str, int], name: str) -> None:
    """Judge the merges: all as pairs or all as texts with one space, as the library reads them."""
    value, prefix = model.get("merges"), model.get("continuing_subword_prefix") or ""
    if not isinstance(value, list) or len(value) > MAX_IDS:
        raise _bad(name, f"its merges are not a list of at most {MAX_IDS}")
    if not isinstance(prefix, str) or len({type(item) for item in value}) > 1:
        raise _bad(name, "its merges are not all pairs or all texts")
    for item in value:
        parts = item.split(" ") if isinstance(item, str) else item
        if not isinstance(parts, list) or len(parts) != 2:  # noqa: PLR2004 - a merge joins two
            raise _bad(name, f"the merge {str(item)[:40]!r} does not join two pieces")
        left, right = parts
        if (
            not isinstance(left, str)
            or not isinstance(right, str)
            or not right.startswith(
                prefix
            )  # the library cuts the prefix off unseen, and panics on a shorter piece
            or not {left, right, left + right[len(prefix) :]} <= vocabulary.keys()
        ):
            raise _bad(name, f"the merge {str(item)[:40]!r} is not of known pieces")


def _options(  # noqa: C901 - one branch per refusal
    model: Mapping[str, Json], kind: str, vocabulary: Mapping[str, int], name: str
) -> None:
    """Judge the model's other settings: their types, and that the piece for what is unknown exists."""
    for field in ("fuse_unk", "byte_fallback", "ignore_merges"):
        if field in model and not isinstance(model[field], bool):
            raise _bad(name, f"{field} is not true or false")
    for field in ("continuing_subword_prefix", "end_of_word_suffix"):
        value = model.get(field)
        if (value is not None and not isinstance(value, str)) or (
            value is None and kind == "WordPiece" and field in _FIELDS[kind]
        ):
            raise _bad(name, f"{field} is not a text")
    if model.get("dropout"):
        raise _bad(name, "dropout makes the same text give other ids each time")
    if not isinstance(model.get("dropout"), int | float | None) or isinstance(model.get("dropout"), bool):
        raise _bad(name, "dropout is not a number")
    word = model.get("max_input_chars_per_word", None if kind == "WordPiece" else 1)
    if type(word) is not int or not 0 < word <= MAX_WORD:
        raise _bad(name, f"max_input_chars_per_word is not 1 to {MAX_WORD}")
    if kind == "Unigram":
        unknown = model.get("unk_id")
        pieces = model["vocab"]
        most = len(pieces) if isinstance(pieces, list) else 0
        if type(unknown) is not int or not 0 <= unknown < most:  # without one the library fails on a prompt
            raise _bad(name, "unk_id is not an id of the vocabulary")
        return
    piece = model.get("unk_token")
    if (piece is None and kind != "BPE") or (
        piece is not None and (not isinstance(piece, str) or piece not in vocabulary)
    ):
        raise _bad(name, f"its piece for what is unknown, {str(piece)[:40]!r}, is not in the vocabulary")


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.tokenizer",
        f"{name} is refused: {why}.",
        remedy="Have the tokenizer written again by the tokenizers library.",
        file=name,
    )
