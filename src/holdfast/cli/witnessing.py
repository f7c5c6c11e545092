"""``holdfast audit checkpoint|cosigned`` and the site's side of ``audit witness``: what goes to a witness and what comes back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect, keyfiles
from holdfast.cli.output import emit, json_option, table
from holdfast.errors import UsageRefused

if TYPE_CHECKING:
    from holdfast.canonical import Json

_FILE = click.Path(path_type=Path, dir_okay=False)
_BLOCKS = "▀▄█"


@click.command()
@click.option(
    "--witness", metavar="NAME", help="Make a request for this witness, with the proof that it needs."
)
@click.option(
    "--old",
    type=click.IntRange(min=0),
    metavar="SIZE",
    help="Prove from this size instead of the one on record.",
)
@click.option("--out", type=_FILE, help="Write it here instead of to the terminal.")
@click.option("--qr", is_flag=True, help="Show it as QR codes, one after the other.")
@json_option
@click.pass_context
def checkpoint(
    ctx: click.Context, witness: str | None, old: int | None, out: Path | None, *, qr: bool, as_json: bool
) -> None:
    """Hand out a signed checkpoint of the log; for a witness, with the proof that it extends what that one saw."""
    if qr and not as_json:
        _check_terminal()
    found = connect.call(ctx, "POST", "/v1/audit/checkpoint", {"witness": witness, "old": old})
    text = str(found["request" if witness else "checkpoint"])
    if out is not None:
        from holdfast.store import disk

        with disk.faults("the checkpoint"):
            disk.write_file(out, text.encode(), mode=0o644)
        click.echo(f"Written to {out}: {found['size']} events of {found['origin']}.", err=True)
    frames: Sequence[str] = []
    if qr:
        from holdfast.audit import witness as asked

        frames = asked.frames_of(text.encode())
    if qr and not as_json:
        _show(frames)
        return
    listed: list[Json] = [*frames]
    emit({**found, "frames": listed} if qr else found, as_json, lambda: [] if out else [text.rstrip("\n")])


@click.command()
@click.argument("file", type=_FILE)
@json_option
@click.pass_context
def cosigned(ctx: click.Context, file: Path, *, as_json: bool) -> None:
    """Take in FILE, a checkpoint that a witness cosigned: it is verified, recorded and kept in the log's folder."""
    from holdfast.audit.verify import MAX_NOTE
    from holdfast.errors import VerificationFailed

    data = keyfiles.read(file, MAX_NOTE, "The cosigned checkpoint")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        note = ""
    if not note or len(data) > MAX_NOTE:
        raise VerificationFailed(
            "witness.note",
            f"{file} is no cosigned checkpoint: it is not text of 1 to {MAX_NOTE} bytes.",
            remedy="Take the file that `holdfast audit cosign` wrote, unchanged.",
        )
    found = connect.call(ctx, "POST", "/v1/audit/cosigned", {"note": note})
    emit(
        found,
        as_json,
        lambda: [
            f"{found['witness']} cosigned {found['size']} events at {found['time']} (event {found['seq']})."
        ],
    )


@click.command()
@click.argument("name")
@click.argument("keys", type=_FILE)
@json_option
@click.pass_context
def add(ctx: click.Context, name: str, keys: Path, *, as_json: bool) -> None:
    """Add the witness whose verifier keys are in KEYS (its witness.pub), under NAME. Compare the fingerprint by voice."""
    from holdfast.audit import cosignature

    data = keyfiles.read(keys, cosignature.MAX_KEY_FILE, "The witness's keys")
    cosignature.read_keys(data)
    found = connect.call(ctx, "POST", "/v1/audit/witnesses", {"name": name, "keys": data.decode()})
    emit(
        found,
        as_json,
        lambda: [
            f"witness      {found['name']} ({found['cosigner']})",
            f"fingerprint  {found['fingerprint']}",
        ],
    )


@click.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why, for the record.")
@json_option
@click.pass_context
def remove(ctx: click.Context, name: str, reason: str, *, as_json: bool) -> None:
    """Remove the witness NAME; what it cosigned stays on the record."""
    from urllib.parse import quote

    route = f"/v1/audit/witnesses/{quote(name, safe='')}/removal"
    found = connect.call(ctx, "POST", route, {"reason": reason})
    emit(found, as_json, lambda: [f"{found['removed']} is a witness no more."])


@click.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """Show each witness: what it cosigned last, how long ago, and how many events came since."""
    found = connect.call(ctx, "GET", "/v1/audit/witnesses")
    listed = found["witnesses"]
    rows = [one for one in _items(listed) if isinstance(one, dict)]
    head = ["name", "cosigner", "size", "last", "days ago", "events since"]
    emit(
        found,
        as_json,
        lambda: [
            *table(
                head,
                (
                    [
                        one["name"],
                        one["cosigner"],
                        one["size"],
                        one["time"] or "never",
                        _days(one["age_s"]) if one["time"] else "",
                        one["since"],
                    ]
                    for one in rows
                ),
            ),
            f"log's keys   {found['fingerprint']}",
            *([str(found["overdue"])] if found["overdue"] else []),
        ],
    )


globals()["list"] = list_  # the group finds a command by its name, and this name is Python's


def _items(value: Json) -> Sequence[Json]:
    # This module's name ``list`` is the command.
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _days(seconds: Json) -> str:
    return f"{seconds / 86_400:.1f}" if isinstance(seconds, int) else ""


def _check_terminal() -> None:
    """Refuse where the terminal can't show block characters."""
    try:
        _BLOCKS.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        raise UsageRefused(
            "audit.qr",
            f"This terminal's character set ({sys.stdout.encoding}) has no blocks to draw QR codes with.",
            remedy="Set a UTF-8 locale (LC_ALL=C.UTF-8), or use --out FILE.",
        ) from None


def _show(frames: Sequence[str]) -> None:
    """Show one code after the other: on a terminal page by page, else all."""
    from holdfast.audit import qr

    pages = sys.stdout.isatty() and sys.stdin.isatty()
    place = 0
    while place < len(frames):
        if pages:
            click.clear()
        for line in qr.draw(frames[place]):
            click.echo(click.style(line, fg="bright_white", bg="black"))
        caption = f"{place + 1}/{len(frames)}"
        if not pages:
            click.echo(caption)
            place += 1
            continue
        click.echo(f"{caption}  Enter: next  b: back  q: end", nl=False)
        key = click.getchar()
        if key in {"q", "\x1b"}:
            break
        place = max(0, place - 1) if key == "b" else place + 1
    if pages:
        click.clear()
