"""``holdfast bundle``: what comes in, and who lets it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, plain, size, table
from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

MAX_NUMBERS = 20  # of missing volumes that are named on a line


@click.group(cls=Group)
def bundle() -> None:
    """Import, admit, reject, list and roll back bundles; write their receipts."""


@bundle.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def import_(ctx: click.Context, path: Path, *, as_json: bool) -> None:
    """Verify the medium or volume in PATH, inspect it once it is complete, and put it into quarantine."""

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session(ctx) as client:
            job = await operations.start_import(client, path)
            return await connect.finish(client, job, again=f"`holdfast bundle show {job}`")

    try:
        result = connect.run(work())
    except UntrustedBundle as error:
        if not as_json:
            _tell_findings(error.fields.get("findings"))
        raise
    emit(result, as_json, lambda: _imported(result))


def _tell_findings(found: object) -> None:
    """Print everything that the inspection found, one line each."""
    for sentence in found if isinstance(found, list) else []:
        click.echo(f"  - {plain(str(sentence))}", err=True)


def _imported(result: dict[str, Json]) -> Iterator[str]:
    named = f"{result['name']} {result['version']} by {result['publisher']}"
    holders, missing = result["holders"], result["missing"]
    signed = f"Signed by {', '.join(map(str, holders)) if isinstance(holders, list) else holders}."
    if isinstance(missing, list) and missing:
        present = result["present"]
        have = len(present) if isinstance(present, list) else 0
        yield f"{named}: {have} of {result['volumes']} volumes are here. {signed}"
        yield f"Still missing: {_numbers(missing)}. Import each with `holdfast bundle import PATH`, in any order."
        return
    yield f"{named}: verified, inspected, in quarantine."
    yield signed
    yield f"A second administrator admits it with `holdfast --as PERSON bundle admit {result['request']}`."


def _numbers(found: list[Json]) -> str:
    """Write numbers of volumes, at most as many as fit a line."""
    shown = ", ".join(map(str, found[:MAX_NUMBERS]))
    return shown if len(found) <= MAX_NUMBERS else f"{shown} and {len(found) - MAX_NUMBERS} more"


@bundle.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List imports, generations, and the space that is left."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", "/v1/bundles")

    found = connect.run(work())

    def lines() -> list[str]:
        imports = found["imports"]
        rows = [
            (
                one["request"],
                _standing(one),
                one["name"],
                one["version"],
                one["requester"],
                one["decided_by"],
            )
            for one in (imports if isinstance(imports, list) else [])
            if isinstance(one, dict)
        ]
        if not rows:
            return ["Nothing was imported yet. Begin with `holdfast bundle import PATH`."]
        text = table(("request", "state", "bundle", "version", "asked by", "decided by"), rows)
        kept = found["generations"]
        numbers = [one["number"] for one in kept if isinstance(one, dict)] if isinstance(kept, list) else []
        return [
            *text,
            f"active generation: {found['active'] or 'none'} (kept: {', '.join(map(str, numbers)) or 'none'})",
            f"free space: {size(int(str(found['free'])))}",
        ]

    emit(found, as_json, lines)


def _standing(one: dict[str, Json]) -> str:
    """Say where an import stands, in a word or two."""
    missing, volume = one["missing"], one["volume"]
    state = str(one["state"])
    if state == "collecting" and isinstance(missing, list):
        return f"collecting, {len(missing)} missing"
    if state == "collected" and isinstance(volume, dict):
        return f"volume {volume['number']} of {volume['count']}"
    return f"{state}, resumable" if one["resumable"] else state


@bundle.command()
@click.argument("request", type=int)
@json_option
@click.pass_context
def show(ctx: click.Context, request: int, *, as_json: bool) -> None:
    """Show what import REQUEST holds."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", f"/v1/bundles/{request}")

    found = connect.run(work())

    emit(found, as_json, lambda: _described(found))


