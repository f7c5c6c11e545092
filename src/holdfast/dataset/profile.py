"""What can be said about a data set's rows before they are used: counts, lengths, repetitions, contradictions, scripts.

Invariants: the profile of the same rows in the same order is the same to the byte; it holds whole numbers and short texts, and
of every finding at most ``MAX_SHOWN`` examples, beside its count. No I/O.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.dataset.forms import Conversation
from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.canonical import Json
    from holdfast.dataset.forms import Row

SCHEMA = "holdfast.profile/1"
MAX_PROFILE = (
    8 * 2**20
)  # bytes of a stored profile: a thousand files and the overlap with 64 suites at the most
MAX_SHOWN = 20  # examples of one finding; its count says how many there are
MAX_TOGETHER = 8  # rows of one example
MAX_SOURCES = 1000  # files that are listed by name

_PERCENTILES = (5, 25, 50, 75, 95, 99)
_SCRIPTS = {  # first word of a character's Unicode name, where it is not the script's
    "FULLWIDTH": "LATIN",
    "HALFWIDTH": "KATAKANA",
    "MODIFIER": "COMMON",
    "FEMININE": "LATIN",
    "MASCULINE": "LATIN",
    "MICRO": "GREEK",
    "KELVIN": "LATIN",
    "ANGSTROM": "LATIN",
}


def of_rows(rows: Sequence[Row], *, over: int | None) -> dict[str, Json]:
    """Count rows.

    Args:
        rows: At least one, all of one form.
        over: Characters beyond which a row is over-long; None if there is no such bound.

    Returns:
        Rows, messages, characters, lengths, over-long rows, scripts and contradictions, by name.
    """
    lengths = sorted(row.characters for row in rows)
    long = [row.at for row in rows if over is not None and row.characters > over]
    return {
        "form": rows[0].content.form,
        "messages": sum(len(row.content.messages) for row in rows if isinstance(row.content, Conversation)),
        "characters": sum(lengths),
        "lengths": {
            "min": lengths[0],
            **{f"p{share}": percentile(lengths, share) for share in _PERCENTILES},
            "max": lengths[-1],
        },
        "over_long": {"characters": over, "rows": len(long), "first": [*long[:MAX_SHOWN]]},
        "scripts": scripts(rows),
        "contradictions": contradictions(rows),
    }


def percentile(ordered: Sequence[int], share: int) -> int:
    """Give the nearest-rank percentile.

    Args:
        ordered: At least one figure, ascending.
        share: From 1 to 100.

    Returns:
        The smallest figure that at least that share is not above.
    """
    return ordered[max(0, -(-share * len(ordered) // 100) - 1)]


def repeated(rows: Iterable[Row]) -> dict[str, Json]:
    """Find rows that are equal word for word.

    Args:
        rows: The rows.

    Returns:
        ``rows`` that repeat an earlier one, ``groups`` of equal rows, and the ``first`` of these.
    """
    places: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        places[row.digest].append(row.at)
    groups = [found for found in places.values() if len(found) > 1]
    return {
        "rows": sum(map(len, groups)) - len(groups),
        "groups": len(groups),
        "first": _shown(groups),
    }


def nearly_repeated(rows: Iterable[Row], clusters: dict[str, str]) -> dict[str, Json]:
    """Count rows that are nearly equal to another one.

    Args:
        rows: The rows.
        clusters: Each distinct row's digest, and its cluster.

    Returns:
        ``rows`` that nearly repeat another, exact repetitions apart; the ``clusters`` of more than one distinct row; the
        ``first`` of these.
    """
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row.digest, row.at)
    together: defaultdict[str, list[str]] = defaultdict(list)
    for digest, at in first.items():
        together[clusters[digest]].append(at)
    groups = [found for found in together.values() if len(found) > 1]
    return {"rows": sum(map(len, groups)) - len(groups), "clusters": len(groups), "first": _shown(groups)}


def contradictions(rows: Iterable[Row]) -> dict[str, Json]:
    """Find rows that ask the same and answer otherwise.

    Args:
        rows: The rows.

    Returns:
        ``prompts`` with more than one answer, and the ``first`` of these with a row for each answer.
    """
    answers: defaultdict[bytes, dict[str, str]] = defaultdict(dict)
    for row in rows:
        answer = row.content.answered()
        if answer is not None:
            answers[canonical.encode(row.content.asked())].setdefault(answer, row.at)
    groups = [list(found.values()) for found in answers.values() if len(found) > 1]
    return {"prompts": len(groups), "first": _shown(groups)}


def scripts(rows: Iterable[Row]) -> dict[str, Json]:
    """Count letters by script.

    Args:
        rows: The rows.

    Returns:
        Letters of each script, by its name in lower case, the most frequent first.
    """
    letters: Counter[str] = Counter()
    for row in rows:
        for text in row.content.texts():
            letters.update(text)
    found: Counter[str] = Counter()
    for letter, count in letters.items():
        if letter.isalpha():
            found[script(letter)] += count
    return ordered(found)


@lru_cache(maxsize=2**17)
def script(letter: str) -> str:
    """Name a letter's script.

    Args:
        letter: One letter.

    Returns:
        The first word of its Unicode name, which is that of its script, in lower case; ``unknown`` if it has no name.
    """
    word = unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0].split("-", 1)[0]
    return _SCRIPTS.get(word, word).lower()


def ordered(counts: Counter[str]) -> dict[str, Json]:
    """Put counts in a stable order.

    Args:
        counts: Names and counts.

    Returns:
        The same, the most frequent first, equals by name.
    """
    return {name: counts[name] for name in sorted(counts, key=lambda one: (-counts[one], one))}


def read(data: bytes, *, name: str) -> dict[str, Json]:
    """Read a stored profile.

    Args:
        data: The bytes of ``profile.json``.
        name: The data set, for messages.

    Returns:
        The profile.

    Raises:
        UntrustedRecipe: If it is none.
    """
    found = canonical.decode(
        data, limit=MAX_PROFILE, what=f"The profile of the data set {name}", error=UntrustedRecipe
    )
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise UntrustedRecipe(
            "dataset.profile",
            f"The profile of the data set {name} is not of the schema {SCHEMA}.",
            remedy="Prepare it again with `holdfast dataset prepare`.",
        )
    return found


def _shown(groups: Sequence[Sequence[str]]) -> list[Json]:
    return [[*group[:MAX_TOGETHER]] for group in groups[:MAX_SHOWN]]
