"""Metric ``numeric``: a number, however its writer groups digits, within a tolerance of the wanted one.

What is read, in any script's decimal digits after NFKC: an optional sign (also U+2212), digits with an optional decimal
mark (``.`` or ``,``), digits grouped by threes with ``,`` ``.`` an apostrophe or a space of any width, an optional exponent
(``e`` and at most three digits), and one of the section's units with or without a space before it. Invariants: no locale is
assumed: a text such as ``1,234`` stands for 1234 and for 1.234, and is right if either is within the tolerance; arithmetic
is exact (fractions), so that a deviation of just the tolerance is right; at most ``MAX_ANSWER`` characters are looked at.
No I/O.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import TYPE_CHECKING

from holdfast.evaluation.scorers import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ANSWER = 20_000  # characters; no model generates more tokens than fill this with numbers
MAX_DIGITS = 60  # digits of one number: no measured or counted quantity has more
MAX_EXPONENT = 308  # powers of ten, as far as floating-point numbers go

_SIGN = "[+\\-\u2212]?"
_GROUP = "[ '\u2019,.]"  # after NFKC, which turns the narrow and no-break spaces into a plain one
_NUMBER = re.compile(
    # The grouped form first: it is the longer reading. Each form begins and ends with a digit, and none can match empty, so
    # that no text makes the search go back over what it has read.
    rf"(?<![\d.,])(?P<sign>{_SIGN})\ ?(?P<digits>\d{{1,3}}(?:(?P<mark>{_GROUP})\d{{3}})(?:(?P=mark)\d{{3}})*(?:[.,]\d+)?"
    r"|\d+(?:[.,]\d+)?|[.,]\d+)(?:[eE](?P<exponent>[+\-]?\d{1,3})(?!\d))?(?!\d)"
)
_PLAIN = re.compile(r"-?\d{1,60}(\.\d{1,60})?([eE][+\-]?\d{1,3})?", re.ASCII)
_ONE_GROUP = re.compile(r"(\d{1,3})([.,])(\d{3})")


def wanted(value: object) -> Fraction:
    """Read the number that an item wants.

    Args:
        value: A JSON number, or a text in plain notation for more digits than a JSON reader keeps.

    Returns:
        The number.

    Raises:
        ValueError: If it is neither.
    """
    text = repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _PLAIN.fullmatch(text):
        raise ValueError("'value': expected a number, such as 12.5, or a text such as \"12.50\"")
    return _fraction(text)


def judge(
    answer: str,
    value: Fraction,
    unit: str,
    *,
    absolute: float,
    relative: float,
    take: str,
    units: Sequence[str],
    unit_required: bool,
) -> Verdict:
    """Tell whether an answer gives a number.

    Args:
        answer: What was generated.
        value: The number wanted.
        unit: Its unit, or the empty text.
        absolute: Deviation that is allowed.
        relative: Deviation that is allowed, as a share of the number wanted.
        take: ``whole``, ``first`` or ``last``.
        units: The units that may follow a number.
        unit_required: Whether the unit has to be said.

    Returns:
        The verdict.
    """
    if len(answer) > MAX_ANSWER:
        return Verdict(correct=False, told=f"longer than {MAX_ANSWER} characters")
    text = _written(answer)
    names = {_written(one): one for one in units}
    found = _take(text, take, names)
    if found is None:
        return Verdict(correct=False, told="no number" if take != "whole" else "not a number alone")
    readings, said = found
    if (said or unit_required) and said != unit:
        return Verdict(correct=False, told=f"the unit is {said or 'missing'}")
    room = max(_fraction(repr(absolute)), _fraction(repr(relative)) * abs(value))
    return Verdict(any(abs(one - value) <= room for one in readings))


def _written(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _take(text: str, take: str, names: dict[str, str]) -> tuple[list[Fraction], str] | None:
    """Find the number that is asked for: what it can stand for, and the unit after it."""
    found = None
    for match in _NUMBER.finditer(text):
        readings = _readings(match)
        unit, end = _unit(text, match.end(), names)
        if readings and (take != "whole" or (match.start() == 0 and text[end:] in {"", "."})):
            found = readings, unit
            if take != "last":
                break
        elif take == "whole":
            break
    return found


def _unit(text: str, at: int, names: dict[str, str]) -> tuple[str, int]:
    """Read the longest unit that stands here."""
    start = at + 1 if text[at : at + 1] == " " else at
    for name in sorted(names, key=len, reverse=True):
        if text.startswith(name, start):
            end = start + len(name)
            if not (name[-1].isalnum() and text[end : end + 1].isalnum()):
                return names[name], end
    return "", at


def _readings(match: re.Match[str]) -> list[Fraction]:
    """Give the numbers that a text can stand for; none if it is out of bounds."""
    digits, mark = match["digits"], match["mark"]
    exponent = int(match["exponent"] or 0)
    if sum(one.isdigit() for one in digits) > MAX_DIGITS or abs(exponent) > MAX_EXPONENT:
        return []
    texts = []
    if mark is None:
        texts.append(digits.replace(",", "."))
    else:
        whole, _, decimals = _apart(digits, mark)
        texts.append(whole + (f".{decimals}" if decimals else ""))
        if alone := _ONE_GROUP.fullmatch(digits):
            texts.append(f"{alone[1]}.{alone[3]}")
    sign = -1 if match["sign"] in {"-", "\u2212"} else 1
    return [sign * _fraction(f"{'0' if one.startswith('.') else ''}{one}e{exponent}") for one in texts]


def _apart(digits: str, mark: str) -> tuple[str, str, str]:
    """Split a grouped number at its decimal mark, which is the other one, and take its groups together."""
    other = next((one for one in ".," if one != mark and one in digits), "")
    whole, _, decimals = digits.partition(other) if other else (digits, "", "")
    return whole.replace(mark, ""), other, decimals


def _fraction(text: str) -> Fraction:
    return Fraction(text)
