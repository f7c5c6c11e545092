"""Commitments: what the log says of a prompt or an answer without holding it.

A commitment is SHA-256(32 random bytes || data). Invariants: without the nonce nothing can be learned about the data, not
even by guessing it; with nonce and data anybody can check the commitment. No I/O.
"""

from __future__ import annotations

import hashlib

from holdfast import hashing

NONCE = 32  # bytes; as long as the hash, so that guessing the nonce is no shorter way


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


def subject_id(tenant: str, subject: str) -> str:
    """Name the one whose data is sealed under one key.

    Args:
        tenant: The tenant, as the appliance knows it.
        subject: The tenant's own id of the person.

    Returns:
        64 hexadecimal digits; two tenants' subjects of one name differ.
    """
    head = len(tenant.encode()).to_bytes(4, "big")
    return hashlib.sha256(head + tenant.encode() + subject.encode()).hexdigest()
