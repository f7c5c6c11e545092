"""Sockets that a worker inherits, as its order names them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    from holdfast.canonical import Json


def sockets(value: Json, *names: str) -> list[socket.socket]:
    """Take the sockets that an order names.

    Args:
        value: The order's ``fds``: numbers of descriptors by name.
        *names: Those that are wanted.

    Returns:
        The sockets, in the order of the names.

    Raises:
        WorkerFailed: If one is missing.
    """
    given = value if isinstance(value, dict) else {}
    numbers = [number for name in names if isinstance(number := given.get(name), int)]
    if len(numbers) != len(names):
        raise WorkerFailed(
            "serve.order",
            f"The order lacks one of the descriptors {', '.join(names)}.",
            remedy="Start serving again.",
        )
    return [socket.socket(fileno=number) for number in numbers]
