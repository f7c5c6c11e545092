"""Making a medium: the publisher's side.

Order of operations: read the recipe; inspect and describe every artefact; state the manifest, leaving out for a delta what the site
holds; refuse what a delegated publisher may not publish; copy the chunks into a draft beside the goal; write the manifest and the
metadata, signed by the keys at hand; if nobody else must sign, verify the draft as a site would; sync; rename the draft onto
the goal. Invariants: the goal appears whole or not at all, whatever interrupts; what it carries over from the previous medium
(roots, versions, delegations, revocations) it carries over unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from holdfast import hashing
from holdfast.errors import NotFound, UntrustedRecipe, UsageRefused
from holdfast.media import claims, gather, layout, manifest
from holdfast.media.draft import Draft
from holdfast.media.manifest import Delta, Manifest
from holdfast.media.recipe import Recipe
from holdfast.media.verify import verify_medium
from holdfast.trust import ceremony, fingerprint, metadata, revocation, standing
from holdfast.trust.delegation import Link
from holdfast.trust.workflow import TrustState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from holdfast.artefact import Artefact
    from holdfast.keys.person import KeyPair
    from holdfast.media.request import SignedRequest
    from holdfast.media.verify import Progress
    from holdfast.trust.ceremony import Release
    from holdfast.trust.publisher import Delegation
    from holdfast.trust.revocation import RevocationList
    from holdfast.trust.standing import Standing

ROOT_DAYS = 1825  # days a root lasts: it must outlive every medium under it, and rotation ends it earlier


@dataclass(frozen=True)
class Origin:
    """What a build continues.

    Args:
        roots: Bytes of all roots so far, by version; empty to found one.
        previous: Bytes of the previous medium's metadata, by role; empty if there is none.
        revocations: Bytes of the previous medium's revocation list, or None.
        origins: Which bundle ("name version") brought an artefact, by digest, as far as the previous medium knows.
    """

    roots: dict[int, bytes]
    previous: dict[str, bytes] = field(default_factory=dict)
    revocations: bytes | None = None
    origins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What a medium shall be beside its recipe.

    Args:
        role: Whose targets are made: ``targets``, or a delegated publisher's role.
        collection: The part of the publication paths that a delegated publisher is limited to; empty at top level.
        delegate: What the role gives to publishers.
        undelegate: Names of the role's delegations that end.
        revocations: Bytes of a new revocation list, or None to carry over the previous one.
        request: The request of the site that the medium is for, or None for a medium that every site can import.
    """

    role: str = Targets.type
    collection: str = ""
    delegate: Sequence[Delegation] = ()
    undelegate: Collection[str] = ()
    revocations: bytes | None = None
    request: SignedRequest | None = None


