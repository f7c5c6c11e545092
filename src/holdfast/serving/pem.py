"""What a front shows and asks for over TLS, as the daemon hands it over: PEM texts. Pure.

Invariant: no text is shown in a representation of the record, because one of them is a private key.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from holdfast.canonical import Json


@dataclass(frozen=True)
class Pem:
    """A server's certificate and key.

    Args:
        certificate: The certificate, and its chain behind it.
        key: Its private key, not encrypted.
        clients: Authorities whose certificates an application must show; None if it need not.
    """

    certificate: str = field(repr=False)  # a key may lie in the wrong file
    key: str = field(repr=False)
    clients: str | None = field(default=None, repr=False)

    def plain(self) -> dict[str, Json]:
        """Give it as plain data.

        Returns:
            ``certificate``, ``key`` and ``clients``.
        """
        return asdict(self)


def parse(value: Json) -> Pem:
    """Read it.

    Args:
        value: Plain data.

    Returns:
        The texts.

    Raises:
        UntrustedRequest: If it is of another form.
    """
    match value:
        case {
            "certificate": str(certificate),
            "key": str(key),
            "clients": str() | None as clients,
            **rest,
        } if not rest:
            return Pem(certificate, key, clients)
    raise UntrustedRequest(
        "serve.tls",
        "There are no certificate and key to speak TLS with.",
        remedy="See [serving.tls] in site.toml, and start serving again.",
    )
