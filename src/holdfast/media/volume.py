"""Volumes: a medium that is too large for one disc or stick, in parts.

Every volume carries all metadata, the manifest and the revocations, and those chunks that the plan gives to it. The plan is a
pure function of the manifest and of the volume's size, so nobody has to sign it, a volume can be made again alone, and
each volume is judged by itself: what should be there, is there, is whole. Invariants: the plan gives every carried
chunk to exactly one volume, in the order of the files; a forged ``volume.json`` can only cause a refusal. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.errors import UntrustedBundle, UntrustedInput

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.media.manifest import Manifest

SCHEMA = "holdfast.volume/1"
MAX_FILE = 4096  # bytes of volume.json
MAX_VOLUMES = 999  # more parts than anybody would put into a drive
MIN_SIZE = 2**20  # bytes of chunks on a volume: below it, the metadata would be the larger part
CLUSTER = 32 * 1024  # bytes that the smallest file takes on a large FAT32 volume


@dataclass(frozen=True)
class Volume:
    """Which part of a medium a folder is.

    Args:
        number: 1, 2, 3 ...
        count: How many volumes there are.
        size: Bytes of chunks, as they lie in clusters, that a volume may take.
        manifest: Digest of the manifest that is split.
    """

    number: int
    count: int
    size: int
    manifest: str

    def encode(self) -> bytes:
        """Write ``volume.json``.

        Returns:
            Its canonical bytes.
        """
        return canonical.encode(
            {
                "schema": SCHEMA,
                "number": self.number,
                "count": self.count,
                "size": self.size,
                "manifest": self.manifest,
            }
        )


def parse(data: bytes) -> Volume:
    """Read ``volume.json``.

    Args:
        data: Its bytes.

    Returns:
        What it claims; ``assigned`` compares it with the manifest.

    Raises:
        UntrustedBundle: If it is malformed.
    """
    value = canonical.decode(data, limit=MAX_FILE, what="volume.json", error=UntrustedBundle)
    if not isinstance(value, dict) or set(value) != {"schema", "number", "count", "size", "manifest"}:
        raise _bad("its fields are not exactly schema, number, count, size, manifest")
    if value["schema"] != SCHEMA:
        raise _bad(f"its schema is not {SCHEMA}")
    count = _count(value["count"], MAX_VOLUMES, "count")
    number = _count(value["number"], count, "number")
    size = _count(value["size"], canonical.MAX_SAFE_INTEGER, "size")
    if size < MIN_SIZE:
        raise _bad(f"its size is below {MIN_SIZE} bytes")
    try:
        digest = hashing.parse(value["manifest"])
    except UntrustedInput as problem:
        raise _bad("it names no manifest") from problem
    found = Volume(number, count, size, digest)
    if found.encode() != data:
        raise _bad("it is not in canonical form")
    return found


def plan(found: Manifest, size: int) -> tuple[tuple[str, ...], ...]:
    """Give every carried chunk to a volume.

    Args:
        found: The manifest.
        size: Bytes of chunks, as they lie in clusters of ``CLUSTER`` bytes, that a volume may take; at least ``MIN_SIZE``.

    Returns:
        Digests of the chunks of each volume, in order; one empty volume if no chunk is carried.

    Raises:
        UntrustedBundle: If a chunk is larger than a volume, or there would be more than ``MAX_VOLUMES``.
    """
    volumes: list[list[str]] = [[]]
    taken = 0
    for digest, length in found.carried.items():
        room = -(-length // CLUSTER) * CLUSTER
        if room > size:
            raise _bad(f"a chunk takes {room} bytes and a volume {size}")
        if volumes[-1] and taken + room > size:
            volumes.append([])
            taken = 0
        volumes[-1].append(digest)
        taken += room
    if len(volumes) > MAX_VOLUMES:
        raise _bad(f"there would be {len(volumes)} volumes; {MAX_VOLUMES} are allowed")
    return tuple(tuple(part) for part in volumes)


def assigned(volume: Volume, found: Manifest, manifest_digest: str) -> frozenset[str]:
    """Tell which chunks must be on a volume.

    Args:
        volume: What its ``volume.json`` says.
        found: The manifest on it, verified.
        manifest_digest: SHA-512 of that manifest.

    Returns:
        Digests of exactly its chunks.

    Raises:
        UntrustedBundle: If the volume is not a part of this medium.
    """
    if volume.manifest != manifest_digest:
        raise _bad(f"it names another manifest, {hashing.short(volume.manifest)}")
    parts = plan(found, volume.size)
    if len(parts) != volume.count:
        raise _bad(f"it says {volume.count} volumes; at its size there are {len(parts)}")
    return frozenset(parts[volume.number - 1])


def _count(value: Json, most: int, field: str) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise _bad(f"its {field} is not a count from 1 to {most}")
    return value


def _bad(why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "media.volume",
        f"volume.json is refused: {why}.",
        remedy="Make this volume again with `holdfast media split`.",
    )
