"""The artefacts of a recipe: inspected, described, and copied in chunks.

Order of operations: each artefact's files are inspected with the readers that the site will use, then cut and hashed; when all are
known, the chunks that are wanted are copied, each once and hashed again on its way. Invariants: nothing is copied that would be
refused at the site; a file that changes meanwhile is refused; memory does not grow with the files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from holdfast.artefact import Artefact, Kind
from holdfast.errors import UntrustedRecipe
from holdfast.formats import inspection
from holdfast.governance import labels
from holdfast.media import draft
from holdfast.media.manifest import Entry
from holdfast.store import hashfile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.formats.chunking import Chunk
    from holdfast.media.draft import Draft
    from holdfast.media.recipe import ArtefactSpec, Recipe
    from holdfast.media.verify import Progress
    from holdfast.store.hashfile import Described

MAX_TOLD = 20  # findings in the error's sentence: a page, and enough to begin with


@dataclass(frozen=True)
class Place:
    """Where a chunk's bytes are.

    Args:
        path: The file.
        start: The chunk's first byte in it.
        chunk: The chunk.
    """

    path: Path
    start: int
    chunk: Chunk


@dataclass(frozen=True)
class Gathered:
    """The artefacts of a recipe.

    Args:
        entries: As the manifest lists them.
        places: Where each chunk is, by its digest, in the order of the files.
    """

    entries: tuple[Entry, ...]
    places: dict[str, Place]


def gather(recipe: Recipe, progress: Progress) -> Gathered:
    """Inspect and describe every artefact of a recipe.

    Args:
        recipe: The recipe.
        progress: Told of the bytes hashed.

    Returns:
        The artefacts.

    Raises:
        UntrustedRecipe: If a file would be refused at the site.
        VerificationFailed: If a file changes its length meanwhile.
    """
    found = Gathered((), {})
    known: dict[str, str] = {}
    total, done = sum(path.stat().st_size for files in recipe.files for path in files.values()), 0

    def hashed(size: int) -> None:
        nonlocal done
        done += size
        progress("hashing", done, total)

    for spec, files in zip(recipe.document.artefact, recipe.files, strict=True):
        facts, described = _read(spec, files, hashed)
        record = Artefact(
            kind=Kind(spec.kind),
            name=spec.name,
            version=spec.version,
            files=tuple(sorted(one.ref for one in described.values())),
            label=labels.parse(spec.label.model_dump()),
            parents=tuple(known.get(parent, parent) for parent in spec.parents),
            meta=facts,
        )
        known[f"{spec.kind}/{spec.name}"] = record.digest
        entry = Entry(record, spec.licence, {name: one.chunks for name, one in described.items()})
        found = Gathered((*found.entries, entry), found.places)
        for name, one in described.items():
            starts = accumulate((chunk.size for chunk in one.chunks), initial=0)
            for start, chunk in zip(starts, one.chunks, strict=False):
                found.places.setdefault(chunk.digest, Place(files[name], start, chunk))
    return found


def copy(found: Gathered, wanted: Collection[str], made: Draft, progress: Progress) -> None:
    """Copy chunks into a medium that is being made.

    Args:
        found: The artefacts.
        wanted: Digests of the chunks to copy.
        made: The medium.
        progress: Told of the bytes written.

    Raises:
        UntrustedRecipe: If a file has changed since it was described.
    """
    total, done = sum(found.places[digest].chunk.size for digest in wanted), 0

    def one(place: Place) -> int:
        handle = _open(place.path)
        try:
            whole = made.chunk(handle, place.start, place.chunk)
        finally:
            os.close(handle)
        if not whole:
            raise refused(place.path, "it changed while it was read")
        return place.chunk.size

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress("writing", done, total)

    draft.in_parallel(one, (found.places[digest] for digest in wanted), count)


def refused(path: Path | None, why: str) -> UntrustedRecipe:
    """Say that an artefact can't be published.

    Args:
        path: The file at fault, or None if it is the artefact as a whole.
        why: The reason.

    Returns:
        The error, not raised.
    """
    return UntrustedRecipe(
        "media.recipe-file",
        f"{path or 'An artefact'} is refused: {why.rstrip('.')}.",
        remedy="Correct the file or the recipe, then build again.",
        file=str(path),
    )


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _read(
    spec: ArtefactSpec, files: dict[str, Path], hashed: Callable[[int], None]
) -> tuple[dict[str, Json], dict[str, Described]]:
    """Inspect and describe one artefact. Its files are opened one at a time, for there may be thousands."""

    def part(name: str, offset: int, length: int) -> bytes:
        handle = _open(files[name])
        try:
            return hashfile.read_exactly(handle, offset, length)
        finally:
            os.close(handle)

    sizes = {name: path.lstat().st_size for name, path in files.items()}
    judged = inspection.inspect(Kind(spec.kind), sizes, part)
    if judged.refusals:
        first = judged.refusals[0]
        told = " ".join(dict.fromkeys(problem.message for problem in judged.refusals[:MAX_TOLD]))
        raise refused(files.get(str(first.fields.get("file"))), told)
    return judged.facts, {name: hashfile.describe(path, name, hashed=hashed) for name, path in files.items()}
