"""Answers from the index: pages of events, and people's SQL.

Invariants: people's SQL is one SELECT over the index's own tables and a few harmless table functions, in a transaction that
can't write; it ends at its time, row and size limits, and whatever it does wrong is the asker's error, not ours.
"""

from __future__ import annotations

import json
import math
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

import duckdb

from holdfast.audit import actions
from holdfast.canonical import MAX_SAFE_INTEGER
from holdfast.errors import UntrustedRequest, UsageRefused, WorkerFailed
from holdfast.governance import queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from holdfast.canonical import Json

MAX_ROWS = 10_000  # rows of one answer
MAX_ANSWER = 2 * 2**20  # characters of one answer; a frame carries them even if each is written as \u0000
MAX_CELL = 66_000  # characters of one cell; an event's params fit
MAX_SECONDS = 10.0  # of one statement
MAX_NODES = 20_000  # nodes of a statement's syntax tree
_FETCH = 256  # rows taken from DuckDB at once
_AGAIN = 0.2  # seconds between two interruptions of a statement whose time is over
_DAMAGE = (duckdb.IOException, duckdb.FatalException, duckdb.SerializationException)
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


class IndexDamaged(WorkerFailed):
    """The database could not be read; the next question finds it compared with the log, or built anew."""


@dataclass(frozen=True)
class Answer:
    """What a statement gives, while it runs.

    Args:
        columns: Name and type of each column.
        origin: The log's name.
        first: First event that was in the index.
        size: One past the last event that was in the index.
        root: Merkle root over all events below ``size``, hexadecimal.
        take: Gives the next rows, at most so many; nothing at the end.
    """

    columns: tuple[tuple[str, str], ...]
    origin: str
    first: int
    size: int
    root: str
    take: Callable[[int], list[tuple[object, ...]]]

    def head(self) -> dict[str, Json]:
        """Say of which part of which log this is an answer.

        Returns:
            ``origin``, ``first``, ``size`` and ``root``.
        """
        return {"origin": self.origin, "first": self.first, "size": self.size, "root": self.root}


def sql(
    connection: duckdb.DuckDBPyConnection,
    statement: str,
    given: Mapping[str, str],
    *,
    limit: int,
    seconds: float = MAX_SECONDS,
) -> dict[str, Json]:
    """Answer a person's SELECT.

    Args:
        connection: A cursor for this thread alone.
        statement: One SELECT, with parameters as in ``governance.queries``.
        given: Values of its parameters.
        limit: Most rows wanted; at most ``MAX_ROWS`` are given.
        seconds: When to stop it.

    Returns:
        ``columns`` (name and type), ``rows`` (lists), ``truncated``, and the part of the log that it answers for.

    Raises:
        UntrustedRequest: If it is not one SELECT, reaches outside, fails, or needs too much.
    """
    with answering(connection, statement, check(connection, statement, given), seconds) as answer:
        rows, truncated = _fetch(answer.take, max(1, min(limit, MAX_ROWS)))
    columns: list[Json] = [{"name": name, "type": kind} for name, kind in answer.columns]
    return {"columns": columns, "rows": rows, "truncated": truncated, **answer.head()}


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
    given: dict[str, Json] = {**wanted, "before": MAX_SAFE_INTEGER if before is None else before}
    conditions = f"seq < $before AND {condition(wanted)}"
    most = max(1, min(limit, MAX_ROWS))
    # One more than wanted tells whether more follow; without the bound, every event would be sorted for one page.
    statement = f"SELECT * FROM events WHERE {conditions} ORDER BY seq DESC LIMIT {most + 1}"  # noqa: S608 - fixed texts
    with answering(connection, statement, given, MAX_SECONDS) as answer:
        rows, truncated = _fetch(answer.take, most)
    names = [name for name, _ in answer.columns]
    events: list[Json] = [_event(dict(zip(names, row, strict=True))) for row in rows if isinstance(row, list)]
    last = events[-1] if events and truncated else None
    return {"events": events, "next": last["seq"] if isinstance(last, dict) else None}


def condition(wanted: Mapping[str, Json]) -> str:
    """Write a declarative filter as a condition over the table ``events``.

    Args:
        wanted: Values by filter name, to be bound under the same names.

    Returns:
        SQL, of fixed texts only.

    Raises:
        UsageRefused: If a filter is unknown.
    """
    unknown = sorted(set(wanted) - set(_FILTERS))
    if unknown:
        raise UsageRefused(
            "index.filter",
            f"There is no filter {unknown[0][:60]!r}.",
            remedy=f"Use one of {', '.join(_FILTERS)}.",
        )
    return " AND ".join(_FILTERS[name] for name in wanted) or "true"


def _event(row: dict[str, Json]) -> Json:
    kind, digest = row["subject_kind"], row["subject_digest"]
    told: dict[str, Json] = {
        "action": row["action"],
        "actor": {name: row[name] for name in ("person", "uid", "role", "session")},
        "subject": None if kind is None else {"kind": kind, "digest": digest},
        "params": json.loads(str(row["params"])),
        "cause": row["cause"],
    }
    return {**row, "params": told["params"], "sentence": actions.describe(told)}


