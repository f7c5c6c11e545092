"""Commitments: what the log says of a prompt or an answer without holding it.

A commitment is SHA-256(32 random bytes || data). Invariants: without the nonce nothing can be learned about the data, not
even by guessing it; with nonce and data anybody can check the commitment; without the site's secret nobody can tell whose
data it is by trying names. No I/O.
"""

from __future__ import annotations

import hmac

from holdfast import hashing

NONCE = 32  # bytes; as long as the hash, so that guessing the nonce is no shorter way
SECRET = 32  # bytes of what makes pseudonyms; as long as the hash, for the same reason


def commit(nonce: bytes, data: bytes) -> str:
    """Commit to data.

    Args:
        nonce: 32 random bytes, kept with the data.
        data: What is committed to.

    Returns:
        A ``sha256:`` digest.

    Raises:
        ValueError: If the nonce has another length.
    """
    if len(nonce) != NONCE:
        raise ValueError(f"a nonce has {NONCE} bytes")
    return hashing.sha256(nonce + data)


def subject_id(secret: bytes, tenant: str, subject: str) -> str:
    """Name the one whose data is sealed under one key, by a pseudonym.

    The log keeps it for good, so it is keyed: who has the log alone can't confirm a guessed name.

    Args:
        secret: 32 random bytes of this site, kept with the subjects' keys.
        tenant: The tenant, as the appliance knows it.
        subject: The tenant's own id of the person.

    Returns:
        64 hexadecimal digits of HMAC-SHA-256; two tenants' subjects of one name differ.

    Raises:
        ValueError: If the secret has another length.
    """
    if len(secret) != SECRET:
        raise ValueError(f"a secret has {SECRET} bytes")
    head = len(tenant.encode()).to_bytes(4, "big")
    return hmac.digest(secret, head + tenant.encode() + subject.encode(), "sha256").hex()
