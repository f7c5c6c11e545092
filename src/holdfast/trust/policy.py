"""The signing policy: what a TUF threshold can't say.

A threshold counts keys, and one person has two of them. So whoever delegates (root, and targets that have delegated publishers)
carries a signed field that tells which keys are whose, and after TUF's own check every role must be signed by at least
``min_holders`` distinct *holders*, with at least one valid ML-DSA-87 signature beside an Ed25519 one. Invariants: every key of
every role belongs to exactly one holder; no threshold and no ``min_holders`` is below two, whatever the delegator says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.artefact import is_name
from holdfast.trust.delegation import Delegator
from holdfast.trust.metadata import SCHEMES, check_key, refuse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from securesystemslib.signer import Key
    from tuf.api.metadata import Root

    from holdfast.canonical import Json
    from holdfast.errors import UntrustedBundle

MIN_HOLDERS = 2  # nobody brings anything in alone
MIN_THRESHOLD = 2
MAX_HOLDERS = 20  # a file signed by more would not fit its bound


@dataclass(frozen=True)
class Policy:
    """The policy of one delegator.

    Args:
        holders: Ids of each holder's keys, by the holder's name.
        min_holders: How many distinct holders must sign.
    """

    holders: dict[str, tuple[str, ...]]
    min_holders: int

    def to_json(self) -> dict[str, Json]:
        """Give the policy as its delegator carries it.

        Returns:
            ``holders``, ``min_holders`` and the required ``algorithms``.
        """
        return {
            "holders": {name: list(keyids) for name, keyids in self.holders.items()},
            "min_holders": self.min_holders,
            "algorithms": list(SCHEMES),
        }


@dataclass(frozen=True)
class Rule:
    """A policy with the keys that it speaks of.

    Args:
        policy: The policy.
        keys: The delegator's keys by id.
    """

    policy: Policy
    keys: Mapping[str, Key]

    def judge(self, role: str, valid: Collection[str]) -> tuple[str, ...]:
        """Apply the policy to one signed file.

        Args:
            role: The role's name.
            valid: Ids of the role's keys whose signatures were found valid.

        Returns:
            The names of the holders who signed, sorted.

        Raises:
            UntrustedBundle: If too few holders signed, or one of the algorithms is missing.
        """
        signers = sorted(name for name, keyids in self.policy.holders.items() if set(keyids) & set(valid))
        if len(signers) < self.policy.min_holders:
            raise refuse(
                "holders",
                f"The {role} metadata is signed by {', '.join(signers) or 'nobody known'} alone;"
                f" {self.policy.min_holders} different holders are needed.",
                role=role,
                holders=signers,
                needed=self.policy.min_holders,
            )
        used = {self.keys[keyid].scheme for keyid in valid}
        missing = [scheme for scheme in SCHEMES if scheme not in used]
        if missing:
            raise refuse(
                "algorithm", f"The {role} metadata has no {missing[0]} signature.", role=role, missing=missing
            )
        return tuple(signers)


def of_root(root: Root) -> Policy:
    """Read the policy from root metadata whose signatures are judged by the caller.

    Args:
        root: The root.

    Returns:
        Its policy.

    Raises:
        UntrustedBundle: As ``of``.
    """
    return of(Delegator.of_root(root))


def of(delegator: Delegator) -> Policy:
    """Read the policy from a file that lists keys and roles and whose signatures are judged by the caller.

    Args:
        delegator: What the file lists.

    Returns:
        Its policy.

    Raises:
        UntrustedBundle: If the field is missing or malformed, a threshold is below two, or a key has no holder or two.
    """
    value = delegator.rule
    if not isinstance(value, dict) or set(value) != {"holders", "min_holders", "algorithms"}:
        raise refuse(
            "policy",
            f"The {delegator.name} metadata, version {delegator.version}, carries no signing policy.",
            role=delegator.name,
            version=delegator.version,
        )
    holders, least = value["holders"], value["min_holders"]
    if not isinstance(holders, dict) or not MIN_HOLDERS <= len(holders) <= MAX_HOLDERS:
        raise _bad(delegator, f"it does not name {MIN_HOLDERS} to {MAX_HOLDERS} holders")
    if type(least) is not int or not MIN_HOLDERS <= least <= len(holders):
        raise _bad(delegator, f"min_holders is not from {MIN_HOLDERS} to the number of holders")
    if value["algorithms"] != list(SCHEMES):
        raise _bad(delegator, f"its algorithms are not {' and '.join(SCHEMES)}")
    held = _held(holders, delegator)
    for key in delegator.keys.values():
        check_key(key, delegator.name)
    known = {keyid for keyids in held.values() for keyid in keyids}
    for name, role in delegator.roles.items():
        if role.threshold < MIN_THRESHOLD:
            raise _bad(delegator, f"the threshold of {name} is {role.threshold}")
        if not set(role.keyids) <= known:
            raise _bad(delegator, f"a key of {name} has no holder")
    return Policy(held, least)


def _held(holders: dict[str, Json], delegator: Delegator) -> dict[str, tuple[str, ...]]:
    """Give the ids of each holder's keys, each id once."""
    held: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for name, keyids in holders.items():
        if not is_name(name) or not isinstance(keyids, list) or not keyids:
            raise _bad(delegator, f"holder {name[:40]!r} is malformed")
        mine = tuple(keyid for keyid in keyids if isinstance(keyid, str))
        if len(set(mine)) != len(keyids) or not set(mine) <= set(delegator.keys) or seen & set(mine):
            raise _bad(delegator, f"a key of {name} is unknown or belongs to two holders")
        seen |= set(mine)
        held[name] = mine
    return held


def _bad(delegator: Delegator, why: str) -> UntrustedBundle:
    return refuse("policy", f"The signing policy of {delegator.name} is refused: {why}.", role=delegator.name)
