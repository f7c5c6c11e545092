"""The TUF client workflow as a state machine: bytes in, verdict out, the clock injected.

Order of operations: ``Workflow(state, clock)`` re-verifies the root that was trusted before; then ``update_root`` for each
newer root in turn, ``update_timestamp``, ``update_snapshot``, ``update_targets``, each once and in that order; then ``find`` as
often as wanted. Every step either raises ``UntrustedBundle`` or advances. What a repository must obey beyond the framework's own
rules is its ``Profile``; the steps are the same for all.

Invariants
 * a root is loaded only if the root before it *and* it itself vouch for it, at threshold and by policy, and its version is
   the next one; expiry is judged on the last root alone;
 * timestamp, snapshot and targets are verified against that last root, a delegated role against the delegator through which
   this search came to it, also when the same file was verified before through another;
 * what was trusted before is first re-verified against the present delegator; if its keys were rotated away it no longer
   counts (recovery from a fast-forward attack), else no version may go down (rollback), the same version must say the
   same (two faces), and no role may be dropped from the snapshot, not even when its delegation ends;
 * snapshot is exactly what timestamp names, targets and delegated roles exactly what snapshot names (mix and match); nothing is
   expired (freeze) unless the medium is waived; a key counts once, under however many ids it is listed.

Source: The Update Framework specification 1.0, section 5 (detailed client workflow).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from holdfast import hashing
from holdfast.errors import UntrustedBundle
from holdfast.trust import floor as time_floor
from holdfast.trust import signatures
from holdfast.trust.delegation import MAX_DELEGATED_ROLES, Delegator, Found
from holdfast.trust.metadata import mixed, not_next, refuse
from holdfast.trust.profile import HOLDFAST

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from tuf.api.metadata import Metadata, MetaFile, TargetFile

    from holdfast.trust.delegation import Link
    from holdfast.trust.metadata import S
    from holdfast.trust.profile import Profile, Rule


@dataclass(frozen=True)
class TrustState:
    """What is believed between two imports.

    Args:
        root: Bytes of the newest trusted root.
        timestamp: Bytes of the newest trusted timestamp, or None before the first import.
        snapshot: Bytes of the newest trusted snapshot, or None.
        floor: The time floor, or None.
        revocations: Bytes of the newest admitted revocation list, or None; ``trust.revocation`` judges them.
        targets: Bytes of the newest trusted targets, where a client keeps them to fetch less.
        delegated: Bytes of the newest delegated roles by name, likewise.
    """

    root: bytes
    timestamp: bytes | None = None
    snapshot: bytes | None = None
    floor: datetime | None = None
    revocations: bytes | None = None
    targets: bytes | None = None
    delegated: Mapping[str, bytes] = field(default_factory=dict)


class _Step(IntEnum):
    ROOT = 0
    TIMESTAMP = 1
    SNAPSHOT = 2
    TARGETS = 3


class Workflow:
    """One pass over the metadata of one repository.

    Args:
        state: What was believed before.
        clock: What the host's clock says, with a time zone.
        profile: What the repository must obey beyond the framework.
        waived: Digests of timestamp files whose repository may be expired: two administrators granted it.

    Raises:
        UntrustedBundle: If the stored root does not vouch for itself.
    """

    def __init__(
        self,
        state: TrustState,
        clock: datetime,
        *,
        profile: Profile = HOLDFAST,
        waived: Collection[str] = frozenset(),
    ) -> None:
        self._before = state
        self._now = time_floor.now(clock, state.floor)
        self._profile = profile
        self._waived = waived
        self._medium = ""
        self._step = _Step.ROOT
        self._accepted = {Root.type: state.root}
        root = profile.parse(Root, state.root, Root.type)
        self._root = root.signed
        self._vouching = Delegator.of_root(self._root)
        self._rule = profile.rule(self._vouching)
        # Holders who left have signed the root that replaced them; only the roots before it can judge those signatures.
        left = set(root.signatures) if self._root.version > 1 else set()
        self._holders = self._signed_by(self._vouching, self._rule, Root.type, root, also=left)
        profile.content(self._root, Root.type)
        self._timestamp: Timestamp
        self._snapshot: Snapshot
        self._targets: Targets
        self._chain: tuple[Targets, ...] = ()

    @property
    def root(self) -> Root:
        """The newest root so far."""
        return self._root

    @property
    def root_bytes(self) -> bytes:
        """The newest root so far, as received."""
        return self._accepted[Root.type]

    @property
    def holders(self) -> tuple[str, ...]:
        """Who signed the targets (before them, the last file loaded)."""
        return self._holders

    @property
    def expires(self) -> datetime:
        """The earliest expiry of timestamp, snapshot, targets and the delegated roles of the last successful search."""
        return min(part.expires for part in (self._timestamp, self._snapshot, self._targets, *self._chain))

    @property
    def accepted(self) -> Mapping[str, bytes]:
        """Bytes of the files accepted so far in this pass, by role."""
        return self._accepted

    def named(self, role: str) -> MetaFile:
        """Tell how the metadata names a file, as far as it is loaded.

        Args:
            role: ``snapshot``, ``targets`` or a delegated role.

        Returns:
            Its version and what else is known of it.

        Raises:
            UntrustedBundle: If the snapshot does not name the role.
        """
        if role == Snapshot.type:
            return self._timestamp.snapshot_meta
        info = self._snapshot.meta.get(f"{role}.json")
        if info is None:
            raise refuse("unnamed", f"The snapshot metadata does not name the role {role!r}.", role=role)
        return info

    def update_root(self, data: bytes) -> None:
        """Load the next root.

        Args:
            data: Bytes of the root whose version is one above the present one.

        Raises:
            UntrustedBundle: If it is not vouched for by both, or is not the next.
        """
        self._expect(_Step.ROOT)
        new = self._profile.parse(Root, data, Root.type)
        if new.signed.version != self._root.version + 1:
            raise not_next(new.signed.version, self._root.version)
        vouching = Delegator.of_root(new.signed)
        rule = self._profile.rule(vouching)
        both = {*self._root.roles[Root.type].keyids, *new.signed.roles[Root.type].keyids}
        self._signed_by(self._vouching, self._rule, Root.type, new, also=both)
        holders = self._signed_by(vouching, rule, Root.type, new, also=both)
        self._profile.content(new.signed, Root.type)
        self._root, self._vouching, self._rule, self._holders = new.signed, vouching, rule, holders
        self._accepted[Root.type] = data

    def update_timestamp(self, data: bytes) -> None:
        """Load the timestamp; no root can follow.

        Where the profile lets a repository show another timestamp of the version seen before, that one is discarded and
        the trusted one is used.

        Args:
            data: Its bytes.

        Raises:
            UntrustedBundle: If it is not vouched for, expired, or older than what was trusted.
        """
        self._expect(_Step.ROOT)
        self._medium = hashing.sha512(data)
        self._fresh(self._root, Root.type)
        new, holders = self._load(Timestamp, data)
        old = self._trusted(Timestamp, self._before.timestamp)
        if old is not None:
            _not_older(Timestamp.type, new.version, old.version)
            if new.version == old.version and new != old:
                self._profile.again(Timestamp.type, new.version)
                new, data = old, self._before.timestamp or b""
            _not_older(Snapshot.type, new.snapshot_meta.version, old.snapshot_meta.version)
        self._fresh(new, Timestamp.type)
        self._timestamp, self._holders = new, holders
        self._advance(_Step.TIMESTAMP, Timestamp.type, data)

    def update_snapshot(self, data: bytes) -> None:
        """Load the snapshot that the timestamp names.

        Args:
            data: Its bytes.

        Raises:
            UntrustedBundle: If it is another one, not vouched for, expired, or older than what was trusted.
        """
        self._expect(_Step.TIMESTAMP)
        new, holders = self._load(Snapshot, data)
        if f"{Targets.type}.json" not in new.meta:
            raise refuse("form", "The snapshot metadata does not name the targets.", role=Snapshot.type)
        old = self._trusted(Snapshot, self._before.snapshot)
        if old is not None:
            for name, info in old.meta.items():
                self._not_less(name.removesuffix(".json"), info, new.meta.get(name))
            if new.version == old.version and new != old:
                self._profile.again(Snapshot.type, new.version)
        self._fresh(new, Snapshot.type)
        self._snapshot, self._holders = new, holders
        self._advance(_Step.SNAPSHOT, Snapshot.type, data)

    def update_targets(self, data: bytes) -> None:
        """Load the targets that the snapshot names.

        Args:
            data: Their bytes.

        Raises:
            UntrustedBundle: If they are other ones, not vouched for, expired, or delegate what may not be delegated.
        """
        self._expect(_Step.SNAPSHOT)
        new, holders = self._load(Targets, data)
        self._fresh(new, Targets.type)
        below = Delegator.of_targets(Targets.type, new)
        if below is not None:
            self._profile.rule(below)
        self._targets, self._holders = new, holders
        self._advance(_Step.TARGETS, Targets.type, data)

    def reuse(self, role: str) -> bool:
        """Take the snapshot or the targets that were trusted before, if they would pass as they are.

        Args:
            role: ``snapshot`` or ``targets``: the next to be loaded.

        Returns:
            True if the step is done; False if the file must be fetched.
        """
        kept, step = (
            (self._before.snapshot, self.update_snapshot)
            if role == Snapshot.type
            else (self._before.targets, self.update_targets)
        )
        if kept is None:
            return False
        try:
            step(kept)
        except UntrustedBundle:
            return False
        return True

    def target(self, path: str) -> TargetFile | None:
        """Look a file up in the top-level targets alone.

        Args:
            path: Its target path.

        Returns:
            What vouches for it, or None if they do not list it.
        """
        self._expect(_Step.TARGETS)
        return self._targets.targets.get(path)

    def find(self, path: str, fetch: Callable[[str], bytes]) -> Found:
        """Search the targets and what they delegate for a file, in pre-order and depth first.

        Args:
            path: Its target path.
            fetch: Gives the bytes of a delegated role's metadata by the role's name; asked only for what is not already held.

        Returns:
            Who vouches for it, and what they say.

        Raises:
            UntrustedBundle: If nobody vouches for it, a role on the way is refused, or the search is too long.
        """
        self._expect(_Step.TARGETS)
        self._chain = ()
        try:
            path.encode()
        except UnicodeEncodeError:
            raise refuse(
                "not-vouched", f"{path!r} is no text, so nobody vouches for it.", path=repr(path)
            ) from None
        listed = self._targets.targets.get(path)
        if listed is not None:
            return Found(listed, Targets.type, (), self._holders)
        visited: set[str] = set()
        waiting = self._beneath(Targets.type, self._targets, path, (), ())[0]
        while waiting:
            here = waiting.pop()
            name = here.chain[-1].name
            if name in visited:
                continue
            if len(visited) == MAX_DELEGATED_ROLES:
                raise refuse(
                    "delegation-bound",
                    f"The search for {path!r} would visit more than {MAX_DELEGATED_ROLES} delegated roles.",
                    limit=MAX_DELEGATED_ROLES,
                )
            visited.add(name)
            role, holders = self._delegated(here.chain[-1], here.rule, fetch)
            passed = (*here.passed, role)
            if path in role.targets:
                self._chain = passed
                return Found(role.targets[path], name, here.chain, holders)
            further, ends = self._beneath(name, role, path, here.chain, passed)
            waiting = further if ends else waiting + further
        raise refuse("not-vouched", f"No publisher vouches for {path!r}.", path=path)

    def state(self, floor: datetime | None, revocations: bytes | None = None) -> TrustState:
        """Give what is to be believed from now on, once the medium is imported.

        Args:
            floor: The time floor after this medium.
            revocations: The revocation list on the medium; None leaves the one that was believed before.

        Returns:
            The new state.
        """
        self._expect(_Step.TARGETS)
        return TrustState(
            self._accepted[Root.type],
            self._accepted[Timestamp.type],
            self._accepted[Snapshot.type],
            floor,
            self._before.revocations if revocations is None else revocations,
        )

    def _expect(self, here: _Step) -> None:
        if self._step is not here:
            raise RuntimeError(f"The workflow is at {self._step.name}, not at {here.name}.")

    def _advance(self, step: _Step, role: str, data: bytes) -> None:
        self._step = step
        self._accepted[role] = data

    def _load(self, kind: type[S], data: bytes) -> tuple[S, tuple[str, ...]]:
        """Read a top-level file, judge its signatures, its content and whether it is the one named."""
        found = self._profile.parse(kind, data, kind.type)
        if kind is not Timestamp:
            self._is_named(kind.type, data, found)
        holders = self._signed_by(self._vouching, self._rule, kind.type, found)
        self._profile.content(found.signed, kind.type)
        return found.signed, holders

    def _is_named(self, role: str, data: bytes, found: Metadata[S]) -> None:
        info = self.named(role)
        self._profile.named(role, info, data, found)
        if found.signed.version != info.version:
            raise mixed(role)

    def _trusted(self, kind: type[S], data: bytes | None) -> S | None:
        """Re-verify what was trusted before against the present root; None if its keys were rotated away."""
        if data is None:
            return None
        found = self._profile.parse(kind, data, kind.type)
        try:
            self._signed_by(self._vouching, self._rule, kind.type, found)
        except UntrustedBundle:
            return None
        return found.signed

    def _beneath(
        self, name: str, role: Targets, path: str, chain: tuple[Link, ...], passed: tuple[Targets, ...]
    ) -> tuple[list[_Waiting], bool]:
        """Give where to search beneath a role, the first last, and whether the search ends there."""
        below = Delegator.of_targets(name, role)
        if below is None:
            return [], False
        rule = self._profile.rule(below)
        links = list(below.links_for(path))
        ends = bool(links) and links[-1].terminating
        return [_Waiting(rule, (*chain, link), passed) for link in reversed(links)], ends

    def _delegated(
        self, link: Link, rule: Rule, fetch: Callable[[str], bytes]
    ) -> tuple[Targets, tuple[str, ...]]:
        """Take a delegated role's file that is held already, if the present delegator vouches for it, else fetch it."""
        held = self._accepted.get(link.name) or self._before.delegated.get(link.name)
        if held is not None:
            try:
                return self._delegated_bytes(link, rule, held)
            except UntrustedBundle:
                pass  # it was verified through another delegator, or is no longer the one that the snapshot names
        return self._delegated_bytes(link, rule, fetch(link.name))

    def _delegated_bytes(self, link: Link, rule: Rule, data: bytes) -> tuple[Targets, tuple[str, ...]]:
        found = self._profile.parse(Targets, data, link.name)
        self._is_named(link.name, data, found)
        holders = self._signed_by(link.delegator, rule, link.name, found)
        self._profile.content(found.signed, link.name)
        self._fresh(found.signed, link.name)
        self._accepted[link.name] = data
        return found.signed, holders

    def _signed_by(
        self, delegator: Delegator, rule: Rule, name: str, found: Metadata[S], *, also: Collection[str] = ()
    ) -> tuple[str, ...]:
        return signatures.judge(self._profile, delegator, rule, name, found, also=also)

    def _not_less(self, role: str, old: MetaFile, new: MetaFile | None) -> None:
        """Judge how the snapshot names a role against how the trusted one named it."""
        if new is None:
            raise refuse(
                "dropped",
                f"The snapshot metadata no longer names the role {role!r}, which was seen before.",
                role=role,
            )
        _not_older(role, new.version, old.version)
        if new.version == old.version and new != old:
            self._profile.again(role, new.version)

    def _fresh(self, signed: Root | Timestamp | Snapshot | Targets, role: str) -> None:
        if signed.is_expired(self._now) and self._medium not in self._waived:
            raise UntrustedBundle(
                "trust.expired",
                f"The {role} metadata expired on {signed.expires:%Y-%m-%d} and today is {self._now:%Y-%m-%d}.",
                remedy="Ask the publisher for a new medium; if that can't be, two administrators may grant an exception:"
                f" `holdfast exception ask expired {self._medium}`.",
                role=role,
                expires=signed.expires.isoformat(),
                now=self._now.isoformat(),
                medium=self._medium,
            )


@dataclass(frozen=True)
class _Waiting:
    """A role that a search has yet to visit.

    Args:
        rule: What its delegator demands.
        chain: The delegations that lead to it.
        passed: The delegated roles on the way.
    """

    rule: Rule
    chain: tuple[Link, ...]
    passed: tuple[Targets, ...]


def _not_older(role: str, new: int, old: int) -> None:
    if new < old:
        raise refuse(
            "rollback",
            f"The {role} metadata has version {new}, and version {old} was seen before: the medium is older.",
            role=role,
            found=new,
            trusted=old,
        )
