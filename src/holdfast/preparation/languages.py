"""The languages of rows, by py3langid (Lui & Baldwin, 2012): a naive Bayes model over byte n-grams, which knows 97 of them.

A row is judged by its beginning; one with few letters is not judged, and counts as ``und`` (ISO 639-2: undetermined). Short rows are
often misjudged: the profile tells of the whole, not of a row.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import py3langid  # type: ignore[import-untyped]  # it has no type hints

from holdfast.dataset.profile import ordered
from holdfast.preparation.sources import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json
    from holdfast.dataset.forms import Row
    from holdfast.preparation.sources import Reporter

BEGINNING = 1000  # characters of a row that are judged
FEWEST = 20  # letters that a row must have
UNDETERMINED = "und"
EVERY = 2000  # rows between two reports of progress


def of_rows(rows: Sequence[Row], reporter: Reporter) -> dict[str, Json]:
    """Count rows by language.

    Args:
        rows: The rows.
        reporter: Is told how far it is.

    Returns:
        Rows of each language by its ISO 639-1 code, the most frequent first.
    """
    found: Counter[str] = Counter()
    for done, row in enumerate(rows):
        if done % EVERY == 0:
            check(reporter)
            reporter.progress("telling languages", done, len(rows))
        text = "\n".join(row.content.texts())[:BEGINNING]
        found[_language(text)] += 1
    return ordered(found)


def _language(text: str) -> str:
    if sum(map(str.isalpha, text)) < FEWEST:
        return UNDETERMINED
    language, _ = py3langid.classify(text)
    return str(language)
