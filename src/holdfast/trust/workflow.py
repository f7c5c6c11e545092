"""The TUF client workflow as a state machine, with the signing policy after each step.

Order of operations: ``Workflow(state, clock)`` re-verifies the root that was trusted before; then ``update_root`` for each
newer root in turn, ``update_timestamp``, ``update_snapshot``, ``update_targets``, each once and in that order. Bytes in,
verdict out: every step either raises ``UntrustedBundle`` or advances.

Invariants
 * a root is loaded only if the root before it *and* it itself vouch for it, at threshold and by policy, and its version is
   the next one; expiry is judged on the last root alone;
 * timestamp, snapshot and targets are verified against that last root;
 * what was trusted before is first re-verified against the last root; if its keys were rotated away it no longer counts
   (recovery from a fast-forward attack), else no version may go down (rollback) and the same version must be the same
   bytes (two faces);
 * snapshot is exactly what timestamp names, targets exactly what snapshot names (mix and match); nothing is expired
   (freeze); every signature present is by a key of the role and valid, not just enough of them;
 * delegations are refused: the only publishers are root's.

Source: The Update Framework specification 1.0, section 5 (detailed client workflow).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from holdfast.errors import UntrustedBundle
from holdfast.trust import floor as time_floor
from holdfast.trust import metadata, policy
from holdfast.trust.metadata import refuse

if TYPE_CHECKING:
    from datetime import datetime

    from tuf.api.metadata import TargetFile

    from holdfast.trust.metadata import S

MANIFEST = "manifest.json"  # the only target: it binds everything else on the medium


@dataclass(frozen=True)
class TrustState:
    """What is believed between two imports.

    Args:
        root: Bytes of the newest trusted root.
        timestamp: Bytes of the newest trusted timestamp, or None before the first import.
        snapshot: Bytes of the newest trusted snapshot, or None.
        floor: The time floor, or None.
    """

    root: bytes
    timestamp: bytes | None = None
    snapshot: bytes | None = None
    floor: datetime | None = None


class _Step(IntEnum):
    ROOT = 0
    TIMESTAMP = 1
    SNAPSHOT = 2
    TARGETS = 3


class Workflow:
    """One pass over the metadata of one medium.

    Args:
        state: What was believed before.
        clock: What the host's clock says, with a time zone.

    Raises:
        UntrustedBundle: If the stored root does not vouch for itself.
    """

    def __init__(self, state: TrustState, clock: datetime) -> None:
        self._before = state
        self._now = time_floor.now(clock, state.floor)
        self._step = _Step.ROOT
        self._root_bytes = state.root
        self._root = metadata.parse(Root, state.root)
        self._policy = policy.of_root(self._root.signed)
        # Holders who left have signed the root that replaced them; only the roots before it can judge those signatures.
        left = set(self._root.signatures) if self.root.version > 1 else set()
        self._holders = self._signed_by(self._root, Root.type, known=left)
        self._timestamp: Timestamp
        self._timestamp_bytes = b""
        self._snapshot: Snapshot
        self._snapshot_bytes = b""
        self._targets: Targets

    @property
    def root(self) -> Root:
        """The newest root so far."""
        return self._root.signed

    @property
    def root_bytes(self) -> bytes:
        """The newest root so far, as received."""
        return self._root_bytes

    @property
    def holders(self) -> tuple[str, ...]:
        """Who signed the targets (before them, the last file loaded)."""
        return self._holders

    @property
    def expires(self) -> datetime:
        """The earliest expiry of timestamp, snapshot and targets."""
        return min(part.expires for part in (self._timestamp, self._snapshot, self._targets))

    def update_root(self, data: bytes) -> None:
        """Load the next root.

        Args:
            data: Bytes of the root whose version is one above the present one.

        Raises:
            UntrustedBundle: If it is not vouched for by both, or is not the next.
        """
        self._expect(_Step.ROOT, _Step.ROOT)
        new = metadata.parse(Root, data)
        if new.signed.version != self.root.version + 1:
            raise refuse(
                "root-version",
                f"Root version {new.signed.version} follows version {self.root.version}; each must be the next.",
                found=new.signed.version,
                expected=self.root.version + 1,
            )
        new_policy = policy.of_root(new.signed)
        known = {*self.root.roles[Root.type].keyids, *new.signed.roles[Root.type].keyids}
        self._signed_by(new, Root.type, known=known)
        self._root, self._policy, self._root_bytes = new, new_policy, data
        self._holders = self._signed_by(new, Root.type, known=known)

    def update_timestamp(self, data: bytes) -> None:
        """Load the timestamp; no root can follow.

        Args:
            data: Its bytes.

        Raises:
            UntrustedBundle: If it is not vouched for, expired, or older than what was trusted.
        """
        self._expect(_Step.ROOT, _Step.TIMESTAMP)
        self._fresh(self.root, Root.type)
        new = self._load(Timestamp, data)
        old = self._trusted(Timestamp, self._before.timestamp)
        if old is not None:
            _not_older(Timestamp.type, new.version, old.version)
            _not_older(Snapshot.type, new.snapshot_meta.version, old.snapshot_meta.version)
            if new.version == old.version and new != old:
                raise _two_faces(Timestamp.type, new.version)
        self._fresh(new, Timestamp.type)
        self._timestamp, self._timestamp_bytes = new, data

    def update_snapshot(self, data: bytes) -> None:
        """Load the snapshot that the timestamp names.

        Args:
            data: Its bytes.

        Raises:
            UntrustedBundle: If it is another one, not vouched for, expired, or older than what was trusted.
        """
        self._expect(_Step.TIMESTAMP, _Step.SNAPSHOT)
        named = self._timestamp.snapshot_meta
        _same(Snapshot.type, named, data)
        new = self._load(Snapshot, data)
        if new.version != named.version:
            raise _mixed(Snapshot.type)
        if set(new.meta) != {"targets.json"}:
            raise refuse("delegation", "The snapshot names other metadata than targets.", role=Snapshot.type)
        old = self._trusted(Snapshot, self._before.snapshot)
        if old is not None:
            for name, info in old.meta.items():
                if name in new.meta:
                    _not_older(name.removesuffix(".json"), new.meta[name].version, info.version)
            if new.version == old.version and new != old:
                raise _two_faces(Snapshot.type, new.version)
        self._fresh(new, Snapshot.type)
        self._snapshot, self._snapshot_bytes = new, data

    def update_targets(self, data: bytes) -> TargetFile:
        """Load the targets that the snapshot names.

        Args:
            data: Their bytes.

        Returns:
            What vouches for the manifest: its length and hashes.

        Raises:
            UntrustedBundle: If they are other ones, not vouched for, expired, or list something else than the manifest.
        """
        self._expect(_Step.SNAPSHOT, _Step.TARGETS)
        named = self._snapshot.meta["targets.json"]
        _same(Targets.type, named, data)
        new = self._load(Targets, data)
        if new.version != named.version:
            raise _mixed(Targets.type)
        self._fresh(new, Targets.type)
        if new.delegations is not None:
            raise refuse("delegation", "The targets delegate to other publishers.", role=Targets.type)
        if set(new.targets) != {MANIFEST} or "sha512" not in new.targets[MANIFEST].hashes:
            raise refuse(
                "targets", f"The targets do not list exactly {MANIFEST} with a SHA-512.", role=Targets.type
            )
        self._targets = new
        return new.targets[MANIFEST]

    def state(self, floor: datetime | None) -> TrustState:
        """Give what is to be believed from now on, once the medium is imported.

        Args:
            floor: The time floor after this medium.

        Returns:
            The new state.
        """
        self._expect(_Step.TARGETS, _Step.TARGETS)
        return TrustState(self._root_bytes, self._timestamp_bytes, self._snapshot_bytes, floor)

    def _expect(self, here: _Step, following: _Step) -> None:
        if self._step is not here:
            raise RuntimeError(f"The workflow is at {self._step.name}, not at {here.name}.")
        self._step = following

    def _load(self, kind: type[S], data: bytes) -> S:
        found = metadata.parse(kind, data)
        self._holders = self._signed_by(found, kind.type)
        return found.signed

    def _trusted(self, kind: type[S], data: bytes | None) -> S | None:
        """Re-verify what was trusted before against the present root; None if its keys were rotated away."""
        if data is None:
            return None
        found = metadata.parse(kind, data)
        try:
            self._signed_by(found, kind.type)
        except UntrustedBundle:
            return None
        return found.signed

    def _signed_by(self, found: Metadata[S], role: str, *, known: set[str] | None = None) -> tuple[str, ...]:
        """Judge every signature, then the threshold, then the policy; give the holders."""
        keyids = set(self.root.roles[role].keyids)
        valid = set()
        for keyid, signature in found.signatures.items():
            if keyid in keyids:
                try:
                    self.root.keys[keyid].verify_signature(signature, found.signed_bytes)
                except (UnverifiedSignatureError, VerificationError) as problem:
                    raise refuse(
                        "signature", f"A signature of the {role} metadata is wrong.", role=role
                    ) from problem
                if signature.signature != signature.signature.lower():
                    raise refuse(
                        "signature", f"A signature of the {role} metadata is not canonical.", role=role
                    )
                valid.add(keyid)
            elif keyid not in (known or ()):
                raise refuse(
                    "unknown-key",
                    f"The {role} metadata is signed by a key that root does not know.",
                    role=role,
                )
        needed = self.root.roles[role].threshold
        if len(valid) < needed:
            raise refuse(
                "threshold",
                f"The {role} metadata has {len(valid)} valid signatures; {needed} are needed.",
                role=role,
                found=len(valid),
                needed=needed,
            )
        return policy.judge(self._policy, self.root, role, valid)

    def _fresh(self, signed: Root | Timestamp | Snapshot | Targets, role: str) -> None:
        if signed.is_expired(self._now):
            raise refuse(
                "expired",
                f"The {role} metadata expired on {signed.expires:%Y-%m-%d} and today is {self._now:%Y-%m-%d}.",
                role=role,
                expires=signed.expires.isoformat(),
                now=self._now.isoformat(),
            )


def _same(role: str, named: MetaFile, data: bytes) -> None:
    if named.length is None or not named.hashes or "sha512" not in named.hashes:
        raise refuse("form", f"The {role} metadata is named without its length and SHA-512.", role=role)
    try:
        named.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as problem:
        raise _mixed(role) from problem


def _mixed(role: str) -> UntrustedBundle:
    return refuse(
        "mix", f"The {role} metadata is not the one that the medium's other metadata names.", role=role
    )


def _two_faces(role: str, version: int) -> UntrustedBundle:
    return refuse(
        "two-faces", f"A different {role} metadata of version {version} was seen before.", role=role
    )


def _not_older(role: str, new: int, old: int) -> None:
    if new < old:
        raise refuse(
            "rollback",
            f"The {role} metadata has version {new}, and version {old} was imported before: the medium is older.",
            role=role,
            found=new,
            trusted=old,
        )
