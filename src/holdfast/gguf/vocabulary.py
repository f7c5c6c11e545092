r"""What of a tokenizer llama.cpp can reproduce exactly, and the vocabulary that it then needs. Pure.

A tokenizer is read as transformers computes with it (its backend written out), which is not always what ``tokenizer.json``
says. Invariants: only structures that llama.cpp follows step by step are let through; the rest is refused with the rule that
it breaks. The ids are compared on probe texts afterwards all the same, and on ``trials``.

Three structures are known:

* **Bytes** (``gpt2``): byte-level BPE. The same regular expression in the same place is the same pre-tokenizer, whatever the
  vocabulary. Upstream's converter knows tokenizers by a hash of ids instead, which fails for any that it has not met.
* **Pieces** (``llama``): BPE over the whole text with ``▁`` for a space and a piece for each byte, as SentencePiece files
  are converted. llama.cpp then joins by the score of the joined piece, not by a list of merges: ``pieces`` decides whether
  that is the same.

Source: llama.cpp ``src/llama-vocab.cpp`` (``llm_tokenizer_bpe``, which quotes the original expressions;
``tokenizer_st_partition``, which finds added tokens longest first); tokenizers ``added_vocabulary.rs`` (leftmost, longest).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

from holdfast.errors import UntrustedBundle
from holdfast.gguf import pieces, wordpiece

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.canonical import Json

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHER = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_THREE_DIGITS = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_OTHER}|{_TAIL}"
_GPT2 = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
GPT2 = "gpt-2"  # a byte level alone, with its built-in expression

# (Expression of the one `Split` before the byte level, whether it skips merges for whole-word tokens) -> llama.cpp's name.
SPLITS: dict[tuple[str, bool], str] = {
    (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_OTHER}|{_TAIL}", False): "qwen2",
    (_THREE_DIGITS, True): "llama-bpe",
    (_THREE_DIGITS, False): "dbrx",
    # Possessive repeats and a single line end match what the plain ones match: nothing can follow that would need them less.
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        False,
    ): "dbrx",
    (
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_TAIL}",
        False,
    ): "qwen35",
    (rf"'(?:[sdmt]|ll|ve|re)|{_GPT2}|\s+", False): GPT2,
    (rf"'s|'t|'re|'ve|'m|'ll|'d|{_GPT2}|\s+", False): GPT2,
}
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# What llama.cpp excepts from its rule for Phi-3.
_STRIPS_NOTHING = frozenset({"<unk>", "<s>", "<|endoftext|>"})


class Kind(IntEnum):
    """llama.cpp's types of tokens (``llama_token_type``)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF says of a tokenizer.

    Args:
        model: ``gpt2``, ``llama`` or ``bert``.
        pre: Name of the pre-tokenizer.
        tokens: Text of each token, by its id.
        kinds: Type of each token.
        scores: Score of each token, for ``llama``.
        merges: Pairs in their order, for ``gpt2``.
        space_prefix: Whether a space is put before each stretch of text, for ``llama``.
        begin: Id of the token before every text, if there is one.
        end: Id of the token after every text, if there is one.
        strips: Whether added tokens take the blanks after them along, by llama.cpp's rule for models named Phi-3.
        trials: Texts on which the two ways to tokenize would differ if they do.
        words: What else llama.cpp is told, for ``bert``.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    scores: tuple[float, ...] | None = None
    merges: tuple[str, ...] | None = None
    space_prefix: bool = False
    begin: int | None = None
    end: int | None = None
    strips: bool = False
    trials: tuple[str, ...] = ()
    words: wordpiece.WordPiece | None = None

    def reproduces(self, text: str) -> bool:
        """Say whether llama.cpp can give a text the tokenizer's ids: not where it is known to normalise otherwise."""
        return self.words is None or wordpiece.comparable(text, strips_accents=self.words.strips_accents)


