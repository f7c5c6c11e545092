"""One TUF metadata file, read strictly.

Invariants: a file is bounded before it is parsed; it is byte for byte the canonical form (RFC 8785) of what it says, so no
byte of it can change unnoticed, not even outside the signed part; its keys are Ed25519 or ML-DSA-87, each under the id
computed from it, so that one key can't count twice under two ids. Nothing here judges signatures.

Source: The Update Framework specification 1.0, section 4 (document formats).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from holdfast import canonical
from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from securesystemslib.signer import Key

ED25519 = "ed25519"
ML_DSA_87 = "ml-dsa-87/1"
SCHEMES = (ED25519, ML_DSA_87)
SPEC_MAJOR = "1"  # of the TUF specification
MAX_BYTES = {  # per file; the reason is the largest that a publisher of hundreds of artefacts would write
    Root.type: 512 * 1024,  # 20 holders' keys and signatures, 15 KB each
    Timestamp.type: 256 * 1024,  # one line of facts, and 20 holders' signatures of 10 KB each
    Snapshot.type: 2 * 2**20,
    Targets.type: 5 * 2**20,
}

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


def parse(kind: type[S], data: bytes) -> Metadata[S]:
    """Read one metadata file.

    Args:
        kind: The role it must be for.
        data: The file's bytes.

    Returns:
        The metadata, its signatures not yet judged.

    Raises:
        UntrustedBundle: If it is too large, malformed, of another role or specification, or not canonical.
    """
    name = kind.type
    what = f"the {name} metadata"
    value = canonical.decode(data, limit=MAX_BYTES[name], what=what, error=UntrustedBundle)
    signed = value.get("signed") if isinstance(value, dict) else None
    if not isinstance(signed, dict) or signed.get("_type") != name:
        raise refuse("form", f"The {name} metadata is not of the role {name}.", role=name)
    spec = signed.get("spec_version")
    if not isinstance(spec, str) or spec.split(".")[0] != SPEC_MAJOR:
        raise refuse(
            "spec-version",
            f"The {name} metadata follows version {str(spec)[:20]} of the specification, not {SPEC_MAJOR}.x.",
            role=name,
        )
    try:
        found: Metadata[S] = Metadata[S].from_bytes(data)
    except DeserializationError as problem:
        reason = problem.__cause__ or problem
        raise refuse("form", f"The {name} metadata is malformed: {reason}.", role=name) from problem
    if encode(found) != data:
        raise refuse("form", f"The {name} metadata is not in canonical form.", role=name)
    return found


def encode(metadata: Metadata[S]) -> bytes:
    """Write a metadata file.

    Args:
        metadata: The metadata with its signatures.

    Returns:
        Its canonical bytes.
    """
    return canonical.encode(metadata.to_dict())


def check_key(key: Key) -> None:
    """Check that a key is one of our algorithms and stands under its own id.

    Args:
        key: A key of root metadata.

    Raises:
        UntrustedBundle: If it is not.
    """
    try:
        right = _from_public(key)
    except (ValueError, TypeError, AttributeError, KeyError, UnsupportedAlgorithm) as problem:
        raise refuse(
            "key-form", f"Key {key.keyid[:16]} of root is malformed: {problem}.", keyid=key.keyid
        ) from problem
    if right.keyid != key.keyid or right.to_dict() != key.to_dict():
        raise refuse(
            "key-form", f"Key {key.keyid[:16]} of root does not stand under its own id.", keyid=key.keyid
        )


def _from_public(key: Key) -> SSlibKey:
    """Make the key again from its public part alone; raises what the libraries raise, mostly ValueError."""
    if key.scheme == ED25519:
        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"])))
    if key.scheme == ML_DSA_87:
        loaded = load_pem_public_key(key.keyval["public"].encode())
        if isinstance(loaded, MLDSA87PublicKey):
            return SSlibKey.from_crypto(loaded)
    raise ValueError(f"it is not a key of {' or '.join(SCHEMES)}")


def refuse(key: str, message: str, **fields: str | int | list[str]) -> UntrustedBundle:
    """Say why metadata is not trusted.

    Args:
        key: The last part of the error's key.
        message: The sentence.
        **fields: The facts behind it.

    Returns:
        The error, not raised.
    """
    return UntrustedBundle(
        f"trust.{key}",
        message,
        remedy="Do not import this medium; ask its publisher for a new one.",
        **fields,
    )
