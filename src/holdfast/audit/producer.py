"""The worker's end of its socketpair into the log, on an event loop: frames out, answers in, and no thread in between.

The daemon's end is ``channel.ProducerServer``. Invariants: requests are numbered from 0 without a gap; each is answered exactly
once, at the latest when the daemon is gone; at most ``MAX_IN_FLIGHT`` are open, then whoever submits more waits.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from holdfast import errors, frames
from holdfast.audit.appender import Receipt
from holdfast.errors import NotRecorded, WorkerFailed

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from holdfast.audit.event import Draft
    from holdfast.canonical import Json
    from holdfast.errors import HoldfastError

MAX_IN_FLIGHT = 256  # requests of one producer that are not answered yet
# Bytes read at once; hundreds of answers. Memory that is reused: asyncio's own reading maps some each time.
_READ = 2**15


@dataclass(frozen=True)
class Owner:
    """Whose payloads are sealed.

    Args:
        tenant: The tenant, as the appliance knows it.
        subject: The tenant's own id of the person.
    """

    tenant: str
    subject: str


class Producer(asyncio.BufferedProtocol):
    """The worker's end; made by ``open``, belongs to one event loop."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._waiting: dict[int, asyncio.Future[Receipt]] = {}
        self._next = 0
        self._inbox = bytearray()
        self._buffer = memoryview(bytearray(_READ))
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._leaving: list[bytes] = []  # requests that leave at the end of this turn of the loop

    @classmethod
    async def open(cls, sock: socket.socket) -> Self:
        """Take the worker's end.

        Args:
            sock: The inherited stream socket; closed when the daemon closes its own end.

        Returns:
            What hands in events.
        """
        sock.setblocking(False)
        _, made = await asyncio.get_running_loop().create_connection(cls, sock=sock)
        return made

    async def append(
        self, draft: Draft, payloads: Mapping[str, bytes] | None = None, owner: Owner | None = None
    ) -> Receipt:
        """Record an event and wait until it is on disk.

        Args:
            draft: The event.
            payloads: Data to seal, by name; the log gets commitments.
            owner: Whose data it is; required with payloads.

        Returns:
            Its receipt.

        Raises:
            NotRecorded: If the daemon is gone; other refusals are those of the daemon.
        """
        await self._room.acquire()  # given back when the daemon answers, whether or not anybody waits for it
        try:
            answer = self._hand_in(request(draft, payloads, owner))
        except BaseException:
            self._room.release()
            raise
        return await answer

    def _hand_in(self, message: dict[str, Json]) -> asyncio.Future[Receipt]:
        """Have a request written; without waiting, so that numbers leave in order.

        What is handed in within one turn of the loop leaves together, so that the daemon finds all of it at once and syncs it as
        one group: answers that were computed side by side end together.
        """
        if self._transport is None or self._transport.is_closing():
            raise cut_off()
        frame = frames.pack({"id": self._next, **message})
        answer: asyncio.Future[Receipt] = self._loop.create_future()
        self._waiting[self._next] = answer
        self._next += 1
        if not self._leaving:
            self._loop.call_soon(self._leave)
        self._leaving.append(frame)
        return answer

    def _leave(self) -> None:
        leaving, self._leaving = self._leaving, []
        if self._transport is not None:
            self._transport.write(b"".join(leaving))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give where to put what came."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Settle what is answered."""
        self._inbox += self._buffer[:nbytes]
        place = 0
        try:
            while (found := frames.split(self._inbox, place)) is not None:
                body, place = found
                number, told = answered(frames.parse(body))
                answer = self._waiting.pop(number, None)
                if answer is None:
                    continue
                self._room.release()
                if answer.done():  # nobody waits any more
                    continue
                if isinstance(told, Receipt):
                    answer.set_result(told)
                else:
                    answer.set_exception(told)
        except WorkerFailed:  # the daemon talks nonsense: the same as gone to those who wait
            if self._transport is not None:
                self._transport.abort()  # it may not take what is still to be sent
        del self._inbox[:place]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all who wait."""
        del exc
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            self._room.release()
            if not answer.done():
                answer.set_exception(cut_off())


def request(draft: Draft, payloads: Mapping[str, bytes] | None, owner: Owner | None) -> dict[str, Json]:
    """Say what is handed in; its number is added.

    Args:
        draft: The event.
        payloads: Data to seal, by name.
        owner: Whose data it is.

    Returns:
        The message.
    """
    return {
        "draft": draft.to_json(),
        "payloads": {name: base64.b64encode(data).decode() for name, data in (payloads or {}).items()},
        "owner": None if owner is None else {"tenant": owner.tenant, "subject": owner.subject},
    }


def answered(message: dict[str, Json]) -> tuple[int, Receipt | HoldfastError]:
    """Read an answer of the daemon's.

    Args:
        message: It.

    Returns:
        The request's number, -1 if it has none, and the receipt or the refusal.
    """
    number, receipt, error = message.get("id"), message.get("receipt"), message.get("error")
    told = number if isinstance(number, int) else -1
    if isinstance(receipt, dict) and isinstance(seq := receipt.get("seq"), int):
        return told, Receipt(seq, str(receipt.get("time")), str(receipt.get("leaf")))
    return told, errors.from_dict(error if isinstance(error, dict) else {})


def cut_off() -> NotRecorded:
    """Make what those are told whose daemon is gone.

    Returns:
        The error, not raised.
    """
    return NotRecorded(
        "audit.cut-off", "The daemon no longer takes events.", remedy="Start the daemon again."
    )
