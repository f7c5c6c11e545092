"""Regular expressions that come with a model: judged before any engine compiles them.

A tokenizer matches them against every prompt, an adapter's configuration against the names of modules.

A backtracking engine takes exponential time where a repeated group itself repeats or offers alternatives or where many
optional parts follow one another, and a power of the text's length where repeats do. Invariants: what is accepted has no such
group, few repeats in one alternative, bounded counts, no back reference, no recursion and no call-out; it is written in the
part of Oniguruma's syntax that tokenizers use, so that the engine accepts it too. Decided on the pattern's text alone.

Source: https://github.com/kkos/oniguruma, doc/RE and doc/UNICODE_PROPERTIES.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PATTERN = 4096  # characters; published ones have up to 1,500
MAX_GROUPS = 32  # nested; published ones nest 2 deep
MAX_WEIGHT = 12  # of one alternative: 2 per unbounded repeat, 1 per bounded one; published ones have up to 6
MAX_COUNT = 1024  # of a counted repeat
_OPTIONAL = (0, 1)
_COUNTED = re.compile(r"\{(\d{0,9})(,?)(\d{0,9})\}", re.ASCII)
_GROUP = re.compile(r"\((?:\?(?:[:=!>]|<[=!]|-?[im]{1,2}(?:-[im]{1,2})?:))?(?![?*])")
_POSIX = re.compile(
    r"\[:\^?(alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]"
)
_ESCAPE = re.compile(
    r"""\\(?:(?P<code>x\{[0-9A-Fa-f]{1,5}\}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})|[pP]\{\^?(?P<property>[A-Za-z_]{1,32})\}
    |(?P<kind>[dDwWsS])|(?P<anchor>[bBAzZ])|(?P<control>[nrtvf])|(?P<plain>[!-/:-@\[-`{-~\ ]))""",
    re.VERBOSE,
)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "v": "\v", "f": "\f"}
_PROPERTIES = frozenset(
    [
        "L",
        "Lu",
        "Ll",
        "Lt",
        "Lm",
        "Lo",
        "M",
        "Mn",
        "Mc",
        "Me",
        "N",
        "Nd",
        "Nl",
        "No",
        "P",
        "Pc",
        "Pd",
        "Ps",
        "Pe",
        "Pi",
        "Pf",
        "Po",
        "S",
        "Sm",
        "Sc",
        "Sk",
        "So",
        "Z",
        "Zs",
        "Zl",
        "Zp",
        "C",
        "Cc",
        "Cf",
        "Co",
        "Cn",
        "Letter",
        "Mark",
        "Number",
        "Punctuation",
        "Symbol",
        "Separator",
        "Alphabetic",
        "Alpha",
        "Digit",
        "Alnum",
        "Upper",
        "Lower",
        "Space",
        "Punct",
        "Word",
        "Emoji",
        "Han",
        "Hiragana",
        "Katakana",
        "Hangul",
        "Bopomofo",
        "Thai",
        "Lao",
        "Khmer",
        "Myanmar",
        "Tibetan",
        "Latin",
        "Greek",
        "Cyrillic",
        "Armenian",
        "Georgian",
        "Hebrew",
        "Arabic",
        "Syriac",
        "Devanagari",
        "Bengali",
        "Gurmukhi",
        "Gujarati",
        "Oriya",
        "Tamil",
        "Telugu",
        "Kannada",
        "Malayalam",
        "Sinhala",
        "Ethiopic",
        "Mongolian",
        "Common",
    ]
)
_TOO_HEAVY = "too many repeats follow one another, which can take a high power of the text's length"

_TOO_LONG = (
    "something must match after two repeats without bound, on which the engine gives up in a long text"
)


def problem(pattern: str) -> str:
    """Find what could make a regular expression run away, or is not of the syntax that is known.

    Args:
        pattern: The expression, in Oniguruma's or Python's syntax.

    Returns:
        The reason, as a sentence's end; empty if there is none.
    """
    if len(pattern) > MAX_PATTERN:
        return f"it has {len(pattern)} characters and {MAX_PATTERN} are allowed"
    try:
        _Reader(pattern).read()
    except _RefusedError as refusal:
        return str(refusal)
    return ""


def runs_long(pattern: str) -> str:
    """Find what could take a text's length squared, or more, to fail: two open repeats and then something that must match.

    The engine of the tokenizers library gives up on it in the middle of a long text, and the library panics. Names of
    modules are too short for that.

    Args:
        pattern: An expression in which ``problem`` finds nothing.

    Returns:
        The reason, as a sentence's end; empty if there is none.
    """
    reader = _Reader(pattern)
    reader.read()
    return _TOO_LONG if reader.long else ""


class _RefusedError(Exception):
    """What speaks against a pattern."""


@dataclass
class _Group:
    """What has been seen of a group that is still open.

    Args:
        looks: Whether it only looks ahead or behind.
        behind: Whether it looks behind, itself or the group around it.
        weight: Of the repeats in the current alternative, those of inner groups included.
        most: Weight of the heaviest alternative so far.
        alternatives: Whether it has any.
        solid: Whether it holds anything that matches characters.
        target: Whether something that may be repeated stands before the next character.
        inner: The group that stands there.
        chain: Repeats without bound in the current alternative, those of inner groups included.
        links: The longest such chain of an alternative.
        needed: Whether what stands before the next character, behind two such repeats, has to match.
        long: Whether anything had to match there.
    """

    looks: bool = False
    behind: bool = False
    weight: int = 0
    most: int = 0
    alternatives: bool = False
    solid: bool = False
    target: bool = False
    inner: _Group | None = None
    chain: int = 0
    links: int = 0
    needed: bool = False
    long: bool = False

    def put(self, inner: _Group | None = None, *, target: bool = True) -> None:
        """Note what stands before the next character."""
        self.settle()
        self.needed = self.chain > 1
        if inner is not None:
            self.weight += inner.most
            self.chain += inner.links
            self.long = self.long or inner.long
        self.inner, self.target, self.solid = inner, target, self.solid or target
        self.most = max(self.most, self.weight)
        if self.weight > MAX_WEIGHT:
            raise _RefusedError(_TOO_HEAVY)

    def repeat(self, least: int, most: int) -> None:
        """Note that what stands before the next character repeats."""
        self.needed = self.needed and least > 0
        self.settle()
        self.weight += 2 if most < 0 else 1
        self.chain += most < 0
        self.target, self.inner = False, None
        self.most = max(self.most, self.weight)
        if self.weight > MAX_WEIGHT:
            raise _RefusedError(_TOO_HEAVY)

    def settle(self) -> None:
        """Note that what stands before the next character is not optional."""
        self.long, self.needed = self.long or self.needed, False
        self.links = max(self.links, self.chain)

    def alternate(self) -> None:
        """Begin another alternative."""
        self.settle()
        self.alternatives, self.weight, self.chain = True, 0, 0
        self.target, self.inner = False, None


class _Reader:
    """One pass over a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._position = 0
        self._open = [_Group()]

    @property
    def long(self) -> bool:
        """Whether something must match after two repeats without bound."""
        return self._open[0].long

    def read(self) -> None:
        pattern = self._pattern
        while self._position < len(pattern):
            group, character = self._open[-1], pattern[self._position]
            if self._repeat(group, character):
                continue
            if character == "\\":
                match = self._escape()
                if match["anchor"] is not None and group.behind:
                    raise _RefusedError("an anchor stands in what is looked for behind")
                group.put(target=match["anchor"] is None)
            elif character == "[":
                self._set()
                group.put()
            elif character == "(":
                self._begin()
            elif character == ")":
                self._end()
            elif character == "|":
                self._position += 1
                group.alternate()
            else:
                self._position += 1
                group.put(target=character not in "^$")
        self._open[0].settle()
        if len(self._open) > 1:
            raise _RefusedError("a group is not closed")

    def _repeat(self, group: _Group, character: str) -> bool:
        """Read a quantifier, if there is one, with what makes it lazy or possessive."""
        if character in "*+?":
            least, most = {"*": (0, -1), "+": (1, -1), "?": _OPTIONAL}[character]
            self._position += 1
        elif (match := _COUNTED.match(self._pattern, self._position)) and (match[1] or match[3]):
            least = int(match[1] or 0)
            most = (int(match[3]) if match[3] else -1) if match[2] else least
            if max(least, most) > MAX_COUNT or (match[3] and not match[2]) or -1 < most < least:
                raise _RefusedError(f"a repeat is not of 0 to {MAX_COUNT} times")
            self._position += len(match[0])
        else:
            return False
        if not group.target:
            raise _RefusedError("a repeat has nothing before it that could be repeated")
        inner = group.inner
        if inner is not None and (least, most) != _OPTIONAL and (inner.most or inner.alternatives):
            raise _RefusedError(
                "a repeated group itself repeats or has alternatives, which can take exponential time"
            )
        if self._pattern[self._position : self._position + 1] in {"?", "+"}:
            self._position += 1
        group.repeat(least, most)
        return True

    def _begin(self) -> None:
        match = _GROUP.match(self._pattern, self._position)
        behind = self._open[-1].behind
        if match is None or len(self._open) > MAX_GROUPS or (behind and match[0] != "(?:"):
            shown = self._pattern[self._position : self._position + 4]
            raise _RefusedError(
                f"the group that begins with {shown!r} is of no known kind, or nests too deeply"
            )
        self._position += len(match[0])
        looks = match[0][-1] in "=!"
        self._open.append(_Group(looks=looks, behind=behind or (looks and "<" in match[0])))

    def _end(self) -> None:
        self._position += 1
        closed = self._open.pop()
        closed.settle()
        if not self._open:
            raise _RefusedError("a group is closed that was not opened")
        self._open[-1].put(closed, target=closed.solid and not closed.looks)

    def _escape(self) -> re.Match[str]:
        match = _ESCAPE.match(self._pattern, self._position)
        if match is None or (match["property"] is not None and match["property"] not in _PROPERTIES):
            shown = self._pattern[self._position : self._position + 12]
            raise _RefusedError(f"the escape at {shown!r} refers back or is not known")
        self._position += len(match[0])
        return match

    def _set(self) -> None:  # noqa: C901 - one branch per kind of member
        """Read a set of characters, which may hold sets."""
        pattern, depth = self._pattern, 0
        left: int | None = None  # the character that may begin a range
        while True:
            if self._position >= len(pattern):
                raise _RefusedError("a set of characters has no end")
            character = pattern[self._position]
            if character == "[" and depth and (match := _POSIX.match(pattern, self._position)):
                self._position, left = self._position + len(match[0]), None
            elif character == "[" and pattern.startswith("[:", self._position) and depth:
                raise _RefusedError("a set names a class of characters that is not known")
            elif character == "[":
                depth, left = depth + 1, None
                self._position += 2 if pattern.startswith("[^", self._position) else 1
                if pattern.startswith("]", self._position):
                    raise _RefusedError("a set of characters is empty")
            elif character == "]":
                self._position, depth, left = self._position + 1, depth - 1, None
                if not depth:
                    return
            elif character == "-" and left is not None and not pattern.startswith("-]", self._position):
                self._position += 1
                right = self._member()
                if right is None or right < left:
                    raise _RefusedError("a range of characters has no end or runs backwards")
                left = None
            elif (
                character == "-"
                and pattern[self._position - 1] not in "[^"
                and pattern[self._position + 1 :][:1] != "]"
            ):
                raise _RefusedError("a range of characters has no beginning")
            else:
                left = self._member()

    def _member(self) -> int | None:
        """Read one member of a set: its code point, or None for a class of characters."""
        character = self._pattern[self._position : self._position + 1]
        if character in {"", "["}:
            return None
        if character != "\\":
            self._position += 1
            return ord(character)
        match = self._escape()
        if match["code"] is not None:
            return int(match["code"].strip("xu{}"), 16)
        if match["control"] is not None:
            return ord(_CONTROLS[match["control"]])
        if match["anchor"] is not None:
            raise _RefusedError("an anchor stands in a set of characters")
        return ord(match["plain"]) if match["plain"] is not None else None
