"""The HTTP server: uvicorn behind a listener of our own, begun when it is told to.

Invariants: it opens no socket; when it ends, it takes no new connection, lets what is being answered end for the grace that it is
given, and only then breaks off.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import uvicorn
from starlette.middleware.cors import CORSMiddleware

from holdfast.serving.front.deadline import HEADER
from holdfast.serving.front.listener import Bounds, Listener
from holdfast.serving.front.protocol import MAX_HEAD, Connection

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp

    from holdfast.serving.front.refused import Refused

GRACE_SECONDS = 8  # for requests in flight when serving stops; a longer answer is recorded as cancelled
IDLE_SECONDS = 30  # that a connection may be kept without a request


class Server(uvicorn.Server):
    """Serves an application on a socket.

    Args:
        app: The application.
        listening: The socket, listening.
        refused: Where what is refused before HTTP is counted.
        tls: How to speak TLS; None for plain HTTP.
        bounds: How many connections, and how long they may dawdle.
    """

    def __init__(
        self,
        app: ASGIApp,
        listening: socket.socket,
        refused: Refused,
        tls: ssl.SSLContext | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what is no HTTP is counted instead
        config = uvicorn.Config(
            app,
            loop="none",
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        super().__init__(config)
        self._told = asyncio.Event()  # to begin, or never to
        self._listening = asyncio.Event()
        found = bounds or Bounds()

        def make(on_lost: Callable[[], None]) -> Connection:
            return Connection(config, self.server_state, refused, found.patience, on_lost)

        def alive() -> list[Connection]:
            return [one for one in self.server_state.connections if isinstance(one, Connection)]

        self._listener = Listener(listening, make, alive, refused, found, tls)
        self.servers = []

    @property
    def connections(self) -> int:
        """Connections at this moment."""
        return self._listener.count

    async def run_when_told(self) -> None:
        """Serve from ``open`` until ``end``."""
        await self._told.wait()
        if self.should_exit:
            await self._listener.close()
        else:
            await self.serve()

    def renew(self, tls: ssl.SSLContext) -> None:
        """Speak TLS otherwise with who connects from now on.

        Args:
            tls: How.
        """
        self._listener.tls = tls

    async def open(self) -> None:
        """Begin to take connections."""
        self._told.set()
        await self._listening.wait()

    def end(self) -> None:
        """Stop; what is being answered has ``GRACE_SECONDS``."""
        self.should_exit = True
        self._told.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections by our own listener instead of uvicorn's."""
        del sockets  # the listener has its own
        await self.on_tick(0)  # the headers of the first response
        self._listener.start()
        self.started = True
        self._listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and let the others end."""
        await self._listener.close()
        await super().shutdown(sockets)


def shared(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let pages of other origins call the application from a browser.

    Args:
        app: The application.
        origins: Theirs; without any, no page may.

    Returns:
        The application to serve.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type", HEADER],
        expose_headers=["retry-after", "x-holdfast-request-receipt", "x-holdfast-label"],
    )
