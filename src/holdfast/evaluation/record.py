"""Reading results: what ``score.result`` wrote, as a worker reported it or as it was stored.

Invariants: what a worker says of one item is taken as its word, but a record whose parts do not belong together (ids that
repeat, an outcome too many, a value for an item that has a verdict) is refused whole; sections are counted here, from the
items, and never taken from a sum that came along. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NoReturn

from holdfast.dataset.files import MAX_ITEMS
from holdfast.errors import UntrustedInput
from holdfast.evaluation.spec import ALL, PRIMARY

if TYPE_CHECKING:
    from holdfast.canonical import Json

RIGHT, WRONG, VALUED = "1", "0", "-"  # outcomes of an item; the last has a value instead of a verdict
MAX_NUMBER = 2**40  # bytes or bits per byte of one item; a NaN is not below it
MAX_TEXT = 256  # characters of a name or an id
SHARE = "share"  # of right answers; more is better
BITS = "bits per byte"  # of the expected text; less is better


@dataclass(frozen=True)
class Result:
    """What one model did on one suite.

    Args:
        name: The suite's name.
        version: Its version.
        primary: The sections that make the headline.
        ids: Items, in the suite's order.
        of: The section of each.
        outcomes: ``RIGHT``, ``WRONG`` or ``VALUED`` for each.
        values: Bits per byte of the items that are valued.
        sizes: Bytes of the text of each of them.
    """

    name: str
    version: str
    primary: frozenset[str]
    ids: tuple[str, ...]
    of: tuple[str, ...]
    outcomes: str
    values: dict[str, Fraction]
    sizes: dict[str, int]

    @property
    def sections(self) -> tuple[str, ...]:
        """The suite's own sections, in the order of their first items."""
        return tuple(dict.fromkeys(self.of))

    def members(self, section: str) -> list[int]:
        """Find the items of a section.

        Args:
            section: ``all`` (of a suite that has verdicts and values: the verdicts), ``primary`` or a section's name.

        Returns:
            Their places; none if there is no such section.
        """
        wanted = {ALL: frozenset(self.of), PRIMARY: self.primary}.get(section, frozenset({section}))
        found = [at for at, of in enumerate(self.of) if of in wanted]
        judged = [at for at in found if self.outcomes[at] != VALUED]
        return judged if section == ALL and judged else found

    def unit(self, section: str) -> str | None:
        """Tell what a section is measured in.

        Args:
            section: As for ``members``.

        Returns:
            ``SHARE`` or ``BITS``; None if its items have verdicts and values mixed, or there are none.
        """
        valued = {self.outcomes[at] == VALUED for at in self.members(section)}
        return None if len(valued) != 1 else BITS if True in valued else SHARE

    def score(self, section: str) -> Fraction:
        """Give a section's score: the share of right answers, or the bits of all its texts over their bytes.

        Args:
            section: One that has a unit.

        Returns:
            The score.
        """
        places = self.members(section)
        if self.unit(section) == SHARE:
            return Fraction(sum(self.outcomes[at] == RIGHT for at in places), len(places))
        names = [self.ids[at] for at in places]
        return sum((self.values[one] * self.sizes[one] for one in names), Fraction(0)) / sum(
            self.sizes[one] for one in names
        )


def read(value: Json) -> Result:
    """Read one result.

    Args:
        value: What ``score.result`` gave, from a worker or from the store.

    Returns:
        The result.

    Raises:
        UntrustedInput: If its parts are missing, malformed or do not belong together.
    """
    found = value if isinstance(value, dict) else _refuse("it is no object")
    suite = found.get("suite")
    if not isinstance(suite, dict):
        _refuse("it names no suite")
    name, version = _text(suite.get("name"), "the suite's name"), _text(suite.get("version"), "its version")
    ids, of = _texts(found.get("ids"), "ids"), _texts(found.get("of"), "sections of items")
    outcomes = found.get("outcomes")
    if not isinstance(outcomes, str) or set(outcomes) - {RIGHT, WRONG, VALUED}:
        _refuse("its outcomes are not written as 0, 1 and -")
    if not 0 < len(ids) <= MAX_ITEMS or not len(ids) == len(of) == len(outcomes):
        _refuse(
            f"it has {len(ids)} ids, {len(of)} sections and {len(outcomes)} outcomes; at most {MAX_ITEMS}"
        )
    if len(set(ids)) != len(ids):
        _refuse("an id stands there twice")
    if {ALL, PRIMARY} & set(of):
        _refuse("a section has a reserved name")
    valued = {one for one, outcome in zip(ids, outcomes, strict=True) if outcome == VALUED}
    values, sizes = _numbers(found.get("values")), _numbers(found.get("bytes"))
    if set(values) != valued or set(sizes) != valued:
        _refuse("its values are not those of the items that have no verdict")
    if any(size < 1 or size.denominator != 1 for size in sizes.values()):
        _refuse("the bytes of an item's text are no count")
    return Result(
        name,
        version,
        primary=frozenset(_texts(found.get("primary"), "primary sections")),
        ids=ids,
        of=of,
        outcomes=outcomes,
        values=values,
        sizes={one: int(size) for one, size in sizes.items()},
    )


def _text(value: Json, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        _refuse(f"{what} is no text of 1 to {MAX_TEXT} characters")
    return value


def _texts(value: Json, what: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        _refuse(f"its {what} are no list")
    return tuple(_text(one, f"one of its {what}") for one in value)


def _numbers(value: Json) -> dict[str, Fraction]:
    """Take the numbers of some items as they are written in decimal, so that 0.1 is a tenth."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        _refuse("its values are no object")
    numbers: dict[str, Fraction] = {}
    for name, one in value.items():
        if isinstance(one, bool) or not isinstance(one, int | float) or not 0 <= one <= MAX_NUMBER:
            _refuse(f"a value is no number from 0 to {MAX_NUMBER}")
        numbers[name] = Fraction(str(one))
    return numbers


def _refuse(why: str) -> NoReturn:
    raise UntrustedInput(
        "evaluation.result", f"A result of an evaluation is refused: {why}.", remedy="Evaluate again."
    )
