"""What a medium or a volume says of itself, read but not judged: for looking at it, and for its own publisher to go on from.

Invariant: nothing here says that any of it is true; every file is bounded and parsed strictly all the same, and only
``UntrustedBundle`` (or ``NotFound``) is raised by what is on the medium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from holdfast import hashing
from holdfast.errors import NotFound
from holdfast.media import layout, manifest, read, volume
from holdfast.media.read import Medium
from holdfast.trust import fingerprint, metadata, revocation

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from holdfast.media.manifest import Manifest
    from holdfast.media.volume import Volume
    from holdfast.trust.revocation import RevocationList


@dataclass(frozen=True)
class Claims:
    """What is said.

    Args:
        manifest: The manifest.
        digest: Its digest.
        role: The role whose metadata lists the manifest.
        roots: Bytes of every root, by version.
        timestamp: Bytes of the timestamp.
        snapshot: Bytes of the snapshot.
        targets: Bytes of the top-level targets.
        delegated: Bytes of every delegated role's metadata, by role.
        revocations: Bytes of the revocation list, or None.
        version: Version of the timestamp: the medium's.
        expires: When the timestamp ends.
        volume: Which volume it is, or None.
    """

    manifest: Manifest
    digest: str
    role: str
    roots: dict[int, bytes]
    timestamp: bytes
    snapshot: bytes
    targets: bytes
    delegated: dict[str, bytes]
    revocations: bytes | None
    version: int
    expires: datetime
    volume: Volume | None

    @property
    def root(self) -> bytes:
        """Bytes of the newest root."""
        return self.roots[max(self.roots)]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the newest root."""
        return fingerprint.of_root(self.root)

    @property
    def revoked(self) -> RevocationList | None:
        """What the medium revokes."""
        return None if self.revocations is None else revocation.parse(self.revocations)


def of_medium(place: Path) -> Claims:
    """Read what a medium says.

    Args:
        place: Its folder.

    Returns:
        Its claims.

    Raises:
        UntrustedBundle: If something is missing or malformed.
        NotFound: If there is no such folder, or it is no medium.
    """
    with Medium(place) as medium:
        listing = medium.listing()
        targets = [path for path in listing if layout.manifest_collection(path) is not None]
        versions = [v for v in map(layout.root_version, listing) if v is not None]
        if len(targets) != 1 or not versions:
            raise NotFound(
                "media.none",
                f"{place} holds {len(targets)} manifests and {len(versions)} roots: it is no medium.",
                remedy="Name the folder that holds metadata, targets and chunks; one volume at a time.",
                path=str(place),
            )
        data = medium.read(targets[0], manifest.MAX_MANIFEST)
        roles = [name for name in map(layout.role_name, listing) if name is not None]
        bounds = metadata.MAX_BYTES
        delegated = {name: medium.read(layout.role(name), bounds[Targets.type]) for name in sorted(roles)}
        listed = layout.target(layout.REVOCATIONS)
        stamp = medium.read(layout.TIMESTAMP, bounds[Timestamp.type])
        signed = metadata.parse(Timestamp, stamp).signed
        return Claims(
            manifest=manifest.parse(data),
            digest=hashing.sha512(data),
            role=_role(targets[0], delegated),
            roots={v: medium.read(layout.root(v), bounds[Root.type]) for v in sorted(versions)},
            timestamp=stamp,
            snapshot=medium.read(layout.SNAPSHOT, bounds[Snapshot.type]),
            targets=medium.read(layout.TARGETS_METADATA, bounds[Targets.type]),
            delegated=delegated,
            revocations=medium.read(listed, revocation.MAX_DOCUMENT) if listed in listing else None,
            version=signed.version,
            expires=signed.expires,
            volume=volume.parse(medium.read(layout.VOLUME, volume.MAX_FILE))
            if layout.VOLUME in listing
            else None,
        )


def _role(path: str, delegated: dict[str, bytes]) -> str:
    """Find the role that lists the manifest."""
    target = path.removeprefix(f"{layout.TARGETS}/")
    if target == layout.MANIFEST:
        return Targets.type
    for name, data in delegated.items():
        if target in metadata.parse(Targets, data, name).signed.targets:
            return name
    raise read.unlisted(path)
