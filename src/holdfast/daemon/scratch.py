"""Folders that a worker wrote: looked into, measured and removed whatever shape it left them in.

Invariants: no link is followed; neither depth (a worker can nest folders deeper than a path can name, or than a recursion
can go) nor permissions keep a folder from being removed; nothing is raised for what lies there, but by ``plain`` for what is to be taken.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from holdfast.artefact import is_safe_path
from holdfast.daemon.jobs import STREAM
from holdfast.errors import WorkerFailed

OURS = 0o700  # what a folder is made to allow before it is emptied


def plain(folder: Path, path: str) -> Path:
    """Find what a worker made in its output folder, without following a link that it may have put there.

    Args:
        folder: The output folder, or one in it that this function gave.
        path: The path in it, as the worker named it.

    Returns:
        The path of a plain file or folder.

    Raises:
        WorkerFailed: If it is not there, or is or lies behind something else.
    """
    parts = path.split("/") if is_safe_path(path) else []
    ways = [folder.joinpath(*parts[:at]) for at in range(1, len(parts) + 1)]
    if not ways or not all(map(_is_plain, ways)):
        raise WorkerFailed(
            "worker.output",
            f"The worker's file {path[:80]!r} can't be used: it is not there, or no plain file.",
            remedy="Start the job again; if it ends so again, treat what it was given as hostile.",
        )
    return ways[-1]


def _is_plain(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)


def clean(folder: Path, *kept: str) -> None:
    """Remove what an ended job no longer needs; its stream stays.

    Args:
        folder: The job's folder.
        *kept: Names in it that stay too.
    """
    for entry in [*folder.iterdir()] if folder.is_dir() else []:
        if entry.name not in (STREAM, *kept):
            remove(entry)


def size(folder: Path) -> int:
    """Add up what lies in a folder.

    Args:
        folder: The folder; it need not exist.

    Returns:
        Bytes of its plain files, as far as paths can name them.
    """
    total, waiting = 0, [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(entry.path)
                elif stat.S_ISREG(found.st_mode):
                    total += found.st_size
    return total


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; nothing happens if it is not there.

    A folder's inner folders are first moved to its top, one after the other, so that no path is ever long.

    Args:
        path: What is removed; no process writes to it any more.
    """
    if path.is_symlink() or not path.is_dir():
        with suppress(OSError):
            path.unlink()
        return
    mark = secrets.token_hex(8)  # no worker can have guessed the name
    waiting, moved = [path], 0
    while waiting:
        here = waiting.pop()
        for entry in _entries(here):
            with suppress(OSError):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)  # noqa: PTH108 - a text, as it was listed
                    continue
                Path(entry.path).chmod(OURS)  # a folder that may not be written can't be moved either
                target = path / f"{mark}-{moved}"
                Path(entry.path).rename(target)
                moved += 1
                waiting.append(target)
        with suppress(OSError):
            here.rmdir()
    with suppress(OSError):
        path.rmdir()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError):
        folder.chmod(OURS)
        with os.scandir(folder) as entries:
            return [*entries]
    return []
