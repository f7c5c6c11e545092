"""Plain data that came over the link, taken field by field: each with its type and its bounds. Pure.

Invariant: whatever is not exactly as asked for raises ``WorkerFailed``; nothing is converted and nothing is ignored.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar, cast

from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json

T = TypeVar("T")


class Fields:
    """One object.

    Args:
        data: What should be an object.
        what: What it is, for messages.
        allowed: The names that it may hold.

    Raises:
        WorkerFailed: If it is no object or holds another name.
    """

    __slots__ = ("_data", "_what")

    def __init__(self, data: Json, what: str, allowed: frozenset[str]) -> None:
        if type(data) is not dict or not data.keys() <= allowed:
            raise broken(f"{what} is no object, or holds a field that it may not have")
        self._data = data
        self._what = what

    def has(self, name: str) -> bool:
        """Tell whether a field is there and not null.

        Args:
            name: The field.

        Returns:
            True if it is.
        """
        return self._data.get(name) is not None

    def raw(self, name: str) -> Json:
        """Give a field as it came.

        Args:
            name: The field.

        Returns:
            Its value; None if it is not there.
        """
        return self._data.get(name)

    def whole(self, name: str, least: int, most: int) -> int:
        """Take a whole number.

        Args:
            name: The field.
            least: The smallest that is allowed.
            most: The largest.

        Returns:
            The number.

        Raises:
            WorkerFailed: If it is none, or out of bounds.
        """
        value = self._data.get(name)
        if type(value) is not int or not least <= value <= most:
            raise self._refused(name, f"is no whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float) -> float:
        """Take a number.

        Args:
            name: The field.
            least: The smallest that is allowed.
            most: The largest.

        Returns:
            The number.

        Raises:
            WorkerFailed: If it is none, or out of bounds.
        """
        value = self._data.get(name)
        if type(value) not in (int, float) or not least <= cast("float", value) <= most:
            raise self._refused(name, f"is no number from {least} to {most}")
        return float(cast("float", value))

    def flag(self, name: str) -> bool:
        """Take a truth value.

        Args:
            name: The field.

        Returns:
            The value; False if the field is not there.

        Raises:
            WorkerFailed: If it is something else.
        """
        value = self._data.get(name, False)
        if type(value) is not bool:
            raise self._refused(name, "is neither true nor false")
        return value

    def text(self, name: str, most: int) -> str:
        """Take a text.

        Args:
            name: The field.
            most: Characters that are allowed.

        Returns:
            The text.

        Raises:
            WorkerFailed: If it is none, or longer.
        """
        value = self._data.get(name)
        if type(value) is not str or len(value) > most:
            raise self._refused(name, f"is no text of at most {most} characters")
        return value

    def items(self, name: str, most: int, take: Callable[[Json], T]) -> tuple[T, ...]:
        """Take a list.

        Args:
            name: The field.
            most: Items that are allowed.
            take: Reads one of them; raises what it raises.

        Returns:
            What ``take`` gave; nothing if the field is not there.

        Raises:
            WorkerFailed: If it is no list, or longer.
        """
        value = self._data.get(name)
        if value is None:
            return ()
        if type(value) is not list or len(value) > most:
            raise self._refused(name, f"is no list of at most {most} items")
        return tuple(map(take, value))

    def _refused(self, name: str, why: str) -> WorkerFailed:
        return broken(f"{name} of {self._what} {why}")


def whole(value: Json, least: int, most: int, what: str) -> int:
    """Check a whole number outside an object.

    Args:
        value: What should be one.
        least: The smallest that is allowed.
        most: The largest.
        what: What it is, for messages.

    Returns:
        The number.

    Raises:
        WorkerFailed: If it is none, or out of bounds.
    """
    if type(value) is not int or not least <= value <= most:
        raise broken(f"{what} is no whole number from {least} to {most}")
    return value


def finite(value: Json, what: str) -> float:
    """Check a number outside an object.

    Args:
        value: What should be one.
        what: What it is, for messages.

    Returns:
        The number.

    Raises:
        WorkerFailed: If it is none.
    """
    if type(value) not in (int, float) or not math.isfinite(cast("float", value)):
        raise broken(f"{what} is no number")
    return float(cast("float", value))


def text(value: Json, most: int, what: str) -> str:
    """Check a text outside an object.

    Args:
        value: What should be one.
        most: Characters that are allowed.
        what: What it is, for messages.

    Returns:
        The text.

    Raises:
        WorkerFailed: If it is none, or longer.
    """
    if type(value) is not str or len(value) > most:
        raise broken(f"{what} is no text of at most {most} characters")
    return value


def broken(why: str) -> WorkerFailed:
    """Make the refusal of a message.

    Args:
        why: What is wrong with it, without the full stop.

    Returns:
        The error, not raised.
    """
    return WorkerFailed(
        "serve.link",
        f"A message between the front and an engine is malformed: {why}.",
        remedy="See the job's log; a model that makes its engine say such things should not be served.",
    )
