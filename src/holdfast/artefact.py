"""The one domain record: the artefact.

An artefact is a named set of files (or, for records such as runs, a canonical document) of one kind, with a label and
parents. Invariants: its digest covers kind and contents only, so that the same bytes have the same digest wherever they
came from; name, version, label and parents are what the audit log says of it. Lineage, labels, garbage collection,
compatibility and the report derive from the graph of these records; nothing keeps a second one. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.errors import UntrustedInput
from holdfast.governance import labels

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.governance.labels import Label

MAX_FILES = 10_000  # files of one artefact; sharded bases have hundreds
MAX_NAME = 128  # characters of a name or version
MAX_PATH = 240  # characters of a file's path inside its artefact; names must survive FAT32 and ISO 9660


class Kind(StrEnum):
    """What an artefact is."""

    BASE = "base"
    TOKENIZER = "tokenizer"
    ADAPTER = "adapter"
    DATASET = "dataset"
    RECIPE = "recipe"
    RUN = "run"
    MERGED = "merged"
    GGUF = "gguf"
    SUITE = "suite"
    EVALUATION = "evaluation"
    REPORT = "report"


@dataclass(frozen=True, order=True)
class FileRef:
    """One file of an artefact.

    Args:
        path: Relative POSIX path inside the artefact.
        size: Bytes.
        digest: SHA-512 over its chunk digests (see ``hashing.of_chunks``).
    """

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Artefact:
    """The record; see the module's description.

    Args:
        kind: What it is.
        name: Name given by its maker.
        version: Version given by its maker.
        files: Its files, sorted by path.
        label: What it may be used for.
        parents: Digests of the artefacts it was derived from.
        made_by: Sequence number of the event that recorded it; None before it is recorded.
        meta: Small facts of the kind (architecture, base digest of an adapter, quantization ...).
    """

    kind: Kind
    name: str
    version: str
    files: tuple[FileRef, ...]
    label: Label
    parents: tuple[str, ...] = ()
    made_by: int | None = None
    meta: dict[str, Json] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """The artefact's name: SHA-512 over the canonical document of kind and files."""
        return digest_of(self.kind, self.files)

    @property
    def size(self) -> int:
        """Sum of the files' sizes in bytes."""
        return sum(file.size for file in self.files)

    def to_json(self) -> dict[str, Json]:
        """Give the record as canonical plain data, as events and messages carry it.

        Returns:
            All fields, with the digest.
        """
        return {
            "kind": self.kind.value,
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "files": [{"path": f.path, "size": f.size, "digest": f.digest} for f in self.files],
            "label": self.label.to_json(),
            "parents": list(self.parents),
            "made_by": self.made_by,
            "meta": self.meta,
        }


def digest_of(kind: Kind, files: tuple[FileRef, ...]) -> str:
    """Name a set of files.

    Args:
        kind: The artefact's kind.
        files: Its files in any order.

    Returns:
        The artefact digest.
    """
    listed: list[Json] = [{"path": f.path, "size": f.size, "digest": f.digest} for f in sorted(files)]
    return hashing.sha512(canonical.encode({"kind": kind.value, "files": listed}))


def parse(value: object) -> Artefact:
    """Read a record from untrusted plain data.

    Args:
        value: What ``Artefact.to_json`` gives.

    Returns:
        The record, its digest recomputed.

    Raises:
        UntrustedInput: If a field is missing, malformed, or the digest is not that of the contents.
    """
    if not isinstance(value, dict):
        raise _bad("it is not an object")
    fields = {"kind", "name", "version", "digest", "files", "label", "parents", "made_by", "meta"}
    if set(value) != fields:
        raise _bad(f"its fields are not exactly {', '.join(sorted(fields))}")
    if not isinstance(value["kind"], str) or value["kind"] not in set(Kind):
        raise _bad(f"kind {str(value['kind'])[:40]!r} is unknown")
    for name in ("name", "version"):
        if not is_name(value[name]):
            raise _bad(f"{name} {str(value[name])[:40]!r} is not a short printable name")
    files, parents, meta, made_by = value["files"], value["parents"], value["meta"], value["made_by"]
    if not isinstance(files, list) or not isinstance(parents, list) or not isinstance(meta, dict):
        raise _bad("files, parents or meta has the wrong type")
    if made_by is not None and (not isinstance(made_by, int) or isinstance(made_by, bool) or made_by < 0):
        raise _bad("made_by is not a sequence number")
    found = Artefact(
        kind=Kind(value["kind"]),
        name=value["name"],
        version=value["version"],
        files=parse_files(files),
        label=labels.parse(value["label"]),
        parents=tuple(hashing.parse(parent) for parent in parents),
        made_by=made_by,
        meta=meta,
    )
    if found.digest != value["digest"]:
        raise _bad(f"its digest should be {found.digest}")
    return found


def parse_files(value: list[Json]) -> tuple[FileRef, ...]:
    """Read a list of files from untrusted plain data.

    Args:
        value: A list of objects with ``path``, ``size`` and ``digest`` (further keys belong to the caller).

    Returns:
        The files, sorted by path.

    Raises:
        UntrustedInput: If an entry is malformed, a path escapes or appears twice, or there are too many.
    """
    if not 0 < len(value) <= MAX_FILES:
        raise _bad(f"it has {len(value)} files; 1 to {MAX_FILES} are allowed")
    files = []
    for entry in value:
        if not isinstance(entry, dict):
            raise _bad("a file entry is not an object")
        path, size = entry.get("path"), entry.get("size")
        if not is_safe_path(path):
            raise _bad(f"path {str(path)[:80]!r} is not a plain relative path")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise _bad(f"the size of {path} is not a count of bytes")
        files.append(FileRef(str(path), size, hashing.parse(entry.get("digest"))))
    if len({file.path.casefold() for file in files}) != len(files):
        raise _bad("two files have the same path (letter case does not count)")
    return tuple(sorted(files))


def is_name(value: object) -> bool:
    """Tell whether a value is a usable name or version.

    Args:
        value: Anything.

    Returns:
        True for 1 to 128 printable characters without ``/``, ``:`` or ``@`` (these separate parts of model ids), but not
        for ``.`` and ``..``, which name folders.
    """
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_NAME
        and value.isprintable()
        and value not in {".", ".."}
        and not set(value) & set("/:@\\")
    )


def is_safe_path(value: object) -> bool:
    """Tell whether a value is a plain relative path.

    Args:
        value: Anything.

    Returns:
        True if it has no empty, ``.``, ``..`` or hidden part, no backslash and no control character.
    """
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= MAX_PATH
        or not value.isprintable()
        or "\\" in value
    ):
        return False
    return all(
        part and not part.startswith(".") and not part.endswith((" ", ".")) for part in value.split("/")
    )


def _bad(why: str) -> UntrustedInput:
    return UntrustedInput(
        "artefact.form", f"An artefact record is refused: {why}.", remedy="Have it made again by Holdfast."
    )
