"""The table of what was released. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.report import wording
from holdfast.report.blocks import rows_of, table

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.report.blocks import Row


def releases(facts: Row) -> dict[str, Json]:
    """Lay out the table.

    Args:
        facts: What ``facts.gather`` gives.

    Returns:
        The block.
    """
    return table(
        "Releases",
        (("Alias", 2), ("What", 3), ("Run", 2), ("Proposed by", 3), ("Decided by", 3), ("State", 3)),
        rows_of(facts, "releases"),
        lambda row: [
            wording.said(row.get("alias")),
            f"{wording.said(row.get('kind'))} {wording.short(row.get('product'))}",
            wording.short(row.get("run")),
            f"{wording.said(row.get('requester'))}, {wording.when(row)}",
            wording.decision(row) or "nobody yet",
            wording.said(row.get("state")),
        ],
        "Nothing was released.",
    )
