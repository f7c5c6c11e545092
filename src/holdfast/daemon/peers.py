"""Who is at the other end of the control socket.

uvicorn leaves ``scope["client"]`` empty on Unix sockets; this protocol puts the kernel's word (SO_PEERCRED) there:
``("<uid>", pid)``. The credentials are those of the process that connected, when it connected (unix(7)).
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

_UCRED = struct.Struct("iII")  # pid, uid, gid: struct ucred of unix(7)


class PeerProtocol(H11Protocol):
    """HTTP/1.1 with the peer's credentials in the scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it so too
        """Note the peer's credentials.

        Args:
            transport: The accepted connection.
        """
        super().connection_made(transport)
        sock = cast("socket.socket", transport.get_extra_info("socket"))
        pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        self.client = (str(uid), pid)
