"""The index worker: tails the log's synced segments, alone opens DuckDB, and answers queries.

Order: ``{"log": folder, "out": folder}``. Requests, each answered by ``{"id", "reply"}`` or ``{"id", "error"}``:

- ``synced`` ``size``: so many events are on disk
- ``sql`` ``sql`` or ``saved``, ``given``, ``limit``: one SELECT's rows, as many as a frame takes
- ``write`` ``sql`` or ``saved``, ``given``, or ``filter``, ``start``, ``stop``; ``folder``, ``formats``, ``limit``: rows into
  files of a folder in ``out``; ``{"id", "progress"}`` says how many are written
- ``page`` ``before``, ``limit``, ``filter``: events, the newest first
- ``check`` ``sql``: whether a text can be run; ``queries``: those that come with the software; ``schema``: tables and views
- ``compare``, ``rebuild``, ``status``

When the index was found to differ from the log and was built anew, ``{"rebuilt"}`` says so unasked. Invariants: nothing past the
told size is read; one thread fills the index, one answers and one writes results, so that none holds up another or the channel;
a query sees at least what was told before it, or is refused; nobody reads while the index is compared or built anew; all of this
yields the processor to whoever records events.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.confine import exits
from holdfast.errors import HoldfastError, UntrustedRequest, UsageRefused, WorkerFailed
from holdfast.index import describe, ingest, library, query, results
from holdfast.index.ingest import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

GRACE = 5.0  # seconds that DuckDB has to notice that a query was stopped; one call of a function can't be
CATCH_UP = 60.0  # seconds that a query waits for the index to hold what was told before
DEFAULT_ROWS = 100  # rows of an answer unless asked otherwise
INTERRUPT_SECONDS = 0.2  # between two interruptions of what people asked, once the worker ends
NICENESS = 10  # of this worker: recording, serving and training come first
_READS = ("sql", "page", "check", "queries", "schema")


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Serve the index until the daemon closes the channel.

    Args:
        channel: Messages to and from the daemon.
        order: ``log`` and ``out``, two folders.

    Returns:
        ``size``: one past the last event indexed at the end.
    """
    os.nice(NICENESS)
    out = Path(str(order["out"]))
    index = Index(Path(str(order["log"])), out)
    try:
        return _Service(channel, index, out).run()
    finally:
        index.close()


