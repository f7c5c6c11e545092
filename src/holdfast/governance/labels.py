"""Labels: what a thing may be used for, and where it may live.

A label has a level (ordered), compartments (need-to-know groups) and residency zones (places where it may be stored or
processed). Invariants: labels only ever tighten. The join of a derivation is the highest level, the union of compartments
and the *intersection* of zones; an empty intersection is refused, for such a thing could not exist anywhere. What is
unlabelled counts as the highest level.

Source: the join semilattice of Denning, "A lattice model of secure information flow" (1976), with zones dual.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.canonical import Json

LEVELS = ("public", "internal", "restricted", "secret")
MAX_NAMES = (
    64  # compartments or zones of one label; a longer list is a mistake, and labels are in every event
)
MAX_NAME = 64  # characters of one compartment or zone
MAX_BYTES = 4096  # of all names of one label; an event that lists ten artefacts carries eleven labels


@dataclass(frozen=True)
class Label:
    """A point of the lattice.

    Args:
        level: One of ``LEVELS``.
        compartments: Need-to-know groups.
        zones: Places where the labelled thing may live; never empty.
    """

    level: str
    compartments: frozenset[str]
    zones: frozenset[str]

    def join(self, other: Label) -> Label:
        """Give the label of what is derived from both.

        Args:
            other: The other parent's label.

        Returns:
            The least label that is as tight as both.

        Raises:
            UntrustedInput: If no zone may hold both.
        """
        zones = self.zones & other.zones
        if not zones:
            raise UntrustedInput(
                "label.zones",
                f"Nothing may be derived from zones {sorted(self.zones)} and {sorted(other.zones)} together.",
                remedy="Use inputs that share a residency zone.",
            )
        level = max(self.level, other.level, key=LEVELS.index)
        return Label(level, self.compartments | other.compartments, zones)

    def permits(self, other: Label) -> bool:
        """Tell whether a holder cleared for this label may see what carries the other.

        Args:
            other: The label of the thing.

        Returns:
            True if the level is at least as high and every compartment of the thing is held.
        """
        return (
            LEVELS.index(self.level) >= LEVELS.index(other.level) and other.compartments <= self.compartments
        )

    def to_json(self) -> dict[str, Json]:
        """Give the label as canonical plain data.

        Returns:
            ``level``, ``compartments`` and ``zones``, the latter two sorted.
        """
        return {
            "level": self.level,
            "compartments": [*sorted(self.compartments)],
            "zones": [*sorted(self.zones)],
        }

    def __str__(self) -> str:
        parts = [self.level.upper(), *sorted(self.compartments)]
        return "//".join(parts) + " @" + ",".join(sorted(self.zones))


def highest(zones: Iterable[str]) -> Label:
    """Give the label of what came without one.

    Args:
        zones: The zones of the place where it was found.

    Returns:
        The highest level, no compartments, those zones.
    """
    return Label(LEVELS[-1], frozenset(), frozenset(zones))


def join_all(labels: Iterable[Label]) -> Label:
    """Join any number of labels.

    Args:
        labels: At least one label.

    Returns:
        Their join.
    """
    return reduce(Label.join, labels)


def parse(value: object) -> Label:
    """Read a label from untrusted plain data.

    Args:
        value: A mapping with ``level``, ``compartments`` and ``zones``.

    Returns:
        The label.

    Raises:
        UntrustedInput: If a field is missing, unknown, of the wrong type or too long.
    """
    if not isinstance(value, dict) or set(value) != {"level", "compartments", "zones"}:
        raise _bad("a label has exactly the fields level, compartments and zones")
    level = value["level"]
    if level not in LEVELS:
        raise _bad(f"level {str(level)[:40]!r} is none of {', '.join(LEVELS)}")
    compartments = _names(value["compartments"], "compartments")
    zones = _names(value["zones"], "zones")
    if not zones:
        raise _bad("zones is empty")
    size = sum(len(name.encode("utf-8", "replace")) for name in (*compartments, *zones))
    if size > MAX_BYTES:
        raise _bad(f"its names take {size} bytes; {MAX_BYTES} are allowed")
    return Label(level, compartments, zones)


def _names(value: object, field: str) -> frozenset[str]:
    if not isinstance(value, list) or len(value) > MAX_NAMES:
        raise _bad(f"{field} is not a list of at most {MAX_NAMES} names")
    for name in value:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise _bad(
                f"{field} holds {str(name)[:40]!r}, which is not a name of at most {MAX_NAME} characters"
            )
    return frozenset(value)


def _bad(why: str) -> UntrustedInput:
    return UntrustedInput(
        "label.form",
        f"A label is refused: {why}.",
        remedy='Write for example level = "internal", compartments = [], zones = ["site"].',
    )
