"""TLS from files: the front's own certificate, and the authorities that sign its clients'.

Invariant: with an authority for clients, a connection without a certificate that it signed never reaches HTTP.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATE, KEY, CLIENTS = "server.pem", "server.key", "clients.pem"


def context(folder: Path, *, clients: bool) -> ssl.SSLContext:
    """Read the files.

    Args:
        folder: Holds ``server.pem`` (with its chain), ``server.key`` (not encrypted) and perhaps ``clients.pem``.
        clients: Whether applications must show a certificate.

    Returns:
        What connections are accepted by: TLS 1.2 or later.

    Raises:
        UntrustedRequest: If a file is missing, unreadable, or does not fit the others.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(folder / CERTIFICATE, folder / KEY, password=_no_password)
        if clients:
            made.load_verify_locations(folder / CLIENTS)
            made.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UntrustedRequest(
            "serve.tls",
            f"The certificate, its key or the clients' authorities can't be used: {_reason(error)}.",
            remedy="See [serving.tls] in site.toml: PEM files, the key not encrypted and fitting the certificate.",
        ) from error
    return made


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _reason(error: OSError | ValueError) -> str:
    return (getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error))[:200]
