"""Artefacts on disk: every file once, by digest; every artefact a folder of hard links.

    store/
    ├── files/<aa>/<hex>            a file, read-only, named by its digest
    ├── artefacts/<hex>/<path>      hard links to the above, under the artefact's digest
    ├── stage/<name>/               what is coming in and not yet admitted; swept at start
    ├── generations/<n>.json        see ``store.generations``
    └── current

Invariants: an artefact folder appears whole, by one rename, or not at all; its files and their names are synced before the
rename; files in the store are never written again (mode 0444). A crash leaves at most a stage behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.errors import Conflict, HoldfastError, NotFound, VerificationFailed
from holdfast.store import disk, hashfile

if TYPE_CHECKING:
    from holdfast.artefact import Artefact, FileRef

READ_ONLY = 0o444


class Store:
    """The store of one home.

    Args:
        root: The store's folder; made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = root / "files"
        self._artefacts = root / "artefacts"
        self._stages = root / "stage"
        for folder in (self._files, self._artefacts, self._stages):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def sweep(self) -> list[str]:
        """Remove what an interrupted process left in the staging area; called once at start.

        Returns:
            The names of the stages removed.
        """
        left = sorted(entry.name for entry in self._stages.iterdir())
        for name in left:
            self.discard_stage(self._stages / name)
        return left

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
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise Conflict(
                "store.stage-taken",
                f"Something named {name} is already coming in.",
                remedy="Wait for it to end.",
            ) from None
        return folder

    def discard_stage(self, folder: Path) -> None:
        """Remove a stage and all that is in it.

        Args:
            folder: What ``stage`` gave.
        """
        # Another process may have made its folders read-only; a stage is ours to remove all the same.
        for parent, _, _ in os.walk(folder):
            Path(parent).chmod(0o700)
        shutil.rmtree(folder, ignore_errors=False)

    def has(self, digest: str) -> bool:
        """Tell whether an artefact is in the store.

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

    def adopt(self, staged: Path, artefact: Artefact) -> Path:
        """Take a staged artefact into the store, atomically.

        Args:
            staged: The folder that holds exactly the artefact's files, inside a stage or on the same file system.
                Its files are linked, made read-only, and stay where they are until the stage is discarded.
            artefact: The record; the files' digests were computed by the caller.

        Returns:
            The artefact's folder in the store.

        Raises:
            VerificationFailed: If a file is missing, is not a plain file or has another size.
        """
        goal = self._folder(artefact.digest)
        if goal.is_dir():
            return goal
        for file in artefact.files:
            self._keep(staged / file.path, file)
        draft = self.stage(f"adopt-{secrets.token_hex(8)}")
        for file in artefact.files:
            place = draft / file.path
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.link(self._file(file.digest), place)
        for parent, _, _ in os.walk(draft, topdown=False):
            disk.sync_folder(Path(parent))
        try:
            draft.rename(goal)
        except OSError as problem:
            if problem.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
            self.discard_stage(draft)  # another job adopted the same artefact meanwhile
        disk.sync_folder(self._artefacts)
        return goal

    def verify(self, artefact: Artefact) -> None:
        """Hash an artefact's files again and compare.

        Args:
            artefact: The record.

        Raises:
            VerificationFailed: If a file is missing, or its digest is not the recorded one; names the file.
        """
        folder = self.folder(artefact.digest)
        for file in artefact.files:
            try:
                found = hashfile.describe(folder / file.path, file.path).ref
            except OSError as problem:
                raise _damaged(file, f"it can't be read ({problem.strerror})", "") from problem
            except HoldfastError as problem:
                raise _damaged(file, problem.message, "") from problem
            if found != file:
                raise _damaged(file, f"its digest is {found.digest}, recorded is {file.digest}", found.digest)

    def _keep(self, path: Path, file: FileRef) -> None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as problem:
            raise _damaged(file, f"it can't be read ({problem.strerror})", "") from problem
        try:
            size = os.fstat(handle).st_size
            if size != file.size:
                raise _damaged(file, f"it has {size} bytes, recorded are {file.size}", "")
            os.fchmod(handle, READ_ONLY)
            os.fsync(handle)
        finally:
            os.close(handle)
        kept = self._file(file.digest)
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True, mode=0o700)
            disk.sync_folder(self._files)
            with contextlib.suppress(FileExistsError):  # another job kept the same file meanwhile
                os.link(path, kept)
            disk.sync_folder(kept.parent)

    def _file(self, digest: str) -> Path:
        name = hashing.raw(digest).hex()
        return self._files / name[:2] / name

    def _folder(self, digest: str) -> Path:
        return self._artefacts / hashing.raw(digest).hex()


def _damaged(file: FileRef, why: str, found: str) -> VerificationFailed:
    return VerificationFailed(
        "store.file-damaged",
        f"The stored file {file.path} does not match its record: {why}.",
        remedy="Restore the home's store from a backup; do not use what is there.",
        file=file.path,
        recorded=file.digest,
        found=found,
    )
