"""Generations: which artefacts are in force, as numbered files and one pointer.

A generation is a list of artefact digests with the bundle they came from. Order of operations: check that every artefact is
in the store, write ``generations/<n>.json`` and sync it, then switch ``current`` by one rename and sync the folder. Any
failure, also one after the rename, leaves the previous generation in force. Going back is switching to an earlier number.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.errors import Conflict, NotFound, VerificationFailed
from holdfast.store import disk

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.store.files import Store

SCHEMA = "holdfast.generation/1"
MAX_FILE = 4 * 2**20  # bytes of one generation file: 20,000 artefacts
MAX_ARTEFACTS = 20_000
MAX_POINTER = 32  # bytes of the pointer: one number


@dataclass(frozen=True)
class Generation:
    """One generation.

    Args:
        number: Counts from 1.
        bundle: Name and version of the bundle whose admission made it, for people.
        artefacts: Digests of the artefacts in force, sorted.
    """

    number: int
    bundle: str
    artefacts: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Give the generation as canonical plain data.

        Returns:
            All fields, with the schema.
        """
        return {
            "schema": SCHEMA,
            "number": self.number,
            "bundle": self.bundle,
            "artefacts": list(self.artefacts),
        }


class Generations:
    """The generations of one store.

    Args:
        store: The store whose artefacts they name.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.root / "generations"
        self._pointer = store.root / "current"
        with disk.faults("the generations"):
            disk.make_folders(self._folder, store.disk)

    def list(self) -> tuple[Generation, ...]:
        """Read all generations.

        Returns:
            In ascending order of their numbers.

        Raises:
            VerificationFailed: If a file is not what was written.
        """
        numbers = sorted(int(path.stem) for path in self._folder.glob("[1-9]*.json"))
        return tuple(self.get(number) for number in numbers)

    def get(self, number: int) -> Generation:
        """Read one generation.

        Args:
            number: Its number.

        Returns:
            The generation.

        Raises:
            NotFound: If there is none of that number.
            VerificationFailed: If the file is not what was written.
        """
        try:
            data = _read(self._folder / f"{number}.json", MAX_FILE)
        except FileNotFoundError:
            raise NotFound(
                "store.generation",
                f"There is no generation {number}.",
                remedy="See `holdfast bundle list` for those there are.",
                number=number,
            ) from None
        return _parse(data, number)

    def active(self) -> Generation | None:
        """Read the generation in force.

        Returns:
            The generation, or None if none was ever activated.

        Raises:
            VerificationFailed: If the pointer or the file is not what was written.
        """
        try:
            text = _read(self._pointer, MAX_POINTER).decode("ascii").strip()
            return self.get(int(text))
        except FileNotFoundError:
            return None
        except (ValueError, NotFound) as problem:
            raise _bad("the pointer to the generation in force", str(problem)) from problem

    def create(self, bundle: str, artefacts: tuple[str, ...]) -> Generation:
        """Write the next generation; it is not yet in force.

        Args:
            bundle: Name and version of the bundle, for people.
            artefacts: Digests of all artefacts in force.

        Returns:
            The generation, its file synced.

        Raises:
            NotFound: If an artefact is not in the store.
        """
        number = max((int(path.stem) for path in self._folder.glob("[1-9]*.json")), default=0) + 1
        return self.put(number, bundle, artefacts)

    def put(self, number: int, bundle: str, artefacts: tuple[str, ...]) -> Generation:
        """Write the generation of a number that is free; it is not yet in force.

        Args:
            number: Its number, from 1.
            bundle: Name and version of the bundle, for people.
            artefacts: Digests of all artefacts in force.

        Returns:
            The generation, its file synced.

        Raises:
            NotFound: If an artefact is not in the store.
        """
        for digest in artefacts:
            self._store.folder(digest)
        made = Generation(number, bundle, tuple(sorted(set(artefacts))))
        with disk.faults(f"generation {number}"):
            disk.create_file(
                self._folder / f"{number}.json",
                canonical.encode(made.to_json()),
                mode=0o400,
                on=self._store.disk,
            )
        return made

    def activate(self, number: int) -> Generation:
        """Put a generation in force.

        Args:
            number: An existing generation's number.

        Returns:
            The generation now in force.

        Raises:
            NotFound: If there is no such generation, or one of its artefacts is not in the store.
            VerificationFailed: If its file is not what was written.
        """
        chosen = self.get(number)
        for digest in chosen.artefacts:
            self._store.folder(digest)
        before = _read(self._pointer, MAX_POINTER) if self._pointer.exists() else None
        with disk.faults(f"the switch to generation {number}"):
            try:
                disk.write_file(self._pointer, f"{number}\n".encode("ascii"), on=self._store.disk)
            except OSError:
                self._put_back(before)
                raise
        return chosen

    def _put_back(self, before: bytes | None) -> None:
        """Undo a switch that failed: the rename may have come through, and only its sync not."""
        with suppress(
            OSError
        ):  # a disk that takes nothing at all was not switched either, or the next start mends it
            if before is not None:
                disk.write_file(self._pointer, before, on=self._store.disk)
            elif self._pointer.exists():
                self._store.disk.unlink(self._pointer)

    def deactivate(self) -> None:
        """Put no generation in force."""
        with disk.faults("the switch to no generation"):
            if self._pointer.exists():
                self._store.disk.unlink(self._pointer)
                self._store.disk.sync_folder(self._store.root)

    def remove(self, number: int) -> None:
        """Forget a generation, so that its artefacts may be collected.

        Args:
            number: Its number; must not be the one in force.

        Raises:
            NotFound: If there is none of that number.
            Conflict: If it is in force.
        """
        self.get(number)
        active = self.active()
        if active is not None and active.number == number:
            raise Conflict(
                "store.generation-active",
                f"Generation {number} is in force.",
                remedy="Switch to another generation first.",
            )
        with disk.faults(f"generation {number}"):
            self._store.disk.unlink(self._folder / f"{number}.json")
            self._store.disk.sync_folder(self._folder)


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)


def _parse(data: bytes, number: int) -> Generation:
    what = f"generation {number}"
    value = canonical.decode(data, limit=MAX_FILE, what=what, error=VerificationFailed)
    if not isinstance(value, dict) or set(value) != {"schema", "number", "bundle", "artefacts"}:
        raise _bad(what, "its fields are wrong")
    artefacts, bundle = value["artefacts"], value["bundle"]
    if value["schema"] != SCHEMA or value["number"] != number or not isinstance(bundle, str):
        raise _bad(what, "its schema, number or bundle is wrong")
    if not isinstance(artefacts, list) or len(artefacts) > MAX_ARTEFACTS:
        raise _bad(what, f"its artefacts are not a list of at most {MAX_ARTEFACTS}")
    return Generation(number, bundle, tuple(hashing.parse(digest) for digest in artefacts))


def _bad(what: str, why: str) -> VerificationFailed:
    return VerificationFailed(
        "store.generation-form",
        f"The file of {what} is not what was written: {why}.",
        remedy="Restore the home's store folder from a backup.",
    )
