"""The fields of a worker's order, checked one by one. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from holdfast.canonical import Json


@dataclass(frozen=True)
class Order:
    """What a worker was asked.

    Args:
        fields: The order's plain data.
        key: The stable name of a refusal.
    """

    fields: Mapping[str, Json]
    key: str

    def path(self, name: str) -> Path:
        """Take a path.

        Args:
            name: The field.

        Returns:
            The path.

        Raises:
            UntrustedRequest: If it is not absolute.
        """
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.startswith("/"):
            raise self.refused(f"{name} is not an absolute path")
        return Path(value)

    def count(self, name: str, default: int, least: int = 1) -> int:
        """Take a number.

        Args:
            name: The field.
            default: What stands for a field that is not there.
            least: The smallest that is allowed.

        Returns:
            The number.

        Raises:
            UntrustedRequest: If it is none, or smaller.
        """
        value = self.fields.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.refused(f"{name} is not a number of at least {least}")
        return value

    def texts(self, name: str, most: int) -> list[str]:
        """Take a list of texts.

        Args:
            name: The field.
            most: The most texts that are allowed.

        Returns:
            The texts; none if the field is not there.

        Raises:
            UntrustedRequest: If it is something else, or longer.
        """
        value = self.fields.get(name, [])
        if not isinstance(value, list) or len(value) > most or not all(isinstance(one, str) for one in value):
            raise self.refused(f"{name} is not a list of at most {most} texts")
        return cast("list[str]", value)

    def among(self, name: str, allowed: Collection[str]) -> list[str]:
        """Take a list of names.

        Args:
            name: The field.
            allowed: The names that there are.

        Returns:
            The names; none if the field is not there.

        Raises:
            UntrustedRequest: If another one is in it.
        """
        found = self.texts(name, len(allowed))
        if not set(found) <= set(allowed):
            raise self.refused(f"{name} are not among {', '.join(sorted(allowed))}")
        return found

    def refused(self, why: str) -> UntrustedRequest:
        """Make the refusal of the order.

        Args:
            why: What is wrong with it, without the full stop.

        Returns:
            The error, not raised.
        """
        return UntrustedRequest(self.key, f"The order is malformed: {why}.", remedy="Correct the order.")
