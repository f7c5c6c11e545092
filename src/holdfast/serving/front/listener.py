"""The listening socket: who gets a connection.

Invariants: connections are bounded in all and per address, those that still shake hands among them, so that one address can't
take all; what each holds in the kernel is bounded too, and so is what all of them together leave unread here: of those who leave
the most the connections end; a connection that is overdue (see ``protocol``) ends within ``SWEEP_SECONDS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.serving.front.protocol import SLOW_READER, Patience

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from holdfast.serving.front.protocol import Connection
    from holdfast.serving.front.refused import Refused

MAX_CONNECTIONS = 2048  # at once; each holds a descriptor, of which a worker has 4,096, and some 30 kilobytes
MAX_PER_ADDRESS = 1536  # of these, from one address; sites put a proxy in front, which is one address
HANDSHAKE_SECONDS = 10.0  # for TLS
MAX_UNSENT = 256 * 2**20  # bytes of answers that wait for readers, an eighth of what a front may take
SWEEP_SECONDS = 1.0  # between two looks at who is overdue
SEND_BUFFER = 128 * 2**10  # bytes that the kernel holds for one reader; it doubles them for its own use
PAUSE_SECONDS = 0.2  # when the host has no descriptors left
_TCP = {  # a host that is gone without a word is found out within a minute
    socket.TCP_NODELAY: 1,
    socket.TCP_USER_TIMEOUT: 30_000,  # milliseconds that what was sent may go without acknowledgement
    socket.TCP_KEEPIDLE: 30,  # seconds of silence before it is asked
    socket.TCP_KEEPINTVL: 10,  # seconds between questions
    socket.TCP_KEEPCNT: 3,  # that may go without an answer
}
TOO_MANY = "serve.connections"
HANDSHAKE = "serve.handshake"


@dataclass(frozen=True)
class Bounds:
    """How many connections, and how long they may dawdle.

    Args:
        connections: At once.
        address: Of these, from one address.
        patience: See ``protocol``.
        unsent: Bytes that all of them together may leave unread.
    """

    connections: int = MAX_CONNECTIONS
    address: int = MAX_PER_ADDRESS
    patience: Patience = field(default_factory=Patience)
    unsent: int = MAX_UNSENT


class Listener:
    """Takes connections. Belongs to one event loop.

    Args:
        sock: Where; listening.
        make: Makes the protocol of a connection; gets what to call when it is over.
        alive: Gives the connections that have come to HTTP.
        refused: Where those who get none are counted.
        bounds: How many.
        tls: How to speak TLS; None for plain HTTP.
    """

    def __init__(  # noqa: PLR0917 - what a listener is made of
        self,
        sock: socket.socket,
        make: Callable[[Callable[[], None]], Connection],
        alive: Callable[[], list[Connection]],
        refused: Refused,
        bounds: Bounds,
        tls: ssl.SSLContext | None,
    ) -> None:
        sock.setblocking(False)
        self._sock, self._make, self._alive, self._refused = sock, make, alive, refused
        self._bounds = bounds
        self.tls = tls  # of connections to come
        self._addresses: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self.count = 0

    def start(self) -> None:
        """Begin to take connections."""
        for work in (self._accept(), self._sweep()):
            self._keep(asyncio.create_task(work))

    async def close(self) -> None:
        """Take no more connections; those that are there go on."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sock.close()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(self._sock)
            except OSError:  # the host has no descriptors left, or the other end is gone already
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            address = str(peer[0]) if isinstance(peer, tuple) else ""
            if self.count >= self._bounds.connections or (
                address and self._addresses[address] >= self._bounds.address
            ):
                self._refused.note(TOO_MANY)
                sock.close()
                continue
            self._keep(asyncio.create_task(self._connect(sock, address)))

    async def _connect(self, sock: socket.socket, address: str) -> None:
        """Shake hands and hand over."""
        with contextlib.suppress(OSError):  # gone already; the handshake says so
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            for name, value in _TCP.items() if address else ():
                sock.setsockopt(socket.IPPROTO_TCP, name, value)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        over = self._enter(address)
        made = self._make(over)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: made,
                sock,
                ssl=self.tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self.tls else None,
                ssl_shutdown_timeout=self._bounds.patience.linger if self.tls else None,
            )
        except OSError:  # no TLS, no certificate, too slow, or gone
            self._refused.note(HANDSHAKE)
        finally:
            if not made.reached:  # it never came to HTTP
                over()
                sock.close()

    def _enter(self, address: str) -> Callable[[], None]:
        self.count += 1
        self._addresses[address] += 1
        held = True

        def over() -> None:
            nonlocal held
            if held:
                held = False
                self.count -= 1
                self._addresses[address] -= 1
                if not self._addresses[address]:
                    del self._addresses[address]

        return over

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for connection in self._alive():
                if connection.overdue(now):
                    connection.cut()
            self._shed()

    def _shed(self) -> None:
        """End those who leave the most unread, if all together leave too much."""
        waiting = sorted(self._alive(), key=lambda one: one.unsent)
        total = sum(one.unsent for one in waiting)
        while total > self._bounds.unsent:
            one = waiting.pop()
            total -= one.unsent
            self._refused.note(SLOW_READER)
            one.cut()
