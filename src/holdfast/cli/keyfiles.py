"""Key files of people: where they lie, and how they are opened. Used by commands that need no daemon, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.errors import NotFound, UsageRefused

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.keys.person import KeyPair, PublicKeys

MAX_PASSPHRASE_FILE = 4096  # bytes; one line of text
_SECRET, _PUBLIC = ".key", ".pub"


def secret(place: Path, holder: str) -> Path:
    """Name the file of a holder's secret keys.

    Args:
        place: The folder.
        holder: The holder.

    Returns:
        Its path.
    """
    return place / (holder + _SECRET)


def public(place: Path, holder: str) -> Path:
    """Name the file of a holder's public keys.

    Args:
        place: The folder.
        holder: The holder.

    Returns:
        Its path.
    """
    return place / (holder + _PUBLIC)


def read(path: Path, limit: int, what: str) -> bytes:
    """Read a small file that a person named.

    Args:
        path: The file.
        limit: The most bytes taken; one more is read, so that a longer file is noticed by whoever parses it.
        what: What it is, for the message.

    Returns:
        Its bytes.

    Raises:
        NotFound: If it is not there or can't be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as problem:
        raise NotFound(
            "cli.file",
            f"{what} {path} can't be read: {problem.strerror}.",
            remedy="Check the name, and that you may read it.",
            file=str(path),
        ) from problem


def passphrase_from(path: Path) -> str:
    """Read a passphrase from a file.

    Args:
        path: The file; its first line is the passphrase.

    Returns:
        The passphrase.

    Raises:
        NotFound: If the file can't be read.
        UsageRefused: If it is not one line of UTF-8 text.
    """
    data = read(path, MAX_PASSPHRASE_FILE, "The passphrase file")
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = []
    if len(lines) != 1 or len(data) > MAX_PASSPHRASE_FILE:
        raise UsageRefused(
            "keys.passphrase-file",
            f"The passphrase file {path} is not one line of text.",
            remedy="Write the passphrase alone into it.",
        )
    return lines[0]


def open_public(path: Path) -> PublicKeys:
    """Read the public keys out of a ``.pub`` file, or out of a ``.key`` file, which carries them unsealed.

    Args:
        path: The file.

    Returns:
        The public keys.

    Raises:
        NotFound: If it can't be read.
        UntrustedInput: If it is malformed.
    """
    from holdfast.keys import envelope, person

    data = read(path, envelope.MAX_ENVELOPE, "The key file")
    return envelope.public_of(data) if path.suffix == _SECRET else person.parse_public(data)


def open_handed(path: Path) -> PublicKeys:
    """Read the ``.pub`` file that somebody handed out.

    Args:
        path: The file.

    Returns:
        The public keys.

    Raises:
        NotFound: If it can't be read.
        UsageRefused: If it is a key file, which never leaves its holder.
        UntrustedInput: If it is malformed.
    """
    from holdfast.keys import envelope, person

    data = read(path, envelope.MAX_ENVELOPE, "The public key")
    if path.suffix == _SECRET or envelope.is_envelope(data):
        raise UsageRefused(
            "keys.secret-given",
            f"{path} is a key file, and public keys are needed.",
            remedy="Give the .pub file that `holdfast keys new` wrote beside it; a .key file stays with its holder.",
            file=str(path),
        )
    return person.parse_public(data)


def open_pair(path: Path, passphrase_file: Path | None) -> KeyPair:
    """Open a key file, asking for its passphrase unless a file holds it.

    Args:
        path: The key file.
        passphrase_file: The file that holds the passphrase, or None to ask.

    Returns:
        The keys.

    Raises:
        NotFound: If a file can't be read.
        UntrustedInput: If the key file is malformed.
        NotAuthenticated: If the passphrase is wrong.
    """
    from holdfast.keys import envelope

    data = read(path, envelope.MAX_ENVELOPE, "The key file")
    holder = envelope.public_of(data).holder
    if passphrase_file is not None:
        typed = passphrase_from(passphrase_file)
    else:
        typed = str(click.prompt(f"Passphrase of {holder}", hide_input=True, err=True))
    return envelope.open_envelope(data, typed)


def open_pairs(paths: tuple[Path, ...], passphrase_files: tuple[Path, ...]) -> list[KeyPair]:
    """Open several key files.

    Args:
        paths: The key files.
        passphrase_files: None, one for all, or one for each in the same order.

    Returns:
        The keys, in the same order.

    Raises:
        UsageRefused: If the number of passphrase files fits neither.
        NotFound: If a file can't be read.
        UntrustedInput: If a key file is malformed.
        NotAuthenticated: If a passphrase is wrong.
    """
    if len(passphrase_files) not in {0, 1, len(paths)}:
        raise UsageRefused(
            "keys.passphrase-files",
            f"There are {len(paths)} keys and {len(passphrase_files)} passphrase files.",
            remedy="Give one --passphrase-file for all keys, or one for each in the same order.",
        )
    files: list[Path | None] = [*passphrase_files] or [None]
    if len(files) == 1:
        files *= len(paths)
    return [open_pair(path, file) for path, file in zip(paths, files, strict=True)]
