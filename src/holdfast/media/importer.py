"""Taking a verified medium, or one volume after another, into a stage that lasts until everything is there.

    STAGE/
    ├── journal                     which placements of chunks are safe, see ``media.journal``
    └── <32 digits>/<path>          the files of every artefact that is not in the store, by the beginning of its digest

Order of operations: lock the stage; open the journal; see what is missing, and whether there is room for it; make every file at
its full size, so that a full disk is told before anything is copied, and sync every name; copy what this volume brings and
what the site holds, hashing both; check the cuts of every file that is complete. Invariants: nothing outside the stage is
touched; whatever interrupts, the stage can be gone on with or removed, and what its journal says is safe is not read again;
volumes come in any order; on disk there is one copy beyond the medium, for ``Store.adopt`` takes the files by hard links.

How it is called: ``take_in`` with every volume in turn, under one stage per manifest, until ``Taken.missing`` is empty; then have
``Taken.folders`` inspected and admitted, verify and adopt them (an artefact that is in the store but damaged is in the stage
anew: ``Store.discard`` it, then adopt), and remove the stage with ``discard``.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.errors import Conflict, UntrustedBundle, VerificationFailed
from holdfast.media import layout, volume
from holdfast.media.contents import check_cuts, stopped
from holdfast.media.copy import Copier, Piece
from holdfast.media.journal import Journal
from holdfast.media.sources import AtSite, OnMedium, Staged, no_base
from holdfast.media.verify import of_volume
from holdfast.store import disk
from holdfast.store.hashfile import read_exactly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from holdfast.artefact import FileRef
    from holdfast.formats.chunking import Chunk
    from holdfast.media.copy import Source
    from holdfast.media.verify import Progress, VerifiedMedium
    from holdfast.store.disk import Disk
    from holdfast.store.files import Store

FOLDER_DIGITS = 32  # of an artefact's digest in the name of its folder: 128 bits


@dataclass(frozen=True)
class Taken:
    """How far an import has come.

    Args:
        missing: Numbers of the volumes that are still to be read; (1,) where a medium without volumes was left unfinished.
        copied: Bytes that were read from this medium or volume.
        reused: Bytes of the new artefacts that were not: safe in the stage before, or found at the site.
        folders: Where the files of each artefact are, by its digest: in the stage, or in the store.
    """

    missing: tuple[int, ...]
    copied: int
    reused: int
    folders: dict[str, Path]


def folder(stage: Path, digest: str) -> Path:
    """Tell where the files of an artefact are staged.

    Args:
        stage: The stage.
        digest: The artefact's digest.

    Returns:
        Its folder, whether it is there or not.
    """
    return stage / hashing.raw(digest).hex()[:FOLDER_DIGITS]


def take_in(
    verified: VerifiedMedium,
    store: Store,
    stage: Path,
    progress: Progress,
    cancelled: Callable[[], bool] = lambda: False,
) -> Taken:
    """Copy into a stage what a medium or volume brings and the store does not hold.

    Args:
        verified: The verdict, whose medium is open; its chunks need not have been hashed yet.
        store: What the site holds; its disk is the one that is written to.
        stage: The folder of this manifest's import, on the store's file system; made if it is not there.
        progress: Told of the bytes copied.
        cancelled: Asked between buffers whether to stop.

    Returns:
        What is still missing, and where the artefacts are.

    Raises:
        Conflict: If another import of the same manifest is under way.
        NoSpace: If the disk can't hold it.
        UntrustedBundle: If a chunk is not what was signed, or a delta is for a site that holds other artefacts.
        OperationFailed: If it was cancelled, or the disk failed.
    """
    with disk.faults("the import"):
        disk.make_folders(stage, store.disk)
        with _locked(stage):
            return _Import(verified, store, stage).run(progress, cancelled)


def discard(stage: Path, on: Disk = disk.HOST) -> None:
    """Remove a stage, durably.

    Args:
        stage: The folder; nothing happens if it is not there.
        on: The disk.

    Raises:
        Conflict: If an import is under way in it.
        OperationFailed: If the disk failed.
    """
    if not stage.is_dir():
        return
    with disk.faults("the import"), _locked(stage):
        disk.remove_tree(stage, on)
        on.sync_folder(stage.parent)


@contextmanager
def _locked(stage: Path) -> Iterator[None]:
    """Keep every other import out of a stage; the lock ends with its holder, however that ends."""
    handle = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                "media.importing",
                "This medium, or another volume of it, is being imported already.",
                remedy="Wait for that import to end, or stop it.",
            ) from None
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True)
class _File:
    """One file to be staged, and the numbers of its placements."""

    artefact: str
    ref: FileRef
    path: Path
    chunks: tuple[Chunk, ...]
    first: int

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + len(self.chunks))


class _Import:
    """One call of ``take_in``."""

    def __init__(self, verified: VerifiedMedium, store: Store, stage: Path) -> None:
        self._verified = verified
        self._manifest = verified.manifest
        self._sizes = verified.manifest.carried
        self._store = store
        self._disk = store.disk
        self._stage = stage

    def run(self, progress: Progress, cancelled: Callable[[], bool]) -> Taken:
        present = self._present(progress, cancelled)
        files, count = self._plan(present)
        with disk.faults("the import's journal"):
            journal = Journal(self._stage, self._verified.digest, count, self._disk)
        try:
            self._drop(present, journal)
            self._prepare(files, journal)
            wanted, twins = self._pieces(files, journal.safe)
            self._check_sources(wanted)
            total = sum(piece.size for piece in (*wanted, *twins))
            copier = Copier(self._disk, journal, progress, cancelled, total)
            try:
                copier.carry(wanted)
                copier.carry(twins)
            finally:
                copier.close()
            for file in files:
                if file.chunks and all(number in journal.safe for number in file.numbers):
                    _check(file)
            missing = self._missing(files, journal.safe)
        except UntrustedBundle as problem:
            raise of_volume(problem, self._verified.volume) from problem
        finally:
            journal.close()
        copied = sum(piece.size for piece in wanted if isinstance(piece.source, OnMedium))
        done = sum(
            chunk.size
            for file in files
            for number, chunk in zip(file.numbers, file.chunks, strict=True)
            if number in journal.safe
        )
        return Taken(missing, copied, done - copied, self._folders(present))

    def _present(self, progress: Progress, cancelled: Callable[[], bool]) -> set[str]:
        """Find the artefacts that the store holds, whole; a damaged one is taken in anew."""
        held = [one for one in self._verified.artefacts if self._store.has(one.digest)]
        total, done = sum(one.size for one in held), 0
        found = set()
        for one in held:
            if cancelled():
                raise stopped()
            try:
                self._store.verify(one)
            except VerificationFailed:
                continue
            finally:
                done += one.size
                progress("checking", done, total)
            found.add(one.digest)
        return found

    def _plan(self, present: set[str]) -> tuple[list[_File], int]:
        """List the files to be staged, and count the placements of the whole manifest."""
        files, number, seen = [], 0, set(present)
        for entry in self._manifest.entries:
            digest = entry.artefact.digest  # computed each time it is asked for
            place = folder(self._stage, digest)
            for ref in entry.artefact.files:
                chunks = entry.chunks[ref.path]
                if digest not in seen:
                    files.append(_File(digest, ref, place / ref.path, chunks, number))
                number += len(chunks)
            seen.add(digest)  # two names for the same contents are staged once
        return files, number

    def _folders(self, present: set[str]) -> dict[str, Path]:
        return {
            one.digest: self._store.folder(one.digest)
            if one.digest in present
            else folder(self._stage, one.digest)
            for one in self._verified.artefacts
        }

    def _drop(self, present: set[str], journal: Journal) -> None:
        """Remove what an earlier call staged of artefacts that have come into the store since."""
        gone = [digest for digest in present if folder(self._stage, digest).is_dir()]
        if gone:
            files, _ = self._plan(present - set(gone))
            lost = [file for file in files if file.artefact in gone]
            with disk.faults("the import"):
                journal.forget({number for file in lost for number in file.numbers})
                for digest in gone:
                    disk.remove_tree(folder(self._stage, digest), self._disk)

    def _prepare(self, files: list[_File], journal: Journal) -> None:
        """Make every file at its full size, its name durable, before any of its bytes is called safe."""
        states = [_state(file) for file in files]
        lost = {
            number
            for file, (size, _) in zip(files, states, strict=True)
            if size != file.ref.size
            for number in file.numbers
        }
        what = f"the medium {self._manifest.name} {self._manifest.version}"
        needed = sum(max(file.ref.size - held, 0) for file, (_, held) in zip(files, states, strict=True))
        disk.require_space(self._stage, needed, what)
        folders: dict[Path, None] = {}
        with disk.faults("the import"):
            journal.forget(lost)
            for file, (size, _) in zip(files, states, strict=True):
                if size == file.ref.size:
                    continue
                self._make(file, folders, new=size < 0)
            for parent in reversed(folders):
                self._disk.sync_folder(parent)

    def _make(self, file: _File, folders: dict[Path, None], *, new: bool) -> None:
        parents = [parent for parent in file.path.parents if parent.is_relative_to(self._stage)]
        for parent in reversed(parents[:-1]):  # the last is the stage itself
            if parent not in folders:
                self._disk.make_folder(parent)
        folders.update(dict.fromkeys(reversed(parents)))
        handle = self._disk.create(file.path, 0o600) if new else self._disk.open(file.path)
        try:
            self._disk.allocate(handle, file.ref.size)
        finally:
            self._disk.close(handle)

    def _pieces(self, files: list[_File], safe: set[int]) -> tuple[list[Piece], list[Piece]]:
        """List what this volume and the site can give: every chunk once, then its further places from the first."""
        first: dict[str, Staged] = {}
        for file, number, offset, chunk in _placements(files):
            if number in safe:
                first.setdefault(chunk.digest, Staged(file.path, offset))
        wanted: list[Piece] = []
        twins: list[Piece] = []
        for file, number, offset, chunk in _placements(files):
            if number in safe:
                continue
            twin = first.get(chunk.digest)
            source: Source | None = twin or self._source(chunk.digest)
            if source is None:
                continue  # it lies on another volume
            piece = Piece(number, file.path, offset, chunk.digest, chunk.size, source)
            if twin is None:
                wanted.append(piece)
                first[chunk.digest] = Staged(file.path, offset)
            else:
                twins.append(piece)
        return wanted, twins

    def _source(self, digest: str) -> Source | None:
        delta = self._manifest.delta
        if delta is not None and digest in delta.sources:
            return AtSite(self._store, self._manifest, delta.sources[digest], digest)
        if digest in self._verified.expected:
            return OnMedium(self._verified.medium, layout.chunk(digest), self._sizes[digest])
        return None

    def _check_sources(self, pieces: list[Piece]) -> None:
        """Refuse a delta whose base is not here before anything is copied."""
        for place in {piece.source.place for piece in pieces if isinstance(piece.source, AtSite)}:
            if not self._store.has(place.artefact):
                raise no_base(self._manifest, place.artefact)

    def _missing(self, files: list[_File], safe: set[int]) -> tuple[int, ...]:
        wanted = {chunk.digest for _, number, _, chunk in _placements(files) if number not in safe}
        if not wanted:
            return ()
        if self._verified.volume is None:
            return (1,)
        parts = volume.plan(self._manifest, self._verified.volume.size)
        return tuple(number for number, part in enumerate(parts, start=1) if not wanted.isdisjoint(part))


def _placements(files: list[_File]) -> Iterator[tuple[_File, int, int, Chunk]]:
    """Go through every placement: its file, number, offset in bytes and chunk."""
    for file in files:
        offset = 0
        for number, chunk in zip(file.numbers, file.chunks, strict=True):
            yield file, number, offset, chunk
            offset += chunk.size


def _state(file: _File) -> tuple[int, int]:
    """Give the size of what is staged (-1 if nothing is) and the bytes of disk that it holds."""
    try:
        facts = file.path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return -1, 0
    if not stat.S_ISREG(facts.st_mode):
        raise VerificationFailed(
            "media.stage",
            f"{file.ref.path} in the import's stage is not a plain file.",
            remedy="Reject the import, then start it again.",
            file=file.ref.path,
        )
    return facts.st_size, facts.st_blocks * 512


def _check(file: _File) -> None:
    handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check_cuts(
            file.ref.path,
            lambda offset, length: read_exactly(handle, offset, length),
            os.fstat(handle).st_size,
            file.chunks,
        )
    finally:
        os.close(handle)
