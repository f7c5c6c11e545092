"""Figures that commands take: sizes, and fractions that are finite."""

from __future__ import annotations

import math
import re

import click

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Bytes(click.ParamType[int]):
    """A size: bytes, or a number with KB, MB, GB, KiB, MiB or GiB."""

    name = "bytes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a size.

        Args:
            value: What was given.
            param: The option.
            ctx: The command's context.

        Returns:
            Bytes, one at least.
        """
        match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMG]I?B|)", str(value).upper())
        if match is None or not (found := int(float(match[1]) * _UNITS[match[2]])):
            self.fail(f"{value!r} is no size; write 4GB, 512MiB or a number of bytes.", param, ctx)
        return found


class Fraction(click.FloatRange):
    """A number within bounds; NaN lies within none, though it compares as if it did."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number.

        Args:
            value: What was given.
            param: The option.
            ctx: The command's context.

        Returns:
            The number.
        """
        try:
            found = float(str(value))
        except ValueError:
            found = math.nan
        if math.isnan(found):
            self.fail(f"{value!r} is no number.", param, ctx)
        return super().convert(found, param, ctx)
