"""``holdfast keys``: key pairs of people and publishers, made and shown without a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast import paths
from holdfast.cli import keyfiles
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, table
from holdfast.errors import Conflict, NotFound, UsageRefused

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.keys.person import PublicKeys

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Group)
def keys() -> None:
    """Make and show key pairs (Ed25519 and ML-DSA-87)."""


@keys.command()
@click.argument("name")
@click.option("--out", type=_FOLDER, help="The folder for the two files; your keys folder if not given.")
@click.option("--passphrase-file", type=_FILE, help="Read the passphrase from this file instead of asking.")
@json_option
def new(name: str, out: Path | None, passphrase_file: Path | None, *, as_json: bool) -> None:
    """Make a key pair for NAME: NAME.key (secret, under a passphrase) and NAME.pub (to hand to others)."""
    from holdfast import canonical
    from holdfast.artefact import is_safe_path
    from holdfast.keys import envelope, person
    from holdfast.store import disk

    if not is_safe_path(name) or name.startswith("-"):
        raise UsageRefused(
            "keys.name",
            f"{name[:40]!r} can't name a file.",
            remedy="Use letters, digits and hyphens for the name.",
        )
    pair = person.generate(name)
    place = out or paths.people_keys()
    secret, public = keyfiles.secret(place, name), keyfiles.public(place, name)
    for path in (secret, public):
        if path.exists():
            raise _taken(path)
    if passphrase_file is not None:
        passphrase = keyfiles.passphrase_from(passphrase_file)
    else:
        passphrase = str(
            click.prompt(f"Passphrase for {name}", hide_input=True, confirmation_prompt="Once more", err=True)
        )
    sealed = envelope.seal(pair, passphrase)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        disk.create_file(secret, sealed, mode=0o600)
        disk.create_file(public, canonical.encode(pair.public.to_json()) + b"\n", mode=0o644)
    except FileExistsError as problem:
        raise _taken(secret) from problem
    _show(pair.public, [str(secret), str(public)], as_json=as_json)


@keys.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the key pairs in your keys folder."""
    from holdfast.keys import envelope

    found = [
        envelope.public_of(keyfiles.read(path, envelope.MAX_ENVELOPE, "The key file"))
        for path in sorted(paths.people_keys().glob("*.key"))
    ]
    data: list[Json] = [{"holder": one.holder, "fingerprint": one.fingerprint} for one in found]
    emit(
        {"folder": str(paths.people_keys()), "keys": data},
        as_json,
        lambda: table(["holder", "fingerprint"], ((one.holder, one.fingerprint) for one in found)),
    )


@keys.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show the public keys of NAME (in your keys folder) or of a .key or .pub file."""
    from holdfast.keys import envelope, person

    place = paths.people_keys()
    candidates = [Path(name), keyfiles.secret(place, name), keyfiles.public(place, name)]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise NotFound(
            "keys.missing",
            f"There is no key {name} in {place}.",
            remedy="See `holdfast keys list` for those there are.",
        )
    data = keyfiles.read(path, envelope.MAX_ENVELOPE, "The key file")
    found = envelope.public_of(data) if path.suffix == ".key" else person.parse_public(data)
    _show(found, [str(path)], as_json=as_json)


def _show(found: PublicKeys, files: list[str], *, as_json: bool) -> None:
    listed: list[Json] = [*files]
    emit(
        {
            "holder": found.holder,
            "fingerprint": found.fingerprint,
            "files": listed,
            "public": found.to_json(),
        },
        as_json,
        lambda: [
            f"holder       {found.holder}",
            f"fingerprint  {found.fingerprint}",
            *(f"file         {f}" for f in files),
        ],
    )


def _taken(path: Path) -> Conflict:
    return Conflict(
        "keys.taken",
        f"{path} exists already; a key file is never overwritten.",
        remedy="Choose another name or folder, or move the old file away.",
        file=str(path),
    )
