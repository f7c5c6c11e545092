"""The request: a site's signed inventory, by which a publisher leaves out what the site holds already.

It says which artefacts are there, by kind, name, version and digest, and which chunks their files consist of; nothing else
leaves the site. All of it but the signatures is signed, with both of the appliance's algorithms. Invariants: chunks make up
their files and files their artefacts, so that what a request claims hangs together; one request has one form, and its digest
names it. What it *claims* is not trusted: a delta built on a false request can't be assembled at the site, which hashes
everything again. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING

from holdfast import artefact as artefacts
from holdfast import canonical, hashing
from holdfast.errors import UntrustedBundle, UntrustedInput
from holdfast.governance import labels
from holdfast.keys import person
from holdfast.media import filelist
from holdfast.media.manifest import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.artefact import Artefact, FileRef, Kind
    from holdfast.canonical import Json
    from holdfast.formats.chunking import Chunk
    from holdfast.governance.labels import Label
    from holdfast.keys.person import KeyPair, PublicKeys

SCHEMA = "holdfast.request/1"
DOMAIN = "media-request"
MAX_REQUEST = filelist.MAX_DOCUMENT  # bytes
MAX_HELD = 10_000  # artefacts: ten full media
_REMEDY = "Ask the site for a new request, made with `holdfast media request make`."
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_FIELDS = {"schema", "site", "created", "label", "artefacts"}
_HELD = {"kind", "name", "version", "digest", "files"}


@dataclass(frozen=True)
class Held:
    """One artefact that a site holds.

    Args:
        kind: What it is.
        name: Its name.
        version: Its version.
        files: Its files, sorted by path.
        chunks: Each file's chunks in order, by the file's path.
    """

    kind: Kind
    name: str
    version: str
    files: tuple[FileRef, ...]
    chunks: Mapping[str, tuple[Chunk, ...]]

    @property
    def digest(self) -> str:
        """The artefact's digest."""
        return artefacts.digest_of(self.kind, self.files)

    def to_json(self) -> dict[str, Json]:
        """Give it as plain data.

        Returns:
            ``kind``, ``name``, ``version``, ``digest`` and the files with their chunks.
        """
        return {
            "kind": self.kind.value,
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "files": filelist.to_json(self.files, self.chunks),
        }


@dataclass(frozen=True)
class Request:
    """What a site says of itself.

    Args:
        site: The site's name.
        created: When, UTC to the second.
        label: What the request itself may be used for: the join of the labels of what it lists.
        artefacts: What the site holds.
    """

    site: str
    created: datetime
    label: Label
    artefacts: tuple[Held, ...]

    @property
    def sources(self) -> dict[str, Source]:
        """Where at the site the bytes of each chunk lie, by the chunk's digest; the first place of several."""
        found: dict[str, Source] = {}
        for held in self.artefacts:
            for path in sorted(held.chunks):
                starts = accumulate((chunk.size for chunk in held.chunks[path]), initial=0)
                for start, chunk in zip(starts, held.chunks[path], strict=False):
                    found.setdefault(chunk.digest, Source(held.digest, path, start))
        return found

    def to_json(self) -> dict[str, Json]:
        """Give the statement.

        Returns:
            All fields.
        """
        return {
            "schema": SCHEMA,
            "site": self.site,
            "created": self.created.astimezone(UTC).strftime(_TIME),
            "label": self.label.to_json(),
            "artefacts": [held.to_json() for held in self.artefacts],
        }


@dataclass(frozen=True)
class SignedRequest:
    """A request whose signature is right.

    Args:
        request: What it says.
        public: The keys that signed it; whose they are, only their fingerprint tells.
        digest: SHA-512 of the whole document.
    """

    request: Request
    public: PublicKeys
    digest: str


def make(
    site: str,
    created: datetime,
    label: Label,
    held: Iterable[tuple[Artefact, Mapping[str, tuple[Chunk, ...]]]],
) -> Request:
    """State what a site holds.

    Args:
        site: The site's name.
        created: When, with a time zone.
        label: The label of the request.
        held: Every artefact with the chunks of its files, by path, as ``store.hashfile`` describes them.

    Returns:
        The request, its artefacts in the order of their digests.
    """
    listed = [Held(one.kind, one.name, one.version, one.files, dict(chunks)) for one, chunks in held]
    listed.sort(key=lambda one: (one.digest, one.name, one.version))
    return Request(site, created.astimezone(UTC).replace(microsecond=0), label, tuple(listed))


