"""Root drafts: who holds which role, from public keys alone.

A draft is unsigned; its holders sign it in turn, each on their own machine. Invariants: no secret key is needed to make one; a
next root differs from the one before in what was asked for, its version and its end, and in nothing else; no role is
left with fewer holders than must sign for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Role, Root, Snapshot, Targets, Timestamp

from holdfast.errors import Conflict, UsageRefused
from holdfast.trust import holders, metadata, policy, signing, standing
from holdfast.trust.delegation import POLICY, Delegator
from holdfast.trust.profile import HOLDFAST

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from securesystemslib.signer import Key

    from holdfast.keys.person import PublicKeys

ROLES = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
_NOBODY: Mapping[str, Collection[str]] = MappingProxyType({})
_NO_KEYS: Mapping[str, PublicKeys] = MappingProxyType({})


@dataclass(frozen=True)
class _Plan:
    """What a root is to list.

    Args:
        keys: Each holder's keys, by the holder's name.
        roles: The holders of each role, in order.
        thresholds: How many keys must sign, by role.
        least: How many different people must sign, for every role.
    """

    keys: dict[str, tuple[Key, ...]]
    roles: dict[str, tuple[str, ...]]
    thresholds: dict[str, int]
    least: int


def draft_root(
    people: Sequence[PublicKeys],
    *,
    expires: datetime,
    threshold: int = policy.MIN_THRESHOLD,
    min_holders: int = policy.MIN_HOLDERS,
    roles: Mapping[str, Collection[str]] = _NOBODY,
) -> bytes:
    """Draft a root of version 1.

    Args:
        people: Public keys of the holders.
        expires: When the root ends, UTC to the second.
        threshold: How many keys must sign, for every role; every holder has two.
        min_holders: How many different holders must sign, for every role.
        roles: Names of the holders of a role; all of them hold a role that is not named here.

    Returns:
        The unsigned root metadata.

    Raises:
        UsageRefused: If a role would have too few holders or keys, or a name is unknown.
    """
    holders.require_distinct(people)
    names = tuple(one.holder for one in people)
    for role, held in roles.items():
        _require_role(role)
        for name in held:
            _require_holder(name, names)
    plan = _Plan(
        {one.holder: holders.keys_of(one) for one in people},
        {role: tuple(name for name in names if name in roles.get(role, names)) for role in ROLES},
        dict.fromkeys(ROLES, threshold),
        min_holders,
    )
    return _write(plan, 1, expires)


def next_root(
    previous: bytes,
    *,
    expires: datetime,
    add: Sequence[PublicKeys] = (),
    roles: Collection[str] = (),
    replace_keys: Mapping[str, PublicKeys] = _NO_KEYS,
    remove: Collection[str] = (),
    threshold: int | None = None,
    min_holders: int | None = None,
) -> bytes:
    """Draft the root that follows another.

    Args:
        previous: Bytes of the root before it, signed by enough of its holders.
        expires: When the new root ends, UTC to the second.
        add: Public keys of people who join; somebody who is a holder already, with the same keys, gets further roles.
        roles: The roles that those who join hold; all four if none is named.
        replace_keys: The keys that replace a holder's, by the holder's name; with another name on them, that person takes over.
        remove: Names of the holders who leave.
        threshold: How many keys must sign, for every role; as before if None.
        min_holders: How many different holders must sign; as before if None.

    Returns:
        The unsigned root metadata of the next version.

    Raises:
        UsageRefused: If a name is unknown or taken, a key is not new, or a role would have too few holders or keys.
        Conflict: If the root before is not yet signed by enough of its holders.
        UntrustedBundle: If the root before is malformed.
    """
    before = metadata.parse(Root, previous).signed
    own = standing.of_root(previous, None)
    if not own.complete:
        raise Conflict(
            "trust.root-unfinished",
            f"Root version {before.version} is itself not signed by enough of its holders.",
            remedy=f"Have it signed first with `holdfast trust sign`; {', '.join(own.waiting)} can.",
        )
    plan = _plan_of(before)
    for name in remove:
        plan = _without(plan, name)
    for name, keys in replace_keys.items():
        plan = _replaced(plan, name, keys)
    for keys in add:
        plan = _joined(plan, keys, roles)
    if threshold is not None:
        plan = replace(plan, thresholds=dict.fromkeys(ROLES, threshold))
    if min_holders is not None:
        plan = replace(plan, least=min_holders)
    return _write(plan, before.version + 1, expires)


def changes(data: bytes, previous: bytes | None) -> tuple[str, ...]:
    """Tell in plain words what a root changes.

    Args:
        data: Bytes of the root or of its draft.
        previous: Bytes of the root before it, or None for the first.

    Returns:
        Sentences, found by comparing the two files.

    Raises:
        UntrustedBundle: If either is malformed.
    """
    new = metadata.parse(Root, data).signed
    plan = _plan_of(new)
    if previous is None:
        return tuple(
            f"{role}: {', '.join(names)}; {plan.least} of them, with {plan.thresholds[role]} keys or more, must sign"
            for role, names in plan.roles.items()
        )
    old = metadata.parse(Root, previous).signed
    before = _plan_of(old)
    said = [f"{name} joins, for {_roles_of(plan, name)}" for name in plan.keys if name not in before.keys]
    said += [f"{name} leaves" for name in before.keys if name not in plan.keys]
    for name in plan.keys.keys() & before.keys.keys():
        if {key.keyid for key in plan.keys[name]} != {key.keyid for key in before.keys[name]}:
            said.append(f"{name} has new keys")
        if _roles_of(plan, name) != _roles_of(before, name):
            said.append(f"{name} holds {_roles_of(plan, name)} instead of {_roles_of(before, name)}")
    said += [
        f"the threshold of {role} is {plan.thresholds[role]} instead of {before.thresholds[role]}"
        for role in ROLES
        if plan.thresholds[role] != before.thresholds[role]
    ]
    if plan.least != before.least:
        said.append(f"{plan.least} different holders must sign instead of {before.least}")
    if new.expires.date() != old.expires.date():
        said.append(f"it ends on {new.expires:%Y-%m-%d} instead of {old.expires:%Y-%m-%d}")
    return tuple(said)


def _plan_of(root: Root) -> _Plan:
    delegator = Delegator.of_root(root)
    HOLDFAST.rule(delegator)
    rule = policy.of(delegator)
    return _Plan(
        {name: tuple(root.keys[keyid] for keyid in keyids) for name, keyids in rule.holders.items()},
        {role: tuple(holders.listed(delegator, role)) for role in ROLES},
        {role: root.roles[role].threshold for role in ROLES},
        rule.min_holders,
    )


def _without(plan: _Plan, name: str) -> _Plan:
    _require_holder(name, plan.keys)
    return replace(
        plan,
        keys={one: keys for one, keys in plan.keys.items() if one != name},
        roles={role: tuple(one for one in held if one != name) for role, held in plan.roles.items()},
    )


def _replaced(plan: _Plan, name: str, keys: PublicKeys) -> _Plan:
    _require_holder(name, plan.keys)
    if keys.holder != name and keys.holder in plan.keys:
        raise _usage(
            "taken",
            f"{keys.holder} is a holder already, with other keys.",
            f"Let {name} leave with `holdfast trust revoke holder` instead.",
        )
    _require_new(plan, keys)
    return replace(
        plan,
        keys=dict(
            (keys.holder, holders.keys_of(keys)) if one == name else (one, group)
            for one, group in plan.keys.items()
        ),
        roles={
            role: tuple(keys.holder if one == name else one for one in held)
            for role, held in plan.roles.items()
        },
    )


def _joined(plan: _Plan, keys: PublicKeys, roles: Collection[str]) -> _Plan:
    for role in roles:
        _require_role(role)
    group = holders.keys_of(keys)
    present = plan.keys.get(keys.holder)
    if present is None:
        _require_new(plan, keys)
    elif {key.keyid for key in present} != {key.keyid for key in group}:
        raise _usage(
            "taken",
            f"{keys.holder} is a holder already, with other keys.",
            "Use `holdfast trust rotate` to replace a holder's keys.",
        )
    elif not set(roles or ROLES) - {role for role, held in plan.roles.items() if keys.holder in held}:
        raise _usage(
            "present", f"{keys.holder} holds these roles already.", "Name a role that is to be added."
        )
    wanted = roles or ROLES
    return replace(
        plan,
        keys={**plan.keys, keys.holder: group},
        roles={
            role: (*held, keys.holder) if role in wanted and keys.holder not in held else held
            for role, held in plan.roles.items()
        },
    )


def _write(plan: _Plan, version: int, expires: datetime) -> bytes:
    for role in ROLES:
        holders.require_quorum(plan.roles[role], plan.thresholds[role], plan.least, f"the role {role}")
    if len(plan.keys) > policy.MAX_HOLDERS:
        raise holders.refuse(f"There are {len(plan.keys)} holders; {policy.MAX_HOLDERS} are allowed.")
    keys = {name: plan.keys[name] for name in plan.keys if any(name in held for held in plan.roles.values())}
    rule = policy.Policy(
        {name: tuple(key.keyid for key in group) for name, group in keys.items()}, plan.least
    )
    root = Root(
        version=version,
        expires=expires,
        keys={key.keyid: key for group in keys.values() for key in group},
        roles={
            role: Role([key.keyid for name in held for key in keys[name]], plan.thresholds[role])
            for role, held in plan.roles.items()
        },
        consistent_snapshot=False,
        unrecognized_fields={POLICY: rule.to_json()},
    )
    return signing.write(Metadata(root))


def _roles_of(plan: _Plan, name: str) -> str:
    return ", ".join(role for role, held in plan.roles.items() if name in held)


def _require_role(role: str) -> None:
    if role not in ROLES:
        raise _usage("role", f"{role[:40]!r} is not a role of root.", f"The roles are {', '.join(ROLES)}.")


def _require_holder(name: str, names: Collection[str]) -> None:
    if name not in names:
        raise _usage(
            "holder", f"{name[:40]!r} is not one of the holders {', '.join(names)}.", "Name one of them."
        )


def _require_new(plan: _Plan, keys: PublicKeys) -> None:
    fresh = {key.keyid for key in holders.keys_of(keys)}
    for name, group in plan.keys.items():
        if fresh & {key.keyid for key in group}:
            raise _usage(
                "key-known",
                f"A key of {keys.holder} is one of {name}'s present keys.",
                "Make new keys with `holdfast keys new`.",
            )


def _usage(key: str, message: str, remedy: str) -> UsageRefused:
    return UsageRefused(f"trust.ceremony-{key}", message, remedy=remedy)
