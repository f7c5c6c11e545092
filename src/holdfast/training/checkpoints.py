"""Checkpoints that are either whole or not there.

The trainer writes a checkpoint into a scratch folder; ``adopt`` adds what the run itself must remember, notes every file's
digest and the run's, brings all of it to disk, and renames it to ``step-<n>``. Invariants: a folder of that name was once
complete; one whose files no longer match, or with a file more, is passed over, so that a run goes on from the last good one; a checkpoint of
another run is never used; at most ``KEPT`` are kept.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.hashing import Digest

FOLDER = "checkpoints"
SEAL = "checkpoint.json"
NOTES = "run.json"
MAX_SEAL = 2**20  # bytes; a checkpoint has about ten files
MAX_NOTES = 2**20  # bytes; a few figures and one bits per byte for each data set
KEPT = 2  # checkpoints kept: if the newest is damaged the one before it is used
_NAME = re.compile(r"step-(\d{10})")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are as they were written.

    Args:
        folder: Where it is.
        step: Optimiser steps done.
        notes: What the run remembers beside the trainer's state.
    """

    folder: Path
    step: int
    notes: dict[str, Json]


def adopt(scratch: Path, root: Path, *, step: int, run: Digest, notes: Mapping[str, Json]) -> Path:
    """Seal a complete scratch folder and put it among the checkpoints.

    Args:
        scratch: The folder that the trainer wrote, on the same file system.
        root: The folder of checkpoints.
        step: Optimiser steps done.
        run: The run's digest.
        notes: What the run must remember beside the trainer's state.

    Returns:
        The checkpoint's folder.
    """
    (scratch / NOTES).write_bytes(canonical.encode(dict(notes)))
    digests: dict[str, Json] = {
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
    sync(root.parent)
    for old in _found(root)[KEPT:]:
        shutil.rmtree(old)
    return target


def latest(root: Path, *, run: Digest | None) -> Checkpoint | None:
    """Find the last good checkpoint of a run.

    Args:
        root: The folder of checkpoints; it need not exist.
        run: The run's digest; None for any run.

    Returns:
        The checkpoint, or None if there is none to go on from.
    """
    for folder in _found(root):
        found = _verified(folder, run)
        if found is not None:
            return found
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


def _verified(folder: Path, run: Digest | None) -> Checkpoint | None:
    try:
        there = _contents(folder)
        if SEAL not in there:
            return None
        seal = _read(folder / SEAL, MAX_SEAL)
        step, files = seal.get("step"), seal.get("files")
        if run not in (None, seal.get("run")) or not isinstance(step, int) or not isinstance(files, dict):
            return None
        if folder.name != f"step-{step:010d}" or NOTES not in files or there != {SEAL, *files}:
            return None
        if any(_digest(folder / name) != digest for name, digest in files.items()):
            return None
        return Checkpoint(folder, step, _read(folder / NOTES, MAX_NOTES))
    except (OSError, UntrustedInput):
        return None


def _contents(folder: Path) -> set[str]:
    """List what lies in a checkpoint; nothing if there is something else in it than plain files and folders."""
    found = [*folder.rglob("*")]
    modes = [path.lstat().st_mode for path in found]
    if not all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode in modes):
        return set()
    return {
        path.relative_to(folder).as_posix()
        for path, mode in zip(found, modes, strict=True)
        if stat.S_ISREG(mode)
    }


def _read(path: Path, limit: int) -> dict[str, Json]:
    with path.open("rb") as file:
        found = canonical.decode(file.read(limit + 1), limit=limit, what=f"A checkpoint's {path.name}")
    return found if isinstance(found, dict) else {}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha512:" + hashlib.file_digest(file, "sha512").hexdigest()
