"""``holdfast media request``: a signed inventory of the site leaves it, once two administrators let it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, size, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json


@click.group(cls=Group)
def request() -> None:
    """Let a publisher know what is here, so that a medium carries only what is missing.

    What leaves is kinds, names, versions, sizes and digests: an export, labelled, and let out by a second administrator.
    """


@request.command()
@click.option(
    "--artefact",
    "artefacts",
    multiple=True,
    help="Only this one, by name or digest; may be given more than once. All that media brought if left out.",
)
@json_option
@click.pass_context
def make(ctx: click.Context, artefacts: tuple[str, ...], *, as_json: bool) -> None:
    """Hash what is here again and make an inventory of it."""
    body: dict[str, Json] = {"artefacts": list(artefacts)}
    found = connect.job(ctx, "/v1/requests", body, again="`holdfast media request list`")
    emit(
        found,
        as_json,
        lambda: [
            f"inventory {found['request']}: {found['artefacts']} artefacts, {size(int(str(found['bytes'])))} of files",
            f"digest    {found['statement']}",
            f"A second administrator lets it out with `holdfast --as PERSON media request grant {found['request']}`.",
        ],
    )


@request.command()
@click.argument("number", type=int)
@json_option
@click.pass_context
def show(ctx: click.Context, number: int, *, as_json: bool) -> None:
    """Show what inventory NUMBER tells of the site."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", f"/v1/requests/{number}")

    found = connect.run(work())

    def lines() -> Iterator[str]:
        yield from _lines(found)
        held = found["held"]
        rows = [
            (one["kind"], one["name"], one["version"], str(one["digest"])[:24])
            for one in (held if isinstance(held, list) else [])
            if isinstance(one, dict)
        ]
        yield from table(("kind", "name", "version", "digest"), rows)

    emit(found, as_json, lines)


@request.command()
@click.argument("number", type=int)
@json_option
@click.pass_context
def grant(ctx: click.Context, number: int, *, as_json: bool) -> None:
    """Let inventory NUMBER out, as the second administrator."""

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session_and_key(ctx) as (client, pair):
            return await operations.let_out(client, pair, number)

    found = connect.run(work())
    emit(
        found,
        as_json,
        lambda: [*_lines(found), f"Fetch it with `holdfast media request fetch {number} --out FILE`."],
    )


@request.command()
@click.argument("number", type=int)
@click.option("--reason", required=True, help="Why; it goes on the record.")
@json_option
@click.pass_context
def refuse(ctx: click.Context, number: int, reason: str, *, as_json: bool) -> None:
    """Refuse to let inventory NUMBER out, or take your own back."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", f"/v1/requests/{number}/refuse", {"reason": reason})

    found = connect.run(work())
    emit(found, as_json, lambda: _lines(found))


@request.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List inventories."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", "/v1/requests")

    found = connect.run(work())

    def lines() -> list[str]:
        listed = found["requests"]
        rows = [
            (one["request"], one["state"], one["artefacts"], one["requester"], one["decided_by"])
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, dict)
        ]
        if not rows:
            return ["No inventory was made yet. Begin with `holdfast media request make`."]
        return table(("request", "state", "artefacts", "made by", "decided by"), rows)

    emit(found, as_json, lines)


@request.command()
@click.argument("number", type=int)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write; it must not exist.",
)
@json_option
@click.pass_context
def fetch(ctx: click.Context, number: int, out: Path, *, as_json: bool) -> None:
    """Write inventory NUMBER, signed by the appliance, for `media build --for`."""
    from holdfast import hashing
    from holdfast.errors import UsageRefused

    async def work() -> tuple[bytes, dict[str, Json]]:
        async with connect.session(ctx) as client:
            found = await client.call("GET", f"/v1/requests/{number}")
            return await client.download(f"/v1/requests/{number}/document"), found

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("xb") as file:
            data, told = connect.run(work())
            file.write(data)
    except OSError as error:
        raise UsageRefused(
            "request.out",
            f"{out} can't be written: {error.strerror}.",
            remedy="Name a new file where you may write.",
        ) from error
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    found: dict[str, Json] = {
        "path": str(out),
        "request": number,
        "digest": hashing.sha512(data),
        "bytes": len(data),
        "label": told["label"],
    }
    emit(
        found,
        as_json,
        lambda: [f"{out}: {size(len(data))}, digest {found['digest']}", f"label: {_label(told['label'])}"],
    )


def _label(value: Json) -> str:
    from holdfast.governance import labels

    return str(labels.parse(value))


def _lines(found: dict[str, Json]) -> Iterator[str]:
    yield f"inventory {found['request']}: {found['artefacts']} artefacts, {found['state']}, label {_label(found['label'])}"
    yield f"digest      {found['document'] or found['statement']}"
    yield f"made by     {found['requester']}"
    if found["decided_by"]:
        yield f"decided by  {found['decided_by']}{': ' + str(found['refusal']) if found['refusal'] else ''}"
