"""A medium, read through one directory descriptor.

Invariants: nothing outside the folder is ever opened, for every step of a path is taken relative to an open folder and
links are refused; only plain files are read, each within a bound; nothing is written.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Self

from holdfast.errors import NotFound, UntrustedBundle

if TYPE_CHECKING:
    from pathlib import Path

MAX_ENTRIES = 2_000_000  # files of one medium: twice the chunks of the largest file
MAX_DEPTH = 3  # folders: chunks/<aa>/<hex>
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a named pipe put in the place of a file would hold the reader for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Medium:
    """An open medium; a context manager.

    Args:
        place: Its folder, or a descriptor of it, which is duplicated.

    Raises:
        NotFound: If there is no such folder.
    """

    def __init__(self, place: Path | int) -> None:
        try:
            self._handle = (
                os.dup(place) if isinstance(place, int) else os.open(place, _FOLDER & ~os.O_NOFOLLOW)
            )
        except OSError as problem:
            raise NotFound(
                "media.folder",
                f"{place} can't be opened as a medium: {problem.strerror}.",
                remedy="Name the folder that holds metadata, targets and chunks.",
            ) from problem

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the medium's descriptor."""
        os.close(self._handle)

    def listing(self) -> dict[str, int]:
        """List everything on the medium.

        Returns:
            Size in bytes of every plain file by its path; folders are listed as ``path/`` with size 0.

        Raises:
            UntrustedBundle: If something is neither a plain file nor a folder, is too deep, or there is too much.
        """
        found: dict[str, int] = {}
        self._list(self._handle, "", found)
        return found

    def _list(self, handle: int, prefix: str, found: dict[str, int]) -> None:
        try:
            self._walk(handle, prefix, found)
        except OSError as problem:
            raise unreadable(prefix or ".", problem) from problem

    def _walk(self, handle: int, prefix: str, found: dict[str, int]) -> None:
        with os.scandir(handle) as entries:
            for entry in entries:
                path = prefix + entry.name
                facts = entry.stat(follow_symlinks=False)
                if len(found) >= MAX_ENTRIES or path.count("/") >= MAX_DEPTH:
                    raise _unlisted(path, "is more than any medium holds")
                if stat.S_ISDIR(facts.st_mode):
                    found[path + "/"] = 0
                    inner = os.open(entry.name, _FOLDER, dir_fd=handle)
                    try:
                        self._list(inner, path + "/", found)
                    finally:
                        os.close(inner)
                elif stat.S_ISREG(facts.st_mode):
                    found[path] = facts.st_size
                else:
                    raise _unlisted(path, "is a link or a special file")

    def open(self, path: str) -> int:
        """Open a plain file.

        Args:
            path: Its path on the medium.

        Returns:
            A descriptor; the caller closes it.

        Raises:
            UntrustedBundle: If it is missing, unreadable or not a plain file.
        """
        *folders, name = path.split("/")
        handle = os.dup(self._handle)
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = inner
            file = os.open(name, _FILE, dir_fd=handle)
        except OSError as problem:
            raise unreadable(path, problem) from problem
        finally:
            os.close(handle)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise _unlisted(path, "is a link or a special file")
        return file

    def read(self, path: str, limit: int) -> bytes:
        """Read a whole file.

        Args:
            path: Its path on the medium.
            limit: The most bytes accepted.

        Returns:
            Its bytes.

        Raises:
            UntrustedBundle: If it is missing, unreadable, not a plain file or too large.
        """
        with os.fdopen(self.open(path), "rb") as file:
            try:
                data = file.read(limit + 1)
            except OSError as problem:
                raise unreadable(path, problem) from problem
        if len(data) > limit:
            raise UntrustedBundle(
                "media.too-large",
                f"{path} on the medium is larger than the {limit} bytes allowed.",
                remedy="Do not import this medium; ask its publisher for a new one.",
                file=path,
                limit=limit,
            )
        return data


def unreadable(path: str, problem: OSError) -> UntrustedBundle:
    """Say that a file of the medium can't be read.

    Args:
        path: Its path on the medium.
        problem: What the system said.

    Returns:
        The error, not raised.
    """
    missing = isinstance(problem, FileNotFoundError)
    return UntrustedBundle(
        "media.missing" if missing else "media.unreadable",
        f"{path} is missing from the medium." if missing else f"{path} can't be read: {problem.strerror}.",
        remedy="Copy the medium again from its publisher; this copy is incomplete or damaged.",
        file=path,
    )


def unlisted(path: str) -> UntrustedBundle:
    """Say that something on the medium is not vouched for.

    Args:
        path: Its path on the medium.

    Returns:
        The error, not raised.
    """
    return _unlisted(path, "is not listed in its manifest")


def _unlisted(path: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "media.unlisted",
        f"{path} on the medium {why}.",
        remedy="Do not import this medium: something was added to it. Copy it again from its publisher.",
        file=path,
    )
