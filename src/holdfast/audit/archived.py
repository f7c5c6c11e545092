"""What a log keeps of events that were archived: the tree's frontier over them, and their leaf hashes.

Layout: ``archived`` is the frontier (how many events, and the roots of the complete subtrees over them, the largest first);
``tile/0/<number>`` holds 256 leaf hashes, ``tile/0/<number>.p/<count>`` the fewer ones of the last tile. Order of operations:
tiles, their names, then ``archived``. Invariants: a tile that ``archived`` counts on is never written again; what is read
back is believed only if the tiles lead to the frontier, which in turn the signed root confirms.

Source: C2SP tlog-tiles (paths and content of tiles; level 0 alone, and only what the segments no longer hold).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.audit import segment
from holdfast.audit.merkle import HASH, TILE
from holdfast.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

FILE = "archived"
TILES = ("tile", "0")


def tile_path(number: int, width: int) -> tuple[str, ...]:
    """Name a tile of leaf hashes.

    Args:
        number: The tile's number, from 0.
        width: Hashes in it, 1 to 256.

    Returns:
        The parts of its path in the log's folder.
    """
    digits = f"{number:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    whole = (*TILES, *(f"x{part}" for part in parts[:-1]), parts[-1])
    return whole if width == TILE else (*whole[:-1], f"{whole[-1]}.p", str(width))


def write(
    disk: segment.Disk, folder: Path, sizes: tuple[int, int], leaves: Iterable[bytes], peaks: Sequence[bytes]
) -> None:
    """Keep what a log needs of events that are about to be removed, on disk when this returns.

    Args:
        disk: File operations.
        folder: The log's folder.
        sizes: How many events were archived so far, and how many are from here on.
        leaves: The leaf hashes from the tile's beginning that the first of these sizes lies in, up to the second.
        peaks: Roots of the complete subtrees over all of them, the largest first.
    """
    before, size = sizes
    hashes, folders = iter(leaves), set()
    for number in range(before // TILE, -(-size // TILE)):
        width = min(TILE, size - number * TILE)
        *parents, name = tile_path(number, width)
        place = folder
        for part in parents:
            place /= part
            if place not in folders:
                disk.make_folder(place)
        folders.add(place)
        handle = disk.create(place / name)
        try:
            disk.write(handle, b"".join(next(hashes) for _ in range(width)))
            disk.sync(handle)
        finally:
            disk.close(handle)
    for place in sorted(folders):
        disk.sync_folder(place)
    frontier = canonical.encode({"size": size, "peaks": [peak.hex() for peak in peaks]})
    segment.replace(disk, folder / FILE, frontier)


def read(folder: Path, size: int, start: int, stop: int) -> Iterator[bytes]:
    """Read leaf hashes of archived events.

    Args:
        folder: The log's folder.
        size: How many events were archived.
        start: The first.
        stop: One past the last, at most ``size``.

    Yields:
        32 bytes each, in order.

    Raises:
        VerificationFailed: If a tile is missing or has not its size.
    """
    for number in range(start // TILE, -(-stop // TILE)):
        first = number * TILE
        width = min(TILE, size - first)
        path = folder.joinpath(*tile_path(number, width))
        data = _tile(path, width)
        for seq in range(max(start, first), min(stop, first + width)):
            yield data[(seq - first) * HASH : (seq - first + 1) * HASH]


def _tile(path: Path, width: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(width * HASH + 1)
    except OSError as error:
        raise damaged(f"tile {path.name} can't be read ({error.strerror})") from error
    if len(data) != width * HASH:
        raise damaged(f"tile {path.name} has not the {width} hashes that it should have")
    return data


def damaged(why: str) -> VerificationFailed:
    """Make the error about archived events' hashes that are not what they were.

    Args:
        why: What is wrong.

    Returns:
        The error, not raised.
    """
    return VerificationFailed(
        "audit.archived",
        f"What the audit log keeps of its archived events is damaged: {why}.",
        remedy="Keep the folder as it is, and restore the log from a backup.",
    )
