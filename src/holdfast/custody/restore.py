"""A home made of a backup: a new log origin that begins with the old events and says what was lost.

Order of operations: the backup's log (or a longer one salvaged from the lost machine, which must begin with the backup's) is
verified with the keys that a person brought; its events are folded; everything else is taken only as far as the fold vouches
for it: the founding document and the people's keys by digest, artefacts by their files' digests, the trust state by the digest
that the backup's own intent recorded. The new home is built beside its place, under new service keys; ``home.restored`` is
recorded in it; then it is put in place by one rename. Invariants: a home that exists is never touched; an interrupted
restoration leaves only a folder ``<home>.restoring``, which the next one removes; what the fold names and the backup
lacks is listed as lost, on the record.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import config, hashing
from holdfast.audit.event import Actor, Draft
from holdfast.audit.log import Log
from holdfast.audit.signer import LogSigner
from holdfast.custody import folding, form, relog
from holdfast.errors import Conflict, HoldfastError, VerificationFailed
from holdfast.keys import person as keys
from holdfast.keys import service
from holdfast.media import trusthome
from holdfast.paths import Home
from holdfast.store import disk
from holdfast.store.files import Store
from holdfast.store.generations import Generations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from holdfast.artefact import Artefact
    from holdfast.audit.verify import Key
    from holdfast.canonical import Json
    from holdfast.config import Site
    from holdfast.governance.state import State

    Progress = Callable[[str, int, int], None]

MAX_LOST = 200  # losses that the event names one by one; the rest are counted
MAX_KEY = 64 * 1024  # bytes of a person's public key document
TRUST_FILE = "trust/state.json"
_BUILDING = ".restoring"
_PAYLOAD = re.compile(r"(prompt|answer)/[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9a-f]{64}\.[0-9]{1,9}\.[0-9a-f]{64}")


@dataclass(frozen=True)
class Restored:
    """What became of a backup.

    Args:
        seq: Sequence number of ``home.restored``.
        origin: The new log's name.
        old: The signed end of the log that was carried over.
        artefacts: Artefacts taken into the store.
        sealed: Sealed payloads taken over.
        lost: What is missing, one sentence each.
    """

    seq: int
    origin: str
    old: relog.Head
    artefacts: int
    sealed: int
    lost: tuple[str, ...]


def restore(
    backup: Path,
    home: Home,
    known: Sequence[Key],
    *,
    salvaged: Path | None,
    now: Callable[[], datetime],
    progress: Progress,
) -> Restored:
    """Make a home of a backup.

    Args:
        backup: The backup's folder.
        home: The home to make; must not exist, or be an empty folder.
        known: The old log's verifier keys, received by another way.
        salvaged: A log folder saved from the lost machine, if there is one.
        now: Wall clock, aware, UTC.
        progress: Told (step, done, total).

    Returns:
        What was made and what is lost.

    Raises:
        Conflict: If the home is not empty.
        VerificationFailed: If the log does not verify, or a document is not the recorded one.
        UntrustedInput: If the folder is no whole backup.
        NoSpace: If the disk is too small.
    """
    if home.root.exists() and any(home.root.iterdir()):
        raise Conflict(
            "restore.home",
            f"{home.root} is not empty.",
            remedy="Name a folder that does not exist yet (--home), or move what is there away.",
        )
    told = form.parse(relog.small(backup / form.FILE, form.MAX_DOCUMENT))
    source, head = _choose(backup / form.LOG, salvaged, known, told)
    building = Home(home.root.with_name(home.root.name + _BUILDING))
    with disk.faults(f"the home {home.root}"):
        disk.remove_tree(building.root)
        disk.make_folders(building.root)
        disk.require_space(building.root, _bytes_of(backup), "the restored home")
        restored = _Builder(backup, building, told, head, now=now, progress=progress).build(source)
        if home.root.exists():
            home.root.rmdir()
        building.root.rename(home.root)
        disk.sync_folder(home.root.parent)
    return restored


def _choose(
    log: Path, salvaged: Path | None, known: Sequence[Key], told: form.Backup
) -> tuple[Path, relog.Head]:
    """Verify the log, or the longer one that was salvaged."""
    head = relog.check(log, known, "the backup")
    if (head.origin, head.size, head.root) != (told.origin, told.size, told.root):
        raise form.refused(
            f"its log ends at event {head.size} of {head.origin}, {form.FILE} says {told.size} of {told.origin}"
        )
    if salvaged is None:
        return log, head
    longer = relog.check(salvaged, known, "the salvaged folder")
    if longer.size < head.size or folding.root_at(salvaged, head.size).hex() != head.root:
        raise VerificationFailed(
            "restore.salvaged",
            f"The salvaged log ({longer.size} signed events) does not go on from the backup's ({head.size} events).",
            remedy="Restore without --salvaged, keep that folder as it is, and show it to an auditor.",
        )
    return salvaged, longer


class _Builder:
    """Builds one home; its methods are called in order."""

    def __init__(
        self,
        backup: Path,
        home: Home,
        told: form.Backup,
        head: relog.Head,
        *,
        now: Callable[[], datetime],
        progress: Progress,
    ) -> None:
        self._backup, self._home, self._told, self._head = backup, home, told, head
        self._now, self._progress = now, progress
        self._signer = LogSigner.generate()
        self._lost: list[str] = []

    def build(self, source: Path) -> Restored:
        home, head = self._home, self._head
        disk.make_folders(home.keys)
        origin = _successor(head.origin)
        relog.carry(
            source,
            home.log,
            head,
            origin=origin,
            signer=self._signer,
            time=int(self._now().timestamp()),
            carried=lambda done: self._progress("log", done, head.size),
        )
        log = Log.open(home.log, origin=origin, signer=self._signer, clock=lambda: (self._now(), "host"))
        try:
            state = folding.fold(log, home.log)
            if state.site != self._told.site:
                raise form.refused(f"its log is that of {state.site}, {form.FILE} says {self._told.site}")
            site = self._documents(state)
            appliance = self._service_keys(site, origin)
            artefacts = self._artefacts(state)
            self._generations(state)
            sealed = self._sealed()
            self._name_losses(state)
            lost = self._lost[:MAX_LOST]
            params: dict[str, Json] = {
                "origin": head.origin,
                "size": head.size,
                "root": head.root,
                "backup": self._begun(state)[0],
                "artefacts": artefacts,
                "sealed": sealed,
                "lost": [*lost],
                "more": len(self._lost) - len(lost),
                "log_keys": [*self._signer.public(origin).decode().splitlines()],
                "appliance": appliance,
            }
            actor = Actor("holdfastd", os.getuid(), "service")
            receipt = log.append(Draft("home.restored", actor, params=params))
        finally:
            log.close()
        disk.create_file(home.founded, b"", mode=0o400)
        return Restored(receipt.seq, origin, head, artefacts, sealed, tuple(self._lost))

    def _documents(self, state: State) -> Site:
        """Take the founding document, the people's keys and the trust state, each as the log recorded it."""
        data = self._document("site.toml", config.MAX_SITE)
        if hashing.sha512(data) != state.document:
            raise _other("site.toml")
        site = config.parse(data, file="site.toml")
        disk.write_file(self._home.site, data, mode=0o644)
        for entry in site.person:
            recorded = state.people[entry.name]
            key = self._document(entry.key, MAX_KEY)
            if keys.parse_public(key).to_json() != recorded.key:
                raise _other(entry.key)
            place = self._home.root / entry.key
            if not place.resolve().is_relative_to(self._home.root.resolve()):
                raise _other(entry.key)
            disk.make_folders(place.parent)
            disk.write_file(place, key, mode=0o644)
        self._trust(state)
        return site

    def _trust(self, state: State) -> None:
        disk.make_folders(self._home.trust)
        path = self._backup / form.HOME / TRUST_FILE
        if not path.exists():
            if state.root is not None:
                self._lost.append("The trust state: pin the root of trust again before importing media.")
            return
        data = relog.small(path, trusthome.MAX_STATE)
        if hashing.sha512(data) != self._begun(state)[1]:
            self._lost.append(
                "The trust state: what the backup holds is not what the log recorded; pin the root of trust again."
            )
            return
        disk.write_file(self._home.trust / trusthome.FILE, data)
        if self._head.size > self._told.size:
            self._lost.append(
                "The trust state of after the backup: import the newest medium before any other, for the versions of roots and"
                " media that were seen since are not remembered."
            )

    def _begun(self, state: State) -> tuple[str, str | None]:
        """Tell when the log says that this backup was begun, and what trust state it took."""
        found = state.custody.backup_of(self._told.size)
        if found is None:
            raise form.refused("its log does not end with the intent of a backup")
        return found

    def _document(self, name: str, limit: int) -> bytes:
        return relog.small(self._backup / form.HOME / name, limit)

    def _service_keys(self, site: Site, origin: str) -> str:
        """Make the service keys of the new home; gives the appliance's fingerprint."""
        appliance = keys.generate(f"{site.name} appliance")
        disk.create_file(self._home.keys / "log.key", self._signer.to_bytes())
        disk.create_file(self._home.keys / "log.origin", origin.encode(), mode=0o400)
        disk.create_file(self._home.keys / "appliance.key", service.encode(appliance))
        return appliance.public.fingerprint

    def _artefacts(self, state: State) -> int:
        store = Store(self._home.store)
        wanted = [one for digest, one in state.artefacts.items() if digest not in state.collected]
        taken = 0
        for done, one in enumerate(wanted):
            self._progress("artefacts", done, len(wanted))
            folder = self._backup / form.STORE / hashing.raw(one.digest).hex()
            if not folder.is_dir():
                if one.files:
                    self._lost.append(_named(one, "it is not in the backup"))
                continue
            try:
                self._take(store, folder, one)
                taken += 1
            except VerificationFailed as error:
                self._lost.append(_named(one, error.message.rstrip(".")))
        self._progress("artefacts", len(wanted), len(wanted))
        return taken

    def _take(self, store: Store, folder: Path, one: Artefact) -> None:
        """Copy an artefact's files, adopt them, and hash what was adopted."""
        stage = store.stage(secrets.token_hex(8))
        try:
            for file in one.files:
                place = stage / file.path
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _copy(folder / file.path, place, file.size)
            store.adopt(stage, one)
        finally:
            store.discard_stage(stage)
        try:
            store.verify(one)
        except VerificationFailed:
            store.remove(one.digest)
            store.release()
            raise

    def _generations(self, state: State) -> None:
        """Write the generations that the log knows, as far as their artefacts are here."""
        generations = Generations(Store(self._home.store))
        for one in state.generations:
            if one.kept:
                try:
                    generations.put(one.number, f"event {one.made_by}", one.artefacts)
                except HoldfastError:
                    self._lost.append(f"Generation {one.number}: not all of its artefacts are here.")

    def _sealed(self) -> int:
        """Take the sealed payloads over, each at a place where one can be; each proves itself when it is opened."""
        source, count, others = self._backup / form.SEALED, 0, 0
        disk.make_folders(self._home.sealed)
        for parent, folders, names in os.walk(source):
            folders.sort()
            for name in sorted(names):
                path = source.__class__(parent, name)
                inside = path.relative_to(source)
                if not _PAYLOAD.fullmatch(inside.as_posix()) or not stat.S_ISREG(path.lstat().st_mode):
                    others += 1
                    continue
                place = self._home.sealed / inside
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _copy(path, place, path.lstat().st_size)
                count += 1
        if others:
            self._lost.append(f"{others} things beside the sealed payloads, which are none.")
        if count:
            self._lost.append(
                f"The keys of {count} sealed prompts and answers: keys are not in backups; they can be read again only"
                " if keys/subjects is brought back from where it is kept."
            )
        return count

    def _name_losses(self, state: State) -> None:
        if self._head.unsigned:
            self._lost.append(
                f"{self._head.unsigned} events after the last checkpoint, which nobody had signed."
            )
        self._lost.append(f"Everything after event {self._head.size - 1}, if there was more.")
        counting = sum(not key.revoked for key in state.keys.values())
        if counting:
            self._lost.append(
                f"The hashes of {counting} applications' keys: no backup holds them, so these keys open nothing; create new ones."
            )
        self._lost += [
            f"Import {request}: its medium waited in quarantine; import it again."
            for request in sorted(set(state.staged.values()))
        ]