@dataclass(frozen=True)
class Built:
    """What was made.

    Args:
        folder: Where the medium is.
        manifest: Its manifest.
        digest: SHA-512 of it.
        role: The role that vouches for it.
        fingerprint: Fingerprint of its newest root.
        root_version: Version of that root.
        version: Version of its timestamp.
        founded: Whether the root was made in this build.
        standings: Who has signed each file, and who must still sign.
        revocations: The revocation list on it, or None.
        unknown: Digests of parents of which no known bundle can be named.
    """

    folder: Path
    manifest: Manifest
    digest: str
    role: str
    fingerprint: str
    root_version: int
    version: int
    founded: bool
    standings: tuple[Standing, ...]
    revocations: RevocationList | None
    unknown: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether nobody else must sign."""
        return all(one.complete for one in self.standings)

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """The records."""
        return tuple(entry.artefact for entry in self.manifest.entries)

    @property
    def size(self) -> int:
        """Bytes of the artefacts."""
        return sum(one.size for one in self.artefacts)


def origin(roots: Sequence[Path] | Path | None, previous: Path | None) -> Origin:
    """Read what a build continues.

    Args:
        roots: Root metadata files: all of them, or those that follow the previous medium's.
        previous: The folder of the previous medium, or None.

    Returns:
        What to go on from.

    Raises:
        UsageRefused: If the two do not belong together.
        UntrustedBundle: If something in them is malformed.
        NotFound: If the previous medium or a root is not there.
    """
    before = None if previous is None else claims.of_medium(previous)
    found = {} if before is None else dict(before.roots)
    for path in [roots] if isinstance(roots, Path) else roots or []:
        data = _root(path)
        version = metadata.parse(Root, data).signed.version
        if found.setdefault(version, data) != data:
            raise UsageRefused(
                "media.previous-root",
                f"The root {path} is another one than the root of version {version} that was there before.",
                remedy="Give the roots that follow the previous medium's, or leave --root out.",
            )
    if found and sorted(found) != list(range(1, len(found) + 1)):
        raise UsageRefused(
            "media.root-chain",
            f"The roots have the versions {', '.join(map(str, sorted(found)))}; a medium carries every root from the first on.",
            remedy="Give --previous, the last medium under this root, and --root for each root after it.",
        )
    if before is None:
        return Origin(found)
    files = {Timestamp.type: before.timestamp, Snapshot.type: before.snapshot, Targets.type: before.targets}
    bundle = f"{before.manifest.name} {before.manifest.version}"
    brought = {entry.artefact.digest: bundle for entry in before.manifest.entries}
    return Origin(found, files | before.delegated, before.revocations, before.manifest.origins | brought)


def _root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(metadata.MAX_BYTES[Root.type] + 1)  # one more, so that a longer file is noticed
    except OSError as problem:
        raise NotFound(
            "media.root-file",
            f"The root {path} can't be read: {problem.strerror}.",
            remedy="Check the name, and that you may read it.",
            file=str(path),
        ) from problem


def build(
    recipe_path: Path,
    out: Path,
    pairs: Sequence[KeyPair],
    start: Origin,
    *,
    now: datetime,
    progress: Progress,
    order: Order | None = None,
) -> Built:
    """Build a medium.

    Args:
        recipe_path: The recipe.
        out: Where the medium shall be: nothing yet, or an empty folder.
        pairs: The keys at hand; fewer than needed leave the medium unfinished.
        start: What it continues.
        now: The time of creation, with a time zone.
        progress: Told of the bytes written.
        order: What else it shall be; nothing special if not given.

    Returns:
        What was made.

    Raises:
        UntrustedRecipe: If the recipe has a mistake, or one of its files would be refused at the site.
        UsageRefused: If a key may sign nothing of it, or the publisher may not publish what the recipe names.
        UntrustedBundle: If the revocation list does not follow the previous one.
        Conflict: If something is already at ``out``.
        NoSpace: If the disk can't hold it.
        OperationFailed: If a disk fails.
    """
    order = order or Order()
    with Draft(out) as made:
        recipe = Recipe(recipe_path)
        _require_content(recipe, order)
        created = now.astimezone(UTC).replace(microsecond=0)
        roots = start.roots or {1: ceremony.make_root(pairs, expires=created + timedelta(days=ROOT_DAYS))}
        found = gather.gather(recipe, progress)
        stated = _state(recipe, found, created, start, order)
        data = stated.encode()
        target = _target(stated)
        _require_covered(stated, target, roots[max(roots)], start, order)
        revoked = _revocations(start, order)
        release = ceremony.make_release(
            pairs,
            roots[max(roots)],
            targets={target: data}
            | ({} if order.revocations is None else {layout.REVOCATIONS: order.revocations}),
            previous=start.previous,
            role=order.role,
            delegate=order.delegate,
            undelegate=order.undelegate,
            expires=created + timedelta(days=recipe.document.expires_days),
        )
        made.require_space(sum(stated.carried.values()) + len(data), f"the medium {stated.name}")
        gather.copy(found, stated.carried, made, progress)
        made.file(layout.target(target), data)
        if revoked is not None:
            made.file(layout.target(layout.REVOCATIONS), revoked)
        _write(made, roots, release)
        standings = _standings(roots, release)
        if all(one.complete for one in standings):
            verify_medium(made.folder, TrustState(roots[max(roots)]), created, progress).medium.close()
        made.publish()
    return Built(
        folder=out,
        manifest=stated,
        digest=hashing.sha512(data),
        role=order.role,
        fingerprint=fingerprint.of_root(roots[max(roots)]),
        root_version=max(roots),
        version=metadata.parse(Timestamp, release.timestamp).signed.version,
        founded=not start.roots,
        standings=standings,
        revocations=None if revoked is None else revocation.parse(revoked),
        unknown=tuple(sorted(stated.foreign_parents - stated.origins.keys())),
    )


def _require_content(recipe: Recipe, order: Order) -> None:
    """Refuse a medium that would bring nothing, or what only the top-level targets may bring."""
    delegated = order.role != Targets.type
    if delegated == (not order.collection) or (delegated and not manifest.is_collection(order.collection)):
        raise UsageRefused(
            "media.collection",
            f"The role {order.role} publishes {'in a collection' if delegated else 'at top level'},"
            f" and the collection given is {order.collection[:40]!r}.",
            remedy="Give --role and --collection together: a plain lower-case name, as the delegation's paths name it.",
        )
    if delegated and order.revocations is not None:
        raise UsageRefused(
            "media.revocations-role",
            f"The role {order.role} can't revoke; only the top-level targets can.",
            remedy="Have the revocation list signed by the holders of the top-level targets.",
        )
    if not recipe.document.artefact and (delegated or order.revocations is None):
        raise UntrustedRecipe(
            "media.recipe-empty",
            "The recipe has no artefact, and no revocations are given: the medium would bring nothing.",
            remedy="Name an artefact, or give --revocations.",
        )


def _state(
    recipe: Recipe, found: gather.Gathered, created: datetime, start: Origin, order: Order
) -> Manifest:
    document = recipe.document
    full = Manifest(
        name=document.name,
        version=document.version,
        description=document.description,
        publisher=document.publisher,
        created=created,
        entries=found.entries,
        collection=order.collection,
    )
    origins = {digest: start.origins[digest] for digest in full.foreign_parents if digest in start.origins}
    delta = None if order.request is None else _delta(full, order.request)
    return manifest.parse(replace(full, origins=origins, delta=delta).encode())


def _delta(full: Manifest, signed: SignedRequest) -> Delta | None:
    """Leave out what the site holds; None if it holds nothing of it."""
    there = signed.request.sources
    sources = {digest: there[digest] for digest in full.chunks if digest in there}
    return Delta(signed.digest, signed.request.site, sources) if sources else None


def _target(stated: Manifest) -> str:
    """Name the manifest as a target: after the first artefact's kind, where it stands in a collection."""
    kind = stated.entries[0].artefact.kind.value if stated.entries else ""
    return layout.manifest_target(kind, stated.collection)


