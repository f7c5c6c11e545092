"""A request's body, within its limit and its time.

Invariants: a body is never held beyond its limit, whatever its head announces; all bodies that are arriving never hold more than
``MAX_ARRIVING`` together, however many connections send one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.serving.front.faults import Busy, TooLarge, TooSlow

if TYPE_CHECKING:
    from starlette.requests import Request

BODY_SECONDS = 30.0  # for a whole body to arrive; slower senders hold a connection for nothing
MAX_ARRIVING = 64 * 2**20  # bytes of all bodies that are not whole yet
ROOM = "holdfast.bodies"  # under which a request's scope holds the room for its body
AGAIN_SECONDS = 1  # after which some of them have arrived


class Room:
    """How much of bodies is arriving. Belongs to one event loop."""

    def __init__(self) -> None:
        self.held = 0

    def take(self, size: int) -> None:
        """Hold more.

        Args:
            size: Bytes.

        Raises:
            Busy: If others hold too much.
        """
        if self.held + size > MAX_ARRIVING:
            raise Busy(
                "serve.bodies",
                "Too many requests are arriving at once.",
                remedy=f"Try again in {AGAIN_SECONDS} seconds.",
                retry_after=AGAIN_SECONDS,
            )
        self.held += size


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
        Busy: If too many are arriving.
    """
    room: Room = request.scope[ROOM]
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or len(announced) > len(str(limit)) or int(announced) > limit:
        raise _too_large(limit)
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                room.take(len(part))
                parts.append(part)
    except TimeoutError:
        raise TooSlow(
            "serve.body-slow",
            f"The request did not arrive within {BODY_SECONDS:.0f} seconds.",
            remedy="Send it at once.",
        ) from None
    finally:
        room.held -= sum(map(len, parts))
    return b"".join(parts)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        "serve.body-size",
        f"The request has more than {limit} bytes.",
        remedy="Send a shorter one.",
        limit=limit,
    )
