"""The box in which secret keys lie on disk: scrypt, then AES-256-GCM.

Invariants: everything outside the sealed part (parameters, salt, nonce, the public document) is authenticated with it, so
nothing can be swapped unnoticed; the cost parameters of a box from outside are bounded before any memory is spent; a wrong
passphrase and a changed box are told apart from a malformed one, but not from each other, for the cipher can't tell them
apart. What the secret and the public document mean is the caller's to say.

Sources: RFC 7914 (scrypt), NIST SP 800-38D (GCM).
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from holdfast import canonical
from holdfast.errors import NotAuthenticated, UntrustedInput, UsageRefused

if TYPE_CHECKING:
    from holdfast.canonical import Json

SCHEMA = "holdfast.envelope/1"
SCRYPT_N = 2**17  # 128 MiB and about half a second: what a person waits for, a guesser pays each time
SCRYPT_R = 8
SCRYPT_P = 1
MIN_N = 2**15  # below it an envelope is too cheap to guess and was not made by us
MAX_N = 2**20  # 1 GiB; more would let an envelope exhaust the memory of whoever opens it
MAX_ENVELOPE = 32 * 1024  # bytes; one holds about 6 KB
MIN_PASSPHRASE = 8  # characters
MAX_PASSPHRASE = 1024  # characters; a longer one is a file given by mistake
_SALT_BYTES = 16
_NONCE_BYTES = 12  # SP 800-38D, section 5.2.1.1
_TAG_BYTES = 16


@dataclass(frozen=True)
class Box:
    """A box that was read and not opened.

    Args:
        head: All its fields but the sealed one.
        public: The public document it claims.
        salt: For scrypt.
        nonce: For the cipher.
        n: The cost of scrypt.
        sealed: The secret, encrypted, and its tag.
    """

    head: dict[str, Json]
    public: Json
    salt: bytes
    nonce: bytes
    n: int
    sealed: bytes

    def open(self, passphrase: str, holder: str) -> bytes:
        """Open the box.

        Args:
            passphrase: Its passphrase.
            holder: Whose it is, for the message.

        Returns:
            The secret.

        Raises:
            NotAuthenticated: If the passphrase is wrong or the box was changed.
        """
        key = _derive(passphrase, self.salt, self.n)
        try:
            return AESGCM(key).decrypt(self.nonce, self.sealed, canonical.encode(self.head))
        except InvalidTag:
            raise NotAuthenticated(
                "keys.passphrase",
                f"The key of {holder} does not open: the passphrase is wrong, or the file was changed.",
                remedy="Type the passphrase again, or restore the key file from its copy.",
                holder=holder,
            ) from None


def seal(public: Json, secret: bytes, passphrase: str, *, n: int = SCRYPT_N) -> bytes:
    """Close a secret into a box.

    Args:
        public: The public document that lies open beside it.
        secret: The secret.
        passphrase: At least eight characters.
        n: The cost of scrypt, a power of two.

    Returns:
        The box, canonical JSON.

    Raises:
        UsageRefused: If the passphrase is too short or too long.
    """
    if not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
        raise UsageRefused(
            "keys.passphrase-length",
            f"The passphrase has {len(passphrase)} characters; {MIN_PASSPHRASE} to {MAX_PASSPHRASE} are needed.",
            remedy="Choose several words that you can remember.",
        )
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    head: dict[str, Json] = {
        "schema": SCHEMA,
        "kdf": {"name": "scrypt", "n": n, "r": SCRYPT_R, "p": SCRYPT_P, "salt": salt.hex()},
        "cipher": {"name": "aes-256-gcm", "nonce": nonce.hex()},
        "public": public,
    }
    sealed = AESGCM(_derive(passphrase, salt, n)).encrypt(nonce, secret, canonical.encode(head))
    return canonical.encode({**head, "sealed": sealed.hex()}) + b"\n"


def read(data: bytes, size: int) -> Box:
    """Read a box without opening it.

    Args:
        data: The bytes of a key file.
        size: Bytes of the secret that must be inside.

    Returns:
        The box; its public document is proved only by opening it.

    Raises:
        UntrustedInput: If it is malformed or its cost is out of bounds.
    """
    value = canonical.decode(data, limit=MAX_ENVELOPE, what="The key file")
    if not isinstance(value, dict) or set(value) != {"schema", "kdf", "cipher", "public", "sealed"}:
        raise malformed("its fields are not exactly schema, kdf, cipher, public, sealed")
    kdf, cipher = value["kdf"], value["cipher"]
    if value["schema"] != SCHEMA:
        raise malformed(f"its schema is {str(value['schema'])[:40]!r}, not {SCHEMA}")
    if not isinstance(kdf, dict) or set(kdf) != {"name", "n", "r", "p", "salt"} or kdf["name"] != "scrypt":
        raise malformed("its kdf is not scrypt with n, r, p and salt")
    if not isinstance(cipher, dict) or set(cipher) != {"name", "nonce"} or cipher["name"] != "aes-256-gcm":
        raise malformed("its cipher is not aes-256-gcm with a nonce")
    n = kdf["n"]
    if type(n) is not int or not MIN_N <= n <= MAX_N or n & (n - 1):
        raise malformed(f"scrypt's n is {str(n)[:20]}; a power of two from {MIN_N} to {MAX_N} is allowed")
    if type(kdf["r"]) is not int or type(kdf["p"]) is not int or (kdf["r"], kdf["p"]) != (SCRYPT_R, SCRYPT_P):
        raise malformed(f"scrypt's r and p are not {SCRYPT_R} and {SCRYPT_P}")
    return Box(
        {name: part for name, part in value.items() if name != "sealed"},
        value["public"],
        _bytes(kdf["salt"], _SALT_BYTES, "the salt"),
        _bytes(cipher["nonce"], _NONCE_BYTES, "the nonce"),
        n,
        _bytes(value["sealed"], size + _TAG_BYTES, "the sealed part"),
    )


def malformed(why: str) -> UntrustedInput:
    """Make the error about a key file that is not one.

    Args:
        why: What is wrong with it.

    Returns:
        The error, not raised.
    """
    return UntrustedInput(
        "keys.envelope-form", f"A key file is refused: {why}.", remedy="Restore the key file from its copy."
    )


def _derive(passphrase: str, salt: bytes, n: int) -> bytes:
    # The same passphrase typed on another keyboard may arrive composed differently.
    text = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return Scrypt(salt=salt, length=32, n=n, r=SCRYPT_R, p=SCRYPT_P).derive(text)


def _bytes(value: Json, count: int, what: str) -> bytes:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if len(data) != count:
        raise malformed(f"{what} is not {count} bytes in hexadecimal")
    return data
