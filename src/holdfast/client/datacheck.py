"""A recipe and its data, looked at without a daemon: what ``train check`` does.

Order of operations: the recipe is read; the files of each entry are found; one child process for each entry reads them within
limits of memory and processor time. Invariants: whatever a file holds, this process neither hangs nor grows with it; all entries
are looked at, whatever is wrong with one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from holdfast import boundedchild, canonical
from holdfast.client import datasets
from holdfast.dataset.files import ITEMS_FILE
from holdfast.errors import HoldfastError, NotFound, OperationFailed, UntrustedRecipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.training.spec import DataSpec, Recipe

MEMORY = 32 * 2**30  # bytes of private memory: as much as the daemon's worker may take
SECONDS = 24 * 3600  # of processor time: two million rows take a few hours
MAX_ANSWER = 16 * 2**20  # bytes of a child's answer: a profile has some hundred thousand
_CHILD = "holdfast.preparation.checkchild"


def check(
    recipe_path: Path,
    suites: Sequence[Path],
    *,
    tell: Callable[[str, int, int], None],
    memory: int = MEMORY,
    seconds: int = SECONDS,
) -> dict[str, Json]:
    """Look at a recipe and everything it names.

    Args:
        recipe_path: The recipe's file.
        suites: Folders of suites to compare the training rows with.
        tell: Told which entry is looked at.
        memory: Bytes of private memory that a child may take.
        seconds: Processor time that a child may take.

    Returns:
        ``recipe``, ``name``, ``method``, and ``data``: by each path ``mistakes`` (the first), ``count`` (of all), the
        ``profile`` (None if there is none) and the ``error`` (None if nothing stopped it); and ``not_compared``, the suites
        that judge the run and of which no folder was given.

    Raises:
        UntrustedRecipe: If the recipe itself is wrong, with every mistake.
        NotFound: If a suite is not there.
    """
    recipe = datasets.recipe_of(recipe_path)
    items = _items(suites)
    data: dict[str, Json] = {}
    for number, entry in enumerate(recipe.data):
        tell(f"looking at {entry.path}", number, len(recipe.data))
        try:
            order = _order(recipe_path, recipe, entry, items)
        except UntrustedRecipe as error:
            data[entry.path] = {"mistakes": [], "count": 0, "profile": None, "error": _plain(error)}
            continue
        data[entry.path] = _ask(order, memory, seconds, entry.path)
    missing: list[Json] = [name for name in datasets.suites_of(recipe) if name not in items]
    return {
        "recipe": str(recipe_path),
        "name": recipe.name,
        "method": recipe.method,
        "data": data,
        "not_compared": missing,
    }


def _items(suites: Sequence[Path]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for folder in suites:
        path = folder.absolute() / ITEMS_FILE
        if not path.is_file():
            raise NotFound(
                "dataset.suite-missing", f"There is no {path}.", remedy="Name a suite's folder with --suite."
            )
        found[path.parent.name] = str(path)
    return found


def _order(recipe_path: Path, recipe: Recipe, entry: DataSpec, items: Mapping[str, Json]) -> dict[str, Json]:
    listed: list[Json] = [
        {"shown": one.shown, "path": str(one.path.absolute()), "format": one.format}
        for one in datasets.files_of(recipe_path, entry)
    ]
    return {
        "files": listed,
        "forms": [*recipe.forms()],
        "columns": {**entry.columns},
        "licence": entry.licence,
        "held_out": entry.heldout,
        "over": datasets.over(recipe),
        "suites": {**items},
    }


def _ask(order: dict[str, Json], memory: int, seconds: int, path: str) -> dict[str, Json]:
    ended = boundedchild.ask(_CHILD, order, memory=memory, seconds=seconds, most=MAX_ANSWER)
    if ended.answer is None:
        error: HoldfastError = UntrustedRecipe(
            "dataset.limits",
            f"{path} could not be read within the limits of memory and time.",
            remedy="Split it into several [[data]] entries; if it is small, it is made to exhaust its reader.",
        )
        return {"mistakes": [], "count": 0, "profile": None, "error": _plain(error)}
    if ended.code != 0:
        raise OperationFailed(
            "dataset.child",
            f"The child process that reads {path} failed with exit code {ended.code}: {ended.said}",
            remedy="Report this with the file; nothing was judged.",
        )
    said = canonical.decode(ended.answer, limit=MAX_ANSWER, what="The child's answer", error=OperationFailed)
    return said if isinstance(said, dict) else {}


def _plain(error: HoldfastError) -> dict[str, Json]:
    return cast("dict[str, Json]", error.to_dict())
