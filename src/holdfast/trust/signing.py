"""Signatures on metadata files, added in turn.

Invariants: a signature changes nothing of what is signed, so any order gives a file that is equally good; a holder signs with
both keys; a valid signature that is there already is kept as it is, so that signing twice changes no byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from holdfast import canonical
from holdfast.errors import UntrustedBundle
from holdfast.trust import holders, metadata

if TYPE_CHECKING:
    from collections.abc import Collection

    from securesystemslib.signer import Key

    from holdfast.keys.person import KeyPair

AnyMetadata = Metadata[Root] | Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets]


def read(data: bytes, what: str = "The metadata") -> AnyMetadata:
    """Read a metadata file of any role.

    Args:
        data: Its bytes.
        what: What it is, for the message, as a sentence begins.

    Returns:
        The metadata, its signatures not judged.

    Raises:
        UntrustedBundle: If it is malformed or of no role.
    """
    limit = max(metadata.MAX_BYTES.values())
    value = canonical.decode(data, limit=limit, what=what, error=UntrustedBundle)
    signed = value.get("signed") if isinstance(value, dict) else None
    kind = signed.get("_type") if isinstance(signed, dict) else None
    if kind == Root.type:
        return metadata.parse(Root, data)
    if kind == Timestamp.type:
        return metadata.parse(Timestamp, data)
    if kind == Snapshot.type:
        return metadata.parse(Snapshot, data)
    if kind == Targets.type:
        return metadata.parse(Targets, data)
    raise metadata.refuse("form", f"{what} is not metadata of any role.")


def write(found: AnyMetadata) -> bytes:
    """Write a metadata file.

    Args:
        found: The metadata with its signatures.

    Returns:
        Its canonical bytes.
    """
    return canonical.encode(found.to_dict())


def add_signature(data: bytes, pair: KeyPair) -> bytes:
    """Add a holder's two signatures.

    Args:
        data: Bytes of a metadata file.
        pair: The holder's keys; whether they are listed for the role is judged by ``standing``.

    Returns:
        The file with the signatures; the same bytes if valid ones are there already.

    Raises:
        UntrustedBundle: If the file is malformed.
    """
    found = read(data)
    for signer in holders.signers_of(pair):
        if not is_valid(signer.public_key, found, signer.public_key.keyid):
            found.sign(signer, append=True)
    return write(found)


def keep_signatures(data: bytes, keyids: Collection[str]) -> bytes:
    """Drop the signatures of keys that may not sign a file any more.

    Args:
        data: Bytes of a metadata file.
        keyids: Ids of the keys whose signatures stay.

    Returns:
        The file without the others; the same bytes if there are none.

    Raises:
        UntrustedBundle: If the file is malformed.
    """
    found = read(data)
    for keyid in [one for one in found.signatures if one not in keyids]:
        del found.signatures[keyid]
    return write(found)


def is_valid(key: Key, found: AnyMetadata, keyid: str) -> bool:
    """Judge one signature.

    Args:
        key: The key.
        found: A metadata file.
        keyid: The id under which the file carries the signature.

    Returns:
        True if the file carries it and it is right.
    """
    signature = found.signatures.get(keyid)
    if signature is None:
        return False
    try:
        key.verify_signature(signature, found.signed_bytes)
    except (UnverifiedSignatureError, VerificationError):
        return False
    return True
