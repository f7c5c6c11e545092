"""Artefacts on disk: every file once, by digest; every artefact a folder of hard links.

    store/
    ├── files/<aa>/<hex>            a file, read-only, named by its digest
    ├── artefacts/<hex>/<path>      hard links to the above, under the artefact's digest
    ├── stage/<name>/               what is coming in or going out; swept at start
    ├── generations/<n>.json        see ``store.generations``
    └── current

Invariants: an artefact folder appears whole, by one rename, or not at all, and goes the same way; its files and their names are
synced before the rename; files in the store are never written again (mode 0444), a damaged one is replaced by a whole one
under the same names. A crash leaves at most a stage, or files that no artefact has, behind.
"""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.errors import Conflict, HoldfastError, NotFound, VerificationFailed
from holdfast.store import disk, hashfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.artefact import Artefact, FileRef
    from holdfast.store.disk import Disk


class Store:
    """The store of one home. One process uses it at a time; its threads may share it.

    Args:
        root: The store's folder; made if it is not there.
        on: The disk that it changes.
    """

    def __init__(self, root: Path, on: Disk = disk.HOST) -> None:
        self.root = root
        self.disk = on
        self._files = root / "files"
        self._artefacts = root / "artefacts"
        self._stages = root / "stage"
        self._changing = (
            threading.Lock()
        )  # between "this file is here" and "it is linked" nothing may remove it
        with disk.faults("the store"):
            for folder in (self._files, self._artefacts, self._stages):
                disk.make_folders(folder, on)

    def sweep(self) -> list[str]:
        """Remove what an interrupted process left in the staging area, and its drafts; called once at start.

        Returns:
            The names of the stages removed.

        Raises:
            OperationFailed: If the disk failed.
        """
        left = sorted(self._stages.iterdir())
        with disk.faults("the store"):
            for entry in left:
                if entry.is_dir():
                    disk.remove_tree(entry, self.disk)
                else:  # a file that was about to take a damaged one's place
                    self.disk.unlink(entry)
            for folder in (self.root, self.root / "generations"):
                disk.remove_drafts(folder, self.disk)
        return [entry.name for entry in left]

    def stage(self, name: str) -> Path:
        """Make an empty folder for what is coming in, on the same file system as the store.

        Args:
            name: A name of the caller's, for example a job id.

        Returns:
            The folder.

        Raises:
            Conflict: If that name is in use.
        """
        folder = self._stages / name
        if folder.exists():
            raise Conflict(
                "store.stage-taken",
                f"Something named {name} is already coming in.",
                remedy="Wait for it to end.",
            )
        with disk.faults(f"the stage {name}"):
            self.disk.make_folder(folder)
        return folder

    def discard_stage(self, folder: Path) -> None:
        """Remove a stage and all that is in it.

        Args:
            folder: What ``stage`` gave.
        """
        with disk.faults(f"the stage {folder.name}"):
            disk.remove_tree(folder, self.disk)

    def has(self, digest: str) -> bool:
        """Tell whether an artefact is in the store; whether it is whole, ``verify`` tells.

        Args:
            digest: The artefact's digest.

        Returns:
            True if its folder is there.
        """
        return self._folder(digest).is_dir()

    def folder(self, digest: str) -> Path:
        """Find an artefact's folder.

        Args:
            digest: The artefact's digest.

        Returns:
            The folder that holds its files under their paths.

        Raises:
            NotFound: If the artefact is not in the store.
        """
        folder = self._folder(digest)
        if not folder.is_dir():
            raise NotFound(
                "store.artefact",
                f"The artefact {hashing.short(digest)} is not in the store.",
                remedy="Import the bundle that holds it, or make it again.",
                digest=digest,
            )
        return folder

    def artefacts(self) -> tuple[str, ...]:
        """List the artefacts in the store.

        Returns:
            Their digests, sorted.
        """
        return tuple(sorted(f"sha512:{entry.name}" for entry in self._artefacts.iterdir()))

    def files(self) -> Iterator[tuple[str, Path]]:
        """Go through the kept files.

        Yields:
            The digest that each is named by, and its path.
        """
        for folder in sorted(self._files.iterdir()):
            for path in sorted(folder.iterdir()):
                yield f"sha512:{path.name}", path

    def file(self, digest: str) -> Path:
        """Tell where a file is kept.

        Args:
            digest: Its digest.

        Returns:
            Its path, whether it is there or not.
        """
        name = hashing.raw(digest).hex()
        return self._files / name[:2] / name

    def adopt(self, staged: Path, artefact: Artefact) -> Path:
        """Take a staged artefact into the store, atomically.

        A kept file with the same digest is hashed before it counts as present; if it is damaged, the staged one takes its place
        in every artefact that has it. An artefact that is here already is left as it is: see ``discard``.

        Args:
            staged: The folder that holds exactly the artefact's files, inside a stage or on the same file system.
                Its files are linked, made read-only, and stay where they are until the stage is discarded.
            artefact: The record; the files' digests were computed by the caller.

        Returns:
            The artefact's folder in the store.

        Raises:
            VerificationFailed: If a file is missing, is not a plain file or has another size.
            NoSpace: If the disk is full.
            OperationFailed: If the disk failed.
        """
        goal = self._folder(artefact.digest)
        with self._changing, disk.faults(f"{artefact.kind} {artefact.name}"):
            if goal.is_dir():
                return goal
            self._keep_all(staged, artefact)
            draft = self.stage(f"adopt-{secrets.token_hex(8)}")
            for file in artefact.files:
                self._make_parents(draft, file.path)
                self.disk.link(self.file(file.digest), draft / file.path)
            for parent, _, _ in os.walk(draft, topdown=False):
                self.disk.sync_folder(Path(parent))
            self.disk.rename(draft, goal)
            self.disk.sync_folder(self._artefacts)
        return goal

    def discard(self, artefact: Artefact) -> None:
        """Put a damaged artefact aside, so that ``adopt`` can take it in anew from a whole copy.

        Args:
            artefact: The record; nothing happens if it is not in the store.

        Raises:
            OperationFailed: If the disk failed.
        """
        self.remove(artefact.digest)

    def remove(self, digest: str) -> None:
        """Remove an artefact's folder; its files stay until ``release``.

        Args:
            digest: The artefact's digest; nothing happens if it is not in the store.

        Raises:
            OperationFailed: If the disk failed.
        """
        with self._changing, disk.faults(f"artefact {hashing.short(digest)}"):
            folder = self._folder(digest)
            if not folder.is_dir():
                return
            gone = self._stages / f"remove-{secrets.token_hex(8)}"
            self.disk.rename(folder, gone)
            self.disk.sync_folder(self._artefacts)
            disk.remove_tree(gone, self.disk)

    def release(self) -> int:
        """Remove the kept files that nothing links to any more: no artefact, no job's view.

        Returns:
            Bytes freed.

        Raises:
            OperationFailed: If the disk failed.
        """
        freed = 0
        with self._changing, disk.faults("the store's files"):
            for _, path in self.files():
                facts = path.lstat()
                if facts.st_nlink == 1:
                    self.disk.unlink(path)
                    freed += facts.st_size
        return freed

    def verify(self, artefact: Artefact) -> None:
        """Hash an artefact's files again and compare.

        Args:
            artefact: The record.

        Raises:
            NotFound: If the artefact is not in the store.
            VerificationFailed: If a file is missing or added, or its digest is not the recorded one; names the file.
        """
        folder = self.folder(artefact.digest)
        for file in artefact.files:
            check(folder, file)
        for path in added(folder, artefact):
            raise VerificationFailed(
                "store.file-added",
                f"The stored {artefact.kind} {artefact.name} holds {path}, which is not in its record.",
                remedy="Find out who wrote into the store; then import the artefact's medium again.",
                file=path,
            )

    def _keep_all(self, staged: Path, artefact: Artefact) -> None:
        """Give every file of an artefact its name by digest, synced."""
        touched: set[Path] = set()
        for file in artefact.files:
            path = staged / file.path
            self._seal(path, file)
            kept = self.file(file.digest)
            if not kept.parent.is_dir():
                self.disk.make_folder(kept.parent)
                touched.add(self._files)
            if not kept.exists():
                self.disk.link(path, kept)
                touched.add(kept.parent)
            elif not path.samefile(kept) and not _whole(kept, file):
                self._replace(kept, path)
        for folder in sorted(touched, reverse=True):
            self.disk.sync_folder(folder)

    def _seal(self, path: Path, file: FileRef) -> None:
        """Make a staged file read-only and durable."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as problem:
            raise damaged(file, f"it can't be read ({problem.strerror})", "") from problem
        try:
            size = os.fstat(handle).st_size
            if size != file.size:
                raise damaged(file, f"it has {size} bytes, recorded are {file.size}", "")
            self.disk.protect(handle)
            self.disk.sync(handle)
        finally:
            os.close(handle)

    def _replace(self, kept: Path, whole: Path) -> None:
        """Put a whole file in the place of a damaged one, in every artefact that has it."""
        facts = kept.lstat()
        places = []
        for parent, _, names in os.walk(self._artefacts):
            for name in names:
                found = Path(parent, name).lstat()
                if (found.st_dev, found.st_ino) == (facts.st_dev, facts.st_ino):
                    places.append(Path(parent, name))
        places.append(kept)  # the last: as long as it is the damaged one, what is cut short is begun again
        fresh = self._stages / f"replace-{secrets.token_hex(8)}"
        for place in places:
            self.disk.link(whole, fresh)
            self.disk.rename(fresh, place)
            self.disk.sync_folder(place.parent)

    def _make_parents(self, folder: Path, path: str) -> None:
        for part in path.split("/")[:-1]:
            folder /= part
            self.disk.make_folder(folder)

    def _folder(self, digest: str) -> Path:
        return self._artefacts / hashing.raw(digest).hex()


def check(folder: Path, file: FileRef) -> None:
    """Hash one file of an artefact and compare.

    Args:
        folder: The folder that holds the artefact's files.
        file: The recorded file.

    Raises:
        VerificationFailed: If it is missing, can't be read, or is another one.
    """
    try:
        found = hashfile.describe(folder / file.path, file.path).ref
    except OSError as problem:
        raise damaged(file, f"it can't be read ({problem.strerror})", "") from problem
    except HoldfastError as problem:
        raise damaged(file, problem.message.rstrip("."), "") from problem
    if found != file:
        raise damaged(file, f"its digest is {found.digest}, recorded is {file.digest}", found.digest)


def added(folder: Path, artefact: Artefact) -> list[str]:
    """Find what lies in an artefact's folder and is not in its record.

    Args:
        folder: The folder.
        artefact: The record.

    Returns:
        Paths of the files and links, relative to the folder, sorted.
    """
    known = {file.path for file in artefact.files}
    found = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        found += [str(Path(parent, name).relative_to(folder)) for name in [*names, *links]]
    return sorted(set(found) - known)


def damaged(file: FileRef, why: str, found: str) -> VerificationFailed:
    """Say that a stored file is not what was recorded.

    Args:
        file: The record.
        why: What is wrong.
        found: The digest found; empty if it could not be computed.

    Returns:
        The error, not raised.
    """
    return VerificationFailed(
        "store.file-damaged",
        f"The stored file {file.path} does not match its record: {why}.",
        remedy="Import the medium that brought it again, or restore the home's store from a backup; do not use what is"
        " there.",
        file=file.path,
        recorded=file.digest,
        found=found,
    )


def _whole(path: Path, file: FileRef) -> bool:
    try:
        return hashfile.describe(path, file.path).ref == file
    except (OSError, HoldfastError):
        return False
