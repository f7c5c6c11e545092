"""Saved queries at the terminal: picked, their parameters filled in, their rows read. Pure words; the section does the work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from holdfast.parts import records
from holdfast_tui.reading import line, number, told
from holdfast_tui.screens.dialogs import Field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.canonical import Json

MAX_ROWS = 1_000  # that are asked for; `audit sql --out` writes any number
HEADS = (("query", 22), ("needs", 20), ("answers", 70))


def listed(queries: Sequence[Mapping[str, Json]]) -> list[tuple[str, tuple[str, str, str]]]:
    """Lay queries out as rows to pick from.

    Args:
        queries: As the daemon lists them.

    Returns:
        Name and cells of each; a parameter that has a default needs nothing.
    """
    return [
        (
            told(one.get("name")),
            (
                told(one.get("name")),
                " ".join(
                    told(each.get("name"))
                    for each in records(one.get("parameters"))
                    if each.get("default") is None
                ),
                told(one.get("about")),
            ),
        )
        for one in queries
    ]


def note(query: Mapping[str, Json]) -> str:
    """Say what a query answers, and whose it is.

    Args:
        query: As the daemon lists it.

    Returns:
        One or two sentences.
    """
    by = query.get("saved_by")
    return f"{line(told(query.get('about')))} {f'Saved by {by}.' if by else 'It comes with the software.'}"


def fields(query: Mapping[str, Json]) -> list[Field]:
    """Ask for a query's parameters.

    Args:
        query: As the daemon lists it.

    Returns:
        One line of a form for each; what must be given comes first, as Enter goes on to that.
    """
    ordered = sorted(records(query.get("parameters")), key=lambda one: one.get("default") is not None)
    return [
        Field(
            told(one.get("name")),
            f"{told(one.get('name'))}, {told(one.get('type'))}: {told(one.get('about'))}",
            "" if one.get("default") is None else str(one["default"]),
            optional=one.get("default") is not None,
        )
        for one in ordered
    ]


def rows(found: Mapping[str, Json]) -> tuple[list[str], list[list[str]]]:
    """Take an answer's columns and rows.

    Args:
        found: The daemon's answer.

    Returns:
        Names of the columns, and every row's cells as text, as many as there are names.
    """
    heads = [told(one.get("name")) for one in records(found.get("columns"))]
    given = found.get("rows")
    cells = [one for one in given if isinstance(one, list)] if isinstance(given, list) else []
    return heads, [[_cell(one[at] if at < len(one) else None) for at in range(len(heads))] for one in cells]


def _cell(value: Json) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else "yes" if value is True else "no" if value is False else str(value)


def covered(name: str, found: Mapping[str, Json]) -> str:
    """Say for which part of the log an answer counts, and how to have it in files.

    Args:
        name: The query.
        found: The daemon's answer.

    Returns:
        A sentence or two.
    """
    size = number(found.get("size"))
    part = f"of events {number(found.get('first'))} to {size - 1} of {told(found.get('origin'))}"
    if found.get("truncated"):
        part += ". THERE ARE MORE ROWS"
    return f"{part}. `holdfast audit sql --saved {name} --out DIR` writes all, with proofs."