def _successor(origin: str) -> str:
    """Name the new log: the old name with another random part."""
    return f"{re.sub(r'/[0-9a-f]{8}$', '', origin)}/{secrets.token_hex(4)}"


def _copy(source: Path, target: Path, size: int) -> None:
    """Copy one plain file of a known size."""
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise VerificationFailed(
            "restore.file", f"{source} can't be taken: {error.strerror}.", remedy="Bring an undamaged copy."
        ) from error
    with os.fdopen(handle, "rb") as reading, target.open("xb") as writing:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            raise VerificationFailed(
                "restore.size",
                f"{source} is no plain file of the size recorded.",
                remedy="Bring an undamaged copy.",
            )
        shutil.copyfileobj(reading, writing, 2**20)
        writing.flush()
        os.fsync(writing.fileno())


def _bytes_of(folder: Path) -> int:
    return sum(
        folder.__class__(parent, name).lstat().st_size
        for parent, _, names in os.walk(folder)
        for name in names
    )


def _named(one: Artefact, why: str) -> str:
    return f"{one.kind.value} {one.name}@{one.version} ({hashing.short(one.digest)}): {why}."[:300]


def _other(name: str) -> VerificationFailed:
    return VerificationFailed(
        "restore.document",
        f"{name} in the backup is not the one that the log recorded.",
        remedy="Bring an undamaged copy of the backup, and try again.",
    )
