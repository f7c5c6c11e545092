"""Scrubbing: reading everything in the store again and comparing it with the records.

A file that several artefacts share is hashed once, for it is one file on disk. Invariants: nothing is changed; everything that is
wrong is told, not only the first; memory does not grow with the files. What nothing names is told apart from damage: a
crash between adopting and recording can leave it, and removing it is safe.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.errors import OperationFailed, VerificationFailed
from holdfast.store import files
from holdfast.store.hashfile import THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from holdfast.artefact import Artefact, FileRef
    from holdfast.store.files import Store

    Progress = Callable[[str, int, int], None]

AHEAD = 4 * THREADS  # files handed to the threads before the oldest is asked for


class Fault(StrEnum):
    """What can be wrong."""

    GONE = "gone"  # a recorded artefact has no folder
    DAMAGED = "damaged"  # a recorded file is missing, can't be read, or is another one
    ADDED = "added"  # an artefact's folder holds what its record does not name
    UNNAMED = "unnamed"  # a folder or a kept file that no recorded artefact has


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong in the store.

    Args:
        fault: What kind.
        artefact: Digest of the artefact; empty for a kept file that no artefact has.
        path: The file in it, or the kept file's name; empty for a whole artefact.
        message: What is wrong, for people.
        recorded: The recorded digest of the file, or empty.
        found: The digest found, or empty.
    """

    fault: Fault
    artefact: str
    path: str
    message: str
    recorded: str = ""
    found: str = ""

    @property
    def harms(self) -> bool:
        """Whether the artefact may not be used as it is."""
        return self.fault is not Fault.UNNAMED


def scrub(
    store: Store,
    artefacts: Iterable[Artefact],
    progress: Progress,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Damage]:
    """Hash everything in the store again.

    Args:
        store: The store.
        artefacts: The records of all artefacts that should be in it.
        progress: Told ``scrubbing`` and of the bytes hashed.
        cancelled: Asked between files whether to stop.

    Returns:
        Everything that is wrong, in the order of the artefacts; empty if all is well.

    Raises:
        OperationFailed: If it was cancelled.
    """
    known = {one.digest: one for one in artefacts}
    found: list[Damage] = []
    for digest, one in known.items():
        if not store.has(digest):
            why = f"The {one.kind} {one.name} {one.version} is not in the store."
            found.append(Damage(Fault.GONE, digest, "", why))
        else:
            found += [
                Damage(
                    Fault.ADDED,
                    digest,
                    path,
                    f"The {one.kind} {one.name} holds {path}, which is not in its record.",
                )
                for path in files.added(store.folder(digest), one)
            ]
    found += _damaged(store, [one for one in known.values() if store.has(one.digest)], progress, cancelled)
    found += _unnamed(store, known)
    return found


def _damaged(
    store: Store, artefacts: list[Artefact], progress: Progress, cancelled: Callable[[], bool]
) -> list[Damage]:
    owners: dict[tuple[Path, str], list[tuple[Artefact, FileRef]]] = {}
    for one, file, key in _files(store, artefacts):
        owners.setdefault(key, []).append((one, file))
    total, done = sum(group[0][1].size for group in owners.values()), 0
    found: list[Damage] = []
    groups = list(owners.values())
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(groups), AHEAD):
            if cancelled():
                raise OperationFailed(
                    "store.scrub-cancelled", "The scrub was stopped.", remedy="Start it again."
                )
            some = groups[start : start + AHEAD]
            for group, problem in zip(
                some, pool.map(lambda group: _check(store, *group[0]), some), strict=True
            ):
                done += group[0][1].size
                progress("scrubbing", done, total)
                if problem is not None:
                    found += [
                        Damage(
                            Fault.DAMAGED,
                            one.digest,
                            file.path,
                            problem.message,
                            file.digest,
                            str(problem.fields.get("found", "")),
                        )
                        for one, file in group
                    ]
    return found


def _files(store: Store, artefacts: list[Artefact]) -> Iterator[tuple[Artefact, FileRef, tuple[Path, str]]]:
    """Give every recorded file with a key that is the same for the same file on disk and record."""
    for one in artefacts:
        for file in one.files:
            path, kept = store.folder(one.digest) / file.path, store.file(file.digest)
            try:
                shared = path.samefile(kept)
            except OSError:
                shared = False
            yield one, file, (kept if shared else path, file.digest)


def _check(store: Store, one: Artefact, file: FileRef) -> VerificationFailed | None:
    try:
        files.check(store.folder(one.digest), file)
    except VerificationFailed as problem:
        return problem
    return None


def _unnamed(store: Store, known: dict[str, Artefact]) -> list[Damage]:
    """Find folders and kept files that no recorded artefact has."""
    found = [
        Damage(
            Fault.UNNAMED,
            digest,
            "",
            f"The stored folder {hashing.short(digest)} belongs to no recorded artefact.",
        )
        for digest in store.artefacts()
        if digest not in known
    ]
    named = {file.digest for one in known.values() for file in one.files}
    found += [
        Damage(
            Fault.UNNAMED,
            "",
            path.name,
            f"The stored file {hashing.short(digest)} belongs to no recorded artefact.",
        )
        for digest, path in store.files()
        if digest not in named
    ]
    return found
