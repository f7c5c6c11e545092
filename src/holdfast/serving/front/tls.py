"""TLS: the front's own certificate, and the authorities that sign its clients'.

The texts come from the daemon; OpenSSL reads certificate and key from files alone, so all lie in files that have no name and are
gone when it has read them. Invariants: with an authority for clients, a connection without a certificate that it signed never
reaches HTTP; no text gets onto a disk.
"""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.serving.pem import Pem


def context(pem: Pem, *, clients: bool) -> ssl.SSLContext:
    """Make what connections are accepted by.

    Args:
        pem: The certificate with its chain, its key, and perhaps the authorities of clients.
        clients: Whether applications must show a certificate.

    Returns:
        What connections are accepted by: TLS 1.2 or later.

    Raises:
        UntrustedRequest: If a text is missing, can't be used, or does not fit the others.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    made.set_alpn_protocols(["http/1.1"])
    try:
        with _file(pem.certificate) as certificate, _file(pem.key) as key:
            made.load_cert_chain(certificate, key, password=_no_password)
        if clients:
            with _file(pem.clients or "") as authorities:  # as text they could hold nothing but ASCII
                made.load_verify_locations(authorities)
            made.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UntrustedRequest(
            "serve.tls",
            f"The certificate, its key or the clients' authorities can't be used: {_reason(error)}.",
            remedy="See [serving.tls] in site.toml: PEM files, the key not encrypted and fitting the certificate.",
        ) from error
    return made


@contextmanager
def _file(text: str) -> Iterator[str]:
    """Give the path of a file in memory that only this process can name.

    Source: ``memfd_create(2)``, ``proc_pid_fd(5)``.
    """
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode("utf-8"))
        file.flush()
        yield f"/proc/self/fd/{descriptor}"


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _reason(error: OSError | ValueError) -> str:
    return (getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error))[:200]
