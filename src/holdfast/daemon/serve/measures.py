"""What engines measured, kept for the next engine of the same weights: one small file in the home.

An engine writes nothing itself and may have been taken over by the weights that it opened, so what it says is read strictly, and is
only ever told to engines of the same weights, which use it if all that it depends on is the same. Invariants: the file is replaced
whole; it holds at most ``MAX_KEPT`` measurements, the ones written last; a file that is not of our form, or can't be read or
written, counts as empty: then engines measure. Whoever launches engines does so one at a time, so nobody else writes meanwhile.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import HoldfastError
from holdfast.serving import measured
from holdfast.store import disk

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.serving.measured import Measured
    from holdfast.store.disk import Disk

SCHEMA = "holdfast.measured/1"
MAX_KEPT = 64  # sets of weights; four times as many as are served at once
MAX_FILE = 64 * 2**10  # bytes; MAX_KEPT measurements take some 26 KiB


def find(path: Path, weights: str) -> Measured | None:
    """Find what was measured of some weights. Blocks.

    Args:
        path: The file.
        weights: Their digest.

    Returns:
        The measurement; None if there is none.
    """
    return _read(path).get(weights)


def keep(path: Path, weights: str, found: Measured, on: Disk = disk.HOST) -> None:
    """Keep what was measured, if the disk takes it. Blocks.

    Args:
        path: The file; its folder holds nothing else.
        weights: Digest of the weights.
        found: The measurement.
        on: The disk.
    """
    rest = {name: one for name, one in _read(path).items() if name != weights}
    kept = dict([*rest.items(), (weights, found)][-MAX_KEPT:])
    entries: list[canonical.Json] = [{"weights": name, **one.plain()} for name, one in kept.items()]
    with contextlib.suppress(OSError):  # the next engine measures again
        disk.make_folders(path.parent, on)
        disk.remove_drafts(path.parent, on)
        disk.write_file(path, canonical.encode({"schema": SCHEMA, "measured": entries}), on=on)


def _read(path: Path) -> dict[str, Measured]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        told = canonical.decode(data, limit=MAX_FILE, what=path.name)
    except (OSError, HoldfastError):
        return {}
    match told:
        case {"schema": str(schema), "measured": list(entries)} if schema == SCHEMA:
            return dict(filter(None, map(_entry, entries[:MAX_KEPT])))
    return {}


def _entry(told: canonical.Json) -> tuple[str, Measured] | None:
    if not isinstance(told, dict):
        return None
    name, found = (
        told.get("weights"),
        measured.parse({key: one for key, one in told.items() if key != "weights"}),
    )
    return (name, found) if isinstance(name, str) and found is not None else None
