"""The control socket, seen from a client.

Order of operations: connect by the home's folder (so that no path is too long for a socket address, unix(7): 108 bytes),
open a session by signing the daemon's challenge, then call. Invariants: secrets stay in this process; an error that the
daemon sends is raised as the same class here; a lost connection during a job's stream is taken up again after the last
entry that was read, in a new session if the daemon was started anew meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Self

import httpx

from holdfast import canonical, errors
from holdfast.api.messages import AUTH_SCHEME
from holdfast.errors import (
    DaemonUnreachable,
    HoldfastError,
    NotAuthenticated,
    OperationFailed,
    UsageRefused,
)
from holdfast.governance import sessions
from holdfast.keys import person as keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from types import TracebackType

    from holdfast.canonical import Json
    from holdfast.keys.person import KeyPair
    from holdfast.paths import Home

MAX_ANSWER = 256 * 2**20  # bytes of one answer; a report's PDF is the largest
STREAM_RETRIES = 40  # times a lost stream is taken up again: a daemon that is started anew needs seconds
RETRY_SECONDS = 0.25  # between them
UPLOAD_CHUNK = 2**20  # bytes read from a file at a time


class Client:
    """A connection to the daemon of one home.

    Args:
        home: Whose daemon.
        transport: Another way to the daemon's app (tests speak to it in memory); the control socket by default.
    """

    def __init__(self, home: Home, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._home = home
        self._transport = transport
        self._http: httpx.AsyncClient | None = None
        self._folder: int | None = None
        self._token: str | None = None
        self._pair: KeyPair | None = None
        self.person: str | None = None
        self.roles: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        transport = self._transport
        if transport is None:
            try:
                self._folder = os.open(self._home.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise self._unreachable() from error
            path = f"/proc/self/fd/{self._folder}/{self._home.socket.name}"
            transport = httpx.AsyncHTTPTransport(uds=path)
        self._http = httpx.AsyncClient(
            transport=transport, base_url="http://holdfast", timeout=httpx.Timeout(600, connect=5)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            if self._token is not None:
                with contextlib.suppress(httpx.TransportError):  # the daemon is gone, and the session with it
                    await self._http.delete("/v1/session", headers=self._headers())
            await self._http.aclose()
        if self._folder is not None:
            os.close(self._folder)

    def _unreachable(self) -> DaemonUnreachable:
        return DaemonUnreachable(
            "daemon.unreachable",
            f"No daemon answers in {self._home.root}.",
            remedy=f"Start it with `holdfast --home {self._home.root} up`, or name another home with --home or HOLDFAST_HOME.",
            home=str(self._home.root),
        )

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"{AUTH_SCHEME} {self._token}"} if self._token else {}

    async def login(self, pair: KeyPair) -> None:
        """Open a session.

        Args:
            pair: The person's opened key pair.

        Raises:
            NotAuthenticated: If the daemon refuses.
        """
        asked = await self.call("POST", "/v1/session/challenge", {"person": pair.holder})
        challenge = str(asked["challenge"])
        signed = keys.sign(
            pair,
            sessions.DOMAIN,
            sessions.payload(site=str(asked["site"]), person=pair.holder, challenge=challenge),
        )
        answer = await self.call(
            "POST",
            "/v1/session",
            {"person": pair.holder, "challenge": challenge, "signatures": list(signed)},
        )
        self._token, self._pair = str(answer["token"]), pair
        self.person = pair.holder
        roles = answer["roles"]
        self.roles = tuple(str(role) for role in roles) if isinstance(roles, list) else ()

    async def call(
        self, method: str, route: str, body: dict[str, Json] | None = None, **query: str | int | None
    ) -> dict[str, Json]:
        """Make one call.

        Args:
            method: HTTP method.
            route: Path beneath the socket.
            body: The request's message.
            **query: Query parameters; those that are None are left out.

        Returns:
            The answer's message.

        Raises:
            HoldfastError: As the daemon raised it.
            DaemonUnreachable: If nobody answers.
        """
        answer = await self._send(
            method,
            route,
            content=canonical.encode(body) if body is not None else None,
            params={name: value for name, value in query.items() if value is not None},
        )
        return _message(answer.content)

    async def download(self, route: str) -> bytes:
        """Fetch a file that the daemon offers.

        Args:
            route: Its path.

        Returns:
            Its bytes.
        """
        return (await self._send("GET", route)).content

    async def stream(self, route: str) -> AsyncIterator[bytes]:
        """Fetch a file of any size that the daemon offers.

        Args:
            route: Its path.

        Yields:
            Its bytes, piece by piece.

        Raises:
            HoldfastError: As the daemon raised it.
            DaemonUnreachable: If the connection is lost.
        """
        try:
            async with self._client().stream("GET", route, headers=self._headers()) as answer:
                if answer.status_code >= 400:  # noqa: PLR2004 - HTTP's first error status
                    raise _error(await answer.aread())
                async for chunk in answer.aiter_bytes():
                    yield chunk
        except httpx.TransportError as error:
            raise self._unreachable() from error

    async def _send(
        self,
        method: str,
        route: str,
        *,
        content: bytes | AsyncIterator[bytes] | None = None,
        params: dict[str, str | int] | None = None,
    ) -> httpx.Response:
        http = self._client()
        try:
            answer = await http.request(
                method, route, content=content, params=params, headers=self._headers()
            )
        except httpx.TransportError as error:
            raise self._unreachable() from error
        except UnicodeEncodeError as error:
            raise UsageRefused(
                "request.text", "What was given is not UTF-8 text.", remedy="Write it in UTF-8."
            ) from error
        if answer.status_code >= 400:  # noqa: PLR2004 - HTTP's first error status
            raise _error(answer.content)
        return answer

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            raise RuntimeError("use the client as an async context manager")
        return self._http

    async def upload(self, path: Path) -> str:
        """Stream a file to the daemon.

        Args:
            path: The file, opened by this process.

        Returns:
            The upload's name, for requests of this session.

        Raises:
            OperationFailed: If it can't be read.
        """
        try:
            file = path.open("rb")
        except OSError as error:
            raise OperationFailed(
                "file.unreadable",
                f"{path} can't be read: {error.strerror}.",
                remedy="Check the path and its rights.",
            ) from error

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := await asyncio.to_thread(file.read, UPLOAD_CHUNK):
                yield chunk

        with file:
            answer = await self._send("PUT", "/v1/uploads", content=chunks())
        return str(_message(answer.content)["upload"])

    async def follow(self, job: int, after: int = 0) -> AsyncIterator[dict[str, Json]]:
        """Read a job's stream to its end, taking it up again when the connection is lost.

        Args:
            job: The job's number.
            after: Number of the last entry already read.

        Yields:
            Its entries in order.

        Raises:
            DaemonUnreachable: If the daemon stays away.
        """
        failures, renewed = 0, False
        while True:
            lost: Exception | None = None
            try:
                async for entry in self._entries(job, after):
                    after, failures, renewed = _number(entry["n"]), 0, False
                    yield entry
                    if entry["kind"] in ("result", "error"):
                        return
            except httpx.TransportError as error:
                lost = error
            except NotAuthenticated:
                # A daemon that was started anew knows no session of its earlier life.
                if self._pair is None or renewed:
                    raise
                await self.login(self._pair)
                renewed = True
            failures += 1
            if failures > STREAM_RETRIES:
                raise self._unreachable() from lost
            await asyncio.sleep(RETRY_SECONDS)

    async def _entries(self, job: int, after: int) -> AsyncIterator[dict[str, Json]]:
        async with self._client().stream(
            "GET", f"/v1/jobs/{job}/events", params={"after": after}, headers=self._headers()
        ) as answer:
            if answer.status_code >= 400:  # noqa: PLR2004 - HTTP's first error status
                raise _error(await answer.aread())
            async for line in answer.aiter_lines():
                yield _message(line.encode())

    async def finish(
        self, job: int, tell: Callable[[dict[str, Json]], None] | None = None
    ) -> dict[str, Json]:
        """Wait for a job.

        Args:
            job: The job's number.
            tell: Is given each entry of the job's stream.

        Returns:
            Its result.

        Raises:
            HoldfastError: As the job raised it.
            OperationFailed: If it ended without a word.
        """
        async for entry in self.follow(job):
            if tell is not None:
                tell(entry)
            result, error = entry.get("result"), entry.get("error")
            if isinstance(result, dict):
                return result
            if isinstance(error, dict):
                raise errors.from_dict(error)
        raise OperationFailed(
            "job.no-end", f"Job {job} ended without a result.", remedy="See the daemon's log."
        )


def _message(data: bytes) -> dict[str, Json]:
    message = canonical.decode(data, limit=MAX_ANSWER, what="The daemon's answer", error=OperationFailed)
    if not isinstance(message, dict):
        raise OperationFailed(
            "daemon.answer", "The daemon's answer is no object.", remedy="Check that versions match."
        )
    return message


def _error(data: bytes) -> HoldfastError:
    error = _message(data).get("error")
    return errors.from_dict(error if isinstance(error, dict) else {})


def _number(value: Json) -> int:
    if not isinstance(value, int):
        raise OperationFailed(
            "daemon.answer", "The daemon sent no number.", remedy="Check that versions match."
        )
    return value
