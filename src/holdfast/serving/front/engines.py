"""The engines as the front sees them: one link each, and whom their replies are for.

Order of operations of a link: the engine says ``Up``; then requests go out and every reply goes to whoever asked. Invariants:
each request gets exactly one last reply, at the latest when its engine is gone (``serve.engine-died``); a link that says
anything malformed, or that nobody asked for in its turn, is cut as if its engine had died; what was abandoned and is not ended by
the engine yet is bounded, whoever abandons how much; a new link of the same name takes the place of the old one, whose requests in
flight go on until it is gone; nobody waits for an engine longer than he says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, WorkerFailed
from holdfast.serving import link, linkreader
from holdfast.serving.front.faults import Busy, Unavailable, of_engine
from holdfast.serving.linkwriter import pack

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

LOGGER = logging.getLogger("holdfast.serving")
READ = 2**16  # bytes read from a link at once; a step's frame has some thousand
AGAIN_SECONDS = 5  # after which an engine that died is usually up again
MAX_LEFT = 256  # abandoned requests that an engine has not ended; it tokenizes each of them to its end
MAX_LEFT_BYTES = 32 * 2**20  # of these requests
LEFT_SECONDS = 120.0  # for an engine to end one; a batch of embeddings is given up between two inputs
MAX_STRAYS = 10_000  # replies to what has ended, since the latest request: those that crossed with a cancel
_LAST = (link.Failed, link.Done, link.Embedded, link.Tokenized, link.Detokenized)

Item = (
    link.Accepted
    | link.Failed
    | link.Piece
    | link.End
    | link.Done
    | link.Embedded
    | link.Tokenized
    | link.Detokenized
)


class Link(asyncio.BufferedProtocol):
    """One engine's link; made by ``Engines``.

    Args:
        name: The engine's name.
        on_up: Called when it has said what it is.
        on_gone: Called when it is gone.
    """

    def __init__(self, name: str, on_up: Callable[[Link], None], on_gone: Callable[[Link], None]) -> None:
        self.name = name
        self.up: link.Up | None = None
        self._on_up, self._on_gone = on_up, on_gone
        self._splitter = linkreader.Splitter()
        self._buffer = memoryview(
            bytearray(READ)
        )  # reused: asyncio's own reading maps and unmaps memory each time
        self._waiting: dict[int, Callable[[Item], None]] = {}
        self._sizes: dict[int, int] = {}  # bytes of each request that has no last reply
        self._left: dict[int, float] = {}  # those that were abandoned, and when
        self._left_bytes = 0
        self._latest = -1  # the number of the latest request
        self._strays = 0
        self._transport: asyncio.Transport | None = None
        self._clock = asyncio.get_running_loop().time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give where to put what came."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand replies to those who wait for them."""
        try:
            for body in self._splitter.push(bytes(self._buffer[:nbytes])):
                self._take(linkreader.parse_reply(body))
        except WorkerFailed as error:
            LOGGER.error("the link to the engine %s is cut: %s", self.name, error.message)  # noqa: TRY400 - no traceback: the peer is at fault
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits that the engine is gone."""
        del exc
        self._transport = None
        self._on_gone(self)
        waiting, self._waiting = self._waiting, {}
        for number, sink in waiting.items():
            sink(link.Failed(number, died()))

    @property
    def active(self) -> int:
        """Requests that wait for their last reply."""
        return len(self._waiting)

    def ask(
        self,
        request: link.Generate | link.Embed | link.Tokenize | link.Detokenize,
        sink: Callable[[Item], None],
    ) -> None:
        """Send a request.

        Args:
            request: With a number that no other request has.
            sink: Called with every reply; perhaps at once, if the engine is gone.
        """
        if self._transport is None or self._transport.is_closing():
            sink(link.Failed(request.id, died()))
            return
        if len(self._left) >= MAX_LEFT or self._left_bytes >= MAX_LEFT_BYTES:
            if self._clock() - next(iter(self._left.values())) > LEFT_SECONDS:
                LOGGER.error(
                    "the link to the engine %s is cut: it does not end what it is told to", self.name
                )
                self.close()
            sink(link.Failed(request.id, _behind()))
            return
        try:
            frame = pack(request)
        except WorkerFailed as error:
            sink(link.Failed(request.id, error))
            return
        self._waiting[request.id] = sink
        self._sizes[request.id] = len(frame)
        self._latest, self._strays = max(self._latest, request.id), 0
        self._transport.write(frame)

    def cancel(self, number: int) -> None:
        """Ask the engine to stop computing for a request; its last reply comes all the same.

        Args:
            number: The request's.
        """
        if number in self._waiting:
            self._send(link.Cancel(number))

    def abandon(self, number: int) -> None:
        """Ask the engine to stop computing for a request, and take no more replies to it.

        Args:
            number: The request's.
        """
        if self._waiting.pop(number, None) is not None:
            self._left[number] = self._clock()
            self._left_bytes += self._sizes[number]
            self._send(link.Cancel(number))

    def forget(self, tenant: str | None) -> None:
        """Have what is kept of prompts overwritten.

        Args:
            tenant: Whose; of every tenant if None.
        """
        self._send(link.Forget(tenant))

    def close(self) -> None:
        """Cut the link."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, message: link.Cancel | link.Forget) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(message))

    def _take(self, reply: link.Reply) -> None:
        if isinstance(reply, link.Up) is (self.up is not None):
            raise WorkerFailed(
                "serve.link", "It did not say at first, and once, what it is.", remedy="See the job's log."
            )
        if isinstance(reply, link.Up):
            self.up = reply
            self._on_up(self)
        elif isinstance(reply, link.Events):
            for event in reply.events:
                self._give(event)
        else:
            self._give(reply)

    def _give(self, item: Item) -> None:
        sink = self._waiting.get(item.id)
        if isinstance(item, _LAST):
            self._waiting.pop(item.id, None)
            size = self._sizes.pop(item.id, 0)
            if self._left.pop(item.id, None) is not None:
                self._left_bytes -= size
        elif sink is None:  # it was abandoned, or has ended
            self._strays += 1
        if item.id > self._latest or self._strays > MAX_STRAYS:
            raise WorkerFailed(
                "serve.link", "It spoke of requests that nobody made.", remedy="See the job's log."
            )
        if sink is not None:
            sink(replace(item, error=of_engine(item.error)) if isinstance(item, link.Failed) else item)


