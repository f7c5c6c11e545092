"""The signing policy: what a TUF threshold can't say.

A threshold counts keys, and one person has two of them. So root carries a signed field that tells which keys are whose, and
after TUF's own check every top-level role must be signed by at least ``min_holders`` distinct *holders*, with at least one
valid ML-DSA-87 signature beside an Ed25519 one. Invariants: every key of every role belongs to exactly one holder; no
threshold and no ``min_holders`` is below two, whatever root says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.artefact import is_name
from holdfast.trust.metadata import SCHEMES, check_key, refuse

if TYPE_CHECKING:
    from collections.abc import Collection

    from tuf.api.metadata import Root

    from holdfast.canonical import Json
    from holdfast.errors import UntrustedBundle

FIELD = "x-holdfast-policy"  # in root's signed part
MIN_HOLDERS = 2  # nobody brings anything in alone
MIN_THRESHOLD = 2
MAX_HOLDERS = 20  # root with more would not fit its bound


@dataclass(frozen=True)
class Policy:
    """The policy of one root.

    Args:
        holders: Ids of each holder's keys, by the holder's name.
        min_holders: How many distinct holders must sign.
    """

    holders: dict[str, tuple[str, ...]]
    min_holders: int

    def to_json(self) -> dict[str, Json]:
        """Give the policy as root carries it.

        Returns:
            ``holders``, ``min_holders`` and the required ``algorithms``.
        """
        return {
            "holders": {name: list(keyids) for name, keyids in self.holders.items()},
            "min_holders": self.min_holders,
            "algorithms": list(SCHEMES),
        }


def of_root(root: Root) -> Policy:
    """Read the policy from root metadata whose signatures are judged by the caller.

    Args:
        root: The root.

    Returns:
        Its policy.

    Raises:
        UntrustedBundle: If the field is missing or malformed, a threshold is below two, or a key has no holder or two.
    """
    value = root.unrecognized_fields.get(FIELD)
    if not isinstance(value, dict) or set(value) != {"holders", "min_holders", "algorithms"}:
        raise refuse(
            "policy", f"Root version {root.version} carries no signing policy.", version=root.version
        )
    holders, least = value["holders"], value["min_holders"]
    if not isinstance(holders, dict) or not MIN_HOLDERS <= len(holders) <= MAX_HOLDERS:
        raise _bad(f"it does not name {MIN_HOLDERS} to {MAX_HOLDERS} holders")
    if type(least) is not int or not MIN_HOLDERS <= least <= len(holders):
        raise _bad(f"min_holders is not from {MIN_HOLDERS} to the number of holders")
    if value["algorithms"] != list(SCHEMES):
        raise _bad(f"its algorithms are not {' and '.join(SCHEMES)}")
    owner = _owners(holders, root)
    for key in root.keys.values():
        check_key(key)
    for role_name, role in root.roles.items():
        if role.threshold < MIN_THRESHOLD:
            raise _bad(f"the threshold of {role_name} is {role.threshold}")
        if not set(role.keyids) <= set(owner):
            raise _bad(f"a key of {role_name} has no holder")
    return Policy({name: tuple(keyids) for name, keyids in holders.items()}, least)


def judge(policy: Policy, root: Root, role: str, valid: Collection[str]) -> tuple[str, ...]:
    """Apply the policy to one signed file.

    Args:
        policy: The policy of the root that delegates the role.
        root: That root.
        role: The role's name.
        valid: Ids of the role's keys whose signatures were found valid.

    Returns:
        The names of the holders who signed, sorted.

    Raises:
        UntrustedBundle: If too few holders signed, or one of the algorithms is missing.
    """
    signers = sorted(name for name, keyids in policy.holders.items() if set(keyids) & set(valid))
    if len(signers) < policy.min_holders:
        raise refuse(
            "holders",
            f"The {role} metadata is signed by {', '.join(signers) or 'nobody known'} alone;"
            f" {policy.min_holders} different holders are needed.",
            role=role,
            holders=signers,
            needed=policy.min_holders,
        )
    used = {root.keys[keyid].scheme for keyid in valid}
    missing = [scheme for scheme in SCHEMES if scheme not in used]
    if missing:
        raise refuse(
            "algorithm", f"The {role} metadata has no {missing[0]} signature.", role=role, missing=missing
        )
    return tuple(signers)


def _owners(holders: dict[str, Json], root: Root) -> dict[str, str]:
    """Give each key's holder, by the key's id."""
    owner: dict[str, str] = {}
    for name, keyids in holders.items():
        if not is_name(name) or not isinstance(keyids, list) or not keyids:
            raise _bad(f"holder {str(name)[:40]!r} is malformed")
        for keyid in keyids:
            if not isinstance(keyid, str) or keyid not in root.keys or keyid in owner:
                raise _bad(f"a key of {name} is unknown or belongs to two holders")
            owner[keyid] = name
    return owner


def _bad(why: str) -> UntrustedBundle:
    return refuse("policy", f"The signing policy of root is refused: {why}.")
