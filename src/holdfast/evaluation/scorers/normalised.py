"""Metric ``normalised``: equal to one of the expected texts once both are written alike.

Order of operations, each a stated step: Unicode NFKC; full case folding (option ``casefold``), then NFKC again; characters
of the categories P (punctuation) and S (symbols) removed (option ``punctuation = "drop"``); white space collapsed to single
spaces with none at the ends, or removed; NFKC once more, because what was taken out can have stood between a letter and its
accent. Linear in the answer.
Sources: Unicode Standard Annex #15 (normalisation forms), the Unicode Standard 3.13 (default case folding, D145 and D146).

No I/O.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from holdfast.evaluation.scorers import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence


def normalise(text: str, *, casefold: bool, punctuation: str, white_space: str) -> str:
    """Write a text in its normal form.

    Args:
        text: Any text.
        casefold: Whether letters that differ in case only are one.
        punctuation: ``drop`` or ``keep``.
        white_space: ``collapse`` or ``drop``.

    Returns:
        The normal form.
    """
    found = unicodedata.normalize("NFKC", text)
    if casefold:
        found = unicodedata.normalize("NFKC", found.casefold())
    if punctuation == "drop":
        found = "".join(one for one in found if unicodedata.category(one)[0] not in "PS")
    found = ("" if white_space == "drop" else " ").join(found.split())
    return unicodedata.normalize("NFKC", found)


def judge(
    answer: str, expected: Sequence[str], *, casefold: bool, punctuation: str, white_space: str
) -> Verdict:
    """Tell whether an answer is one of the expected, both in normal form.

    Args:
        answer: What was generated.
        expected: The texts that count as right.
        casefold: As for ``normalise``.
        punctuation: As for ``normalise``.
        white_space: As for ``normalise``.

    Returns:
        The verdict.
    """

    def form(text: str) -> str:
        return normalise(text, casefold=casefold, punctuation=punctuation, white_space=white_space)

    return Verdict(form(answer) in {form(one) for one in expected})
