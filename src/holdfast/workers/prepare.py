"""The preparation worker: reads the files of one data set and leaves its rows, its profile, and what was set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.preparation.order import PrepareOrder

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.preparation.sources import Reporter


def main(channel: Reporter, order: dict[str, Json]) -> dict[str, Json]:
    """Prepare a data set.

    Args:
        channel: Whom to report to.
        order: A ``PrepareOrder`` as plain data.

    Returns:
        ``finished``; if it is, also the names of the ``files`` written.
    """
    asked = PrepareOrder.model_validate(order)
    channel.progress("loading the preparation libraries", 0, 0)
    from holdfast.preparation import prepare, sources

    try:
        taken = prepare.read(asked, channel)
        prepare.require(taken, quarantine=asked.quarantine)
        found = prepare.examine(taken, asked, channel)
        names = prepare.write(found, asked.out)
    except sources.Stopped:
        return {"finished": False}
    return {"finished": True, "files": [*names]}
