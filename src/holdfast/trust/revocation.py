"""The revocation list: artefacts that may not be used any more, signed for by the top-level targets of every medium.

Invariants: the list is one canonical JSON document with its own counter; a list that follows another has a higher counter and
still names everything that the other named, so that a revocation is never lost, whatever medium comes next; what it recommends
instead is not itself revoked in it. Pure.

Schema ``holdfast.revocations/1``: ``counter``, ``issued`` and ``entries``, sorted by ``digest``, each with ``kind``, ``name``,
``reason``, ``instead`` and ``since``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.artefact import Kind, is_name
from holdfast.errors import UntrustedBundle, UntrustedInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

SCHEMA = "holdfast.revocations/1"
MAX_DOCUMENT = 8 * 2**20  # bytes: the greatest number of entries, most reasons short
MAX_ENTRIES = 10_000  # revoked artefacts; a publisher makes hundreds in a life
MAX_REASON = 500  # characters; an operator must be able to read it at a glance
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_FIELDS = {"schema", "counter", "issued", "entries"}
_ENTRY = {"digest", "kind", "name", "reason", "instead", "since"}


@dataclass(frozen=True)
class Revocation:
    """One artefact that may not be used any more.

    Args:
        digest: The artefact's digest.
        kind: Its kind, for people.
        name: Its name, for people.
        reason: Why, in printable text.
        instead: Digest of the artefact to use in its place, or None.
        since: When it was revoked, UTC to the second.
    """

    digest: str
    kind: str
    name: str
    reason: str
    instead: str | None
    since: datetime

    def to_json(self) -> dict[str, Json]:
        """Give the entry as plain data.

        Returns:
            All fields.
        """
        return {
            "digest": self.digest,
            "kind": self.kind,
            "name": self.name,
            "reason": self.reason,
            "instead": self.instead,
            "since": _text(self.since),
        }


@dataclass(frozen=True)
class RevocationList:
    """All revocations of a publisher.

    Args:
        counter: One above the list before.
        issued: When it was made, UTC to the second.
        entries: The revocations by the artefact's digest.
    """

    counter: int
    issued: datetime
    entries: Mapping[str, Revocation] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Write the list.

        Returns:
            Its canonical bytes.
        """
        listed: list[Json] = [self.entries[digest].to_json() for digest in sorted(self.entries)]
        return canonical.encode(
            {"schema": SCHEMA, "counter": self.counter, "issued": _text(self.issued), "entries": listed}
        )


def parse(data: bytes) -> RevocationList:
    """Read a list from outside.

    Args:
        data: Its bytes.

    Returns:
        The list.

    Raises:
        UntrustedBundle: If it is malformed, contradicts itself or is not canonical.
    """
    value = canonical.decode(data, limit=MAX_DOCUMENT, what="The revocation list", error=UntrustedBundle)
    if not isinstance(value, dict) or set(value) != _FIELDS or value["schema"] != SCHEMA:
        raise _bad(f"it is not of the schema {SCHEMA}")
    counter, listed = value["counter"], value["entries"]
    if type(counter) is not int or counter < 1:
        raise _bad("its counter is not a number from 1")
    if not isinstance(listed, list) or len(listed) > MAX_ENTRIES:
        raise _bad(f"it does not have 0 to {MAX_ENTRIES} entries")
    issued = _time(value["issued"])
    entries = [_entry(one, issued) for one in listed]
    found = RevocationList(counter, issued, {one.digest: one for one in entries})
    for one in entries:
        if one.instead in found.entries:
            raise _bad(f"it recommends {str(one.instead)[:23]}..., which it revokes too")
    try:
        same = found.encode() == data
    except UntrustedInput as problem:
        raise _bad(problem.message.removesuffix(".")) from problem
    if not same:
        raise _bad("it is not canonical, its entries are not sorted, or one appears twice")
    return found


