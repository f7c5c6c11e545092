"""The list of a copy's files: what a client fetches, and what stands for the whole of an archive in the log.

Invariants: a listing names every plain file beneath a folder and nothing else is there; its digest changes with any byte, size
or name. Source of the digest's form: one line per file, ``<sha512> <size> <path>``, sorted by path, hashed with SHA-512.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from holdfast import hashing
from holdfast.errors import VerificationFailed

MAX_FILES = 1_000_000  # of one copy: an archive of 16 TB of segments, or as many artefacts' files


@dataclass(frozen=True, order=True)
class Listed:
    """One file.

    Args:
        path: Relative POSIX path.
        size: Bytes.
        digest: SHA-512 over its bytes.
    """

    path: str
    size: int
    digest: str


def paths_in(folder: Path) -> list[Path]:
    """List the plain files beneath a folder.

    Args:
        folder: The folder.

    Returns:
        Their paths, sorted.

    Raises:
        VerificationFailed: If something else is there, or too much.
    """
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        for name in [*names, *(one for one in folders if Path(parent, one).is_symlink())]:
            path = Path(parent, name)
            if not stat.S_ISREG(path.lstat().st_mode) or len(found) == MAX_FILES:
                raise VerificationFailed(
                    "copy.listing",
                    f"{path} is no plain file, or one of more than {MAX_FILES}.",
                    remedy="Bring the copy as it was written.",
                )
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def files_in(folder: Path) -> list[Listed]:
    """Hash every file beneath a folder.

    Args:
        folder: The folder.

    Returns:
        The listing, sorted by path.

    Raises:
        VerificationFailed: As ``paths_in``, or if a file can't be read.
    """
    listed = []
    for path in paths_in(folder):
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha512").hexdigest()
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise VerificationFailed(
                "copy.unreadable",
                f"{path} can't be read: {error.strerror}.",
                remedy="Bring an undamaged copy.",
            ) from error
        listed.append(Listed(path.relative_to(folder).as_posix(), size, f"sha512:{digest}"))
    return listed


def digest_of(files: list[Listed]) -> str:
    """Give the digest that stands for all of the files.

    Args:
        files: The listing.

    Returns:
        A ``sha512:`` digest.
    """
    lines = "".join(f"{one.digest} {one.size} {one.path}\n" for one in sorted(files))
    return hashing.sha512(lines.encode("utf-8", "surrogateescape"))
