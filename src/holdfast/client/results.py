"""Results of queries, fetched file by file.

Order of operations: the files are written one by one into ``<folder>.part``, compared with the digests that ``query.json`` states,
and the folder gets its name by one rename. Invariants: a folder that exists is never written into; memory does not grow with a
file; a result that was cut short never has the final name, and is removed where this process could.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING
from urllib.parse import quote

from holdfast.errors import Conflict, OperationFailed
from holdfast.store import disk

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.client.connection import Client

STATED = "query.json"
PART = ".part"


def require_new(folder: Path) -> None:
    """Refuse a folder that exists.

    Args:
        folder: Where a result is to be written.

    Raises:
        Conflict: If it exists.
    """
    if folder.exists() or folder.is_symlink():
        raise Conflict(
            "result.exists", f"{folder} exists already.", remedy="Name a folder that does not exist yet."
        )


async def save(client: Client, job: int, folder: Path) -> None:
    """Fetch a result.

    Args:
        client: An auditor's session.
        job: The job that made it, done.
        folder: Where to write it; must not exist.

    Raises:
        OperationFailed: If what arrives is not what ``query.json`` states, or the disk fails.
    """
    listed = (await client.call("GET", f"/v1/audit/results/{job}")).get("files")
    names = [str(name) for name in listed] if isinstance(listed, list) else []
    part = folder.with_name(folder.name + PART)
    try:
        with disk.faults(f"the result {folder}"):
            await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
            await asyncio.to_thread(part.mkdir, parents=True)
            digests = {name: await _fetch(client, job, name, part) for name in names}
            stated = json.loads((part / STATED).read_bytes())  # our own daemon's words
            for name, one in stated["files"].items():
                if digests.get(name) != one["digest"]:
                    raise OperationFailed(
                        "result.changed",
                        f"{name} did not arrive as it was written.",
                        remedy="Fetch the result again.",
                    )
            await asyncio.to_thread(_name, part, folder)
    finally:
        shutil.rmtree(
            part, ignore_errors=True
        )  # gone if it got its name; else it holds space that was too little


def _name(part: Path, folder: Path) -> None:
    """Give a whole folder its name, durably."""
    disk.sync_folder(part)
    part.rename(folder)
    disk.sync_folder(folder.parent)


async def _fetch(client: Client, job: int, name: str, folder: Path) -> str:
    digest = hashlib.sha512()
    if "/" in name or name.startswith("."):
        raise OperationFailed(
            "result.name", f"The daemon named a file {name[:80]!r}.", remedy="Check the daemon."
        )
    with (folder / name).open("xb") as file:
        async for chunk in client.stream(f"/v1/audit/results/{job}/{quote(name)}"):
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    return f"sha512:{digest.hexdigest()}"
