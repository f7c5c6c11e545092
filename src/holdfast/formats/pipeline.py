"""The parts of a tokenizer around its model: what it does to text before, to ids after, and on the way back.

Invariants: every part is one that the tokenizers library has, with the fields and types that the library demands, so that
nothing is accepted that it rejects; its patterns are bounded (``patterns``); its ids are ids of the vocabulary. Stricter than
the library: unknown fields are refused, and so is the normaliser ``Precompiled``, a compiled table on which the library panics
when it is malformed and which no known family uses; replacements that together lengthen a text beyond measure, patterns on which
the engine gives up in a long text, and lengths on which the library panics or fills memory are refused too.

Source: https://github.com/huggingface/tokenizers, the serialisation of normalizers, pre_tokenizers, processors and decoders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from holdfast.formats import patterns

if TYPE_CHECKING:
    from holdfast.canonical import Json

MAX_PARTS = 64  # in one tokenizer; published ones have up to 10
MAX_TEXT = 1024  # characters of a text that is put in or taken out
MAX_LENGTH = 2**24  # tokens that truncation may name: beyond any context
MAX_GROWTH = (
    64  # times that all replacements together may lengthen a text; those of known families keep its length
)
MAX_PADDING = 2**17  # tokens that a text may be filled up to; the library lays them all out
MAX_STRIP = 1024  # characters that a decoder strips

Field = Callable[["Json"], bool]


def _is_bool(value: Json) -> bool:
    return isinstance(value, bool)


def _is_text(value: Json) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _is_character(value: Json) -> bool:
    return isinstance(value, str) and len(value) == 1


def _is_length(value: Json) -> bool:
    return type(value) is int and 0 <= value <= MAX_LENGTH


def _is_padding(value: Json) -> bool:
    return type(value) is int and 0 <= value <= MAX_PADDING


def _is_strip(value: Json) -> bool:
    return type(value) is int and 0 <= value <= MAX_STRIP


def _one_of(*names: str) -> Field:
    return lambda value: isinstance(value, str) and value in names


def _or_null(field: Field) -> Field:
    return lambda value: value is None or field(value)


def _is_pattern(value: Json) -> bool:
    """A pattern's form; what a regular expression may be is judged apart, for its reason's sake."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and set(value) <= {"String", "Regex"}
        and all(map(_is_text_of_pattern, value.values()))
    )


def _is_text_of_pattern(value: Json) -> bool:
    return isinstance(value, str) and len(value) <= patterns.MAX_PATTERN


def _is_piece_and_id(value: Json) -> bool:
    return isinstance(value, list) and list(map(type, value)) == [str, int]


