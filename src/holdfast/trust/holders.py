"""Holders and their keys, as the publisher's side writes them into root and into delegations.

Invariants: a holder brings one Ed25519 and one ML-DSA-87 key, both listed wherever the holder is; no two holders share a
key or a name; a role never has fewer holders than must sign for it, nor fewer keys than its threshold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA87PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import CryptoSigner, SSlibKey

from holdfast.errors import UsageRefused
from holdfast.keys.person import PublicKeys
from holdfast.trust import metadata, policy
from holdfast.trust.metadata import ED25519, ML_DSA_87, SCHEMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from securesystemslib.signer import Key

    from holdfast.keys.person import KeyPair
    from holdfast.trust.delegation import Delegator

KEYS_EACH = len(SCHEMES)


def keys_of(holder: PublicKeys) -> tuple[SSlibKey, SSlibKey]:
    """Give a holder's keys as metadata lists them.

    Args:
        holder: The holder's public keys.

    Returns:
        The Ed25519 and the ML-DSA-87 key, each under the id computed from it.
    """
    return (
        SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(holder.ed25519)),
        SSlibKey.from_crypto(MLDSA87PublicKey.from_public_bytes(holder.ml_dsa_87)),
    )


def public_of(name: str, keys: Iterable[Key]) -> PublicKeys:
    """Give the public document of a holder whom metadata lists: what ``keys_of`` was given.

    Args:
        name: The holder's name.
        keys: The holder's keys, judged by the profile.

    Returns:
        The public keys, whose fingerprint the holder can read aloud.

    Raises:
        UntrustedBundle: If they are not one of each algorithm.
    """
    found = {key.scheme: key.keyval["public"] for key in keys}
    if set(found) != set(SCHEMES):
        raise metadata.refuse(
            "policy", f"The holder {name} does not have one key of each algorithm.", holder=name
        )
    loaded = load_pem_public_key(found[ML_DSA_87].encode())
    raw = loaded.public_bytes_raw() if isinstance(loaded, MLDSA87PublicKey) else b""
    return PublicKeys(name, bytes.fromhex(found[ED25519]), raw)


def signers_of(pair: KeyPair) -> tuple[CryptoSigner, CryptoSigner]:
    """Give what signs metadata with a holder's secret keys.

    Args:
        pair: The holder's keys.

    Returns:
        The Ed25519 and the ML-DSA-87 signer.
    """
    return CryptoSigner(pair.ed25519), CryptoSigner(pair.ml_dsa_87)


def listed(delegator: Delegator, role: str) -> dict[str, tuple[str, ...]]:
    """Tell whose keys a file lists for a role.

    Args:
        delegator: What the file lists.
        role: The role's name.

    Returns:
        Ids of each holder's keys for that role, by the holder's name, in the order of the names.

    Raises:
        UntrustedBundle: If the file's signing policy is refused.
    """
    found = delegator.role(role)
    wanted = set(found.keyids if found else ())
    held = policy.of(delegator).holders
    chosen = {name: tuple(one for one in held[name] if one in wanted) for name in sorted(held)}
    return {name: keyids for name, keyids in chosen.items() if keyids}


def may_sign(delegator: Delegator, role: str, holder: PublicKeys) -> bool:
    """Tell whether a holder's keys are listed for a role.

    Args:
        delegator: Who lists keys for the role.
        role: The role's name.
        holder: The holder's public keys.

    Returns:
        True if both are.
    """
    found = delegator.role(role)
    return found is not None and {key.keyid for key in keys_of(holder)} <= set(found.keyids)


def require_distinct(people: Sequence[PublicKeys]) -> None:
    """Refuse holders who are not different people with different keys.

    Args:
        people: The holders' public keys.

    Raises:
        UsageRefused: If two share a name or a key, or there are more than a root holds.
    """
    names = [one.holder for one in people]
    keys = [key for one in people for key in (one.ed25519, one.ml_dsa_87)]
    if len(set(names)) < len(names) or len(set(keys)) < len(keys):
        raise refuse(f"Two of the holders {', '.join(names)} have the same name or the same keys.")
    if len(people) > policy.MAX_HOLDERS:
        raise refuse(f"There are {len(people)} holders; {policy.MAX_HOLDERS} are allowed.")


def require_quorum(names: Sequence[str], threshold: int, least: int, what: str) -> None:
    """Refuse a role that too few people could sign for.

    Args:
        names: Its holders.
        threshold: How many keys must sign.
        least: How many different people must sign.
        what: The role, for the message.

    Raises:
        UsageRefused: If the numbers are too small, or larger than the holders can satisfy.
    """
    if threshold < policy.MIN_THRESHOLD or least < policy.MIN_HOLDERS:
        raise refuse(
            f"{what[:1].upper()}{what[1:]} needs a threshold of at least {policy.MIN_THRESHOLD} keys"
            f" and at least {policy.MIN_HOLDERS} different holders."
        )
    if len(names) < least:
        raise refuse(
            f"{what[:1].upper()}{what[1:]} would be held by {', '.join(names) or 'nobody'} alone;"
            f" {least} different holders must sign."
        )
    if KEYS_EACH * len(names) < threshold:
        raise refuse(
            f"{what[:1].upper()}{what[1:]} would have {KEYS_EACH * len(names)} keys; its threshold is {threshold}."
        )


def refuse(message: str) -> UsageRefused:
    """Say that a set of holders won't do.

    Args:
        message: The sentence.

    Returns:
        The error, not raised.
    """
    return UsageRefused(
        "trust.ceremony-holders",
        message,
        remedy="Name at least two different people, each with their own keys made by `holdfast keys new NAME`.",
    )
