"""Judging a medium, with no daemon and nothing written.

Order of operations: list everything; verify the roots' chain up to the trusted one and beyond it; timestamp, snapshot, targets
(``trust.workflow``, with the signing policy); the manifest by its hash; the listing against the manifest, in both
directions; then, unless the caller hashes while copying, every chunk by its digest, in parallel, and every file's cuts.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from holdfast import hashing
from holdfast.errors import OperationFailed, UntrustedBundle
from holdfast.formats import chunking
from holdfast.media import layout, manifest, read
from holdfast.media.read import Medium
from holdfast.store.hashfile import STEP, THREADS
from holdfast.trust import fingerprint, floor, metadata
from holdfast.trust.workflow import TrustState, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from holdfast.artefact import Artefact
    from holdfast.formats.chunking import Chunk
    from holdfast.media.manifest import Manifest


class Progress(Protocol):
    """Told how far the work is."""

    def __call__(self, step: str, done: int, total: int) -> None:
        """Take one report.

        Args:
            step: What is being done, a few words for people.
            done: Bytes done.
            total: Bytes in all.
        """


@dataclass(frozen=True)
class VerifiedMedium:
    """A medium whose metadata, manifest and listing are vouched for.

    Args:
        medium: The open medium; the holder of this object closes it.
        manifest: What is on it.
        digest: SHA-512 of the manifest: the bundle's name.
        root_version: Version of the newest root.
        fingerprint: Fingerprint of the newest root.
        holders: Who signed.
        size: Bytes of all its artefacts.
        state: What is to be believed once it is imported.
    """

    medium: Medium
    manifest: Manifest
    digest: str
    root_version: int
    fingerprint: str
    holders: tuple[str, ...]
    size: int
    state: TrustState

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """The records of the artefacts on it."""
        return tuple(entry.artefact for entry in self.manifest.entries)


def verify_medium(
    place: Path | int,
    state: TrustState,
    now: datetime,
    progress: Progress,
    *,
    contents: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
) -> VerifiedMedium:
    """Judge a medium.

    Args:
        place: Its folder, or a descriptor of it.
        state: What is trusted: the pinned root, and what was imported before.
        now: What the host's clock says, with a time zone.
        progress: Told of the bytes hashed.
        contents: Whether to hash every chunk; an import says False, for it hashes while it copies.
        cancelled: Asked between chunks whether to stop.

    Returns:
        The verdict; its ``medium`` is open.

    Raises:
        UntrustedBundle: If anything is wrong with the medium; the key says what.
        NotFound: If there is no such folder.
        OperationFailed: If it was cancelled.
    """
    medium = Medium(place)
    try:
        listing = medium.listing()
        workflow = _walk(medium, listing, state, now)
        target = workflow.update_targets(_metadata(medium, Targets.type, layout.TARGETS_METADATA))
        data = medium.read(layout.MANIFEST, manifest.MAX_MANIFEST)
        try:
            target.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as problem:
            raise changed(layout.MANIFEST) from problem
        found = manifest.parse(data)
        _compare(listing, found)
        verdict = VerifiedMedium(
            medium=medium,
            manifest=found,
            digest=hashing.sha512(data),
            root_version=workflow.root.version,
            fingerprint=fingerprint.of_root(workflow.root_bytes),
            holders=workflow.holders,
            size=sum(entry.artefact.size for entry in found.entries),
            state=workflow.state(floor.raised(now, state.floor, found.created, workflow.expires)),
        )
        if contents:
            _hash_all(medium, found, progress, cancelled)
    except BaseException:
        medium.close()
        raise
    return verdict


def check_cuts(
    name: str, read_bytes: Callable[[int, int], bytes], size: int, chunks: tuple[Chunk, ...]
) -> None:
    """Check that a file is cut where our rule cuts it, so that its digest can be found again from the file alone.

    Args:
        name: The file's path, for the rule and for messages.
        read_bytes: Gives bytes of the file.
        size: The file's size in bytes.
        chunks: Its chunks as the manifest lists them.

    Raises:
        UntrustedBundle: If the cuts are others, or the file has no valid header.
    """
    if chunking.plan_for(name, read_bytes, size) != tuple(chunk.size for chunk in chunks):
        raise UntrustedBundle(
            "media.cuts",
            f"{name} is cut into chunks at other places than the format prescribes.",
            remedy="Have the medium built again by Holdfast.",
            file=name,
        )


def changed(path: str) -> UntrustedBundle:
    """Say that a file of the medium is not what was signed.

    Args:
        path: Its path on the medium.

    Returns:
        The error, not raised.
    """
    return UntrustedBundle(
        "media.changed",
        f"{path} on the medium is not what its publisher signed.",
        remedy="Copy the medium again from its publisher; this copy was changed or is damaged.",
        file=path,
    )


def _walk(medium: Medium, listing: dict[str, int], state: TrustState, now: datetime) -> Workflow:
    """Take the workflow from the trusted root to the snapshot."""
    versions = sorted(v for v in map(layout.root_version, listing) if v is not None)
    for expected, version in enumerate(versions or [0], start=1):
        if version != expected:
            raise read.unreadable(layout.root(expected), FileNotFoundError())
    roots = {version: _metadata(medium, Root.type, layout.root(version)) for version in versions}
    # The whole chain on the medium must hold by itself, so that no byte of an older root can change unnoticed ...
    chain = Workflow(TrustState(roots[1]), now)
    for version in versions[1:]:
        chain.update_root(roots[version])
    # ... and it must pass through the root that we trust.
    workflow = Workflow(state, now)
    trusted = workflow.root.version
    if trusted in roots and fingerprint.of_root(roots[trusted]) != fingerprint.of_root(state.root):
        raise _unpinned(roots[trusted], trusted)
    for version in range(trusted + 1, versions[-1] + 1):
        workflow.update_root(roots[version])
    workflow.update_timestamp(_metadata(medium, Timestamp.type, layout.TIMESTAMP))
    workflow.update_snapshot(_metadata(medium, Snapshot.type, layout.SNAPSHOT))
    return workflow


def _metadata(medium: Medium, role: str, path: str) -> bytes:
    return medium.read(path, metadata.MAX_BYTES[role])


def _compare(listing: dict[str, int], found: Manifest) -> None:
    """Compare what is there with what is listed, both ways."""
    sizes = {layout.chunk(digest): size for digest, size in found.chunks.items()}
    known = {*sizes, layout.TIMESTAMP, layout.SNAPSHOT, layout.TARGETS_METADATA, layout.MANIFEST}
    folders = {path.rsplit("/", depth)[0] + "/" for path in known for depth in range(1, path.count("/") + 1)}
    for path in sorted(listing):
        if path not in known and path not in folders and layout.root_version(path) is None:
            raise read.unlisted(path)
    for path, size in sorted(sizes.items()):
        if path not in listing:
            raise read.unreadable(path, FileNotFoundError())
        if listing[path] != size:
            raise changed(path)


def _hash_all(medium: Medium, found: Manifest, progress: Progress, cancelled: Callable[[], bool]) -> None:
    chunks = found.chunks
    total, done = sum(chunks.values()), 0
    with ThreadPoolExecutor(THREADS) as pool:
        work = pool.map(lambda part: _hash_chunk(medium, part[0], part[1], cancelled), chunks.items())
        for size in work:
            done += size
            progress("verifying", done, total)
    for entry in found.entries:
        for file in entry.artefact.files:
            parts = entry.chunks[file.path]
            check_cuts(file.path, _reader(medium, parts), file.size, parts)


def _hash_chunk(medium: Medium, digest: str, size: int, cancelled: Callable[[], bool]) -> int:
    if cancelled():
        raise stopped()
    path = layout.chunk(digest)
    whole = hashlib.sha512()
    handle = medium.open(path)
    try:
        while part := os.read(handle, STEP):
            whole.update(part)
    except OSError as problem:
        raise read.unreadable(path, problem) from problem
    finally:
        os.close(handle)
    if "sha512:" + whole.hexdigest() != digest:
        raise changed(path)
    return size


def _reader(medium: Medium, chunks: tuple[Chunk, ...]) -> Callable[[int, int], bytes]:
    """Give bytes of a file that lies on the medium in chunks."""

    def take(offset: int, length: int) -> bytes:
        parts, start = bytearray(), 0
        for chunk in chunks:
            if start < offset + length and offset < start + chunk.size:
                data = medium.read(layout.chunk(chunk.digest), chunk.size)
                parts += data[max(offset - start, 0) : offset + length - start]
            start += chunk.size
        return bytes(parts)

    return take


def stopped() -> OperationFailed:
    """Say that somebody stopped the work.

    Returns:
        The error, not raised.
    """
    return OperationFailed("media.cancelled", "The work on the medium was stopped.", remedy="Start it again.")


def _unpinned(data: bytes, version: int) -> UntrustedBundle:
    found = fingerprint.of_root(data)
    return metadata.refuse(
        "unpinned-root",
        f"The medium's root version {version} has the fingerprint {found}, which is not the root trusted here.",
        fingerprint=found,
    )
