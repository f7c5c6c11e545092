"""Judging a medium, or one volume of it: metadata, then the listing, then every chunk.

Order of operations: the trusted root is walked up through the medium's roots; timestamp, snapshot, targets and those delegated
roles that lead to the manifest are verified by the workflow; the revocation list is judged against the one believed before; the
manifest is hashed, parsed and held to the paths that its publisher may speak for; the names on the medium must then be exactly
those that metadata, manifest and volume tell of; last, every chunk that should be here is hashed, and every file must be cut
where our rule cuts it. Invariants: nothing is written; no size or count is believed before it is bounded; what can't be
compared with something signed is refused; memory does not grow with the medium, only with its manifest; a fault on a volume
names that volume.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from holdfast import hashing
from holdfast.errors import UntrustedBundle
from holdfast.media import contents as contents_of
from holdfast.media import layout, manifest, read, volume
from holdfast.media.read import Medium
from holdfast.trust import fingerprint, floor, metadata, revocation, standing
from holdfast.trust.profile import HOLDFAST
from holdfast.trust.workflow import TrustState, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from pathlib import Path

    from tuf.api.metadata import TargetFile

    from holdfast.artefact import Artefact
    from holdfast.media.manifest import Manifest
    from holdfast.media.volume import Volume
    from holdfast.trust.delegation import Found
    from holdfast.trust.revocation import RevocationList

MAX_TARGETS = 16  # names in the folder of targets: a manifest in two folders, and the revocations
MAX_METADATA = (
    layout.MAX_ROOTS + 1000
)  # names in the folder of metadata: the roots, the roles, and room to name what is not ours
MAX_ROLES = 100  # delegated roles of one medium: each file is read and judged
DAMAGE = frozenset(
    {"media.changed", "media.missing", "media.unreadable"}
)  # what copying a volume again mends


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
        holders: Who signed the metadata that vouches for the manifest.
        size: Bytes of all its artefacts.
        state: What is to be believed once it is imported.
        role: The role that vouches for the manifest: ``targets`` or a delegated one.
        expires: When the metadata on it ends.
        expected: Digests of the chunks that are on this medium or volume.
        volume: Which volume it is, or None.
        revocations: The revocation list on it, or None.
    """

    medium: Medium
    manifest: Manifest
    digest: str
    root_version: int
    fingerprint: str
    holders: tuple[str, ...]
    size: int
    state: TrustState
    role: str
    expires: datetime
    expected: frozenset[str]
    volume: Volume | None = None
    revocations: RevocationList | None = None

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
    waived: Collection[str] = frozenset(),
    contents: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
) -> VerifiedMedium:
    """Judge a medium, or one volume of it.

    Args:
        place: Its folder, or a descriptor of it.
        state: What is trusted: the pinned root, and what was imported before.
        now: What the host's clock says, with a time zone.
        progress: Told of the bytes hashed.
        waived: Digests of timestamp files whose medium may be expired: two administrators granted it.
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
    part: Volume | None = None
    try:
        if medium.holds(layout.VOLUME):
            part = volume.parse(medium.read(layout.VOLUME, volume.MAX_FILE))
        verdict = _judge(medium, part, state, now, waived)
        if contents:
            contents_of.hash_all(verdict, progress, cancelled)
    except UntrustedBundle as problem:
        medium.close()
        raise of_volume(problem, part) from problem
    except BaseException:
        medium.close()
        raise
    return verdict


def of_volume(problem: UntrustedBundle, part: Volume | None) -> UntrustedBundle:
    """Name the volume in an error that was found on it.

    Args:
        problem: What is wrong.
        part: The volume that it was found on, or None.

    Returns:
        The same error if there are no volumes; else one that names the volume, and says so where another copy of it would
        mend it.
    """
    if part is None or "volume" in problem.fields:
        return problem
    damaged = problem.key in DAMAGE
    return UntrustedBundle(
        problem.key,
        f"Volume {part.number} of {part.count}{' is damaged' if damaged else ''}: {problem.message}",
        remedy=f"Make volume {part.number} again; the other volumes stay as they are."
        if damaged
        else problem.remedy,
        **problem.fields,
        volume=part.number,
        volumes=part.count,
    )


def _judge(
    medium: Medium, part: Volume | None, state: TrustState, now: datetime, waived: Collection[str]
) -> VerifiedMedium:
    """Judge everything but the chunks' bytes."""
    roots = _roots(medium)
    workflow = _walk(medium, len(roots), state, now, waived)
    vouched, data = _find_manifest(medium, workflow)
    found = manifest.parse(data)
    _limit(found, vouched, workflow)
    _check_paths(found)
    digest = hashing.sha512(data)
    listed = _revocations(medium, workflow, state)
    expected = frozenset(found.carried) if part is None else volume.assigned(part, found, digest)
    roles = _roles(medium, workflow)
    _compare(
        medium,
        {
            *map(layout.root, roots),
            *map(layout.role, roles),
            *(layout.TIMESTAMP, layout.SNAPSHOT, layout.TARGETS_METADATA),
            layout.target(vouched.path),
            *((layout.target(layout.REVOCATIONS),) if listed is not None else ()),
            *((layout.VOLUME,) if part is not None else ()),
        },
        {layout.chunk(one): size for one, size in found.carried.items() if one in expected},
    )
    risen = floor.raised(now, state.floor, found.created, workflow.expires)
    return VerifiedMedium(
        medium=medium,
        manifest=found,
        digest=digest,
        root_version=workflow.root.version,
        fingerprint=fingerprint.of_root(workflow.root_bytes),
        holders=vouched.found.holders,
        size=sum(entry.artefact.size for entry in found.entries),
        state=workflow.state(risen, None if listed is None else listed.encode()),
        role=vouched.found.role,
        expires=workflow.expires,
        expected=expected,
        volume=part,
        revocations=listed,
    )


