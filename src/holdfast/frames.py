"""Length-prefixed JSON frames over a socket: what the daemon and its workers say to each other.

A frame is a 4-byte big-endian length and that many bytes of JSON. Invariants: a frame never exceeds ``MAX_FRAME``; a
peer that closes in the middle of a frame is an error, one that closes between frames is the end.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    import socket

    from holdfast.canonical import Json

MAX_FRAME = 16 * 2**20  # bytes; the largest message is a page of query rows
_HEAD = struct.Struct(">I")
HEAD = _HEAD.size  # bytes before a frame's body


def pack(message: dict[str, Json]) -> bytes:
    """Make a frame.

    Args:
        message: Plain data.

    Returns:
        The frame's bytes.

    Raises:
        WorkerFailed: If the message is larger than a frame may be.
    """
    body = canonical.encode(message)
    if len(body) > MAX_FRAME:
        raise _broken(f"a message of {len(body)} bytes is larger than {MAX_FRAME}")
    return _HEAD.pack(len(body)) + body


def unpack_length(head: bytes) -> int:
    """Read a frame's head.

    Args:
        head: Four bytes.

    Returns:
        The length of the body in bytes.

    Raises:
        WorkerFailed: If the length is above ``MAX_FRAME``.
    """
    length: int = _HEAD.unpack(head)[0]
    if length > MAX_FRAME:
        raise _broken(f"a frame announces {length} bytes; {MAX_FRAME} are allowed")
    return length


def split(data: bytes | bytearray, place: int) -> tuple[bytes, int] | None:
    """Find the next frame in what was read so far.

    Args:
        data: Bytes as they came.
        place: Where the frame begins in them.

    Returns:
        The frame's body and where it ends; None if it did not come whole yet.

    Raises:
        WorkerFailed: If its length is above ``MAX_FRAME``.
    """
    begin = place + _HEAD.size
    if len(data) < begin:
        return None
    end = begin + unpack_length(bytes(data[place:begin]))
    return (bytes(data[begin:end]), end) if len(data) >= end else None


def parse(body: bytes) -> dict[str, Json]:
    """Read a frame's body.

    Args:
        body: JSON bytes.

    Returns:
        The message.

    Raises:
        WorkerFailed: If it is not a JSON object.
    """
    message = canonical.decode(body, limit=MAX_FRAME, what="A worker's message", error=WorkerFailed)
    if not isinstance(message, dict):
        raise _broken("a frame holds no object")
    return message


def send(sock: socket.socket, message: dict[str, Json]) -> None:
    """Write one frame, blocking.

    Args:
        sock: A connected stream socket.
        message: Plain data.
    """
    sock.sendall(pack(message))


def receive(sock: socket.socket) -> dict[str, Json] | None:
    """Read one frame, blocking.

    Args:
        sock: A connected stream socket.

    Returns:
        The message, or None when the peer closed between frames.

    Raises:
        WorkerFailed: If the peer closed inside a frame or sent something malformed.
    """
    head = _exactly(sock, _HEAD.size)
    if head is None:
        return None
    body = _exactly(sock, unpack_length(head))
    if body is None:
        raise _broken("the peer closed inside a frame")
    return parse(body)


def _exactly(sock: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(count - len(parts))
        if not part:
            if parts:
                raise _broken("the peer closed inside a frame")
            return None
        parts += part
    return bytes(parts)


def _broken(why: str) -> WorkerFailed:
    return WorkerFailed(
        "frames.broken", f"The channel to a worker broke: {why}.", remedy="See the job's log."
    )
