"""Results written to files, piece by piece: CSV, JSON lines and Parquet of the same rows.

Invariants: memory is bounded by a piece, whatever the result; rows, bytes and time are bounded, and a result that was cut short
says so; room is left on the disk for the log; the same rows give the same CSV and JSON lines everywhere. A file's digest is taken
from the bytes as they are written.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types

from holdfast.errors import NoSpace, UsageRefused
from holdfast.index import query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import duckdb

    from holdfast.canonical import Json
    from holdfast.index.query import Answer

MAX_ROWS = 1_000_000  # rows of one result: whoever wants more takes the evidence itself
MAX_BYTES = 2 * 2**30  # bytes of one file of a result
MAX_SECONDS = 300.0  # of one result
RESERVE = 256 * 2**20  # bytes that a result leaves free on the disk, so that the log can still be written
PIECE = 2_048  # rows taken, written and told of at once
WINDOW = 20_000  # events that are sorted at once where a range of them is written
FORMATS = ("csv", "jsonl", "parquet")

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a formula begins with in spreadsheets
# What Parquet holds as it is; everything else is written as its text or JSON.
_TYPES = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int64(),
    "SMALLINT": pa.int64(),
    "INTEGER": pa.int64(),
    "BIGINT": pa.int64(),
    "UTINYINT": pa.int64(),
    "USMALLINT": pa.int64(),
    "UINTEGER": pa.int64(),
    "FLOAT": pa.float64(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "VARCHAR[]": pa.list_(pa.string()),
    "BIGINT[]": pa.list_(pa.int64()),
}


class _Writer(Protocol):
    def write(self, rows: Sequence[Sequence[object]]) -> None: ...

    def close(self) -> None: ...


class _Digesting(io.RawIOBase):
    """A file that is bounded and knows the digest of what went into it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self.digest, self.size = file, hashlib.sha512(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # bytes-like, as writers give them
        self.digest.update(data)
        written = self._file.write(data)
        self.size += written
        return written

    def tell(self) -> int:
        return self.size


class _Csv:
    """RFC 4180: a line of names, then the rows; nothing for null, JSON for lists and structures.

    Texts that a spreadsheet would compute are marked with an apostrophe: they come from whoever was refused, too.
    """

    def __init__(self, out: _Digesting, columns: Sequence[tuple[str, str]]) -> None:
        self._out = out
        self._put([[name for name, _ in columns]])

    def _put(self, rows: Sequence[Sequence[Json]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerows([[_harmless(cell) for cell in row] for row in rows])
        self._out.write(text.getvalue().encode("utf-8", "backslashreplace"))

    def write(self, rows: Sequence[Sequence[object]]) -> None:
        self._put([[query.plain(cell) for cell in row] for row in rows])

    def close(self) -> None:
        pass


class _Jsonl:
    """One object per line, in the order of the columns; a name that comes again is numbered."""

    def __init__(self, out: _Digesting, columns: Sequence[tuple[str, str]]) -> None:
        self._out, self._names = out, _distinct([name for name, _ in columns])

    def write(self, rows: Sequence[Sequence[object]]) -> None:
        lines = [
            json.dumps(dict(zip(self._names, map(query.plain, row), strict=True)), separators=(",", ":"))
            for row in rows
        ]
        self._out.write("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        pass


class _Parquet:
    """Apache Parquet, with the columns' own types where it has them."""

    def __init__(self, out: _Digesting, columns: Sequence[tuple[str, str]]) -> None:
        names = _distinct([name for name, _ in columns])
        self._schema = pa.schema(
            [(name, _TYPES.get(kind, pa.string())) for name, (_, kind) in zip(names, columns, strict=True)]
        )
        self._writer = pq.ParquetWriter(pa.PythonFile(out, "w"), self._schema)

    def write(self, rows: Sequence[Sequence[object]]) -> None:
        columns = [
            pa.array([_fitting(row[at], field.type) for row in rows], field.type)
            for at, field in enumerate(self._schema)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


_WRITERS: Mapping[str, Callable[[_Digesting, Sequence[tuple[str, str]]], _Writer]] = {
    "csv": _Csv,
    "jsonl": _Jsonl,
    "parquet": _Parquet,
}


def write(
    connection: duckdb.DuckDBPyConnection,
    statement: str,
    bound: Mapping[str, object],
    folder: Path,
    *,
    formats: Sequence[str],
    limit: int,
    progress: Callable[[int], None],
) -> dict[str, Json]:
    """Write what a statement gives.

    Args:
        connection: A cursor for this thread alone.
        statement: What was checked.
        bound: Values of its parameters.
        folder: An empty folder.
        formats: Some of ``FORMATS``; the files are called ``rows.`` and the format.
        limit: Most rows wanted; at most ``MAX_ROWS`` are given.
        progress: Told how many rows are written.

    Returns:
        ``columns``, ``rows`` (their number), ``truncated``, ``files`` (``digest`` and ``bytes`` by name), and the part of the
        log that it answers for.

    Raises:
        UntrustedRequest: If the statement fails or needs too much.
        UsageRefused: If a format is unknown.
        NoSpace: If the disk would not keep the reserve.
    """
    with query.answering(connection, statement, bound, MAX_SECONDS) as answer:
        return _write(answer, folder, formats, min(limit, MAX_ROWS), progress)


def write_events(
    connection: duckdb.DuckDBPyConnection,
    wanted: Mapping[str, Json],
    start: int,
    stop: int,
    folder: Path,
    *,
    formats: Sequence[str],
    progress: Callable[[int], None],
) -> dict[str, Json]:
    """Write the events of a range that fit a declarative filter, in order, however many they are.

    Args:
        connection: A cursor for this thread alone.
        wanted: Values by filter name; see ``query.condition``.
        start: The first event of the range.
        stop: One past its last.
        folder: An empty folder.
        formats: As for ``write``.
        progress: Told how many rows are written.

    Returns:
        As ``write``.
    """
    with _events(connection, wanted, start, stop) as answer:
        return _write(answer, folder, formats, stop, progress)


def _write(
    answer: Answer, folder: Path, formats: Sequence[str], limit: int, progress: Callable[[int], None]
) -> dict[str, Json]:
    if not formats or set(formats) - set(FORMATS):
        raise UsageRefused(
            "index.format", f"The formats are not some of {', '.join(FORMATS)}.", remedy="Name at least one."
        )
    with ExitStack() as closing:
        outs = {
            f"rows.{one}": _Digesting(closing.enter_context((folder / f"rows.{one}").open("xb")))
            for one in formats
        }
        writers = [_WRITERS[name.partition(".")[2]](out, answer.columns) for name, out in outs.items()]
        rows, truncated = 0, False
        for piece, more in _pieces(answer, limit):
            full = any(out.size > MAX_BYTES for out in outs.values())
            truncated = more or full
            if piece and not full:
                _require_room(folder)
                for writer in writers:
                    writer.write(piece)
                rows += len(piece)
                progress(rows)
            if truncated:
                break
        for writer in writers:
            writer.close()
    return {
        "columns": [{"name": name, "type": kind} for name, kind in answer.columns],
        "rows": rows,
        "truncated": truncated,
        "files": {
            name: {"digest": f"sha512:{out.digest.hexdigest()}", "bytes": out.size}
            for name, out in outs.items()
        },
        **answer.head(),
    }


def _pieces(answer: Answer, limit: int) -> Iterator[tuple[list[tuple[object, ...]], bool]]:
    """Take the rows; gives each piece, and whether rows are left out of it."""
    left = limit
    while left >= 0 and (piece := answer.take(PIECE)):
        yield piece[:left], len(piece) > left
        left -= len(piece)


def _require_room(folder: Path) -> None:
    if shutil.disk_usage(folder).free < RESERVE:
        raise NoSpace(
            "index.space",
            f"The result would leave less than {RESERVE} bytes free.",
            remedy="Ask for fewer rows or columns, or make room.",
        )


@contextmanager
def _events(
    connection: duckdb.DuckDBPyConnection, wanted: Mapping[str, Json], start: int, stop: int
) -> Iterator[Answer]:
    """Answer a declarative filter over a range of events, in order, sorting one window at a time."""
    fits = query.condition(wanted)
    text = f"SELECT * FROM events WHERE seq >= $start AND seq < $stop AND {fits} ORDER BY seq"  # noqa: S608 - fixed texts
    place = [start]

    def bound() -> dict[str, Json]:
        return {**wanted, "start": place[0], "stop": min(place[0] + WINDOW, stop)}

    def take(count: int) -> list[tuple[object, ...]]:
        while not (rows := connection.fetchmany(count)) and place[0] + WINDOW < stop:
            place[0] += WINDOW
            connection.execute(text, bound())
        return rows

    with query.answering(connection, text, bound(), MAX_SECONDS) as answer:
        yield replace(answer, take=take)


def _text(cell: Json) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    return json.dumps(cell, ensure_ascii=False, separators=(",", ":"))


def _harmless(cell: Json) -> str:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else _text(cell)


def _distinct(names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    found = []
    for name in names:
        number, fresh = 1, name
        while fresh in seen:
            number += 1
            fresh = f"{name}_{number}"
        seen.add(fresh)
        found.append(fresh)
    return found


def _fitting(cell: object, kind: object) -> object:
    """Give a cell as its Parquet column takes it."""
    if kind == pa.string():
        told = query.plain(cell)
        return None if told is None else _text(told)
    if isinstance(cell, datetime) and cell.tzinfo is None and kind == pa.timestamp("us", "UTC"):
        return cell.replace(tzinfo=UTC)
    if isinstance(cell, date | datetime | list | int | float | bool) or cell is None:
        return cell
    return None  # beyond what the type can hold: an infinite date
