"""Small durable steps on a disk: write, link and rename so that a crash leaves the old or the new, never half.

Order of operations, everywhere in the store: write the bytes, sync the file, rename or link it into place, sync the folder.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from holdfast.errors import NoSpace

if TYPE_CHECKING:
    from pathlib import Path

RESERVE = 64 * 2**20  # bytes left free for the audit log, which must be able to record that the disk is full


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Args:
        folder: The folder.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a small file atomically and durably.

    Args:
        path: Where it shall be.
        data: Its whole contents.
        mode: Its permissions.
    """
    draft = path.with_name(f".{path.name}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def create_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Create a small file durably; never replaces one.

    Args:
        path: Where it shall be.
        data: Its whole contents.
        mode: Its permissions.

    Raises:
        FileExistsError: If something has that name already.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()
    sync_folder(path.parent)


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
