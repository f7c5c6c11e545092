"""One TUF metadata file, read strictly.

Invariants: a file is bounded before it is parsed; it is byte for byte the canonical form (RFC 8785) of what it says, so no
byte of it can change unnoticed, not even outside the signed part; every version, threshold and length in it is an integer; its
keys are Ed25519 or ML-DSA-87, each under the id computed from it, so that one key can't count twice under two ids. Nothing
here judges signatures.

Source: The Update Framework specification 1.0, section 4 (document formats).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError

from holdfast import canonical, hashing
from holdfast.errors import UntrustedBundle, UntrustedInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from securesystemslib.signer import Key
    from tuf.api.metadata import Role

ED25519 = "ed25519"
ML_DSA_87 = "ml-dsa-87/1"
SCHEMES = (ED25519, ML_DSA_87)
SPEC_MAJOR = "1"  # of the TUF specification
TOP_LEVEL = frozenset(TOP_LEVEL_ROLE_NAMES)
SIGNED_DIGEST = "x-holdfast-signed"  # how timestamp and snapshot name a file: see ``named``
MAX_BYTES = {  # per file; the reason is the largest that a publisher of hundreds of artefacts would write
    Root.type: 512 * 1024,  # 20 holders' keys and signatures, 15 KB each
    Timestamp.type: 256 * 1024,  # one line of facts, and 20 holders' signatures of 10 KB each
    Snapshot.type: 2 * 2**20,
    Targets.type: 5 * 2**20,
}
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_MAX_REASON = 200  # characters of a library's own words in a message

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


def parse(kind: type[S], data: bytes, role: str | None = None) -> Metadata[S]:
    """Read one metadata file.

    Args:
        kind: The type it must be of.
        data: The file's bytes.
        role: The role's name, for messages; a delegated role's file is of the type targets.

    Returns:
        The metadata, its signatures not yet judged.

    Raises:
        UntrustedBundle: If it is too large, malformed, of another role or specification, or not canonical.
    """
    name = kind.type if role is None else role
    what = f"The {name} metadata"
    value = canonical.decode(data, limit=MAX_BYTES[kind.type], what=what, error=UntrustedBundle)
    found = read(kind, value, data, name)
    try:
        same = encode(found) == data
    except UntrustedInput as problem:
        raise refuse("form", f"The {name} metadata is malformed: {problem.message}", role=name) from problem
    if not same:
        raise refuse("form", f"The {name} metadata is not in canonical form.", role=name)
    if found.unrecognized_fields or any(one.unrecognized_fields for one in found.signatures.values()):
        raise refuse("form", f"The {name} metadata carries something that nobody signed.", role=name)
    if not all(_HEX.fullmatch(one.signature) for one in found.signatures.values()):
        raise refuse("signature", f"A signature of the {name} metadata is not in canonical form.", role=name)
    return found


def read(kind: type[S], value: canonical.Json, data: bytes, name: str) -> Metadata[S]:
    """Read one metadata file whose JSON was decoded with bounds, in whatever form it was written.

    Args:
        kind: The type it must be of.
        value: Its content, for the first checks.
        data: The file's bytes.
        name: The role's name, for messages.

    Returns:
        The metadata, its signatures not yet judged.

    Raises:
        UntrustedBundle: If it is malformed, or of another role or specification.
    """
    signed = value.get("signed") if isinstance(value, dict) else None
    if not isinstance(signed, dict) or signed.get("_type") != kind.type:
        raise refuse("form", f"The {name} metadata is not of the type {kind.type}.", role=name)
    spec = signed.get("spec_version")
    if not isinstance(spec, str) or spec.split(".")[0] != SPEC_MAJOR:
        raise refuse(
            "spec-version",
            f"The {name} metadata follows version {str(spec)[:20]!r} of the specification, not {SPEC_MAJOR}.x.",
            role=name,
        )
    for keyids in _keyid_lists(value, signed):
        if len({str(keyid) for keyid in keyids}) < len(keyids):
            raise refuse(
                "duplicate-key", f"The {name} metadata names a key twice where it may count once.", role=name
            )
    try:
        found: Metadata[S] = Metadata[S].from_bytes(data)
        found.signed_bytes  # noqa: B018 - what can't be written in the form that is signed can't be verified
    except (DeserializationError, SerializationError) as problem:
        reason = str(problem.__cause__ or problem)[:_MAX_REASON]
        raise refuse("form", f"The {name} metadata is malformed: {reason}.", role=name) from problem
    if not all(type(number) is int for number in _numbers(found.signed)):
        raise refuse(
            "form", f"A version, threshold or length in the {name} metadata is not an integer.", role=name
        )
    texts = [text for keyid, one in found.signatures.items() for text in (keyid, one.signature)]
    if isinstance(found.signed, Targets) and found.signed.delegations is not None:
        texts += list(found.signed.delegations.roles or {})
    if not all(isinstance(text, str) for text in texts):
        raise refuse("form", f"A signature or a role's name in the {name} metadata is not text.", role=name)
    return found


def encode(metadata: Metadata[S]) -> bytes:
    """Write a metadata file.

    Args:
        metadata: The metadata with its signatures.

    Returns:
        Its canonical bytes.
    """
    return canonical.encode(metadata.to_dict())


def signed_digest(metadata: Metadata[S]) -> str:
    """Name what a file says, whoever has signed it so far.

    Args:
        metadata: The file.

    Returns:
        SHA-512 over the canonical bytes of its signed part.
    """
    return hashing.sha512(canonical.encode(metadata.to_dict()["signed"]))


def named(metadata: Metadata[S]) -> MetaFile:
    """Name a file as timestamp and snapshot do: by its version and by what it says.

    A digest of the whole file would change with every signature that another holder adds.

    Args:
        metadata: The file.

    Returns:
        The entry for the file that names it.
    """
    digest = {SIGNED_DIGEST: signed_digest(metadata)}
    return MetaFile(metadata.signed.version, unrecognized_fields=digest)


def check_key(key: Key, owner: str = Root.type) -> None:
    """Check that a key is one of our algorithms and stands under its own id.

    Args:
        key: A key.
        owner: The role whose metadata lists it, for messages.

    Raises:
        UntrustedBundle: If it is not.
    """
    try:
        right = _from_public(key)
    except (ValueError, TypeError, AttributeError, KeyError, UnsupportedAlgorithm) as problem:
        reason = str(problem)[:_MAX_REASON]
        raise refuse(
            "key-form",
            f"Key {key.keyid[:16]!r} of {owner} is malformed: {reason}.",
            role=owner,
            keyid=key.keyid[:64],
        ) from problem
    if right.keyid != key.keyid or right.to_dict() != key.to_dict():
        raise refuse(
            "key-form",
            f"Key {key.keyid[:16]!r} of {owner} does not stand under its own id.",
            role=owner,
            keyid=key.keyid[:64],
        )


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


def mixed(role: str) -> UntrustedBundle:
    """Say that a file is another one than the rest of the metadata names.

    Args:
        role: The file's role.

    Returns:
        The error, not raised.
    """
    return refuse(
        "mix", f"The {role} metadata is not the one that the medium's other metadata names.", role=role
    )


def not_next(found: int, before: int) -> UntrustedBundle:
    """Say that a root does not follow another.

    Args:
        found: The root's version.
        before: The version of the root that it should follow.

    Returns:
        The error, not raised.
    """
    return refuse(
        "root-version",
        f"Root version {found} follows version {before}; each must be the next.",
        found=found,
        expected=before + 1,
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


def _keyid_lists(value: canonical.Json, signed: dict[str, canonical.Json]) -> Iterator[list[canonical.Json]]:
    """Give the key ids of the signatures and of every role, from a document that may be malformed."""
    signatures = value.get("signatures") if isinstance(value, dict) else None
    if isinstance(signatures, list):
        yield [one.get("keyid") for one in signatures if isinstance(one, dict)]
    given = signed.get("delegations")
    for roles in (signed.get("roles"), given.get("roles") if isinstance(given, dict) else None):
        for role in roles.values() if isinstance(roles, dict) else roles if isinstance(roles, list) else ():
            keyids = role.get("keyids") if isinstance(role, dict) else None
            if isinstance(keyids, list):
                yield keyids


def _numbers(signed: Root | Timestamp | Snapshot | Targets) -> Iterator[object]:
    """Give every number that the workflow compares; the library lets floats and booleans through."""
    yield signed.version
    if isinstance(signed, Root):
        yield from _thresholds(signed.roles)
    elif isinstance(signed, Timestamp):
        yield from _of_meta(signed.snapshot_meta)
    elif isinstance(signed, Snapshot):
        for info in signed.meta.values():
            yield from _of_meta(info)
    else:
        for target in signed.targets.values():
            yield target.length
        if signed.delegations is not None:
            yield from _thresholds(signed.delegations.roles or {})
            if signed.delegations.succinct_roles is not None:
                yield signed.delegations.succinct_roles.threshold


def _of_meta(info: MetaFile) -> Iterator[object]:
    yield info.version
    if info.length is not None:
        yield info.length


def _thresholds(roles: Mapping[str, Role]) -> Iterator[object]:
    for role in roles.values():
        yield role.threshold
