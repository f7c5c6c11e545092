"""Answers that are sent as they come, and clients that go away meanwhile.

An event stream is one server-sent event for each chunk. Invariant: a client that goes before the last event has its answer
cancelled, at once and exactly once; headers are sent before the first event is made.

Source: the WHATWG HTML standard, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, TypeVar

from starlette.responses import Response

from holdfast.serving.front.protocol import CONNECTION, Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from starlette.types import Receive, Scope, Send

    from holdfast.canonical import Json

DONE = b"data: [DONE]\n\n"
GONE = 499  # status of what nobody reads; the number that proxies log for a client that went away
_WRITE = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_TEXT = json.encoder.encode_basestring
_MARK = "\uffff"  # no character (Unicode, 23.7), so that it stands in nothing else of a chunk
_T = TypeVar("_T")


class Chunk:
    """A chunk of which all but its text is always the same, written once.

    Args:
        make: Makes the chunk's JSON object of a text.
    """

    def __init__(self, make: Callable[[str], Mapping[str, Json]]) -> None:
        self._before, _, self._after = event(make(_MARK)).rpartition(_TEXT(_MARK).encode())

    def event(self, text: str) -> bytes:
        """Write one event.

        Args:
            text: The chunk's text.

        Returns:
            Its bytes.
        """
        return self._before + _TEXT(text).encode() + self._after


def event(data: Mapping[str, Json]) -> bytes:
    """Write one event.

    Args:
        data: Its JSON object.

    Returns:
        Its bytes.
    """
    return b"data: " + _WRITE(data).encode() + b"\n\n"


async def until_gone(
    receive: Receive, work: Coroutine[None, None, _T], cancel: Callable[[], None]
) -> _T | None:
    """Do work for a client, unless it goes away first.

    Args:
        receive: The connection's ASGI events, past the request's body.
        work: What to do.
        cancel: Called if the client goes, or the work fails, before it is done.

    Returns:
        What the work gives, or None if the client is gone.
    """
    doing = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        if not doing.done() or doing.cancelled() or doing.exception() is not None:
            cancel()
        for task in (doing, watching):
            task.cancel()
        await asyncio.gather(doing, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """A response whose body is events.

    Args:
        events: Their bytes; the first is taken after the headers are sent.
        headers: Further headers.
        cancel: Called if the client goes before the last.
        lend: Told how to send an event at once, between those of ``events``, and by None that this is over.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        headers: Mapping[str, str],
        cancel: Callable[[], None],
        lend: Callable[[Callable[[bytes], bool] | None], None],
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", **headers})
        del self.headers["content-length"]
        self._events = events
        self._cancel = cancel
        self._lend = lend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the last one, or until the client is gone.

        Args:
            scope: The connection.
            receive: Gives its events.
            send: Takes ours.
        """
        connection = scope.get("state", {}).get(CONNECTION)

        async def work() -> bool:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if isinstance(connection, Connection):
                self._lend(connection.push)
            async for data in self._events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return True

        try:
            await until_gone(receive, work(), self._cancel)
        finally:
            self._lend(None)
