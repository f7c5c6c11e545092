"""What two media, or a site's request and a medium, have in common and what not.

Invariants: nothing is judged as signed, only compared; an artefact is the same if its bytes and everything said of it are; chunks
count once however many files they are in. A request says of an artefact only its name, version and bytes, so only these are
compared with it. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.canonical import Json
    from holdfast.media.claims import Claims
    from holdfast.media.request import SignedRequest

_COMPARED = ("version", "label", "licence", "parents")


@dataclass(frozen=True)
class Item:
    """One artefact of a side.

    Args:
        kind: Its kind.
        name: Its name.
        digest: Its digest.
        said: What else is said of it, for people: ``version``, and on a medium ``label``, ``licence`` and ``parents``.
        chunks: Size of each of its chunks, by digest.
    """

    kind: str
    name: str
    digest: str
    said: Mapping[str, str]
    chunks: Mapping[str, int]

    def to_json(self) -> dict[str, Json]:
        """Give it as plain data.

        Returns:
            ``kind``, ``name``, ``version``, ``digest`` and ``bytes``.
        """
        return {
            "kind": self.kind,
            "name": self.name,
            "version": self.said["version"],
            "digest": self.digest,
            "bytes": sum(self.chunks.values()),
        }


@dataclass(frozen=True)
class Side:
    """One of the two things compared.

    Args:
        what: ``medium`` or ``request``.
        title: Its name for people.
        items: Its artefacts.
        root: Version and fingerprint of its newest root; empty for a request.
    """

    what: str
    title: str
    items: tuple[Item, ...]
    root: str = ""

    @property
    def chunks(self) -> dict[str, int]:
        """Size of every chunk, by digest."""
        return {digest: size for item in self.items for digest, size in item.chunks.items()}


@dataclass(frozen=True)
class Change:
    """An artefact that is on both sides and not the same.

    Args:
        before: As it is on the first side.
        after: As it is on the second.
        said: What is said otherwise: field, before, after.
        new: Bytes of its chunks that the first side has nowhere.
    """

    before: Item
    after: Item
    said: tuple[tuple[str, str, str], ...]
    new: int

    def to_json(self) -> dict[str, Json]:
        """Give it as plain data.

        Returns:
            Both artefacts, the fields that differ, and the new bytes.
        """
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "same_bytes": self.before.digest == self.after.digest,
            "fields": {field: {"before": old, "after": new} for field, old, new in self.said},
            "new_bytes": self.new,
        }


@dataclass(frozen=True)
class Difference:
    """How the second side differs from the first.

    Args:
        first: The first side.
        second: The second side.
        added: Artefacts that only the second has.
        removed: Artefacts that only the first has.
        changed: Artefacts that both have, with other bytes or other facts.
        same: Artefacts that are the same.
        shared: Bytes of the second side's chunks that the first has.
        new: Bytes of the second side's chunks that the first has not.
    """

    first: Side
    second: Side
    added: tuple[Item, ...]
    removed: tuple[Item, ...]
    changed: tuple[Change, ...]
    same: tuple[Item, ...]
    shared: int
    new: int

    def to_json(self) -> dict[str, Json]:
        """Give it as plain data.

        Returns:
            Both sides' titles and roots, the artefacts by what became of them, and the bytes shared and new.
        """
        return {
            "first": {"what": self.first.what, "title": self.first.title, "root": self.first.root},
            "second": {"what": self.second.what, "title": self.second.title, "root": self.second.root},
            "added": [item.to_json() for item in self.added],
            "removed": [item.to_json() for item in self.removed],
            "changed": [change.to_json() for change in self.changed],
            "same": [item.to_json() for item in self.same],
            "shared_bytes": self.shared,
            "new_bytes": self.new,
            "signatures": "not judged",
        }


def of_medium(found: Claims) -> Side:
    """Take a medium as a side.

    Args:
        found: What it says of itself.

    Returns:
        The side.
    """
    items = tuple(
        Item(
            entry.artefact.kind.value,
            entry.artefact.name,
            entry.artefact.digest,
            {
                "version": entry.artefact.version,
                "label": str(entry.artefact.label),
                "licence": entry.licence,
                "parents": ", ".join(sorted(entry.artefact.parents)),
            },
            {chunk.digest: chunk.size for parts in entry.chunks.values() for chunk in parts},
        )
        for entry in found.manifest.entries
    )
    title = f"{found.manifest.name} {found.manifest.version}"
    return Side("medium", title, items, f"version {max(found.roots)}, {found.fingerprint}")


def of_request(found: SignedRequest) -> Side:
    """Take a site's request as a side.

    Args:
        found: The request.

    Returns:
        The side.
    """
    items = tuple(
        Item(
            held.kind.value,
            held.name,
            held.digest,
            {"version": held.version},
            {chunk.digest: chunk.size for parts in held.chunks.values() for chunk in parts},
        )
        for held in found.request.artefacts
    )
    return Side("request", f"{found.request.site}, {found.request.created:%Y-%m-%d}", items)


def compare(first: Side, second: Side) -> Difference:
    """Compare two sides.

    Args:
        first: What was there.
        second: What comes.

    Returns:
        How the second differs from the first.
    """
    there = first.chunks
    pairs = _paired(first.items, second.items)
    changed, same = [], []
    for before, after in pairs:
        said = tuple(
            (field, before.said[field], after.said[field])
            for field in _COMPARED
            if field in before.said and field in after.said and before.said[field] != after.said[field]
        )
        if said or before.digest != after.digest:
            changed.append(Change(before, after, said, _missing(after.chunks, there)))
        else:
            same.append(after)
    coming = second.chunks
    new = _missing(coming, there)
    return Difference(
        first=first,
        second=second,
        added=_without(second.items, [after for _, after in pairs]),
        removed=_without(first.items, [before for before, _ in pairs]),
        changed=tuple(changed),
        same=tuple(same),
        shared=sum(coming.values()) - new,
        new=new,
    )


def _paired(first: Iterable[Item], second: Iterable[Item]) -> list[tuple[Item, Item]]:
    """Find each artefact of the second side on the first: by all it says, else its version, its bytes, its name alone."""
    left, right = list(first), list(second)
    found: list[tuple[Item, Item]] = []
    rules = (
        lambda item: (item.kind, item.name, item.said["version"], item.digest),
        lambda item: (item.kind, item.name, item.said["version"]),
        lambda item: (item.kind, item.name, item.digest),
        lambda item: (item.kind, item.name),
    )
    for rule in rules:
        waiting: dict[tuple[str, ...], list[Item]] = {}
        for item in left:
            waiting.setdefault(rule(item), []).append(item)
        rest = []
        for item in right:
            if partners := waiting.get(rule(item)):
                found.append((partners.pop(0), item))
            else:
                rest.append(item)
        left = [item for partners in waiting.values() for item in partners]
        right = rest
    return found


def _without(items: Iterable[Item], taken: list[Item]) -> tuple[Item, ...]:
    known = {id(item) for item in taken}
    return tuple(item for item in items if id(item) not in known)


def _missing(chunks: Mapping[str, int], there: Mapping[str, int]) -> int:
    return sum(size for digest, size in chunks.items() if digest not in there)
