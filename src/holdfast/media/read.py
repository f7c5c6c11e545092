"""A medium, read through one directory descriptor.

Invariants: nothing outside the folder is ever opened, for every step of a path is taken relative to an open folder and
links, symbolic and hard, are refused; only plain files are read, each within a bound; no two names in a folder differ in
letter case or Unicode form alone; nothing is written. A medium that is pulled out in the middle is an error like any other.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from typing import TYPE_CHECKING, Self

from holdfast.errors import NotFound, UntrustedBundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_ENTRIES = 500_000  # files and folders of one medium: twice what a manifest can name
MAX_DEPTH = 4  # names in a path: targets/<kind>s/<collection>/manifest.json
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
        return dict(self.walk())

    def walk(self, under: str = "") -> Iterator[tuple[str, int]]:
        """Go through everything on the medium, or in one of its folders, without keeping it.

        Args:
            under: A folder's path; the whole medium if empty.

        Yields:
            Path and size in bytes of every plain file; a folder as ``path/`` with size 0, before what is in it.

        Raises:
            UntrustedBundle: If something is neither a plain file nor a folder, is too deep, or there is too much.
        """
        handle = os.dup(self._handle)
        try:
            for part in under.split("/") if under else ():
                inner = _descend(handle, part, under)
                os.close(handle)
                handle = inner
            for count, found in enumerate(self._walk(handle, f"{under}/" if under else "")):
                if count >= MAX_ENTRIES:
                    raise _unlisted(found[0], "is more than any medium holds")
                yield found
        finally:
            os.close(handle)

    def _walk(self, handle: int, prefix: str) -> Iterator[tuple[str, int]]:
        seen: set[str] = set()
        for name, facts in _entries(handle, prefix):
            path = prefix + name
            alike = unicodedata.normalize("NFKC", name).casefold()
            if alike in seen:
                raise UntrustedBundle(
                    "media.collision",
                    f"{shown(path)} and another name on the medium are the same on other file systems.",
                    remedy="Do not import this medium: something was added to it. Copy it again from its publisher.",
                    file=shown(path),
                )
            seen.add(alike)
            if path.count("/") >= MAX_DEPTH:
                raise _unlisted(path, "is more than any medium holds")
            if stat.S_ISDIR(facts.st_mode):
                yield path + "/", 0
                inner = _descend(handle, name, path)
                try:
                    yield from self._walk(inner, path + "/")
                finally:
                    os.close(inner)
            elif _is_plain(facts):
                yield path, facts.st_size
            else:
                raise _unlisted(path, "is a link or a special file")

    def holds(self, path: str) -> bool:
        """Tell whether something has a name on the medium.

        Args:
            path: Its path on the medium, of one part.

        Returns:
            True if there is something, whatever it is.
        """
        try:
            os.stat(path, dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as problem:
            raise unreadable(path, problem) from problem
        return True

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
        try:
            plain = _is_plain(os.fstat(file))
        except OSError as problem:
            os.close(file)
            raise unreadable(path, problem) from problem
        if not plain:
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


def shown(path: str) -> str:
    """Write a path as text that every terminal and file takes, whatever bytes the medium's names are made of.

    Args:
        path: A path as the system gave it.

    Returns:
        The path; what is not printable, or not text, is escaped.
    """
    text = path.encode("utf-8", "backslashreplace").decode()
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


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
        f"{shown(path)} is missing from the medium."
        if missing
        else f"{shown(path)} can't be read: {problem.strerror}.",
        remedy="Copy the medium again from its publisher; this copy is incomplete or damaged.",
        file=shown(path),
    )


def changed(path: str) -> UntrustedBundle:
    """Say that a file of the medium is not what was signed.

    Args:
        path: Its path on the medium.

    Returns:
        The error, not raised.
    """
    return UntrustedBundle(
        "media.changed",
        f"{shown(path)} on the medium is not what its publisher signed.",
        remedy="Copy the medium again from its publisher; this copy was changed or is damaged.",
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
        f"{shown(path)} on the medium {why}.",
        remedy="Do not import this medium: something was added to it. Copy it again from its publisher.",
        file=shown(path),
    )


def _is_plain(facts: os.stat_result) -> bool:
    """A second name for a file can lie outside the medium, and change it from there."""
    return stat.S_ISREG(facts.st_mode) and facts.st_nlink <= 1


def _descend(handle: int, name: str, path: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=handle)
    except OSError as problem:
        raise unreadable(path, problem) from problem


def _entries(handle: int, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(handle) as entries:
            for entry in entries:
                yield entry.name, entry.stat(follow_symlinks=False)
    except OSError as problem:
        raise unreadable(prefix or ".", problem) from problem
