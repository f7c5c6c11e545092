"""The database of the index: opened inside its walls, laid out from ``schema``, and compared with that layout.

Invariants: DuckDB runs without file access, extensions or replacement scans, and its configuration is locked; a layout is ours
only if every table, view, column, comment, macro and type is the one that ``schema`` makes, because a view that hides rows or a
macro that stands in for a function answers falsely over rows that are all there.
"""

from __future__ import annotations

import json
import shutil
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types

from holdfast.audit import actions

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = "512MB"  # of DuckDB; a query that needs more sorts on the disk
SPILL = "1GB"  # that it may take there; a query that needs more is refused
THREADS = 2  # of DuckDB; the index shares the machine with training and serving
DATABASE = "index.duckdb"

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "max_temp_directory_size": SPILL,
    "threads": THREADS,
    "memory_limit": MEMORY,
}
_TYPE_COLUMNS = ("action", "act", "phase", "producer", "essential", "meaning", "sentence", "controls")
# Everything that a database can hold beside rows, each with a name and what it is.
_CATALOGUE = """
SELECT 'table ' || table_name, concat_ws('|', schema_name, sql, comment) FROM duckdb_tables() WHERE NOT internal
UNION ALL
SELECT 'view ' || view_name, concat_ws('|', schema_name, sql, comment) FROM duckdb_views() WHERE NOT internal
UNION ALL
SELECT
    'column ' || table_name || '.' || column_name,
    concat_ws('|', schema_name, column_index, data_type, is_nullable, column_default, comment)
FROM duckdb_columns()
WHERE NOT internal
UNION ALL
SELECT 'function ' || function_name, concat_ws('|', schema_name, parameters, macro_definition) FROM duckdb_functions()
WHERE NOT internal
UNION ALL
SELECT 'type ' || type_name, concat_ws('|', schema_name, logical_type, labels) FROM duckdb_types() WHERE NOT internal
UNION ALL
SELECT 'schema ' || schema_name, coalesce(sql, '') FROM duckdb_schemas() WHERE NOT internal
UNION ALL
SELECT 'sequence ' || sequence_name, concat_ws('|', schema_name, sql) FROM duckdb_sequences()
UNION ALL
SELECT 'index ' || index_name, concat_ws('|', schema_name, table_name, sql) FROM duckdb_indexes()
UNION ALL
SELECT 'constraint ' || table_name, concat_ws('|', schema_name, constraint_text) FROM duckdb_constraints()
"""


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Open the database with everything switched off that reaches beyond it.

    Args:
        path: The database file; made if missing.

    Returns:
        The connection; use its cursors in other threads.
    """
    spill = path.with_name("spill")
    shutil.rmtree(spill, ignore_errors=True)  # what a killed worker left
    return _open(str(path), str(spill))


def _open(place: str, spill: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(place, config={**_SETTINGS, "temp_directory": spill})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


def lay_out(connection: duckdb.DuckDBPyConnection) -> None:
    """Make all tables and views in an empty database.

    Args:
        connection: To it.
    """
    connection.execute("BEGIN TRANSACTION")
    for text in _schema():
        connection.execute(text)
    columns = zip(*_event_types(), strict=True)
    names = (*_TYPE_COLUMNS, "params")
    connection.register(
        "types", pa.table({name: list(one) for name, one in zip(names, columns, strict=True)})
    )
    connection.execute("INSERT INTO event_types SELECT * FROM types")
    connection.execute("COMMIT")
    connection.unregister("types")


def foreign(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Compare a database's layout with ours.

    Args:
        connection: To it.

    Returns:
        What differs first, in words; None if nothing does.
    """
    ours, theirs = _expected(), _catalogue(connection)
    if ours == theirs:
        stored = connection.execute("SELECT * FROM event_types ORDER BY action").fetchall()
        return None if stored == _event_types() else "the table event_types is not ours"
    name = min(one for one, _ in ours ^ theirs)
    if name not in {one for one, _ in theirs}:
        return f"the {name} is missing"
    return f"the {name} is not ours"


@cache
def _event_types() -> list[tuple[object, ...]]:
    """Write down what may be recorded, as rows of the table ``event_types``, by action."""
    return [
        (*(one[name] for name in _TYPE_COLUMNS), json.dumps(one["params"], sort_keys=True))
        for one in actions.rows()
    ]


@cache
def _schema() -> tuple[str, ...]:
    folder = resources.files("holdfast.index").joinpath("schema")
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return tuple(file.read_text(encoding="utf-8") for file in files if file.name.endswith(".sql"))


@cache
def _expected() -> frozenset[tuple[str, str]]:
    with _open(":memory:", "") as connection:
        lay_out(connection)
        return _catalogue(connection)


def _catalogue(connection: duckdb.DuckDBPyConnection) -> frozenset[tuple[str, str]]:
    return frozenset((str(name), str(what)) for name, what in connection.execute(_CATALOGUE).fetchall())
