"""Splitting a medium into volumes that fit discs or sticks.

Order of operations: judge the medium by its own newest root (an unfinished or expired one is not split); take what metadata,
manifest, folders and file systems need off the volume's size; plan; then, for each volume: copy its chunks, hashing them on
their way; write the metadata, the targets and ``volume.json``; judge what was written; put it in its place. Invariants: each
volume appears whole or not at all; the same medium and size give the same volumes, so that one can be made again alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UsageRefused
from holdfast.formats.chunking import LARGE, Chunk
from holdfast.media import claims, draft, layout, manifest, volume
from holdfast.media.read import changed
from holdfast.media.verify import verify_medium
from holdfast.media.volume import CLUSTER, Volume
from holdfast.trust.workflow import TrustState

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from pathlib import Path

    from holdfast.media.read import Medium
    from holdfast.media.verify import Progress

FOLDERS = 300  # that a volume holds at most: 256 of chunks, the few others, the file system's own
SHARE = 100  # one part in so many is left to the file system's tables: FAT32 with 4 KiB clusters takes 1 in 512, names 1 in 256
FIXED = 2**21  # bytes left to boot sectors, volume descriptors and path tables
# Bytes that a disc surely holds: where makers and formats differ, the smallest; for Blu-ray with the spare areas that drives set aside.
DISCS = {
    "cd": 359_844 * 2048,
    "dvd": 2_295_104 * 2048,
    "dvd-dl": 4_171_712 * 2048,
    "bd25": 11_826_176 * 2048,
    "bd50": 2 * 11_826_176 * 2048,
    "bd100": 4 * 11_826_176 * 2048,
}
_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))? ?([kKMGT]?i?B)")


@dataclass(frozen=True)
class Part:
    """One volume.

    Args:
        number: 1, 2, 3 ...
        folder: Where it is; None if it was not asked for.
        chunks: How many chunks are on it.
        size: Bytes of those chunks.
    """

    number: int
    folder: Path | None
    chunks: int
    size: int


@dataclass(frozen=True)
class Split:
    """What was made.

    Args:
        digest: SHA-512 of the manifest.
        capacity: Bytes of a volume.
        parts: All volumes.
    """

    digest: str
    capacity: int
    parts: tuple[Part, ...]


def capacity(text: str) -> int:
    """Read the size of a volume, as a person writes it.

    Args:
        text: A disc (``dvd``, ``bd25`` ...) or a number with a unit: 4GiB, 4.7GB, 700MB.

    Returns:
        Bytes.

    Raises:
        UsageRefused: If it is neither.
    """
    if text.lower() in DISCS:
        return DISCS[text.lower()]
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[3] not in _UNITS:
        raise UsageRefused(
            "media.volume-size",
            f"{text[:40]!r} is no size of a volume.",
            remedy=f"Give a number with a unit (4GiB, 700MB) or one of {', '.join(DISCS)}.",
        )
    part = found[2] or "0"
    size = (int(found[1]) * 1000 + int(part.ljust(3, "0"))) * _UNITS[found[3]] // 1000
    if size > canonical.MAX_SAFE_INTEGER:  # what volume.json can say
        raise UsageRefused(
            "media.volume-size",
            f"{text[:40]!r} is larger than any volume.",
            remedy="Give the size of the disc or stick.",
        )
    return size


def split(
    source: Path,
    out: Path,
    size: int,
    *,
    now: datetime,
    progress: Progress,
    only: Collection[int] = (),
) -> Split:
    """Split a medium.

    Args:
        source: The medium: finished, and not a volume itself.
        out: Where the folders ``volume-1``, ``volume-2`` ... shall be.
        size: Bytes that a volume may take, file system included.
        now: What the host's clock says, with a time zone.
        progress: Told of the bytes written.
        only: The volumes to make; all if empty.

    Returns:
        What was made.

    Raises:
        UntrustedBundle: If the medium is not whole, unfinished or expired.
        UsageRefused: If the size is too small, or a number in ``only`` is no volume's.
        Conflict: If a volume is there already.
        NoSpace: If the disk can't hold the volumes.
        OperationFailed: If a disk fails.
    """
    root = TrustState(claims.of_medium(source).root)
    verdict = verify_medium(source, root, now, progress, contents=False)
    with verdict.medium as medium:
        if verdict.volume is not None:
            raise UsageRefused(
                "media.split-volume",
                f"{source} is volume {verdict.volume.number} of {verdict.volume.count} already.",
                remedy="Split the whole medium again.",
            )
        common = [
            path
            for path in sorted(medium.listing())
            if not path.endswith("/") and not path.startswith(f"{layout.CHUNKS}/")
        ]
        room = _room(size, [len(medium.read(path, manifest.MAX_MANIFEST)) for path in common])
        plan = volume.plan(verdict.manifest, room)
        wanted = _wanted(only, len(plan), out)
        sizes = verdict.manifest.carried
        chunks = [tuple(Chunk(digest, sizes[digest]) for digest in digests) for digests in plan]
        written = _Tally(sum(chunk.size for number in wanted for chunk in chunks[number - 1]), progress)
        for number in wanted:
            goal = out / _name(number)
            with draft.Draft(goal) as made:
                made.require_space(sum(chunk.size for chunk in chunks[number - 1]), f"volume {number}")
                for path in common:
                    made.file(path, medium.read(path, manifest.MAX_MANIFEST))
                made.file(layout.VOLUME, Volume(number, len(plan), room, verdict.digest).encode())
                written.step = f"volume {number} of {len(plan)}"
                draft.in_parallel(partial(_copy, medium, made), chunks[number - 1], written)
                verify_medium(made.folder, root, now, progress, contents=False).medium.close()
                made.publish()
    return Split(
        verdict.digest,
        size,
        tuple(
            Part(
                number,
                out / _name(number) if number in wanted else None,
                len(part),
                sum(c.size for c in part),
            )
            for number, part in enumerate(chunks, start=1)
        ),
    )


class _Tally:
    """Adds up what was written.

    Args:
        total: Bytes in all.
        progress: Told of every chunk.
    """

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._done = 0
        self._progress = progress
        self.step = ""

    def __call__(self, size: int) -> None:
        self._done += size
        self._progress(self.step, self._done, self._total)


def _copy(medium: Medium, made: draft.Draft, chunk: Chunk) -> int:
    """Copy one chunk; give its size."""
    path = layout.chunk(chunk.digest)
    handle = medium.open(path)
    try:
        whole = made.chunk(handle, 0, chunk)
    finally:
        os.close(handle)
    if not whole:
        raise changed(path)
    return chunk.size


def _name(number: int) -> str:
    return f"volume-{number}"


def _wanted(only: Collection[int], count: int, out: Path) -> tuple[int, ...]:
    """Give the numbers of the volumes to make, none of which is there."""
    if not all(1 <= number <= count for number in only):
        raise UsageRefused(
            "media.split-only",
            f"At this size there are {count} volumes; {', '.join(map(str, sorted(only)))} was asked for.",
            remedy="Give the size that the medium was split with, and the number of one of its volumes.",
        )
    wanted = tuple(number for number in range(1, count + 1) if not only or number in only)
    for number in wanted:
        draft.require_free(out / _name(number))
    return wanted


def _room(size: int, common: list[int]) -> int:
    """Give the bytes that a volume has for chunks."""
    fixed = (
        FIXED + size // SHARE + CLUSTER * FOLDERS + sum(_clusters(one) for one in (*common, volume.MAX_FILE))
    )
    if size - fixed < LARGE:
        raise UsageRefused(
            "media.volume-small",
            f"A volume of {size} bytes is too small for this medium: {fixed} bytes of it are needed on every volume,"
            f" and a chunk may have {LARGE}.",
            remedy=f"Give a --volume-size of at least {-(-(fixed + LARGE) // 2**20) + 8}MiB.",
        )
    return size - fixed


def _clusters(size: int) -> int:
    return -(-size // CLUSTER) * CLUSTER