class _Service:
    def __init__(self, channel: Channel, index: Index, out: Path) -> None:
        self._channel, self._index, self._out = channel, index, out
        self._told = 0
        self._fault: HoldfastError | None = None
        self._moved = threading.Condition()
        self._readers: set[duckdb.DuckDBPyConnection] = set()
        self._closed = False  # to readers, while the index is compared or built anew
        self._ending = False
        self._reported = index.built
        self._filling = ThreadPoolExecutor(1, "index-fill")
        self._answering = ThreadPoolExecutor(1, "index-answer")
        self._writing = ThreadPoolExecutor(1, "index-write")

    def run(self) -> dict[str, Json]:
        with self._filling, self._answering, self._writing:
            while (message := self._channel.request()) is not None:
                self._dispatch(message.get("id"), message.get("request"))
            with self._moved:
                self._ending, self._fault = True, self._fault or _ended()
                self._moved.notify_all()
                while self._readers:  # again and again: what has not begun to run is not interrupted
                    for reader in self._readers:
                        reader.interrupt()
                    self._moved.wait(INTERRUPT_SECONDS)
        return {"size": self._index.size}

    def _dispatch(self, number: Json, request: Json) -> None:
        asked = request if isinstance(request, dict) else {}
        operation, told = str(asked.get("op")), self._told
        if operation == "synced":
            self._reply(number, lambda: self._synced(asked))
        elif operation == "status":
            self._reply(number, self._state)
        elif operation in ("rebuild", "compare"):
            again = self._rebuild if operation == "rebuild" else self._compare
            self._filling.submit(self._reply, number, again)
        elif operation in _READS:
            self._answering.submit(self._reply, number, lambda: self._answer(number, operation, asked, told))
        elif operation == "write":
            self._writing.submit(self._reply, number, lambda: self._write(number, asked, told))
        else:
            self._reply(number, _unknown)

    def _reply(self, number: Json, work: Callable[[], dict[str, Json]]) -> None:
        try:
            self._channel.send({"id": number, "reply": work()})
        except HoldfastError as error:
            plain: dict[str, Json] = error.to_dict()  # type: ignore[assignment]  # fields are JSON by their own type
            self._channel.send({"id": number, "error": plain})
        except Exception as error:  # whatever it is: who asked must not wait for ever
            failed = WorkerFailed(
                "index.failed",
                f"The index worker could not answer ({type(error).__name__}).",
                remedy="Ask otherwise, and report this with the daemon's log.",
            )
            told: dict[str, Json] = failed.to_dict()  # type: ignore[assignment]  # as above
            self._channel.send({"id": number, "error": told})
            raise

    # --- filling

    def _synced(self, asked: dict[str, Json]) -> dict[str, Json]:
        size = _count(asked.get("size"), "size")
        with self._moved:
            self._told = max(self._told, size)
        self._filling.submit(self._fill)
        return {"told": self._told}

    def _fill(self) -> None:
        fault: HoldfastError | None = None
        try:
            self._take()
        except WorkerFailed:
            try:
                self._take()  # the database failed, and is built anew; if that fails too, somebody must see to the disk
            except HoldfastError as error:
                fault = error
        except HoldfastError as error:
            fault = error
        self._settle(fault)

    def _take(self) -> None:
        with nullcontext() if self._index.attached else self._alone():
            self._index.ingest(self._told)

    def _settle(self, fault: HoldfastError | None) -> None:
        built = self._index.built
        if (
            built is not None
            and built is not self._reported
            and built.reason not in (ingest.NONE, ingest.ASKED)
        ):
            self._channel.send({"rebuilt": built.to_json()})
        with self._moved:
            self._reported = built
            self._fault = _ended() if self._ending else fault
            self._moved.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until nobody reads, and let nobody begin: what is replaced must be in nobody's hands."""
        with self._moved:
            self._closed = True
            self._moved.wait_for(lambda: not self._readers)
        try:
            yield
        finally:
            with self._moved:
                self._closed = False
                self._moved.notify_all()

    def _compare(self) -> dict[str, Json]:
        began = time.monotonic()
        try:
            with self._alone():
                differed = self._index.compare(self._told)
        except HoldfastError as error:
            self._settle(error)
            raise
        self._settle(None)
        return {"differed": differed, "seconds": round(time.monotonic() - began, 3), **self._state()}

    def _rebuild(self) -> dict[str, Json]:
        try:
            with self._alone():
                differed = self._index.compare(self._told)
                built = self._index.built if differed else self._index.rebuild(ingest.ASKED, self._told)
        except HoldfastError as error:
            self._settle(error)
            raise
        self._settle(None)
        done = built.to_json() if built else {}
        return {"size": self._index.size, "differed": differed, **done}

    # --- answering

    @contextmanager
    def _reading(self, told: int) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a cursor over an index that holds what was told before."""
        with self._moved:
            self._moved.wait_for(
                lambda: self._fault is not None or (not self._closed and self._index.size >= told), CATCH_UP
            )
            if self._fault is not None:
                raise self._fault
            if self._closed or self._index.size < told:
                raise _behind(self._index.size, told)
            cursor = self._index.connection.cursor()
            self._readers.add(cursor)
        try:
            yield cursor
        finally:
            with self._moved:
                cursor.close()
                self._readers.discard(cursor)
                self._moved.notify_all()

    def _answer(self, number: Json, operation: str, asked: dict[str, Json], told: int) -> dict[str, Json]:
        if operation == "queries":
            return {"queries": [one.to_json() for one in library.known()]}
        if operation == "sql":
            return self._twice(told, lambda cursor: self._ask(number, cursor, asked))
        return self._twice(told, lambda cursor: self._read(cursor, operation, asked))

    def _ask(
        self, number: Json, cursor: duckdb.DuckDBPyConnection, asked: dict[str, Json]
    ) -> dict[str, Json]:
        """Answer a person's SELECT, and end the process if it can't be interrupted: the daemon starts another one."""

        def give_up() -> None:
            self._reply(number, _stuck)
            os._exit(
                exits.ANEW
            )  # the thread that asks is in DuckDB's hands; the database is compared at the next start

        timer = threading.Timer(query.MAX_SECONDS + GRACE, give_up)
        timer.daemon = True
        timer.start()
        try:
            limit = _count(asked.get("limit", DEFAULT_ROWS), "limit")
            return query.sql(cursor, _sql(asked), _given(asked), limit=limit)
        finally:
            timer.cancel()

    def _twice(
        self, told: int, work: Callable[[duckdb.DuckDBPyConnection], dict[str, Json]]
    ) -> dict[str, Json]:
        """Do it again, once, if the database turns out to be damaged: it is compared and built anew in between."""
        try:
            with self._reading(told) as cursor:
                return work(cursor)
        except query.IndexDamaged:
            self._index.suspect()
            self._filling.submit(self._fill).result()
        with self._reading(told) as cursor:
            return work(cursor)

    def _read(
        self, cursor: duckdb.DuckDBPyConnection, operation: str, asked: dict[str, Json]
    ) -> dict[str, Json]:
        if operation == "schema":
            return describe.schema(cursor)
        if operation == "check":
            text = str(asked.get("sql", ""))
            return describe.check(cursor, text)
        limit = _count(asked.get("limit", DEFAULT_ROWS), "limit")
        before = asked.get("before")
        seq = None if before is None else _count(before, "before")
        return query.page(cursor, before=seq, limit=limit, wanted=_filter(asked))

    def _write(self, number: Json, asked: dict[str, Json], told: int) -> dict[str, Json]:
        folder = self._out / _folder(asked.get("folder"))
        listed = asked.get("formats")
        formats = [str(one) for one in listed] if isinstance(listed, list) else []

        def progress(rows: int) -> None:
            self._channel.send({"id": number, "progress": {"rows": rows}})

        def work(cursor: duckdb.DuckDBPyConnection) -> dict[str, Json]:
            for left in folder.iterdir():  # of an attempt that a damaged database ended
                left.unlink()
            if "filter" in asked:
                start, stop = _count(asked.get("start"), "start"), _count(asked.get("stop"), "stop")
                return results.write_events(
                    cursor, _filter(asked), start, stop, folder, formats=formats, progress=progress
                )
            limit = _count(asked.get("limit", results.MAX_ROWS), "limit")
            text = _sql(asked)
            bound = query.check(cursor, text, _given(asked))
            return results.write(cursor, text, bound, folder, formats=formats, limit=limit, progress=progress)

        folder.mkdir(mode=0o700)
        try:
            return self._twice(told, work)
        except OSError as error:
            raise WorkerFailed(
                "index.write", f"The result can't be written: {error.strerror}.", remedy="See to the disk."
            ) from error

    def _state(self) -> dict[str, Json]:
        index = self._index
        fault = None if self._fault is None else self._fault.message
        built = None if index.built is None else index.built.to_json()
        return {"first": index.first, "size": index.size, "told": self._told, "built": built, "fault": fault}


def _sql(asked: dict[str, Json]) -> str:
    saved = asked.get("saved")
    return library.find(str(saved)).sql if saved is not None else str(asked.get("sql", ""))


def _given(asked: dict[str, Json]) -> dict[str, str]:
    given = asked.get("given") or {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise UsageRefused(
            "index.request", "The values are not texts by name.", remedy="Send names and texts."
        )
    return {str(name): str(value) for name, value in given.items()}


def _filter(asked: dict[str, Json]) -> dict[str, Json]:
    wanted = asked.get("filter") or {}
    if not isinstance(wanted, dict):
        raise UsageRefused("index.request", "The filter is not an object.", remedy="Send names and values.")
    return wanted


def _folder(value: Json) -> str:
    if not isinstance(value, str) or not value.isalnum():
        raise UsageRefused("index.request", "The folder has no plain name.", remedy="Use letters and digits.")
    return value


def _count(value: Json, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageRefused("index.request", f"{name} is not a count.", remedy="Send a whole number from 0.")
    return value


def _unknown() -> dict[str, Json]:
    raise UsageRefused(
        "index.request",
        "The index knows no such operation.",
        remedy="See holdfast.workers.index for those it knows.",
    )


def _behind(size: int, told: int) -> WorkerFailed:
    return WorkerFailed(
        "index.behind",
        f"The index holds {size} of {told} events; it is still being filled or compared with the log.",
        remedy="Ask again in a minute.",
    )


def _stuck() -> dict[str, Json]:
    raise UntrustedRequest(
        "index.sql-stuck",
        f"The query was stopped after {query.MAX_SECONDS + GRACE:g} seconds, and the index worker with it: one of its calls can't be"
        " interrupted.",
        remedy="Ask for fewer rows or shorter lists; the index is compared with the log and goes on.",
    )


def _ended() -> WorkerFailed:
    return WorkerFailed("index.ended", "The index worker is ending.", remedy="Start the daemon again.")
