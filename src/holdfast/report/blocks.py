"""What a page is made of: sections with tables, as plain data for the template.

Invariants: every cell is a text; a table says in one sentence what it would show where it is empty, and by how much it was
cut. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from holdfast.report import reading, wording

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json

Row = Mapping[str, object]
MAX_SHOWN = 200  # rows of a table on the pages; the JSON has all that the facts hold


def section(title: str, lead: str, *blocks: dict[str, Json]) -> dict[str, Json]:
    """Make a section.

    Args:
        title: Its heading.
        lead: What it is about.
        *blocks: Its tables.

    Returns:
        Plain data for the template.
    """
    return {"title": title, "lead": lead, "blocks": list(blocks)}


def table(
    title: str,
    columns: tuple[tuple[str, int], ...],
    rows: list[Row],
    cells: Callable[[Row], list[str]],
    empty: str,
) -> dict[str, Json]:
    """Make a table.

    Args:
        title: Its heading.
        columns: Names and relative widths.
        rows: What it lists.
        cells: Gives a row's cells.
        empty: What it says where there is nothing.

    Returns:
        Plain data for the template.
    """
    more = len(rows) - MAX_SHOWN
    note = f"{more} more rows are in residency.json." if more > 0 else ""
    return {
        "title": title,
        "columns": [name for name, _ in columns],
        "widths": [width for _, width in columns],
        "rows": [list(cells(row)) for row in rows[:MAX_SHOWN]],
        "note": note if rows else empty,
    }


def rows_of(facts: Row, name: str) -> list[Row]:
    """Give the rows of a section.

    Args:
        facts: The facts.
        name: The section.

    Returns:
        Its rows; none if it has none.
    """
    return [reading.mapping(row) for row in wording.entries(facts.get(name))]
