"""Sealed payloads: prompts and answers, encrypted beside the log under one key per subject.

Layout: ``keys/<subject id>`` holds 32 bytes, ``payloads/<subject id>/<64 hex digits of the commitment>`` holds a 12-byte
nonce and AES-256-GCM over the commitment's own nonce and the data, bound to subject and commitment. All files have mode
0600. Invariants: ``seal`` returns when key and payload are on disk; the log holds commitments only, so that erasing a
subject's key destroys every copy of its data and leaves every proof valid.

Source: NIST SP 800-38D; random nonces are safe below 2**32 payloads per subject.
"""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.audit import segment
from holdfast.audit.commitment import NONCE, commit
from holdfast.errors import NotFound, UntrustedRequest, VerificationFailed

if TYPE_CHECKING:
    from pathlib import Path

MAX_PAYLOAD = 2**20  # bytes of one prompt or answer; longer than any context we serve
_KEY = 32  # bytes of AES-256
_GCM_NONCE = 12  # bytes
_SUBJECT = re.compile(r"[0-9a-f]{64}")


class SealedStore:
    """Where payloads are sealed, unsealed and erased.

    Args:
        keys: Folder of the subjects' keys.
        payloads: Folder of the sealed payloads.
    """

    def __init__(self, keys: Path, payloads: Path) -> None:
        self._keys, self._payloads = keys, payloads
        self._disk = segment.HostDisk()
        self._lock = threading.Lock()

    def seal(self, subject: str, data: bytes) -> str:
        """Seal data for a subject.

        Args:
            subject: As ``commitment.subject_id`` names it.
            data: The payload.

        Returns:
            The commitment to write into the log, as a digest.

        Raises:
            UntrustedRequest: If the payload is too large.
        """
        if len(data) > MAX_PAYLOAD:
            raise UntrustedRequest(
                "sealed.too-large",
                f"A payload of {len(data)} bytes can't be sealed.",
                remedy=f"Send at most {MAX_PAYLOAD} bytes.",
            )
        nonce, random = os.urandom(NONCE), os.urandom(_GCM_NONCE)
        commitment = commit(nonce, data)
        with self._lock:
            key = self._key(subject, create=True)
            path = self._path(subject, commitment)
            self._disk.make_folder(path.parent)
            sealed = AESGCM(key).encrypt(random, nonce + data, _bound(subject, commitment))
            segment.replace(self._disk, path, random + sealed)
        return commitment

    def unseal(self, subject: str, commitment: str) -> bytes:
        """Open a sealed payload.

        Args:
            subject: As it was sealed for.
            commitment: As the log has it.

        Returns:
            The data.

        Raises:
            NotFound: If it was erased or never sealed.
            VerificationFailed: If the file is not what was sealed, or not what the log committed to.
        """
        key = self._key(subject, create=False)
        path = self._path(subject, commitment)
        if not path.exists():
            raise _gone(f"payload {commitment}")
        raw = path.read_bytes()
        try:
            opened = AESGCM(key).decrypt(raw[:_GCM_NONCE], raw[_GCM_NONCE:], _bound(subject, commitment))
            if commit(opened[:NONCE], opened[NONCE:]) == commitment:
                return opened[NONCE:]
        except (InvalidTag, ValueError):
            pass  # the same refusal as for a wrong commitment
        raise VerificationFailed(
            "sealed.damaged",
            f"The sealed payload {commitment} is not what was sealed.",
            remedy="Restore the sealed folder from a backup.",
        )

    def erase(self, subject: str) -> None:
        """Destroy a subject's key, and with it every payload sealed for that subject.

        Args:
            subject: As ``commitment.subject_id`` names it.
        """
        with self._lock:
            path = self._keys / _checked(subject)
            if path.exists():
                with path.open("r+b") as file:  # overwritten in place first, for media that honour it
                    file.write(os.urandom(_KEY))
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()
                self._disk.sync_folder(self._keys)

    def _key(self, subject: str, *, create: bool) -> bytes:
        path = self._keys / _checked(subject)
        if path.exists():
            key = path.read_bytes()
            if len(key) == _KEY:
                return key
            raise VerificationFailed(
                "sealed.key",
                f"The key of subject {subject[:12]} is damaged.",
                remedy="Restore it from a backup.",
            )
        if not create:
            raise _gone(f"the key of subject {subject[:12]}")
        self._disk.make_folder(self._keys)
        key = AESGCM.generate_key(bit_length=8 * _KEY)
        segment.replace(self._disk, path, key)
        return key

    def _path(self, subject: str, commitment: str) -> Path:
        digest = commitment.removeprefix("sha256:")
        return self._payloads / _checked(subject) / _checked(digest)


def _bound(subject: str, commitment: str) -> bytes:
    return f"holdfast-sealed/v1\n{subject}\n{commitment}".encode()


def _checked(name: str) -> str:
    if not _SUBJECT.fullmatch(name):
        raise UntrustedRequest(
            "sealed.name", f"{name[:80]!r} names no sealed payload.", remedy="Use 64 hexadecimal digits."
        )
    return name


def _gone(what: str) -> NotFound:
    return NotFound(
        "sealed.gone", f"There is no {what}: it was erased or never there.", remedy="Nothing can be done."
    )