def check(connection: duckdb.DuckDBPyConnection, statement: str, given: Mapping[str, str]) -> queries.Bound:
    """Refuse what is not one SELECT over the index, and type the values that are to be bound.

    Args:
        connection: A cursor for this thread alone.
        statement: The text.
        given: Values of its parameters.

    Returns:
        What is to be bound.

    Raises:
        UntrustedRequest: If it is not one SELECT, reaches outside, or its parameters are not those that are set.
    """
    bound = queries.bind(statement, given)
    named = judge(connection, statement)
    for name in sorted(named ^ set(bound)):
        why = f"${name} is not set" if name in named else f"${name} is set and nowhere used"
        raise _refused("parameter", why, _SET)
    return bound


def judge(connection: duckdb.DuckDBPyConnection, statement: str) -> set[str]:
    """Refuse what is not one SELECT over the index.

    Args:
        connection: A cursor for this thread alone.
        statement: The text.

    Returns:
        Names of its parameters.

    Raises:
        UntrustedRequest: If it is anything else.
    """
    if len(statement.encode(errors="replace")) > queries.MAX_SQL:
        raise _refused("too-long", f"it has more than {queries.MAX_SQL} bytes")
    try:
        parsed = connection.extract_statements(statement)
        if len(parsed) != 1:
            raise _refused("count", f"it holds {len(parsed)} statements")
        if parsed[0].type != duckdb.StatementType.SELECT:
            raise _refused("not-select", f"it is a {parsed[0].type.name} statement")
        tree = json.loads(_text(connection, statement))
    except duckdb.Error as error:
        raise _refused("syntax", str(error)) from error
    except RecursionError as error:
        raise _refused("too-deep", "its parts are nested too deeply") from error
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
    return {str(name) for name in parsed[0].named_parameters}


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


@contextmanager
def answering(
    connection: duckdb.DuckDBPyConnection, statement: str, bound: Mapping[str, object], seconds: float
) -> Iterator[Answer]:
    """Run a statement that can't write, within its limits, over one state of the index.

    Args:
        connection: A cursor for this thread alone.
        statement: What was checked, or is ours.
        bound: Values of its parameters.
        seconds: When to stop it.

    Yields:
        The answer, to be taken inside the block.

    Raises:
        UntrustedRequest: If it fails or needs too much.
        IndexDamaged: If the database can't be read.
    """
    over = threading.Event()
    limiter = threading.Thread(
        target=_limit, args=(connection, seconds, over), name="index-limit", daemon=True
    )
    limiter.start()
    try:
        connection.execute("BEGIN TRANSACTION READ ONLY")
        head = connection.execute("SELECT origin, first, size, root FROM head").fetchall()
        origin, first, size, root = head[0] if head else ("", 0, 0, "")
        connection.execute(statement, dict(bound))
        columns = tuple((each[0], str(each[1])) for each in connection.description or ())
        yield Answer(columns, origin, first, size, root, connection.fetchmany)
    except duckdb.InterruptException as error:
        raise _refused("time", f"it was stopped after {seconds:g} seconds", _LESS) from error
    except duckdb.OutOfMemoryException as error:
        raise _refused("memory", "it needs more memory than the index may use", _LESS) from error
    except (RecursionError, OverflowError, ValueError) as error:  # of the answer's values, in Python's hands
        raise _refused(
            "value", "a value of its answer is nested too deeply, or beyond what can be shown"
        ) from error
    except MemoryError as error:
        raise _refused("memory", "its answer needs more memory than there is", _LESS) from error
    except duckdb.Error as error:
        if isinstance(error, _DAMAGE) or type(error) is duckdb.Error:
            raise IndexDamaged(
                "index.damaged",
                f"The index can't be read: {str(error).splitlines()[0][:200]}.",
                remedy="Ask again: it is compared with the log first, and built anew.",
            ) from error
        raise _refused("failed", str(error)) from error
    finally:
        over.set()
        limiter.join()  # an interruption that came later would meet whatever the connection does next
        _end(connection)


def _limit(connection: duckdb.DuckDBPyConnection, seconds: float, over: threading.Event) -> None:
    """Stop what runs when its time is over; again and again, for what has not begun to run is not interrupted."""
    while not over.wait(seconds):
        connection.interrupt()
        seconds = _AGAIN


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
            cells: list[Json] = [plain(cell) for cell in row]
            size += sum(len(str(cell)) for cell in cells)
            if len(rows) == limit or size > MAX_ANSWER:
                return rows, True
            rows.append(cells)
    return rows, False


def plain(value: object) -> Json:
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
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)[:MAX_CELL]


_SET = (
    "Set each $name of the text with --set NAME=VALUE; one that is saved declares them above itself, "
    "as in `-- $since time: From then on.`"
)
_LESS = "Ask for less: a shorter range of seq or time, fewer columns, or fewer rows."


def _refused(
    key: str,
    why: str,
    remedy: str = "Write one SELECT over the tables and views that `holdfast audit sql --schema` lists.",
) -> UntrustedRequest:
    return UntrustedRequest(f"index.sql-{key}", f"The query is refused: {why.rstrip('.')}.", remedy=remedy)
