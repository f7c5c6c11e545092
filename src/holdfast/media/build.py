"""Making a medium: the publisher's side.

Order of operations: read the recipe; inspect every artefact with the readers that the site will use; write the chunks into a
draft folder beside the goal; write the manifest; sign; verify the draft as a site would; sync; rename the draft onto the
goal. Invariants: the goal appears whole or not at all, whatever interrupts; a file that changes while it is read is
refused.
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, timedelta
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Timestamp

from holdfast import hashing
from holdfast.artefact import Artefact, Kind
from holdfast.errors import Conflict, UntrustedRecipe, UsageRefused
from holdfast.formats import inspection
from holdfast.governance import labels
from holdfast.media import layout
from holdfast.media.manifest import Entry, Manifest
from holdfast.media.read import Medium
from holdfast.media.recipe import Recipe
from holdfast.media.verify import verify_medium
from holdfast.store import disk, hashfile
from holdfast.trust import ceremony, metadata
from holdfast.trust.workflow import TrustState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.formats.chunking import Chunk
    from holdfast.keys.person import KeyPair
    from holdfast.media.recipe import ArtefactSpec
    from holdfast.media.verify import Progress
    from holdfast.store.hashfile import Described

ROOT_DAYS = 1825  # days a root lasts: it must outlive every medium under it, and rotation ends it earlier


@dataclass(frozen=True)
class Built:
    """What was made.

    Args:
        folder: Where the medium is.
        digest: SHA-512 of its manifest.
        fingerprint: Fingerprint of its newest root.
        root_version: Version of that root.
        version: Version of its metadata.
        founded: Whether the root was made in this build.
        artefacts: The records.
        size: Bytes of the artefacts.
    """

    folder: Path
    digest: str
    fingerprint: str
    root_version: int
    version: int
    founded: bool
    artefacts: tuple[Artefact, ...]
    size: int


@dataclass(frozen=True)
class Origin:
    """What a build continues.

    Args:
        roots: Bytes of all roots so far, by version; empty to found one.
        version: Version of the previous medium's metadata; 0 if there is none.
    """

    roots: dict[int, bytes]
    version: int = 0


def origin(root: Path | None, previous: Path | None) -> Origin:
    """Read what a build continues.

    Args:
        root: A root metadata file, or None.
        previous: The folder of the previous medium, or None.

    Returns:
        The roots and the version to go on from.

    Raises:
        UsageRefused: If the two do not belong together.
        UntrustedBundle: If something in them is malformed.
        NotFound: If the previous medium is not there.
    """
    given = None if root is None else root.read_bytes()
    roots = {} if given is None else {metadata.parse(Root, given).signed.version: given}
    if previous is None:
        if roots and 1 not in roots:
            raise UsageRefused(
                "media.root-chain",
                f"{root} has version {max(roots)}, and a medium carries every root from the first on.",
                remedy="Give --previous, the last medium under this root.",
            )
        return Origin(roots)
    with Medium(previous) as medium:
        versions = [v for v in map(layout.root_version, medium.listing()) if v is not None]
        found = {v: medium.read(layout.root(v), metadata.MAX_BYTES[Root.type]) for v in versions}
        stamp = medium.read(layout.TIMESTAMP, metadata.MAX_BYTES[Timestamp.type])
    if any(found.get(version) != data for version, data in roots.items()):
        raise UsageRefused(
            "media.previous-root",
            f"The root given is not on the previous medium {previous}.",
            remedy="Give the root that the previous medium was built with, or leave --root out.",
        )
    return Origin(found, metadata.parse(Timestamp, stamp).signed.version)


def build(
    recipe_path: Path,
    out: Path,
    pairs: Sequence[KeyPair],
    start: Origin,
    *,
    now: datetime,
    progress: Progress,
) -> Built:
    """Build a medium.

    Args:
        recipe_path: The recipe.
        out: Where the medium shall be: nothing yet, or an empty folder.
        pairs: Keys of at least two holders.
        start: What it continues.
        now: The time of creation, with a time zone.
        progress: Told of the bytes written.

    Returns:
        What was made.

    Raises:
        UntrustedRecipe: If the recipe has a mistake, or one of its files would be refused at the site.
        UsageRefused: If the keys are not enough or not the root's.
        Conflict: If something is already at ``out``.
        NoSpace: If the disk can't hold it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Conflict(
            "media.out-taken",
            f"{out} is not empty.",
            remedy="Name a new folder; a medium is never built over another.",
        )
    recipe = Recipe(recipe_path)
    created = now.astimezone(UTC).replace(microsecond=0)
    founded = not start.roots
    roots = start.roots or {1: ceremony.make_root(pairs, expires=created + timedelta(days=ROOT_DAYS))}
    out.parent.mkdir(parents=True, exist_ok=True)
    total = sum(path.stat().st_size for files in recipe.files for path in files.values())
    disk.require_space(out.parent, total, f"the medium {recipe.document.name}")
    draft = out.parent / f".{out.name}.{secrets.token_hex(4)}.draft"
    try:
        writer = _Writer(draft, total, progress)
        entries = _entries(recipe, writer)
        made = _manifest(recipe, entries, created)
        expires = created + timedelta(days=recipe.document.expires_days)
        newest = roots[max(roots)]
        release = ceremony.make_release(pairs, newest, made, version=start.version + 1, expires=expires)
        for version, data in roots.items():
            writer.file(layout.root(version), data)
        writer.file(layout.TIMESTAMP, release.timestamp)
        writer.file(layout.SNAPSHOT, release.snapshot)
        writer.file(layout.TARGETS_METADATA, release.targets)
        writer.file(layout.MANIFEST, made)
        verdict = verify_medium(draft, TrustState(newest), created, progress)
        verdict.medium.close()
        for parent, _, _ in os.walk(draft, topdown=False):
            disk.sync_folder(Path(parent))
        draft.rename(out)
        disk.sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Built(
        out,
        hashing.sha512(made),
        verdict.fingerprint,
        verdict.root_version,
        start.version + 1,
        founded,
        verdict.artefacts,
        verdict.size,
    )


