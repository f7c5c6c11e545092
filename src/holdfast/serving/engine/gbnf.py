"""Grammars in llama.cpp's notation (GBNF), rewritten for llguidance. Pure.

llguidance parses with a lexer below its parser, GBNF knows characters alone. Rules that lead to no recursion are regular:
each becomes one terminal, and so does every run of regular parts inside the other rules, so that a grammar without recursion
means exactly what it says. In a recursive grammar a terminal takes as many characters as it can, as lexers do: what is
accepted is always in the grammar, but a rule must not count on the part before it to stop early.

Order of operations: read the rules within bounds; find the regular ones (those that do not lead back, by removing again and
again what refers only to regular ones); write them out with names of our own, so that no name of the source matters.
Invariant: a source that is no such grammar, or is beyond the bounds, raises ``BadGrammarError`` and nothing else, in time
proportional to its length.

Source: llama.cpp's grammars/README.md; llguidance's docs/syntax.md.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_RULES = 2000  # written by people or generated from schemas of some hundred fields
MAX_DEPTH = 32  # parentheses inside one another; what is written here recurses with them
MAX_SUFFIXES = 2  # repetitions of one part, as in ``a+?``
MAX_PARTS = 2000  # quotations, sets of characters, names of rules; llguidance's time grows with their square
MAX_TERMINALS = 500  # parts that the lexer tells apart
MAX_TIMES = 10_000  # repetitions of a part

_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TIMES = re.compile(r"\{[ \t]*(\d{1,9})[ \t]*(?:(,)[ \t]*(\d{1,9})?[ \t]*)?\}")
_ESCAPES = {"n": 10, "r": 13, "t": 9, '"': 34, "[": 91, "]": 93, "\\": 92}
_HEX = {"x": 2, "u": 4, "U": 8}
_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class BadGrammarError(Exception):
    """A source that is no grammar, or is too large; its text says why."""


@dataclass(frozen=True)
class _Leaf:
    """Characters, as a regular expression."""

    text: str


@dataclass(frozen=True)
class _Call:
    """A rule by its number."""

    rule: int


@dataclass(frozen=True)
class _Row:
    """Parts that follow one another."""

    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Either:
    """Parts of which one is taken."""

    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Many:
    """A part several times; ``most`` None for any number."""

    part: _Node
    least: int
    most: int | None


_Node = _Leaf | _Call | _Row | _Either | _Many


def to_lark(source: str) -> str:
    """Rewrite a grammar.

    Args:
        source: GBNF; its first rule is ``root`` or another is.

    Returns:
        The same in llguidance's Lark dialect, beginning with ``start``.

    Raises:
        BadGrammarError: If it is no grammar or too large.
    """
    reader = _Reader(source)
    rules = reader.rules()
    return _Writer(rules, _regular(rules)).write(reader.root)


class _Reader:
    """Reads the rules of one source."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._numbers: dict[str, int] = {}
        self._depth = 0
        self._parts = 0
        self.root = 0

    def rules(self) -> list[_Node]:
        found: dict[int, _Node] = {}
        self._skip(lines=True)
        while self._at < len(self._source):
            name = self._name()
            number = self._number(name)
            self._skip()
            if not self._take("::="):
                raise self._bad("::= is missing")
            if number in found:
                raise self._bad(f"the rule {name[:64]} is there twice")
            self._skip(lines=True)
            found[number] = self._either(nested=False)
            if self._at < len(self._source) and self._source[self._at] not in "\r\n":
                raise self._bad("something is there that is no part of a rule")
            self._skip(lines=True)
        missing = [name for name, number in self._numbers.items() if number not in found]
        if missing or "root" not in self._numbers:
            raise BadGrammarError(f"the rule {(missing or ['root'])[0][:64]} is missing")
        self.root = self._numbers["root"]
        return [found[number] for number in range(len(found))]

    def _number(self, name: str) -> int:
        number = self._numbers.setdefault(name, len(self._numbers))
        if number >= MAX_RULES:
            raise BadGrammarError(f"it has more than {MAX_RULES} rules")
        return number

    def _either(self, *, nested: bool) -> _Node:
        parts = [self._row(nested=nested)]
        while self._take("|"):
            self._count()  # an alternative may be empty
            self._skip(lines=True)
            parts.append(self._row(nested=nested))
        return parts[0] if len(parts) == 1 else _Either(tuple(parts))

    def _row(self, *, nested: bool) -> _Node:
        parts: list[_Node] = []
        while (part := self._part()) is not None:
            self._count()
            self._skip(lines=nested)
            parts.append(self._times(part, nested=nested))
        return parts[0] if len(parts) == 1 else _Row(tuple(parts))

    def _count(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadGrammarError(f"it has more than {MAX_PARTS} parts")

    def _part(self) -> _Node | None:
        head = self._source[self._at : self._at + 1]
        if head == '"':
            return self._literal()
        if head == "[":
            return self._class()
        if head == ".":
            self._at += 1
            return _Leaf(f"[{_code(0)}-{_code(_LAST)}]")
        if head == "(":
            return self._group()
        if head and _NAME.match(head):
            return _Call(self._number(self._name()))
        return None

    def _group(self) -> _Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._bad(f"parentheses nest deeper than {MAX_DEPTH}")
        self._at += 1
        self._skip(lines=True)
        inner = self._either(nested=True)
        if not self._take(")"):
            raise self._bad("a parenthesis is not closed")
        self._depth -= 1
        return inner

    def _times(self, part: _Node, *, nested: bool) -> _Node:
        for _ in range(MAX_SUFFIXES + 1):
            simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._source[self._at : self._at + 1])
            found = _TIMES.match(self._source, self._at)
            if simple:
                self._at += 1
                least, most = simple
            elif found:
                self._at = found.end()
                least = int(found[1])
                most = (int(found[3]) if found[3] else None) if found[2] else least
                if max(least, most or 0) > MAX_TIMES or (most is not None and most < least):
                    raise self._bad(f"a repetition is not of 0 to {MAX_TIMES}")
            else:
                return part
            part = _Many(part, least, most)
            self._skip(lines=nested)
        raise self._bad(f"a part is repeated more than {MAX_SUFFIXES} times over")

    def _literal(self) -> _Node:
        self._at += 1
        codes: list[int] = []
        while not self._take('"'):
            codes.append(self._character())
        return _Leaf("".join(map(_code, codes)))

    def _class(self) -> _Node:
        self._at += 1
        negated = self._take("^")
        ranges: list[str] = []
        while not self._take("]"):
            first = last = self._character()
            if (
                self._source[self._at : self._at + 1] == "-"
                and self._source[self._at + 1 : self._at + 2] != "]"
            ):
                self._at += 1
                last = self._character()
            if last < first:
                raise self._bad("a range of characters ends before it begins")
            ranges.append(_code(first) if first == last else f"{_code(first)}-{_code(last)}")
        if not ranges:
            if negated:
                return _Leaf(f"[{_code(0)}-{_code(_LAST)}]")
            raise self._bad("a set of characters is empty")
        return _Leaf(f"[{'^' if negated else ''}{''.join(ranges)}]")

    def _character(self) -> int:
        text = self._source[self._at : self._at + 1]
        if not text or text in "\r\n":
            raise self._bad("a quotation or a set of characters is not closed")
        self._at += 1
        code = ord(text)
        if text == "\\":
            kind = self._source[self._at : self._at + 1]
            self._at += 1
            if kind in _HEX:
                digits = self._source[self._at : self._at + _HEX[kind]]
                if not re.fullmatch(r"[0-9A-Fa-f]+", digits) or len(digits) != _HEX[kind]:
                    raise self._bad("an escape lacks its digits")
                self._at += len(digits)
                code = int(digits, 16)
            elif kind in _ESCAPES:
                code = _ESCAPES[kind]
            else:
                raise self._bad("an escape is not known")
        if code > _LAST or code in _SURROGATES:
            raise self._bad("a character is none")
        return code

    def _name(self) -> str:
        found = _NAME.match(self._source, self._at)
        if not found:
            raise self._bad("the name of a rule is missing")
        self._at = found.end()
        return found[0]

    def _take(self, text: str) -> bool:
        if not self._source.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _skip(self, *, lines: bool = False) -> None:
        found = (_SPACE_AND_LINES if lines else _SPACE).match(self._source, self._at)
        self._at = found.end() if found else self._at

    def _bad(self, why: str) -> BadGrammarError:
        line = self._source.count("\n", 0, self._at) + 1
        return BadGrammarError(f"in line {line} {why}")