def _described(found: dict[str, Json]) -> Iterator[str]:
    facts = found["facts"] if isinstance(found["facts"], dict) else {}
    yield f"request {found['request']}: {found['name']} {found['version']} by {found['publisher']}, {found['state']}"
    if found["decided_by"]:
        yield f"{found['state']} by {found['decided_by']}" + (
            f": {found['reason']}" if found["reason"] else ""
        )
    if found["message"]:
        yield str(found["message"])
    missing = found["missing"]
    if isinstance(missing, list) and missing:
        yield f"missing volumes: {_numbers(missing)}"
    if found["resumable"]:
        yield "What was copied is kept: import the medium again to go on, or give it up with `holdfast bundle discard`."
    findings = [one for one in _items(found["findings"]) if isinstance(one, dict)]
    yield from (f"finding ({one['key']}): {one['sentence']}" for one in findings)
    volumes = [_volume(one) for one in _items(found["parts"]) if isinstance(one, dict)]
    if volumes:
        yield from table(("volume", "read by", "serial", "writing", "file system"), volumes)
    revoked = facts.get("revocations")
    if isinstance(revoked, dict) and revoked["concerned"]:
        yield f"Admitting it revokes what is here: {', '.join(map(str, _items(revoked['concerned'])))}."
    rows = [_artefact(one) for one in _items(facts.get("artefacts")) if isinstance(one, dict)]
    if rows:
        yield from table(("kind", "name", "version", "size", "files"), rows)


def _artefact(one: dict[str, Json]) -> tuple[Json, ...]:
    return (one["kind"], one["name"], one["version"], size(int(str(one["size"]))), one["files"])


def _volume(one: dict[str, Json]) -> tuple[Json, ...]:
    medium = one["medium"] if isinstance(one["medium"], dict) else {}
    locked = medium.get("read_only")
    writing = "unknown" if locked is None else "read-only" if locked else "WRITABLE"
    return (
        f"{one['number']} of {one['count']}",
        one["requester"],
        medium.get("serial") or "unknown",
        writing,
        medium.get("filesystem") or "unknown",
    )


def _items(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


@bundle.command()
@click.argument("request", type=int)
@click.option("--reason", help="Why; it goes on the record.")
@json_option
@click.pass_context
def admit(ctx: click.Context, request: int, reason: str | None, *, as_json: bool) -> None:
    """Admit import REQUEST as the second administrator."""

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session_and_key(ctx) as (client, pair):
            return await operations.admit(client, pair, request, reason)

    result = connect.run(work())
    emit(result, as_json, lambda: [f"Admitted. Generation {result['generation']} is active."])


@bundle.command()
@click.argument("request", type=int)
@click.option("--reason", required=True, help="Why; it goes on the record.")
@json_option
@click.pass_context
def reject(ctx: click.Context, request: int, reason: str, *, as_json: bool) -> None:
    """Reject import REQUEST as the second administrator; its quarantine is removed."""

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session_and_key(ctx) as (client, pair):
            return await operations.reject(client, pair, request, reason)

    result = connect.run(work())
    emit(result, as_json, lambda: [f"Rejected request {request}."])


@bundle.command()
@click.argument("named", metavar="REQUEST|MANIFEST")
@json_option
@click.pass_context
def discard(ctx: click.Context, named: str, *, as_json: bool) -> None:
    """Give up an import whose volumes are not all here, that was interrupted, or that waits and is your own."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", "/v1/bundles/discard", {"named": named})

    result = connect.run(work())
    emit(result, as_json, lambda: [f"Discarded request {result['request']}; its quarantine is removed."])


@bundle.command()
@click.argument("request", type=int)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to write; must not exist yet."
)
@json_option
@click.pass_context
def receipt(ctx: click.Context, request: int, out: Path, *, as_json: bool) -> None:
    """Write the signed receipt of a decided import REQUEST: PDF, JSON, signature, and what verifies them elsewhere."""
    from holdfast.cli.report import export

    export(ctx, f"/v1/bundles/{request}/receipt", out, as_json=as_json)


@bundle.command()
@click.option("--to", "generation", type=int, help="The generation to go to; the one before if left out.")
@json_option
@click.pass_context
def rollback(ctx: click.Context, generation: int | None, *, as_json: bool) -> None:
    """Go back to an earlier generation."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", "/v1/bundles/rollback", {"generation": generation})

    result = connect.run(work())
    emit(result, as_json, lambda: [f"Generation {result['generation']} is active."])