@dataclass(frozen=True)
class _Vouched:
    """A manifest's target path and who vouches for it."""

    path: str
    found: Found


def _roots(medium: Medium) -> range:
    """List the versions of the roots, which must go from 1 up without a gap."""
    versions = []
    for count, (path, _) in enumerate(medium.walk(layout.METADATA)):
        if count == MAX_METADATA:
            raise read.unlisted(path)
        if (version := layout.root_version(path)) is not None:
            versions.append(version)
    versions.sort()
    for expected, version in enumerate(versions or [0], start=1):
        if version != expected:
            raise read.unreadable(layout.root(expected), FileNotFoundError())
    return range(1, len(versions) + 1)


def _walk(medium: Medium, newest: int, state: TrustState, now: datetime, waived: Collection[str]) -> Workflow:
    """Take the workflow from the trusted root to the targets; one root at a time is in memory, for there may be many."""

    def root(version: int) -> bytes:
        return _metadata(medium, Root.type, layout.root(version))

    # The whole chain on the medium must hold by itself, so that no byte of an older root can change unnoticed ...
    chain = Workflow(TrustState(root(1)), now)
    for version in range(2, newest + 1):
        chain.update_root(root(version))
    # ... and it must pass through the root that we trust.
    workflow = Workflow(state, now, waived=waived)
    trusted = workflow.root.version
    if trusted <= newest:
        passed = root(trusted)
        if fingerprint.of_root(passed) != fingerprint.of_root(state.root):
            raise _unpinned(passed, trusted)
    for version in range(trusted + 1, newest + 1):
        workflow.update_root(root(version))
    workflow.update_timestamp(_metadata(medium, Timestamp.type, layout.TIMESTAMP))
    workflow.update_snapshot(_metadata(medium, Snapshot.type, layout.SNAPSHOT))
    workflow.update_targets(_metadata(medium, Targets.type, layout.TARGETS_METADATA))
    return workflow


def _metadata(medium: Medium, role: str, path: str) -> bytes:
    return medium.read(path, metadata.MAX_BYTES[role])


def _role(medium: Medium, name: str) -> bytes:
    return _metadata(medium, Targets.type, layout.role(name))


def _find_manifest(medium: Medium, workflow: Workflow) -> tuple[_Vouched, bytes]:
    """Find the one manifest, who vouches for it, and its bytes."""
    paths = []
    for count, (path, _) in enumerate(medium.walk(layout.TARGETS)):
        if count == MAX_TARGETS:
            raise read.unlisted(path)
        if layout.manifest_collection(path) is not None:
            paths.append(path)
    if not paths:
        raise read.unreadable(layout.target(layout.MANIFEST), FileNotFoundError())
    if len(paths) > 1:
        raise UntrustedBundle(
            "media.manifests",
            f"The medium holds more than one manifest: {' and '.join(sorted(paths)[:2])}.",
            remedy="Do not import this medium; ask its publisher for one medium per manifest.",
        )
    target = paths[0].removeprefix(f"{layout.TARGETS}/")
    found = workflow.find(target, lambda name: _role(medium, name))
    data = medium.read(paths[0], manifest.MAX_MANIFEST)
    _same(found.info, data, paths[0])
    return _Vouched(target, found), data


def _same(info: TargetFile, data: bytes, path: str) -> None:
    """Hold a target to what vouches for it; another hash than SHA-512 alone would not do."""
    if "sha512" not in info.hashes:
        raise metadata.refuse("targets", f"{path} is listed without a SHA-512.", path=path)
    try:
        info.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as problem:
        raise read.changed(path) from problem


