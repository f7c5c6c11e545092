"""Reading Parquet: the columns that are wanted, in small batches.

Order of operations: the footer is read with bounds on its structures; what it declares (rows, columns, bytes) is compared with
the bounds before any page is decompressed; only columns of texts, or of messages, are accepted; batches are small, and each is
measured before it is taken apart. Invariants: nothing that a file declares sets how much memory is taken, beyond one batch.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa  # type: ignore[import-untyped]  # it has no type hints
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # as above

from holdfast.dataset import prepared
from holdfast.dataset.files import MAX_BYTES
from holdfast.dataset.intake import from_cell
from holdfast.dataset.messages import MAX_MESSAGES
from holdfast.preparation.sources import Sink, too_large, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 64  # rows decoded at once: a dictionary lets a small file give each row a large text
MAX_BATCH = 2**29  # bytes of one decoded batch
MAX_DECODED = (
    4 * MAX_BYTES
)  # of all batches of a file, whatever its footer declares: a page of nothing can stand for millions
MAX_COLUMNS = 1000  # of one table
MAX_DEPTH = 16  # nested types; messages take five
MAX_STRUCTURE = 2**24  # bytes of a text, or entries of a list, in the footer


def read(file: BinaryIO, name: str, sink: Sink) -> None:
    """Read a file.

    Args:
        file: The file, at its beginning.
        name: Its name.
        sink: Takes rows and mistakes; a row's line is its number, counted from 1.

    Raises:
        UntrustedRecipe: If it is no Parquet file, declares too much, or has columns of other types.
    """
    try:
        _read(file, name, sink)
    # A damaged schema may name columns by what is no UTF-8.
    except (pa.ArrowException, OSError, MemoryError, OverflowError, UnicodeDecodeError) as error:
        why = str(error).split("\n", 1)[0][:200] or type(error).__name__
        raise unreadable(name, f"it is no sound Parquet file: {why}") from error


def _read(file: BinaryIO, name: str, sink: Sink) -> None:
    table = pq.ParquetFile(
        file,
        memory_map=False,
        pre_buffer=False,
        arrow_extensions_enabled=False,  # types of other makers are not looked up
        thrift_string_size_limit=MAX_STRUCTURE,
        thrift_container_size_limit=MAX_STRUCTURE,
        schema_depth_limit=MAX_DEPTH,
    )
    wanted = _wanted(table, name, sink)
    number = decoded = 0
    for batch in table.iter_batches(batch_size=BATCH, columns=wanted, use_threads=False):
        if batch.nbytes > MAX_BATCH:
            raise too_large(f"{BATCH} rows of {name} have {batch.nbytes} bytes and {MAX_BATCH} are allowed")
        decoded += batch.nbytes
        if decoded > MAX_DECODED:
            raise too_large(f"{number} rows of {name} have {decoded} bytes and {MAX_DECODED} are allowed")
        sink.check()
        for at in range(batch.num_rows):
            number += 1
            value = partial(_fields, batch, at)
            sink.value(name, number, partial(_written, value), value)
    if number != table.metadata.num_rows:
        raise unreadable(name, f"it declares {table.metadata.num_rows} rows and holds {number}")


def _wanted(table: pq.ParquetFile, name: str, sink: Sink) -> list[str]:
    """Judge what a file declares, and choose its columns."""
    facts = table.metadata
    if not 0 <= facts.num_rows <= prepared.MAX_ROWS:
        raise too_large(f"{name} declares {facts.num_rows} rows and {prepared.MAX_ROWS} are allowed")
    declared = sum(facts.row_group(at).total_byte_size for at in range(facts.num_row_groups))
    if not 0 <= declared <= MAX_BYTES:
        raise too_large(f"{name} declares {declared} bytes of columns and {MAX_BYTES} are allowed")
    present = table.schema_arrow.names
    if not 0 < len(present) <= MAX_COLUMNS or len(set(present)) != len(present):
        raise unreadable(name, f"expected 1 to {MAX_COLUMNS} columns, each with a name of its own")
    wanted = sink.intake.columns(present)
    wanted = present if wanted is None else wanted
    for column in wanted:
        if not _is_wanted(table.schema_arrow.field(column).type):
            kind = str(table.schema_arrow.field(column).type)[:80]
            raise unreadable(name, f"column {column[:60]!r} holds {kind}; expected texts or messages")
    return wanted


def _fields(batch: pa.RecordBatch, at: int) -> dict[str, object]:
    found: dict[str, object] = {}
    for column, cells in zip(batch.schema.names, batch.columns, strict=True):
        cell = cells[at]
        if isinstance(cell, pa.ListScalar) and cell.is_valid and len(cell) > MAX_MESSAGES:
            raise ValueError(
                f"column {column[:60]!r}: {len(cell)} messages are in it and {MAX_MESSAGES} are allowed"
            )
        try:
            value = cell.as_py()
        except UnicodeDecodeError as error:
            raise ValueError(f"column {column[:60]!r}: expected UTF-8 text") from error
        if value is not None:  # an empty cell is a field that is not there
            found[column] = from_cell(column, value)
    return found


def _written(value: Callable[[], dict[str, object]]) -> bytes:
    """Write a row down as JSON, for the case that it is set aside."""
    try:
        return json.dumps(value(), ensure_ascii=False, sort_keys=True, default=repr).encode(
            "utf-8", "replace"
        )
    except ValueError as error:
        return str(error).encode()


def _is_wanted(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if _is_text(kind) or pa.types.is_null(kind):
        return True
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    inner = kind.value_type
    return pa.types.is_struct(inner) and all(_is_text(inner.field(at).type) for at in range(inner.num_fields))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
