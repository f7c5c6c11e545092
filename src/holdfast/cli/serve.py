"""``holdfast serve``: models behind an OpenAI-compatible API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.figures import Bytes
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, size, table
from holdfast.cli.servekeys import keys
from holdfast.cli.service import STOPPED, space_told
from holdfast.cli.usage import usage
from holdfast.gguf import quantizations
from holdfast.parts import record, records

if TYPE_CHECKING:
    from holdfast.canonical import Json


_HEAD = ("engine of", "type", "state", "process", "memory", "context", "kv", "adapters", "deaths")


@click.group(cls=Group)
def serve() -> None:
    """Serve models behind an OpenAI-compatible API."""


_ADAPTERS = click.option(
    "--adapter",
    "adapters",
    multiple=True,
    help="An adapter whose gate said go: its run's number, its name or digest; may be given more than once.",
)
_TYPE = click.option(
    "--type",
    "quantization",
    type=click.Choice(quantizations.NAMES, case_sensitive=False),
    metavar="TYPE",
    help="Which GGUF, as in q8_0; the smallest that keeps the stated floor by default.",
)


@serve.command()
@click.option("--model", default="starter", show_default=True, help="The base, by name or digest.")
@_ADAPTERS
@_TYPE
@click.option("--host", help="Address to listen on; the site's by default.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; the site's by default, 0 for any free one.",
)
@click.option(
    "--context", type=click.IntRange(16, 2**20), help="Tokens of one prompt and its answer together, at most."
)
@click.option("--parallel", type=click.IntRange(1, 64), help="Sequences that a model computes side by side.")
@click.option("--kv", type=click.Choice(["f16", "q8_0"]), help="How caches hold keys and values.")
@click.option("--memory", type=Bytes(), metavar="SIZE", help="What all models together may take, as in 4GB.")
@json_option
@click.pass_context
def start(ctx: click.Context, /, *, as_json: bool, memory: int | None, **asked: Json) -> None:
    """Start serving a base, and under its alias whatever is released for it."""
    body = {**_plain(asked), "memory_gb": None if memory is None else memory / 1e9}
    result = connect.job(ctx, "/v1/serving/start", body)
    emit(
        result,
        as_json,
        lambda: [
            f"Serving at {result['address']}/v1",
            *_models(result["models"]),
            "Keys: `holdfast serve keys create`.",
        ],
    )


@serve.command()
@click.argument("model")
@_ADAPTERS
@_TYPE
@json_option
@click.pass_context
def load(ctx: click.Context, /, *, as_json: bool, **asked: Json) -> None:
    """Serve MODEL too, more adapters of it, or another type of it; also brings back what was taken out."""
    _change(ctx, "/v1/serving/load", _plain(asked), as_json)


@serve.command()
@click.argument("model")
@json_option
@click.pass_context
def unload(ctx: click.Context, model: str, *, as_json: bool) -> None:
    """Serve MODEL (BASE, BASE:ADAPTER or BASE:ADAPTER@VERSION) no more."""
    _change(ctx, "/v1/serving/unload", {"model": model}, as_json)


def _plain(asked: dict[str, Json]) -> dict[str, Json]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}


def _change(ctx: click.Context, route: str, body: dict[str, Json], as_json: bool) -> None:  # noqa: FBT001 - an option
    result = connect.job(ctx, route, body)
    emit(result, as_json, lambda: [f"Serving at {result['address']}/v1", *_models(result["models"])])


@serve.command()
@json_option
@click.pass_context
def renew(ctx: click.Context, *, as_json: bool) -> None:
    """Read the certificate and key of [serving.tls] again; who connects from now on gets them."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", "/v1/serving/renew")

    result = connect.run(work())
    emit(result, as_json, lambda: [_certificate(result)])


def _certificate(shown: dict[str, Json]) -> str:
    return f"Certificate {str(shown['certificate'])[:23]}, valid until {str(shown['until'])[:16].replace('T', ' ')} UTC."


@serve.command()
@json_option
@click.pass_context
def stop(ctx: click.Context, *, as_json: bool) -> None:
    """Stop serving; answers under way have some seconds to end."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", "/v1/serving/stop")

    emit(connect.run(work()), as_json, lambda: ["Stopped."])


@serve.command()
@json_option
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> None:
    """Show what is served."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", "/v1/serving")

    found = connect.run(work())
    emit(found, as_json, lambda: lines(found))


def lines(found: dict[str, Json]) -> list[str]:
    """Write what is served.

    Args:
        found: What the daemon says of serving.

    Returns:
        Where, what, by which engines, and what is amiss.
    """
    if not found["running"]:
        return [str(found["ended"] or "Nothing is served."), "Start with `holdfast serve start`."]
    figures = [f"{name} {found[name]}" for name in ("active", "queued", "served") if name in found]
    if deaths := record(found["front"]).get("deaths"):
        figures.append(f"deaths of the front {deaths}")
    return [
        f"Serving at {found['address']}/v1",
        *_models(found["models"]),
        *(f"  {alias} is not served: {why}" for alias, why in record(found["left_out"]).items()),
        *_engines(found),
        *((_certificate(shown),) if (shown := record(found.get("certificate"))) else ()),
        "  ".join(figures),
        *_silent(record(found.get("space"))),
    ]


def _silent(space: dict[str, Json]) -> list[str]:
    """Tell why applications get no answer though engines run: the log can't take what they ask."""
    if not space or (space["level"] != STOPPED and not space["failure"]):
        return []
    return [f"Nothing is answered: {space_told(space)}"]


def _engines(found: dict[str, Json]) -> list[str]:
    """Tell of the engines: process, memory, adapters, deaths, and why one was taken out or lacks an adapter."""
    rows, why = [], []
    for one in records(found["engines"]):
        total, models, adapters = record(one["memory"]).get("total"), one["models"], one["adapters"]
        rows.append(
            (
                str(models[0]) if isinstance(models, list) and models else str(one["engine"]),
                str(one["quantization"] or ""),
                str(one["state"]),
                str(one["pid"] or ""),
                size(total) if isinstance(total, int) else "",
                str(one["context"]),
                str(one["kv"]),
                str(len(adapters) if isinstance(adapters, list) else 0),
                str(one["deaths"]),
            )
        )
        for trouble in (one, *records(one["lacking"])):
            if trouble["why"]:
                why += [f"  {trouble['why']}", f"  {trouble['remedy']}"]
    if not rows:
        return []
    budget = found["budget"]
    may = (
        f"Engines may take {size(budget)} together; each computes {found['parallel']} sequences side by side."
        if isinstance(budget, int)
        else ""
    )
    return [*table(_HEAD, rows), *why, may]


def _models(listed: Json) -> list[str]:
    found = []
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict):
            revoked = one.get("revoked")
            released = f"  release {one['release']}" if one.get("release") is not None else ""
            found.append(f"  {one['id']}{released}{'  STOPPED' if revoked else ''}")
            if isinstance(revoked, dict):
                found += [f"    {revoked['message']}", f"    {revoked['remedy']}"]
    return found


serve.add_command(keys)
serve.add_command(usage)