def read(tokenizer: Json, rows: int) -> Vocabulary:
    """Decide what llama.cpp needs in order to be this tokenizer.

    Args:
        tokenizer: The backend tokenizer, written out and parsed.
        rows: Rows of the model's embedding; ids without a token are filled up.

    Returns:
        The vocabulary.

    Raises:
        UntrustedBundle: If llama.cpp can't reproduce it.
    """
    document = _object(tokenizer, "it")
    model = _object(document.get("model"), "its model")
    if model.get("type") == "WordPiece":
        return _word_pieces(document, model, rows)
    if model.get("type") != "BPE":
        _refuse("its model is neither BPE nor WordPiece")
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            _refuse(f"its BPE model uses {option}")
    known = _known(_object(model.get("vocab"), "its vocabulary"))
    merges = _merges(model.get("merges"))
    added = _added(document.get("added_tokens"))
    begin, end = _ends(document.get("post_processor"))
    if model.get("byte_fallback"):
        prefix = _space_prefix(document)
        scores = _scores(known, merges, added)
        strips = _strips(added)
        tokens, kinds = _table(known, added, rows, unknown=model.get("unk_token"))
        by_text = [scores.get(text, pieces.UNREACHABLE) for text in tokens]
        return Vocabulary(
            "llama", "default", tokens, kinds, scores=tuple(by_text), space_prefix=prefix, begin=begin, end=end,
            strips=strips, trials=tuple(pieces.trials(merges)),
        )  # fmt: skip
    pre = pre_tokenizer(document)
    if any(one.strips or one.alone for one in added):
        _refuse("an added token takes the blanks beside it along, or wants to stand alone")
    if any(" " in part for pair in merges for part in pair):
        _refuse("a merge holds a space")
    tokens, kinds = _table(known, added, rows, unknown=None)
    joined = tuple(" ".join(pair) for pair in merges)
    return Vocabulary("gpt2", pre, tokens, kinds, merges=joined, begin=begin, end=end)


def _word_pieces(document: dict[str, Json], model: dict[str, Json], rows: int) -> Vocabulary:
    if why := wordpiece.problem(document):
        _refuse(why)
    known = _known(_object(model.get("vocab"), "its vocabulary"))
    added = _added(document.get("added_tokens"))
    if any(one.strips or one.alone or not one.special for one in added):
        _refuse("an added token is not special, takes the blanks beside it along, or wants to stand alone")
    begin, end = _ends(document.get("post_processor"))
    if begin is None or end is None:
        _refuse("it does not put one token before and one after a text")
    special = {one.text for one in added}
    tokens, kinds = _table(known, added, rows, unknown=None)
    spelled = [
        text if text in special or kind == Kind.UNUSED else wordpiece.spelled(text)
        for text, kind in zip(tokens, kinds, strict=True)
    ]
    if not all(spelled) or len({*spelled}) != len(spelled):
        _refuse("one of its pieces holds ▁, or is ## alone, or two would become one")
    return Vocabulary(
        "bert", "default", tuple(spelled), kinds, begin=begin, end=end, words=wordpiece.settings(document, known)
    )  # fmt: skip


