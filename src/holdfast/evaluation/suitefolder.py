"""A suite's folder, read within bounds: the head and the items as they lie on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.dataset.files import ITEMS_FILE, MAX_ITEMS_FILE
from holdfast.errors import NotFound
from holdfast.evaluation.spec import HEAD_FILE, read_suite
from holdfast.formats import written

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.evaluation.spec import Suite


def read(folder: Path) -> Suite:
    """Read a suite.

    Args:
        folder: Its folder.

    Returns:
        The suite.

    Raises:
        NotFound: If a file of it can't be read.
        UntrustedRecipe: With every mistake, its file, line and what was expected.
    """
    found = []
    for name, limit in ((HEAD_FILE, written.MAX_DOCUMENT), (ITEMS_FILE, MAX_ITEMS_FILE)):
        try:
            with (folder / name).open("rb") as file:
                found.append(file.read(limit + 1))  # one byte too many is refused by its reader
        except OSError as problem:
            raise NotFound(
                "eval.no-suite",
                f"{folder / name} can't be read: {problem.strerror}.",
                remedy=f"Name the folder that holds {HEAD_FILE} and {ITEMS_FILE}.",
            ) from problem
    return read_suite(*found, file=str(folder / HEAD_FILE), items_file=str(folder / ITEMS_FILE))