_BEHAVIOUR = _one_of("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
_BYTE_LEVEL = {"add_prefix_space": _is_bool, "trim_offsets": _is_bool, "use_regex?": _is_bool}
_METASPACE = {
    "replacement": _is_character,
    "prepend_scheme?": _one_of("first", "never", "always"),
    "split?": _is_bool,
    "add_prefix_space?": _is_bool,
    "str_rep?": _is_text,
}
_REPLACE = {"pattern": _is_pattern, "content": _is_text}
_Parts = Mapping[str, Mapping[str, Field]]  # kind to its fields; a question mark: may be absent

NORMALIZERS: _Parts = {
    "Sequence": {},
    **{name: {} for name in ("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents", "ByteLevel")},
    "Strip": {"strip_left": _is_bool, "strip_right": _is_bool},
    "Prepend": {"prepend": _is_text},
    "Replace": _REPLACE,
    "BertNormalizer": {
        "clean_text": _is_bool,
        "handle_chinese_chars": _is_bool,
        "strip_accents": _or_null(_is_bool),
        "lowercase": _is_bool,
    },
}
PRE_TOKENIZERS: _Parts = {
    "Sequence": {},
    **{name: {} for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts")},
    "ByteLevel": _BYTE_LEVEL,
    "Metaspace": _METASPACE,
    "Split": {"pattern": _is_pattern, "behavior": _BEHAVIOUR, "invert": _is_bool},
    "Punctuation": {"behavior?": _BEHAVIOUR},
    "Digits": {"individual_digits": _is_bool},
    "CharDelimiterSplit": {"delimiter": _is_character},
}
DECODERS: _Parts = {
    "Sequence": {},
    **{name: {} for name in ("Fuse", "ByteFallback")},
    "ByteLevel": _BYTE_LEVEL,
    "Metaspace": _METASPACE,
    "Replace": _REPLACE,
    "Strip": {"content": _is_character, "start": _is_strip, "stop": _is_strip},
    "WordPiece": {"prefix": _is_text, "cleanup": _is_bool},
    "BPEDecoder": {"suffix": _is_text},
}
_SEPARATORS = {"sep": _is_piece_and_id, "cls": _is_piece_and_id}
PROCESSORS: _Parts = {
    "Sequence": {},
    "ByteLevel": _BYTE_LEVEL,
    "BertProcessing": _SEPARATORS,
    "RobertaProcessing": {**_SEPARATORS, "trim_offsets": _is_bool, "add_prefix_space": _is_bool},
    "TemplateProcessing": {
        "single": lambda value: isinstance(value, list),
        "pair": lambda value: isinstance(value, list),
        "special_tokens": lambda value: isinstance(value, dict),
    },
}
_SECTIONS = {  # key in the file, known parts, key of a sequence's list
    "normalizer": (NORMALIZERS, "normalizers"),
    "pre_tokenizer": (PRE_TOKENIZERS, "pretokenizers"),
    "decoder": (DECODERS, "decoders"),
    "post_processor": (PROCESSORS, "processors"),
}
_TRUNCATION: Mapping[str, Field] = {
    "direction?": _one_of("Left", "Right"),
    "max_length": _is_length,
    "strategy": _one_of("LongestFirst", "OnlyFirst", "OnlySecond"),
    "stride": _is_length,
}
_PADDING: Mapping[str, Field] = {
    "strategy": lambda value: (
        value == "BatchLongest"
        or (isinstance(value, dict) and set(value) == {"Fixed"} and _is_padding(value["Fixed"]))
    ),
    "direction": _one_of("Left", "Right"),
    "pad_to_multiple_of?": _or_null(_is_padding),
    "pad_id": _is_length,
    "pad_type_id": _is_length,
    "pad_token": _is_text,
}


def problem(tokenizer: Mapping[str, Json], ids: Mapping[int, str]) -> str:
    """Find what speaks against the parts around a tokenizer's model.

    Args:
        tokenizer: The whole tokenizer.json.
        ids: Piece of each id of its vocabulary, added tokens included.

    Returns:
        The reason, as the rest of a sentence that begins with "it" or the part's name; empty if there is none.
    """
    for key, (known, inside) in _SECTIONS.items():
        pending = [tokenizer.get(key)]
        seen = framing = 0
        growth = 1
        while pending:
            part = pending.pop()
            seen += 1
            if seen > MAX_PARTS:
                return f"its {key} has more than {MAX_PARTS} parts"
            if part is None and seen == 1:
                continue
            why = _part(part, known, inside, ids)
            if why:
                return f"its {key} {why}"
            growth *= _growth(part)
            if growth > MAX_GROWTH:
                return f"its {key} may make a text more than {MAX_GROWTH} times as long"
            if isinstance(part, dict) and part.get("type") == "Sequence":
                inner = part[inside]
                pending.extend(inner if isinstance(inner, list) else [])
            elif key == "post_processor" and isinstance(part, dict) and part.get("type") != "ByteLevel":
                framing += 1
                if framing > 1:
                    return "its post_processor puts tokens around a text twice, on which the library panics"
    return _lengths(tokenizer, ids)


def _lengths(tokenizer: Mapping[str, Json], ids: Mapping[int, str]) -> str:
    """Judge what cuts and pads."""
    for key, fields in (("truncation", _TRUNCATION), ("padding", _PADDING)):
        value = tokenizer.get(key)
        if value is not None and (not isinstance(value, dict) or _fields(value, fields)):
            return f"its {key} is not one that the library knows"
    truncation = tokenizer.get("truncation")
    if isinstance(truncation, dict) and not _leaves_room(truncation, tokenizer.get("post_processor")):
        return "its truncation leaves no token beyond its stride and those put around a text, on which the library panics"
    padding = tokenizer.get("padding")
    if isinstance(padding, dict) and padding["pad_id"] not in ids:
        return "its padding has an id that is not in the vocabulary"
    return ""


def _growth(part: Json) -> int:
    """Give how many times as long a part may make a text."""
    pattern, content = (part.get("pattern"), part.get("content")) if isinstance(part, dict) else (None, None)
    if not isinstance(pattern, dict) or not isinstance(content, str):
        return 1
    # A regular expression may match a single character.
    found = str(pattern.get("String", "?")) or "?"
    return max(1, -(-len(content) // len(found)))


def _leaves_room(truncation: Mapping[str, Json], processor: Json) -> bool:
    """Tell whether texts are cut to more tokens than overlap, after those put around them are taken off."""
    length, stride = truncation["max_length"], truncation["stride"]
    return isinstance(length, int) and isinstance(stride, int) and stride + _around(processor) < length


def _around(processor: Json) -> int:
    """Count the tokens that a judged post-processor puts around a text or a pair of texts, at the most."""
    part = processor if isinstance(processor, dict) else {}
    kind, inner = part.get("type"), part.get("processors")
    if kind == "Sequence":
        return max(map(_around, inner), default=0) if isinstance(inner, list) else 0
    if kind != "TemplateProcessing":
        return {"BertProcessing": 3, "RobertaProcessing": 4}.get(str(kind), 0)
    special = part["special_tokens"]
    table = special if isinstance(special, dict) else {}
    return max(_special(part[key], table) for key in ("single", "pair"))


def _special(pieces: Json, table: Mapping[str, Json]) -> int:
    """Count the ids of the special tokens in a template."""
    count = 0
    for piece in pieces if isinstance(pieces, list) else []:
        named = piece.get("SpecialToken") if isinstance(piece, dict) else None
        token = table.get(str(named["id"])) if isinstance(named, dict) else None
        ids = token.get("ids") if isinstance(token, dict) else None
        count += len(ids) if isinstance(ids, list) else 0
    return count


def _part(part: Json, known: _Parts, inside: str, ids: Mapping[int, str]) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in known:
        return f"has the part {str(kind)[:40]!r}; known are {', '.join(sorted(known))}"
    fields = dict(known[kind])
    if kind == "Sequence":
        fields[inside] = lambda value: isinstance(value, list)
    odd = _fields({key: value for key, value in part.items() if key != "type"}, fields)
    if odd:
        return f"has a {kind} whose {odd[:40]!r} is missing, unknown or not of its type"
    pattern = part.get("pattern")
    if isinstance(pattern, dict) and "Regex" in pattern:
        text = str(pattern["Regex"])
        why = patterns.problem(text) or patterns.runs_long(text)
        if why:
            return f"has a {kind} with a pattern that is refused: {why}"
    if kind == "Metaspace" and not _scheme_agrees(part):
        return "has a Metaspace whose add_prefix_space contradicts its prepend_scheme"
    if kind == "TemplateProcessing":
        return _template(part, ids)
    for key in ("sep", "cls"):
        value = part.get(key)
        if isinstance(value, list) and (not isinstance(value[1], int) or ids.get(value[1]) != value[0]):
            return f"has a {kind} whose {key} is not in the vocabulary"
    return ""


def _fields(value: Mapping[str, Json], fields: Mapping[str, Field]) -> str:
    """Name the first field that is missing, unknown or not of its type; empty if there is none."""
    known = {name.rstrip("?"): field for name, field in fields.items()}
    missing = [name for name in fields if not name.endswith("?") and name not in value]
    odd = [name for name, inner in value.items() if name not in known or not known[name](inner)]
    return next(iter((*missing, *odd)), "")


def _scheme_agrees(part: Mapping[str, Json]) -> bool:
    prefixed = part.get("add_prefix_space")
    return prefixed is not False or part.get("prepend_scheme", "never") == "never"


def _template(part: Mapping[str, Json], ids: Mapping[int, str]) -> str:
    """Judge the template that puts special tokens around a text."""
    special = part["special_tokens"]
    table = special if isinstance(special, dict) else {}
    if len(table) > MAX_PARTS:
        return f"has a TemplateProcessing with more than {MAX_PARTS} special tokens"
    for name, token in table.items():
        numbers = token.get("ids") if isinstance(token, dict) else None
        texts = token.get("tokens") if isinstance(token, dict) else None
        if (
            not isinstance(token, dict)
            or set(token) != {"id", "ids", "tokens"}
            or token["id"] != name
            or not isinstance(numbers, list)
            or not isinstance(texts, list)
            or len(numbers) != len(texts)
            or len(numbers) > MAX_PARTS
            or not all(
                type(number) is int and ids.get(number) == text
                for number, text in zip(numbers, texts, strict=True)
            )
        ):
            return f"has a TemplateProcessing whose special token {name[:40]!r} is not in the vocabulary"
    for key in ("single", "pair"):
        pieces = part[key]
        for piece in pieces if isinstance(pieces, list) else []:
            if not _is_piece(piece, table) or len(pieces if isinstance(pieces, list) else []) > MAX_PARTS:
                return f"has a TemplateProcessing whose {key} holds something else than texts and its special tokens"
    return ""


def _is_piece(piece: Json, table: Mapping[str, Json]) -> bool:
    if not isinstance(piece, dict) or len(piece) != 1:
        return False
    ((kind, value),) = piece.items()
    if not isinstance(value, dict) or set(value) != {"id", "type_id"} or not _is_length(value["type_id"]):
        return False
    name = value["id"]
    return isinstance(name, str) and (
        name in {"A", "B"} if kind == "Sequence" else kind == "SpecialToken" and name in table
    )
