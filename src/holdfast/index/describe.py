"""What may be asked: the tables and views with their comments, and whether a text can be run over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.governance import queries
from holdfast.index import query

if TYPE_CHECKING:
    import duckdb

    from holdfast.canonical import Json

_SCHEMA = """
SELECT c.table_name, t.kind, t.comment, c.column_name, c.data_type, c.comment
FROM duckdb_columns() AS c
JOIN (
    SELECT table_name AS name, 'table' AS kind, comment FROM duckdb_tables() WHERE NOT internal
    UNION ALL
    SELECT view_name, 'view', comment FROM duckdb_views() WHERE NOT internal
) AS t ON t.name = c.table_name
WHERE NOT c.internal
ORDER BY t.kind, c.table_name, c.column_index
"""
_SAMPLES = {"text": "", "integer": "0", "number": "0", "time": "2000-01-01", "flag": "false"}


def schema(connection: duckdb.DuckDBPyConnection) -> dict[str, Json]:
    """List the tables and views.

    Args:
        connection: A cursor for this thread alone.

    Returns:
        ``tables``: objects with ``name``, ``kind``, ``about`` and ``columns`` (``name``, ``type``, ``about``), tables first.
    """
    found: dict[str, dict[str, Json]] = {}
    columns: dict[str, list[Json]] = {}
    for name, kind, about, column, data_type, told in connection.execute(_SCHEMA).fetchall():
        listed = columns.setdefault(name, [])
        found.setdefault(name, {"name": name, "kind": kind, "about": about, "columns": listed})
        listed.append({"name": column, "type": data_type, "about": told})
    return {"tables": [*found.values()]}


def check(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Json]:
    """Find out whether a text can be run, by beginning to.

    Args:
        connection: A cursor for this thread alone.
        text: One SELECT under its comment lines.

    Returns:
        ``columns`` (name and type) and ``parameters``.

    Raises:
        UntrustedRequest: If it can't.
    """
    declared = queries.parameters(text)
    given = {one.name: _SAMPLES[one.type] for one in declared if one.default is None}
    bound = query.check(connection, text, given)
    with query.answering(connection, text, bound, query.MAX_SECONDS) as answer:
        columns: list[Json] = [{"name": name, "type": kind} for name, kind in answer.columns]
    return {"columns": columns, "parameters": [one.to_json() for one in declared]}
