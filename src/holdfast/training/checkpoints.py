"""Checkpoints that are either whole or not there.

The trainer writes a checkpoint into a scratch folder; ``adopt`` notes every file's digest and the run's, brings all of it to
disk, and renames it to ``step-<n>``. Invariants: a folder of that name was once complete; one whose files no longer match
is passed over, so that a run goes on from the last good one; a checkpoint of another run is never used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedInput

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.hashing import Digest

SEAL = "checkpoint.json"
MAX_SEAL = 2**20  # bytes; a checkpoint has about ten files
KEPT = 2  # checkpoints kept: if the newest is damaged the one before it is used
_NAME = re.compile(r"step-(\d{10})")


def adopt(scratch: Path, root: Path, *, step: int, run: Digest) -> Path:
    """Seal a complete scratch folder and put it among the checkpoints.

    Args:
        scratch: The folder that the trainer wrote, on the same file system.
        root: The folder of checkpoints.
        step: Optimiser steps done.
        run: The run's digest.

    Returns:
        The checkpoint.
    """
    digests: dict[str, canonical.Json] = {
        path.relative_to(scratch).as_posix(): _digest(path)
        for path in sorted(scratch.rglob("*"))
        if path.is_file() and path.name != SEAL
    }
    (scratch / SEAL).write_bytes(canonical.encode({"run": run, "step": step, "files": digests}))
    for path in [*scratch.rglob("*"), scratch]:
        sync(path)
    root.mkdir(exist_ok=True)
    target = root / f"step-{step:010d}"
    scratch.rename(target)
    sync(root)
    for old in _found(root)[KEPT:]:
        shutil.rmtree(old)
    return target


def latest(root: Path, *, run: Digest) -> tuple[Path, int] | None:
    """Find the last good checkpoint of a run.

    Args:
        root: The folder of checkpoints; it need not exist.
        run: The run's digest.

    Returns:
        The checkpoint and its step, or None if there is none to go on from.
    """
    for folder in _found(root):
        step = _verified(folder, run)
        if step is not None:
            return folder, step
    return None


def discard_after(root: Path, step: int) -> None:
    """Remove checkpoints that a run will not go on from: of another run, or damaged.

    Args:
        root: The folder of checkpoints; it need not exist.
        step: The step that the run goes on from; 0 for a new run.
    """
    for folder in _found(root):
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)


def sync(path: Path) -> None:
    """Bring a file or a folder to disk.

    Args:
        path: The file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _found(root: Path) -> list[Path]:
    """List the checkpoints, newest first."""
    if not root.is_dir():
        return []
    return sorted((path for path in root.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def _verified(folder: Path, run: Digest) -> int | None:
    try:
        with (folder / SEAL).open("rb") as file:
            seal = canonical.decode(file.read(MAX_SEAL + 1), limit=MAX_SEAL, what="A checkpoint's seal")
        if not isinstance(seal, dict) or seal.get("run") != run:
            return None
        step, files = seal.get("step"), seal.get("files")
        if not isinstance(step, int) or not isinstance(files, dict):
            return None
        good = all(_digest(folder / name) == digest for name, digest in files.items())
    except (OSError, UntrustedInput):
        return None
    return step if good else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha512:" + hashlib.file_digest(file, "sha512").hexdigest()
