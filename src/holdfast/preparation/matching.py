"""Overlap of training rows with suites, exact and near.

An item counts as near if its question is at least ``ALIKE`` like one of a dialogue's texts, or if ``CONTAINED`` of its pieces of 24
characters stand in a row, as when a passage was copied with small changes. Questions that are too short for that count if they
are equal. Invariant: an item is reported once, exact before near.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdfast.dataset.overlap import Overlap, is_dialogue, plain
from holdfast.preparation import likeness, shingles
from holdfast.preparation.sources import check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from holdfast.dataset.forms import Row
    from holdfast.dataset.overlap import Question
    from holdfast.preparation.sources import Reporter

SPAN = 24  # characters of a piece that two texts do not share by chance
CONTAINED = 0.8  # of a question's pieces that stand in one row
EVERY = 1000  # rows between two reports of progress
MAX_PLACES = 100  # rows that are noted for one item


def overlaps(
    rows: Sequence[Row], suites: Mapping[str, Sequence[Question]], reporter: Reporter
) -> dict[str, Overlap]:
    """Compare training rows with suites.

    Args:
        rows: The rows to train on.
        suites: Each suite's questions.
        reporter: Is told how far it is.

    Returns:
        What each suite shares with the rows.
    """
    asked = [_Asked(name, one.id, plain(one.text)) for name, found in suites.items() for one in found]
    found = {name: Overlap(len(questions)) for name, questions in suites.items()}
    if not any(one.text for one in asked):
        return found
    search = _Search(asked)
    for done, row in enumerate(rows):
        if done % EVERY == 0:
            check(reporter)
            reporter.progress("comparing with the suites", done, len(rows))
        exact, near = search.of_row(row)
        for at in exact:
            _note(found[asked[at].suite].exact, asked[at].id, row.at)
        for at in near:
            _note(found[asked[at].suite].near, asked[at].id, row.at)
    for one in found.values():
        one.near = {name: places for name, places in one.near.items() if name not in one.exact}
    return found


def _note(into: dict[str, list[str]], name: str, at: str) -> None:
    places = into.setdefault(name, [])
    if len(places) < MAX_PLACES:
        places.append(at)


class _Asked:
    """A question of a suite, as it is compared."""

    def __init__(self, suite: str, name: str, text: str) -> None:
        self.suite, self.id, self.text = suite, name, text
        long = len(text) >= SPAN
        self.pieces = np.unique(shingles.windows(text, SPAN)) if long else np.empty(0, np.uint64)


class _Search:
    """All questions, looked up by text, by pieces and by likeness."""

    def __init__(self, asked: list[_Asked]) -> None:
        self._asked = asked
        self._by_text: dict[str, list[int]] = {}
        for at, one in enumerate(asked):
            if one.text:
                self._by_text.setdefault(one.text, []).append(at)
        sizes = [one.pieces.size for one in asked]
        pieces = np.concatenate([one.pieces for one in asked])
        owners = np.repeat(np.arange(len(asked)), sizes)
        order = np.argsort(pieces, kind="stable")
        self._pieces: npt.NDArray[np.uint64] = pieces[order]
        self._owners = owners[order]
        self._sizes = np.array(sizes)
        self._alike = likeness.matching({str(at): (one.text,) for at, one in enumerate(asked)})

    def of_row(self, row: Row) -> tuple[set[int], set[int]]:
        """Find the questions that a row repeats: exactly, and nearly."""
        exact: set[int] = set()
        near: set[int] = set()
        for text in map(plain, row.content.texts()):
            exact.update(self._by_text.get(text, ()))
            for at in self._within(text):
                (exact if self._asked[at].text in text else near).add(at)
            if is_dialogue(row):
                pieces = shingles.of_texts((text,))
                if pieces.size >= likeness.SHORTEST:
                    near.update(map(int, self._alike.alike(likeness.signed(pieces), pieces)))
        return exact, near - exact

    def _within(self, text: str) -> list[int]:
        """Give the long questions most of whose pieces stand in a text."""
        if len(text) < SPAN or not self._pieces.size:
            return []
        here = np.unique(shingles.windows(text, SPAN))
        first = np.searchsorted(self._pieces, here, "left")
        last = np.searchsorted(self._pieces, here, "right")
        hits = np.flatnonzero(last > first)
        if not hits.size:
            return []
        owners = np.concatenate([self._owners[first[at] : last[at]] for at in hits])
        counts = np.bincount(owners, minlength=len(self._asked))
        return [int(at) for at in np.flatnonzero(counts) if counts[at] >= CONTAINED * self._sizes[at]]
