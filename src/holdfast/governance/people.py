"""People and roles: who may do what.

Invariants: a role grants acts by name and nothing else does; a person may hold several roles, but never approves their
own request; the auditor's role grants reading only. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.errors import NotPermitted, UntrustedInput
from holdfast.keys.person import ED25519, ML_DSA_87

if TYPE_CHECKING:
    from holdfast.canonical import Json


class Role(StrEnum):
    """What a person is trusted with at this site."""

    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    AUDITOR = "auditor"


GRANTS: dict[Role, frozenset[str]] = {
    Role.ADMINISTRATOR: frozenset(
        {
            "bundle.import",
            "bundle.admit",
            "bundle.reject",
            "bundle.discard",
            "bundle.rollback",
            "exception.asked",
            "exception.grant",
            "exception.refused",
            "request.make",
            "request.grant",
            "request.refused",
            "request.fetched",
            "store.scrub",
            "store.gc",
            "report.receipt",
            "release.approve",
            "release.refused",
            "release.rollback",
            "serve.key.created",
            "serve.key.revoked",
            "audit.witness.added",
            "audit.witness.removed",
            "audit.archive",
            "audit.forget",
            "audit.backup",
            "sealed.asked",
            "sealed.granted",
            "sealed.refused",
            "sealed.erase",
            "sealed.retention",
        }
    ),
    Role.OPERATOR: frozenset(
        {
            "bundle.import",
            "bundle.discard",
            "dataset.prepare",
            "train.run",
            "train.estimate",
            "train.replay",
            "eval.run",
            "model.quantize",
            "model.merge",
            "release.proposed",
            "release.refused",
            "release.rollback",
            "serve.start",
            "serve.change",
            "serve.stop",
            "serve.key.created",
            "serve.key.revoked",
        }
    ),
    Role.AUDITOR: frozenset(
        {
            "audit.read",
            "audit.verified",
            "audit.rebuild",
            "audit.result",
            "audit.export",
            "audit.archive",
            "audit.checkpoint",
            "audit.cosigned",
            "audit.query.saved",
            "audit.query.removed",
            "sealed.asked",
            "sealed.granted",
            "sealed.refused",
            "sealed.unseal",
            "report.residency",
            "report.receipt",
        }
    ),
}
"""Acts by role. What every person with a session may see (status, lists, jobs) needs no grant."""


@dataclass(frozen=True)
class Person:
    """Somebody known at this site.

    Args:
        name: How events and receipts name them.
        roles: What they are trusted with.
        uids: The local users as whom they may connect.
        key: Their public key document, canonical JSON as plain data.
        fingerprint: Of that document, to be compared by voice.
    """

    name: str
    roles: tuple[Role, ...]
    uids: tuple[int, ...]
    key: dict[str, Json]
    fingerprint: str

    def role_for(self, act: str) -> Role:
        """Find the role under which this person may do an act.

        Args:
            act: The action's name in the audit log.

        Returns:
            The first role that grants it.

        Raises:
            NotPermitted: If none does.
        """
        for role in self.roles:
            if act in GRANTS[role]:
                return role
        may = sorted(role.value for role, acts in GRANTS.items() if act in acts)
        raise NotPermitted(
            "role.missing",
            f"{self.name} ({', '.join(self.roles)}) may not do {act}.",
            remedy=f"Ask a person with the role {' or '.join(may) or 'that grants it'}.",
            person=self.name,
            act=act,
        )

    def to_json(self) -> dict[str, Json]:
        """Give the person as plain data, as ``site.founded`` records them.

        Returns:
            Name, roles, uids, key document and fingerprint.
        """
        return {
            "name": self.name,
            "roles": [role.value for role in self.roles],
            "uids": list(self.uids),
            "key": self.key,
            "fingerprint": self.fingerprint,
        }


def parse(value: object) -> Person:
    """Read a person from a recorded event.

    Args:
        value: What ``Person.to_json`` gave.

    Returns:
        The person.

    Raises:
        UntrustedInput: If a field is missing or malformed.
    """
    try:
        if not isinstance(value, dict) or not isinstance(value["key"], dict):
            raise TypeError  # noqa: TRY301 - one handler turns every mistake into the same refusal
        return Person(
            name=str(value["name"]),
            roles=tuple(Role(role) for role in value["roles"]),
            uids=tuple(int(uid) for uid in value["uids"]),
            key=value["key"],
            fingerprint=str(value["fingerprint"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UntrustedInput(
            "person.form",
            f"A person's record is malformed ({type(error).__name__}: {error}).",
            remedy="Give each person a name, roles (administrator, operator, auditor), uids and a public key.",
        ) from error


def share_key(one: Person, other: Person) -> bool:
    """Tell whether two entries are one key holder.

    Args:
        one: A person.
        other: Another.

    Returns:
        True if any of their public keys is the same, whatever names they go by.
    """
    return any(one.key.get(name) == other.key.get(name) for name in (ED25519, ML_DSA_87) if one.key.get(name))


def shared_uids(people: list[Person]) -> list[str]:
    """Name the weak points where one local user holds several people's keys.

    Args:
        people: Everybody at the site.

    Returns:
        One sentence per uid that more than one person may connect as.
    """
    holders: dict[int, list[str]] = {}
    for person in people:
        for uid in person.uids:
            holders.setdefault(uid, []).append(person.name)
    return [
        f"Local user {uid} may connect as {', '.join(sorted(names))}: between them, two persons are one."
        for uid, names in sorted(holders.items())
        if len(names) > 1
    ]
