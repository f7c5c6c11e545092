"""The index worker: tails the log's synced segments, alone opens DuckDB, and answers queries.

Order: ``{"log": folder, "out": folder}``. Requests: ``{"op": "synced", "size": n}`` (so many events are on disk),
``{"op": "sql", "sql": text, "limit": n}``, ``{"op": "page", "before": seq or null, "limit": n, "filter": {...}}``,
``{"op": "rebuild"}`` and ``{"op": "status"}``; each is answered by ``{"id", "reply"}`` or ``{"id", "error"}``. Invariants:
nothing past the told size is read; one thread fills the index and one answers queries, so that neither holds up the other
or the channel; a query sees at least what was told before it.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, UsageRefused, WorkerFailed
from holdfast.index import query
from holdfast.index.ingest import Index

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

CATCH_UP = 60.0  # seconds that a query waits for the index to hold what was told before
DEFAULT_ROWS = 100  # rows of an answer unless asked otherwise


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Serve the index until the daemon closes the channel.

    Args:
        channel: Messages to and from the daemon.
        order: ``log`` and ``out``, two folders.

    Returns:
        ``size``: events indexed at the end.
    """
    index = Index(Path(str(order["log"])), Path(str(order["out"])))
    try:
        return _Service(channel, index).run()
    finally:
        index.close()


class _Service:
    def __init__(self, channel: Channel, index: Index) -> None:
        self._channel, self._index = channel, index
        self._told = 0
        self._fault: HoldfastError | None = None
        self._moved = threading.Condition()
        self._cursor = index.connection.cursor()
        self._filling = ThreadPoolExecutor(1, "index-fill")
        self._answering = ThreadPoolExecutor(1, "index-answer")

    def run(self) -> dict[str, Json]:
        with self._filling, self._answering:
            while (message := self._channel.request()) is not None:
                self._dispatch(message.get("id"), message.get("request"))
            self._cursor.interrupt()
            with self._moved:
                self._fault = self._fault or _ended()
                self._moved.notify_all()
        return {"size": self._index.size}

    def _dispatch(self, number: Json, request: Json) -> None:
        asked = request if isinstance(request, dict) else {}
        operation = asked.get("op")
        if operation == "synced":
            self._reply(number, lambda: self._synced(asked))
        elif operation == "rebuild":
            self._filling.submit(self._reply, number, self._rebuild)
        elif operation in ("sql", "page", "status"):
            told = self._told
            self._answering.submit(self._reply, number, lambda: self._answer(str(operation), asked, told))
        else:
            self._reply(number, _unknown)

    def _reply(self, number: Json, work: Callable[[], dict[str, Json]]) -> None:
        try:
            self._channel.send({"id": number, "reply": work()})
        except HoldfastError as error:
            plain: dict[str, Json] = error.to_dict()  # type: ignore[assignment]  # fields are JSON by their own type
            self._channel.send({"id": number, "error": plain})

    def _synced(self, asked: dict[str, Json]) -> dict[str, Json]:
        size = _count(asked.get("size"), "size")
        with self._moved:
            self._told = max(self._told, size)
        self._filling.submit(self._fill)
        return {"told": self._told}

    def _fill(self) -> None:
        fault: HoldfastError | None = None
        try:
            self._index.ingest(self._told)
        except HoldfastError as error:
            fault = error
        with self._moved:
            self._fault = fault
            self._moved.notify_all()

    def _rebuild(self) -> dict[str, Json]:
        self._index.rebuild("a person asked for it", self._told)
        with self._moved:
            self._fault = None
            self._moved.notify_all()
        return self._state()

    def _answer(self, operation: str, asked: dict[str, Json], told: int) -> dict[str, Json]:
        if operation == "status":
            return self._state()
        with self._moved:
            self._moved.wait_for(lambda: self._index.size >= told or self._fault is not None, CATCH_UP)
            if self._fault is not None:
                raise self._fault
        limit = _count(asked.get("limit", DEFAULT_ROWS), "limit")
        if operation == "sql":
            return query.sql(self._cursor, str(asked.get("sql", "")), limit=limit)
        before, wanted = asked.get("before"), asked.get("filter") or {}
        if not isinstance(wanted, dict):
            raise UsageRefused(
                "index.request", "The filter is not an object.", remedy="Send names and values."
            )
        seq = None if before is None else _count(before, "before")
        return query.page(self._cursor, before=seq, limit=limit, wanted=wanted)

    def _state(self) -> dict[str, Json]:
        fault = None if self._fault is None else self._fault.message
        return {"size": self._index.size, "told": self._told, "rebuilt": self._index.rebuilt, "fault": fault}


def _count(value: Json, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageRefused("index.request", f"{name} is not a count.", remedy="Send a whole number from 0.")
    return value


def _unknown() -> dict[str, Json]:
    raise UsageRefused(
        "index.request",
        "The index knows no such operation.",
        remedy="Use synced, sql, page, rebuild or status.",
    )


def _ended() -> WorkerFailed:
    return WorkerFailed("index.ended", "The index worker is ending.", remedy="Start the daemon again.")
