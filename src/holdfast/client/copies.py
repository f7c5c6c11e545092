"""Copies that the daemon made, fetched file by file: backups and archives.

Order of operations: the files are written and synced one by one into ``<folder>.part``; ``backup.json`` or whatever else marks
the whole comes last, as the daemon lists it; the folder gets its name by one rename; then the daemon may let its own copy go.
Invariants: a folder that exists is never written into; a copy that was cut short never has the final name, and is removed where
this process could; memory does not grow with a file.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from holdfast.errors import Conflict, OperationFailed
from holdfast.store import disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.client.connection import Client

    Progress = Callable[[str, int, int], None]

PART = ".part"


def require_new(folder: Path) -> None:
    """Refuse a folder that exists.

    Args:
        folder: Where the copy is to be written.

    Raises:
        Conflict: If it exists.
    """
    if folder.exists() or folder.is_symlink():
        raise Conflict(
            "copy.exists", f"{folder} exists already.", remedy="Name a folder that does not exist yet."
        )


async def save(client: Client, job: int, folder: Path, progress: Progress) -> None:
    """Fetch a copy.

    Args:
        client: A session of the person who had it made.
        job: The job that made it, done.
        folder: Where to write it; must not exist.
        progress: Told (step, bytes done, bytes in all).

    Raises:
        Conflict: If the folder exists.
        OperationFailed: If the daemon sends something else than it listed, or the disk fails.
    """
    require_new(folder)
    listed = (await client.call("GET", f"/v1/audit/copies/{job}")).get("files")
    files = [_entry(one) for one in (listed if isinstance(listed, list) else [])]
    total, done = sum(size for _, size in files), 0
    part = folder.with_name(folder.name + PART)
    try:
        with disk.faults(f"the copy {folder}"):
            await asyncio.to_thread(_begin, part, total)
            for path, size in files:
                progress("copy", done, total)
                place = part / path
                await asyncio.to_thread(disk.make_folders, place.parent)
                await _fetch(client, f"/v1/audit/copies/{job}/{quote(path)}", place, size)
                done += size
            await asyncio.to_thread(_finish, part, folder)
    finally:
        shutil.rmtree(
            part, ignore_errors=True
        )  # gone if it got its name; else it holds space that was too little
    progress("copy", total, total)
    await client.call("DELETE", f"/v1/audit/copies/{job}")


def _entry(value: Json) -> tuple[str, int]:
    """Read one line of the daemon's list; a name that leads out of the folder is refused."""
    path, size = (value.get("path"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(path, str) or not isinstance(size, int):
        raise _odd("an entry without path and size")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise _odd(f"the path {path[:80]!r}")
    return path, size


def _begin(part: Path, total: int) -> None:
    shutil.rmtree(part, ignore_errors=True)
    disk.make_folders(part)
    disk.require_space(part, total, "the copy")


def _finish(part: Path, folder: Path) -> None:
    for parent, _, _ in os.walk(part, topdown=False):
        disk.sync_folder(part.__class__(parent))
    part.rename(folder)
    disk.sync_folder(folder.parent)


async def _fetch(client: Client, route: str, place: Path, size: int) -> None:
    with place.open("xb") as file:
        got = 0
        async for chunk in client.stream(route):
            got += len(chunk)
            if got > size:
                break
            await asyncio.to_thread(file.write, chunk)
        if got != size:
            raise _odd(f"{got} bytes of {place.name}, of which {size} were listed")
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())


def _odd(what: str) -> OperationFailed:
    return OperationFailed(
        "copy.answer",
        f"The daemon sent {what}.",
        remedy="Check that client and daemon are of the same version.",
    )
