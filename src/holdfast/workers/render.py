"""The render worker: facts in, the report's PDF and JSON out. It opens no socket and reads no input folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.errors import WorkerFailed
from holdfast.report.render import form_of, render

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Render a residency report or an import's receipt.

    Args:
        channel: The worker's channel.
        order: ``facts`` (see ``report.facts`` and ``report.receipt``) and ``out``, the folder that may be written.

    Returns:
        ``files``: by name, ``digest`` (SHA-512 of the bytes) and ``size``.

    Raises:
        WorkerFailed: If the order is malformed.
    """
    facts, out = order.get("facts"), order.get("out")
    if not isinstance(facts, dict) or not isinstance(out, str):
        raise WorkerFailed(
            "render.order", "The order names no facts or no folder.", remedy="Start the report again."
        )
    channel.progress("setting the pages", 0, 1)
    pdf, data = render(facts)
    form = form_of(facts)
    files: dict[str, Json] = {}
    for name, content in ((form.pdf, pdf), (form.facts, data)):
        (Path(out) / name).write_bytes(content)
        files[name] = {"digest": hashing.sha512(content), "size": len(content)}
    channel.progress("setting the pages", 1, 1)
    return {"files": files}
