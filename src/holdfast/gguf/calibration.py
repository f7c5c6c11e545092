"""Texts that a quantization is calibrated and measured on: of a prepared data set, or of a suite.

Invariants: what is measured on is never what was calibrated on; which text serves for which depends on its place alone, so
that the same data give the same files and the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.dataset import prepared, profile
from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import suitefolder
from holdfast.evaluation.items import Passage
from holdfast.evaluation.spec import HEAD_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from holdfast.evaluation.items import Item

HELD_OUT_EVERY = 5  # of so many texts the last is held out to measure on


@dataclass(frozen=True)
class Texts:
    """What there is to read.

    Args:
        calibrating: Texts from which the importance of weights is taken.
        held_out: Texts on which the outcome is measured.
    """

    calibrating: tuple[str, ...]
    held_out: tuple[str, ...]


def read(folder: Path) -> Texts:
    """Read a data set or a suite.

    Args:
        folder: Its folder.

    Returns:
        The texts, split.

    Raises:
        UntrustedRecipe: If the folder is neither, or has too few texts to hold one out.
    """
    if (folder / HEAD_FILE).is_file():
        texts = [_of_item(item) for item in suitefolder.read(folder).items]
    else:
        texts = _of_rows(folder)
    found = split(texts)
    if not found.held_out:
        raise UntrustedRecipe(
            "quantize.calibration",
            f"There are {len(texts)} texts to calibrate on; at least {HELD_OUT_EVERY} are needed, of which one is held out.",
            remedy="Prepare a data set with more rows.",
        )
    return found


def split(texts: Sequence[str]) -> Texts:
    """Split texts by their places.

    Args:
        texts: All texts.

    Returns:
        The texts, split.
    """
    last = HELD_OUT_EVERY - 1
    return Texts(
        tuple(text for at, text in enumerate(texts) if at % HELD_OUT_EVERY != last),
        tuple(texts[last::HELD_OUT_EVERY]),
    )


def _of_rows(folder: Path) -> list[str]:
    described = canonical.decode(
        _bounded(folder / prepared.PROFILE, profile.MAX_PROFILE),
        limit=profile.MAX_PROFILE,
        what=prepared.PROFILE,
        error=UntrustedRecipe,
    )
    stated = described.get("form") if isinstance(described, dict) else None
    form = prepared.form_of(stated, name=folder.name)
    rows = prepared.read(_bounded(folder / prepared.ROWS, prepared.MAX_FILE), form=form, file=prepared.ROWS)
    return ["\n".join(row.content.texts()) for row in rows]


def _of_item(item: Item) -> str:
    if isinstance(item.wanted, Passage):
        return item.wanted.text
    return "\n".join(message.content for message in item.messages)


def _bounded(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)  # one byte too many is refused by its reader
    except OSError as error:
        raise UntrustedRecipe(
            "quantize.calibration",
            f"{path.name} can't be read: {error.strerror}.",
            remedy="Name a data set that was prepared here, or an installed suite.",
        ) from error
