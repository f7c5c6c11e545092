"""The site's certificate before a front gets it: does it hold together, and does it count today. Pure.

Invariants: a key that is not the certificate's, or that needs a passphrase, and a certificate that has expired or does not count yet are
refused, so that nothing takes over that no application would accept; nothing of a key is told.

Source: RFC 5280, section 4.1.2.5 (validity); RFC 7468 (PEM).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from holdfast.audit.event import timestamp
from holdfast.errors import OperationFailed

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from holdfast.canonical import Json
    from holdfast.serving.pem import Pem

REMEDY = (
    "Put files that fit each other in the places that [serving.tls] names: PEM, the key without a passphrase."
)


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, and what everybody is shown of it.

    Args:
        pem: The texts.
        digest: SHA-256 of its DER form.
        until: When it expires; aware, UTC.
    """

    pem: Pem
    digest: str
    until: datetime

    def plain(self) -> dict[str, Json]:
        """Say which it is.

        Returns:
            ``certificate`` (its digest) and ``until``.
        """
        return {"certificate": self.digest, "until": timestamp(self.until)}


def check(pem: Pem, now: datetime) -> Certificate:
    """Refuse what no application would accept.

    Args:
        pem: The texts.
        now: The time, aware.

    Returns:
        The certificate.

    Raises:
        OperationFailed: If a text can't be read, they do not fit, or the certificate does not count now.
    """
    certificate = _certificates(pem.certificate, "certificate")[0]
    if pem.clients is not None:
        _certificates(pem.clients, "authorities of clients")
    try:
        public = _spki(certificate.public_key())
        private = _spki(serialization.load_pem_private_key(pem.key.encode(), None).public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it is encrypted
        raise OperationFailed(
            "serve.tls-form",
            "The private key of [serving.tls] can't be read: it is damaged, of a kind that is not known, or needs a passphrase.",
            remedy=REMEDY,
        ) from error
    if public != private:
        raise OperationFailed(
            "serve.tls-fit", "The private key of [serving.tls] is not the certificate's.", remedy=REMEDY
        )
    begin, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now <= until:
        raise OperationFailed(
            "serve.tls-expired" if now > until else "serve.tls-early",
            f"The certificate of [serving.tls] counts from {begin:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC, and it is "
            f"{now:%Y-%m-%d %H:%M}.",
            remedy="Put one in its place that counts today, with its key; if the time is wrong, set the clock.",
        )
    return Certificate(pem, "sha256:" + certificate.fingerprint(hashes.SHA256()).hex(), until)


def _certificates(text: str, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise OperationFailed(
            "serve.tls-form", f"The {what} of [serving.tls] can't be read: it is no PEM.", remedy=REMEDY
        ) from error


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