def encode(request: Request, pair: KeyPair) -> bytes:
    """Sign a request.

    Args:
        request: What the site says.
        pair: The appliance's keys.

    Returns:
        The bytes of the document.
    """
    document: dict[str, Json] = {"statement": request.to_json(), "public": pair.public.to_json()}
    signatures: list[Json] = [*person.sign(pair, DOMAIN, canonical.encode(document))]
    return canonical.encode({**document, "signatures": signatures})


def verify(data: bytes) -> SignedRequest:
    """Read a request from outside, and judge its signature.

    Args:
        data: The bytes of the document.

    Returns:
        What it says, and who signed it. The caller compares the signer's fingerprint with the one received another way.

    Raises:
        UntrustedBundle: If it is malformed, contradicts itself, or its signature is wrong.
    """
    if len(data) <= MAX_REQUEST and filelist.is_crowded(data):
        raise _bad(f"it lists more than {filelist.MAX_CONTAINERS} things or {filelist.MAX_VALUES} values")
    try:
        value = canonical.decode(data, limit=MAX_REQUEST, what="The request", error=UntrustedBundle)
        if not isinstance(value, dict) or set(value) != {"statement", "public", "signatures"}:
            raise _bad("its fields are not exactly statement, public, signatures")
        public = person.public_from_json(value["public"])
        signed = canonical.encode({"statement": value["statement"], "public": value["public"]})
        person.verify(public, DOMAIN, signed, value["signatures"], error=UntrustedBundle)
        request = parse(value["statement"])
        if canonical.encode({**value, "statement": request.to_json()}) != data:
            raise _bad("it is not in canonical form")
    except UntrustedBundle:
        raise
    except UntrustedInput as problem:  # a key, a label, a digest or a record in it
        raise UntrustedBundle(
            problem.key, f"The request is refused. {problem.message}", remedy=_REMEDY, **problem.fields
        ) from problem
    return SignedRequest(request, public, hashing.sha512(data))


def parse(value: Json) -> Request:
    """Read a statement, whoever signed it or will sign it.

    Args:
        value: What ``Request.to_json`` gave.

    Returns:
        The request.

    Raises:
        UntrustedInput: If it is malformed or contradicts itself.
    """
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise _bad(f"its statement's fields are not exactly {', '.join(sorted(_FIELDS))}")
    if value["schema"] != SCHEMA:
        raise _bad(f"its schema is {str(value['schema'])[:40]!r}, not {SCHEMA}")
    site, listed = value["site"], value["artefacts"]
    if not isinstance(site, str) or not artefacts.is_name(site):
        raise _bad("its site is not a short printable name")
    if not isinstance(listed, list) or len(listed) > MAX_HELD:
        raise _bad(f"its artefacts are not a list of at most {MAX_HELD}")
    found = Request(
        site=site,
        created=_time(value["created"]),
        label=labels.parse(value["label"]),
        artefacts=tuple(_held(item) for item in listed),
    )
    filelist.sizes((held.chunks for held in found.artefacts), _bad)
    return found


def _held(value: Json) -> Held:
    if not isinstance(value, dict) or set(value) != _HELD:
        raise _bad(f"an artefact's fields are not exactly {', '.join(sorted(_HELD))}")
    # The record's other fields stay at the site; harmless ones stand in, so that one judge reads every record.
    empty: dict[str, Json] = {"parents": [], "meta": {}, "made_by": None}
    record = artefacts.parse({**value, **empty, "label": labels.highest(["site"]).to_json()})
    chunks = filelist.parse(value["files"], _bad)
    return Held(record.kind, record.name, record.version, record.files, chunks)


def _time(value: Json) -> datetime:
    try:
        return datetime.strptime(str(value), _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise _bad(f"created is {str(value)[:40]!r}, not a moment like 2026-01-31T12:00:00Z") from None


def _bad(why: str) -> UntrustedBundle:
    return UntrustedBundle("media.request", f"The request is refused: {why}.", remedy=_REMEDY)
