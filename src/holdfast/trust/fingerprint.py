"""Fingerprints: what is received out of band, read aloud and compared.

The fingerprint of a metadata file, above all of a root, is SHA-512 over the canonical bytes of its *signed* part, so it stays
the same while holders add their signatures; that of another document is SHA-512 over its bytes. Either is shown as its
first 256 bits in groups of four digits. With host tools: ``jq -cjS .signed 1.root.json | sha512sum``.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from tuf.api.metadata import Root

from holdfast import canonical
from holdfast.errors import UsageRefused
from holdfast.keys.person import grouped
from holdfast.trust import metadata

if TYPE_CHECKING:
    from holdfast.trust.signing import AnyMetadata

DIGITS = 64  # hexadecimal: 256 bits


def of_root(data: bytes) -> str:
    """Give the fingerprint of a root.

    Args:
        data: The bytes of a root metadata file.

    Returns:
        Sixteen groups of four hexadecimal digits.

    Raises:
        UntrustedBundle: If the file is not root metadata.
    """
    return of_metadata(metadata.parse(Root, data))


def of_metadata(found: AnyMetadata) -> str:
    """Give the fingerprint of what a metadata file says.

    Args:
        found: The file.

    Returns:
        Sixteen groups of four hexadecimal digits.
    """
    return of_document(canonical.encode(found.to_dict()["signed"]))


def of_document(data: bytes) -> str:
    """Give the fingerprint of a document that carries no signatures.

    Args:
        data: Its bytes.

    Returns:
        Sixteen groups of four hexadecimal digits.
    """
    return grouped(hashlib.sha512(data).hexdigest()[:DIGITS])


def parse(text: str) -> str:
    """Read a fingerprint that a person typed.

    Args:
        text: The digits, in any grouping by spaces, colons or hyphens.

    Returns:
        The fingerprint in the form that ``of_root`` gives.

    Raises:
        UsageRefused: If it is not 64 hexadecimal digits; a part of a fingerprint is never enough.
    """
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", digits):
        raise UsageRefused(
            "trust.fingerprint-form",
            f"The fingerprint has {len(digits)} characters that count; it needs {DIGITS} hexadecimal digits.",
            remedy="Type the whole fingerprint that the publisher gave you by another way.",
        )
    return grouped(digits)
