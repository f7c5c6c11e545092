"""Data sets, as clients ask for them: a recipe's files found, sent and prepared.

Order of operations: the recipe is read with every mistake told; the files of each entry are found, without following links; they
are sent one by one; the daemon prepares each entry as a job, which is waited for. Invariants: files are opened in the person's own
process; a folder with anything in it that can't be read as data is refused before something is sent.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.artefact import is_safe_path
from holdfast.dataset import files
from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.client.connection import Client
    from holdfast.dataset.files import Format
    from holdfast.training.spec import DataSpec, Recipe

CHARACTERS = 4  # of a token, about: a row with more for each token of a sequence can't be expected to fit
MAX_TOLD = 20  # files of a folder that are listed as unfit
MAX_NAME = 64  # characters of a data set's name, taken from its path


@dataclass(frozen=True)
class DataFile:
    """One file of a recipe's entry.

    Args:
        shown: Its path beneath the recipe.
        path: Where it lies.
        format: How it is read.
    """

    shown: str
    path: Path
    format: Format


def recipe_of(path: Path) -> Recipe:
    """Read a recipe on the client's side.

    Args:
        path: The recipe's file.

    Returns:
        The recipe.

    Raises:
        UntrustedRecipe: With every mistake, also data that do not exist.
    """
    from holdfast.formats import written
    from holdfast.training import spec

    try:
        with path.open("rb") as file:
            data = file.read(written.MAX_DOCUMENT + 1)
    except OSError as error:
        raise UntrustedRecipe(
            "recipe.unreadable",
            f"{path} can't be read: {error.strerror}.",
            remedy="Check the path and its rights.",
        ) from error
    return spec.read_recipe(data, file=str(path), exists=lambda name: (path.parent / name).exists())


def files_of(recipe: Path, entry: DataSpec) -> list[DataFile]:
    """Find the files of one entry of a recipe.

    Args:
        recipe: The recipe's file.
        entry: The entry.

    Returns:
        Its files, by name.

    Raises:
        UntrustedRecipe: If a folder holds something that is no data, nothing at all, or too much.
    """
    place = recipe.parent / entry.path
    if not place.is_dir():
        form = files.format_of(entry.path, entry.format, folder=False)
        return [DataFile(entry.path, place.resolve(), form)]
    found: list[DataFile] = []
    unfit: list[str] = []
    for name in _walked(place, entry.path):
        shown = f"{entry.path}/{name}"
        try:
            if why := _unfit(place / name, shown):
                unfit.append(why)
            else:
                form = files.format_of(shown, entry.format, folder=True)
                found.append(DataFile(shown, place / name, form))
        except UntrustedRecipe as error:
            unfit.append(error.message.rstrip("."))
    if unfit or not found:
        told = "; ".join(unfit[:MAX_TOLD]) or "there is no file in it"
        more = f"; and {len(unfit) - MAX_TOLD} more" if len(unfit) > MAX_TOLD else ""
        raise UntrustedRecipe(
            "dataset.folder",
            f"The folder {entry.path} can't be taken: {told}{more}.",
            remedy="Move what is no data out of it, or say its 'format' in the recipe.",
            file=entry.path,
        )
    return found


def _unfit(path: Path, shown: str) -> str:
    """Say why a file of a folder can't be sent; empty if it can."""
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        return f"{shown} is {'a link' if stat.S_ISLNK(mode) else 'no plain file'}"
    if len(shown) > files.MAX_PATH or not is_safe_path(shown):
        return f"{shown[:80]!r} is a name that can't be kept"
    return ""


def _walked(folder: Path, name: str) -> Iterator[str]:
    """Give the names in a folder, however deep, without following links; hidden ones are passed over."""
    count, queue = 0, [""]
    while queue:
        above = queue.pop()
        with os.scandir(folder / above) as listed:
            entries = sorted(listed, key=lambda one: one.name)
        for one in entries:
            if one.name.startswith("."):
                continue
            below = f"{above}/{one.name}" if above else one.name
            count += 1
            if count > files.MAX_FILES or below.count("/") >= files.MAX_DEPTH:
                raise UntrustedRecipe(
                    "dataset.folder",
                    f"The folder {name} has more than {files.MAX_FILES} entries or {files.MAX_DEPTH} levels.",
                    remedy="Split it into several [[data]] entries.",
                    file=name,
                )
            if one.is_dir(follow_symlinks=False):
                queue.append(below)
            else:
                yield below


def over(recipe: Recipe) -> int | None:
    """Give the characters beyond which a row is called over-long.

    Args:
        recipe: The recipe.

    Returns:
        The count; None for continued pre-training, which cuts long texts.
    """
    return None if recipe.method == "cpt" else recipe.batch.sequence_length * CHARACTERS


def suites_of(recipe: Recipe) -> list[str]:
    """Name the suites that judge a recipe's run.

    Args:
        recipe: The recipe.

    Returns:
        Their names, in order.
    """
    return sorted({rule.suite for rule in recipe.gate} | ({recipe.stop.suite} if recipe.stop else set()))


async def prepare_data(
    client: Client,
    recipe_path: Path,
    *,
    quarantine: bool = False,
    tell: Callable[[dict[str, Json]], None] | None = None,
) -> dict[str, dict[str, Json]]:
    """Send the data that a recipe names, and have them prepared.

    Args:
        client: An operator's session.
        recipe_path: The recipe's file.
        quarantine: Whether malformed rows are set aside instead of refused.
        tell: Is given each entry of the jobs' streams.

    Returns:
        By each data path the job's result: ``dataset`` (the digest), counts, ``overlap`` and the ``profile``.

    Raises:
        UntrustedRecipe: If the recipe or its data are wrong.
    """
    recipe = await asyncio.to_thread(recipe_of, recipe_path)
    found = {entry.path: await asyncio.to_thread(files_of, recipe_path, entry) for entry in recipe.data}
    results = {}
    for entry in recipe.data:
        sent: dict[str, Json] = {one.shown: await client.upload(one.path) for one in found[entry.path]}
        body: dict[str, Json] = {
            "name": name_of(entry.path),
            "version": recipe.version,
            "method": recipe.method,
            "format": entry.format,
            "folder": (recipe_path.parent / entry.path).is_dir(),
            "columns": {**entry.columns},
            "heldout": entry.heldout,
            "role": entry.role,
            "licence": entry.licence,
            "label": entry.label.label().to_json(),
            "files": sent,
            "quarantine": quarantine,
            "suites": [*suites_of(recipe)],
            "over": over(recipe),
        }
        job = (await client.call("POST", "/v1/datasets", body))["job"]
        results[entry.path] = await client.finish(int(str(job)), tell)
    return results


def name_of(path: str) -> str:
    """Name a data set.

    Args:
        path: Its path beneath the recipe.

    Returns:
        The last part of it, without the suffix.
    """
    last = path.rsplit("/", 1)[-1]
    return (last.rsplit(".", 1)[0] or last)[:MAX_NAME]
