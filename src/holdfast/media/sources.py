"""Where an import takes a chunk from: the medium, the stage, or a file that the site holds.

Each is a ``copy.Source``: it opens, and it knows whose fault it is when its bytes can't be read or are others.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.errors import UntrustedBundle, VerificationFailed
from holdfast.media import read
from holdfast.store import disk

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.errors import HoldfastError
    from holdfast.media.manifest import Manifest
    from holdfast.media.manifest import Source as Place
    from holdfast.media.read import Medium
    from holdfast.store.files import Store


@dataclass(frozen=True)
class OnMedium:
    """A chunk on the medium.

    Args:
        medium: The open medium.
        path: The chunk's path on it.
        size: Bytes that it must have.
    """

    medium: Medium
    path: str
    size: int

    def open(self) -> tuple[int, int]:  # noqa: D102 - as in Source
        handle = self.medium.open(self.path)
        try:
            size = os.fstat(handle).st_size
        except OSError as problem:
            os.close(handle)
            raise self.unreadable(problem) from problem
        if size != self.size:
            os.close(handle)
            raise read.changed(self.path)
        return handle, 0

    def unreadable(self, problem: OSError) -> HoldfastError:  # noqa: D102 - as in Source
        return read.unreadable(self.path, problem)

    def wrong(self, found: str) -> HoldfastError:  # noqa: ARG002, D102 - as in Source; a digest tells nothing about a damaged disc
        return read.changed(self.path)


@dataclass(frozen=True)
class Staged:
    """A chunk that was staged already, at another place.

    Args:
        path: The staged file.
        offset: The chunk's first byte in it.
    """

    path: Path
    offset: int

    def open(self) -> tuple[int, int]:  # noqa: D102 - as in Source
        try:
            return os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), self.offset
        except OSError as problem:
            raise self.unreadable(problem) from problem

    def unreadable(self, problem: OSError) -> HoldfastError:  # noqa: D102 - as in Source
        return disk.fault("the import", problem)

    def wrong(self, found: str) -> HoldfastError:  # noqa: D102 - as in Source
        return VerificationFailed(
            "media.stage",
            f"{self.path.name} in the import's stage is no longer what was written.",
            remedy="Reject the import, then start it again.",
            file=self.path.name,
            found=found,
        )


@dataclass(frozen=True)
class AtSite:
    """A chunk that the site holds, as a range of a stored file.

    Args:
        store: The site's store.
        manifest: The delta's manifest, to name what brought the artefact.
        place: Where the delta says that it lies.
        digest: SHA-512 of the chunk.
    """

    store: Store
    manifest: Manifest
    place: Place
    digest: str

    def open(self) -> tuple[int, int]:  # noqa: D102 - as in Source
        if not self.store.has(self.place.artefact):
            raise no_base(self.manifest, self.place.artefact)
        path = self.store.folder(self.place.artefact) / self.place.path
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), self.place.offset
        except OSError as problem:
            raise self.unreadable(problem) from problem

    def unreadable(self, problem: OSError) -> HoldfastError:  # noqa: D102 - as in Source
        return UntrustedBundle(
            "media.delta-source",
            f"{self._shown} can't be read ({problem.strerror}), and the medium relies on it.",
            remedy="Run `holdfast store scrub`; if the store is sound, ask the publisher for the whole medium.",
            artefact=self.place.artefact,
            file=self.place.path,
        )

    def wrong(self, found: str) -> HoldfastError:  # noqa: D102 - as in Source
        return UntrustedBundle(
            "media.delta-source",
            f"{self._shown} holds other bytes than the medium relies on: their digest is {found}, expected is"
            f" {self.digest}.",
            remedy="Run `holdfast store scrub`; if the store is sound, ask the publisher for the whole medium.",
            artefact=self.place.artefact,
            file=self.place.path,
            found=found,
            expected=self.digest,
        )

    @property
    def _shown(self) -> str:
        return (
            f"{self.place.path} of the stored artefact {hashing.short(self.place.artefact)}"
            f" from byte {self.place.offset}"
        )


def no_base(found: Manifest, digest: str) -> UntrustedBundle:
    """Say that a delta is for a site that holds an artefact which is not here.

    Args:
        found: The delta's manifest.
        digest: The artefact.

    Returns:
        The error, not raised.
    """
    origin = found.origins.get(digest)
    by = (
        f"It came with the bundle {origin}: import that first"
        if origin
        else "Import the bundle that brings it first"
    )
    return UntrustedBundle(
        "media.delta-base",
        f"The medium carries only what differs from the artefact {hashing.short(digest)}, which is not in the store.",
        remedy=f"{by}, or ask the publisher for the whole medium.",
        artefact=digest,
        origin=origin or "",
    )
