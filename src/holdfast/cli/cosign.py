"""``holdfast audit cosign`` and the auditor's side of ``audit witness``: on a device of their own, without a daemon."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import keyfiles
from holdfast.cli.output import emit, json_option, plain, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.audit.cosignature import Cosigner
    from holdfast.audit.cosigning import Answer
    from holdfast.audit.witnessfolder import WitnessFolder
    from holdfast.canonical import Json

_CELL = 48  # characters of a cell
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_INPUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


def _common(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        json_option,
        click.option(
            "--passphrase-file", type=_FILE, help="Read the passphrase from this file instead of asking."
        ),
        click.option(
            "--out", type=_FILE, help="Write the cosigned checkpoint here instead of to the terminal."
        ),
        _folder_option,
    ):
        function = option(function)
    return function


def _folder_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--witness-dir",
        "folder",
        type=_FOLDER,
        required=True,
        envvar="HOLDFAST_WITNESS_DIR",
        help="The witness's folder [HOLDFAST_WITNESS_DIR].",
    )(function)


@click.command()
@click.argument("request", type=_INPUT)
@click.option(
    "--log-keys", type=_FILE, help="The log's log.pub, received by another way; needed the first time."
)
@_common
def cosign(
    request: Path,
    log_keys: Path | None,
    folder: Path,
    out: Path | None,
    passphrase_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Check REQUEST (a file, or the text of scanned QR codes; - reads it here) against all you saw, and cosign it."""
    from holdfast.audit import cosigning
    from holdfast.audit.witnessfolder import WitnessFolder

    witness = WitnessFolder(folder)
    made = cosigning.cosign(
        witness,
        _read(request),
        log_keys=None if log_keys is None else _read_keys(log_keys),
        opened=_opener(witness, passphrase_file),
        now=int(time.time()),
    )
    _give(made, out, as_json=as_json)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--name", required=True, help="The witness's name, such as auditor.example/ada.")
@click.option("--passphrase-file", type=_FILE, help="Read the passphrase from this file instead of asking.")
@json_option
def new(folder: Path, name: str, passphrase_file: Path | None, *, as_json: bool) -> None:
    """Make a witness in DIR: its secret keys under a passphrase, and witness.pub to hand to the site."""
    from holdfast.audit import checkpoint, cosignature
    from holdfast.audit.witnessfolder import WitnessFolder

    checkpoint.check_origin(name)
    if passphrase_file is not None:
        passphrase = keyfiles.passphrase_from(passphrase_file)
    else:
        passphrase = str(
            click.prompt(f"Passphrase for {name}", hide_input=True, confirmation_prompt="Once more", err=True)
        )
    public = WitnessFolder.create(folder, name, passphrase).public()
    keys: list[Json] = [*public.decode().splitlines()]
    fingerprint = cosignature.fingerprint(public)
    file = str(folder / "witness.pub")
    emit(
        {"name": name, "fingerprint": fingerprint, "file": file, "keys": keys},
        as_json,
        lambda: [*map(str, keys), f"fingerprint  {fingerprint}", f"file         {file}"],
    )


@click.command()
@_folder_option
@json_option
def seen(folder: Path, *, as_json: bool) -> None:
    """Show the logs that this witness watches, and the last head of each that it cosigned."""
    from holdfast.audit import cosignature
    from holdfast.audit.witness import moment
    from holdfast.audit.witnessfolder import WitnessFolder

    witness = WitnessFolder(folder)
    public = witness.public()
    rows: list[dict[str, Json]] = []
    for origin in witness.origins():
        last, keys = witness.seen(origin), witness.log_keys(origin) or []
        rows.append(
            {
                "origin": origin,
                "size": last.size if last else None,
                "root": last.root.hex() if last else None,
                "time": moment(last.cosigned) if last else None,
                "fingerprint": cosignature.fingerprint(cosignature.write_keys(keys)),
                "successor": witness.successor(origin),
            }
        )
    head = ["origin", "size", "time", "root", "successor"]
    listed: list[Json] = [*rows]
    emit(
        {"fingerprint": cosignature.fingerprint(public), "logs": listed},
        as_json,
        lambda: table(head, ([plain(str(one[name] or ""))[:_CELL] for name in head] for one in rows)),
    )


@click.command()
@click.argument("request", type=_INPUT)
@click.option(
    "--restored",
    required=True,
    type=_FILE,
    help="Receipt of the restored log's event home.restored (`audit prove SEQ`).",
)
@click.option(
    "--log-keys",
    required=True,
    type=_FILE,
    help="The restored log's log.pub, received by another way than the request.",
)
@click.option(
    "--lost",
    type=click.IntRange(min=0),
    default=0,
    help="Accept that so many events that you cosigned are lost.",
)
@_common
def succeed(
    request: Path,
    restored: Path,
    log_keys: Path,
    *,
    lost: int,
    folder: Path,
    out: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Take the restored log of REQUEST on as what continues a log that you watched, if it is shown to, and cosign it."""
    from holdfast.audit import cosigning, verify
    from holdfast.audit.witnessfolder import WitnessFolder

    witness = WitnessFolder(folder)
    made = cosigning.succeed(
        witness,
        _read(request),
        receipt=keyfiles.read(restored, verify.MAX_PROOF, "The receipt"),
        log_keys=_read_keys(log_keys),
        lost=lost,
        opened=_opener(witness, passphrase_file),
        now=int(time.time()),
    )
    _give(made, out, as_json=as_json)


def _read(path: Path) -> bytes:
    from holdfast.audit import cosigning

    if str(path) == "-":
        return sys.stdin.buffer.read(cosigning.MAX_INPUT + 1)
    return keyfiles.read(path, cosigning.MAX_INPUT, "The request")


def _read_keys(path: Path) -> bytes:
    from holdfast.audit import verify

    return keyfiles.read(path, verify.MAX_NOTE, "The log's keys")


def _opener(witness: WitnessFolder, passphrase_file: Path | None) -> Callable[[], Cosigner]:
    def opened() -> Cosigner:
        if passphrase_file is not None:
            return witness.open(keyfiles.passphrase_from(passphrase_file))
        name = witness.keys()[0].name
        return witness.open(str(click.prompt(f"Passphrase of {name}", hide_input=True, err=True)))

    return opened


def _give(made: Answer, out: Path | None, *, as_json: bool) -> None:
    if out is not None:
        from holdfast.store import disk

        with disk.faults("the cosigned checkpoint"):
            disk.write_file(out, made.note, mode=0o644)
    before = "nothing before" if made.before is None else f"{made.before} events before"
    click.echo(
        f"Cosigned {made.size} events of {plain(made.origin)}; this device had cosigned {before}.", err=True
    )
    if made.scanned:
        click.echo("Only the log's Ed25519 signature was checked: QR codes do not carry the other.", err=True)
    told: dict[str, Json] = {
        "origin": made.origin,
        "size": made.size,
        "root": made.root,
        "before": made.before,
        "scanned": made.scanned,
        "file": None if out is None else str(out),
        "note": made.note.decode(),
    }
    emit(told, as_json, lambda: [] if out else [made.note.decode().rstrip("\n")])