def byte_alphabet() -> frozenset[str]:
    """Give the 256 characters by which byte-level tokenizers write bytes.

    Returns:
        Printable Latin-1 characters for themselves, the other bytes moved to U+0100 and on (GPT-2's table).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = 256 - len(printable)
    return frozenset(chr(code) for code in [*printable, *range(0x100, 0x100 + moved)])


def pre_tokenizer(tokenizer: dict[str, Json]) -> str:
    """Decide llama.cpp's `tokenizer.ggml.pre` for a byte-level tokenizer.

    Args:
        tokenizer: The backend tokenizer.

    Returns:
        The pre-tokenizer's name in llama.cpp.

    Raises:
        UntrustedBundle: If llama.cpp has no pre-tokenizer of this structure.
    """
    model = _object(tokenizer.get("model"), "its model")
    if not byte_alphabet() <= _object(model.get("vocab"), "its vocabulary").keys():
        _refuse("its vocabulary lacks some of the 256 bytes")
    normalizer = tokenizer.get("normalizer")
    if normalizer is not None and _object(normalizer, "its normalizer").get("type") != "NFC":
        _refuse("it normalises text in a way that llama.cpp does not")
    pre = _object(tokenizer.get("pre_tokenizer"), "its pre-tokenizer")
    skips = bool(model.get("ignore_merges"))
    if _is_byte_level(pre, use_regex=True):
        if skips:
            _refuse(f"ignore_merges is not what llama.cpp assumes for {GPT2}")
        return GPT2
    steps = pre.get("pretokenizers")
    if pre.get("type") != "Sequence" or not isinstance(steps, list) or len(steps) != 2:  # noqa: PLR2004 - split, bytes
        _refuse("its pre-tokenizer is neither a byte level nor a split followed by one")
    split, byte_level = _object(steps[0], "its split"), _object(steps[1], "its byte level")
    pattern = _object(split.get("pattern"), "the pattern of its split").get("Regex")
    plain = split.get("type") == "Split" and split.get("behavior") == "Isolated" and not split.get("invert")
    if not plain or not isinstance(pattern, str) or not _is_byte_level(byte_level, use_regex=False):
        _refuse("its pre-tokenizer is not an isolating split by an expression, then bytes")
    if (pattern, skips) not in SPLITS:
        if (pattern, not skips) in SPLITS:
            _refuse(f"ignore_merges is not what llama.cpp assumes for {SPLITS[pattern, not skips]}")
        _refuse("llama.cpp knows no pre-tokenizer with its expression")
    return SPLITS[pattern, skips]


@dataclass(frozen=True)
class _Added:
    """A token that is looked for in the text itself."""

    text: str
    number: int
    special: bool
    strips: bool
    alone: bool


def _added(value: Json) -> list[_Added]:
    if not isinstance(value, list):
        _refuse("its added tokens are no list")
    found = []
    for one in value:
        token = _object(one, "an added token")
        text, number = token.get("content"), token.get("id")
        if not isinstance(text, str) or not text or type(number) is not int:
            _refuse("an added token has no text or no id")
        left, alone = bool(token.get("lstrip")), bool(token.get("single_word"))
        right = bool(token.get("rstrip"))
        found.append(_Added(text, number, bool(token.get("special")), right, left or alone))
    _check_overlaps([one.text for one in found])
    return found


def _check_overlaps(texts: list[str]) -> None:
    """Refuse added tokens that can overlap: the one library takes the leftmost, the other the longest.

    Runs of one same character may overlap with each other: where a longer run begins later, it also begins here.
    """
    starts = {text[:length] for text in texts for length in range(1, len(text))}
    mixed = {text[:length] for text in texts if len({*text}) > 1 for length in range(1, len(text))}
    for text in texts:
        others = starts if len({*text}) > 1 else mixed
        if any(text[cut:] in others for cut in range(1, len(text))):
            _refuse(f"its added token {text[:40]!r} can overlap with another")


def _ends(value: Json) -> tuple[int | None, int | None]:
    """Read which tokens are put around a text."""
    if value is None:
        return None, None
    processor = _object(value, "its post-processor")
    steps = processor.get("processors") if processor.get("type") == "Sequence" else [processor]
    begin = end = None
    for one in steps if isinstance(steps, list) else [None]:
        step = _object(one, "a step of its post-processor")
        if step.get("type") == "TemplateProcessing":
            begin, end = _template(step)
        elif step.get("type") == "BertProcessing":
            begin, end = _pair_id(step.get("cls")), _pair_id(step.get("sep"))
        elif step.get("type") != "ByteLevel":  # which moves offsets and no token
            _refuse("its post-processor is not a template")
    return begin, end


def _pair_id(value: Json) -> int:
    """Take the id of a pair of a token and its id."""
    number = value[1] if isinstance(value, list) and len(value) == 2 else None  # noqa: PLR2004 - a pair
    if type(number) is not int:
        _refuse("a token of its post-processor has no id")
    return int(str(number))


def _template(step: dict[str, Json]) -> tuple[int | None, int | None]:
    single, specials = step.get("single"), _object(step.get("special_tokens"), "the tokens of its template")
    names: list[str | None] = []
    for one in single if isinstance(single, list) else []:
        part = _object(one, "a part of its template")
        special = part.get("SpecialToken")
        names.append(str(_object(special, "a token of its template").get("id")) if special else None)
    if names.count(None) != 1 or names.index(None) > 1 or len(names) - names.index(None) > 2:  # noqa: PLR2004 - one token
        _refuse("its template is not a text with at most one token before and one after it")
    found: dict[str, int] = {}
    for name in names:
        if name is not None:
            ids = _object(specials.get(name), "a token of its template").get("ids")
            if not isinstance(ids, list) or len(ids) != 1 or type(ids[0]) is not int:
                _refuse("a token of its template is not one token")
            found[name] = int(str(ids[0]))
    at = names.index(None)
    before, after = names[0] if at else None, names[-1] if at < len(names) - 1 else None
    return (found[before] if before else None), (found[after] if after else None)


def _known(vocabulary: dict[str, Json]) -> dict[str, int]:
    found = {text: number for text, number in vocabulary.items() if type(number) is int}
    if len(found) != len(vocabulary):
        _refuse("its vocabulary does not give a number to each token")
    return found


def _merges(value: Json) -> list[tuple[str, str]]:
    found = []
    for one in value if isinstance(value, list) else []:
        pair = one.split(" ") if isinstance(one, str) else one
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):  # noqa: PLR2004
            _refuse("a merge is not a pair")
        found.append((str(pair[0]), str(pair[1])))
    return found


def _space_prefix(document: dict[str, Json]) -> bool:
    """Read how spaces become ``▁``, and whether one is put before a text."""
    normalizer, before = document.get("normalizer"), document.get("pre_tokenizer")
    split = {} if before is None else _object(before, "its pre-tokenizer")
    if split.get("type") == "Metaspace":
        _refuse(
            "Metaspace puts spaces in by rules of its own; the class LlamaTokenizer has it whatever tokenizer.json says,"
            " TokenizersBackend in tokenizer_config.json takes tokenizer.json as it is"
        )
    steps = _object(normalizer, "its normalizer")
    parts = steps.get("normalizers") if steps.get("type") == "Sequence" else [steps]
    if not isinstance(parts, list):
        _refuse("its normalizer is malformed")
    prefix = len(parts) == 2 and parts[0] == {"type": "Prepend", "prepend": pieces.SPACE}  # noqa: PLR2004 - and the spaces
    if parts[int(prefix) :] != [{"type": "Replace", "pattern": {"String": " "}, "content": pieces.SPACE}]:
        _refuse("its normalizer does more than to write ▁ for spaces, or to put one before a text")
    # After the normalizer there are no spaces left to split at.
    if split and (split.get("type") != "Split" or split.get("pattern") != {"String": " "}):
        _refuse("its pre-tokenizer is not one that leaves the text whole")
    if _object(document.get("model"), "its model").get("ignore_merges"):
        _refuse("it skips merges for whole texts")
    return prefix


def _scores(known: dict[str, int], merges: list[tuple[str, str]], added: list[_Added]) -> dict[str, float]:
    if not all(f"<0x{byte:02X}>" in known for byte in range(256)):
        _refuse("its vocabulary lacks some of the 256 bytes")
    if any(_BYTE.fullmatch(one.text) for one in added):
        _refuse("its pieces for bytes are added tokens")
    texts = {one.text for one in added}
    problem = pieces.problem(
        known.keys() | texts, merges, {text for text in texts if pieces.SPACE not in text}
    )
    if problem:
        _refuse(problem)
    return pieces.scores(merges)


def _strips(added: list[_Added]) -> bool:
    """Decide whether added tokens take the blanks after them along, as llama.cpp does for models named Phi-3."""
    strips = any(one.strips for one in added)
    texts = {one.text for one in added}
    if any(one.alone for one in added):
        _refuse("an added token takes the blanks before it along, or wants to stand alone")
    if strips and (
        any(one.strips is (one.text in _STRIPS_NOTHING) for one in added)
        or not _STRIPS_NOTHING | {"</s>"} <= texts
    ):
        _refuse("some added tokens take the blanks after them along, and not in the way of Phi-3")
    return strips


def _table(
    known: dict[str, int], added: list[_Added], rows: int, *, unknown: Json
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Lay all tokens out by their ids."""
    texts: dict[int, str] = {}
    for text, number in [*known.items(), *((one.text, one.number) for one in added)]:
        if texts.setdefault(number, text) != text or not 0 <= number < rows:
            _refuse(f"id {number} stands for two tokens, or is not among the model's {rows} embeddings")
    special = {one.number: one.special for one in added}
    taken = {*texts.values()}
    tokens, kinds = [], []
    for number in range(rows):
        if number in texts:
            text = texts[number]
            kind = _kind(text, special.get(number), fallback=unknown is not None, unknown=text == unknown)
        else:
            text, kind = f"[PAD{number}]", Kind.UNUSED
            while text in taken:
                text = f"[{text}]"
        tokens.append(text)
        kinds.append(kind)
    if len({*tokens}) != len(tokens):
        _refuse("two ids have the same token")
    return tuple(tokens), tuple(int(kind) for kind in kinds)


def _kind(text: str, special: bool | None, *, fallback: bool, unknown: bool) -> Kind:  # noqa: FBT001 - three states
    if special is None:
        return Kind.BYTE if fallback and _BYTE.fullmatch(text) else Kind.NORMAL
    if special:
        return Kind.UNKNOWN if unknown else Kind.CONTROL
    # An added token of ▁ stands for itself in a text; spaces reach its id by merges, which is how a normal piece is read.
    return Kind.NORMAL if pieces.SPACE in text else Kind.USER_DEFINED


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
        remedy="Serve a base whose tokenizer is byte-level BPE with one of "
        + ", ".join(_names())
        + ", or BPE over ▁ with a piece for each byte, as SentencePiece has it; to embed also with BERT's WordPiece.",
    )


def _names() -> Iterable[str]:
    return sorted({*SPLITS.values()})
