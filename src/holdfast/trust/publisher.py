"""A delegation as a document: whom the top-level targets let publish, and beneath which paths.

It is made from public keys alone (``holdfast trust delegate``), read aloud by its fingerprint, and put into the next targets by
those who sign them. Invariants: every holder appears once and no two share a key; paths are patterns that the site
accepts; no threshold and no number of holders is below two. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedInput, UsageRefused
from holdfast.keys import person
from holdfast.trust import holders, policy, profile

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.keys.person import PublicKeys

SCHEMA = "holdfast.delegation/1"
MAX_DOCUMENT = 512 * 1024  # bytes: 20 holders' public documents of 5.5 KB, 100 patterns
_FIELDS = {"schema", "role", "paths", "threshold", "min_holders", "terminating", "holders"}


@dataclass(frozen=True)
class Delegation:
    """What one publisher is given.

    Args:
        role: The role's name, which also names its metadata file.
        paths: Patterns of target paths; ``*`` never crosses ``/``.
        holders: Public keys of the people who sign for it, at least two.
        threshold: How many keys must sign (every person has two).
        min_holders: How many different people must sign.
        terminating: Whether a search for a path ends here if the role does not list it.
    """

    role: str
    paths: tuple[str, ...]
    holders: tuple[PublicKeys, ...]
    threshold: int = policy.MIN_THRESHOLD
    min_holders: int = policy.MIN_HOLDERS
    terminating: bool = False

    def __post_init__(self) -> None:
        if not profile.is_role_name(self.role):
            raise _usage(
                "name",
                f"{self.role[:40]!r} can't name a delegated role.",
                "Use a lower-case letter, then up to 39 letters, digits or hyphens.",
            )
        if not 0 < len(self.paths) <= profile.MAX_PATTERNS or len(set(self.paths)) < len(self.paths):
            raise _usage(
                "paths",
                f"{self.role} needs 1 to {profile.MAX_PATTERNS} different paths.",
                "Give each path once, for example --path 'adapters/health/*'.",
            )
        for path in self.paths:
            if not profile.is_pattern(path):
                raise _usage(
                    "path",
                    f"{path[:80]!r} is not a plain path pattern.",
                    "Use lower-case names between slashes, with * and ? for parts of one name.",
                )
        holders.require_distinct(self.holders)
        names = [holder.holder for holder in self.holders]
        holders.require_quorum(names, self.threshold, self.min_holders, f"the role {self.role}")

    def encode(self) -> bytes:
        """Write the document.

        Returns:
            Its canonical bytes.
        """
        return canonical.encode(
            {
                "schema": SCHEMA,
                "role": self.role,
                "paths": list(self.paths),
                "threshold": self.threshold,
                "min_holders": self.min_holders,
                "terminating": self.terminating,
                "holders": [holder.to_json() for holder in self.holders],
            }
        )


def parse(data: bytes) -> Delegation:
    """Read a delegation document.

    Args:
        data: Its bytes.

    Returns:
        The delegation.

    Raises:
        UntrustedInput: If it is malformed, or gives what can't be given.
    """
    value = canonical.decode(data, limit=MAX_DOCUMENT, what="The delegation")
    if not isinstance(value, dict) or set(value) != _FIELDS or value["schema"] != SCHEMA:
        raise _bad(f"its fields are not exactly {', '.join(sorted(_FIELDS))}")
    paths, holders, role = value["paths"], value["holders"], value["role"]
    if not isinstance(paths, list) or not isinstance(holders, list) or not isinstance(role, str):
        raise _bad("its role is not a name, or its paths or holders are not lists")
    if type(value["terminating"]) is not bool:
        raise _bad("terminating is not true or false")
    if not all(isinstance(path, str) for path in paths):
        raise _bad("a path is not text")
    if len(holders) > policy.MAX_HOLDERS:
        raise _bad(f"it names more than {policy.MAX_HOLDERS} holders")
    try:
        found = Delegation(
            role,
            tuple(str(path) for path in paths),
            tuple(person.public_from_json(one) for one in holders),
            _count(value["threshold"]),
            _count(value["min_holders"]),
            value["terminating"],
        )
    except UsageRefused as problem:
        raise _bad(problem.message.rstrip(".")) from problem
    if found.encode() != data:
        raise _bad("it is not in canonical form, over which its fingerprint is taken")
    return found


def _count(value: Json) -> int:
    if type(value) is not int:
        raise _bad("a threshold is not a number")
    return value


def _usage(key: str, message: str, remedy: str) -> UsageRefused:
    return UsageRefused(f"trust.delegate-{key}", message, remedy=remedy)


def _bad(why: str) -> UntrustedInput:
    return UntrustedInput(
        "trust.delegation-form",
        f"The delegation is refused: {why}.",
        remedy="Have it made again with `holdfast trust delegate`.",
    )