def _limit(found: Manifest, vouched: _Vouched, workflow: Workflow) -> None:
    """Hold a manifest to the collection and the paths that its publisher may speak for."""
    path = layout.target(vouched.path)
    if layout.manifest_collection(path) != found.collection:
        raise UntrustedBundle(
            "media.collection",
            f"{path} says that it is of the collection {found.collection or '(none)'!r}.",
            remedy="Do not import this medium; ask its publisher for a new one.",
            file=path,
        )
    for entry in found.entries:
        published = found.publication_path(entry)
        if not vouched.found.covers(published):
            raise metadata.refuse(
                "not-covered",
                f"The role {vouched.found.role} of root version {workflow.root.version} may not publish {published}.",
                role=vouched.found.role,
                path=published,
            )


def _check_paths(found: Manifest) -> None:
    """Refuse files of one artefact that can't lie side by side on every file system."""
    for entry in found.entries:
        alike = {unicodedata.normalize("NFKC", file.path).casefold() for file in entry.artefact.files}
        above = {path.rsplit("/", depth)[0] for path in alike for depth in range(1, path.count("/") + 1)}
        if len(alike) != len(entry.artefact.files) or alike & above:
            raise UntrustedBundle(
                "media.paths",
                f"Two files of {entry.artefact.kind} {entry.artefact.name} have names that some file systems take for one,"
                " or one is named like a folder of another.",
                remedy="Do not import this medium; ask its publisher for a new one.",
                artefact=entry.artefact.name,
            )


def _revocations(medium: Medium, workflow: Workflow, state: TrustState) -> RevocationList | None:
    """Read the revocation list, if the targets list one, and hold it to the one believed before."""
    info, path = workflow.target(layout.REVOCATIONS), layout.target(layout.REVOCATIONS)
    found = None
    if info is not None:
        data = medium.read(path, revocation.MAX_DOCUMENT)
        _same(info, data, path)
        found = revocation.parse(data)
    revocation.follows(None if state.revocations is None else revocation.parse(state.revocations), found)
    return found


def _roles(medium: Medium, workflow: Workflow) -> set[str]:
    """Find the delegated roles whose files must be here: delegated to, and named by the snapshot.

    Those that do not lead to the manifest are judged too, so that no byte on the medium can change unnoticed.
    """
    named = metadata.parse(Snapshot, workflow.accepted[Snapshot.type]).signed.meta
    files = {Targets.type: workflow.accepted[Targets.type]}
    while wanted := [
        name
        for name in standing.delegators(workflow.root_bytes, files)
        if name not in files and name not in metadata.TOP_LEVEL and f"{name}.json" in named
    ]:
        if len(files) + len(wanted) > MAX_ROLES + 1:  # the first of the files is the top-level targets
            raise metadata.refuse(
                "roles", f"The medium's metadata delegates to more than {MAX_ROLES} roles.", limit=MAX_ROLES
            )
        files.update((name, workflow.accepted.get(name) or _role(medium, name)) for name in wanted)
    for one in standing.of_release(workflow.root_bytes, files):
        if not one.complete:
            raise metadata.refuse(
                "threshold",
                f"The {one.role} metadata lacks signatures of {one.needed} people.",
                role=one.role,
            )
        named_as, held = workflow.named(one.role), metadata.parse(Targets, files[one.role], one.role)
        HOLDFAST.named(one.role, named_as, files[one.role], held)
        if named_as.version != one.version:
            raise metadata.mixed(one.role)
    return files.keys() - metadata.TOP_LEVEL


def _compare(medium: Medium, known: set[str], chunks: dict[str, int]) -> None:
    """Compare what is there with what is told, both ways; the first name too much ends it."""
    folders = {
        path.rsplit("/", depth)[0] + "/"
        for path in (*known, *chunks)
        for depth in range(1, path.count("/") + 1)
    }
    # A medium that carries no chunk may still have the folder for them.
    folders.add(f"{layout.CHUNKS}/")
    missing = {*known, *chunks}
    for path, size in medium.walk():
        if path in missing:
            missing.remove(path)
            if chunks.get(path, size) != size:
                raise read.changed(path)
        elif path not in folders:
            raise read.unlisted(path)
    if missing:
        raise read.unreadable(min(missing), FileNotFoundError())


def _unpinned(data: bytes, version: int) -> UntrustedBundle:
    found = fingerprint.of_root(data)
    return metadata.refuse(
        "unpinned-root",
        f"The medium's root version {version} has the fingerprint {found}, which is not the root trusted here.",
        fingerprint=found,
    )
