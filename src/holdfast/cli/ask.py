"""``holdfast ask``: a first application of what is served, by the same way as any other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.output import emit, json_option

if TYPE_CHECKING:
    from holdfast.canonical import Json

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("question")
@click.option(
    "--model",
    help="Model id: an alias, BASE, BASE:ADAPTER or BASE:ADAPTER@VERSION; the first that the key opens if left out.",
)
@click.option("--key", envvar="HOLDFAST_API_KEY", help="An application's key [HOLDFAST_API_KEY].")
@click.option("--url", help="Where it is served; asked of the daemon if left out.")
@click.option(
    "--ca",
    type=FILE,
    envvar="HOLDFAST_CA",
    help="PEM file of the authority that the endpoint's certificate comes from [HOLDFAST_CA].",
)
@click.option(
    "--certificate",
    type=FILE,
    envvar="HOLDFAST_CERTIFICATE",
    help="PEM file with a certificate of one's own and its key, where the site asks for one [HOLDFAST_CERTIFICATE].",
)
@click.option("--max-tokens", type=click.IntRange(min=1), default=128, show_default=True)
@json_option
@click.pass_context
def ask(  # noqa: PLR0917 - click passes arguments by name
    ctx: click.Context,
    question: str,
    model: str | None,
    key: str | None,
    url: str | None,
    ca: Path | None,
    certificate: Path | None,
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

    trust = chat.Trust(ca, certificate)
    found = chat.ask(address, key, model, question, max_tokens=max_tokens, on_text=show, trust=trust)
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
