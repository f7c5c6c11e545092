"""A witness's folder on the auditor's own device: its keys, the logs it watches, and every head that it cosigned.

Layout: ``witness.key`` (the secret keys, in a box), ``witness.pub`` (verifier keys), ``lock``, and for each log
``logs/<SHA-256 of its name, 32 digits>/`` with ``log.pub`` (the log's verifier keys, as the auditor received them), ``heads/``
(``<size, 20 digits>.note``: a checkpoint with the log's and the witness's signatures), ``refused/`` (requests that the log's
keys signed and this device refused: evidence) and ``successor`` (name of the log that continues it).

Order of operations: the lock is taken; the request is judged against the newest head; the new head is on disk; only then is
the cosignature given out. Invariants: one process at a time; a file is there whole or not at all; a head that is read again
must bear the log's and the witness's own signatures, so that a damaged or foreign file is noticed, never believed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.audit import cosignature, segment, witness
from holdfast.audit.cosignature import SEED_BYTES, Cosigner
from holdfast.audit.verify import ED25519, MAX_NOTE, ML_DSA_44, Refused, parse_keys, parse_note, verify_note
from holdfast.errors import Conflict, Locked, NotFound, VerificationFailed
from holdfast.keys import scryptbox
from holdfast.store import disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.audit.verify import Key, Note
    from holdfast.audit.witness import Seen

MAX_REFUSED = 100  # refused requests kept of one log; the first ones prove enough
MAX_LOGS = 1_000  # logs of one witness; nobody carries files from more sites
_HEAD = re.compile(r"([0-9]{20})\.note")


class WitnessFolder:
    """A witness's folder; see the module's description.

    Args:
        path: Where it lies.
        on: File operations.
    """

    def __init__(self, path: Path, on: segment.Disk | None = None) -> None:
        self.path = path
        self._on = on or segment.HostDisk()

    @classmethod
    def create(cls, path: Path, name: str, passphrase: str, *, n: int = scryptbox.SCRYPT_N) -> WitnessFolder:
        """Make a witness: its keys and an empty memory.

        Args:
            path: The folder; made if missing.
            name: The witness's name, a schema-less URL.
            passphrase: For its secret keys.
            n: The cost of scrypt.

        Returns:
            The folder.

        Raises:
            Conflict: If a witness is there already.
        """
        secret = secrets.token_bytes(2 * SEED_BYTES)
        public = cosignature.write_keys(Cosigner.from_secret(name, secret).keys)
        box = scryptbox.seal(public.decode(), secret, passphrase, n=n)
        with disk.faults("the witness's keys"):
            disk.make_folders(path)
            try:
                disk.create_file(path / "witness.key", box, mode=0o600)
                disk.create_file(path / "witness.pub", public, mode=0o644)
            except FileExistsError as error:
                raise Conflict(
                    "witness.taken",
                    f"There is a witness in {path} already; its keys are never overwritten.",
                    remedy="Choose another folder.",
                ) from error
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the folder, against every other process.

        Yields:
            Nothing.

        Raises:
            NotFound: If there is no witness here.
            Locked: If another process owns it.
        """
        self.public()
        with disk.faults("the witness's lock"):
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise Locked(
                "witness.locked",
                f"Another process uses the witness in {self.path}.",
                remedy="Wait for it to end.",
            ) from error
        try:
            yield
        finally:
            os.close(handle)

    def public(self) -> bytes:
        """Read the witness's verifier keys.

        Returns:
            The bytes of ``witness.pub``.

        Raises:
            NotFound: If there is no witness here.
        """
        data = self._read(self.path / "witness.pub", cosignature.MAX_KEY_FILE)
        if data is None:
            raise NotFound(
                "witness.none",
                f"There is no witness in {self.path}.",
                remedy="Make one with `holdfast audit witness new DIR --name NAME`, or name its folder with --witness-dir.",
            )
        return data

    def keys(self) -> tuple[Key, Key]:
        """Give the witness's verifier keys.

        Returns:
            The Ed25519 and the ML-DSA-44 key.
        """
        return cosignature.read_keys(self.public())

    def open(self, passphrase: str) -> Cosigner:
        """Open the witness's secret keys.

        Args:
            passphrase: Their passphrase.

        Returns:
            The keys, shown to belong to ``witness.pub``.

        Raises:
            NotFound: If the key file is not there.
            NotAuthenticated: If the passphrase is wrong or the file was changed.
            VerificationFailed: If the two files do not belong together.
        """
        data = self._read(self.path / "witness.key", scryptbox.MAX_ENVELOPE)
        if data is None:
            raise NotFound(
                "witness.no-key",
                f"There is no witness.key in {self.path}.",
                remedy="Restore it from its copy.",
            )
        name = self.keys()[0].name
        found = Cosigner.from_secret(name, scryptbox.read(data, 2 * SEED_BYTES).open(passphrase, name))
        if cosignature.write_keys(found.keys) != self.public():
            raise self._damaged("witness.pub", "it does not belong to witness.key")
        return found

    # --- what it remembers of a log

    def origins(self) -> list[str]:
        """List the logs that this witness watches.

        Returns:
            Their names, sorted.

        Raises:
            VerificationFailed: If a file of keys was damaged.
        """
        found = []
        for folder in sorted((self.path / "logs").glob("*"))[:MAX_LOGS]:
            data = self._read(folder / "log.pub", MAX_NOTE)
            try:
                found += [parse_keys(data)[0].name] if data is not None else []
            except Refused as error:
                raise self._damaged("log.pub", str(error)) from error
        return sorted(found)

    def log_keys(self, origin: str) -> list[Key] | None:
        """Give a log's verifier keys, as the auditor received them.

        Args:
            origin: The log's name.

        Returns:
            The keys; None if the log is not known here.

        Raises:
            VerificationFailed: If the file was damaged.
        """
        data = self._read(self._log(origin) / "log.pub", MAX_NOTE)
        try:
            return None if data is None else check_log_keys(data, origin)
        except VerificationFailed as error:
            raise self._damaged("log.pub", error.message) from error

    def pin(self, origin: str, data: bytes) -> None:
        """Remember a log's verifier keys; nothing if they are remembered.

        Args:
            origin: The log's name.
            data: The bytes of its ``log.pub``, received out of band.

        Raises:
            VerificationFailed: If they are not one Ed25519 and one ML-DSA-44 key of that name, or others are remembered.
        """
        given, known = check_log_keys(data, origin), self.log_keys(origin)
        if known is not None:
            if known != given:
                raise VerificationFailed(
                    "witness.other-keys",
                    f"This device knows other keys of {origin} than those in the file given.",
                    remedy="A log keeps its keys for life. Ask the site why there are new ones, and do not cosign until you know.",
                    origin=origin,
                )
            return
        with disk.faults("the log's keys"):
            for folder in (self.path / "logs", self._log(origin), *self._rooms(origin)):
                self._on.make_folder(folder)
            segment.replace(self._on, self._log(origin) / "log.pub", cosignature.write_keys(given))

    def sizes(self, origin: str) -> list[int]:
        """List the sizes at which this witness cosigned a log.

        Args:
            origin: The log's name.

        Returns:
            The sizes, the smallest first.
        """
        heads = self._rooms(origin)[0]
        found = [_HEAD.fullmatch(path.name) for path in heads.glob("*.note")] if heads.is_dir() else []
        return sorted(int(one[1]) for one in found if one)

    def seen(self, origin: str, size: int | None = None) -> Seen | None:
        """Give a head that this witness cosigned.

        Args:
            origin: The log's name.
            size: At which size; the largest if None.

        Returns:
            The head; None if it cosigned none.

        Raises:
            VerificationFailed: If what is remembered does not bear the signatures that it had.
        """
        sizes = self.sizes(origin)
        if not sizes:
            return None
        wanted = sizes[-1] if size is None else size
        name = f"{wanted:020}.note"
        data = self._read(self._rooms(origin)[0] / name, MAX_NOTE)
        keys = self.log_keys(origin)
        try:
            if data is None or keys is None:
                raise Refused("it is not there")  # noqa: TRY301 - one way out
            stating = {key.id for key in keys if key.kind == ML_DSA_44}
            times = [
                int.from_bytes(raw[:8], "big")
                for _, id_, raw in parse_note(data).signatures
                if id_ in stating
            ]
            note = verify_note(data, [key for key in keys if key.kind == ED25519 or times])
            if (note.origin, note.size) != (origin, wanted):
                raise Refused("it is the head of another log or size")  # noqa: TRY301 - one way out
            cosigned = cosignature.verify(note, self.keys())
        except (Refused, VerificationFailed) as error:
            raise self._damaged(name, str(error)) from error
        return witness.Seen(note.size, note.root, max(times, default=None), cosigned)

    def remember(self, note: bytes) -> None:
        """Keep a head, before its cosignature is given out.

        Args:
            note: The checkpoint with the log's and this witness's signatures.
        """
        head = parse_note(note)
        with disk.faults("the cosigned head"):
            segment.replace(self._on, self._rooms(head.origin)[0] / f"{head.size:020}.note", note)

    def keep_refused(self, note: Note, request: bytes) -> Path | None:
        """Keep a request that the log's keys signed and that is refused all the same.

        Args:
            note: Its checkpoint.
            request: The request as received.

        Returns:
            The file; None if enough are kept.
        """
        folder = self._rooms(note.origin)[1]
        path = folder / f"{note.size:020}-{hashlib.sha256(request).hexdigest()[:16]}.request"
        if path.exists():
            return path
        if len(list(folder.glob("*.request"))) >= MAX_REFUSED:
            return None
        with disk.faults("the refused request"):
            segment.replace(self._on, path, request)
        return path

    def successor(self, origin: str) -> str | None:
        """Tell which log continues one.

        Args:
            origin: The log's name.

        Returns:
            The other's name; None if it goes on itself.
        """
        data = self._read(self._log(origin) / "successor", MAX_NOTE)
        return None if data is None else data.decode("utf-8", "replace").rstrip("\n")

    def close(self, origin: str, successor: str) -> None:
        """Remember that another log continues one; the old one is cosigned no more.

        Args:
            origin: The log's name.
            successor: The other's name.
        """
        with disk.faults("the successor's name"):
            segment.replace(self._on, self._log(origin) / "successor", f"{successor}\n".encode())

    def _log(self, origin: str) -> Path:
        return self.path / "logs" / hashlib.sha256(origin.encode()).hexdigest()[:32]

    def _rooms(self, origin: str) -> tuple[Path, Path]:
        return self._log(origin) / "heads", self._log(origin) / "refused"

    def _read(self, path: Path, limit: int) -> bytes | None:
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._damaged(path.name, str(error.strerror)) from error
        if len(data) > limit:
            raise self._damaged(path.name, f"it has more than {limit} bytes")
        return data

    def _damaged(self, name: str, why: str) -> VerificationFailed:
        return VerificationFailed(
            "witness.memory",
            f"What this witness keeps as {name} can't be relied upon: {why}.",
            remedy="Keep the folder as it is and restore it from its newest copy; a witness that forgot must not go on as if it "
            "had not.",
            file=name,
        )


def check_log_keys(data: bytes, origin: str) -> list[Key]:
    """Read a log's verifier keys.

    Args:
        data: The bytes of its ``log.pub``.
        origin: The log's name.

    Returns:
        One Ed25519 and one ML-DSA-44 key of that name.

    Raises:
        VerificationFailed: If they are not that.
    """
    try:
        keys = parse_keys(data)
        if [key.kind for key in keys] != [ED25519, ML_DSA_44]:
            raise Refused("it does not hold one Ed25519 and one ML-DSA-44 key")  # noqa: TRY301 - one way out
        strange = sorted({key.name for key in keys} - {origin})
        if strange:
            raise Refused(f"it holds keys of {strange[0]}, and the request is of {origin}")  # noqa: TRY301 - one way out
    except Refused as error:
        raise VerificationFailed(
            "witness.log-keys",
            f"The file of the log's keys is refused: {error}.",
            remedy="Ask the site for its log.pub by another way than the request, and compare fingerprints by voice.",
            origin=origin,
        ) from error
    return keys
