"""``holdfast audit backup|restore|archive|forget``: copies of the record, homes made of them, and what leaves this disk.

``restore`` needs no daemon, and no home; the others speak to one. Invariant: what is written lies whole and synced under its
final name, or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.output import Progress, emit, json_option, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json
    from holdfast.custody.restore import Restored

_OUT = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to write; must not exist yet."
)


@click.command()
@_OUT
@json_option
@click.pass_context
def backup(ctx: click.Context, out: Path, *, as_json: bool) -> None:
    """Copy the log, the artefacts and the sealed payloads; no private key leaves the machine."""
    found = _fetch(ctx, "/v1/audit/backup", {}, out)
    emit(found, as_json, lambda: _backed_up(found, out))


@click.command()
@click.option(
    "--until",
    type=click.IntRange(min=1),
    required=True,
    help="Archive whole segments that end before this event.",
)
@_OUT
@json_option
@click.pass_context
def archive(ctx: click.Context, until: int, out: Path, *, as_json: bool) -> None:
    """Copy the beginning of the log to be kept elsewhere, after writing down the state that it leads to."""
    found = _fetch(ctx, "/v1/audit/archive", {"until": until}, out)
    emit(found, as_json, lambda: _archived(found, out))


@click.command()
@click.argument("number", type=click.IntRange(min=0), metavar="ARCHIVE")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
@click.pass_context
def forget(ctx: click.Context, number: int, path: Path, *, as_json: bool) -> None:
    """Remove from this disk the events that archive number ARCHIVE holds; PATH, its copy, is verified first."""
    from holdfast.custody import listing, relog

    relog.check(path, relog.read_keys(path / "log.pub"), "the archive")
    manifest = listing.digest_of(listing.files_in(path))
    found = connect.call(ctx, "POST", f"/v1/audit/archives/{number}/forget", {"manifest": manifest})
    emit(
        found,
        as_json,
        lambda: [
            f"Events before {found['until']} are no longer on this disk; {path} is the only copy that this site knows of.",
            "Proofs of them still verify; new ones are made from the archive.",
        ],
    )


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--keys",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The log's verifier keys (log.pub), as an auditor holds them: not the ones in the backup.",
)
@click.option(
    "--salvaged",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A log folder saved from the lost machine: what it has beyond the backup is taken over.",
)
@json_option
@click.pass_context
def restore(ctx: click.Context, path: Path, keys: Path, salvaged: Path | None, *, as_json: bool) -> None:
    """Make a new home (--home) of the backup in PATH: a new log that begins with the old events and names what was lost."""
    from datetime import UTC, datetime

    from holdfast.custody import relog
    from holdfast.custody.restore import restore as make

    known = relog.read_keys(keys)
    home = connect.home(ctx)
    shown = Progress()
    made = make(path, home, known, salvaged=salvaged, now=lambda: datetime.now(UTC), progress=shown)
    shown.end()
    result: dict[str, Json] = {
        "home": str(home.root),
        "seq": made.seq,
        "origin": made.origin,
        "old": {"origin": made.old.origin, "size": made.old.size, "root": made.old.root},
        "artefacts": made.artefacts,
        "sealed": made.sealed,
        "lost": list(made.lost),
    }
    emit(result, as_json, lambda: _restored(made, str(home.root)))


def _backed_up(found: dict[str, Json], out: Path) -> Iterator[str]:
    yield f"{found['files']} files, {_size(found['bytes'])}, in {out}: the log up to event {_number(found['size']) - 1},"
    yield f"{found['artefacts']} artefacts, {found['sealed']} sealed payloads (without their keys)."
    yield "Models and data in it are not encrypted: guard it as you guard the machine."
    yield f"Restore it with `holdfast --home NEW audit restore {out} --keys log.pub`, with the log's keys as an auditor holds them."


def _archived(found: dict[str, Json], out: Path) -> Iterator[str]:
    last, number = _number(found["until"]) - 1, found["job"]
    yield f"Archive {number}: events {found['first']} to {last} are in {out} ({_size(found['bytes'])}). They are still here, too."
    yield "An administrator who did not make it removes them from this disk with"
    yield f"`holdfast audit forget {number} {out}`."


def _restored(made: Restored, home: str) -> Iterator[str]:
    yield f"{home} is restored: {made.old.size} events, {made.artefacts} artefacts, {made.sealed} sealed payloads."
    yield f"Its log is {made.origin}; it continues {made.old.origin} (root {made.old.root})."
    yield "Lost:"
    yield from (f"  - {one}" for one in made.lost)
    yield f"Start it with `holdfast --home {home} up`, hand its new log/log.pub to the auditors, and have it witnessed."


def _fetch(ctx: click.Context, route: str, body: dict[str, Json], out: Path) -> dict[str, Json]:
    """Have the daemon make a copy, and write it where the person said."""

    async def work() -> dict[str, Json]:
        from holdfast.client import copies

        async with connect.session(ctx) as client:
            copies.require_new(out)
            job = int(str((await client.call("POST", route, body))["job"]))
            result = await connect.finish(client, job, f"`holdfast audit log --cause {job}`")
            shown = Progress()
            await copies.save(client, job, out, shown)
            shown.end()
            return {"out": str(out), "job": job, **result}

    return connect.run(work())


def _size(count: Json) -> str:
    return size(_number(count))


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
