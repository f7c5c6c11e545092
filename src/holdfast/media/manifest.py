"""The manifest: the one TUF target, which binds everything else on the medium.

Invariants: every file's chunks add up to its size and hash to its digest; every artefact has a label and a licence; no
two artefacts have the same kind, name and version; a chunk has one size. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast import artefact as artefacts
from holdfast import canonical, hashing
from holdfast.errors import UntrustedBundle, UntrustedInput
from holdfast.formats.chunking import LARGE, MAX_CHUNKS, Chunk

if TYPE_CHECKING:
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json

SCHEMA = "holdfast.manifest/1"
MAX_MANIFEST = 64 * 2**20  # bytes; 300,000 chunks
MAX_ARTEFACTS = 1000  # of one medium
MAX_TEXT = 2000  # characters of the description, the publisher or a licence
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_FIELDS = {"schema", "name", "version", "description", "publisher", "created", "artefacts"}


@dataclass(frozen=True)
class Entry:
    """One artefact on the medium.

    Args:
        artefact: The record; ``made_by`` is None.
        licence: The terms it comes under, an SPDX expression or a name.
        chunks: Each file's chunks in order, by the file's path.
    """

    artefact: Artefact
    licence: str
    chunks: dict[str, tuple[Chunk, ...]]

    def to_json(self) -> dict[str, Json]:
        """Give the entry as plain data.

        Returns:
            The artefact's record without ``made_by``, with its licence and with the chunks of each file.
        """
        record = self.artefact.to_json()
        del record["made_by"]
        record["licence"] = self.licence
        record["files"] = [
            {
                "path": file.path,
                "size": file.size,
                "digest": file.digest,
                "chunks": [{"digest": c.digest, "size": c.size} for c in self.chunks[file.path]],
            }
            for file in self.artefact.files
        ]
        return record


@dataclass(frozen=True)
class Manifest:
    """What a medium claims to be.

    Args:
        name: Name of the bundle.
        version: Version of the bundle.
        description: A sentence for people.
        publisher: Who made it, for people; who *signed* it is in the metadata.
        created: When, UTC to the second.
        entries: Its artefacts.
    """

    name: str
    version: str
    description: str
    publisher: str
    created: datetime
    entries: tuple[Entry, ...]

    @property
    def chunks(self) -> dict[str, int]:
        """Size of every chunk, by digest."""
        return {c.digest: c.size for entry in self.entries for parts in entry.chunks.values() for c in parts}

    def encode(self) -> bytes:
        """Write the manifest.

        Returns:
            Its canonical bytes.
        """
        return canonical.encode(
            {
                "schema": SCHEMA,
                "name": self.name,
                "version": self.version,
                "description": self.description,
                "publisher": self.publisher,
                "created": self.created.astimezone(UTC).strftime(_TIME),
                "artefacts": [entry.to_json() for entry in self.entries],
            }
        )


def parse(data: bytes) -> Manifest:
    """Read a manifest from outside.

    Args:
        data: Its bytes.

    Returns:
        The manifest.

    Raises:
        UntrustedBundle: If it is malformed or contradicts itself.
    """
    try:
        return _parse(canonical.decode(data, limit=MAX_MANIFEST, what="the manifest", error=UntrustedBundle))
    except UntrustedBundle:
        raise
    except UntrustedInput as problem:  # a label, a digest or a record in it
        raise UntrustedBundle(
            problem.key, problem.message, remedy=problem.remedy, **problem.fields
        ) from problem


def _parse(value: Json) -> Manifest:
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise _bad(f"its fields are not exactly {', '.join(sorted(_FIELDS))}")
    if value["schema"] != SCHEMA:
        raise _bad(f"its schema is {str(value['schema'])[:40]!r}, not {SCHEMA}")
    for field in ("name", "version"):
        if not artefacts.is_name(value[field]):
            raise _bad(f"its {field} is not a short printable name")
    listed = value["artefacts"]
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_ARTEFACTS:
        raise _bad(f"it does not list 1 to {MAX_ARTEFACTS} artefacts")
    found = Manifest(
        name=str(value["name"]),
        version=str(value["version"]),
        description=_text(value["description"], "description"),
        publisher=_text(value["publisher"], "publisher"),
        created=_time(value["created"]),
        entries=tuple(_entry(item) for item in listed),
    )
    names = {(e.artefact.kind, e.artefact.name, e.artefact.version) for e in found.entries}
    if len(names) != len(found.entries):
        raise _bad("two artefacts have the same kind, name and version")
    sizes = found.chunks
    for entry in found.entries:
        for parts in entry.chunks.values():
            if any(sizes[chunk.digest] != chunk.size for chunk in parts):
                raise _bad("a chunk has two sizes")
    return found


def _entry(value: Json) -> Entry:
    if not isinstance(value, dict) or "licence" not in value:
        raise _bad("an artefact has no licence")
    record: dict[str, Json] = {name: part for name, part in value.items() if name != "licence"}
    found = artefacts.parse({**record, "made_by": None})
    chunks: dict[str, tuple[Chunk, ...]] = {}
    files = record["files"]
    for item in files if isinstance(files, list) else []:
        if not isinstance(item, dict) or set(item) != {"path", "size", "digest", "chunks"}:
            raise _bad("a file's fields are not exactly path, size, digest, chunks")
        parts = _chunks(item["chunks"], str(item["path"]))
        if sum(chunk.size for chunk in parts) != item["size"]:
            raise _bad(f"the chunks of {item['path']} do not add up to its size")
        if hashing.of_chunks(chunk.digest for chunk in parts) != item["digest"]:
            raise _bad(f"the digest of {item['path']} is not that of its chunks")
        chunks[str(item["path"])] = parts
    return Entry(found, _text(value["licence"], "licence"), chunks)


def _chunks(value: Json, path: str) -> tuple[Chunk, ...]:
    if not isinstance(value, list) or len(value) > MAX_CHUNKS:
        raise _bad(f"the chunks of {path} are not a list of at most {MAX_CHUNKS}")
    found = []
    for item in value:
        if not isinstance(item, dict) or set(item) != {"digest", "size"}:
            raise _bad(f"a chunk of {path} has other fields than digest and size")
        size = item["size"]
        if type(size) is not int or not 0 < size <= LARGE:
            raise _bad(f"a chunk of {path} has no size from 1 to {LARGE} bytes")
        digest = hashing.parse(item["digest"])
        if not digest.startswith("sha512:"):
            raise _bad(f"a chunk of {path} is not named by SHA-512")
        found.append(Chunk(digest, size))
    return tuple(found)


def _text(value: Json, field: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.replace("\n", " ").isprintable():
        raise _bad(f"its {field} is not printable text of at most {MAX_TEXT} characters")
    return value


def _time(value: Json) -> datetime:
    try:
        return datetime.strptime(str(value), _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise _bad(f"created is {str(value)[:40]!r}, not a moment like 2026-01-31T12:00:00Z") from None


def _bad(why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "media.manifest",
        f"The manifest is refused: {why}.",
        remedy="Do not import this medium; ask its publisher for a new one.",
    )
