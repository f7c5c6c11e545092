"""The log's service key pair: Ed25519 and ML-DSA-44.

Invariants: both always sign; the private bytes leave this module only through ``to_bytes``, for a file of mode 0600 that
the daemon keeps. No I/O.

Source: C2SP signed-note (Ed25519, type 0x01) and tlog-cosignature (ML-DSA-44, type 0x06).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from holdfast import canonical
from holdfast.audit.verify import ED25519, ML_DSA_44, Key
from holdfast.errors import VerificationFailed

MAX_FILE = 1_024  # bytes of the serialised pair; two 32-byte seeds in base64 and their names
_SEED = 32  # bytes


@dataclass(frozen=True)
class LogSigner:
    """The pair of private keys.

    Args:
        ed25519: The classical one.
        ml_dsa: The post-quantum one.
    """

    ed25519: Ed25519PrivateKey = field(repr=False)
    ml_dsa: MLDSA44PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> LogSigner:
        """Make a new pair.

        Returns:
            The pair.
        """
        return cls(Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate())

    @classmethod
    def from_bytes(cls, data: bytes) -> LogSigner:
        """Read a pair.

        Args:
            data: What ``to_bytes`` gave.

        Returns:
            The pair.

        Raises:
            VerificationFailed: If the bytes are not a pair.
        """
        value = canonical.decode(data, limit=MAX_FILE, what="The log's key file", error=VerificationFailed)
        try:
            if not isinstance(value, dict) or set(value) != {"ed25519", "ml-dsa-44"}:
                raise ValueError("it does not hold the two keys")  # noqa: TRY301 - one way out
            first, second = (
                base64.b64decode(str(value[name]), validate=True) for name in ("ed25519", "ml-dsa-44")
            )
            if len(first) != _SEED or len(second) != _SEED:
                raise ValueError("a seed is not 32 bytes")  # noqa: TRY301 - one way out
        except ValueError as error:
            raise VerificationFailed(
                "audit.signer",
                f"The log's key file is refused: {error}.",
                remedy="Restore the key file; without it the log can be read and verified, but not continued.",
            ) from error
        return cls(Ed25519PrivateKey.from_private_bytes(first), MLDSA44PrivateKey.from_seed_bytes(second))

    def to_bytes(self) -> bytes:
        """Serialise the private keys.

        Returns:
            Canonical JSON with both seeds in base64.
        """
        seeds = {"ed25519": self.ed25519.private_bytes_raw(), "ml-dsa-44": self.ml_dsa.private_bytes_raw()}
        return canonical.encode({name: base64.b64encode(seed).decode() for name, seed in seeds.items()})

    def keys(self, origin: str) -> tuple[Key, Key]:
        """Give the verifier keys.

        Args:
            origin: The log's name, which is also the keys' name.

        Returns:
            The Ed25519 and the ML-DSA-44 key.
        """
        return (
            Key(origin, ED25519, self.ed25519.public_key().public_bytes_raw()),
            Key(origin, ML_DSA_44, self.ml_dsa.public_key().public_bytes_raw()),
        )

    def public(self, origin: str) -> bytes:
        """Give ``log.pub``: the verifier keys in C2SP vkey form, one per line.

        Args:
            origin: The log's name.

        Returns:
            The file's bytes.
        """
        return "".join(
            f"{key.name}+{key.id.hex()}+{base64.b64encode(bytes([key.kind]) + key.public).decode()}\n"
            for key in self.keys(origin)
        ).encode()
