"""The export worker: evidence in, the rows that fit its filter out. Apart from the daemon, so that ingest never waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.audit import complete, export
from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Write rows.

    Args:
        channel: The worker's channel.
        order: ``evidence`` (the folder, with ``filter.json``), ``out``, and ``names`` (files of ``complete.LISTED``).

    Returns:
        ``rows`` (their number) and ``files``: digests by name.

    Raises:
        WorkerFailed: If the order is malformed.
    """
    evidence, out, names = order.get("evidence"), order.get("out"), order.get("names")
    if not isinstance(evidence, str) or not isinstance(out, str) or not isinstance(names, list):
        raise WorkerFailed("export.order", "The order is malformed.", remedy="Start the export again.")
    first, stop = export.span(Path(evidence))
    found = export.write_rows(
        Path(evidence),
        Path(out),
        [name for name in complete.LISTED if name in names],
        lambda done: channel.progress("writing rows", done, stop - first),
    )
    count = next((count for count, _ in found.values()), 0)
    return {"rows": count, "files": {name: digest for name, (_, digest) in found.items()}}
