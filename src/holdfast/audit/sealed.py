"""Sealed payloads: prompts and answers, encrypted beside the log under keys that are kept outside of it.

Two keys must meet to open a payload: its subject's and its day's. Layout of the folder of keys, which no ordinary backup
holds: ``names`` makes the subjects' pseudonyms, ``<subject>.<generation>`` is a subject's key, ``days/<class>.<day>`` the
key of one class of payloads on one day (UTC, by the log's clock); each is 32 random bytes. Layout of the folder of payloads:
``<class>/<day>/<subject>.<generation>.<64 hex digits of the commitment>`` holds a 12-byte nonce and AES-256-GCM over the
commitment's own nonce and the data, under HKDF-SHA-256 of both keys, bound to all that its path says.

Order of operations of ``seal``: keys and folders are durable, then the payload is written, synced, and its folder synced; only
then may the log hold the commitment. Several payloads are all written before any is synced, so that the disk takes them together
(``write`` and ``sync``). A file that a crash left half written is named by no event.
Erasing a subject destroys its keys and moves it to the next generation, under which later payloads are sealed; shredding a
class's old days destroys their keys; either leaves every proof in the log valid, and makes every copy of the ciphertexts
worthless, those in backups too. Invariants: ``erase`` and ``shred`` may be repeated at any time, and finish what a crash
interrupted; a key that came back from an old copy of the folder is destroyed again by the next ``settle``.

Source: NIST SP 800-38D (GCM; random nonces are safe below 2**32 payloads per key), RFC 5869 (HKDF).
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdfast.audit import commitment
from holdfast.audit.syncing import Syncer, Written
from holdfast.errors import NotFound, UntrustedRequest, VerificationFailed
from holdfast.store import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from holdfast.store.disk import Disk

CLASSES = ("prompt", "answer")
MAX_PAYLOAD = 2**20  # bytes of one prompt or answer; longer than any context we serve
MAX_CACHED = (
    4096  # subjects' keys that are held in memory, 32 bytes each; others are read and synced once more
)
_KEY = 32  # bytes of AES-256, and of every key file
_GCM_NONCE = 12  # bytes
_HEX = re.compile(r"[0-9a-f]{64}")
_KEY_NAME = re.compile(r"([0-9a-f]{64})\.([0-9]{1,9})")
_DAY_NAME = re.compile(r"(prompt|answer)\.([0-9]{4}-[0-9]{2}-[0-9]{2})")
_PAYLOAD_NAME = re.compile(r"([0-9a-f]{64})\.([0-9]{1,9})\.[0-9a-f]{64}")


def _host_clock() -> datetime:
    return datetime.now(UTC)


class SealedStore:
    """Where payloads are sealed, unsealed, erased and shredded. Any thread may call.

    Args:
        keys: Folder of the keys.
        payloads: Folder of the sealed payloads.
        clock: The log's clock, aware; it says on which day a payload is sealed.
        on: File operations.
    """

    def __init__(
        self,
        keys: Path,
        payloads: Path,
        clock: Callable[[], datetime] = _host_clock,
        on: Disk = disk.HOST,
    ) -> None:
        self._keys, self._payloads, self._clock, self._on = keys, payloads, clock, on
        self._lock = (
            threading.Lock()
        )  # held while keys are made, read or destroyed; never while a payload is written
        self._generations: dict[str, int] = {}
        self._durable: OrderedDict[Path, bytes] = OrderedDict()  # keys that are known to be on disk
        self._folders: set[Path] = set()  # folders whose names are known to be on disk
        self._syncer = Syncer(on)

    def subject_id(self, tenant: str, subject: str) -> str:
        """Name the one whose data is sealed under one key.

        Args:
            tenant: The tenant, as the appliance knows it.
            subject: The tenant's own id of the person.

        Returns:
            The pseudonym, 64 hexadecimal digits.
        """
        with self._lock:
            secret = self._key(self._keys / "names", create=True)
        return commitment.subject_id(secret, tenant, subject)

    def seal(self, subject: str, name: str, data: bytes) -> str:
        """Seal data for a subject.

        Args:
            subject: As ``subject_id`` names it.
            name: One of ``CLASSES``.
            data: The payload.

        Returns:
            The commitment to write into the log, as a digest; key and payload are on disk.

        Raises:
            UntrustedRequest: If the payload is too large, or the subject or class is none.
            OSError: If the disk does not take it.
        """
        written = self.write(subject, name, data)
        for error in self.sync([written]):
            if error is not None:
                raise error
        return written.committed

    def write(self, subject: str, name: str, data: bytes) -> Written:
        """Seal data for a subject, without waiting for the disk.

        Args:
            subject: As ``subject_id`` names it.
            name: One of ``CLASSES``.
            data: The payload.

        Returns:
            What was written; its key is on disk.

        Raises:
            UntrustedRequest: If the payload is too large, or the subject or class is none.
        """
        if len(data) > MAX_PAYLOAD:
            raise UntrustedRequest(
                "sealed.too-large",
                f"A payload of {len(data)} bytes can't be sealed.",
                remedy=f"Send at most {MAX_PAYLOAD} bytes.",
            )
        _check(subject, name)
        day = self._clock().astimezone(UTC).date().isoformat()
        folder = self._payloads / name / day
        with self._lock:
            generation = self._generations.get(subject, 0)
            subjects_key = self._key(self._keys / f"{subject}.{generation}", create=True)
            days_key = self._key(self._keys / "days" / f"{name}.{day}", create=True)
            self._make_folder(folder)
        nonce, random = os.urandom(commitment.NONCE), os.urandom(_GCM_NONCE)
        committed = commitment.commit(nonce, data)
        called = f"{subject}.{generation}.{committed.removeprefix('sha256:')}"
        bound = _bound(name, day, called)
        sealed = AESGCM(_derive(subjects_key, days_key, bound)).encrypt(random, nonce + data, bound)
        handle = self._on.create(folder / called, 0o600)
        try:
            self._on.write(handle, random + sealed, 0)
        except BaseException:
            self._on.close(handle)
            raise
        return Written(committed, handle, folder)

    def sync(self, written: Sequence[Written]) -> list[OSError | None]:
        """Return when what was written is on disk, as far as the disk takes it.

        Args:
            written: What ``write`` gave; each once.

        Returns:
            For each, None, or why it is not on disk.
        """
        return self._syncer.sync(written)

    def unseal(self, subject: str, name: str, committed: str) -> bytes:
        """Open a sealed payload.

        Args:
            subject: As it was sealed for.
            name: Its class.
            committed: Its commitment, as the log has it.

        Returns:
            The data, which is what the log committed to.

        Raises:
            NotFound: If it was erased, shredded or never sealed.
            VerificationFailed: If the file is not what was sealed, or not what the log committed to.
        """
        _check(subject, name)
        digest = committed.removeprefix("sha256:")
        if not _HEX.fullmatch(digest):
            raise _no_name(committed)
        for day in reversed(self._days(name)):
            for generation in range(self._generations.get(subject, 0) + 1):
                called = f"{subject}.{generation}.{digest}"
                with suppress(FileNotFoundError):
                    raw = (self._payloads / name / day / called).read_bytes()
                    return self._opened(name, day, called, raw)
        raise _gone(f"payload {committed}")

    def _opened(self, name: str, day: str, called: str, raw: bytes) -> bytes:
        with self._lock:
            subjects_key = self._key(self._keys / called.rpartition(".")[0], create=False)
            days_key = self._key(self._keys / "days" / f"{name}.{day}", create=False)
        bound, digest = _bound(name, day, called), called.rpartition(".")[2]
        try:
            opened = AESGCM(_derive(subjects_key, days_key, bound)).decrypt(
                raw[:_GCM_NONCE], raw[_GCM_NONCE:], bound
            )
            if (
                commitment.commit(opened[: commitment.NONCE], opened[commitment.NONCE :])
                == f"sha256:{digest}"
            ):
                return opened[commitment.NONCE :]
        except (InvalidTag, ValueError):
            pass  # the same refusal as for a wrong commitment
        raise VerificationFailed(
            "sealed.damaged",
            f"The sealed {name} {digest[:12]} is not what was sealed.",
            remedy="Restore the sealed folder from a backup.",
        )

    def erase(self, subject: str, until: int) -> tuple[int, int]:
        """Destroy a subject's keys of the generations before one, and remove what was sealed under them.

        Args:
            subject: As ``subject_id`` names it.
            until: The first generation that is kept; later payloads are sealed under it.

        Returns:
            How many keys were destroyed and how many payloads removed.
        """
        _check(subject, CLASSES[0])
        with self._lock:
            self._generations[subject] = max(self._generations.get(subject, 0), until)
        # From here on nobody makes a key of those generations. A million keys take seconds to list: the log waits for the lock.
        old = [name for name in _names(self._keys) if _erased(_KEY_NAME, name, {subject: until})]
        with self._lock:
            keys = self._destroy(self._keys, old)
        return keys, self._remove_payloads({subject: until})

    def count(self, name: str, before: date) -> int:
        """Count the payloads of a class from before a day.

        Args:
            name: The class.
            before: The day, UTC.

        Returns:
            How many ``shred`` would remove.
        """
        return sum(
            len(_names(self._payloads / name / day)) for day in self._days(name) if day < before.isoformat()
        )

    def due(self, name: str, before: date) -> bool:
        """Tell whether there is anything of a class from before a day.

        Args:
            name: The class.
            before: The day, UTC.

        Returns:
            True if a key or payload of an earlier day is left.
        """
        return any(day < before.isoformat() for day in self._days(name))

    def shred(self, name: str, before: date) -> int:
        """Destroy the keys of a class's days before one, and remove what was sealed on them.

        Args:
            name: The class.
            before: The first day that is kept, UTC.

        Returns:
            How many payloads were removed.
        """
        old = [day for day in self._days(name) if day < before.isoformat()]
        with self._lock:
            keys = {f"{name}.{day}" for day in old}
            self._destroy(self._keys / "days", [key for key in _names(self._keys / "days") if key in keys])
            self._folders -= {self._payloads / name / day for day in old}
        removed = 0
        for folder in (self._payloads / name / day for day in old):
            removed += len(_names(folder))
            disk.remove_tree(folder, self._on)
        if old and (self._payloads / name).is_dir():
            self._on.sync_folder(self._payloads / name)
        return removed

    def settle(self, erased: Mapping[str, int], shredded: Mapping[str, date]) -> None:
        """Bring both folders to what the log says; called at start, when nobody seals.

        Args:
            erased: Subjects that were erased, and the first generation of each that is kept.
            shredded: Classes of which something was shredded, and the first day of each that is kept.
        """
        with self._lock:
            self._generations.update(erased)
            for folder in (self._keys, self._keys / "days"):
                disk.remove_drafts(folder, self._on)
            self._destroy(self._keys, [one for one in _names(self._keys) if _erased(_KEY_NAME, one, erased)])
        if erased:
            self._remove_payloads(erased)
        for name, before in shredded.items():
            self.shred(name, before)

    def _remove_payloads(self, erased: Mapping[str, int]) -> int:
        removed = 0
        for folder in (self._payloads / name / day for name in CLASSES for day in self._days(name)):
            gone = [one for one in _names(folder) if _erased(_PAYLOAD_NAME, one, erased)]
            for called in gone:
                with suppress(FileNotFoundError):
                    self._on.unlink(folder / called)
            if gone:
                self._on.sync_folder(folder)
            removed += len(gone)
        return removed

    def _days(self, name: str) -> list[str]:
        """List the days of a class that have a key or a folder, the earliest first."""
        matched = (_DAY_NAME.fullmatch(key) for key in _names(self._keys / "days"))
        keyed = {found[2] for found in matched if found is not None and found[1] == name}
        held = {day for day in _names(self._payloads / name) if _DAY_NAME.fullmatch(f"{name}.{day}")}
        return sorted(keyed | held)

    def _key(self, path: Path, *, create: bool) -> bytes:
        """Read a key; before anything is sealed under it, see to it that it is on disk. Called under the lock."""
        if path in self._durable:
            self._durable.move_to_end(path)
            return self._durable[path]
        key: bytes | None = None
        with suppress(FileNotFoundError):
            key = path.read_bytes()
        if key is None and not create:
            raise _gone(f"key {path.name[:24]}")
        if key is not None and len(key) != _KEY:
            raise VerificationFailed(
                "sealed.key",
                f"The key file {path.name[:24]} is damaged.",
                remedy="Restore it from a copy of the folder keys/subjects, if you keep one.",
            )
        if key is not None and not create:
            return key
        self._make_folder(path.parent)
        if key is not None:
            self._on.sync_folder(path.parent)  # who made it may have died before its name was on disk
        else:
            key = os.urandom(_KEY)
            try:
                disk.create_file(path, key, on=self._on)
            except OSError:
                with suppress(OSError):  # what is not surely on disk must not be found by the next request
                    self._on.unlink(path)
                raise
        self._durable[path] = key
        while len(self._durable) > MAX_CACHED:
            self._durable.popitem(last=False)
        return key

    def _make_folder(self, folder: Path) -> None:
        """Make a folder, with those above it up to the home, all of them durable, once in this store's life."""
        if folder in self._folders:
            return
        if folder not in (self._keys, self._payloads):
            self._make_folder(folder.parent)
        elif not folder.parent.is_dir():
            folder.parent.mkdir(mode=0o700, parents=True)
        self._on.make_folder(folder)
        self._on.sync_folder(folder.parent)
        self._folders.add(folder)

    def _destroy(self, folder: Path, gone: Sequence[str]) -> int:
        """Overwrite and remove key files; gives how many. Called under the lock."""
        found = 0
        for name in gone:
            self._durable.pop(folder / name, None)
            try:
                handle = self._on.open(folder / name)
            except FileNotFoundError:
                continue  # it was destroyed since it was listed
            found += 1
            try:  # overwritten in place first, for media that honour it
                self._on.write(handle, os.urandom(_KEY), 0)
                self._on.sync(handle)
            finally:
                self._on.close(handle)
            self._on.unlink(folder / name)
        if gone:
            self._on.sync_folder(folder)
        return found


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names alone; a day may hold a million
    except FileNotFoundError:
        return []


def _erased(pattern: re.Pattern[str], name: str, erased: Mapping[str, int]) -> bool:
    """Tell whether a file's name says that it belongs to an erased generation of a subject."""
    found = pattern.fullmatch(name)
    return found is not None and int(found[2]) < erased.get(found[1], 0)


def _derive(subjects_key: bytes, days_key: bytes, bound: bytes) -> bytes:
    return HKDF(hashes.SHA256(), _KEY, salt=None, info=bound).derive(subjects_key + days_key)


def _bound(name: str, day: str, called: str) -> bytes:
    return f"holdfast-sealed/1\n{name}\n{day}\n{called}".encode()


def _check(subject: str, name: str) -> None:
    if not _HEX.fullmatch(subject) or name not in CLASSES:
        raise _no_name(f"{name[:40]} of {subject}")


def _no_name(what: str) -> UntrustedRequest:
    return UntrustedRequest(
        "sealed.name",
        f"{what[:120]!r} names no sealed payload.",
        remedy="Use 64 hexadecimal digits, and the class prompt or answer.",
    )


def _gone(what: str) -> NotFound:
    return NotFound(
        "sealed.gone", f"There is no {what}: it was erased or never there.", remedy="Nothing can be done."
    )
