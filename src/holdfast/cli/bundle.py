"""``holdfast bundle``: what comes in, and who lets it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.output import emit, json_option, size, table

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.group()
def bundle() -> None:
    """Import, admit, reject, list and roll back bundles."""


@bundle.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def import_(ctx: click.Context, path: Path, *, as_json: bool) -> None:
    """Verify the medium in PATH, inspect it, and put it into quarantine."""

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session(ctx) as client:
            job = await operations.start_import(client, path)
            return await connect.finish(client, job, again=f"`holdfast bundle show {job}`")

    result = connect.run(work())
    holders = result["holders"]
    emit(
        result,
        as_json,
        lambda: [
            f"{result['name']} {result['version']} by {result['publisher']}: verified, inspected, in quarantine.",
            f"Signed by {', '.join(map(str, holders)) if isinstance(holders, list) else holders}.",
            f"A second administrator admits it with `holdfast --as PERSON bundle admit {result['request']}`.",
        ],
    )


@bundle.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List imports and generations."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", "/v1/bundles")

    found = connect.run(work())

    def lines() -> list[str]:
        imports = found["imports"]
        rows = [
            (one["request"], one["state"], one["name"], one["version"], one["requester"], one["decided_by"])
            for one in (imports if isinstance(imports, list) else [])
            if isinstance(one, dict)
        ]
        if not rows:
            return ["Nothing was imported yet. Begin with `holdfast bundle import PATH`."]
        text = table(("request", "state", "bundle", "version", "asked by", "decided by"), rows)
        return [*text, f"active generation: {found['active'] or 'none'}"]

    emit(found, as_json, lines)


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

    def lines() -> list[str]:
        facts = found["facts"]
        listed = facts.get("artefacts") if isinstance(facts, dict) else None
        rows = []
        for one in listed if isinstance(listed, list) else []:
            files = one["files"] if isinstance(one, dict) else []
            if isinstance(one, dict) and isinstance(files, list):
                total = sum(int(str(file["size"])) for file in files if isinstance(file, dict))
                rows.append((one["kind"], one["name"], one["version"], size(total), len(files)))
        return [
            f"request {request}: {found['name']} {found['version']} by {found['publisher']}, {found['state']}",
            *table(("kind", "name", "version", "size", "files"), rows),
        ]

    emit(found, as_json, lines)


@bundle.command()
@click.argument("request", type=int)
@json_option
@click.pass_context
def admit(ctx: click.Context, request: int, *, as_json: bool) -> None:
    """Admit import REQUEST as the second administrator."""

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session_and_key(ctx) as (client, pair):
            return await operations.admit(client, pair, request)

    result = connect.run(work())
    emit(result, as_json, lambda: [f"Admitted. Generation {result['generation']} is active."])


@bundle.command()
@click.argument("request", type=int)
@click.option("--reason", required=True, help="Why; it goes on the record.")
@json_option
@click.pass_context
def reject(ctx: click.Context, request: int, reason: str, *, as_json: bool) -> None:
    """Reject import REQUEST; its quarantine is removed."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", f"/v1/bundles/{request}/reject", {"reason": reason})

    result = connect.run(work())
    emit(result, as_json, lambda: [f"Rejected request {request}."])


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
