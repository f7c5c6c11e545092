"""HTTP over one connection, with an end to everybody's patience.

uvicorn's protocol, which times neither the head of a request nor a reader that does not read. Here every connection notes what it
waits for and since when; the listener asks now and then which are overdue and ends those. Invariants: whoever sends no whole head
within ``HEAD_SECONDS`` of its first byte, or of connecting, is cut off, however slowly he goes on; so is who leaves more than the
write buffer unread for ``STALL_SECONDS``, and who does not take the rest, or sends on, ``LINGER_SECONDS`` after the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import uvicorn
    from uvicorn.server import ServerState

    from holdfast.serving.front.refused import Refused

HEAD_SECONDS = 10.0  # for a whole head to arrive
STALL_SECONDS = 30.0  # that a full write buffer may not drain
LINGER_SECONDS = 5.0  # after a response: for a body that nobody wants, and for what is left to be taken
MAX_HEAD = 16 * 2**10  # bytes of a request's line and headers
WRITE_BUFFER = 64 * 2**10  # bytes; an answer waits once more of it is unread
CONNECTION = "holdfast.connection"  # under which a request's state holds its connection
MALFORMED = "serve.malformed"  # bytes that are no HTTP request
SLOW_HEAD = "serve.head-slow"
SLOW_READER = "serve.reader-slow"


@dataclass(frozen=True)
class Patience:
    """How long a front waits for whoever is at the other end, in seconds; see the constants."""

    head: float = HEAD_SECONDS
    stall: float = STALL_SECONDS
    linger: float = LINGER_SECONDS


class Connection(H11Protocol):
    """One connection.

    Args:
        config: uvicorn's.
        state: What all connections share.
        refused: Where what is no HTTP, or too slow, is counted.
        patience: How long to wait.
        on_lost: Called when it is over.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        refused: Refused,
        patience: Patience,
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={CONNECTION: self})
        self._refused = refused
        self._patience = patience
        self._on_lost = on_lost
        self.reached = False  # HTTP, past any handshake
        self._spoke = False  # since the last response
        self._since_head: float | None = None
        self._since_stall: float | None = None
        self._since_close: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for a head."""
        super().connection_made(transport)
        self.reached = True
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._since_head = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what was held."""
        super().connection_lost(exc)
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is begun has to be ended in time."""
        self._spoke = True
        since = self._since_head
        super().data_received(data)
        self._since_head = (since or self.loop.time()) if self._begun else None

    def on_response_complete(self) -> None:
        """Wait for the next request; one that was begun has to be ended in time."""
        self._spoke = False
        super().on_response_complete()
        self._since_head = self.loop.time() if self._begun else None

    def pause_writing(self) -> None:
        """Note that the other end does not read."""
        super().pause_writing()
        self._since_stall = self.loop.time()

    def resume_writing(self) -> None:
        """Note that it reads."""
        super().resume_writing()
        self._since_stall = None

    def push(self, data: bytes) -> bool:
        """Send a part of a response's body at once.

        Args:
            data: The part; its chunk's frame is added.

        Returns:
            False if no response is being sent, or the other end does not keep up; nothing is then sent.
        """
        cycle = self.cycle
        if (
            cycle is None
            or self.conn.our_state is not h11.SEND_BODY  # complete, or broken off
            or cycle.disconnected
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return False
        self.transport.write(self.conn.send(h11.Data(data=data)) or b"")
        return True

    def send_400_response(self, msg: str) -> None:
        """Count what is no HTTP."""
        self._refused.note(MALFORMED)
        super().send_400_response(msg)

    @property
    def _idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def lost(self) -> bool:
        """Whether a response that is not complete can't be completed any more."""
        return self.transport.is_closing() and not self._idle

    @property
    def _unwanted(self) -> bool:
        """Whether a body goes on arriving that nobody wants any more."""
        return self._idle and self.conn.their_state is h11.SEND_BODY

    @property
    def _begun(self) -> bool:
        """Whether something has begun to arrive that is to end before long."""
        return self._unwanted or (self._idle and bool(self.conn.trailing_data[0]))

    @property
    def unsent(self) -> int:
        """Bytes that the other end has not taken."""
        return self.transport.get_write_buffer_size()

    def overdue(self, now: float) -> bool:
        """Tell whether to wait no longer, and count it if that is the other end's fault.

        Args:
            now: The event loop's time.

        Returns:
            Whether to end the connection.
        """
        patience = self._patience
        if self.transport.is_closing():
            self._since_close = self._since_close or now
            return now - self._since_close > patience.linger
        if self._since_stall is not None:
            if now - self._since_stall > patience.stall:
                self._refused.note(SLOW_READER)
                return True
            return False
        allowed = patience.linger if self._unwanted else patience.head
        if self._since_head is None or now - self._since_head <= allowed:
            return False
        if self._spoke and not self._unwanted:
            self._refused.note(SLOW_HEAD)
        return True

    def cut(self) -> None:
        """End the connection at once."""
        self.transport.abort()
