"""Where applications come in: the listening socket, and the site's certificate for it.

Order of operations: bind before anything is loaded; copy the PEM files that the site document names, which lie beneath its folder,
into a folder that the front alone is shown; remove the copies once the front has read them. Invariants: a port in use is refused
before anything is loaded; a file is opened beneath the home, through no symbolic link, and is bounded; a copy is readable by the
owner alone; what is in a file is told to nobody, neither in an error nor in a log.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.config import MAX_PEM
from holdfast.daemon import beneath
from holdfast.errors import Conflict, HoldfastError, NotFound, OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.config import TlsEntry
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
_SHOWN_AS = {"certificate": "server.pem", "key": "server.key", "clients": "clients.pem"}


def bind(host: str, port: int) -> socket.socket:
    """Open the listening socket.

    Args:
        host: Where to listen.
        port: On which port; 0 for any free one.

    Returns:
        The socket, listening.

    Raises:
        Conflict: If the port is taken.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise Conflict(
            "serve.port",
            f"{host}:{port} can't be used: {error.strerror}.",
            remedy="Name another port with --port, or stop what listens there.",
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


@contextmanager
def certificates(services: Services) -> Iterator[dict[str, Path]]:
    """Copy the site's certificate and key for a front that starts.

    Args:
        services: The daemon's parts.

    Yields:
        The front's inputs: ``tls`` with ``server.pem``, ``server.key`` and, for mutual TLS, ``clients.pem``; none without TLS.

    Raises:
        NotFound: If a file is not there.
        OperationFailed: If it can't be read, or is not what it is named as.
    """
    named = services.site.serving.tls
    if named is None:
        yield {}
        return
    found = {name: _read(services, name, path) for name, path in _paths(named).items()}
    # Only its owner may enter it, and it lies with all that is as secret.
    folder = Path(tempfile.mkdtemp(prefix="tls-", dir=services.home.keys))
    try:
        for name, data in found.items():
            descriptor = os.open(folder / _SHOWN_AS[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        yield {"tls": folder}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(services: Services) -> None:
    """Remove copies that a killed daemon left behind.

    Args:
        services: The daemon's parts.
    """
    for folder in services.home.keys.glob("tls-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _paths(named: TlsEntry) -> dict[str, str]:
    found = {"certificate": named.certificate, "key": named.key}
    return found if named.clients is None else found | {"clients": named.clients}


def _read(services: Services, name: str, path: str) -> bytes:
    root = str(services.home.root)
    what = f"The file {path} that [serving.tls] {name} names"
    remedy = f"Put the PEM file at {services.home.root / path}, readable by the daemon's user alone, and start anew."
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
    return data
