"""Digests: how bytes, files and artefacts are named.

Invariants: a digest is the text ``sha512:<128 hex digits>`` everywhere (``sha256:<64>`` for events and leaves of the
audit log, which follow RFC 6962). A file's digest is SHA-512 over the raw digests of its chunks in order, so that files
can be hashed in parallel and in one pass with the copy. No I/O.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedInput

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGEST = re.compile(r"sha512:[0-9a-f]{128}|sha256:[0-9a-f]{64}")

Digest = str


def sha512(data: bytes | memoryview) -> Digest:
    """Name bytes by SHA-512.

    Args:
        data: The bytes.

    Returns:
        ``sha512:`` and 128 hexadecimal digits.
    """
    return "sha512:" + hashlib.sha512(data).hexdigest()


def sha256(data: bytes | memoryview) -> Digest:
    """Name bytes by SHA-256 (audit log only).

    Args:
        data: The bytes.

    Returns:
        ``sha256:`` and 64 hexadecimal digits.
    """
    return "sha256:" + hashlib.sha256(data).hexdigest()


def raw(digest: Digest) -> bytes:
    """Give a digest's raw bytes.

    Args:
        digest: A digest as text.

    Returns:
        64 bytes for SHA-512, 32 for SHA-256.

    Raises:
        UntrustedInput: If the text is not a digest.
    """
    return bytes.fromhex(parse(digest).split(":", 1)[1])


def parse(text: object) -> Digest:
    """Check that a value read from outside is a digest.

    Args:
        text: Anything.

    Returns:
        The same text.

    Raises:
        UntrustedInput: If it is not a digest.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise UntrustedInput(
            "digest.form",
            f"{str(text)[:80]!r} is not a digest.",
            remedy="A digest reads sha512: and 128 lower-case hexadecimal digits.",
        )
    return text


def of_chunks(chunks: Iterable[Digest]) -> Digest:
    """Give a file's digest from its chunks' digests.

    Args:
        chunks: The SHA-512 digests of the file's chunks, in order. A file without bytes has no chunks.

    Returns:
        SHA-512 over the raw digests, concatenated.
    """
    whole = hashlib.sha512()
    for chunk in chunks:
        whole.update(raw(chunk))
    return "sha512:" + whole.hexdigest()


def short(digest: Digest) -> str:
    """Give the first twelve hexadecimal digits, for people.

    Args:
        digest: A digest.

    Returns:
        Twelve characters. Never used to look anything up by itself.
    """
    return digest.split(":", 1)[-1][:12]
