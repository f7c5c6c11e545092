"""tokenizer.json, read strictly.

Invariants: the model is of a known type; ids are unique, from 0 upwards, and agree between vocabulary and added tokens; every
merge joins two known pieces into a known one. So the file can't make a tokenizer index outside an embedding table.

Source: https://huggingface.co/docs/tokenizers, the components of a serialised tokenizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from holdfast.canonical import Json

MAX_TOKENIZER = 64 * 2**20  # bytes; vocabularies of 260,000 pieces with merges have about 35 MB
MAX_IDS = 2_000_000  # the same bound as a model's vocab_size
MAX_PIECE = 4096  # characters of one piece
MODELS = ("BPE", "Unigram", "WordPiece", "WordLevel")


def parse(data: bytes, name: str) -> dict[str, Json]:
    """Read and judge a tokenizer.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Returns:
        The facts that describe it: the model's type and the number of ids.

    Raises:
        UntrustedBundle: If anything is not as the module's description says.
    """
    value = canonical.decode(data, limit=MAX_TOKENIZER, what=name, error=UntrustedBundle)
    model = value.get("model") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(model, dict):
        raise _bad(name, "it has no model")
    kind = model.get("type")
    if not isinstance(kind, str) or kind not in MODELS:
        raise _bad(name, f"its model type is {str(kind)[:40]!r}; known are {', '.join(MODELS)}")
    vocabulary = _vocabulary(model.get("vocab"), kind, name)
    ids = {number: piece for piece, number in vocabulary.items()}
    if len(ids) != len(vocabulary):
        raise _bad(name, "two pieces have the same id")
    for piece, number in _added(value.get("added_tokens"), name):
        if vocabulary.get(piece, number) != number or ids.get(number, piece) != piece:
            raise _bad(name, f"the added token {piece[:40]!r} contradicts the vocabulary")
        ids[number] = piece
        vocabulary[piece] = number
    if sorted(ids) != list(range(len(ids))):
        raise _bad(name, "its ids have gaps")
    if kind == "BPE":
        _merges(model.get("merges"), vocabulary, name)
    return {"model": kind, "vocab_size": len(ids)}


def _vocabulary(value: Json, kind: str, name: str) -> dict[str, int]:
    if kind == "Unigram":  # a list of [piece, score]; the id is the position
        pieces = value if isinstance(value, list) else []
        listed = [item[0] for item in pieces if isinstance(item, list) and len(item) == 2]  # noqa: PLR2004 - a pair
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
    found = []
    for item in value if isinstance(value, list) else []:
        piece = item.get("content") if isinstance(item, dict) else None
        number = item.get("id") if isinstance(item, dict) else None
        if not isinstance(piece, str) or not 0 < len(piece) <= MAX_PIECE:
            raise _bad(name, "an added token has no content")
        if type(number) is not int or not 0 <= number < MAX_IDS:
            raise _bad(name, f"the added token {piece[:40]!r} has no id below {MAX_IDS}")
        found.append((piece, number))
    return found


def _merges(value: Json, vocabulary: dict[str, int], name: str) -> None:
    if not isinstance(value, list) or len(value) > MAX_IDS:
        raise _bad(name, f"its merges are not a list of at most {MAX_IDS}")
    for item in value:
        parts = item.split(" ") if isinstance(item, str) else item
        if not isinstance(parts, list) or len(parts) != 2:  # noqa: PLR2004 - a merge joins two
            raise _bad(name, f"the merge {str(item)[:40]!r} does not join two pieces")
        left, right = parts
        if (
            not isinstance(left, str)
            or not isinstance(right, str)
            or not {left, right, left + right} <= vocabulary.keys()
        ):
            raise _bad(name, f"the merge {str(item)[:40]!r} is not of known pieces")


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.tokenizer",
        f"{name} is refused: {why}.",
        remedy="Have the tokenizer written again by the tokenizers library.",
        file=name,
    )
