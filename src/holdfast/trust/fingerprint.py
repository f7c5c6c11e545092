"""The fingerprint of a root: what is received out of band, read aloud and compared.

It is SHA-512 over the canonical bytes of root's *signed* part, so it stays the same while holders add their signatures; its
first 256 bits in groups of four digits. With host tools: ``jq -cjS .signed root.json | sha512sum``.
"""

from __future__ import annotations

import hashlib
import re

from tuf.api.metadata import Root

from holdfast import canonical
from holdfast.errors import UsageRefused
from holdfast.keys.person import grouped
from holdfast.trust import metadata

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
    signed = metadata.parse(Root, data).to_dict()["signed"]
    return grouped(hashlib.sha512(canonical.encode(signed)).hexdigest()[:DIGITS])


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
