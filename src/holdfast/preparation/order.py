"""What is asked of a preparation: the files of one data set, and how they are read, split and compared."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from holdfast.dataset.files import Format
from holdfast.dataset.forms import Form


class PrepareFile(BaseModel):
    """One file: its path beneath the recipe, where it lies, and how it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shown: str
    path: Path
    format: Format


class PrepareOrder(BaseModel):
    """One data set.

    ``licence`` is what the rows may be used under, ``forms`` are those that the method takes, ``columns`` gives our field its column, ``held_out`` is a share of the rows, rows
    of more than ``over`` characters are called over-long, ``suites`` gives the items of each suite that is compared; ``out`` is
    an empty folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: list[PrepareFile]
    forms: tuple[Form, ...]
    columns: dict[str, str]
    held_out: float
    over: int | None
    quarantine: bool
    licence: str
    suites: dict[str, Path]
    out: Path
