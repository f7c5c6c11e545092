"""Durable steps on a disk: write, link and rename so that a crash leaves the old or the new, never half.

Everything that the import and the store change on disk goes through a ``Disk``, so that tests can cut the power, fill the disk
or break it between any two steps. Nothing is durable by itself: contents are once ``sync`` has returned for their file, names
once ``sync_folder`` has returned for their folder. Order of operations, everywhere: write the bytes, sync the file, rename
or link it into place, sync the folder.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from holdfast.errors import NoSpace, OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.errors import HoldfastError

RESERVE = 64 * 2**20  # bytes left free for the audit log, which must be able to record that the disk is full
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_PLACE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EPERM})
READ_ONLY = 0o444
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DRAFT = ".draft"


class Disk(Protocol):
    """What changes a disk. Each operation raises ``OSError`` when it could not do its work."""

    def make_folder(self, path: Path) -> None:
        """Make a folder for the owner alone; nothing if it is there."""

    def create(self, path: Path, mode: int) -> int:
        """Make an empty file that did not exist and open it for reading and writing."""

    def open(self, path: Path) -> int:
        """Open an existing file for reading and writing."""

    def allocate(self, handle: int, size: int) -> None:
        """Give a file exactly this size and the blocks for it; what was never written reads as zeros."""

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of the data at a place."""

    def protect(self, handle: int) -> None:
        """Make a file read-only."""

    def sync(self, handle: int) -> None:
        """Return when a file's contents, size and permissions are on disk."""

    def close(self, handle: int) -> None:
        """Let go of a file."""

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name, which must not exist."""

    def rename(self, source: Path, target: Path) -> None:
        """Put a file or a folder in the place of another, atomically."""

    def unlink(self, path: Path) -> None:
        """Take a file's name away."""

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in a folder are on disk."""


class HostDisk:
    """The real thing."""

    def make_folder(self, path: Path) -> None:  # noqa: D102 - as in Disk
        path.mkdir(mode=0o700, exist_ok=True)

    def create(self, path: Path, mode: int) -> int:  # noqa: D102 - as in Disk
        return os.open(path, _NEW, mode)

    def open(self, path: Path) -> int:  # noqa: D102 - as in Disk
        return os.open(path, _OLD)

    def allocate(self, handle: int, size: int) -> None:  # noqa: D102 - as in Disk
        os.ftruncate(handle, size)
        if size:
            os.posix_fallocate(handle, 0, size)

    def write(self, handle: int, data: bytes | memoryview, offset: int) -> None:  # noqa: D102 - as in Disk
        view = memoryview(data)
        while view:
            count = os.pwrite(handle, view, offset)
            view, offset = view[count:], offset + count

    def protect(self, handle: int) -> None:  # noqa: D102 - as in Disk
        os.fchmod(handle, READ_ONLY)

    def sync(self, handle: int) -> None:  # noqa: D102 - as in Disk
        os.fsync(handle)

    def close(self, handle: int) -> None:  # noqa: D102 - as in Disk
        os.close(handle)

    def link(self, source: Path, target: Path) -> None:  # noqa: D102 - as in Disk
        os.link(source, target, follow_symlinks=False)

    def rename(self, source: Path, target: Path) -> None:  # noqa: D102 - as in Disk
        source.rename(target)

    def unlink(self, path: Path) -> None:  # noqa: D102 - as in Disk
        path.unlink()

    def remove_folder(self, path: Path) -> None:  # noqa: D102 - as in Disk
        path.rmdir()

    def sync_folder(self, folder: Path) -> None:  # noqa: D102 - as in Disk
        handle = os.open(folder, _FOLDER)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


HOST = HostDisk()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Args:
        folder: The folder.
    """
    HOST.sync_folder(folder)


def make_folders(folder: Path, on: Disk = HOST) -> None:
    """Make a folder and those above it that are not there, their names durable.

    Args:
        folder: The folder.
        on: Where.
    """
    if folder.is_dir():
        return
    make_folders(folder.parent, on)
    on.make_folder(folder)
    on.sync_folder(folder.parent)


