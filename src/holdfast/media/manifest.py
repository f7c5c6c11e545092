"""The manifest: the TUF target that binds every artefact, file and chunk of a medium.

Invariants: every file's chunks add up to its size and hash to its digest; every artefact has a label and a licence; no
two artefacts have the same kind and name; a chunk has one size, and no two chunks share a name on the medium; what a
delta leaves out is one of its chunks; origins are told of foreign parents alone; one manifest has one form. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast import artefact as artefacts
from holdfast import canonical, hashing
from holdfast.errors import UntrustedBundle, UntrustedInput
from holdfast.formats.chunking import MAX_CHUNKS
from holdfast.media import filelist, layout

if TYPE_CHECKING:
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.formats.chunking import Chunk

SCHEMA = "holdfast.manifest/1"
MAX_MANIFEST = filelist.MAX_DOCUMENT  # bytes
MAX_ARTEFACTS = 1000  # of one medium
MAX_TEXT = 2000  # characters of the description, the publisher or a licence
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_FIELDS = {
    "schema",
    "name",
    "version",
    "description",
    "publisher",
    "created",
    "collection",
    "origins",
    "delta",
    "artefacts",
}
_ORIGIN = 2 * artefacts.MAX_NAME + 1  # characters of "bundle version"


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
        record["files"] = filelist.to_json(self.artefact.files, self.chunks)
        return record


@dataclass(frozen=True)
class Source:
    """Where the site already holds the bytes of a chunk.

    Args:
        artefact: Digest of the artefact.
        path: The file in it.
        offset: The chunk's first byte in that file.
    """

    artefact: str
    path: str
    offset: int


@dataclass(frozen=True)
class Delta:
    """What a medium leaves out because the site that it was made for holds it.

    Args:
        request: Digest of the site's request.
        site: The site's name, for people.
        sources: Where each chunk that is not on the medium lies there, by the chunk's digest.
    """

    request: str
    site: str
    sources: dict[str, Source]

    @property
    def bases(self) -> frozenset[str]:
        """Digests of the artefacts that the site must hold."""
        return frozenset(source.artefact for source in self.sources.values())

    def to_json(self) -> dict[str, Json]:
        """Give the delta as plain data.

        Returns:
            All fields.
        """
        return {
            "request": self.request,
            "site": self.site,
            "sources": {
                digest: {"artefact": one.artefact, "path": one.path, "offset": one.offset}
                for digest, one in self.sources.items()
            },
        }


@dataclass(frozen=True)
class Manifest:
    """What a medium claims to be.

    Args:
        name: Name of the bundle.
        version: Version of the bundle.
        description: A sentence for people.
        publisher: Who made it, for people; who *signed* it is in the metadata.
        created: When, UTC to the second.
        entries: Its artefacts; none on a medium that only brings revocations.
        collection: The part of the publication paths that a delegated publisher is limited to; empty at top level.
        origins: Which bundle ("name version") brought an artefact that is a parent and not on this medium, by digest.
        delta: What was left out for one site, or None.
    """

    name: str
    version: str
    description: str
    publisher: str
    created: datetime
    entries: tuple[Entry, ...]
    collection: str = ""
    origins: dict[str, str] = field(default_factory=dict)
    delta: Delta | None = None

    @property
    def chunks(self) -> dict[str, int]:
        """Size of every chunk of its files, by digest, in the order of the files."""
        return {c.digest: c.size for entry in self.entries for parts in entry.chunks.values() for c in parts}

    @property
    def carried(self) -> dict[str, int]:
        """Size of every chunk that lies on the medium, by digest, in the order of the files."""
        absent = self.delta.sources if self.delta else {}
        return {digest: size for digest, size in self.chunks.items() if digest not in absent}

    @property
    def foreign_parents(self) -> frozenset[str]:
        """Digests of the parents of its artefacts that are not on the medium."""
        here = {entry.artefact.digest for entry in self.entries}
        return frozenset(p for entry in self.entries for p in entry.artefact.parents if p not in here)

    def publication_path(self, entry: Entry) -> str:
        """Tell under which path an artefact is published: what a delegated publisher is limited to.

        Args:
            entry: One of its artefacts.

        Returns:
            For example ``adapters/health/triage``.
        """
        parts = (f"{entry.artefact.kind.value}s", self.collection, entry.artefact.name)
        return "/".join(part for part in parts if part)

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
                "collection": self.collection,
                "origins": dict(self.origins),
                "delta": self.delta.to_json() if self.delta else None,
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
    if len(data) <= MAX_MANIFEST and filelist.is_crowded(data):
        raise _bad(f"it lists more than {filelist.MAX_CONTAINERS} things or {filelist.MAX_VALUES} values")
    try:
        found = _parse(canonical.decode(data, limit=MAX_MANIFEST, what="The manifest", error=UntrustedBundle))
        if found.encode() != data:
            raise _bad("it is not in canonical form")
    except UntrustedBundle:
        raise
    except UntrustedInput as problem:  # a label, a digest or a record in it
        raise UntrustedBundle(
            problem.key, problem.message, remedy=problem.remedy, **problem.fields
        ) from problem
    return found


def is_collection(value: object) -> bool:
    """Tell whether a value can name a collection.

    Args:
        value: Anything.

    Returns:
        True for up to 40 lower-case letters, digits, hyphens and underscores that begin with a letter or digit and that
        Windows does not take for a device.
    """
    # The kind stands for any; what can name a collection is what can stand on a medium.
    return isinstance(value, str) and layout.manifest_collection(
        layout.target(layout.manifest_target("adapter", value))
    ) == (value or None)


def _parse(value: Json) -> Manifest:
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise _bad(f"its fields are not exactly {', '.join(sorted(_FIELDS))}")
    if value["schema"] != SCHEMA:
        raise _bad(f"its schema is {str(value['schema'])[:40]!r}, not {SCHEMA}")
    for part in ("name", "version"):
        if not artefacts.is_name(value[part]):
            raise _bad(f"its {part} is not a short printable name")
    listed = value["artefacts"]
    if not isinstance(listed, list) or len(listed) > MAX_ARTEFACTS:
        raise _bad(f"its artefacts are not a list of at most {MAX_ARTEFACTS}")
    collection = value["collection"]
    if collection != "" and not is_collection(collection):
        raise _bad("its collection is not a plain short name")
    found = Manifest(
        name=str(value["name"]),
        version=str(value["version"]),
        description=_text(value["description"], "description", lines=True),
        publisher=_text(value["publisher"], "publisher"),
        created=_time(value["created"]),
        entries=tuple(_entry(item) for item in listed),
        collection=str(collection),
        origins=_origins(value["origins"]),
        delta=_delta(value["delta"]),
    )
    _check(found)
    return found


def _check(found: Manifest) -> None:
    """Refuse a manifest whose parts contradict each other."""
    names = {(e.artefact.kind, e.artefact.name) for e in found.entries}
    if len(names) != len(found.entries):
        raise _bad("two artefacts have the same kind and name")
    sizes = filelist.sizes((entry.chunks for entry in found.entries), _bad)
    if len({layout.chunk(digest) for digest in sizes}) != len(sizes):
        raise _bad("two chunks have the same name")
    if found.delta is not None and not found.delta.sources.keys() <= sizes.keys():
        raise _bad("its delta leaves out a chunk that no file has")
    if not found.origins.keys() <= found.foreign_parents:
        raise _bad("it tells where something came from that is no parent, or is on this medium")


def _origins(value: Json) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_ARTEFACTS:
        raise _bad(f"its origins are not an object of at most {MAX_ARTEFACTS} bundles")
    found = {}
    for digest, bundle in value.items():
        if not isinstance(bundle, str) or not 0 < len(bundle) <= _ORIGIN or not bundle.isprintable():
            raise _bad("an origin is not the name and version of a bundle")
        found[hashing.parse(digest)] = bundle
    return found


def _delta(value: Json) -> Delta | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"request", "site", "sources"}:
        raise _bad("its delta's fields are not exactly request, site, sources")
    listed = value["sources"]
    if not isinstance(listed, dict) or len(listed) > MAX_CHUNKS:
        raise _bad(f"its delta's sources are not an object of at most {MAX_CHUNKS} chunks")
    sources = {hashing.parse(digest): _source(item) for digest, item in listed.items()}
    return Delta(hashing.parse(value["request"]), _text(value["site"], "site"), sources)


def _source(value: Json) -> Source:
    if not isinstance(value, dict) or set(value) != {"artefact", "path", "offset"}:
        raise _bad("a source's fields are not exactly artefact, path, offset")
    path, offset = value["path"], value["offset"]
    if not isinstance(path, str) or not artefacts.is_safe_path(path) or type(offset) is not int or offset < 0:
        raise _bad("a source names no place in a file")
    return Source(hashing.parse(value["artefact"]), path, offset)


def _entry(value: Json) -> Entry:
    if not isinstance(value, dict) or "licence" not in value or "made_by" in value:
        raise _bad("an artefact has no licence, or says where it was recorded")
    record: dict[str, Json] = {name: part for name, part in value.items() if name != "licence"}
    found = artefacts.parse({**record, "made_by": None})
    chunks = filelist.parse(record["files"], _bad)
    return Entry(found, _text(value["licence"], "licence"), chunks)


def _text(value: Json, field: str, *, lines: bool = False) -> str:
    # A name on several lines could pass for a line of ours where it is shown.
    plain = value.replace("\n", " ") if lines and isinstance(value, str) else value
    if not isinstance(plain, str) or len(plain) > MAX_TEXT or not plain.isprintable():
        raise _bad(f"its {field} is not printable text of at most {MAX_TEXT} characters")
    return str(value)


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
