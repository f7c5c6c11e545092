"""Media made by hand: any files, volumes, deltas and manifests, signed like real ones, without the inspection of a build."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.formats import chunking
from holdfast.formats.chunking import Chunk
from holdfast.governance.labels import Label
from holdfast.keys import person
from holdfast.media import copy, importer, layout, volume
from holdfast.media.manifest import Delta, Entry, Manifest, Source
from holdfast.media.verify import verify_medium
from holdfast.media.volume import Volume
from holdfast.store.files import Store
from holdfast.trust import ceremony
from holdfast.trust.workflow import TrustState

if TYPE_CHECKING:
    from collections.abc import Mapping

PIECE = 300_000  # bytes of a chunk where a test wants many of them in small files
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LABEL = Label("public", frozenset(), frozenset({"site"}))
_PAIRS: list[person.KeyPair] = []


def pairs():
    """Give two holders' keys, the same in one process."""
    if not _PAIRS:
        _PAIRS.extend((person.generate("Ada"), person.generate("Bo")))
    return _PAIRS


def quiet(step, done, total):
    """Take progress and say nothing."""


def cut(name: str, data: bytes) -> tuple[Chunk, ...]:
    """Cut bytes as our rule does."""
    plan = chunking.plan_for(name, lambda offset, length: data[offset : offset + length], len(data))
    starts = accumulate(plan[:-1], initial=0) if plan else ()
    return tuple(
        Chunk(hashing.sha512(data[start : start + size]), size)
        for start, size in zip(starts, plan, strict=True)
    )


def entry(name: str, files: Mapping[str, bytes], kind: Kind = Kind.DATASET, **more) -> Entry:
    """Make the entry of one artefact."""
    chunks = {path: cut(path, data) for path, data in files.items()}
    refs = tuple(
        sorted(
            FileRef(path, len(data), hashing.of_chunks(one.digest for one in chunks[path]))
            for path, data in files.items()
        )
    )
    return Entry(Artefact(kind, name, "1", refs, LABEL, **more), "Apache-2.0", chunks)


def manifest_of(artefacts: Mapping[str, Mapping[str, bytes]]) -> Manifest:
    """State a manifest of data sets."""
    entries = tuple(entry(name, files) for name, files in artefacts.items())
    return Manifest("crafted", "1", "", "Test works", NOW, entries)


def pieces_of(artefacts: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    """Give the bytes of every chunk by its digest."""
    found = {}
    for files in artefacts.values():
        for path, data in files.items():
            start = 0
            for chunk in cut(path, data):
                found[chunk.digest] = data[start : start + chunk.size]
                start += chunk.size
    return found


@dataclass
class Crafted:
    """A medium that was made.

    Args:
        root: Bytes of its first root.
        manifest: What is on it.
        folders: The medium, or its volumes in order.
    """

    root: bytes
    manifest: Manifest
    folders: list[Path] = field(default_factory=list)

    @property
    def state(self) -> TrustState:
        return TrustState(self.root)

    @property
    def records(self):
        return [one.artefact for one in self.manifest.entries]

    def chunk(self, digest: str) -> Path:
        """Find a chunk on whichever volume it is."""
        return next(path for folder in self.folders if (path := folder / layout.chunk(digest)).exists())


def craft(
    place: Path,
    found: Manifest,
    pieces: Mapping[str, bytes],
    *,
    size: int | None = None,
    root: bytes | None = None,
    revocations: bytes | None = None,
    version: int = 1,
) -> Crafted:
    """Write a signed medium of a manifest; with a size, its volumes."""
    root = root or ceremony.make_root(pairs(), expires=NOW + timedelta(days=900))
    data = found.encode()
    targets = {layout.MANIFEST: data}
    if revocations is not None:
        targets[layout.REVOCATIONS] = revocations
    release = ceremony.make_release(
        pairs(), root, targets=targets, first_version=version, expires=NOW + timedelta(days=90)
    )
    made = Crafted(root, found)
    parts = [None] if size is None else volume.plan(found, size)
    for number, part in enumerate(parts, start=1):
        folder = place if part is None else place / str(number)
        small = {
            layout.root(1): root,
            layout.TIMESTAMP: release.timestamp,
            layout.SNAPSHOT: release.snapshot,
            layout.TARGETS_METADATA: release.roles["targets"],
            **{layout.target(path): held for path, held in targets.items()},
        }
        if part is not None:
            small[layout.VOLUME] = Volume(number, len(parts), size, hashing.sha512(data)).encode()
        for digest in found.carried if part is None else part:
            small[layout.chunk(digest)] = pieces[digest]
        for path, held in small.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(held)
        made.folders.append(folder)
    return made


def medium_of(place: Path, artefacts: Mapping[str, Mapping[str, bytes]], **more) -> Crafted:
    """Write a signed medium of data sets."""
    return craft(place, manifest_of(artefacts), pieces_of(artefacts), **more)


def delta_of(new: Manifest, base: Artefact, path: str, offsets: Mapping[str, int]) -> Manifest:
    """Leave out of a manifest the chunks that a stored file has at these offsets."""
    sources = {digest: Source(base.digest, path, offset) for digest, offset in offsets.items()}
    delta = Delta(hashing.sha512(b"request"), "site", sources)
    entries = tuple(
        replace(one, artefact=replace(one.artefact, parents=(base.digest,))) for one in new.entries
    )
    return replace(new, entries=entries, delta=delta, origins={base.digest: "the base 7"})


def judged(made: Crafted, at: int = 0, *, contents: bool = False):
    """Verify a medium or a volume; the verdict's medium is open."""
    return verify_medium(made.folders[at], made.state, NOW, quiet, contents=contents)


def imported(
    made: Crafted, store: Store, stage: Path, at: int = 0, *, progress=quiet, cancelled=lambda: False
):
    """Take a medium or a volume in."""
    verdict = judged(made, at)
    with verdict.medium:
        return importer.take_in(verdict, store, stage, progress, cancelled)


def adopted(made: Crafted, store: Store, stage: Path) -> None:
    """Take in every volume, adopt every artefact, check it, and remove the stage."""
    for at in range(len(made.folders)):
        taken = imported(made, store, stage, at)
    assert taken.missing == ()
    for record in made.records:
        store.adopt(taken.folders[record.digest], record)
        store.verify(record)
    importer.discard(stage, store.disk)


def random_files(**sizes: int) -> dict[str, bytes]:
    """Make files of random bytes."""
    return {f"{name}.bin": secrets.token_bytes(size) for name, size in sizes.items()}


def main() -> None:
    """Import in a process of its own: ROOT MEDIUM STORE STAGE STOP; waits for its end once STOP bytes are copied."""
    root, medium, place, stage = map(Path, sys.argv[1:5])
    stop = int(sys.argv[5])
    chunking.PIECE, copy.BATCH = PIECE, 3 * PIECE

    def tell(step, done, _):
        if step == "copying" and 0 < stop <= done:
            os.write(1, b"waiting\n")
            os.read(0, 1)

    verdict = verify_medium(medium, TrustState(root.read_bytes()), NOW, quiet, contents=False)
    taken = importer.take_in(verdict, Store(place), stage, tell)
    os.write(1, f"{taken.copied}\n".encode())


if __name__ == "__main__":
    main()
