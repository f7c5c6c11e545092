"""The daemon's end of a running worker.

Two streams: the channel carries what ``workers.channel`` describes; the control stream carries what the supervisor says:
``up`` with the walls or ``failed``, then ``denied``. Invariants: frames are read from a buffer that survives a cancelled
``receive``; after ``wait`` returned nothing of the worker's process tree is left, every refusal has been recorded, and
frames that were sent before the end can still be received.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from holdfast import frames
from holdfast.confine.spec import Denial
from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from holdfast.canonical import Json

LOG_TAIL = (
    64 * 2**10
)  # bytes of a worker's own output that are kept: enough for a traceback, bounded for a babbler
_READ_SIZE = 64 * 2**10  # bytes taken from a stream at once
_HEAD_SIZE = 4  # bytes before a frame's body
_KILL_GRACE_SECONDS = 5.0  # for the supervisor to end its tree, before it is killed itself


class Stream:
    """Frames over a socket, in the event loop.

    Args:
        sock: A connected stream socket, made non-blocking here.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._buffer = bytearray()
        self._reading = asyncio.Lock()
        self._writing = asyncio.Lock()

    async def send(self, frame: bytes) -> bool:
        """Send one frame.

        Args:
            frame: What ``frames.pack`` gave.

        Returns:
            False if the peer is gone.
        """
        try:
            async with self._writing:
                await asyncio.get_running_loop().sock_sendall(self._sock, frame)
        except OSError:
            return False
        return True

    async def receive(self) -> dict[str, Json] | None:
        """Wait for one frame.

        Returns:
            The message, or None when the peer is gone.

        Raises:
            WorkerFailed: If what arrives is no frame.
        """
        async with self._reading:
            while (message := self._take()) is None:
                try:
                    part = await asyncio.get_running_loop().sock_recv(self._sock, _READ_SIZE)
                except OSError:
                    part = b""
                if not part:
                    self._sock.close()
                    return None  # an unfinished frame of a killed worker says nothing
                self._buffer += part
            return message

    async def finish(self) -> None:
        """Take what a peer that has ended left behind, then close; ``receive`` still gives it."""
        async with self._reading:
            with contextlib.suppress(OSError):  # already closed, or reset
                while part := self._sock.recv(_READ_SIZE):
                    self._buffer += part
            self._sock.close()

    def _take(self) -> dict[str, Json] | None:
        if len(self._buffer) < _HEAD_SIZE:
            return None
        end = _HEAD_SIZE + frames.unpack_length(bytes(self._buffer[:_HEAD_SIZE]))
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEAD_SIZE:end])
        del self._buffer[:end]
        return frames.parse(body)


class Worker:
    """A running worker.

    Args:
        process: The supervisor's process.
        channel: The stream to the worker itself.
        control: The stream to its supervisor, past ``up``.
        walls: What the worker said of its walls.
        on_denied: Called for every recorded refusal.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        channel: Stream,
        control: Stream,
        walls: dict[str, Json],
        on_denied: Callable[[Denial], None],
    ) -> None:
        self.walls = walls
        self._process = process
        self._channel = channel
        self._control = control
        self._on_denied = on_denied
        self._log = bytearray()
        self._tasks = [asyncio.create_task(self._record()), asyncio.create_task(self._keep_log())]

    @property
    def pid(self) -> int:
        """The root of the worker's process tree, as the daemon numbers it."""
        return self._process.pid

    @property
    def log_tail(self) -> str:
        """The last ``LOG_TAIL`` bytes that the worker wrote to its standard output and error."""
        return self._log.decode("utf-8", "replace")

    async def send(self, message: dict[str, Json]) -> None:
        """Send the worker a message.

        Args:
            message: ``{"id": …, "request": …}``, or another that its module understands.

        Raises:
            WorkerFailed: If it is gone.
        """
        if not await self._channel.send(frames.pack(message)):
            raise WorkerFailed(
                "worker.gone", "The worker ended before it could be told.", remedy="See how its job ended."
            )

    async def receive(self) -> dict[str, Json] | None:
        """Wait for the worker's next message.

        Returns:
            A ``progress``, ``metric``, ``reply``, ``result`` or ``error`` message, or None when it has ended.

        Raises:
            WorkerFailed: If what it sends is no message.
        """
        return await self._channel.receive()

    async def cancel(self) -> None:
        """Ask the worker to stop at its next safe point; nothing if it has ended."""
        await self._channel.send(frames.pack({"cancel": True}))

    def kill(self) -> None:
        """End the worker and everything that it started, at once; ``wait`` says when it is done."""
        if self._process.returncode is None:
            self._process.terminate()
            self._tasks.append(asyncio.create_task(self._insist()))

    async def wait(self) -> int:
        """Wait until the worker and everything that it started have ended.

        Returns:
            The exit code, or minus the number of the signal that ended it; see ``exits.describe_exit``.
        """
        code = await self._process.wait()
        await asyncio.gather(*self._tasks)
        await self._channel.finish()
        return code

    async def _insist(self) -> None:
        try:
            async with asyncio.timeout(_KILL_GRACE_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()  # the tree then dies with its parent

    async def _record(self) -> None:
        while (message := await self._control.receive()) is not None:
            self._on_denied(Denial(**message["denied"]))  # type: ignore[arg-type]  # our supervisor's own words

    async def _keep_log(self) -> None:
        output = self._process.stdout
        while output is not None and (part := await output.read(_READ_SIZE)):
            self._log += part
            del self._log[:-LOG_TAIL]
