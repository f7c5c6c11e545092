"""Checkpoints: what the log signs of itself.

A checkpoint is a C2SP signed note over origin, size and root, without extension lines (ML-DSA-44 would not sign them).
Invariant: two signatures, Ed25519 over the text and ML-DSA-44 over the ``cosigned_message`` with the time of signing.
No I/O; the caller signs only what is on disk.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature. C2SP defines ML-DSA-44 alone, media use ML-DSA-87.
"""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING

from holdfast.audit.verify import MAX_NAME, Key, Note, Refused, cosigned_message, parse_note, verify_note
from holdfast.errors import UsageRefused, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.audit.signer import LogSigner


def make(origin: str, size: int, root: bytes, signer: LogSigner, *, time: int) -> bytes:
    """Sign a tree head.

    Args:
        origin: The log's name.
        size: Leaves.
        root: Merkle root, 32 bytes.
        signer: The log's keys.
        time: When, in POSIX seconds.

    Returns:
        The signed note.
    """
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()
    classical, quantum = signer.keys(origin)
    stamped = struct.pack(">Q", time) + signer.ml_dsa.sign(cosigned_message(origin, time, origin, size, root))
    lines = ((classical, signer.ed25519.sign(text)), (quantum, stamped))
    return text + b"\n" + b"".join(_line(key, signature) for key, signature in lines)


def _line(key: Key, signature: bytes) -> bytes:
    return f"— {key.name} {base64.b64encode(key.id + signature).decode()}\n".encode()


def parse(data: bytes, keys: Sequence[Key] | None = None) -> Note:
    """Read a checkpoint.

    Args:
        data: The signed note.
        keys: Verifier keys that must each have signed; None reads without verifying.

    Returns:
        The tree head and its signature lines.

    Raises:
        VerificationFailed: If it is malformed or a signature is missing or wrong.
    """
    try:
        return parse_note(data) if keys is None else verify_note(data, keys)
    except Refused as error:
        raise VerificationFailed(
            "audit.checkpoint",
            f"A checkpoint of the audit log is refused: {error}.",
            remedy="Compare it with the last checkpoint that an auditor took away.",
        ) from error


def check_origin(origin: str) -> str:
    """Check that a text can name a log.

    Args:
        origin: A schema-less URL such as ``holdfast.example/site/0``.

    Returns:
        The same text.

    Raises:
        UsageRefused: If it is empty, too long, or holds a space, a plus or a character that is not printable.
    """
    fits = 0 < len(origin.encode()) <= MAX_NAME
    if not fits or not origin.isprintable() or any(letter.isspace() or letter == "+" for letter in origin):
        raise UsageRefused(
            "audit.origin",
            f"{origin[:80]!r} can't name an audit log.",
            remedy="Use up to 255 bytes without spaces or plus signs, such as holdfast.example/site/0.",
        )
    return origin
