"""A person's key pair: Ed25519 and ML-DSA-87 side by side, for one holder.

Invariants: every signature is made with both algorithms, and both must verify; so a break of either one alone forges
nothing. What is signed begins with a domain that names its use, so that a signature made for one purpose can't be
presented for another; TUF metadata, which the same keys sign, begins with ``{`` and so can't be mistaken for a message of
ours. The secret is two 32-byte seeds.

Sources: RFC 8032 (Ed25519), FIPS 204 (ML-DSA).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PrivateKey, MLDSA87PublicKey

from holdfast import canonical
from holdfast.artefact import MAX_NAME, is_name
from holdfast.errors import HoldfastError, UntrustedInput

if TYPE_CHECKING:
    from holdfast.canonical import Json

SCHEMA = "holdfast.key/1"
ED25519 = "ed25519"
ML_DSA_87 = "ml-dsa-87"
ALGORITHMS = (ED25519, ML_DSA_87)
SEED_BYTES = 32  # of either algorithm (RFC 8032, section 5.1.5; FIPS 204, section 3.6.1)
PUBLIC_BYTES = {ED25519: 32, ML_DSA_87: 2592}
SIGNATURE_BYTES = {ED25519: 64, ML_DSA_87: 4627}
MAX_PUBLIC_DOCUMENT = 16 * 1024  # bytes; one holds about 5.5 KB
FINGERPRINT_DIGITS = 40  # hexadecimal: 160 bits, ten groups that can be read aloud
_REMEDY = "Ask the holder for the file that `holdfast keys new` wrote with the ending .pub."


@dataclass(frozen=True)
class PublicKeys:
    """The public halves, as they are handed to others.

    Args:
        holder: The person (or service) that holds the secret halves.
        ed25519: 32 bytes.
        ml_dsa_87: 2,592 bytes.
    """

    holder: str
    ed25519: bytes
    ml_dsa_87: bytes

    def to_json(self) -> dict[str, Json]:
        """Give the public document.

        Returns:
            Plain data with ``schema``, ``holder`` and the two keys in hexadecimal.
        """
        return {
            "schema": SCHEMA,
            "holder": self.holder,
            ED25519: self.ed25519.hex(),
            ML_DSA_87: self.ml_dsa_87.hex(),
        }

    @property
    def fingerprint(self) -> str:
        """The document's SHA-512, its first 160 bits in groups of four digits, to be read aloud."""
        return grouped(hashlib.sha512(canonical.encode(self.to_json())).hexdigest()[:FINGERPRINT_DIGITS])


@dataclass(frozen=True)
class KeyPair:
    """The secret halves.

    Args:
        holder: The person (or service) that holds them.
        ed25519_seed: 32 bytes.
        ml_dsa_87_seed: 32 bytes.
    """

    holder: str
    ed25519_seed: bytes = field(repr=False)
    ml_dsa_87_seed: bytes = field(repr=False)

    @property
    def ed25519(self) -> Ed25519PrivateKey:
        """The Ed25519 key."""
        return Ed25519PrivateKey.from_private_bytes(self.ed25519_seed)

    @property
    def ml_dsa_87(self) -> MLDSA87PrivateKey:
        """The ML-DSA-87 key."""
        return MLDSA87PrivateKey.from_seed_bytes(self.ml_dsa_87_seed)

    @property
    def public(self) -> PublicKeys:
        """The public halves."""
        return PublicKeys(
            self.holder,
            self.ed25519.public_key().public_bytes_raw(),
            self.ml_dsa_87.public_key().public_bytes_raw(),
        )


def generate(holder: str) -> KeyPair:
    """Make a key pair from the host's random numbers.

    Args:
        holder: Name of the person or service.

    Returns:
        The pair.

    Raises:
        UntrustedInput: If the name can't be a holder's.
    """
    return KeyPair(_holder(holder), secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES))


def sign(pair: KeyPair, domain: str, payload: bytes) -> list[dict[str, Json]]:
    """Sign with both algorithms.

    Args:
        pair: The signer's keys.
        domain: What the signature is for, for example ``session``; a constant of the caller.
        payload: The bytes.

    Returns:
        Two objects with ``algorithm`` and ``signature`` (hexadecimal), in the order of ``ALGORITHMS``.
    """
    message = _message(domain, payload)
    return [
        {"algorithm": ED25519, "signature": pair.ed25519.sign(message).hex()},
        {"algorithm": ML_DSA_87, "signature": pair.ml_dsa_87.sign(message).hex()},
    ]


