"""``holdfast release``: a run becomes what applications get under a name, by two persons; one person takes it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast import hashing, parts
from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, records, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

FOLLOW = "`holdfast release list`"  # for who leaves a job


@click.group(cls=Group)
def release() -> None:
    """Release runs under names that applications use: one person proposes, another approves, one rolls back."""


@release.command()
@click.argument("run")
@click.option("--alias", help="The model id that applications use; the recipe's name by default.")
@json_option
@click.pass_context
def propose(ctx: click.Context, run: str, alias: str | None, *, as_json: bool) -> None:
    """Propose RUN, whose gate said go, for release. RUN is its number, digest or recipe's name."""
    found = connect.call(ctx, "POST", "/v1/releases", {"run": run, "alias": alias})
    emit(
        found,
        as_json,
        lambda: [
            *_lines(found),
            f"An administrator approves it with `holdfast --as PERSON release approve {found['request']}`.",
        ],
    )


@release.command()
@click.argument("request", type=int)
@json_option
@click.pass_context
def approve(ctx: click.Context, request: int, *, as_json: bool) -> None:
    """Approve release REQUEST as the second person. Where its base is served, the alias switches at once."""

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session_and_key(ctx) as (client, pair):
            job = await operations.approve_release(client, pair, request)
            return await connect.finish(client, job, FOLLOW)

    found = connect.run(work())
    emit(found, as_json, lambda: [*_lines(found), _switched(found)])


@release.command()
@click.argument("request", type=int)
@click.option("--reason", required=True, help="Why; it goes on the record.")
@json_option
@click.pass_context
def refuse(ctx: click.Context, request: int, reason: str, *, as_json: bool) -> None:
    """Refuse release REQUEST, or take your own proposal back."""
    found = connect.call(ctx, "POST", f"/v1/releases/{request}/refuse", {"reason": reason})
    emit(found, as_json, lambda: _lines(found))


@release.command()
@click.argument("alias")
@click.option("--to", type=int, metavar="REQUEST", help="The earlier release; the one before by default.")
@click.option("--reason", required=True, help="Why; it goes on the record.")
@json_option
@click.pass_context
def rollback(ctx: click.Context, alias: str, to: int | None, reason: str, *, as_json: bool) -> None:
    """Let ALIAS stand for an earlier release again, at once."""
    body: dict[str, Json] = {"alias": alias, "to": to, "reason": reason}
    found = connect.job(ctx, "/v1/releases/rollback", body, again=FOLLOW)
    emit(found, as_json, lambda: [*_lines(found), _switched(found)])


@release.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List releases, newest first, and how each stands."""
    found = connect.call(ctx, "GET", "/v1/releases")

    def lines() -> list[str]:
        rows = [
            (
                one["request"],
                one["alias"],
                one["standing"] if one["hindrance"] is None else f"{one['standing']} !",
                one["run_number"],
                _short(one["product"]),
                one["requester"],
                one["decided_by"],
            )
            for one in parts.records(found["releases"])
        ]
        if not rows:
            return ["Nothing was proposed yet.", "Propose a run with `holdfast release propose RUN`."]
        head = ("request", "alias", "standing", "run", "product", "proposed by", "decided by")
        broken = [
            f"! {one['request']}: {one['hindrance']}"
            for one in parts.records(found["releases"])
            if one["hindrance"] is not None and one["standing"] in ("in force", "open")
        ]
        return [*records(head, rows), *broken]

    emit(found, as_json, lines)


@release.command()
@click.argument("request", type=int)
@json_option
@click.pass_context
def show(ctx: click.Context, request: int, *, as_json: bool) -> None:
    """Show release REQUEST and everything that it rests on."""
    found = connect.call(ctx, "GET", f"/v1/releases/{request}")
    emit(found, as_json, lambda: _lines(found))


def _lines(found: dict[str, Json]) -> Iterator[str]:
    yield f"release     {found['request']}: {found['alias']}, {found['standing']}"
    yield f"digest      {_short(found['digest'])}"
    yield f"proposed    {found['requester']}, {found['time']}"
    if found["decided_by"]:
        yield f"decided     {found['decided_by']}, event {found['decided_seq']}"
    if found["reason"]:
        yield f"reason      {found['reason']}"
    yield f"run         {found['run_number']}  {_short(found['run'])}  {found['recipe_name']}"
    yield f"{found['kind']:<11} {_short(found['product'])}"
    yield f"base        {_short(found['base'])}  {found['base_name']}"
    for name, digest in parts.record(found["gguf"]).items():
        yield f"GGUF        {_short(digest)}  {name}"
    if found["lora"]:
        yield f"GGUF        {_short(found['lora'])}  of the adapter"
    yield f"gate        {_short(found['gate'])}  event {found['decided']}"
    for reason in parts.listed(parts.record(found.get("verdict")).get("reasons")):
        yield from wrapped(" " * 12, str(reason))
    yield f"evaluation  {_short(found['evaluation'])}"
    for one in parts.records(found.get("lineage")):
        if one["kind"] in ("recipe", "dataset", "suite"):
            yield f"{one['kind']:<11} {one['short']}  {one['name']}@{one['version']}"
    yield f"label       {_label(found['label'])}"
    if found["hindrance"]:
        yield f"not usable  {found['hindrance']}"


def _switched(found: dict[str, Json]) -> str:
    if found.get("switched"):
        return f"Applications get it as {found['alias']} from now on."
    return f"No server of that base runs; the next one serves it as {found['alias']}."


def _label(value: Json) -> str:
    if not isinstance(value, dict):
        return ""
    parts = [value.get("level"), value.get("compartments"), value.get("zones")]
    return " · ".join(", ".join(map(str, one)) if isinstance(one, list) else str(one) for one in parts if one)


def _short(digest: Json) -> str:
    return hashing.short(str(digest))