def reaches(counter: int, new: RevocationList | None) -> None:
    """Judge a list by the highest counter on the record, where the list itself was lost with the disk that held it.

    Args:
        counter: The highest counter of a list that was ever admitted; 0 if none was.
        new: The list of a medium, or None if the medium brings none.

    Raises:
        UntrustedBundle: If the new one is older or missing.
    """
    found = 0 if new is None else new.counter
    if found < counter:
        raise _refuse(
            "rollback",
            f"The revocation list has the counter {found}, and the log says that {counter} was admitted: it is older.",
            found=found,
            trusted=counter,
        )


def follows(old: RevocationList | None, new: RevocationList | None) -> None:
    """Judge a list against the one that was believed before.

    Args:
        old: The list believed so far, or None.
        new: The list of a medium, or None if the medium brings none.

    Raises:
        UntrustedBundle: If the new one is older, another one of the same counter, drops an entry, or is missing.
    """
    if old is None:
        return
    if new is None:
        raise _refuse(
            "missing", f"The medium brings no revocation list, and list {old.counter} was admitted before."
        )
    if new.counter < old.counter:
        raise _refuse(
            "rollback",
            f"The revocation list has the counter {new.counter}, and {old.counter} was admitted before: it is older.",
            found=new.counter,
            trusted=old.counter,
        )
    if new.counter == old.counter and new != old:
        raise _refuse(
            "two-faces", f"A different revocation list {new.counter} was admitted before.", found=new.counter
        )
    for digest, entry in old.entries.items():
        if digest not in new.entries:
            raise _refuse(
                "dropped",
                f"The revocation list no longer revokes the {entry.kind} {entry.name}, which was revoked before.",
                digest=digest,
            )


def extended(old: RevocationList | None, entry: Revocation, issued: datetime) -> RevocationList:
    """Make the list that follows another: what a publisher signs next.

    Args:
        old: The list so far, or None.
        entry: What is to be revoked; it replaces what the list says of the same artefact.
        issued: When the new list is made, UTC.

    Returns:
        The new list, as it will be read.

    Raises:
        UntrustedBundle: If the entry is malformed or contradicts the list.
    """
    before = old.entries if old else {}
    return parse(
        RevocationList(old.counter + 1 if old else 1, issued, {**before, entry.digest: entry}).encode()
    )


def _entry(value: Json, issued: datetime) -> Revocation:
    if not isinstance(value, dict) or set(value) != _ENTRY:
        raise _bad(f"the fields of an entry are not exactly {', '.join(sorted(_ENTRY))}")
    digest, instead = _digest(value["digest"]), value["instead"]
    kind, name, reason, since = str(value["kind"]), value["name"], value["reason"], _time(value["since"])
    if kind not in set(Kind):
        raise _bad(f"the kind {kind[:40]!r} is unknown")
    if not is_name(name):
        raise _bad(f"the name {str(name)[:40]!r} is not a short printable name")
    if not isinstance(reason, str) or not 0 < len(reason) <= MAX_REASON or not reason.isprintable():
        raise _bad(f"the reason for revoking {name} is not 1 to {MAX_REASON} printable characters")
    if since > issued:
        raise _bad(f"{name} is revoked from a time after the list was made")
    return Revocation(digest, kind, str(name), reason, None if instead is None else _digest(instead), since)


def _digest(value: Json) -> str:
    try:
        found = hashing.parse(value)
    except UntrustedInput as problem:
        raise _bad(problem.message.removesuffix(".")) from problem
    if not found.startswith("sha512:"):
        raise _bad("an artefact is named by another digest than SHA-512")
    return found


def _time(value: Json) -> datetime:
    try:
        return datetime.strptime(str(value), _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise _bad(f"{str(value)[:40]!r} is not a moment like 2026-01-31T12:00:00Z") from None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_TIME)


def _bad(why: str) -> UntrustedBundle:
    return _refuse("form", f"The revocation list is refused: {why}.")


def _refuse(key: str, message: str, **fields: str | int) -> UntrustedBundle:
    return UntrustedBundle(
        f"trust.revocations-{key}",
        message,
        remedy="Do not import this medium; ask its publisher for one with the newest revocation list.",
        **fields,
    )
