"""Plain data taken apart: what was decoded and is not known to have any particular shape.

Invariants: each function gives what it says, an empty one or zero where the value is something else; nothing is raised. What
must not be something else is checked where it is decoded, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.canonical import Json


def record(value: Json) -> dict[str, Json]:
    """Take an object.

    Args:
        value: Any value.

    Returns:
        The object; an empty one if it is none.
    """
    return value if isinstance(value, dict) else {}


def listed(value: Json) -> list[Json]:
    """Take a list.

    Args:
        value: Any value.

    Returns:
        The list; an empty one if it is none.
    """
    return value if isinstance(value, list) else []


def records(value: Json) -> list[dict[str, Json]]:
    """Take a list of objects.

    Args:
        value: Any value.

    Returns:
        Its objects, in order.
    """
    return [one for one in listed(value) if isinstance(one, dict)]


def named(value: Json) -> dict[str, dict[str, Json]]:
    """Take an object of objects.

    Args:
        value: Any value.

    Returns:
        Its objects, by name.
    """
    return {name: one for name, one in record(value).items() if isinstance(one, dict)}


def number(value: Json) -> float:
    """Take a number.

    Args:
        value: Any value.

    Returns:
        The number; 0 if it is none.
    """
    return float(value) if isinstance(value, int | float) else 0.0


def whole(value: Json) -> int:
    """Take a whole number.

    Args:
        value: Any value.

    Returns:
        The number; 0 if it is none.
    """
    return value if isinstance(value, int) else 0
