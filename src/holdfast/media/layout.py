"""Names on a medium.

DIR/
├── metadata/<n>.root.json      every root from the first to the newest
├── metadata/timestamp.json     names the snapshot
├── metadata/snapshot.json      names the targets
├── metadata/targets.json       names the manifest
├── targets/manifest.json       names every artefact, file and chunk
└── chunks/<aa>/<hex>           each chunk once, by its SHA-512
"""

from __future__ import annotations

import re

from holdfast import hashing

METADATA = "metadata"
TARGETS = "targets"
CHUNKS = "chunks"
TIMESTAMP = f"{METADATA}/timestamp.json"
SNAPSHOT = f"{METADATA}/snapshot.json"
TARGETS_METADATA = f"{METADATA}/targets.json"
MANIFEST = f"{TARGETS}/manifest.json"
# Four digits bound the roots: a publisher does not rotate ten thousand times.
_ROOT = re.compile(rf"{METADATA}/([1-9][0-9]{{0,3}})\.root\.json")


def root(version: int) -> str:
    """Name a root.

    Args:
        version: Its version.

    Returns:
        Its path on the medium.
    """
    return f"{METADATA}/{version}.root.json"


def root_version(path: str) -> int | None:
    """Read the version out of a root's path.

    Args:
        path: A path on the medium.

    Returns:
        The version, or None if it is not a root's path.
    """
    found = _ROOT.fullmatch(path)
    return int(found[1]) if found else None


def chunk(digest: str) -> str:
    """Name a chunk.

    Args:
        digest: Its SHA-512.

    Returns:
        Its path on the medium.
    """
    name = hashing.raw(digest).hex()
    return f"{CHUNKS}/{name[:2]}/{name}"