def _require_covered(stated: Manifest, target: str, root: bytes, start: Origin, order: Order) -> None:
    """Refuse what the role may not publish, before anybody signs it."""
    if order.role == Targets.type:
        return
    lists = standing.delegators(root, start.previous)
    chain: list[Link] = []
    name = order.role
    while name != Targets.type:
        if name not in lists:
            raise UsageRefused(
                "media.role",
                f"Nobody delegates to the role {name}.",
                remedy="Give --previous, a medium whose targets delegate to it; see `holdfast trust delegate`.",
                role=name,
            )
        chain.append(Link(lists[name], name, terminating=False))
        name = lists[name].name
    for path in [target, *map(stated.publication_path, stated.entries)]:
        for link in chain:
            if not link.covers(path):
                raise UsageRefused(
                    "media.not-delegated",
                    f"{order.role} may not publish {path}: {link.delegator.name} delegates other paths to {link.name}.",
                    remedy="Choose the --collection, or the artefacts, that the delegation covers.",
                    role=order.role,
                    path=path,
                )


def _revocations(start: Origin, order: Order) -> bytes | None:
    """Give the list that the medium carries."""
    if order.revocations is not None:
        old = None if start.revocations is None else revocation.parse(start.revocations)
        revocation.follows(old, revocation.parse(order.revocations))
        return order.revocations
    return start.revocations


def _write(made: Draft, roots: Mapping[int, bytes], release: Release) -> None:
    for version, root in roots.items():
        made.file(layout.root(version), root)
    for role, data in release.files.items():
        made.file(f"{layout.METADATA}/{role}.json", data)


def _standings(roots: Mapping[int, bytes], release: Release) -> tuple[Standing, ...]:
    """Tell who has signed the newest root and what is beneath it."""
    newest = max(roots)
    return (
        standing.of_root(roots[newest], roots.get(newest - 1)),
        *standing.of_release(roots[newest], release.files),
    )
