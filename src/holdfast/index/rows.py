"""Events as rows: the stored bytes of a batch spread over the columns of the table ``events``.

Invariants: the columns come from the stored bytes alone, so that the same log always gives the same rows; a column ``params``
holds its bytes as they are stored; bytes that are no event are refused, never guessed at. DuckDB does the spreading, which is
several times faster than Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

_BATCH = "batch"
_FORM = (
    '{"action":"VARCHAR","actor":{"person":"VARCHAR","role":"VARCHAR","session":"VARCHAR","uid":"BIGINT"},"cause":"BIGINT",'
    '"clock":"VARCHAR","label":{"compartments":["VARCHAR"],"level":"VARCHAR","zones":["VARCHAR"]},'
    '"seq":"BIGINT","source":{"count":"BIGINT","name":"VARCHAR","run":"VARCHAR"},'
    '"subject":{"digest":"VARCHAR","kind":"VARCHAR"},"time":"VARCHAR"}'
)
ROWS = f"""
SELECT
    b.e.seq, CAST(replace(b.e.time, 'Z', '') AS TIMESTAMP) AS time, b.e.clock, b.e.actor.person, b.e.actor.uid, b.e.actor.role,
    b.e.actor.session, b.e.action, p.act, coalesce(p.phase, 'fact') AS phase, b.e.subject.kind AS subject_kind,
    b.e.subject.digest AS subject_digest, b.e.label.level, b.e.label.compartments, b.e.label.zones, CAST(b.params AS JSON) AS params,
    b.e.cause, b.e.source.name AS source_name, b.e.source.run AS source_run, b.e.source.count AS source_count, b.leaf
FROM (SELECT leaf, params, json_transform_strict(body, '{_FORM}') AS e FROM {_BATCH}) AS b
LEFT JOIN event_types AS p ON p.action = b.e.action
"""  # noqa: S608 - fixed texts only
"""The rows of the batch that is shown, in the order of the table's columns."""


def show(connection: duckdb.DuckDBPyConnection, events: Sequence[tuple[bytes, bytes]]) -> None:
    """Let ``ROWS`` select from a batch.

    Args:
        connection: Where.
        events: Leaf hash and stored bytes of each event.

    Raises:
        ValueError: If bytes can't be those of an event.
    """
    batch = pa.table(
        {
            "leaf": pa.array([f"sha256:{leaf.hex()}" for leaf, _ in events], pa.string()),
            "body": pa.array([body.decode() for _, body in events], pa.string()),
            "params": pa.array([_params(body) for _, body in events], pa.string()),
        }
    )
    connection.register(_BATCH, batch)


def hide(connection: duckdb.DuckDBPyConnection) -> None:
    """Forget the batch.

    Args:
        connection: Where it was shown.
    """
    connection.unregister(_BATCH)


def _params(body: bytes) -> str:
    """Cut an event's parameters out of its bytes.

    Fields are sorted, no field before ``params`` holds that name, and none after ``seq`` holds that one; inside texts the
    quotation marks are escaped.
    """
    start = body.index(b',"params":') + 10
    return body[start : body.rindex(b',"seq":')].decode()
