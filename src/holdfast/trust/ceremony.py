"""Making the metadata of a medium: the publisher's side of ``trust.workflow``.

Order of operations: the targets of the publisher's role are made and signed; the other roles' files are carried over from the
previous medium; the snapshot names them all, the timestamp names the snapshot. Invariants: a file is named by its version
and by the digest of its signed part, so that further holders sign in turn and in any order; every new file's version is one
above the previous one of its role; a carried file keeps its signed part byte for byte and loses only signatures of keys
that are not listed for it; every key given may sign something. Pure: times are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Snapshot, TargetFile, Targets, Timestamp

from holdfast.errors import UsageRefused
from holdfast.trust import delegating, holders, metadata, roots, signing, standing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from tuf.api.metadata import MetaFile

    from holdfast.keys.person import KeyPair
    from holdfast.trust.delegation import Delegator
    from holdfast.trust.publisher import Delegation

REVOCATIONS = "revocations.json"  # the target that is carried over unless it is given anew
_HASH = "sha512"
_NOTHING: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True)
class Release:
    """The metadata beneath a root.

    Args:
        timestamp: Bytes of timestamp.json.
        snapshot: Bytes of snapshot.json.
        roles: Bytes of targets.json and of every delegated role's file, by the role's name.
    """

    timestamp: bytes
    snapshot: bytes
    roles: dict[str, bytes]

    @property
    def files(self) -> dict[str, bytes]:
        """All files, by the role's name."""
        return {Timestamp.type: self.timestamp, Snapshot.type: self.snapshot, **self.roles}


def make_root(pairs: Sequence[KeyPair], *, expires: datetime) -> bytes:
    """Found a root of version 1 and sign it at once, where all holders' keys are at one place.

    Args:
        pairs: The holders' keys, at least two different holders.
        expires: When the root ends, UTC to the second.

    Returns:
        The signed root metadata.

    Raises:
        UsageRefused: If there are too few different holders or keys.
    """
    made = roots.draft_root([pair.public for pair in pairs], expires=expires)
    for pair in pairs:
        made = signing.add_signature(made, pair)
    return made


def make_release(
    pairs: Sequence[KeyPair],
    root: bytes,
    *,
    targets: Mapping[str, bytes],
    previous: Mapping[str, bytes] = _NOTHING,
    role: str = Targets.type,
    delegate: Sequence[Delegation] = (),
    undelegate: Collection[str] = (),
    first_version: int = 1,
    expires: datetime,
) -> Release:
    """Make the metadata of a medium, signed by the keys at hand; further holders sign with ``signing.add_signature``.

    Args:
        pairs: Keys of holders of any of the files that are made; fewer than needed leave them unfinished.
        root: Bytes of the root that lists the top-level roles' keys.
        targets: Bytes of the files that the role vouches for, by target path; the revocation list of the previous medium is
            carried over unless it is among them.
        previous: Bytes of the previous medium's metadata files, by role; empty for a first medium.
        role: Whose targets are made: ``targets``, or a delegated publisher's role.
        delegate: What the role gives to publishers; one with the name of an earlier delegation replaces it.
        undelegate: Names of the role's delegations that end.
        first_version: Version of a file that has no predecessor.
        expires: When the new files end, UTC to the second.

    Returns:
        The files.

    Raises:
        UsageRefused: If a key may sign none of the new files, a delegation contradicts another, or the role is unknown.
        UntrustedBundle: If the root or a previous file is malformed.
    """
    old = {name: data for name, data in previous.items() if name not in (Timestamp.type, Snapshot.type)}
    before = metadata.parse(Targets, previous[role], role).signed if role in previous else None
    named = _named_before(previous)
    listed = {path: TargetFile.from_data(path, data, [_HASH]) for path, data in targets.items()}
    if before is not None and role == Targets.type and REVOCATIONS in before.targets:
        listed.setdefault(REVOCATIONS, before.targets[REVOCATIONS])
    _require_names(delegate, old, named)
    made = Targets(
        version=named[_file(role)].version + 1 if _file(role) in named else first_version,
        expires=expires,
        targets=listed,
        delegations=delegating.changed(before.delegations if before else None, delegate, undelegate),
    )
    files = {**old, role: metadata.encode(Metadata(made))}
    lists = standing.delegators(root, files)
    if role not in lists or Targets.type not in files:
        raise UsageRefused(
            "trust.ceremony-role",
            f"Nobody delegates to the role {role[:40]!r}.",
            remedy="Let the holders of the top-level targets publish the delegation first; build from their medium.",
            role=role[:40],
        )
    # Whom nobody delegates to any more stays named in the snapshot, for no name ever leaves it, and off the medium.
    roles = {name: _carried(files[name], lists[name], name) for name in lists if name in files}
    signed = _Signed(pairs, lists)
    roles[role] = signed(role, files[role])
    meta = {
        **named,
        **{_file(name): metadata.named(metadata.parse(Targets, data)) for name, data in roles.items()},
    }
    snapshot = Snapshot(version=_next(Snapshot, previous, first_version), expires=expires, meta=meta)
    snapshot_data = signed(Snapshot.type, metadata.encode(Metadata(snapshot)))
    timestamp = Timestamp(
        version=_next(Timestamp, previous, first_version),
        expires=expires,
        snapshot_meta=metadata.named(Metadata(snapshot)),
    )
    timestamp_data = signed(Timestamp.type, metadata.encode(Metadata(timestamp)))
    signed.require_all_used()
    return Release(timestamp_data, snapshot_data, roles)


class _Signed:
    """Signs each new file with the keys that are listed for it, and remembers which were of use."""

    def __init__(self, pairs: Sequence[KeyPair], lists: Mapping[str, Delegator]) -> None:
        self._pairs = pairs
        self._lists = lists
        self._used: set[str] = set()

    def __call__(self, role: str, data: bytes) -> bytes:
        for pair in self._pairs:
            if holders.may_sign(self._lists[role], role, pair.public):
                self._used.add(pair.holder)
                data = signing.add_signature(data, pair)
        return data

    def require_all_used(self) -> None:
        for pair in self._pairs:
            if pair.holder not in self._used:
                raise UsageRefused(
                    "trust.ceremony-stranger",
                    f"The key of {pair.holder} may sign none of the files that are made here.",
                    remedy="Sign with keys that the root or the delegation lists.",
                    holder=pair.holder,
                )


def _carried(data: bytes, delegator: Delegator, role: str) -> bytes:
    """Leave out signatures of people who left: with them the site would refuse the file."""
    found = delegator.role(role)
    return signing.keep_signatures(data, found.keyids if found else ())


def _require_names(
    delegate: Sequence[Delegation], old: Mapping[str, bytes], named: Mapping[str, MetaFile]
) -> None:
    """Refuse to begin a delegation again that ended: sites remember its versions, and its file is gone."""
    for one in delegate:
        if one.role not in old and _file(one.role) in named:
            raise UsageRefused(
                "trust.delegate-ended",
                f"The delegation to {one.role} ended before, and sites remember its name.",
                remedy="Choose another name for the role.",
                role=one.role,
            )


def _named_before(previous: Mapping[str, bytes]) -> dict[str, MetaFile]:
    if Snapshot.type not in previous:
        return {}
    return dict(metadata.parse(Snapshot, previous[Snapshot.type]).signed.meta)


def _next(kind: type[Snapshot | Timestamp], previous: Mapping[str, bytes], first: int) -> int:
    if kind.type not in previous:
        return first
    return signing.read(previous[kind.type]).signed.version + 1


def _file(role: str) -> str:
    return f"{role}.json"
