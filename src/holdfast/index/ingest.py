"""Filling the index from the log's segments, and comparing it with them.

Order of operations: at start the database's layout is compared with ours, then every row with the event that the segments hold,
and the Merkle root with the stored one; if anything differs the database is removed and built anew, and the reason is told. Then
events are taken in batches, each in one transaction with the new head. Invariants: the index never reads past the size it was
told to be on disk; each event's bytes are hashed on the way, so that the index holds what the log holds; what the database says
of itself is believed only after the comparison; a damaged database is replaced, never repaired. Events that were archived, and so
are not in the log's folder any more, leave the index too.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import duckdb

from holdfast.audit import verify
from holdfast.audit.segment import Follower
from holdfast.errors import VerificationFailed, WorkerFailed
from holdfast.index import database, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.audit.verify import Frontier
    from holdfast.canonical import Json

BATCH = 10_000  # events per transaction: one for each event would be two hundred times slower
BATCH_BYTES = 8 * 2**20  # of stored events in one batch, which bounds memory whatever their size
ASKED = "a person asked for it"
NONE = "there was none"

_COMPARE = f"""
SELECT min(seq) FROM (({rows.ROWS}) EXCEPT ALL (SELECT * FROM events WHERE seq >= ? AND seq < ?))
"""  # noqa: S608 - fixed texts only


@dataclass(frozen=True)
class Built:
    """How the index came to be built anew.

    Args:
        reason: Why.
        events: How many events were taken.
        seconds: How long that took.
    """

    reason: str
    events: int
    seconds: float

    def to_json(self) -> dict[str, Json]:
        """Give it as plain data.

        Returns:
            All fields.
        """
        return asdict(self)


class _DiffersError(Exception):
    """The index is not what the log says; the message says where."""


class Index:
    """The database and how far it has come.

    Args:
        log: The log's folder, read only.
        folder: Where the database lies.
    """

    def __init__(self, log: Path, folder: Path) -> None:
        self._log, self._path = log, folder / database.DATABASE
        self.size = 0  # one past the last event that is indexed, committed and compared with the log
        self.first = 0  # the first event in it
        self.built: Built | None = None  # how it was built last, if it was not taken over as it lay there
        self.attached = False  # whether what is there was compared with the log
        self._reason: str | None = None  # why it is to be built anew when it is attached
        self._start = 0  # where the log's folder began when it was last compared
        self._empty = False  # whether the database was just made
        self.connection = self._open()

    def ingest(self, size: int) -> None:
        """Take every event up to a size. Unless ``attached``, everything that is there is compared first, and nobody may read.

        Args:
            size: Events that are on disk.

        Raises:
            VerificationFailed: If the log's segments are damaged.
            WorkerFailed: If the database fails; the next call builds it anew.
        """
        try:
            if not self.attached:
                self._attach(size)
            self._drop_archived()
            while self.size < size:
                self._take(size)
        except (duckdb.Error, OSError) as error:
            self._distrust(f"the database failed ({_line(error)})")
            raise _failed(error) from error
        except VerificationFailed as error:
            self.attached = False
            if self._beginning().size == self._start:
                raise
            raise _failed(error) from error  # a prefix was archived while it was read

    def compare(self, size: int) -> str | None:
        """Compare the whole index with the log; built anew if it differs.

        Args:
            size: Events that are on disk.

        Returns:
            What differed, or None.
        """
        before = self.built
        self.attached = False
        self.ingest(size)
        return self.built.reason if self.built is not None and self.built is not before else None

    def rebuild(self, reason: str, size: int) -> Built:
        """Throw the index away and fill it again.

        Args:
            reason: Why, for people.
            size: Events that are on disk.

        Returns:
            What was done.
        """
        self._distrust(reason)
        self.ingest(size)
        return self.built or Built(reason, 0, 0.0)

    def suspect(self) -> None:
        """Have everything compared again by the next ``ingest``: an answer found the database damaged."""
        self.attached = False

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()

    # --- comparing

    def _open(self) -> duckdb.DuckDBPyConnection:
        try:
            if not self._path.exists():
                self._reason = NONE
                return self._renewed()
            return database.connect(self._path)
        except duckdb.Error as error:
            self._reason = f"the database was unreadable ({_line(error)})"
            try:
                return self._renewed()
            except (duckdb.Error, OSError) as again:
                raise _failed(again) from again

    def _renewed(self) -> duckdb.DuckDBPyConnection:
        """Make an empty database in the place of whatever lies there."""
        for path in (self._path, self._path.with_name(self._path.name + ".wal")):
            path.unlink(missing_ok=True)
        connection = database.connect(self._path)
        database.lay_out(connection)
        self._empty = True
        return connection

    def _distrust(self, reason: str) -> None:
        self.attached, self._reason = False, reason

    def _attach(self, size: int) -> None:
        """Compare the index with the log, and build it anew if they differ."""
        reason = self._reason
        if reason is None:
            try:
                self._compare(size)
            except _DiffersError as difference:
                reason = str(difference)
            except duckdb.Error as error:
                reason = f"the database was unreadable ({_line(error)})"
        if reason is not None:
            self._build(reason, size)
        self._reason, self.attached = None, True

    def _build(self, reason: str, size: int) -> None:
        """Begin with nothing, and take everything. A build that is cut short is begun again, for the same reason."""
        self._reason, self.size = reason, 0
        began = time.monotonic()
        if not self._empty:
            self.connection.close()
            self.connection = self._renewed()
        self._empty = False
        self._begin()
        while self.size < size:
            self._take(size)
        self.built = Built(reason, self.size - self.first, round(time.monotonic() - began, 3))

    def _begin(self) -> None:
        self._tree = self._beginning()
        self._start = self.first = self.size = self._tree.size
        self._follower = Follower(self._log, self.first)

    def _beginning(self) -> Frontier:
        """Read where the log's folder begins: a prefix that was archived is known by its peaks."""
        try:
            return verify.begin(self._log)
        except verify.Refused as error:
            raise VerificationFailed(
                "audit.archived",
                f"The audit log's folder does not say where it begins: {error}.",
                remedy="Keep the folder as it is, and restore the log from a backup.",
            ) from error

    def _compare(self, size: int) -> None:
        """Read everything that is there against the log, and stand where it ends."""
        if difference := database.foreign(self.connection):
            raise _DiffersError(difference)
        heads = self.connection.execute("SELECT origin, first, size, root FROM head").fetchall()
        if len(heads) != 1:
            raise _DiffersError("its head was lost")
        origin, first, indexed, root = heads[0]
        self._begin()
        if indexed > size:
            raise _DiffersError(f"it held events up to {indexed}, the log has {size}")
        if not first <= self.first <= indexed:
            raise _DiffersError(f"it held events {first} to {indexed}, the log begins at {self.first}")
        counted = self.connection.execute("SELECT count(*), min(seq), max(seq) FROM events").fetchall()[0]
        if counted != (indexed - first, *((first, indexed - 1) if indexed > first else (None, None))):
            raise _DiffersError("it has not one row for each event that it says it holds")
        place = self.first
        for batch in self._batches(indexed):
            try:
                rows.show(self.connection, batch)
                different = self.connection.execute(_COMPARE, [place, place + len(batch)]).fetchall()[0][0]
            finally:
                rows.hide(self.connection)
            if different is not None:
                raise _DiffersError(f"the row of event {different} is not what the log says")
            place += len(batch)
        if indexed > self.first and self._follower.origin != origin:
            raise _DiffersError("it was made from another log")
        if indexed and self._tree.root().hex() != root:
            raise _DiffersError("its root is not the log's")
        self.first, self.size = first, indexed

    # --- taking

    def _drop_archived(self) -> None:
        """Let events go that the log's folder does not hold any more."""
        first = self._beginning().size
        if first <= self.first:
            return
        if first > self.size:
            reason = f"the log begins at event {first}"
            self._distrust(reason)
            raise _failed(ValueError(reason))
        self.connection.execute("BEGIN TRANSACTION")
        self.connection.execute("DELETE FROM events WHERE seq < ?", [first])
        self.connection.execute("UPDATE head SET first = ?", [first])
        self.connection.execute("COMMIT")
        self.first = self._start = first

    def _batches(self, stop: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """Read on in the log, in bounded pieces."""
        batch: list[tuple[bytes, bytes]] = []
        held = 0
        for leaf, body in self._follower.read(stop):
            self._tree.append(leaf)
            batch.append((leaf, body))
            held += len(body)
            if len(batch) == BATCH or held >= BATCH_BYTES:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def _take(self, size: int) -> None:
        for batch in self._batches(size):
            stop = self.size + len(batch)
            try:
                rows.show(self.connection, batch)
                self._insert(stop)
            except (duckdb.DataError, duckdb.InvalidInputException, ValueError) as error:
                raise VerificationFailed(
                    "audit.damaged",
                    f"Among the events {self.size} to {stop - 1} is one that can't be read as an event: {_line(error)}.",
                    remedy="Run `holdfast audit verify` on a copy of the log.",
                    seq=self.size,
                ) from error
            finally:
                rows.hide(self.connection)
            self.size = stop

    def _insert(self, stop: int) -> None:
        """Put the batch that is shown, and the head that goes with it, into the database, or nothing."""
        self.connection.execute("BEGIN TRANSACTION")
        try:
            self.connection.execute(f"INSERT INTO events {rows.ROWS}")
            self.connection.execute("DELETE FROM head")
            self.connection.execute(
                "INSERT INTO head VALUES (?, ?, ?, ?)",
                [self._follower.origin, self.first, stop, self._tree.root().hex()],
            )
            self.connection.execute("COMMIT")
        except duckdb.Error:
            with suppress(duckdb.Error):
                self.connection.rollback()
            raise


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _failed(error: Exception) -> WorkerFailed:
    return WorkerFailed(
        "index.database",
        f"The index failed: {_line(error)}.",
        remedy="See to the disk; the index is built again by the next question. The log itself is not touched.",
    )
