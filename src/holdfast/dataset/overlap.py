"""What training rows share with the suites that judge the training: the suite's side, and what counts.

An item overlaps exactly if its question is one of a row's texts, or stands in it whole, letter case, width, marks and white
space aside; nearly if it is almost the same (``preparation.matching`` measures that). Invariants: an item's id is named with
the rows; nothing but ``UntrustedRecipe`` is raised. No I/O.

Source: Brown et al., 2020, arXiv:2005.14165, appendix C, for the question; the measure is ours.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.dataset.files import MAX_ITEMS, MAX_ITEMS_FILE
from holdfast.dataset.forms import Passage
from holdfast.dataset.messages import load_object, question_of
from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.dataset.forms import Row

MAX_IDS = 50  # items that are named, of each kind; the counts say how many there are
MAX_ROWS_SHOWN = 3  # rows that are named with an item


@dataclass(frozen=True)
class Question:
    """What an item of a suite asks.

    Args:
        id: The item.
        text: Its last message, or the text that is measured.
    """

    id: str
    text: str


@dataclass
class Overlap:
    """What one suite shares with the training rows.

    Args:
        items: Items of the suite.
        exact: Items that stand in the rows, and where.
        near: Items that almost do, and where; none that is in ``exact``.
    """

    items: int
    exact: dict[str, list[str]] = field(default_factory=dict)
    near: dict[str, list[str]] = field(default_factory=dict)

    @property
    def shared(self) -> int:
        """How many items overlap."""
        return len(self.exact) + len(self.near)

    def to_json(self) -> dict[str, Json]:
        """Give the finding as plain data.

        Returns:
            Counts, and the first items of each kind with the first rows.
        """
        return {
            "items": self.items,
            "exact": len(self.exact),
            "near": len(self.near),
            "exact_items": _first(self.exact),
            "near_items": _first(self.near),
        }


class _Kept(dict[int, int]):
    """What a character is written as: itself, or a space; filled as characters are met."""

    def __missing__(self, code: int) -> int:
        # Letters, digits, and marks: these are vowels in many scripts.
        kept = unicodedata.category(chr(code))[0] in "LNM"
        self[code] = code if kept else ord(" ")
        return self[code]


_KEPT = _Kept()


def questions(data: bytes, *, suite: str) -> list[Question]:
    """Read what a suite asks.

    Args:
        data: The bytes of its items, one JSON object per line.
        suite: Its name, for messages.

    Returns:
        The questions, in order.

    Raises:
        UntrustedRecipe: If the items can't be read.
    """
    if len(data) > MAX_ITEMS_FILE:
        raise _refused(suite, 1, f"the file has {len(data)} bytes and {MAX_ITEMS_FILE} are allowed")
    found = []
    for line, text in enumerate(data.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            found.append(_question(load_object(text)))
        except ValueError as error:
            raise _refused(suite, line, str(error)) from error
        if len(found) > MAX_ITEMS:
            raise _refused(suite, line, f"there are more than {MAX_ITEMS} items")
    return found


def plain(text: str) -> str:
    """Write a text without what makes no difference to its meaning.

    Args:
        text: The text.

    Returns:
        Its letters, digits and marks in lower case (NFKC, case folded), with single spaces between words.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_KEPT).split())


def is_dialogue(row: Row) -> bool:
    """Tell whether a row's texts are as long as questions, so that likeness as a whole counts.

    Args:
        row: The row.

    Returns:
        False for passages.
    """
    return not isinstance(row.content, Passage)


def _question(item: dict[str, object]) -> Question:
    name = item.get("id")
    if not isinstance(name, str):
        raise ValueError("'id': expected text")  # noqa: TRY004 - callers turn one class into a line's mistake
    text = question_of(item)
    if text is None:
        raise ValueError("expected a question: 'messages' or 'text'")
    return Question(name, text)


def _first(found: dict[str, list[str]]) -> dict[str, Json]:
    return {name: [*found[name][:MAX_ROWS_SHOWN]] for name in list(found)[:MAX_IDS]}


def _refused(suite: str, line: int, why: str) -> UntrustedRecipe:
    return UntrustedRecipe(
        "dataset.suite",
        f"The items of suite {suite}, line {line}: {why}.",
        remedy="Correct the suite and import it again.",
        line=line,
    )
