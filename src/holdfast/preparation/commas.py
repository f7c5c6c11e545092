"""Reading CSV (RFC 4180): a head with the columns' names, then a row per record.

Invariants: a field, a line and the number of columns are bounded before they are kept; a record that has other fields than the
head is a mistake of its line.
"""

from __future__ import annotations

import csv
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from holdfast.dataset.forms import MAX_CHARACTERS
from holdfast.dataset.intake import from_cell
from holdfast.preparation.sources import Sink, physical_lines, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_COLUMNS = 1000  # of one table
MAX_RECORD = 2**25  # characters of one record over all its lines
DELIMITERS = ",;\t"  # what spreadsheets write, by country


class _Broken(Exception):  # noqa: N818 - it never leaves this module
    """A line that is no text; the record that it belongs to is a mistake."""


class _Lines:
    """Lines as text, remembering what the record at hand was made of."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self.first = 1
        self.raw = bytearray()

    def begin(self) -> None:
        """Begin a record."""
        self.first = 0
        self.raw.clear()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        self.first = self.first or number
        self.raw += line
        if len(self.raw) > MAX_RECORD:
            raise _Broken(f"the record has more than {MAX_RECORD} bytes; is a quotation mark missing?")
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Broken(f"expected UTF-8 text, found byte {line[error.start]:#04x}") from error


def read(file: BinaryIO, name: str, sink: Sink) -> None:
    """Read a file.

    Args:
        file: The file, at its beginning.
        name: Its name.
        sink: Takes rows and mistakes.

    Raises:
        UntrustedRecipe: If its head can't be read.
    """
    csv.field_size_limit(MAX_CHARACTERS)
    lines = _Lines(physical_lines(file, name, sink))
    head = _head(lines, name)
    delimiter = max(DELIMITERS, key=head.count)
    columns = _columns(head, delimiter, name)
    records = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        try:
            record = next(records)
        except StopIteration:
            break
        except (csv.Error, _Broken) as error:
            raw = bytes(lines.raw)
            sink.mistakes.add(name, lines.first or 1, ValueError(f"expected a record of CSV: {error}"), raw)
            # The reader may be in the middle of a quoted field: what follows is read afresh.
            records = csv.reader(lines, delimiter=delimiter, strict=True)
            continue
        if record:
            sink.value(name, lines.first, partial(bytes, lines.raw), partial(_fields, record, columns))


def _head(lines: _Lines, name: str) -> str:
    lines.begin()
    try:
        return next(lines)
    except StopIteration:
        raise unreadable(name, "it is empty; expected a head with the columns' names") from None
    except _Broken as error:
        raise unreadable(name, f"its head: {error}") from error


def _columns(head: str, delimiter: str, name: str) -> list[str]:
    try:
        columns = [one.strip() for one in next(csv.reader([head], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise unreadable(name, f"its head: {error}") from error
    if not 0 < len(columns) <= MAX_COLUMNS:
        raise unreadable(name, f"it has {len(columns)} columns and 1 to {MAX_COLUMNS} are allowed")
    if len(set(columns)) != len(columns) or "" in columns:
        raise unreadable(name, "expected each column to have a name of its own in the first line")
    return columns


def _fields(record: list[str], columns: list[str]) -> dict[str, object]:
    if len(record) != len(columns):
        raise ValueError(f"expected {len(columns)} fields as in the head, found {len(record)}")
    return {column: from_cell(column, cell) for column, cell in zip(columns, record, strict=True)}
