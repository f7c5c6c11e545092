"""Handing open descriptors to a worker while it runs: a packet socket that it inherits, and on which it only reads.

Source: ``unix(7)``, SCM_RIGHTS over SOCK_SEQPACKET. Invariants: each packet is one JSON object with one descriptor; nothing that
the worker writes there is ever read; a worker that does not read is noticed by its full socket, and nobody waits for it.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    from holdfast.canonical import Json


class Handover:
    """The daemon's end of such a socket."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._ours.shutdown(socket.SHUT_RD)

    def started(self) -> None:
        """Let go of the worker's end, which it has inherited."""
        self.theirs.close()

    def give(self, told: dict[str, Json], descriptor: int) -> None:
        """Hand over one descriptor, of which the worker gets a copy.

        Args:
            told: What it is, for the worker.
            descriptor: The descriptor.

        Raises:
            WorkerFailed: If the worker is gone, or does not take what it is given.
        """
        try:
            socket.send_fds(self._ours, [json.dumps(told).encode()], [descriptor])
        except OSError as error:
            raise WorkerFailed(
                "worker.handover",
                f"The worker does not take what it is given: {error.strerror}.",
                remedy="Start it again.",
            ) from error

    def close(self) -> None:
        """Close both ends; a worker that reads finds the end."""
        self._ours.close()
        self.theirs.close()
