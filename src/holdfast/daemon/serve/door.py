"""Where applications come in: the listening socket, and the site's certificate for it.

Order of operations: bind before anything is loaded; read the PEM files that the site document names, which lie beneath its folder,
when serving starts and when it is told to renew them. Invariants: a port in use is refused before anything is loaded; a file is
opened beneath the home, through no symbolic link, and is bounded; no copy of it is made on a disk; what is in a key is told to
nobody but the front, neither in an error nor in a log.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

from holdfast.config import MAX_PEM
from holdfast.daemon import beneath
from holdfast.daemon.serve.certificate import check
from holdfast.errors import Conflict, HoldfastError, NotFound, OperationFailed
from holdfast.serving.pem import Pem

if TYPE_CHECKING:
    from holdfast.config import TlsEntry
    from holdfast.daemon.serve.certificate import Certificate
    from holdfast.daemon.services import Services

BACKLOG = 512  # connections that wait to be accepted, also while a front is started anew
_BEGIN = {
    "certificate": (b"-----BEGIN CERTIFICATE-----",),
    "key": (
        b"-----BEGIN PRIVATE KEY-----",
        b"-----BEGIN EC PRIVATE KEY-----",
        b"-----BEGIN RSA PRIVATE KEY-----",
    ),
    "clients": (b"-----BEGIN CERTIFICATE-----",),
}


def bind(host: str, port: int) -> socket.socket:
    """Open the listening socket.

    Args:
        host: Where to listen.
        port: On which port; 0 for any free one.

    Returns:
        The socket, listening.

    Raises:
        Conflict: If the port is taken, or the address is none of this machine's.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except (OSError, UnicodeError) as error:  # a name may be none that can be looked up
        sock.close()
        why = error.strerror if isinstance(error, OSError) else "that is no address"
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise Conflict(
            "serve.port",
            f"{host[:100]}:{port} can't be used: {why}.",
            remedy="Name another port with --port, or stop what listens there."
            if taken
            else "Name an address of this machine with --host, and with --port a port that the daemon's user may take.",
            host=host,
            port=port,
        ) from error
    return sock


def address(services: Services, listener: socket.socket) -> str:
    """Say where applications find it.

    Args:
        services: The daemon's parts.
        listener: The listening socket.

    Returns:
        Scheme, host and port.
    """
    host, port = listener.getsockname()[:2]
    scheme = "http" if services.site.serving.tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def certificate(services: Services) -> Certificate | None:
    """Read the site's certificate and key, and check that they may be used. Blocks.

    Args:
        services: The daemon's parts.

    Returns:
        What a front speaks TLS with; None without TLS.

    Raises:
        NotFound: If a file is not there.
        OperationFailed: If it can't be read, is not what it is named as, or may not be used now.
    """
    named = services.site.serving.tls
    if named is None:
        return None
    found = {name: _read(services, name, path) for name, path in _paths(named).items()}
    return check(Pem(found["certificate"], found["key"], found.get("clients")), services.now())


def _paths(named: TlsEntry) -> dict[str, str]:
    found = {"certificate": named.certificate, "key": named.key}
    return found if named.clients is None else found | {"clients": named.clients}


def _read(services: Services, name: str, path: str) -> str:
    root = str(services.home.root)
    what = f"The file {path} that [serving.tls] {name} names"
    remedy = f"Put the PEM file at {services.home.root / path}, readable by the daemon's user alone, and try again."
    try:
        descriptor = beneath.open_file(root, path)
    except HoldfastError as error:
        raise NotFound(
            "serve.tls-missing", f"{what} can't be used: {error.message}", remedy=remedy
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        told = os.fstat(descriptor)
        if name == "key" and told.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise OperationFailed(
                "serve.tls-open",
                f"{what} can be read by others than its owner.",
                remedy=f"Give it to its owner alone: chmod 600 {services.home.root / path}",
            )
        data = file.read(MAX_PEM + 1)
    if len(data) > MAX_PEM:
        raise OperationFailed("serve.tls-size", f"{what} has more than {MAX_PEM} bytes.", remedy=remedy)
    if not any(begin in data for begin in _BEGIN[name]):
        raise OperationFailed(
            "serve.tls-form",
            f"{what} is not what it is to be: no {_BEGIN[name][0].decode().strip('-').removeprefix('BEGIN ')} in PEM.",
            remedy=f"{remedy} A key with a passphrase can't be used.",
        )
    return data.decode("latin-1")  # what stands around the blocks may be of any encoding
