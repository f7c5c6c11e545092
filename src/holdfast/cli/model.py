"""``holdfast model``: what is here, where it comes from, and its GGUF files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.output import emit, json_option, size, table

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.group()
def model() -> None:
    """List models, show where they come from, quantize them."""


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
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
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
            return await client.call("GET", f"/v1/artefacts/{name}")

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

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", f"/v1/artefacts/{name}")

    found = connect.run(work())["lineage"]
    emit(found, as_json, lambda: table(_HEAD, _rows(found)))


@model.command()
@click.argument("base")
@click.option("--adapter", help="Convert this adapter too: a run's number, or an adapter's name or digest.")
@click.option(
    "--type",
    "quantizations",
    multiple=True,
    type=click.Choice(["q8_0", "q4_k_m"]),
    default=("q8_0", "q4_k_m"),
    show_default=True,
    help="Quantization; may be given more than once.",
)
@json_option
@click.pass_context
def quantize(
    ctx: click.Context, base: str, adapter: str | None, quantizations: tuple[str, ...], *, as_json: bool
) -> None:
    """Make GGUF files of BASE, compare them with the original, and keep them if they agree."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            answer = await client.call(
                "POST",
                "/v1/models/convert",
                {"model": base, "adapter": adapter, "quantizations": list(quantizations)},
            )
            return await connect.finish(client, int(str(answer["job"])))

    result = connect.run(work())

    def lines() -> list[str]:
        fidelity = result["fidelity"]
        if not isinstance(fidelity, dict):
            return []
        rows = [
            (
                name,
                f"{_number(one['kl']):.5f}",
                f"{_number(one['top1']):.4f}",
                f"{_number(one['bits_per_weight']):.2f}",
            )
            for name, one in fidelity.items()
            if isinstance(one, dict)
        ]
        return [
            f"token ids equal; largest f16 logit difference {_number(fidelity['f16_max_logit_diff']):.4f}",
            *table(("type", "KL (nats)", "same top token", "bits/weight"), rows),
        ]

    emit(result, as_json, lines)


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
