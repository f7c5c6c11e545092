"""What lies before somebody who is asked to sign: a root, or the metadata of a medium, with what it stands for.

Order of operations for a medium: list it; climb the ladder of roots; read every metadata file; compare how timestamp and snapshot
name the others; read the manifest and the revocation list and compare them with what the targets say. Invariants: what is
shown is what is signed, for every file is compared with the file that names it, and what is vouched for is there; a publisher who claims more than was
delegated is noticed before anybody signs; nothing is written. The chunks are not read here: ``media verify`` does that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from holdfast import hashing
from holdfast.media import layout, manifest, read
from holdfast.media.read import Medium
from holdfast.media.verify import MAX_ROLES, MAX_TARGETS
from holdfast.trust import fingerprint, holders, ladder, metadata, revocation, signing, standing
from holdfast.trust.delegation import Delegator, Link
from holdfast.trust.profile import HOLDFAST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tuf.api.metadata import TargetFile

    from holdfast.keys.person import PublicKeys
    from holdfast.media.manifest import Manifest
    from holdfast.trust.ladder import Rung
    from holdfast.trust.revocation import RevocationList
    from holdfast.trust.standing import Standing

MAX_METADATA = layout.MAX_ROOTS + MAX_ROLES + 3  # names in the folder of metadata


@dataclass(frozen=True)
class Paper:
    """One metadata file.

    Args:
        path: Where it is.
        role: Its role.
        data: Its bytes.
        standing: Who signed it.
        lists: Whose lists of keys it must satisfy.
    """

    path: Path
    role: str
    data: bytes
    standing: Standing
    lists: tuple[Delegator, ...]

    def concerns(self, holder: PublicKeys) -> bool:
        """Tell whether a holder's keys are listed for the file.

        Args:
            holder: The holder's public keys.

        Returns:
            True if one of the lists has both.
        """
        return any(holders.may_sign(delegator, self.role, holder) for delegator in self.lists)

    def signed_by(self, holder: PublicKeys) -> bool:
        """Tell whether both signatures of a holder are on the file.

        Args:
            holder: The holder's public keys.

        Returns:
            True if they are; those that are there were found valid.
        """
        present = signing.read(self.data).signatures
        return all(key.keyid in present for key in holders.keys_of(holder))


@dataclass(frozen=True)
class Papers:
    """What belongs together.

    Args:
        rungs: The roots, lowest first; the one to be signed alone for a root file.
        sheets: The files that may be signed, in the order in which they are read.
        fingerprint: Of what is signed: the root's, or the timestamp's, which binds everything else on a medium.
        manifest: The manifest of a medium, or None.
        digest: Digest of the manifest; empty for a root.
        publisher: The role that vouches for the manifest; empty for a root.
        revocations: The medium's revocation list, or None.
    """

    rungs: tuple[Rung, ...]
    sheets: tuple[Paper, ...]
    fingerprint: str
    manifest: Manifest | None = None
    digest: str = ""
    publisher: str = ""
    revocations: RevocationList | None = None

    def carried(self, sheet: Paper) -> bool:
        """Tell whether a file came from an earlier medium, so that this one does not show all that it vouches for.

        Args:
            sheet: One of the files.

        Returns:
            True for a targets file of another role than the one that vouches for the manifest.
        """
        return sheet.role not in (Root.type, Snapshot.type, Timestamp.type, self.publisher)

    @property
    def complete(self) -> bool:
        """Whether no file needs another signature."""
        return all(sheet.standing.complete for sheet in self.sheets)


def of_root(path: Path, data: bytes, before: bytes | None) -> Papers:
    """Lay out a root or its draft.

    Args:
        path: Where it is.
        data: Its bytes.
        before: Bytes of the root before it; None for the first, and for one that is judged by itself alone.

    Returns:
        The papers.

    Raises:
        UntrustedBundle: If one is malformed, they don't follow each other, or a signature is wrong.
    """
    found = ladder.rung(data, before)
    chain = [data] if before is None else [before, data]
    lists = tuple(Delegator.of_root(metadata.parse(Root, one).signed) for one in chain)
    return Papers((found,), (Paper(path, Root.type, data, found.standing, lists),), found.fingerprint)


def of_medium(folder: Path) -> Papers:
    """Lay out the metadata of a medium, finished or not; its chunks need not be there.

    Args:
        folder: The medium.

    Returns:
        The papers.

    Raises:
        NotFound: If there is no such folder.
        UntrustedBundle: If something is missing, malformed, or not what the file that names it says.
    """
    with Medium(folder) as medium:
        listing = _listing(medium)
        rungs = ladder.climb(_roots(medium, listing))
        for one in rungs[:-1]:
            if not one.standing.complete:
                raise metadata.refuse(
                    "threshold",
                    f"Root version {one.standing.version} is not signed by enough holders.",
                    role=Root.type,
                )
        files = _files(medium, listing)
        lists = standing.delegators(rungs[-1].data, files)
        states = {one.role: one for one in standing.of_release(rungs[-1].data, files)}
        _check_names(files, lists)
        sheets = [
            Paper(folder / layout.role(role), role, files[role], state, (lists[role],))
            for role, state in states.items()
        ]
        if not rungs[-1].standing.complete:
            before = rungs[-2].data if len(rungs) > 1 else None
            place = folder / layout.root(rungs[-1].standing.version)
            sheets[:0] = of_root(place, rungs[-1].data, before).sheets
        targets = _targets(medium, listing)
    publisher, path = _vouching({role: files[role] for role in states}, targets)
    found = manifest.parse(targets[path])
    for covered in (path, *map(found.publication_path, found.entries)):
        _check_cover(lists, publisher, covered)
    revoked = targets.get(layout.REVOCATIONS)
    return Papers(
        rungs,
        tuple(sheets),
        fingerprint.of_metadata(signing.read(files[Timestamp.type])),
        found,
        hashing.sha512(targets[path]),
        publisher,
        None if revoked is None else revocation.parse(revoked),
    )


def _listing(medium: Medium) -> tuple[str, ...]:
    """List what is read here; nothing of the chunks, which may be many."""
    found: list[str] = []
    for folder, most in ((layout.METADATA, MAX_METADATA), (layout.TARGETS, MAX_TARGETS)):
        for count, (path, _) in enumerate(medium.walk(folder)):
            if count == most:
                raise read.unlisted(path)
            found.append(path)
    return tuple(found)


def _roots(medium: Medium, listing: Sequence[str]) -> dict[int, bytes]:
    versions = [version for version in map(layout.root_version, listing) if version is not None]
    if 1 not in versions:
        raise read.unreadable(layout.root(1), FileNotFoundError())
    return {version: medium.read(layout.root(version), metadata.MAX_BYTES[Root.type]) for version in versions}


def _files(medium: Medium, listing: Sequence[str]) -> dict[str, bytes]:
    kinds = {Targets.type: Targets.type, Snapshot.type: Snapshot.type, Timestamp.type: Timestamp.type}
    kinds |= {role: Targets.type for role in map(layout.role_name, listing) if role is not None}
    return {role: medium.read(layout.role(role), metadata.MAX_BYTES[kind]) for role, kind in kinds.items()}


def _check_names(files: Mapping[str, bytes], lists: Mapping[str, Delegator]) -> None:
    """Compare how the files name each other; a role that somebody delegates to is there if it is named."""
    snapshot = metadata.parse(Snapshot, files[Snapshot.type])
    stamp = metadata.parse(Timestamp, files[Timestamp.type]).signed
    HOLDFAST.named(Snapshot.type, stamp.snapshot_meta, files[Snapshot.type], snapshot)
    HOLDFAST.content(snapshot.signed, Snapshot.type)
    for role in lists:
        if role not in files and f"{role}.json" in snapshot.signed.meta:
            raise read.unreadable(layout.role(role), FileNotFoundError())
    for role, data in files.items():
        if role in (Snapshot.type, Timestamp.type):
            continue
        found = metadata.parse(Targets, data, role)
        info = snapshot.signed.meta.get(f"{role}.json")
        if info is None or info.version != found.signed.version:
            raise metadata.mixed(role)
        HOLDFAST.named(role, info, data, found)
        HOLDFAST.content(found.signed, role)


def _targets(medium: Medium, listing: Sequence[str]) -> dict[str, bytes]:
    """Read the manifest and the revocation list by their target paths."""
    found = {}
    for path in listing:
        name = path.removeprefix(f"{layout.TARGETS}/")
        if path == layout.target(layout.REVOCATIONS):
            found[name] = medium.read(path, revocation.MAX_DOCUMENT)
        elif layout.manifest_collection(path) is not None:
            found[name] = medium.read(path, manifest.MAX_MANIFEST)
    return found


def _said(files: Mapping[str, bytes]) -> dict[str, tuple[str, TargetFile]]:
    """Tell which role vouches for each target path, and what it says of it."""
    said: dict[str, tuple[str, TargetFile]] = {}
    for role, data in files.items():
        if role not in (Snapshot.type, Timestamp.type):
            for path, info in metadata.parse(Targets, data, role).signed.targets.items():
                if path != layout.REVOCATIONS or role == Targets.type:
                    said.setdefault(path, (role, info))
    return said


def _vouching(files: Mapping[str, bytes], targets: Mapping[str, bytes]) -> tuple[str, str]:
    """Find the medium's one manifest and who vouches for it; compare every target with what is said of it."""
    said = _said(files)
    for path, data in targets.items():
        if path not in said:
            raise read.unlisted(layout.target(path))
        try:
            said[path][1].verify_length_and_hashes(data)
        except LengthOrHashMismatchError as problem:
            raise metadata.refuse(
                "target", f"{layout.target(path)} is not what the {said[path][0]} metadata says.", path=path
            ) from problem
    manifests = [path for path in targets if path != layout.REVOCATIONS]
    if len(manifests) != 1:
        raise metadata.refuse("targets", f"The medium has {len(manifests)} manifests instead of one.")
    publisher = said[manifests[0]][0]
    # What can't be shown is not signed: somebody could bring it to a site later, with these signatures.
    for path, (role, _) in said.items():
        if path not in targets and (role == publisher or path == layout.REVOCATIONS):
            raise read.unreadable(layout.target(path), FileNotFoundError())
    return publisher, manifests[0]


def _check_cover(lists: Mapping[str, Delegator], role: str, path: str) -> None:
    """Refuse what a delegated publisher may not publish."""
    while role != Targets.type:
        delegator = lists[role]
        if not Link(delegator, role, terminating=False).covers(path):
            raise metadata.refuse(
                "cover", f"{delegator.name} does not let {role} publish {path}.", role=role, path=path
            )
        role = delegator.name
