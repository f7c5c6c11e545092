"""How values are worded on the pages, and how a text from outside is made safe to set.

Invariants: whatever the value, a text comes back; what is missing is called "not stated"; ``printable`` lets through only
characters that the typesetter's own fonts have and that can neither hide nor turn the writing direction. No I/O.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.report import reading

if TYPE_CHECKING:
    from holdfast.canonical import Json

SAID_NOTHING = "not stated"
MAX_FIGURES = 60  # figures shown of one row's scores
LONG_WORD = 14  # characters after which an unbroken word may be broken in a narrow column
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")
# Code points that the typesetter's own fonts have: Latin, Greek, Cyrillic, Vietnamese, punctuation, a few symbols.
_COVERED = (
    (0x20, 0x7E),
    (0xA1, 0xAC),
    (0xAE, 0x2FF),
    (0x384, 0x4FF),
    (0x1E00, 0x1EFF),
    (0x2010, 0x2027),
    (0x2030, 0x2040),
    (0x20A0, 0x20BF),
    (0x2190, 0x222F),
)


def printable(text: str) -> str:
    r"""Make a text safe to set: nothing invisible, nothing that turns the writing direction, nothing without a glyph.

    Args:
        text: Any text.

    Returns:
        The text in normal form C; every other character as ``\u{...}``; long words with places where they may break.
    """
    shown = "".join(_shown(character) for character in unicodedata.normalize("NFC", text))
    return re.sub(rf"\S{{{LONG_WORD},}}", _breakable, shown)


def clean(value: Json) -> Json:
    """Make every text of a document printable.

    Args:
        value: Plain data.

    Returns:
        The same data; the names of fields stay as they are.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    return value


def _shown(character: str) -> str:
    point = ord(character)
    covered = any(low <= point <= high for low, high in _COVERED)
    return character if covered and character.isprintable() else f"\\u{{{point:x}}}"


def _breakable(word: re.Match[str]) -> str:
    cut = re.sub(r"([/:_.,=@\-])(?=[^\s])", "\\1\u200b", word[0])
    return re.sub(rf"([^\u200b\s]{{{LONG_WORD}}})(?=[^\u200b\s])", "\\1\u200b", cut)


def entries(value: object) -> list[object]:
    """Give a list's entries.

    Args:
        value: Anything.

    Returns:
        The entries; none if it is no list.
    """
    return list(value) if isinstance(value, list) else []


def said(value: object) -> str:
    """Give a text or number.

    Args:
        value: Anything.

    Returns:
        The text, or "not stated".
    """
    return reading.text(value) or SAID_NOTHING


def count(value: object) -> str:
    """Write a count.

    Args:
        value: Anything.

    Returns:
        The count with commas, or "not stated".
    """
    found = reading.whole(value)
    return SAID_NOTHING if found is None else f"{found:,}"


def plural(number: int, noun: str) -> str:
    """Write a count with its noun.

    Args:
        number: The count.
        noun: The noun in the singular.

    Returns:
        For example ``2 bundles``.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def yes(value: object, positive: str = "yes", negative: str = "no") -> str:
    """Write a yes or no.

    Args:
        value: Anything.
        positive: What true is called.
        negative: What false is called.

    Returns:
        One of the two, or "not stated".
    """
    if not isinstance(value, bool):
        return SAID_NOTHING
    return positive if value else negative


def joined(value: object) -> str:
    """Write a list of texts.

    Args:
        value: Anything.

    Returns:
        The texts with commas, or "not stated".
    """
    return ", ".join(map(str, reading.texts(value))) or SAID_NOTHING


def short(value: object) -> str:
    """Write a digest.

    Args:
        value: Anything.

    Returns:
        Its first twelve digits, or "not stated".
    """
    digest = reading.digest(value)
    return hashing.short(digest) if digest else SAID_NOTHING


def size(value: object) -> str:
    """Write a number of bytes.

    Args:
        value: Anything.

    Returns:
        The size in decimal units, or "not stated".
    """
    found = reading.whole(value)
    if found is None:
        return SAID_NOTHING
    scaled, unit = float(found), 0
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    while scaled >= 1000 and unit < len(units) - 1:  # noqa: PLR2004 - decimal units, as media are sold
        scaled, unit = scaled / 1000, unit + 1
    return f"{found} B" if unit == 0 else f"{scaled:.1f} {units[unit]}"


def time(value: object) -> str:
    """Write a time.

    Args:
        value: RFC 3339, or anything.

    Returns:
        Date and time of day in UTC, without saying so each time; what is no such time stays as it is.
    """
    stated = said(value)
    parts = _TIME.fullmatch(stated)
    return f"{parts[1]} {parts[2]}" if parts else stated


def when(row: object) -> str:
    """Write the time of a row.

    Args:
        row: A row with ``time``, or anything.

    Returns:
        The time, or "not stated".
    """
    return time(reading.mapping(row).get("time"))


def decision(row: object) -> str:
    """Say who decided, when, and why.

    Args:
        row: A row with ``decision``.

    Returns:
        The text; empty if nobody did.
    """
    found = reading.mapping(reading.mapping(row).get("decision"))
    if not found:
        return ""
    reason = f": {said(found['reason'])}" if found.get("reason") else ""
    return f"{said(found.get('by'))}, {when(found)}{reason}"


def receipt(row: object) -> str:
    """Write where an event stands in the log.

    Args:
        row: A row with ``seq`` and ``time``, or anything.

    Returns:
        Its number and time.
    """
    return f"event {count(reading.mapping(row).get('seq'))}, {when(row)}"


def label(row: object) -> str:
    """Write the label of a row.

    Args:
        row: A row with ``label``, or anything.

    Returns:
        The label, or "not labelled".
    """
    found = reading.label(reading.mapping(row).get("label"))
    return str(found) if found else "not labelled"


def figures(value: object) -> str:
    """Write free-form figures, such as scores, on one line.

    Args:
        value: Plain data.

    Returns:
        At most ``MAX_FIGURES`` names and figures, or "not stated".
    """
    return (
        "; ".join(f"{name} {figure}".strip() for name, figure in _flat(value, "")[:MAX_FIGURES])
        or SAID_NOTHING
    )


def _flat(value: object, name: str) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(item, f"{name} {key}".strip())]
    if isinstance(value, list):
        return [pair for item in value for pair in _flat(item, name)]
    if isinstance(value, float):
        return [(name, f"{value:.4g}")]
    if isinstance(value, bool):
        return [(name, "yes" if value else "no")]
    return [] if value is None else [(name, said(value))]
