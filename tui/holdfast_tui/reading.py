"""Reading the daemon's answers: plain JSON in, what a person reads out. Pure.

Invariant: nothing here raises on an answer of another shape; what is missing is shown as a dash.
"""

from __future__ import annotations

import textwrap
from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.governance.labels import LEVELS
from holdfast.parts import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.canonical import Json

NOTHING = "-"
DIALOG, LABELS = 72, 13  # columns of a dialog's text, and of the names in it
MAX_RANGES = 12  # of a list of numbers on a line
SHOWN_DIGITS = 8  # hexadecimal digits of a digest that fit a table


def texts(value: Json) -> list[str]:
    """Take a list of texts.

    Args:
        value: Any value.

    Returns:
        Its items as texts.
    """
    return [str(one) for one in value] if isinstance(value, list) else []


def number(value: Json) -> int:
    """Take a whole number.

    Args:
        value: Any value.

    Returns:
        It, or 0.
    """
    return value if isinstance(value, int) else 0


def numbers(value: Json) -> list[int]:
    """Take a list of whole numbers.

    Args:
        value: Any value.

    Returns:
        Its whole numbers, in order.
    """
    return sorted(one for one in value if isinstance(one, int)) if isinstance(value, list) else []


def ranges(found: Sequence[int]) -> str:
    """Write whole numbers, neighbours together.

    Args:
        found: Numbers in order.

    Returns:
        For example ``1-3, 5``, or a dash; at most ``MAX_RANGES`` parts.
    """
    runs: list[list[int]] = []
    for one in found:
        if runs and one <= runs[-1][1] + 1:
            runs[-1][1] = one
        else:
            runs.append([one, one])
    shown = [f"{first}-{last}" if last > first else str(first) for first, last in runs[:MAX_RANGES]]
    return ", ".join(shown + ["..."] * (len(runs) > MAX_RANGES)) or NOTHING


def minute(value: Json) -> str:
    """Write a moment to the minute.

    Args:
        value: RFC 3339 in UTC.

    Returns:
        For example ``2026-03-01 12:00``, or a dash.
    """
    return told(value)[:16].replace("T", " ")


def figure(value: Json, digits: int) -> str:
    """Write a figure.

    Args:
        value: Any value.
        digits: Digits after the point.

    Returns:
        Its text, or a dash.
    """
    return f"{value:.{digits}f}" if isinstance(value, int | float) else NOTHING


def told(value: Json) -> str:
    """Write a value that may be missing.

    Args:
        value: Any value.

    Returns:
        Its text, or a dash.
    """
    return NOTHING if value is None or value == "" else str(value)


def plain(text: str) -> str:
    """Write out what a terminal would obey, and what would not be seen.

    Args:
        text: Any text.

    Returns:
        It, with every character that can't be printed escaped; lines stay lines.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text
    )


def line(text: str) -> str:
    """Write a text on one line.

    Args:
        text: Any text.

    Returns:
        It, with spaces for breaks, and what can't be printed escaped.
    """
    return plain(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def age(seconds: Json) -> str:
    """Write how long ago something was.

    Args:
        seconds: Seconds.

    Returns:
        For example ``3 days``, or a dash.
    """
    if not isinstance(seconds, int | float):
        return NOTHING
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "under a minute"


def since(value: Json, now: datetime) -> str:
    """Write how long ago a moment was.

    Args:
        value: RFC 3339.
        now: The time, aware.

    Returns:
        For example ``3 days``, or a dash.
    """
    try:
        return age(max(0, int((now - datetime.fromisoformat(str(value))).total_seconds())))
    except (ValueError, TypeError, OverflowError):  # no moment, or one without a zone
        return NOTHING


def brief(digest: Json) -> str:
    """Shorten a digest.

    Args:
        digest: ``sha512:...``, bare hexadecimal, or nothing.

    Returns:
        Its first digits, or a dash.
    """
    return str(digest).rpartition(":")[2][:SHOWN_DIGITS] if digest else NOTHING


def bytes_told(count: Json) -> str:
    """Write a number of bytes.

    Args:
        count: Bytes.

    Returns:
        For example ``13.4 MB``, or a dash.
    """
    if not isinstance(count, int):
        return NOTHING
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:  # noqa: PLR2004 - SI prefixes
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def seconds_told(value: Json) -> str:
    """Write a duration.

    Args:
        value: Seconds.

    Returns:
        For example ``2 min 05 s``, or a dash.
    """
    if not isinstance(value, int | float):
        return NOTHING
    minutes, seconds = divmod(round(value), 60)
    if minutes >= 60:  # noqa: PLR2004 - of an hour
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def row(label: str, value: str, under: int = LABELS) -> str:
    """Write a name and what stands under it, as lines that fit a dialog.

    Args:
        label: One or two words.
        value: Any text.
        under: Columns that it is indented by.

    Returns:
        Lines; all but the first are indented under the value.
    """
    return textwrap.fill(
        value,
        DIALOG,
        initial_indent=f"{label:{under}}",
        subsequent_indent=" " * under,
        break_on_hyphens=False,
    )


def laid(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay rows out in columns.

    Args:
        rows: Their cells, as many in each; the first row is the head.

    Returns:
        A line for each row; columns are as wide as their widest cell, with two spaces between them.
    """
    cells = [[line(cell) for cell in one] for one in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True)).rstrip()
        for one in cells
    ]


def verdict(gate: Json) -> str:
    """Write a gate's decision.

    Args:
        gate: The gate, or None.

    Returns:
        ``go``, ``no-go`` or a dash.
    """
    return ("go" if gate["go"] else "no-go") if isinstance(gate, dict) and "go" in gate else NOTHING


def revocation(artefact: dict[str, Json] | None) -> tuple[str, str]:
    """Say whether an artefact may still be used.

    Args:
        artefact: Its record as the daemon lists it, or None.

    Returns:
        A word for a table and a sentence; both empty if it is not revoked.
    """
    found = record((artefact or {}).get("revoked"))
    if not found:
        return "", ""
    excepted = found.get("excepted") is True
    about = f"{told(found.get('kind'))} {told(found.get('name'))} ({brief(found.get('digest'))})"
    lifted = " An exception lets it be used for a time." if excepted else ""
    return (
        "EXCEPTED" if excepted else "REVOKED",
        f"REVOKED: {about}: {told(found.get('reason'))} {told(found.get('advice'))}{lifted}",
    )


def banner(labels: Iterable[Json]) -> tuple[str, str]:
    """Find the highest label among things.

    Args:
        labels: Their labels, as plain data.

    Returns:
        The level, and the text of the banner; the level is empty if there is nothing.
    """
    found = [record(one) for one in labels]
    levels = [str(one["level"]) for one in found if one.get("level") in LEVELS]
    if not levels:
        return "", "NO DATA HELD"
    level = max(levels, key=LEVELS.index)
    compartments = sorted({name for one in found for name in texts(one.get("compartments"))})
    return level, "//".join([level.upper(), *compartments])