def _calls(node: _Node) -> set[int]:
    match node:
        case _Call(rule):
            return {rule}
        case _Row(parts) | _Either(parts):
            return set().union(*map(_calls, parts))
        case _Many(part):
            return _calls(part)
        case _Leaf():
            return set()


def _regular(rules: list[_Node]) -> set[int]:
    """Find the rules that lead to no recursion."""
    waits = [_calls(rule) for rule in rules]
    callers: dict[int, list[int]] = defaultdict(list)
    for number, called in enumerate(waits):
        for other in called:
            callers[other].append(number)
    left = [len(called) for called in waits]
    found = deque(number for number, count in enumerate(left) if count == 0)
    regular: set[int] = set()
    while found:
        number = found.popleft()
        regular.add(number)
        for caller in callers[number]:
            left[caller] -= 1
            if left[caller] == 0:
                found.append(caller)
    return regular


@dataclass
class _Writer:
    """Writes rules for llguidance: ``T…`` are terminals, ``r…`` are rules."""

    rules: list[_Node]
    regular: set[int]
    hoisted: dict[str, int] = field(default_factory=dict)  # terminals by what they match

    def write(self, root: int) -> str:
        lines = [f"start: {self._call(root)}"]
        for number, rule in enumerate(self.rules):
            text = self._terminal(rule) if number in self.regular else self._rule(rule)
            lines.append(f"{self._call(number)}: {text}")
        lines += [f"H{number}: {text}" for text, number in self.hoisted.items()]
        return "\n".join(lines) + "\n"

    def _call(self, number: int) -> str:
        return f"{'T' if number in self.regular else 'r'}{number}"

    def _is_regular(self, node: _Node) -> bool:
        return _calls(node) <= self.regular

    def _terminal(self, node: _Node) -> str:
        match node:
            case _Leaf(text):
                return f"/{text}/" if text else '""'
            case _Call(rule):
                return self._call(rule)
            case _Row(parts):
                return "(" + " ".join(map(self._terminal, parts)) + ")" if parts else '""'
            case _Either(parts):
                return "(" + " | ".join(map(self._terminal, parts)) + ")"
            case _Many(part, least, most):
                return _repeated(part, self._terminal(part), least, most)

    def _rule(self, node: _Node) -> str:
        if self._is_regular(node):
            return self._hoist(node)
        match node:
            case _Call(rule):
                return self._call(rule)
            case _Row(parts):
                return "(" + " ".join(map(self._rule, self._runs(parts))) + ")"
            case _Either(parts):
                plain = [part for part in parts if self._is_regular(part)]
                others = [part for part in parts if not self._is_regular(part)]
                merged: list[_Node] = [_Either(tuple(plain))] if len(plain) > 1 else list(plain)
                return "(" + " | ".join(map(self._rule, merged + others)) + ")"
            case _Many(part, least, most):
                return _repeated(part, self._rule(part), least, most)
            case _Leaf():
                return self._hoist(node)

    def _hoist(self, node: _Node) -> str:
        """Give a regular part a name of its own."""
        if isinstance(node, _Call):
            return self._call(node.rule)
        if isinstance(node, _Leaf | _Row) and node in (_Leaf(""), _Row(())):
            return '""'
        number = self.hoisted.setdefault(self._terminal(node), len(self.hoisted))
        if number >= MAX_TERMINALS:
            raise BadGrammarError(f"its rules have more than {MAX_TERMINALS} different parts")
        return f"H{number}"

    def _runs(self, parts: Iterable[_Node]) -> list[_Node]:
        """Join regular parts that follow one another."""
        found: list[_Node] = []
        run: list[_Node] = []
        for part in parts:
            if self._is_regular(part):
                run.append(part)
                continue
            found += _joined(run)
            run = []
            found.append(part)
        return found + _joined(run)


def _joined(run: list[_Node]) -> list[_Node]:
    return [_Row(tuple(run))] if len(run) > 1 else list(run)


def _repeated(part: _Node, text: str, least: int, most: int | None) -> str:
    inner = f"({text})" if isinstance(part, _Many) else text
    return f"{inner}{{{least},{'' if most is None else most}}}"


def _code(code: int) -> str:
    """Write a character so that it means itself in every place of a regular expression."""
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\u{{{code:X}}}"
