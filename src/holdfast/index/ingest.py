"""Filling the index from the log's segments.

Order of operations: at start the index is compared with the log (origin, Merkle root at the index's size, count and
fingerprint of its rows) and emptied if anything differs; then events are taken in Arrow batches, each in one transaction
with the new head. Invariants: the index never reads past the size it was told to be on disk; each event's bytes are hashed
on the way, so that the index holds what the log holds; a damaged database file is replaced, never repaired.

DuckDB runs without file access, extensions or replacement scans, and its configuration is locked (``connect``).
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types

from holdfast.audit.actions import REGISTRY
from holdfast.audit.merkle import Frontier
from holdfast.audit.segment import Follower
from holdfast.errors import VerificationFailed, WorkerFailed

if TYPE_CHECKING:
    from pathlib import Path

BATCH = 10_000  # events per transaction: 78,800 rows/s, against 350 with a commit each
MEMORY = "512MB"  # of DuckDB; a query that needs more is refused
THREADS = 2  # of DuckDB; the index shares the machine with training and serving
DATABASE = "index.duckdb"

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "temp_directory": "",
    "threads": THREADS,
    "memory_limit": MEMORY,
}
_COLUMNS = pa.schema(
    [
        ("seq", pa.int64()),
        ("time", pa.timestamp("us")),
        ("clock", pa.string()),
        ("person", pa.string()),
        ("uid", pa.int64()),
        ("role", pa.string()),
        ("session", pa.string()),
        ("action", pa.string()),
        ("act", pa.string()),
        ("phase", pa.string()),
        ("subject_kind", pa.string()),
        ("subject_digest", pa.string()),
        ("level", pa.string()),
        ("compartments", pa.list_(pa.string())),
        ("zones", pa.list_(pa.string())),
        ("params", pa.string()),
        ("cause", pa.int64()),
        ("leaf", pa.string()),
    ]
)


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Open the database with everything switched off that reaches beyond it.

    Args:
        path: The database file; made if missing.

    Returns:
        The one connection; use its cursors in other threads.
    """
    connection = duckdb.connect(str(path), config=_SETTINGS)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


class Index:
    """The database and how far it has come.

    Args:
        log: The log's folder, read only.
        folder: Where the database lies.
    """

    def __init__(self, log: Path, folder: Path) -> None:
        self._log, self._path = log, folder / DATABASE
        self._forget()
        self.size = 0  # events indexed and committed, as far as this process has compared them with the log
        self.rebuilt: str | None = None
        self.connection = self._open()

    def ingest(self, size: int) -> None:
        """Take every event up to a size.

        Args:
            size: Events that are on disk.

        Raises:
            VerificationFailed: If the log's segments are damaged.
            WorkerFailed: If the database fails.
        """
        try:
            if not self._attached:
                self._attach(size)
            while self.size < size:
                self._take(min(self.size + BATCH, size))
        except VerificationFailed:
            self._forget()
            raise
        except duckdb.Error as error:
            self._forget()
            with suppress(duckdb.Error):
                self.connection.rollback()
            raise WorkerFailed(
                "index.database",
                f"The index failed: {error}.",
                remedy="Delete the index folder; it is built again.",
            ) from error

    def rebuild(self, reason: str, size: int) -> None:
        """Empty the index and fill it again.

        Args:
            reason: Why, for people.
            size: Events that are on disk.
        """
        self._empty(reason)
        self.ingest(size)

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        existed, connection = self._path.exists(), None
        try:
            connection = connect(self._path)
            if not existed:
                connection.execute(_schema())
            connection.execute("SELECT origin, size, root, fingerprint FROM head").fetchall()
            connection.execute("SELECT count(*) FROM events").fetchall()
        except duckdb.Error as error:
            if connection is not None:
                connection.close()
            for path in (self._path, self._path.with_name(self._path.name + ".wal")):
                path.unlink(missing_ok=True)
            self.rebuilt = f"the database was unreadable ({str(error).splitlines()[0]})"
            connection = connect(self._path)
            connection.execute(_schema())
        return connection

    def _attach(self, size: int) -> None:
        """Compare the index with the log, and empty it if they differ."""
        head = self.connection.execute("SELECT origin, size, root, fingerprint FROM head").fetchall()
        rows = self.connection.execute(
            "SELECT count(*), coalesce(min(seq), 0), coalesce(max(seq) + 1, 0), coalesce(bit_xor(hash(e)), 0) "
            "FROM events AS e"
        ).fetchall()[0]
        self._attached = True
        if len(head) != 1:
            self._empty("its head was lost")
            return
        origin, indexed, root, fingerprint = head[0]
        if rows != (indexed, 0, indexed, fingerprint):
            self._empty("its rows are not those that were put in")
        elif indexed > size:
            self._empty(f"it held {indexed} events, the log {size}")
        elif indexed:
            for leaf, _ in self._follower.read(indexed):
                self._tree.append(leaf)
            self._fingerprint = fingerprint
            if (self._follower.origin, self._tree.root().hex()) == (origin, root):
                self.size = indexed
            else:
                self._empty("it was made from another log")

    def _forget(self) -> None:
        """Begin again at the log's first event; the next ``ingest`` compares anew."""
        self._follower, self._tree, self._fingerprint = Follower(self._log), Frontier(), 0
        self._attached = False

    def _empty(self, reason: str) -> None:
        self.connection.execute("BEGIN TRANSACTION")
        self.connection.execute(_schema())
        self.connection.execute("COMMIT")
        self._forget()
        self._attached, self.size, self.rebuilt = True, 0, reason

    def _take(self, stop: int) -> None:
        start, rows = self.size, []
        for leaf, body in self._follower.read(stop):
            rows.append(_row(leaf, body))
            self._tree.append(leaf)
        columns = [
            pa.array(column, field.type)
            for column, field in zip(zip(*rows, strict=True), _COLUMNS, strict=True)
        ]
        self.connection.register("batch", pa.Table.from_arrays(columns, schema=_COLUMNS))
        self.connection.execute("BEGIN TRANSACTION")
        self.connection.execute("INSERT INTO events SELECT * FROM batch")
        added = self.connection.execute(
            "SELECT bit_xor(hash(e)) FROM events AS e WHERE seq >= ?", [start]
        ).fetchall()
        self._fingerprint ^= added[0][0]
        self.connection.execute(
            "UPDATE head SET origin = ?, size = ?, root = ?, fingerprint = ?",
            [self._follower.origin, stop, self._tree.root().hex(), self._fingerprint],
        )
        self.connection.execute("COMMIT")
        self.size = stop
        self.connection.unregister("batch")


def _schema() -> str:
    return resources.files("holdfast.index").joinpath("schema.sql").read_text(encoding="utf-8")


def _row(leaf: bytes, body: bytes) -> tuple[object, ...]:
    """Spread an event over the columns, in their order."""
    event = json.loads(body)
    actor, subject, label = event["actor"], event["subject"] or {}, event["label"] or {}
    known = REGISTRY.get(event["action"])
    return (
        event["seq"],
        datetime.fromisoformat(event["time"]).replace(tzinfo=None),
        event["clock"],
        actor["person"],
        actor["uid"],
        actor["role"],
        actor["session"],
        event["action"],
        known.act if known else None,
        known.phase.value if known else "fact",
        subject.get("kind"),
        subject.get("digest"),
        label.get("level"),
        label.get("compartments"),
        label.get("zones"),
        json.dumps(event["params"], ensure_ascii=False, separators=(",", ":")),
        event["cause"],
        f"sha256:{leaf.hex()}",
    )
