"""Keys of the appliance itself (reports, receipts): the same two algorithms as a person's, kept without a passphrase.

A service must start unattended, so its secret is protected by the host alone: a systemd credential or a TPM where there
is one, else a file of mode 0600, which the residency report names as a gap. This module only serialises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import VerificationFailed
from holdfast.keys.person import SEED_BYTES, KeyPair

if TYPE_CHECKING:
    from holdfast.canonical import Json

SCHEMA = "holdfast.service-key/1"
MAX_FILE = 4096  # bytes; one holds about 250


def encode(pair: KeyPair) -> bytes:
    """Write a service key for a file that only the service may read.

    Args:
        pair: The keys.

    Returns:
        Canonical JSON.
    """
    return (
        canonical.encode(
            {
                "schema": SCHEMA,
                "holder": pair.holder,
                "ed25519": pair.ed25519_seed.hex(),
                "ml-dsa-87": pair.ml_dsa_87_seed.hex(),
            }
        )
        + b"\n"
    )


def decode(data: bytes) -> KeyPair:
    """Read a service key back.

    Args:
        data: What ``encode`` wrote.

    Returns:
        The keys.

    Raises:
        VerificationFailed: If the file is not what was written.
    """
    value = canonical.decode(data, limit=MAX_FILE, what="The service key", error=VerificationFailed)
    if not isinstance(value, dict) or set(value) != {"schema", "holder", "ed25519", "ml-dsa-87"}:
        raise _bad()
    if value["schema"] != SCHEMA or not isinstance(value["holder"], str):
        raise _bad()
    return KeyPair(value["holder"], _seed(value["ed25519"]), _seed(value["ml-dsa-87"]))


def _seed(value: Json) -> bytes:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != SEED_BYTES:
        raise _bad()
    return data


def _bad() -> VerificationFailed:
    return VerificationFailed(
        "keys.service-form",
        "The appliance's service key file is not what was written.",
        remedy="Restore the home's keys folder from a backup.",
    )
