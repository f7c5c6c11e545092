"""Documents that people write by hand (TOML): recipes, suites.

Invariants: a document is bounded before it is parsed; every mistake in it is reported at once, each with its line and
what was expected there; nothing but ``UntrustedRecipe`` is ever raised. Order of operations: size, encoding, TOML syntax,
then the document's model; ``tomllib`` gives no positions, so a scanner notes the line of every key. No I/O.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pydantic_core import ErrorDetails

MAX_DOCUMENT = 64 * 2**10  # bytes; a person writes a few hundred lines
MAX_PARTS = (
    64  # of a dotted key; the time to parse one grows with their square, and no document nests so deep
)
MAX_MISTAKES = 50  # mistakes listed; more would not be read

Loc = tuple[int | str, ...]
M = TypeVar("M", bound=BaseModel)

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_GAP = r"[^\S\n]*+"
_STEP = rf"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+'){_GAP}\.{_GAP}"""
_LONG = re.compile(
    rf"^{_GAP}\[{{0,2}}{_GAP}(?:{_STEP}){{{MAX_PARTS}}}", re.MULTILINE
)  # a key of more parts than that
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=(.*)")
_POSITION = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")
_UNCLOSED = r"Illegal character '\n'"  # what tomllib says of a text without its closing quote
_SHOULD = re.compile(r"^\w+ should (?:be|have) ")  # how pydantic begins what it expects
_COMPARED = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})


def read(
    data: bytes,
    model: type[M],
    *,
    file: str,
    key: str,
    besides: Callable[[dict[str, object]], Iterable[tuple[Loc, str]]] | None = None,
) -> M:
    """Read a hand-written document.

    Args:
        data: The document's bytes, as received.
        model: What it has to look like; strict, with extra keys forbidden.
        file: Its name, for messages.
        key: The stable key of the error.
        besides: Finds more mistakes in the parsed document, place and sentence of each; asked where the model refuses it, so
            that all are told at once.

    Returns:
        The document.

    Raises:
        UntrustedRecipe: With every mistake, its line and what was expected.
    """
    if len(data) > MAX_DOCUMENT:
        raise refusal(file, key, [(1, f"it has {len(data)} bytes and {MAX_DOCUMENT} are allowed")])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refusal(file, key, [(line, "this is not UTF-8 text")]) from error
    if long := _LONG.search(text):
        line = text.count("\n", 0, long.start()) + 1
        raise refusal(file, key, [(line, f"a key has more than {MAX_PARTS} parts")])
    try:
        tree = tomllib.loads(text)
    except RecursionError as error:
        raise refusal(file, key, [(1, "values are nested too deeply")]) from error
    except ValueError as error:  # TOMLDecodeError, or an integer with too many digits
        raise refusal(file, key, [_syntax(str(error), text)]) from error
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = key_lines(text)
        mistakes = []
        for item in error.errors(include_url=False):
            place, inside = _place(model, item)
            mistakes.append((_line(lines, place), _sentence(place, inside, item)))
        mistakes += [(_line(lines, place), told) for place, told in (besides(tree) if besides else ())]
        raise refusal(file, key, sorted(mistakes, key=lambda one: one[0])) from error


def refusal(file: str, key: str, mistakes: list[tuple[int, str]]) -> UntrustedRecipe:
    """Make the error that lists a document's mistakes.

    Args:
        file: The document's name.
        key: The stable key of the error.
        mistakes: Line and sentence of each, at least one.

    Returns:
        The error, not raised.
    """
    told = [f"{file}:{line}: {what}" for line, what in mistakes[:MAX_MISTAKES]]
    more = f"; and {len(mistakes) - MAX_MISTAKES} more" if len(mistakes) > MAX_MISTAKES else ""
    return UntrustedRecipe(
        key,
        "; ".join(told) + more + ".",
        remedy=f"Correct {file} and try again.",
        file=file,
        line=mistakes[0][0],
        mistakes=told,
    )


def key_lines(text: str) -> dict[Loc, int]:
    """Note where each table and key of a TOML document stands.

    Args:
        text: A document that ``tomllib`` accepts.

    Returns:
        Path (names, and positions within arrays of tables) to line, counted from 1.
    """
    found: dict[Loc, int] = {}
    counts: dict[Loc, int] = {}
    table: Loc = ()
    state = _Value()
    for number, line in enumerate(text.split("\n"), start=1):
        if state.open:
            state.feed(line)
        elif header := _HEADER.match(line):
            *above, last = _parts(header[2])
            table = (*_resolve(counts, (), above), last)
            if header[1] == "[[":
                counts[table] = counts.get(table, 0) + 1
                found.setdefault(table, number)
                table = (*table, counts[table] - 1)
            found[table] = number
        elif entry := _KEY.match(line):
            place = table
            for part in _parts(entry[1]):
                place = (*place, part)
                found.setdefault(place, number)
            state.feed(entry[2])
    return found