class _Writer:
    """The draft being written."""

    def __init__(self, draft: Path, total: int, progress: Progress) -> None:
        self._draft = draft
        self._total = total
        self._done = 0
        self._progress = progress
        draft.mkdir(mode=0o755)
        for name in (layout.METADATA, layout.TARGETS, layout.CHUNKS):
            (draft / name).mkdir()

    def file(self, path: str, data: bytes) -> None:
        with (self._draft / path).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def chunks(self, path: Path, described: Described) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            starts = accumulate((chunk.size for chunk in described.chunks[:-1]), initial=0)
            for start, chunk in zip(starts, described.chunks, strict=False):
                self._chunk(handle, start, chunk, path)
                self._done += chunk.size
                self._progress("writing", self._done, self._total)
        finally:
            os.close(handle)

    def _chunk(self, handle: int, start: int, chunk: Chunk, path: Path) -> None:
        place = self._draft / layout.chunk(chunk.digest)
        if place.exists():
            return
        data = hashfile.read_exactly(handle, start, chunk.size)
        if hashing.sha512(data) != chunk.digest:
            raise _refused(path, "it changed while it was read")
        place.parent.mkdir(exist_ok=True)
        self.file(layout.chunk(chunk.digest), data)


def _entries(recipe: Recipe, writer: _Writer) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    known: dict[str, str] = {}
    for spec, files in zip(recipe.document.artefact, recipe.files, strict=True):
        entry = _entry(spec, files, known, writer)
        known[f"{spec.kind}/{spec.name}"] = entry.artefact.digest
        entries.append(entry)
    return tuple(entries)


def _entry(spec: ArtefactSpec, files: dict[str, Path], known: dict[str, str], writer: _Writer) -> Entry:
    kind = Kind(spec.kind)
    handles = {
        name: os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) for name, path in files.items()
    }
    try:
        sizes = {name: os.fstat(handle).st_size for name, handle in handles.items()}
        found = inspection.inspect(
            kind, sizes, lambda name, at, count: hashfile.read_exactly(handles[name], at, count)
        )
        if found.refusals:
            raise _refused(files.get(str(found.refusals[0].fields.get("file"))), found.refusals[0].message)
        described = {name: hashfile.describe_open(handle, name) for name, handle in handles.items()}
    finally:
        for handle in handles.values():
            os.close(handle)
    for name, path in files.items():
        writer.chunks(path, described[name])
    record = Artefact(
        kind=kind,
        name=spec.name,
        version=spec.version,
        files=tuple(sorted(one.ref for one in described.values())),
        label=labels.parse(spec.label.model_dump()),
        parents=tuple(known.get(parent, parent) for parent in spec.parents),
        meta=found.facts,
    )
    return Entry(record, spec.licence, {name: one.chunks for name, one in described.items()})


def _manifest(recipe: Recipe, entries: tuple[Entry, ...], created: datetime) -> bytes:
    document = recipe.document
    return Manifest(
        document.name, document.version, document.description, document.publisher, created, entries
    ).encode()


def _refused(path: Path | None, why: str) -> UntrustedRecipe:
    return UntrustedRecipe(
        "media.recipe-file",
        f"{path or 'An artefact'} is refused: {why.rstrip('.')}.",
        remedy="Correct the file or the recipe, then build again.",
        file=str(path),
    )
