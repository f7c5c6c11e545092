"""Revocations: which artefacts may no longer be used, and what that means for what was made from them.

A revocation comes with an admitted medium and stays for good. Invariants: whoever descends from a revoked artefact is revoked
with it; an exception for an artefact lifts what it inherits too, and so covers what is made from it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.errors import UntrustedInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.canonical import Json

_TEXTS = ("digest", "kind", "name", "reason", "since")


@dataclass(frozen=True)
class Revocation:
    """One revoked artefact.

    Args:
        digest: The artefact.
        kind: Its kind.
        name: Its name and, where known, version: for people who no longer have it.
        reason: Why its publisher revoked it.
        since: When, RFC 3339.
        instead: Digest of what to use in its place, or None.
        bundle: Name and version of the medium that brought the word.
    """

    digest: str
    kind: str
    name: str
    reason: str
    since: str
    instead: str | None
    bundle: str

    def to_json(self) -> dict[str, Json]:
        """Give it as plain data, as events carry it.

        Returns:
            All fields but ``bundle``, which an event says once for all.
        """
        return {
            "digest": self.digest,
            "kind": self.kind,
            "name": self.name,
            "reason": self.reason,
            "since": self.since,
            "instead": self.instead,
        }


def parse(value: object, bundle: str) -> Revocation:
    """Read a revocation from a recorded event.

    Args:
        value: What ``Revocation.to_json`` gave.
        bundle: Which medium brought it.

    Returns:
        The revocation.

    Raises:
        UntrustedInput: If a field is missing or of the wrong type.
    """
    if (
        not isinstance(value, dict)
        or set(value) != {*_TEXTS, "instead"}
        or not all(isinstance(value[name], str) for name in _TEXTS)
        or not isinstance(value["instead"], str | None)
    ):
        raise UntrustedInput(
            "revocation.form",
            "A recorded revocation has other fields than digest, kind, name, reason, since and instead.",
            remedy="Verify the log with `holdfast audit verify`.",
        )
    return Revocation(**value, bundle=bundle)


def blocking(
    digest: str,
    revoked: Mapping[str, Revocation],
    parents: Callable[[str], tuple[str, ...]],
    excepted: frozenset[str] = frozenset(),
) -> Revocation | None:
    """Find the revocation that forbids to use an artefact.

    Args:
        digest: The artefact.
        revoked: Every revocation, by digest.
        parents: Gives what an artefact was made from; nothing for one that is unknown.
        excepted: Artefacts that may be used all the same, with everything that they inherit.

    Returns:
        The nearest one among the artefact and its ancestors; None if it may be used.
    """
    seen: set[str] = set()
    queue = [digest]
    while queue:
        here = queue.pop(0)
        if here in seen or here in excepted:
            continue
        seen.add(here)
        if here in revoked:
            return revoked[here]
        queue.extend(parents(here))
    return None


def sentence(found: Revocation, what: str, digest: str) -> str:
    """Say why an artefact may not be used.

    Args:
        found: The revocation that forbids it.
        what: Kind and name of the artefact.
        digest: Its digest.

    Returns:
        One sentence.
    """
    own = found.digest == digest
    via = "" if own else f"was made from {found.kind} {found.name} ({hashing.short(found.digest)}), which "
    return f"{what} ({hashing.short(digest)}) {via}is revoked since {found.since} by {found.bundle}: {found.reason}"
