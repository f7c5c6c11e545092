"""The confined inspection of what is about to come in.

Order: ``{"artefacts": [record, ...], "installed": [digest, ...]}``; each record is ``Artefact.to_json`` with ``path``, the
folder of its files in this worker's view. The result is ``{"findings": [...], "facts": {...}, "compatible": {...}}``; any refusal becomes an
``UntrustedBundle`` that lists all of them. Files are read with the bounded readers of ``formats``; nothing of theirs is run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import artefact
from holdfast.artefact import Kind
from holdfast.errors import UntrustedBundle, WorkerFailed
from holdfast.formats import inspection
from holdfast.store.hashfile import read_exactly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.formats.inspection import Inspection
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
    findings: list[Json] = []
    refusals: list[str] = []
    facts: dict[str, Json] = {}
    for number, (record, folder) in enumerate(staged):
        channel.progress(f"inspecting {record.kind} {record.name}", number, len(staged))
        found = inspect_folder(record, folder)
        facts[record.digest] = found.facts
        for problem in found.refusals:
            where = f"{record.kind}/{record.name}"
            findings.append({"artefact": where, "key": problem.key, "message": problem.message})
            refusals.append(f"{where}: {problem.message}")
    channel.progress("inspected", len(staged), len(staged))
    installed = order.get("installed")
    present = {record.digest for record, _ in staged}
    present |= {str(digest) for digest in installed} if isinstance(installed, list) else set()
    compatible = {}
    for record, _ in staged:
        missing = [parent for parent in record.parents if parent not in present]
        compatible[record.digest] = not missing
        if record.kind is Kind.ADAPTER and (missing or not record.parents):
            refusals.append(
                f"adapter/{record.name}: the base it was trained on is neither here nor on this medium"
            )
    if refusals:
        raise UntrustedBundle(
            "inspect.refused",
            " ".join(refusals[:_MAX_SHOWN]),
            remedy="Nothing was let in; ask the publisher for a medium without these faults.",
            findings=refusals,
        )
    return {"findings": findings, "facts": facts, "compatible": {**compatible}}


def inspect_folder(record: Artefact, folder: Path) -> Inspection:
    """Judge the files of one artefact in a folder.

    Args:
        record: The artefact; exactly its files must be there.
        folder: Where they are.

    Returns:
        Findings and facts.

    Raises:
        UntrustedBundle: If the folder holds another set of files.
    """
    found = {str((base / name).relative_to(folder)) for base, name in _walk(folder)}
    listed = {file.path for file in record.files}
    if found != listed:
        odd = min(found ^ listed)
        raise UntrustedBundle(
            "inspect.files",
            f"{record.kind}/{record.name}: {odd} is {'not listed' if odd in found else 'missing'}.",
            remedy="Copy the medium again from its publisher.",
            file=odd,
        )
    handles = {path: os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW) for path in sorted(listed)}
    try:
        sizes = {path: os.fstat(handle).st_size for path, handle in handles.items()}
        return inspection.inspect(
            record.kind, sizes, lambda path, offset, length: read_exactly(handles[path], offset, length)
        )
    finally:
        for handle in handles.values():
            os.close(handle)


def _walk(folder: Path) -> list[tuple[Path, str]]:
    return [(Path(base), name) for base, _, names in os.walk(folder) for name in names]


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
