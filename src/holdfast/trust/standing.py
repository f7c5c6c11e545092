"""Who has signed a metadata file, and who is still needed.

The workflow judges whether a file may be believed; this tells the people who sign in turn how far they are. Invariants: a
signature that is wrong, or by a key that is not listed, is refused as the site will refuse it; ``complete`` is said only of a
file that reaches every threshold and satisfies the signing policy. Nothing here judges expiry or versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from holdfast.errors import UntrustedBundle
from holdfast.trust import holders, metadata, signing
from holdfast.trust.delegation import Delegator
from holdfast.trust.profile import HOLDFAST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from holdfast.trust.profile import Rule
    from holdfast.trust.signing import AnyMetadata


@dataclass(frozen=True)
class Quorum:
    """How far the holders of one delegator's list are.

    Args:
        by: Who lists them, for people: ``root version 1``, ``targets``.
        signed: The holders who signed, sorted.
        waiting: The holders who could still sign, sorted.
        needed: How many of those must sign at least.
    """

    by: str
    signed: tuple[str, ...]
    waiting: tuple[str, ...]
    needed: int


@dataclass(frozen=True)
class Standing:
    """How far the signatures of one file are.

    Args:
        role: The file's role.
        version: Its version.
        expires: When it ends.
        quorums: One for each list of holders that must vouch: the root before and the root itself for a root, else one.
    """

    role: str
    version: int
    expires: datetime
    quorums: tuple[Quorum, ...]

    @property
    def signed(self) -> tuple[str, ...]:
        """The holders who signed, sorted."""
        return tuple(sorted({name for quorum in self.quorums for name in quorum.signed}))

    @property
    def waiting(self) -> tuple[str, ...]:
        """The holders whose signature would still help, sorted; none once it is complete."""
        return tuple(sorted({name for quorum in self.quorums if quorum.needed for name in quorum.waiting}))

    @property
    def needed(self) -> int:
        """How many people must sign at least; one who stands in two lists counts once."""
        if len(self.quorums) == 1:
            return self.quorums[0].needed
        first, second = self.quorums
        shared = len(set(first.waiting) & set(second.waiting))
        return first.needed + second.needed - min(shared, first.needed, second.needed)

    @property
    def complete(self) -> bool:
        """Whether nobody else must sign."""
        return all(quorum.needed == 0 for quorum in self.quorums)


def of_root(data: bytes, previous: bytes | None) -> Standing:
    """Tell who has signed a root.

    Args:
        data: Bytes of the root or of its draft.
        previous: Bytes of the root before it; None for the first, and for one that is judged by itself alone.

    Returns:
        Its standing: with the quorum of the root before, then its own.

    Raises:
        UntrustedBundle: If either is malformed, the versions don't follow, or a signature is wrong.
    """
    found = metadata.parse(Root, data)
    lists = [Delegator.of_root(found.signed)]
    if previous is not None:
        before = metadata.parse(Root, previous).signed
        if found.signed.version != before.version + 1:
            raise metadata.not_next(found.signed.version, before.version)
        lists.insert(0, Delegator.of_root(before))
    # Those who left the holders signed as the root before lists them, which may not be at hand.
    strangers = previous is None and found.signed.version > 1
    return _of(found, Root.type, lists, strangers=strangers)


def of_release(root: bytes, files: Mapping[str, bytes]) -> tuple[Standing, ...]:
    """Tell who has signed the files beneath a root.

    Args:
        root: Bytes of the root.
        files: Bytes of the metadata files, by role.

    Returns:
        The standing of targets, of every delegated role in the order of the delegations, of snapshot and of timestamp, as
        far as they are there.

    Raises:
        UntrustedBundle: If one is malformed, not delegated, or a signature is wrong.
    """
    lists = delegators(root, files)
    for name in files:
        if name not in lists:
            raise metadata.refuse("delegation", f"Nobody delegates to the role {name}.", role=name)
    return tuple(
        _of(signing.read(files[name]), name, [delegator])
        for name, delegator in lists.items()
        if name in files
    )


def delegators(root: bytes, files: Mapping[str, bytes]) -> dict[str, Delegator]:
    """Tell who delegates to each role.

    Args:
        root: Bytes of the root.
        files: Bytes of the metadata files, by role.

    Returns:
        The first delegator of each role in the order of a search: targets, the roles beneath it, snapshot, timestamp.

    Raises:
        UntrustedBundle: If the root or a targets file is malformed.
    """
    top = Delegator.of_root(metadata.parse(Root, root).signed)
    HOLDFAST.rule(top)
    found = {Targets.type: top}
    waiting = [Targets.type]
    while waiting:
        name = waiting.pop(0)
        if name not in files:
            continue
        given = Delegator.of_targets(name, metadata.parse(Targets, files[name]).signed)
        if given is None:
            continue
        HOLDFAST.rule(given)
        for role in given.roles:
            if role not in found:
                found[role] = given
                waiting.append(role)
    return {**found, Snapshot.type: top, Timestamp.type: top}


def _of(found: AnyMetadata, role: str, lists: Sequence[Delegator], *, strangers: bool = False) -> Standing:
    known = {keyid for one in lists for group in holders.listed(one, role).values() for keyid in group}
    unknown = set(found.signatures) - known
    if not strangers:
        HOLDFAST.signatures(role, (), unknown)
    quorums = tuple(_quorum(found, role, delegator) for delegator in lists)
    return Standing(role, found.signed.version, found.signed.expires, quorums)


def _quorum(found: AnyMetadata, role: str, delegator: Delegator) -> Quorum:
    rule = HOLDFAST.rule(delegator)
    people = holders.listed(delegator, role)
    present = [one for group in people.values() for one in group if one in found.signatures]
    wrong = [one for one in present if not signing.is_valid(delegator.keys[one], found, one)]
    HOLDFAST.signatures(role, wrong, ())
    signed = tuple(name for name, group in people.items() if not set(group).isdisjoint(present))
    waiting = {name: set(group) - set(present) for name, group in people.items()}
    waiting = {name: keys for name, keys in waiting.items() if keys}
    by = f"root version {delegator.version}" if delegator.name == Root.type else delegator.name
    return Quorum(by, signed, tuple(waiting), _needed(rule, delegator, role, present, waiting))


def _needed(
    rule: Rule, delegator: Delegator, role: str, present: Sequence[str], waiting: Mapping[str, set[str]]
) -> int:
    """Count the people who must still sign: those who bring the most keys, until all rules are satisfied."""
    listed = delegator.role(role)
    threshold = listed.threshold if listed else 0
    valid = set(present)
    # People who have not signed at all come first: they count as holders, too.
    coming = sorted(waiting.values(), key=len, reverse=True)
    for count, keys in enumerate([set[str](), *coming]):
        valid |= keys
        if len(valid) >= threshold:
            try:
                rule.judge(role, valid)
            except UntrustedBundle:
                continue
            return count
    raise metadata.refuse("threshold", f"The holders of {role} can't reach its threshold.", role=role)
