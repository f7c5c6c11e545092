"""The confined inspection of what is about to come in.

Order: ``{"artefacts": [record, ...], "installed": [digest, ...]}``; each record is ``Artefact.to_json`` with ``path``, the
folder of its files in this worker's view. The result is ``{"facts": {...}, "compatible": {...}}``; refusals become one
``UntrustedBundle`` whose fields ``findings``, ``keys`` and ``files`` list all of them, each with the key it is filed under and the
file it is about. Files are read with the bounded readers of ``formats``, one open at a time; nothing of theirs is run, but that
chat templates are tried in their sandbox. An artefact that needs more memory than this worker has is a finding as well.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Self

from holdfast import artefact
from holdfast.artefact import Kind
from holdfast.errors import UntrustedBundle, WorkerFailed
from holdfast.formats import inspection
from holdfast.formats.inspection import Inspection
from holdfast.store.hashfile import read_exactly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

_MAX_SHOWN = 20  # refusals in the error's sentence; all are in its fields


def main(channel: Channel, order: Mapping[str, Json]) -> dict[str, Json]:
    """Inspect staged artefacts.

    Args:
        channel: The worker's end of the channel.
        order: As the module's description says.

    Returns:
        As the module's description says.

    Raises:
        UntrustedBundle: If anything speaks against letting them in.
        WorkerFailed: If the order is malformed.
    """
    staged = _order(order)
    refusals: list[tuple[Artefact, UntrustedBundle]] = []
    facts: dict[str, dict[str, Json]] = {}
    for number, (record, folder) in enumerate(staged):
        channel.progress(f"inspecting {record.kind} {record.name}", number, len(staged))
        try:
            found = inspect_folder(record, folder)
        except MemoryError:
            refusals.append((record, _exhausted()))
        else:
            facts[record.digest] = found.facts
            refusals += [(record, problem) for problem in found.refusals]
    channel.progress("inspected", len(staged), len(staged))
    records = [record for record, _ in staged]
    installed = order.get("installed")
    present = {record.digest for record in records}
    present |= {str(digest) for digest in installed} if isinstance(installed, list) else set()
    refusals += _pairs(records, facts)
    compatible = {}
    for record in records:
        missing = [parent for parent in record.parents if parent not in present]
        compatible[record.digest] = not missing
        if record.kind is Kind.ADAPTER and (missing or not record.parents):
            refusals.append((record, _without_base()))
    if refusals:
        told = [f"{record.kind}/{record.name}: {problem.message}" for record, problem in refusals]
        raise UntrustedBundle(
            "inspect.refused",
            " ".join(told[:_MAX_SHOWN]),
            remedy="Nothing was let in; ask the publisher for a medium without these faults.",
            findings=told,
            keys=[problem.key for _, problem in refusals],
            files=[str(problem.fields.get("file", "")) for _, problem in refusals],
        )
    return {"facts": {**facts}, "compatible": {**compatible}}


def inspect_folder(record: Artefact, folder: Path) -> Inspection:
    """Judge the files of one artefact in a folder.

    Args:
        record: The artefact; exactly its files must be there.
        folder: Where they are.

    Returns:
        Findings and facts; a file that is missing, not listed or no plain file is a finding.
    """
    found = {str((base / name).relative_to(folder)): base / name for base, name in _walk(folder)}
    listed = {file.path for file in record.files}
    odd = [_odd(path, "is not listed") for path in sorted(found.keys() - listed)]
    odd += [_odd(path, "is missing") for path in sorted(listed - found.keys())]
    facts = {path: found[path].lstat() for path in sorted(listed & found.keys())}
    odd += [_odd(path, "is no plain file") for path, one in facts.items() if not stat.S_ISREG(one.st_mode)]
    sizes = {path: one.st_size for path, one in facts.items() if stat.S_ISREG(one.st_mode)}
    with _Files(folder) as files:
        judged = inspection.inspect(record.kind, sizes, files.read)
    return Inspection(judged.files, [*odd, *judged.together])


class _Files:
    """The files of a folder, of which one is open at a time; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = ""
        self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def read(self, path: str, offset: int, length: int) -> bytes:
        if path != self._path:
            self.__exit__()
            self._handle, self._path = -1, ""
            self._handle = os.open(self._folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._path = path
        return read_exactly(self._handle, offset, length)


def _walk(folder: Path) -> list[tuple[Path, str]]:
    """List what is not a folder; a link to one counts as a file."""
    found = []
    for base, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(base) / name).is_symlink()]
        found += [(Path(base), name) for name in (*names, *links)]
    return found


def _pairs(
    records: list[Artefact], facts: Mapping[str, Mapping[str, Json]]
) -> list[tuple[Artefact, UntrustedBundle]]:
    """Compare bases with the tokenizers that came with them; a base and its tokenizer have one name."""
    refusals = []
    bases = {
        record.name: facts[record.digest]
        for record in records
        if record.kind is Kind.BASE and record.digest in facts
    }
    for record in records:
        if record.kind is Kind.TOKENIZER and record.name in bases and record.digest in facts:
            tokens, rows = facts[record.digest].get("tokenizer"), bases[record.name].get("vocab_size")
            last = tokens.get("highest_id") if isinstance(tokens, dict) else None
            if isinstance(last, int) and isinstance(rows, int) and last >= rows:
                why = f"it gives ids up to {last}, and the base of its name has embeddings for {rows}."
                refusals.append((record, _bad("inspect.tokenizer", why)))
    return refusals


def _odd(path: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "inspect.files", f"{path} {why}.", remedy="Copy the medium again from its publisher.", file=path
    )


def _without_base() -> UntrustedBundle:
    return _bad("inspect.base", "the base it was trained on is neither here nor on this medium.")


def _exhausted() -> UntrustedBundle:
    return _bad("inspect.limits", "it can't be read within the memory that the inspection is given.")


def _bad(key: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(key, why, remedy="Ask the publisher for a medium without this fault.")


def _order(order: Mapping[str, Json]) -> list[tuple[Artefact, Path]]:
    listed = order.get("artefacts")
    staged = []
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, dict) and isinstance(item.get("path"), str):
            record = artefact.parse({key: value for key, value in item.items() if key != "path"})
            staged.append((record, Path(str(item["path"]))))
    if not isinstance(listed, list) or len(staged) != len(listed) or not staged:
        raise WorkerFailed("inspect.order", "The order names no artefacts.", remedy="See the job's log.")
    return staged
