"""The worker's end of the channel to the daemon.

Order of operations: the daemon sends one ``order`` frame; the worker sends ``progress`` and ``metric`` frames and at the
end one ``result`` or ``error`` frame. In between the daemon may send ``cancel`` (stop at the next safe point, with a
checkpoint) and, to long-running workers, ``request`` frames that are answered by ``reply`` frames with the same ``id``.
A reader thread takes what the daemon sends, so that ``cancelled`` is always current.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from holdfast import frames
from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    import socket

    from holdfast.canonical import Json


class Stopped(Exception):  # noqa: N818 - a way out of nested work, not an error
    """The daemon asked to stop."""


class Channel:
    """Messages to and from the daemon.

    Args:
        sock: The connected stream socket that was inherited.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._writing = threading.Lock()
        self._cancelled = threading.Event()
        self._requests: queue.SimpleQueue[dict[str, Json] | None] = queue.SimpleQueue()

    def order(self) -> dict[str, Json]:
        """Wait for the order, then begin to listen for what follows.

        Returns:
            The order's plain data.

        Raises:
            WorkerFailed: If the daemon closed before it sent one.
        """
        first = frames.receive(self._sock)
        body = first.get("order") if first else None
        if not isinstance(body, dict):
            raise WorkerFailed("worker.no-order", "The daemon sent no order.", remedy="Start the job again.")
        threading.Thread(target=self._listen, name="channel", daemon=True).start()
        return body

    def _listen(self) -> None:
        try:
            while (message := frames.receive(self._sock)) is not None:
                if "cancel" in message:
                    self._cancelled.set()
                    self._requests.put(None)
                else:
                    self._requests.put(message)
        except (OSError, WorkerFailed):
            pass  # the daemon is gone: the same as being cancelled
        self._cancelled.set()
        self._requests.put(None)

    @property
    def cancelled(self) -> bool:
        """Whether the daemon asked to stop, or is gone."""
        return self._cancelled.is_set()

    def request(self) -> dict[str, Json] | None:
        """Wait for the next request of the daemon (long-running workers).

        Returns:
            A ``{"id": ..., "request": {...}}`` message, or None when the daemon asked to stop or is gone.
        """
        return self._requests.get()

    def send(self, message: dict[str, Json]) -> None:
        """Send one message.

        Args:
            message: Plain data with one of the keys named in the module's description.
        """
        with self._writing:
            frames.send(self._sock, message)

    def progress(self, step: str, done: int, total: int, **fields: Json) -> None:
        """Tell how far the work is.

        Args:
            step: What is being done, a few words for people.
            done: Units done.
            total: Units in all; 0 if unknown.
            **fields: Further figures for programs.
        """
        self.send({"progress": {"step": step, "done": done, "total": total, **fields}})

    def metric(self, **fields: Json) -> None:
        """Report telemetry (loss, tokens per second), which goes to the job's file, not to the log.

        Args:
            **fields: Names and figures, with ``step``.
        """
        self.send({"metric": fields})
