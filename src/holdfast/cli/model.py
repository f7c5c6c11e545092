"""``holdfast model``: what is here, where it comes from, whole models and GGUF files made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from holdfast import parts
from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, size, table
from holdfast.cli.quantize import quantize

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.group(cls=Group)
def model() -> None:
    """List models, show where they come from, merge and quantize them."""


def _rows(listed: Json) -> list[tuple[object, ...]]:
    return [
        (
            one["kind"],
            one["name"],
            one["version"],
            one["short"],
            size(int(str(one["size"]))),
            _standing(one),
            _label(one["label"]),
        )
        for one in parts.records(listed)
    ]


def _standing(one: dict[str, Json]) -> str:
    revoked = one["revoked"]
    if isinstance(revoked, dict):
        return "revoked, excepted" if revoked["excepted"] else "REVOKED"
    return "active" if one["active"] else "not active"


def _label(value: Json) -> str:
    from holdfast.governance import labels

    return str(labels.parse(value))


_HEAD = ("kind", "name", "version", "digest", "size", "state", "label")


@model.command("list")
@click.option(
    "--kind", help="Only this kind: base, tokenizer, adapter, dataset, recipe, run, gguf, suite ..."
)
@json_option
@click.pass_context
def list_(ctx: click.Context, kind: str | None, *, as_json: bool) -> None:
    """List every artefact."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", "/v1/artefacts", kind=kind)

    found = connect.run(work())
    emit(found, as_json, lambda: table(_HEAD, _rows(found["artefacts"])))


@model.command()
@click.argument("name")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, *, as_json: bool) -> None:
    """Show the artefact NAME (name, name@version or digest)."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", f"/v1/artefacts/{quote(name, safe='')}")

    found = connect.run(work())["artefact"]

    def lines() -> list[str]:
        if not isinstance(found, dict):
            return []
        files = found["files"]
        return [
            *table(_HEAD, _rows([found])),
            f"digest {found['digest']}",
            f"recorded by event {found['made_by']}",
            *_revocation(found["revoked"]),
            *(
                f"  {file['path']}  {size(int(str(file['size'])))}  {str(file['digest'])[:28]}…"
                for file in (files if isinstance(files, list) else [])
                if isinstance(file, dict)
            ),
        ]

    emit(found, as_json, lines)


def _revocation(revoked: Json) -> list[str]:
    if not isinstance(revoked, dict):
        return []
    about = f"{revoked['kind']} {revoked['name']} ({str(revoked['digest'])[:20]})"
    return [
        f"revoked since {revoked['since']} by {revoked['bundle']}: {about}: {revoked['reason']}",
        f"  {revoked['advice']}",
    ]


@model.command()
@click.argument("name")
@json_option
@click.pass_context
def lineage(ctx: click.Context, name: str, *, as_json: bool) -> None:
    """Show everything that the artefact NAME was made from."""
    found = connect.call(ctx, "GET", f"/v1/artefacts/{quote(name, safe='')}")["lineage"]
    emit(found, as_json, lambda: table(_HEAD, _rows(found)))


@model.command()
@click.argument("base")
@click.option("--adapter", required=True, help="A run's number, or an adapter's name or digest.")
@json_option
@click.pass_context
def merge(ctx: click.Context, base: str, adapter: str, *, as_json: bool) -> None:
    """Make one model of BASE and an adapter, compare it with both, and keep it if it is like them."""
    result = connect.job(ctx, "/v1/models/merge", {"model": base, "adapter": adapter})

    def lines() -> list[str]:
        made, likeness = result["artefacts"], result["likeness"]
        if not isinstance(made, list) or not isinstance(likeness, dict) or not isinstance(made[0], dict):
            return []
        figures = [f"{parts.number(likeness[name]):.6f}" for name in ("kl", "adapter_kl", "max_logit_diff")]
        return [
            f"made {made[0]['name']}@{made[0]['version']}  {result['model']}",
            f"KL from base and adapter {figures[0]} nats; from the base alone {figures[1]}",
            f"largest difference of a logit {figures[2]}",
        ]

    emit(result, as_json, lines)


model.add_command(quantize)
