"""``holdfast eval check``: a suite judged by its author, before a medium carries it; no daemon is needed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@json_option
def check(suite: Path, *, as_json: bool) -> None:
    """Check SUITE (its folder) without a daemon: every mistake with its line, or what it asks."""
    from holdfast.evaluation import suitefolder

    found = suitefolder.read(suite)
    counts = Counter(item.section for item in found.items)
    sections: list[dict[str, Json]] = [
        {"name": one.name, "metric": one.metric, "primary": one.primary, "items": counts[one.name]}
        for one in found.spec.section
    ]
    told: dict[str, Json] = {"name": found.spec.name, "version": found.spec.version, "sections": [*sections]}
    emit(
        told,
        as_json,
        lambda: [
            f"{suite}: the suite is in order ({found.spec.name}@{found.spec.version}, {len(found.items)} items)",
            *table(
                ("section", "metric", "items", "primary"),
                [
                    (one["name"], one["metric"], one["items"], "yes" if one["primary"] else "")
                    for one in sections
                ],
            ),
        ],
    )
