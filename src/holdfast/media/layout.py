"""Names on a medium.

DIR/
├── metadata/<n>.root.json                      every root from the first to the newest
├── metadata/timestamp.json                     names the snapshot
├── metadata/snapshot.json                      names the targets and every delegated role
├── metadata/targets.json                       names the manifest, the revocations, the delegated roles
├── metadata/<role>.json                        what a delegated publisher signed
├── targets/manifest.json                       names every artefact, file and chunk ...
├── targets/<kind>s/<collection>/manifest.json  ... or this one, when a delegated publisher made the medium
├── targets/revocations.json                    what may not be used any more
├── chunks/<aa>/<30 digits>                     each chunk once, by the beginning of its SHA-512
└── volume.json                                 which part this is, when the medium is split

Invariants: every name is plain lower-case ASCII that FAT32, Windows and ISO 9660 (with Joliet, Rock Ridge or UDF) keep
apart; no name is longer than 64 characters, no folder deeper than 4. A chunk's *name* is only where to look for it: its whole
digest is in the manifest and is always checked.
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
MANIFEST = "manifest.json"  # target path of the manifest that the top-level targets vouch for
REVOCATIONS = "revocations.json"  # target path of the revocation list
VOLUME = "volume.json"
NAME_DIGITS = 30  # of a chunk's digest in its name: 120 bits, and ISO 9660 keeps names of 31 characters
MAX_ROOTS = 999  # of one ladder; a publisher rotates a few times a year
_ROOT = re.compile(rf"{METADATA}/([1-9][0-9]{{0,2}})\.root\.json")
_DEVICE = (
    r"(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.json|/))"  # names that Windows gives to no file or folder
)
_ROLE = re.compile(rf"{METADATA}/{_DEVICE}([a-z][a-z0-9-]{{0,39}})\.json")
_TOP_LEVEL = frozenset({"root", "timestamp", "snapshot", "targets"})
_MANIFEST = re.compile(
    rf"{TARGETS}/(?:([a-z]{{1,20}})s/{_DEVICE}([a-z0-9][a-z0-9_-]{{0,39}})/)?manifest\.json"
)


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


def role(name: str) -> str:
    """Name a delegated role's metadata.

    Args:
        name: The role.

    Returns:
        Its path on the medium.
    """
    return f"{METADATA}/{name}.json"


def role_name(path: str) -> str | None:
    """Read the delegated role out of a path.

    Args:
        path: A path on the medium.

    Returns:
        The role, or None if it is not the path of a delegated role's metadata.
    """
    found = _ROLE.fullmatch(path)
    return found[1] if found and found[1] not in _TOP_LEVEL else None


def target(path: str) -> str:
    """Place a target.

    Args:
        path: Its path as the metadata names it.

    Returns:
        Its path on the medium.
    """
    return f"{TARGETS}/{path}"


def manifest_target(kind: str, collection: str) -> str:
    """Name a manifest as a target.

    Args:
        kind: The kind of artefact after which a delegated publisher's folder is named; ignored without a collection.
        collection: The collection; empty for the top-level targets' own manifest.

    Returns:
        Its target path.
    """
    return f"{kind}s/{collection}/{MANIFEST}" if collection else MANIFEST


def manifest_collection(path: str) -> str | None:
    """Read the collection out of a manifest's path.

    Args:
        path: A path on the medium.

    Returns:
        The collection, empty for the top-level one; None if it is not a manifest's path.
    """
    found = _MANIFEST.fullmatch(path)
    return None if found is None else found[2] or ""


def chunk(digest: str) -> str:
    """Name a chunk.

    Args:
        digest: Its SHA-512.

    Returns:
        Its path on the medium.
    """
    name = hashing.raw(digest).hex()[:NAME_DIGITS]
    return f"{CHUNKS}/{name[:2]}/{name}"
