"""Listings: the records of what a medium brings, as the events ``artefact.listed`` that carry them.

An event is bounded and a record is not. A record with few files is one event. Of one with many, the first event says everything
but the files, and further ones the files, so that what a person must know of an artefact is in one small event whatever it
holds. Order of operations: each record is divided (``divide``), its events are recorded under the import that found it, and the
import's outcome names the digest of the whole list (``digest_of``); ``join`` puts the records together again. Invariants: a
listing is taken as a whole or not at all; no event of it comes near what the log takes. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import artefact, canonical, hashing
from holdfast.errors import UntrustedInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from holdfast.artefact import Artefact, FileRef
    from holdfast.canonical import Json

LISTED = "artefact.listed"
MAX_HEAD = 16_000  # bytes of what one event says beside files; the event says the label once more, and 65,535 bytes are all
MAX_HEADS = (
    2 * 2**20
)  # bytes of all that of one medium, 2 KB of each of 1000 artefacts: a receipt carries them
MAX_FILES = 40_000  # bytes of files in one further event, beside which stand a label and the names of people
_ENTRY = len('{"digest":"","path":"","size":},')
_NAMING = ("digest", "kind", "name", "version")  # what every part says
SMALL = 2_000  # bytes of files that stand in a record's first event


def divide(found: Artefact, origins: Mapping[str, str]) -> Iterator[dict[str, Json]]:
    """Write a record as parameters of events.

    Args:
        found: The record.
        origins: Which bundle brought a parent, by the parent's digest, as far as the publisher says.

    Yields:
        ``artefact`` (the record; after the first part what it is called and ``files``), ``bytes`` and ``files`` (their number) of
        the whole, ``origins`` of its parents, ``part`` and ``parts``.
    """
    record = found.to_json()
    listed: list[Json] = [
        {"path": file.path, "size": file.size, "digest": file.digest} for file in found.files
    ]
    groups = [*_grouped(listed, found.files)]
    if sum(map(_length, found.files)) <= SMALL:
        groups = []
    else:
        record["files"] = []
    told: dict[str, Json] = {"bytes": found.size, "files": len(listed), "parts": 1 + len(groups)}
    yield {**told, "artefact": record, "origins": _origins(found, origins), "part": 1}
    for part, group in enumerate(groups, start=2):
        named = {name: record[name] for name in _NAMING}
        yield {**told, "artefact": {**named, "files": group}, "origins": {}, "part": part}


def _grouped(listed: Sequence[Json], files: Sequence[FileRef]) -> Iterator[list[Json]]:
    group: list[Json] = []
    size = 0
    for entry, file in zip(listed, files, strict=True):
        length = _length(file)
        if group and size + length > MAX_FILES:
            yield group
            group, size = [], 0
        group.append(entry)
        size += length
    yield group


def _length(file: FileRef) -> int:
    """Give the bytes of a file's entry in canonical JSON, with a comma; paths hold nothing to escape but quotes."""
    return _ENTRY + len(file.path.encode()) + file.path.count('"') + len(str(file.size)) + len(file.digest)


def _origins(found: Artefact, origins: Mapping[str, str]) -> dict[str, Json]:
    return {parent: origins[parent] for parent in found.parents if parent in origins}


def head_size(found: Artefact, origins: Mapping[str, str]) -> int:
    """Measure what a record's first event says beside files.

    Args:
        found: The record.
        origins: As for ``divide``.

    Returns:
        Bytes.
    """
    told: Json = [{**found.to_json(), "files": []}, _origins(found, origins)]
    return len(canonical.encode(told))


def digest_of(digests: Iterable[str]) -> str:
    """Name a list of artefacts.

    Args:
        digests: Theirs, in the order in which they are listed.

    Returns:
        SHA-512 over the canonical list.
    """
    return hashing.sha512(canonical.encode([*digests]))


def join(parts: Sequence[Mapping[str, Json]]) -> tuple[Artefact, ...]:
    """Put records together again.

    Args:
        parts: Parameters of the events, in the order of the log.

    Returns:
        The records.

    Raises:
        UntrustedInput: If a part is missing, malformed or out of its order, or a record is.
    """
    found: list[Artefact] = []
    record: dict[str, Json] = {}
    files: list[Json] = []
    for expected, told in _numbered(parts):
        part, body = told.get("part"), told.get("artefact")
        listed = body.get("files") if isinstance(body, dict) else None
        if part != expected or not isinstance(body, dict) or not isinstance(listed, list):
            raise _bad(f"part {expected} of a record is missing")
        if part == 1:
            record, files = dict(body), []
        elif body != {**{name: record.get(name) for name in _NAMING}, "files": listed}:
            raise _bad("a part belongs to another record")
        files.extend(listed)
        if part == told.get("parts"):
            found.append(artefact.parse({**record, "files": files}))
    return tuple(found)


def _numbered(parts: Sequence[Mapping[str, Json]]) -> Iterator[tuple[int, Mapping[str, Json]]]:
    """Say which part must come next."""
    expected = 1
    for told in parts:
        yield expected, told
        expected = 1 if told.get("parts") == expected else expected + 1
    if expected != 1:
        raise _bad("its last record is not whole")


def origins_of(parts: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    """Gather which bundles brought what the listed artefacts were made from.

    Args:
        parts: Parameters of the events.

    Returns:
        Name and version of a bundle, by the parent's digest.
    """
    found: dict[str, Json] = {}
    for told in parts:
        origins = told.get("origins")
        found |= origins if isinstance(origins, dict) else {}
    return found


def summary(found: Artefact) -> dict[str, Json]:
    """Describe a listed artefact for people.

    Args:
        found: Its record.

    Returns:
        Everything but its files; ``files`` is their number and ``size`` their bytes.
    """
    return found.to_json() | {"files": len(found.files), "size": found.size}


def _bad(why: str) -> UntrustedInput:
    return UntrustedInput(
        "artefact.listing",
        f"A recorded list of artefacts is refused: {why}.",
        remedy="Verify the log with `holdfast audit verify`.",
    )
