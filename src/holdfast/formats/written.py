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

from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_DOCUMENT = 64 * 2**10  # bytes; a person writes a few hundred lines
MAX_MISTAKES = 50  # mistakes listed; more would not be read

Loc = tuple[int | str, ...]
M = TypeVar("M", bound=BaseModel)

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=(.*)")
_POSITION = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")


def read(data: bytes, model: type[M], *, file: str, key: str) -> M:
    """Read a hand-written document.

    Args:
        data: The document's bytes, as received.
        model: What it has to look like; strict, with extra keys forbidden.
        file: Its name, for messages.
        key: The stable key of the error.

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
        mistakes = [(_line(lines, item), _sentence(model, item)) for item in error.errors(include_url=False)]
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
    return line, f"this is not TOML: {problem[: position.start()]}"


def _line(lines: dict[Loc, int], item: ErrorDetails) -> int:
    place: Loc = item["loc"]
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _sentence(model: type[BaseModel], item: ErrorDetails) -> str:
    *above, last = item["loc"] or ("",)
    where = "".join(f"[{part}]" if isinstance(part, str) else f" {part + 1}" for part in above)
    name = f"{last!r} in {where}" if where else repr(last)
    if item["type"] == "extra_forbidden":
        known = _fields(model, item["loc"][:-1])
        near = difflib.get_close_matches(str(last), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"unknown key {name} ({hint})"
    expected = item["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if item["type"] == "missing":
        return f"key {name} is missing"
    if isinstance(item["input"], dict | list):
        return f"{name}: {expected}" if item["loc"] else expected
    return f"{name}: {expected}, found {str(item['input'])[:60]!r}"


def _fields(model: type[BaseModel], place: Loc) -> list[str]:
    """Give the known keys at a place, following the model's annotations."""
    for part in place:
        if isinstance(part, int):
            continue
        inner = _model_in(model.model_fields[part].annotation)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if inner := typing.get_args(annotation):
        return next((found for one in inner if (found := _model_in(one))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
