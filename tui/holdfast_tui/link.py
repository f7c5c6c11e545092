"""The console's one connection to the daemon.

Order of operations: connect at the first call, open a session, call; when the daemon forgot the session (it was restarted),
open a new one and call again. Invariants: a lost daemon is an error of that call and nothing else, and the next call tries
anew; people change on the same connection, the one before is signed out first.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, TypeVar

from holdfast.errors import HoldfastError, NotAuthenticated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx

    from holdfast.canonical import Json
    from holdfast.client.connection import Client
    from holdfast.keys.person import KeyPair
    from holdfast.paths import Home

T = TypeVar("T")


class Link:
    """A connection that survives the daemon's restarts.

    Args:
        home: Whose daemon.
        pair: The opened keys of the person at the terminal.
        transport: Another way to the daemon's app, for tests.
    """

    def __init__(self, home: Home, pair: KeyPair, transport: httpx.AsyncBaseTransport | None) -> None:
        self.home = home
        self.pair = pair
        self.roles: tuple[str, ...] = ()
        self._transport = transport
        self._client: Client | None = None
        self._signed_in = False
        self._lock = asyncio.Lock()

    @property
    def person(self) -> str:
        """Who is at the terminal."""
        return self.pair.holder

    async def _connected(self) -> Client:
        if self._client is None:
            # httpx takes a tenth of a second to import: the first screen is painted meanwhile.
            connection = await asyncio.to_thread(importlib.import_module, "holdfast.client.connection")
            client: Client = connection.Client(self.home, transport=self._transport)
            await client.__aenter__()
            self._client = client
        return self._client

    async def _session(self) -> Client:
        async with self._lock:
            client = await self._connected()
            if not self._signed_in:
                await client.login(self.pair)
                self.roles, self._signed_in = client.roles, True
            return client

    async def status(self) -> dict[str, Json]:
        """Ask for what anybody may know, and make sure of a session.

        Returns:
            The daemon's status.

        Raises:
            DaemonUnreachable: If nobody answers.
        """
        return await (await self._session()).call("GET", "/v1/status")

    async def do(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do something with a session.

        Args:
            work: Called with the client; a second time if the daemon forgot the session.

        Returns:
            What it returned.

        Raises:
            HoldfastError: As the daemon raised it.
        """
        client = await self._session()
        try:
            return await work(client)
        except NotAuthenticated:
            self._signed_in = False
            return await work(await self._session())

    async def call(
        self, method: str, route: str, body: dict[str, Json] | None = None, **query: str | int | None
    ) -> dict[str, Json]:
        """Make one call.

        Args:
            method: HTTP method.
            route: Path beneath the socket.
            body: The request's message.
            **query: Query parameters.

        Returns:
            The answer's message.
        """
        return await self.do(lambda client: client.call(method, route, body, **query))

    async def follow(self, job: int, after: int) -> AsyncIterator[dict[str, Json]]:
        """Read a job's stream from where it was left.

        Args:
            job: Its number.
            after: Number of the last entry that was taken.

        Yields:
            Its entries.

        Raises:
            DaemonUnreachable: If the daemon stays away.
        """
        client = await self._session()
        try:
            async for entry in client.follow(job, after):
                yield entry
        except NotAuthenticated:
            self._signed_in = False
            raise

    async def switch(self, pair: KeyPair) -> None:
        """Sign one person out and another in; if that fails the first is signed in again at the next call.

        Args:
            pair: The other's opened keys.

        Raises:
            HoldfastError: If the daemon refuses.
        """
        async with self._lock:
            client = await self._connected()
            if self._signed_in:
                self._signed_in = False
                await client.call("DELETE", "/v1/session")
            await client.login(pair)
            self.pair, self.roles, self._signed_in = pair, client.roles, True

    async def close(self) -> None:
        """Sign out and disconnect."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.__aexit__(None, None, None)
            except HoldfastError:
                return  # the daemon is gone, and the session with it
