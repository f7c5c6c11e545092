"""Cosignatures: what a witness signs of a log, and how it is checked.

A witness holds one Ed25519 and one ML-DSA-44 key under one name, and states with each that, at a time, the largest tree it
saw of a log has this size and root and extends every tree of that log it saw before. Invariants: both keys always sign, for
the same time; a cosignature holds only if both signatures do. No I/O, no clock.

Source: C2SP tlog-cosignature (Ed25519 ``cosignature/v1``, type 0x04; ML-DSA-44, type 0x06) and signed-note (verifier keys).
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from holdfast.audit.verify import (
    COSIGNATURE,
    ML_DSA_44,
    Key,
    Refused,
    cosigned_message,
    parse_keys,
    parse_note,
)
from holdfast.errors import VerificationFailed
from holdfast.keys.person import FINGERPRINT_DIGITS, grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.audit.verify import Note

SEED_BYTES = 32  # of either algorithm
MAX_KEY_FILE = 4_096  # bytes of a witness's two verifier keys; an ML-DSA-44 key has about 1,800 in base64
MAX_TIME = 2**63 - 1  # the largest time that a cosignature may carry
_NAME = re.compile(r"[^\s+]+")  # as a note's signature line can carry it
_STAMP = struct.Struct(">Q")  # the time before each signature


@dataclass(frozen=True)
class Cosigner:
    """A witness's private keys.

    Args:
        name: The witness's name, which both keys carry.
        ed25519: The classical one.
        ml_dsa: The post-quantum one.
    """

    name: str
    ed25519: Ed25519PrivateKey = field(repr=False)
    ml_dsa: MLDSA44PrivateKey = field(repr=False)

    @classmethod
    def from_secret(cls, name: str, secret: bytes) -> Cosigner:
        """Make a witness of two seeds.

        Args:
            name: Its name.
            secret: 64 bytes: the Ed25519 seed, then the ML-DSA-44 seed.

        Returns:
            The keys.
        """
        first, second = secret[:SEED_BYTES], secret[SEED_BYTES:]
        return cls(
            name, Ed25519PrivateKey.from_private_bytes(first), MLDSA44PrivateKey.from_seed_bytes(second)
        )

    @property
    def keys(self) -> tuple[Key, Key]:
        """The verifier keys: Ed25519, then ML-DSA-44."""
        return (
            Key(self.name, COSIGNATURE, self.ed25519.public_key().public_bytes_raw()),
            Key(self.name, ML_DSA_44, self.ml_dsa.public_key().public_bytes_raw()),
        )

    def cosign(self, note: Note, *, time: int) -> bytes:
        """Cosign a checkpoint that was judged.

        Args:
            note: The checkpoint.
            time: Now, in POSIX seconds.

        Returns:
            Two signature lines.
        """
        first, second = self.keys
        stamp, text = _STAMP.pack(time), b"cosignature/v1\ntime %d\n" % time + note.text
        message = cosigned_message(self.name, time, note.origin, note.size, note.root)
        return _line(first, stamp + self.ed25519.sign(text)) + _line(
            second, stamp + self.ml_dsa.sign(message)
        )


def write_keys(keys: Sequence[Key]) -> bytes:
    """Write verifier keys in C2SP vkey form, one per line.

    Args:
        keys: The keys.

    Returns:
        The file's bytes.
    """
    return "".join(f"{key}\n" for key in keys).encode()


def read_keys(data: bytes) -> tuple[Key, Key]:
    """Read a witness's verifier keys.

    Args:
        data: What ``write_keys`` gave for ``Cosigner.keys``.

    Returns:
        The Ed25519 and the ML-DSA-44 key.

    Raises:
        VerificationFailed: If they are not one of each, of one name, in this order.
    """
    try:
        keys = parse_keys(data) if len(data) <= MAX_KEY_FILE else []
        if [key.kind for key in keys] != [COSIGNATURE, ML_DSA_44]:
            raise Refused("it does not hold an Ed25519 cosigner's key, then an ML-DSA-44 key")  # noqa: TRY301 - one way out
        first, second = keys
        if first.name != second.name or not _NAME.fullmatch(first.name) or not first.name.isprintable():
            raise Refused("its two keys are not of one name that can be printed")  # noqa: TRY301 - one way out
    except Refused as error:
        raise VerificationFailed(
            "witness.keys",
            f"A witness's key file is refused: {error}.",
            remedy="Ask the auditor for the file witness.pub that `holdfast audit witness new` wrote.",
        ) from error
    return first, second


def fingerprint(keys: bytes) -> str:
    """Give the fingerprint of a file of verifier keys, to be read aloud.

    Args:
        keys: The file's bytes: a witness's ``witness.pub`` or a log's ``log.pub``.

    Returns:
        The first 160 bits of its SHA-512, in groups of four hexadecimal digits.
    """
    return grouped(hashlib.sha512(keys).hexdigest()[:FINGERPRINT_DIGITS])


def verify(note: Note, keys: tuple[Key, Key]) -> int:
    """Check a witness's cosignature.

    Args:
        note: A checkpoint with the witness's lines among its signatures.
        keys: The witness's verifier keys.

    Returns:
        The time it states, in POSIX seconds.

    Raises:
        VerificationFailed: If a signature is missing or wrong, or the two state different times.
    """
    times = {_verified(note, key) for key in keys}
    if len(times) != 1 or (time := times.pop()) > MAX_TIME:
        raise _refused(keys[0].name, "its two signatures do not state one time")
    return time


def lines_of(data: bytes, keys: Sequence[Key]) -> bytes:
    """Cut the signature lines of some keys out of a signed note.

    Args:
        data: The note.
        keys: Whose lines.

    Returns:
        Those lines, in the order of the note.

    Raises:
        VerificationFailed: If the note is malformed.
    """
    try:
        wanted = {(key.name, key.id) for key in keys}
        kept = [
            f"— {name} {base64.b64encode(id_ + raw).decode()}\n"
            for name, id_, raw in parse_note(data).signatures
            if (name, id_) in wanted
        ]
    except Refused as error:
        raise VerificationFailed(
            "witness.note",
            f"A cosigned checkpoint is refused: {error}.",
            remedy="Take the file that `holdfast audit cosign` wrote, unchanged.",
        ) from error
    return "".join(kept).encode()


def _verified(note: Note, key: Key) -> int:
    mine = [raw for name, id_, raw in note.signatures if (name, id_) == (key.name, key.id)]
    if len(mine) != 1 or not key.verifies(mine[0], note):
        raise _refused(key.name, f"there is not exactly one right signature by the key {key.id.hex()}")
    return int.from_bytes(mine[0][: _STAMP.size], "big")


def _line(key: Key, signature: bytes) -> bytes:
    return f"— {key.name} {base64.b64encode(key.id + signature).decode()}\n".encode()


def _refused(name: str, why: str) -> VerificationFailed:
    return VerificationFailed(
        "witness.cosignature",
        f"The cosignature of {name} is refused: {why}.",
        remedy="Take the file that `holdfast audit cosign` wrote for this witness, unchanged.",
        witness=name,
    )
