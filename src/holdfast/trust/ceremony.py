"""Making TUF metadata: the publisher's side of ``trust.workflow``.

Invariants: every role has all holders' keys, both algorithms, at threshold two; every file is signed with all of them; a
root is made by at least two different holders with different keys. Pure: times and versions are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, TargetFile, Targets, Timestamp

from holdfast.errors import UsageRefused
from holdfast.trust import metadata, policy
from holdfast.trust.workflow import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.keys.person import KeyPair

_ROLES = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
_HASH = "sha512"


@dataclass(frozen=True)
class Release:
    """The signed metadata beneath a root.

    Args:
        timestamp: Bytes of timestamp.json.
        snapshot: Bytes of snapshot.json.
        targets: Bytes of targets.json.
    """

    timestamp: bytes
    snapshot: bytes
    targets: bytes


def make_root(pairs: Sequence[KeyPair], *, expires: datetime) -> bytes:
    """Found a root of version 1.

    Args:
        pairs: The holders' keys, at least two different holders.
        expires: When the root ends, UTC to the second.

    Returns:
        The signed root metadata.

    Raises:
        UsageRefused: If there are too few different holders or keys.
    """
    holders = {pair.holder for pair in pairs}
    if (
        len(pairs) < policy.MIN_HOLDERS
        or len(holders) < len(pairs)
        or len({p.ed25519_seed for p in pairs}) < len(pairs)
    ):
        raise UsageRefused(
            "trust.ceremony-holders",
            f"A root needs at least {policy.MIN_HOLDERS} different holders with their own keys;"
            f" given: {', '.join(pair.holder for pair in pairs) or 'none'}.",
            remedy="Give one --key for each of two people; make them with `holdfast keys new NAME`.",
        )
    signers = {pair.holder: _signers(pair) for pair in pairs}
    keys = [signer.public_key for group in signers.values() for signer in group]
    rule = policy.Policy(
        {name: tuple(signer.public_key.keyid for signer in group) for name, group in signers.items()},
        policy.MIN_HOLDERS,
    )
    root = Root(
        version=1,
        expires=expires,
        keys={key.keyid: key for key in keys},
        roles={name: Role([key.keyid for key in keys], policy.MIN_THRESHOLD) for name in _ROLES},
        consistent_snapshot=False,
        unrecognized_fields={policy.FIELD: rule.to_json()},
    )
    return _signed(Metadata(root), pairs)


def make_release(
    pairs: Sequence[KeyPair], root: bytes, manifest: bytes, *, version: int, expires: datetime
) -> Release:
    """Sign a manifest.

    Args:
        pairs: Keys of at least two of the root's holders.
        root: Bytes of the root that lists them.
        manifest: Bytes of the manifest.
        version: Version of all three files, one above the previous medium's.
        expires: When they end, UTC to the second.

    Returns:
        The three files.

    Raises:
        UsageRefused: If a key is not one of the root's.
        UntrustedBundle: If the root is malformed.
    """
    known = metadata.parse(Root, root).signed.keys
    strangers = [
        pair.holder for pair in pairs if any(s.public_key.keyid not in known for s in _signers(pair))
    ]
    if strangers:
        raise UsageRefused(
            "trust.ceremony-stranger",
            f"The key of {strangers[0]} is not one of the root's.",
            remedy="Sign with the keys that founded this root.",
            holder=strangers[0],
        )
    target = TargetFile.from_data(MANIFEST, manifest, [_HASH])
    targets = _signed(Metadata(Targets(version=version, expires=expires, targets={MANIFEST: target})), pairs)
    meta = {"targets.json": MetaFile.from_data(version, targets, [_HASH])}
    snapshot = _signed(Metadata(Snapshot(version=version, expires=expires, meta=meta)), pairs)
    named = MetaFile.from_data(version, snapshot, [_HASH])
    timestamp = _signed(Metadata(Timestamp(version=version, expires=expires, snapshot_meta=named)), pairs)
    return Release(timestamp, snapshot, targets)


def _signers(pair: KeyPair) -> tuple[CryptoSigner, CryptoSigner]:
    return CryptoSigner(pair.ed25519), CryptoSigner(pair.ml_dsa_87)


def _signed(made: Metadata[metadata.S], pairs: Sequence[KeyPair]) -> bytes:
    for pair in pairs:
        for signer in _signers(pair):
            made.sign(signer, append=True)
    return metadata.encode(made)
