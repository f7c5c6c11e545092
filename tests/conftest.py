"""What all tests share: a loopback interface that is up, also where the network was taken away.

In a new network namespace (``unshare --map-root-user --net``) loopback is down. Tests that speak to servers of their own on
127.0.0.1 need it; nothing needs more.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct

_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914  # SIOCGIFFLAGS and SIOCSIFFLAGS of netdevice(7)
_UP = 0x1
_REQUEST = struct.Struct("16sh14x")  # struct ifreq: name, flags


def pytest_sessionstart() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _, flags = _REQUEST.unpack(fcntl.ioctl(sock, _GET_FLAGS, _REQUEST.pack(b"lo", 0)))
        if not flags & _UP:
            with contextlib.suppress(PermissionError):  # then the tests that need it say so themselves
                fcntl.ioctl(sock, _SET_FLAGS, _REQUEST.pack(b"lo", flags | _UP))