def write_file(path: Path, data: bytes, *, mode: int = 0o600, on: Disk = HOST) -> None:
    """Replace a small file atomically and durably.

    Args:
        path: Where it shall be.
        data: Its whole contents.
        mode: Its permissions.
        on: Where.
    """
    draft = _draft(path, data, mode, on)
    try:
        on.rename(draft, path)
    except BaseException:
        with suppress(OSError):
            on.unlink(draft)
        raise
    on.sync_folder(path.parent)


def create_file(path: Path, data: bytes, *, mode: int = 0o600, on: Disk = HOST) -> None:
    """Create a small file durably; never replaces one.

    Args:
        path: Where it shall be.
        data: Its whole contents.
        mode: Its permissions.
        on: Where.

    Raises:
        FileExistsError: If something has that name already.
    """
    draft = _draft(path, data, mode, on)
    try:
        on.link(draft, path)
    finally:
        on.unlink(draft)
    on.sync_folder(path.parent)


def remove_tree(folder: Path, on: Disk = HOST) -> None:
    """Remove a folder and all that is in it; not durable until its parent is synced.

    Args:
        folder: The folder; nothing happens if it is not there.
        on: Where.
    """
    if not folder.is_dir() or folder.is_symlink():
        return
    # Another process may have made its folders read-only; they are ours to remove all the same.
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(0o700)
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            on.unlink(Path(parent, name))
        for name in folders:
            inner = Path(parent, name)
            if inner.is_symlink():
                on.unlink(inner)
            else:
                on.remove_folder(inner)
    on.remove_folder(folder)


def remove_drafts(folder: Path, on: Disk = HOST) -> None:
    """Remove what a crash in ``write_file`` or ``create_file`` left; nobody may be writing there.

    Args:
        folder: The folder; nothing happens if it is not there.
        on: Where.
    """
    for draft in folder.glob(f".*{_DRAFT}"):
        on.unlink(draft)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk can't hold.

    Args:
        folder: Where the bytes would go; must exist.
        needed: Bytes.
        what: What they are, for the message.

    Raises:
        NoSpace: If fewer than ``needed`` and a reserve are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + RESERVE:
        raise no_space(what, needed=needed + RESERVE, free=free)


def no_space(what: str, *, needed: int, free: int) -> NoSpace:
    """Say that the disk is too full.

    Args:
        what: What can't be stored.
        needed: Bytes needed.
        free: Bytes free.

    Returns:
        The error, not raised.
    """
    return NoSpace(
        "store.no-space",
        f"There is too little space for {what}: {needed} bytes are needed and {free} are free.",
        remedy=f"Free at least {max(needed - free, 0)} bytes on that disk, then try again.",
        needed=needed,
        free=free,
    )


@contextmanager
def faults(what: str) -> Iterator[None]:
    """Turn what the disk says into our errors.

    Args:
        what: What was being written, for the message.

    Yields:
        Nothing.

    Raises:
        NoSpace: If the disk is full.
        OperationFailed: If it failed otherwise.
    """
    try:
        yield
    except OSError as problem:
        raise fault(what, problem) from problem


def fault(what: str, problem: OSError) -> HoldfastError:
    """Say that the disk could not do its work.

    Args:
        what: What was being written.
        problem: What the system said.

    Returns:
        The error, not raised.
    """
    if problem.errno in FULL:
        return NoSpace(
            "store.no-space",
            f"The disk filled up while {what} was written.",
            remedy="Free space on that disk, then try again.",
        )
    if problem.errno in _NO_PLACE:
        return OperationFailed(
            "store.place",
            f"There is no place to write {what}: {problem.strerror or problem}.",
            remedy="See that the folder is there and that you may write in it; then try again.",
            errno=problem.errno,
        )
    return OperationFailed(
        "store.disk",
        f"The disk failed while {what} was written: {problem.strerror or problem}.",
        remedy="See the system's log for the disk's health; then try again, or restore the home on another disk.",
        errno=problem.errno,
    )


def _draft(path: Path, data: bytes, mode: int, on: Disk) -> Path:
    """Write a file's contents, synced, under a name of its own in the same folder."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_DRAFT}")
    handle = on.create(draft, mode)
    try:
        try:
            on.write(handle, data, 0)
            on.sync(handle)
        finally:
            on.close(handle)
    except BaseException:
        with suppress(OSError):
            on.unlink(draft)
        raise
    return draft