def verify(
    public: PublicKeys,
    domain: str,
    payload: bytes,
    signatures: Json,
    *,
    error: type[HoldfastError] = UntrustedInput,
) -> None:
    """Check that both signatures are there and right.

    Args:
        public: The signer's public keys.
        domain: What the signature must be for.
        payload: The bytes that should be signed.
        signatures: What ``sign`` gave, as received.
        error: The class to raise, by who is at fault.

    Raises:
        HoldfastError: As ``error``, with key ``keys.signature-form`` or ``keys.signature``.
    """
    found = _signatures(signatures, error)
    message = _message(domain, payload)
    checks = (
        (ED25519, Ed25519PublicKey.from_public_bytes(public.ed25519).verify),
        (ML_DSA_87, MLDSA87PublicKey.from_public_bytes(public.ml_dsa_87).verify),
    )
    for algorithm, check in checks:
        try:
            check(found[algorithm], message)
        except InvalidSignature:
            raise error(
                "keys.signature",
                f"The {algorithm} signature of {public.holder} for {domain} is not right.",
                remedy="Check that the key is the holder's and that nothing was changed after signing.",
                holder=public.holder,
                algorithm=algorithm,
            ) from None


def parse_public(data: bytes) -> PublicKeys:
    """Read a public document from outside.

    Args:
        data: The bytes of a ``.pub`` file.

    Returns:
        The keys.

    Raises:
        UntrustedInput: If it is malformed.
    """
    return public_from_json(canonical.decode(data, limit=MAX_PUBLIC_DOCUMENT, what="The public key"))


def public_from_json(value: Json) -> PublicKeys:
    """Read a public document that is already parsed.

    Args:
        value: What ``PublicKeys.to_json`` gives.

    Returns:
        The keys.

    Raises:
        UntrustedInput: If it is malformed.
    """
    if not isinstance(value, dict) or set(value) != {"schema", "holder", *ALGORITHMS}:
        raise _bad(f"its fields are not exactly schema, holder, {', '.join(ALGORITHMS)}")
    if value["schema"] != SCHEMA:
        raise _bad(f"its schema is {str(value['schema'])[:40]!r}, not {SCHEMA}")
    keys = {name: _hex(value[name], PUBLIC_BYTES[name]) for name in ALGORITHMS}
    for name, key in keys.items():
        if key is None:
            raise _bad(f"{name} is not {PUBLIC_BYTES[name]} bytes in lower-case hexadecimal")
    found = PublicKeys(_holder(value["holder"]), keys[ED25519] or b"", keys[ML_DSA_87] or b"")
    try:
        Ed25519PublicKey.from_public_bytes(found.ed25519)
        MLDSA87PublicKey.from_public_bytes(found.ml_dsa_87)
    except ValueError as problem:
        raise _bad("one of its keys is not a key of its algorithm") from problem
    return found


def grouped(digits: str) -> str:
    """Write hexadecimal digits in groups of four, to be read aloud and compared.

    Args:
        digits: Hexadecimal digits.

    Returns:
        Groups of four, separated by single spaces.
    """
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def _message(domain: str, payload: bytes) -> bytes:
    return b"holdfast signature 1\x00" + domain.encode("ascii") + b"\x00" + payload


def _signatures(value: Json, error: type[HoldfastError]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in value if isinstance(value, list) and len(value) == len(ALGORITHMS) else []:
        if isinstance(entry, dict) and set(entry) == {"algorithm", "signature"}:
            name = str(entry["algorithm"])
            data = _hex(entry["signature"], SIGNATURE_BYTES.get(name, 0))
            if data:
                found[name] = data
    if set(found) != set(ALGORITHMS):
        raise error(
            "keys.signature-form",
            f"A signature is not one of each of {' and '.join(ALGORITHMS)}.",
            remedy="Sign again with a key pair made by `holdfast keys new`.",
        )
    return found


def _hex(value: Json, count: int) -> bytes | None:
    """Give the bytes of exactly ``count`` in lower-case hexadecimal, else None."""
    if not isinstance(value, str) or len(value) != 2 * count or value != value.lower():
        return None
    try:
        data = bytes.fromhex(value)
    except ValueError:
        return None
    return data if len(data) == count else None


def _holder(value: Json) -> str:
    if not isinstance(value, str) or not is_name(value) or value != value.strip():
        raise _bad(
            f"{str(value)[:40]!r} is not a holder's name of at most {MAX_NAME} characters without / : @ \\"
        )
    return value


def _bad(why: str) -> UntrustedInput:
    return UntrustedInput("keys.public-form", f"A public key is refused: {why}.", remedy=_REMEDY)
