"""Opening the key of a person who sits down at this terminal. Blocks for as long as scrypt takes: call it in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.artefact import is_name
from holdfast.errors import NotFound
from holdfast.keys import envelope

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.keys.person import KeyPair


def unlock(place: Path, person: str, passphrase: str) -> KeyPair:
    """Open a person's key.

    Args:
        place: The folder of key files.
        person: Whose.
        passphrase: Of the key file.

    Returns:
        The opened pair.

    Raises:
        NotFound: If there is no such key file.
        UntrustedInput: If it is malformed.
        NotAuthenticated: If the passphrase is wrong.
    """
    path = place / f"{person}.key"
    try:
        if not is_name(person):
            raise FileNotFoundError
        with path.open("rb") as file:
            data = file.read(envelope.MAX_ENVELOPE + 1)
    except OSError as error:
        raise NotFound(
            "keys.missing",
            f"There is no key of {person[:40]!r} in {place}.",
            remedy="Check the name, or set HOLDFAST_KEYS to the folder of key files.",
        ) from error
    return envelope.open_envelope(data, passphrase)
