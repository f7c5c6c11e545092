"""The gate before every route: who asks, and how much they may send.

Invariants: every path but ``/health`` needs a key, unknown paths too, so that nothing can be learnt without one; a body is
never held beyond its limit, whatever its head announces.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.errors import NotAuthenticated, UntrustedRequest
from holdfast.serving import refusals

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from holdfast.serving.keys import KeyRing
    from holdfast.serving.refused import Refused

OPEN_PATHS = frozenset({"/health"})
BODY_SECONDS = 30.0  # for a whole body to arrive; slower senders hold a connection for nothing
MAX_HEADER = 512  # characters of the authorization header; a key has 75
_SCHEME = "bearer "


class Vault:
    """Holds the current keys; they are replaced as a whole.

    Args:
        ring: The keys.
    """

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring


class Gate:
    """ASGI middleware that lets holders of a key pass.

    Args:
        app: What is behind the gate.
        vault: The keys.
        refused: Where those who have none are counted.
    """

    def __init__(self, app: ASGIApp, vault: Vault, refused: Refused) -> None:
        self._app = app
        self._vault = vault
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer 401.

        Args:
            scope: The connection.
            receive: Gives its events.
            send: Takes ours.
        """
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            key = self._vault.ring.match(_presented(scope))
            if key is None:
                refusal = NotAuthenticated(
                    "serve.key-unknown", "No valid key was presented.", remedy="Present one."
                )
                self._refused.note(refusal.key)
                await refusals.response(refusal)(scope, receive, send)
                return
            scope["holdfast.key"] = key
        if scope["type"] != "websocket":  # there is none; the server closes it
            await self._app(scope, receive, send)


async def read_body(request: Request, limit: int) -> bytes:
    """Read a request's body.

    Args:
        request: The request.
        limit: The most bytes to hold.

    Returns:
        The body.

    Raises:
        TooLarge: If it is longer.
        TooSlow: If it does not arrive in time.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or len(announced) > len(str(limit)) or int(announced) > limit:
        raise _too_large(limit)
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
    except TimeoutError:
        raise TooSlow(
            "serve.body-slow",
            f"The request did not arrive within {BODY_SECONDS:.0f} seconds.",
            remedy="Send it at once.",
        ) from None
    return b"".join(parts)


class TooLarge(UntrustedRequest):
    """The body is longer than allowed."""

    http_status = 413


class TooSlow(UntrustedRequest):
    """The body did not arrive in time."""

    http_status = 408


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        "serve.body-size",
        f"The request has more than {limit} bytes.",
        remedy="Send a shorter one.",
        limit=limit,
    )


def _presented(scope: Scope) -> str:
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1 or len(found[0]) > MAX_HEADER:
        return ""
    text = bytes(found[0]).decode("latin-1")
    return text[len(_SCHEME) :].strip() if text.lower().startswith(_SCHEME) else ""
