"""Answers from the index: pages of events, and people's SQL.

Invariants: people's SQL is one SELECT over the index's own tables and a few harmless table functions, in a transaction that
can't write; it ends at its time, row and size limits, and whatever it does wrong is the asker's error, not ours.
"""

from __future__ import annotations

import json
import math
import threading
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

import duckdb

from holdfast.audit.actions import REGISTRY
from holdfast.canonical import MAX_SAFE_INTEGER
from holdfast.errors import UntrustedRequest, UsageRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.canonical import Json

MAX_SQL = 65_536  # bytes of one statement
MAX_ROWS = 10_000  # rows of one answer
MAX_ANSWER = 2 * 2**20  # characters of one answer; a frame carries them even if each is written as \u0000
MAX_CELL = 270_000  # characters of one cell; an event's params fit
MAX_SECONDS = 10.0  # of one statement
MAX_NODES = 20_000  # nodes of a statement's syntax tree
_FETCH = 256  # rows taken from DuckDB at once
# Functions that make rows of what they are given. All others read files, settings or raw memory.
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat", "json_each", "json_tree"})
_FILTERS = {
    "action": "(action = $action OR act = $action)",
    "person": "person = $person",
    "role": "role = $role",
    "kind": "subject_kind = $kind",
    "digest": "subject_digest = $digest",
    "cause": "(cause = $cause OR seq = $cause)",
    "phase": "phase = $phase",
    "since": "time >= CAST($since AS TIMESTAMP)",
    "until": "time < CAST($until AS TIMESTAMP)",
}


def sql(
    connection: duckdb.DuckDBPyConnection, statement: str, *, limit: int, seconds: float = MAX_SECONDS
) -> dict[str, Json]:
    """Answer a person's SELECT.

    Args:
        connection: A cursor for this thread alone.
        statement: One SELECT.
        limit: Most rows wanted; at most ``MAX_ROWS`` are given.
        seconds: When to stop it.

    Returns:
        ``columns`` (name and type), ``rows`` (lists), ``truncated``.

    Raises:
        UntrustedRequest: If it is not one SELECT, reaches outside, fails, or needs too much.
    """
    _check(connection, statement)
    return _run(connection, statement, {}, limit, seconds)


def page(
    connection: duckdb.DuckDBPyConnection, *, before: int | None, limit: int, wanted: dict[str, Json]
) -> dict[str, Json]:
    """List events, newest first.

    Args:
        connection: A cursor for this thread alone.
        before: Only events below this sequence number; None for the newest.
        limit: Most events wanted.
        wanted: Values by filter name: ``action``, ``person``, ``role``, ``kind``, ``digest``, ``cause``, ``phase``,
            ``since``, ``until``.

    Returns:
        ``events`` (objects with all columns and the action's ``sentence``) and ``next`` (the ``before`` of the next page,
        None at the end).

    Raises:
        UsageRefused: If a filter is unknown.
    """
    unknown = sorted(set(wanted) - set(_FILTERS))
    if unknown:
        raise UsageRefused(
            "index.filter", f"There is no filter {unknown[0]!r}.", remedy=f"Use one of {', '.join(_FILTERS)}."
        )
    given: dict[str, Json] = {**wanted, "before": MAX_SAFE_INTEGER if before is None else before}
    conditions = " AND ".join(["seq < $before", *(_FILTERS[name] for name in wanted)])
    statement = f"SELECT * FROM events WHERE {conditions} ORDER BY seq DESC"  # noqa: S608 - fixed texts only
    answer = _run(connection, statement, given, limit, MAX_SECONDS)
    columns, rows = answer["columns"], answer["rows"]
    names = (
        [str(column["name"]) for column in columns if isinstance(column, dict)]
        if isinstance(columns, list)
        else []
    )
    events: list[Json] = [
        _event(dict(zip(names, row, strict=True)))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, list)
    ]
    last = events[-1] if events and answer["truncated"] else None
    return {"events": events, "next": last["seq"] if isinstance(last, dict) else None}


def _event(row: dict[str, Json]) -> Json:
    known = REGISTRY.get(str(row["action"]))
    return {**row, "params": json.loads(str(row["params"])), "sentence": known.sentence if known else ""}


def _check(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    if len(statement.encode(errors="replace")) > MAX_SQL:
        raise _refused("too-long", f"it has more than {MAX_SQL} bytes")
    try:
        parsed = connection.extract_statements(statement)
        if len(parsed) != 1:
            raise _refused("count", f"it holds {len(parsed)} statements")
        if parsed[0].type != duckdb.StatementType.SELECT:
            raise _refused("not-select", f"it is a {parsed[0].type.name} statement")
        tree = json.loads(_text(connection, statement))
    except duckdb.Error as error:
        raise _refused("syntax", str(error)) from error
    if tree.get("error"):
        raise _refused("not-select", str(tree.get("error_message", "it can't be read")))
    for count, node in enumerate(_nodes(tree)):
        if count > MAX_NODES:
            raise _refused("too-long", f"it has more than {MAX_NODES} parts")
        function = node["function"] if node.get("type") == "TABLE_FUNCTION" else None
        if isinstance(function, dict) and function.get("function_name") not in _TABLE_FUNCTIONS:
            raise _refused(
                "function", f"it calls {function.get('function_name')}(), which reaches beyond the index"
            )


def _text(connection: duckdb.DuckDBPyConnection, statement: str) -> str:
    found = connection.execute("SELECT json_serialize_sql(CAST(? AS VARCHAR))", [statement]).fetchall()
    return str(found[0][0])


def _nodes(tree: object) -> Iterator[dict[str, object]]:
    """Walk a syntax tree's objects without recursion."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _run(
    connection: duckdb.DuckDBPyConnection, statement: str, given: dict[str, Json], limit: int, seconds: float
) -> dict[str, Json]:
    """Run a statement that can't write, within the limits."""
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        connection.execute("BEGIN TRANSACTION READ ONLY")
        connection.execute(statement, given)
        columns: list[Json] = [
            {"name": each[0], "type": str(each[1])} for each in connection.description or ()
        ]
        rows, truncated = _fetch(connection.fetchmany, max(1, min(limit, MAX_ROWS)))
    except duckdb.InterruptException as error:
        raise _refused("time", f"it was stopped after {seconds:g} seconds") from error
    except duckdb.OutOfMemoryException as error:
        raise _refused("memory", "it needs more memory than the index may use") from error
    except duckdb.Error as error:
        raise _refused("failed", str(error)) from error
    finally:
        timer.cancel()
        _end(connection)
    return {"columns": columns, "rows": rows, "truncated": truncated}


def _end(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.rollback()
    except duckdb.Error:
        return  # the statement had already ended its transaction


def _fetch(take: Callable[[int], list[tuple[object, ...]]], limit: int) -> tuple[list[Json], bool]:
    rows: list[Json] = []
    size = 0
    while part := take(min(_FETCH, limit + 1 - len(rows))):
        for row in part:
            cells: list[Json] = [_plain(cell) for cell in row]
            size += sum(len(str(cell)) for cell in cells)
            if len(rows) == limit or size > MAX_ANSWER:
                return rows, True
            rows.append(cells)
    return rows, False


def _plain(value: object) -> Json:
    """Give a cell as JSON; what JSON can't hold becomes text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_SAFE_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()[:MAX_CELL]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)[:MAX_CELL]


def _refused(key: str, why: str) -> UntrustedRequest:
    return UntrustedRequest(
        f"index.sql-{key}",
        f"The query is refused: {why.rstrip('.')}.",
        remedy="Write one SELECT over events, acts, denials, artefacts or answers (DESCRIBE events lists the columns).",
    )
