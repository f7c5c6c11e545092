"""``holdfast serve`` and ``holdfast ask``: models behind an OpenAI-compatible API, and a first application of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.group(cls=Group)
def serve() -> None:
    """Serve models behind an OpenAI-compatible API."""


@serve.command()
@click.option("--model", default="starter", show_default=True, help="The base, by name or digest.")
@click.option(
    "--adapter", "adapters", multiple=True, help="An adapter whose gate said go; may be given more than once."
)
@click.option(
    "--type",
    "quantization",
    type=click.Choice(["f16", "q8_0", "q4_k_m"]),
    default="q8_0",
    show_default=True,
    help="Which GGUF.",
)
@click.option("--host", help="Address to listen on; the site's by default.")
@click.option("--port", type=int, help="Port to listen on; the site's by default, 0 for any free one.")
@json_option
@click.pass_context
def start(  # noqa: PLR0917 - click passes arguments by name
    ctx: click.Context,
    model: str,
    adapters: tuple[str, ...],
    quantization: str,
    host: str | None,
    port: int | None,
    *,
    as_json: bool,
) -> None:
    """Start serving a base, and under its alias whatever is released for it."""
    body: dict[str, Json] = {
        "model": model,
        "adapters": list(adapters),
        "quantization": quantization,
        "host": host,
        "port": port,
    }
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
@json_option
@click.pass_context
def stop(ctx: click.Context, *, as_json: bool) -> None:
    """Stop serving; answers under way are finished first."""

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

    def lines() -> list[str]:
        if not found["running"]:
            return [str(found["ended"] or "Nothing is served."), "Start with `holdfast serve start`."]
        figures = [f"{name} {found[name]}" for name in ("active", "queued", "served") if name in found]
        left = found["left_out"]
        out = (
            [f"  {alias} is not served: {why}" for alias, why in left.items()]
            if isinstance(left, dict)
            else []
        )
        return [f"Serving at {found['address']}/v1", *_models(found["models"]), *out, "  ".join(figures)]

    emit(found, as_json, lines)


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


@serve.group(cls=Group)
def keys() -> None:
    """Applications' keys."""


@keys.command()
@click.option("--tenant", required=True, help="Whose key it is.")
@click.option("--model", "models", multiple=True, help="Only for this model id; may be given more than once.")
@click.option(
    "--level",
    type=click.Choice(["public", "internal", "restricted", "secret"]),
    default="public",
    show_default=True,
    help="The highest label it may see.",
)
@json_option
@click.pass_context
def create(ctx: click.Context, tenant: str, models: tuple[str, ...], level: str, *, as_json: bool) -> None:
    """Create a key. Its secret is shown once and kept nowhere."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call(
                "POST", "/v1/serving/keys", {"tenant": tenant, "models": list(models), "level": level}
            )

    result = connect.run(work())
    emit(result, as_json, lambda: [str(result["secret"])])


@keys.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List keys, without their secrets."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", "/v1/serving/keys")

    found = connect.run(work())

    def lines() -> list[str]:
        listed = found["keys"]
        rows = [
            (one["key"], one["tenant"], "revoked" if one["revoked"] else "valid")
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, dict)
        ]
        return table(("key", "tenant", "state"), rows)

    emit(found, as_json, lines)


@keys.command()
@click.argument("key")
@json_option
@click.pass_context
def revoke(ctx: click.Context, key: str, *, as_json: bool) -> None:
    """Revoke KEY at once."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("DELETE", f"/v1/serving/keys/{key}")

    emit(connect.run(work()), as_json, lambda: [f"Revoked {key}."])


@click.command()
@click.argument("question")
@click.option(
    "--model", default="starter", show_default=True, help="Model id: an alias, BASE or BASE:ADAPTER."
)
@click.option("--key", envvar="HOLDFAST_API_KEY", help="An application's key [HOLDFAST_API_KEY].")
@click.option("--url", help="Where it is served; asked of the daemon if left out.")
@click.option("--max-tokens", type=int, default=128, show_default=True)
@json_option
@click.pass_context
def ask(  # noqa: PLR0917 - click passes arguments by name
    ctx: click.Context,
    question: str,
    model: str,
    key: str | None,
    url: str | None,
    max_tokens: int,
    *,
    as_json: bool,
) -> None:
    """Ask a served model QUESTION, by the same way as any application."""
    from holdfast.errors import NotAuthenticated

    if not key:
        raise NotAuthenticated(
            "ask.key",
            "Asking needs an application's key.",
            remedy="Create one with `holdfast serve keys create --tenant NAME`, then set HOLDFAST_API_KEY.",
        )
    address = url or _served_at(ctx)
    from holdfast.client import chat

    def show(text: str) -> None:
        if not as_json:
            click.echo(text, nl=False)
            sys.stdout.flush()

    found = chat.ask(address, key, model, question, max_tokens=max_tokens, on_text=show)
    emit(
        dict(found),
        as_json,
        lambda: ["", f"request receipt {found['request_seq']}, answer receipt {found['answer_seq']}"],
    )


def _served_at(ctx: click.Context) -> str:
    from holdfast.client.connection import Client
    from holdfast.errors import Conflict

    async def work() -> dict[str, Json]:
        async with Client(connect.home(ctx)) as client:
            return await client.call("GET", "/v1/status")

    serving = connect.run(work())["serving"]
    address = serving.get("address") if isinstance(serving, dict) else None
    if not address:
        raise Conflict("serve.not-running", "Nothing is served.", remedy="Start with `holdfast serve start`.")
    return str(address)
