"""Putting delegations into targets metadata, replacing them, ending them.

Invariants: what one role was given changes nothing of what another has; one policy stands over all delegations of a file, so that a
holder is one person with one pair of keys in all of them; the order of the delegations, in which a site searches, stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuf.api.metadata import DelegatedRole, Delegations, Targets

from holdfast.errors import UsageRefused
from holdfast.trust import holders, policy
from holdfast.trust.delegation import POLICY, Delegator
from holdfast.trust.profile import HOLDFAST

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from securesystemslib.signer import Key

    from holdfast.trust.publisher import Delegation


def changed(
    present: Delegations | None, delegate: Sequence[Delegation], undelegate: Collection[str]
) -> Delegations | None:
    """Give the delegations of the next targets.

    Args:
        present: The delegations so far, or None.
        delegate: What is given; one with the name of an earlier delegation replaces it in its place.
        undelegate: Names of the delegations that end.

    Returns:
        The delegations, or None if nothing is delegated.

    Raises:
        UsageRefused: If a name is unknown or given twice, or a delegation contradicts another.
        UntrustedBundle: If the delegations so far are malformed.
    """
    before = dict(present.roles or {}) if present else {}
    given = {one.role: one for one in delegate}
    for name in undelegate:
        if name not in before or name in given:
            raise _usage("unknown", f"{name[:40]!r} is not delegated to, or is both given and ended.")
    if len(given) < len(delegate):
        raise _usage("twice", "Two of the delegations are for the same role.")
    kept = {name: role for name, role in before.items() if name not in undelegate and name not in given}
    book = _Book()
    if present is not None and kept:
        book.keep(present, kept)
    for one in delegate:
        book.add(one)
    roles = {
        name: _role(given[name]) if name in given else kept[name]
        for name in (*before, *(name for name in given if name not in before))
        if name in given or name in kept
    }
    if not roles:
        return None
    made = Delegations(book.keys, roles, None, {POLICY: book.rule().to_json()})
    _check(made)
    return made


class _Book:
    """The holders of all delegations of one file."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self._held: dict[str, tuple[str, ...]] = {}
        self._least: int | None = None

    def keep(self, present: Delegations, kept: Collection[str]) -> None:
        delegator = Delegator.of_targets(Targets.type, Targets(delegations=present))
        if delegator is None:
            return
        for role in kept:
            for name, keyids in holders.listed(delegator, role).items():
                self._hold(name, {keyid: present.keys[keyid] for keyid in keyids}, role)
        self._agree(policy.of(delegator).min_holders, "the delegations so far")

    def add(self, one: Delegation) -> None:
        for holder in one.holders:
            self._hold(holder.holder, {key.keyid: key for key in holders.keys_of(holder)}, one.role)
        self._agree(one.min_holders, one.role)

    def rule(self) -> policy.Policy:
        return policy.Policy(self._held, self._least or policy.MIN_HOLDERS)

    def _hold(self, name: str, keys: dict[str, Key], role: str) -> None:
        others = {keyid for other, keyids in self._held.items() if other != name for keyid in keyids}
        if set(self._held.get(name, keys)) != set(keys) or others & set(keys):
            raise _usage(
                "holder",
                f"{name} stands in {role} with other keys, or another name, than in another delegation.",
            )
        self._held[name] = tuple(keys)
        self.keys |= keys

    def _agree(self, least: int, where: str) -> None:
        if self._least not in (None, least):
            raise _usage(
                "min-holders",
                f"{where} needs {least} different holders and another delegation {self._least}; one number stands for all.",
            )
        self._least = least


def _role(one: Delegation) -> DelegatedRole:
    keyids = [key.keyid for holder in one.holders for key in holders.keys_of(holder)]
    return DelegatedRole(one.role, keyids, one.threshold, one.terminating, list(one.paths))


def _check(made: Delegations) -> None:
    delegator = Delegator.of_targets(Targets.type, Targets(delegations=made))
    if delegator is not None:
        HOLDFAST.rule(delegator)


def _usage(key: str, message: str) -> UsageRefused:
    return UsageRefused(
        f"trust.delegate-{key}",
        message,
        remedy="Make the delegations again with `holdfast trust delegate`; `holdfast trust show MEDIUM` tells the present ones.",
    )
