"""The log in the layout of C2SP tlog-tiles, so that foreign tools can read it from a folder.

A tile holds 256 hashes; those of level 0 are leaf hashes, each of the others is the root of a whole tile one level below. The
last tile of a level may be partial. An entry bundle holds the events of one tile of level 0, each behind its length in 16 bits.
Invariants: memory is one tile per level, one bundle and the files' names; nothing is overwritten; all is on disk when ``write`` returns.

Source: C2SP tlog-tiles; the hashes are those of RFC 6962.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from holdfast.audit import verify
from holdfast.audit.merkle import TILE, Frontier
from holdfast.errors import Conflict, VerificationFailed
from holdfast.store import disk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDER, ENTRIES = "tile", "entries"
_LENGTH = struct.Struct(">H")  # of an entry, in bytes


def path(level: str, number: int, width: int) -> str:
    """Name a tile or bundle.

    Args:
        level: Its level in decimal, or ``entries``.
        number: Its number in the level, from 0.
        width: Hashes or entries in it, 1 to 256.

    Returns:
        Its path beneath the log's prefix, for example ``tile/0/x001/x234/067.p/8``.
    """
    digits = f"{number:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"{FOLDER}/{level}/{name}" + ("" if width == TILE else f".p/{width}")


class Writer:
    """Writes tiles and bundles as events come.

    Args:
        folder: Where ``tile`` appears.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._levels: list[list[bytes]] = [[]]  # hashes of each level's unfinished tile
        self._counts: list[int] = [0]  # whole tiles of each level
        self._bundle = bytearray()
        self._folders: set[Path] = set()
        self._written: list[Path] = []  # synced together at the end: one by one, each would wait for the disk

    def append(self, leaf: bytes, body: bytes) -> None:
        """Take the next event.

        Args:
            leaf: Its leaf hash.
            body: Its bytes.
        """
        self._bundle += _LENGTH.pack(len(body)) + body
        if len(self._levels[0]) + 1 == TILE:
            self._put(path(ENTRIES, self._counts[0], TILE), bytes(self._bundle))
            self._bundle.clear()
        self._add(0, leaf)

    def _add(self, level: int, node: bytes) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._counts.append(0)
        hashes = self._levels[level]
        hashes.append(node)
        if len(hashes) == TILE:
            self._put(path(str(level), self._counts[level], TILE), b"".join(hashes))
            self._counts[level] += 1
            self._levels[level] = []
            tree = Frontier()
            for one in hashes:
                tree.append(one)
            self._add(level + 1, tree.root())

    def close(self) -> None:
        """Write the partial tiles, and return when all is on disk."""
        for level, hashes in enumerate(self._levels):
            if hashes:
                self._put(path(str(level), self._counts[level], len(hashes)), b"".join(hashes))
        if self._bundle:
            self._put(path(ENTRIES, self._counts[0], len(self._levels[0])), bytes(self._bundle))
        for place in self._written:
            with place.open("rb") as file:
                os.fsync(file.fileno())
        for folder in sorted(self._folders, reverse=True):
            disk.sync_folder(folder)
        disk.sync_folder(self._folder)

    def _put(self, name: str, data: bytes) -> None:
        place = self._folder / name
        if place.parent not in self._folders:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._folders.update(one for one in place.parents if one.is_relative_to(self._folder / FOLDER))
        with place.open("xb") as file:
            file.write(data)
        self._written.append(place)


def write(log_folder: Path, target: Path) -> int:
    """Write a whole log as tiles.

    Args:
        log_folder: A log folder that begins with event 0, verified.
        target: The folder in which ``tile`` appears, which must not be there.

    Returns:
        Events written.

    Raises:
        Conflict: If the folder begins later, or the tiles are there.
        VerificationFailed: If an event is damaged.
    """
    try:
        if verify.begin(log_folder).size or (target / FOLDER).exists():
            raise Conflict(
                "tiles.range",
                f"{log_folder} is not the whole log, or its tiles are there already.",
                remedy="Export the whole log with --tiles into a new folder.",
            )
        size = verify.parse_note(verify.read(log_folder / "checkpoint", verify.MAX_NOTE)).size
        writer, count = Writer(target), 0
        for record in _events(verify.segments(log_folder)):
            if count == size:
                break
            writer.append(record.leaf, record.body)
            count += 1
    except verify.Refused as error:
        raise _damaged(str(error)) from error
    if count != size:
        raise _damaged(f"it has {count} events, its checkpoint covers {size}")
    writer.close()
    return count


def _events(paths: Iterable[Path]) -> Iterable[verify.Record]:
    for one in paths:
        for record in verify.records(*verify.read_segment(one)[2:]):
            if record.fault:
                raise verify.Refused(f"{one.name}: {record.fault}")
            yield record


def _damaged(why: str) -> VerificationFailed:
    return VerificationFailed(
        "tiles.log", f"The log can't be written as tiles: {why}.", remedy="Run `holdfast audit verify` on it."
    )
