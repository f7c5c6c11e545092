"""What every route does first: whose session it is, whose process asks, and what the request says.

Invariants: the kernel's word on the peer's uid is compared with the session's on every request; peers from a worker's process
tree are refused whatever they hold; a body is bounded before it is parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError
from starlette.responses import JSONResponse

from holdfast import canonical
from holdfast.api import messages
from holdfast.confine import peers
from holdfast.errors import NotAuthenticated, NotPermitted, UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

    Handler = Callable[[Request], Awaitable[Response]]
    Table = tuple[tuple[str, str, Handler], ...]  # method, path, handler

M = TypeVar("M", bound=messages.Message)


class Routes:
    """The handlers of one part, over one set of services.

    Args:
        services: The daemon's parts.
    """

    def __init__(self, services: Services) -> None:
        self.services = services

    def session(self, request: Request) -> Session:
        """Find the session of a request.

        Args:
            request: The request.

        Returns:
            The session.

        Raises:
            NotAuthenticated: If there is none.
            NotPermitted: If the peer is a worker's process.
        """
        uid, _ = self.peer(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != messages.AUTH_SCHEME or not token:
            raise NotAuthenticated(
                "session.missing", "This call needs a session.", remedy="Name yourself with --as."
            )
        session = self.services.sessions.find(token, uid)
        request.state.session = session
        return session

    def peer(self, request: Request) -> tuple[int, int]:
        """Give the peer's credentials.

        Args:
            request: The request.

        Returns:
            Its uid and pid.

        Raises:
            NotPermitted: If it descends from a worker.
        """
        client = request.client
        if client is None:
            raise NotPermitted(
                "peer.unknown", "The peer has no credentials.", remedy="Use the control socket."
            )
        uid, pid = int(client.host), client.port
        if peers.descends_from(pid, self.services.launcher.pids):
            raise NotPermitted(
                "peer.worker", "A worker may not use the control socket.", remedy="Nothing to be done."
            )
        return uid, pid


def session_of(request: Request) -> Session | None:
    """Give the session that a request was found to have.

    Args:
        request: The request.

    Returns:
        The session; None if it was never asked for, or there is none.
    """
    found: Session | None = getattr(request.state, "session", None)
    return found


async def read(request: Request, model: type[M]) -> M:
    """Read a request's message.

    Args:
        request: The request.
        model: What it must be.

    Returns:
        The message.

    Raises:
        UntrustedRequest: Naming every field that is wrong.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > messages.MAX_BODY:
            break
    value = canonical.decode(bytes(body), limit=messages.MAX_BODY, what="The request", error=UntrustedRequest)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'message'}: {one['msg']}"
            for one in error.errors()
        )
        raise UntrustedRequest(
            "request.form",
            f"The request is refused: {mistakes}.",
            remedy="Correct what you gave; if you gave no such thing, check that client and daemon match.",
        ) from error


def answer(message: dict[str, Json]) -> Response:
    """Make a JSON answer.

    Args:
        message: Plain data.

    Returns:
        The response.
    """
    return JSONResponse(message)


def started(job: Job) -> Response:
    """Answer that a job was started.

    Args:
        job: The job.

    Returns:
        The response, status 202.
    """
    return JSONResponse({"job": job.number}, status_code=202)


def number(request: Request, name: str) -> int:
    """Read a number from the path.

    Args:
        request: The request.
        name: The path parameter.

    Returns:
        The number.
    """
    return integer(request.path_params[name], name)


def integer(text: str, name: str) -> int:
    """Read a number.

    Args:
        text: Its digits.
        name: What it is, for the message.

    Returns:
        The number.

    Raises:
        UntrustedRequest: If it is not one below 2**53.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 15:  # noqa: PLR2004 - below 2**53
        raise UntrustedRequest(
            "request.number", f"{name} {text[:40]!r} is not a number.", remedy="Give digits only."
        )
    return int(text)
