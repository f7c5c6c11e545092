"""``holdfast store``: the upkeep of what is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, size, table
from holdfast.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json


@click.group(cls=Group)
def store() -> None:
    """Hash the store again, and remove what nothing needs."""


@store.command()
@json_option
@click.pass_context
def scrub(ctx: click.Context, *, as_json: bool) -> None:
    """Hash everything in the store again; exit 3 if anything is damaged."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            job = int(str((await client.call("POST", "/v1/store/scrub"))["job"]))
            return await connect.finish(client, job)

    result = connect.run(work())
    damaged = _rows(result["damaged"])
    emit(result, as_json, lambda: _scrubbed(result, damaged))
    if damaged:
        first = damaged[0]
        raise VerificationFailed(
            "store.damaged",
            f"{len(damaged)} of {result['checked']} artefacts in the store are damaged, first {first['kind']} {first['name']}.",
            remedy="They are not used until their media are imported again; what was made here is to be made again.",
            artefacts=[str(one["artefact"]) for one in damaged],
        )


def _scrubbed(result: dict[str, Json], damaged: list[dict[str, Json]]) -> Iterator[str]:
    for one in damaged:
        again = f"import {one['medium']} again" if one["medium"] else "make it again"
        yield f"DAMAGED: {one['kind']} {one['name']}@{one['version']} ({again})"
        for fault in _rows(one["faults"]):
            yield f"  {fault['message']}"
    unnamed = result["unnamed"]
    for text in unnamed if isinstance(unnamed, list) else []:
        yield f"not needed: {text}"
    whole = int(str(result["checked"])) - len(damaged)
    yield f"{whole} of {result['checked']} artefacts ({size(int(str(result['bytes'])))}) are what was recorded."


@store.command()
@click.option(
    "--keep", type=click.IntRange(1, 1000), default=3, show_default=True, help="Generations to keep."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@click.pass_context
def gc(ctx: click.Context, keep: int, *, dry_run: bool, as_json: bool) -> None:
    """Remove old generations, and artefacts that nothing needs any more."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", "/v1/store/gc", {"keep": keep, "dry_run": dry_run})

    result = connect.run(work())
    emit(result, as_json, lambda: _collected(result))


def _collected(result: dict[str, Json]) -> Iterator[str]:
    would = "would be removed" if result["dry_run"] else "removed"
    generations, kept = ([str(one) for one in _list(result[name])] for name in ("generations", "kept"))
    yield f"generations {would}: {', '.join(generations) or 'none'}; kept: {', '.join(kept) or 'none'}"
    rows = [
        (one["kind"], one["name"], one["version"], size(int(str(one["size"]))), one["medium"])
        for one in _rows(result["artefacts"])
    ]
    if rows:
        yield f"artefacts {would}:"
        yield from table(("kind", "name", "version", "size", "to have it again, import"), rows)
    else:
        yield f"artefacts {would}: none"
    if not result["dry_run"]:
        yield f"freed: {size(int(str(result['freed'])))}"


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _rows(value: Json) -> list[dict[str, Json]]:
    return [one for one in _list(value) if isinstance(one, dict)]