class Engines:
    """All links. Belongs to one event loop.

    Args:
        on_death: Called with the name of an engine that is gone without having been replaced or let go of.
    """

    def __init__(self, on_death: Callable[[str], None] = lambda _name: None) -> None:
        self._on_death = on_death
        self._links: dict[str, Link] = {}  # those that have said ``Up``, the latest of each name
        self._all: set[Link] = set()
        self._out: dict[str, HoldfastError] = {}
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0
        self._closing = False

    @property
    def up(self) -> frozenset[str]:
        """The names of the engines that compute."""
        return frozenset(self._links)

    @property
    def active(self) -> int:
        """Requests that wait for an engine's last reply."""
        return sum(one.active for one in self._all)

    def number(self) -> int:
        """Give a number that no request has yet."""
        self._number += 1
        return self._number

    def get(self, name: str) -> Link | None:
        """Give an engine's link, if it is there.

        Args:
            name: The engine's name.

        Returns:
            The link.
        """
        return self._links.get(name)

    async def attach(self, name: str, sock: socket.socket) -> None:
        """Take a link.

        Args:
            name: The engine's name.
            sock: The connected stream socket; it is closed with the link.
        """
        sock.setblocking(False)
        made = Link(name, self._came, self._went)
        self._all.add(made)
        await asyncio.get_running_loop().create_connection(lambda: made, sock=sock)

    def take_out(self, name: str, why: HoldfastError | None) -> None:
        """Stop waiting for an engine, or expect it again.

        Args:
            name: The engine's name.
            why: What those who ask for it are told; None if it is expected.
        """
        if why is None:
            self._out.pop(name, None)
        else:
            self._out[name] = why
        self._tell()

    def keep(self, names: frozenset[str]) -> None:
        """Forget what is known of engines that are not served.

        Args:
            names: Those that are.
        """
        self._out = {name: why for name, why in self._out.items() if name in names}

    async def ready(self, name: str, seconds: float) -> Link:
        """Wait for an engine.

        Args:
            name: The engine's name.
            seconds: For how long at most.

        Returns:
            Its link.

        Raises:
            Unavailable: If it did not come, or was taken out.
        """
        found = self._links.get(name)
        if found is not None:
            return found
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: name in self._links or name in self._out)
        if name in self._links:
            return self._links[name]
        if name in self._out:
            raise self._out[name]
        raise Unavailable(
            "serve.engine-away",
            "What computes this model is not there now.",
            remedy=f"Try again in {AGAIN_SECONDS} seconds.",
            retry_after=AGAIN_SECONDS,
        )

    def forget(self, tenant: str | None) -> None:
        """Have every engine overwrite what it keeps of prompts.

        Args:
            tenant: Whose; of every tenant if None.
        """
        for one in self._all:
            one.forget(tenant)

    def close(self) -> None:
        """Cut all links."""
        self._closing = True
        for one in list(self._all):
            one.close()

    def _came(self, one: Link) -> None:
        self._out.pop(one.name, None)
        self._links[one.name] = one
        self._tell()

    def _went(self, one: Link) -> None:
        self._all.discard(one)
        if self._links.get(one.name) is one:
            del self._links[one.name]
            if not self._closing:
                self._on_death(one.name)

    def _tell(self) -> None:
        async def tell() -> None:
            async with self._changed:
                self._changed.notify_all()

        task = asyncio.get_running_loop().create_task(tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _behind() -> Busy:
    return Busy(
        "serve.busy",
        "What computes this model has not yet ended what others gave up.",
        remedy="Try again in a second.",
        retry_after=1,
    )


def died() -> Unavailable:
    """Make what those are told whose engine is gone.

    Returns:
        The error, not raised.
    """
    return Unavailable(
        "serve.engine-died",
        "What was computing the answer ended unexpectedly.",
        remedy=f"Try again in {AGAIN_SECONDS} seconds.",
        retry_after=AGAIN_SECONDS,
    )