class _Value:
    """Whether a value goes on in the next line: an open bracket or an open triple quote."""

    _TOKEN = re.compile(
        r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*|[\[\]{}]',
    )

    def __init__(self) -> None:
        self._depth = 0
        self._quote = ""

    @property
    def open(self) -> bool:
        return bool(self._depth or self._quote)

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            if self._quote:
                end = text.find(self._quote, at)
                while self._quote == '"""' and end > 0 and text[end - 1] == "\\":
                    end = text.find(self._quote, end + 1)
                if end < 0:
                    return
                at, self._quote = end + 3, ""
                continue
            token = self._TOKEN.search(text, at)
            if token is None:
                return
            at = token.end()
            if token[0] in {'"""', "'''"}:
                self._quote = token[0]
            elif token[0] in "[{":
                self._depth += 1
            elif token[0] in "]}":
                self._depth -= 1


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, dotted)]


def _resolve(counts: dict[Loc, int], place: Loc, parts: list[str]) -> Loc:
    for part in parts:
        place = (*place, part)
        if place in counts:
            place = (*place, counts[place] - 1)
    return place


def _syntax(problem: str, text: str) -> tuple[int, str]:
    position = _POSITION.search(problem)
    if position is None:
        return 1, problem[:200]
    line = int(position[1]) if position[1] else text.count("\n") + 1
    told = problem[: position.start()]
    if told == _UNCLOSED:
        return line, "this is not TOML: a text in quotes does not end in its line"
    return line, f"this is not TOML: {told}"


def _line(lines: dict[Loc, int], place: Loc) -> int:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _sentence(place: Loc, inside: type[BaseModel] | None, item: ErrorDetails) -> str:
    *above, last = place or ("",)
    where = "".join(f"[{part}]" if isinstance(part, str) else f" {part + 1}" for part in above)
    name = f"{last!r} in {where}" if where else repr(last)
    if item["type"] == "extra_forbidden":
        known = _fields(inside)
        near = difflib.get_close_matches(str(last), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"unknown key {name} ({hint})"
    if item["type"] in {"missing", "union_tag_not_found"}:
        return f"key {name} is missing"
    if item["type"] == "union_tag_invalid":
        return f"{name}: expected {item['ctx']['expected_tags']}, found {str(item['ctx']['tag'])[:60]!r}"
    expected = _SHOULD.sub("expected ", item["msg"].removeprefix("Value error, "))
    if item["type"] in _COMPARED:
        expected = expected.replace("expected", "expected a number", 1)
    elif item["type"] == "string_type":
        expected = "expected text in quotes"
    elif item["type"] == "string_pattern_mismatch":
        expected = f"expected text of the pattern {item['ctx']['pattern'].strip('^$')}"
    if isinstance(item["input"], dict | list):
        return f"{name}: {expected}" if place else expected
    return f"{name}: {expected}, found {_shown(item['input'])}"


def _shown(value: object) -> str:
    """Write a value as TOML does: only text stands in quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)[:60] if isinstance(value, int | float) else repr(str(value)[:60])


def _place(model: type[BaseModel], item: ErrorDetails) -> tuple[Loc, type[BaseModel] | None]:
    """Give a mistake's place as a person wrote it, and the model that knows the keys there.

    Where one of several models is chosen by a key, pydantic puts the chosen value into the place: it is left out here.
    """
    place: Loc = ()
    parts = list(item["loc"])
    inside: type[BaseModel] | None = model
    while parts:
        part = parts.pop(0)
        place = (*place, part)
        if isinstance(part, int) or not parts:
            continue
        field = inside.model_fields.get(part) if inside else None
        inside = None
        if field is not None and (key := _chooser(field)):
            while parts and isinstance(parts[0], int):  # the place within a list of such models
                place = (*place, parts.pop(0))
            inside = _variant(field.annotation, key, parts.pop(0)) if parts else None
        elif field is not None:
            inside = next(_models_in(field.annotation), None)
    if item["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        place = (*place, str(item["ctx"]["discriminator"]).strip("'"))
    return place, inside


def _chooser(field: FieldInfo) -> str | None:
    """Give the key that chooses one of several models, for the field itself or for the parts of a list."""
    if isinstance(field.discriminator, str):
        return field.discriminator
    for part in typing.get_args(field.annotation):
        for one in getattr(part, "__metadata__", ()):
            if isinstance(one, FieldInfo) and isinstance(one.discriminator, str):
                return one.discriminator
    return None


def _fields(model: type[BaseModel] | None) -> list[str]:
    """Give the keys that a model knows."""
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _variant(annotation: object, key: str, tag: object) -> type[BaseModel] | None:
    """Give the one of several models whose key takes the tag."""
    for one in _models_in(annotation):
        if tag in typing.get_args(one.model_fields[key].annotation):
            return one
    return None


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if inner := typing.get_args(annotation):
        for one in inner:
            yield from _models_in(one)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
