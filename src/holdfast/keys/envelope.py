"""The envelope in which a person's secret keys lie on disk: both seeds in one box (see ``scryptbox``).

Invariants: an envelope opens to a pair whose public halves are those it shows; it can be read, unopened, for whom it
belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.keys import scryptbox
from holdfast.keys.person import SEED_BYTES, KeyPair, PublicKeys, public_from_json
from holdfast.keys.scryptbox import MAX_ENVELOPE, MIN_N, SCHEMA, SCRYPT_N

if TYPE_CHECKING:
    from holdfast.keys.scryptbox import Box

__all__ = ["MAX_ENVELOPE", "MIN_N", "SCRYPT_N", "is_envelope", "open_envelope", "public_of", "seal"]


def seal(pair: KeyPair, passphrase: str, *, n: int = SCRYPT_N) -> bytes:
    """Close a key pair into an envelope.

    Args:
        pair: The keys.
        passphrase: At least eight characters.
        n: The cost of scrypt, a power of two.

    Returns:
        The envelope, canonical JSON.

    Raises:
        UsageRefused: If the passphrase is too short or too long.
    """
    return scryptbox.seal(pair.public.to_json(), pair.ed25519_seed + pair.ml_dsa_87_seed, passphrase, n=n)


def is_envelope(data: bytes) -> bool:
    """Tell whether a file claims to hold secret keys, whatever it is called.

    Args:
        data: The file's bytes.

    Returns:
        True if it names the schema of envelopes.
    """
    return SCHEMA.encode("ascii") in data


def public_of(envelope: bytes) -> PublicKeys:
    """Read who an envelope belongs to, without opening it.

    Args:
        envelope: The bytes of a ``.key`` file.

    Returns:
        The public keys it claims; they are proved only by ``open_envelope``.

    Raises:
        UntrustedInput: If it is malformed.
    """
    return public_from_json(_read(envelope).public)


def open_envelope(envelope: bytes, passphrase: str) -> KeyPair:
    """Open an envelope.

    Args:
        envelope: The bytes of a ``.key`` file.
        passphrase: Its passphrase.

    Returns:
        The key pair, shown to belong to the public keys in the envelope.

    Raises:
        UntrustedInput: If the envelope is malformed or its cost is out of bounds.
        NotAuthenticated: If the passphrase is wrong or the envelope was changed.
    """
    box = _read(envelope)
    public = public_from_json(box.public)
    secret = box.open(passphrase, public.holder)
    pair = KeyPair(public.holder, secret[:SEED_BYTES], secret[SEED_BYTES:])
    if pair.public != public:
        raise scryptbox.malformed("its public keys are not those of the secret inside")
    return pair


def _read(envelope: bytes) -> Box:
    return scryptbox.read(envelope, 2 * SEED_BYTES)
