"""Media that come late or bring bad news: one that has expired, one that only revokes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.media import build
from holdfast.media.build import Order
from holdfast.trust import revocation
from holdfast.trust.revocation import Revocation

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """\
schema = "holdfast.medium/1"
name = "news"
version = "{version}"
description = "Revocations alone."
publisher = "Test works"
expires_days = {days}
"""


def quiet(step: str, done: int, total: int) -> None:
    """Take progress and say nothing."""


def revoke(
    press, name: str, previous: Path, *found, reason: str, instead=None, age: int = 0, days: int = 365
):
    """Publish a medium that only revokes artefacts, made some days ago and good for some days."""
    folder = press.folder / f"{name}-source"
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE.format(version=name, days=days))
    now = (datetime.now(UTC) - timedelta(days=age)).replace(microsecond=0)
    start = build.origin(None, previous)
    listed = None if start.revocations is None else revocation.parse(start.revocations)
    for one in found:
        entry = Revocation(one.digest, one.kind.value, one.name, reason, instead, now)
        listed = revocation.extended(listed, entry, now)
    order = Order(revocations=listed.encode())
    made = build.build(
        folder / "recipe.toml", press.folder / name, press.pairs, start, now=now, progress=quiet, order=order
    )
    return made.folder
