"""An asyncio client that asks many questions at once and spends next to nothing: the same for both servers.

It shares the machine with the server that it measures, so while answers arrive it only keeps the bytes and when they came.
What they say is read afterwards. Every question has a connection of its own, because llama-server closes its after each stream.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.serving_bench.figures import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_SECONDS = 300.0  # for one answer, on a machine that is busy
_END = b"\r\n0\r\n\r\n"  # of a body in chunks (RFC 9112, 7.1), after the chunk before it
_DATA = b"data: "  # of an event (HTML Living Standard, 9.2)


class BenchError(Exception):
    """A server did not answer as it must for the figures to mean anything."""


@dataclass(frozen=True)
class Target:
    """A server.

    Args:
        host: Its address.
        port: Its port.
        key: What authorises, or nothing.
    """

    host: str
    port: int
    key: str = ""

    def request(self, path: str, document: dict[str, Any]) -> bytes:
        """Write a request.

        Args:
            path: Where to.
            document: The body.

        Returns:
            Its bytes.
        """
        body = json.dumps(document).encode()
        lines = [f"POST {path} HTTP/1.1", f"host: {self.host}:{self.port}", "content-type: application/json"]
        lines += [
            f"content-length: {len(body)}",
            *([f"authorization: Bearer {self.key}"] if self.key else []),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Raw:
    """An answer as it came.

    Args:
        asked: Just before the connection was opened.
        times: When each piece of bytes came.
        pieces: The bytes.
    """

    asked: float
    times: list[float]
    pieces: list[bytes]


class _Call(asyncio.Protocol):
    """One connection, one question.

    Args:
        request: Its bytes.
    """

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._raw = Raw(time.perf_counter(), [], [])
        self._done: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._raw.times.append(time.perf_counter())
        self._raw.pieces.append(data)
        ended = data.endswith(_END) if len(data) >= len(_END) else b"".join(self._raw.pieces).endswith(_END)
        if (ended or self._plain()) and not self._done.done():
            self._done.set_result(self._raw)

    def _plain(self) -> bool:
        """Tell whether the answer is no stream, which only a refusal is, and complete."""
        if len(self._raw.pieces) > 8:  # noqa: PLR2004 - a refusal is short
            return False
        head, found, body = b"".join(self._raw.pieces).partition(b"\r\n\r\n")
        lines = dict(line.lower().partition(b": ")[::2] for line in head.split(b"\r\n"))
        return bool(found) and len(body) >= int(lines.get(b"content-length", b"-1")) >= 0

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(BenchError(f"the server closed the connection: {exc}"))

    async def answer(self) -> Raw:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._done


async def ask_all(target: Target, path: str, questions: Sequence[Sequence[dict[str, Any]]]) -> list[Reply]:
    """Have several askers ask, each one question after the other.

    Args:
        target: The server.
        path: Of the endpoint.
        questions: For each asker, the bodies of its requests.

    Returns:
        All answers.
    """
    requests = [[target.request(path, one) for one in mine] for mine in questions]
    loop = asyncio.get_running_loop()

    async def one(request: bytes) -> Raw:
        transport, call = await loop.create_connection(lambda: _Call(request), target.host, target.port)
        try:
            return await call.answer()
        finally:
            transport.close()

    async def asker(mine: list[bytes]) -> list[Raw]:
        return [await one(request) for request in mine]

    found = await asyncio.gather(*map(asker, requests))
    return [read(raw) for mine in found for raw in mine]


def read(raw: Raw) -> Reply:
    """Read an answer.

    Args:
        raw: As it came.

    Returns:
        When its pieces of text came, and how many tokens it has.

    Raises:
        BenchError: If it is no complete stream of text with its usage.
    """
    arrived: list[float] = []
    tokens = -1
    head, _, body = b"".join(raw.pieces).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or b"chunked" not in head.lower():
        raise BenchError((head + b"\n" + body)[:2000].decode("utf-8", "replace"))
    ends, total = [], 0
    for piece in raw.pieces:
        total += len(piece)
        ends.append(total)
    for event, end in _events(body, len(head) + 4):
        if event == b"[DONE]":
            continue
        found = json.loads(event)
        if "error" in found:
            raise BenchError(event[:2000].decode("utf-8", "replace"))
        if found.get("usage"):
            tokens = int(found["usage"]["completion_tokens"])
        if any(choice.get("text") for choice in found.get("choices", ())):
            arrived.append(raw.times[bisect.bisect_left(ends, end)])
    if tokens < 0 or len(arrived) < 2:  # noqa: PLR2004 - one gap at least
        raise BenchError(f"an answer of {len(arrived)} pieces with {tokens} tokens: {body[-500:]!r}")
    return Reply(raw.asked, tuple(arrived), raw.times[-1], tokens)


def _events(body: bytes, offset: int) -> list[tuple[bytes, int]]:
    """Take a body in chunks apart into events.

    Args:
        body: The chunks.
        offset: Bytes of the answer before it.

    Returns:
        Each event's data, and the offset in the answer at which its last chunk ends.
    """
    found: list[tuple[bytes, int]] = []
    held, at = b"", 0
    while at < len(body):
        line = body.index(b"\r\n", at)
        size = int(body[at:line].partition(b";")[0], 16)
        held += body[line + 2 : line + 2 + size]
        at = line + 2 + size + 2
        *whole, held = held.split(b"\n\n")
        found += [(event.removeprefix(_DATA), offset + at) for event in whole if event.startswith(_DATA)]
    return found
