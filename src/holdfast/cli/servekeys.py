"""``holdfast serve keys``: applications' keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, plain, records
from holdfast.parts import record
from holdfast.parts import records as rows_of
from holdfast.serving.quota import MAX_PARALLEL, MAX_REQUESTS, MAX_TOKENS

if TYPE_CHECKING:
    from holdfast.canonical import Json

_HEAD = ("key", "tenant", "state", "level", "for", "limits", "used today", "models")
_LIMITS = {"requests_per_minute": "{}/min", "tokens_per_day": "{} tokens/day", "parallel": "{} at once"}


@click.group(cls=Group)
def keys() -> None:
    """Applications' keys."""


@keys.command()
@click.option("--tenant", required=True, help="Whose key it is.")
@click.option(
    "--model",
    "models",
    multiple=True,
    help="Only for this model id, or BASE:* for its adapters; may be given more than once. Every model unless given.",
)
@click.option(
    "--level",
    type=click.Choice(["public", "internal", "restricted", "secret"]),
    default="public",
    show_default=True,
    help="The highest label it may see.",
)
@click.option(
    "--compartment",
    "compartments",
    multiple=True,
    help="A compartment of labels that it may see, too; may be given more than once.",
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["inference", "metrics"]),
    multiple=True,
    help="What it is for: inference unless given; may be given more than once.",
)
@click.option(
    "--requests-per-minute", type=click.IntRange(1, MAX_REQUESTS), help="Requests within any minute."
)
@click.option(
    "--tokens-per-day", type=click.IntRange(1, MAX_TOKENS), help="Tokens read and written in a day (UTC)."
)
@click.option("--parallel", type=click.IntRange(1, MAX_PARALLEL), help="Requests at once.")
@json_option
@click.pass_context
def create(  # noqa: PLR0917 - click passes arguments by name
    ctx: click.Context,
    tenant: str,
    models: tuple[str, ...],
    level: str,
    compartments: tuple[str, ...],
    scopes: tuple[str, ...],
    requests_per_minute: int | None,
    tokens_per_day: int | None,
    parallel: int | None,
    *,
    as_json: bool,
) -> None:
    """Create a key. Its secret is shown once and kept nowhere."""
    body: dict[str, Json] = {
        "tenant": tenant,
        "models": list(models),
        "level": level,
        "compartments": list(dict.fromkeys(compartments)),
        "scopes": list(dict.fromkeys(scopes)),
        "requests_per_minute": requests_per_minute,
        "tokens_per_day": tokens_per_day,
        "parallel": parallel,
    }

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", "/v1/serving/keys", body)

    result = connect.run(work())
    emit(result, as_json, lambda: [str(result["secret"])])
    if not as_json:
        click.echo(
            plain(
                f"Key {result['key']} of {result['tenant']}: its secret is shown this once, and kept nowhere."
            ),
            err=True,
        )


@keys.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List keys: what each is for, how much it may take and took today."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", "/v1/serving/keys")

    found = connect.run(work())
    listed = rows_of(found["keys"])

    def lines() -> list[str]:
        if not listed:
            return ["There is no key.", "Create one with `holdfast serve keys create`."]
        dead = any(one["state"] == "dead" for one in listed)
        note = (
            ["A dead key is on the record, but opens nothing in this home: revoke it and create another."]
            if dead
            else []
        )
        return [*records(_HEAD, map(_row, listed)), *note]

    emit(found, as_json, lines)


def _row(one: dict[str, Json]) -> tuple[object, ...]:
    used = record(one.get("used"))
    return (
        one["key"],
        one["tenant"],
        one["state"],
        _cleared(record(one.get("clearance"))),
        _joined(one.get("scopes")),
        limits(record(one.get("quota"))) or "none",
        f"{used.get('requests')} requests, {used.get('tokens')} tokens",
        _joined(one.get("models")),
    )


def _cleared(clearance: dict[str, Json]) -> str:
    """Write what a key may see: a level, and the compartments beside it."""
    names = clearance.get("compartments")
    return " +".join(map(str, (clearance.get("level"), *(names if isinstance(names, list) else []))))


def limits(quota: dict[str, Json]) -> str:
    """Write how much a key may take.

    Args:
        quota: The three limits, each null where there is none.

    Returns:
        For example ``60/min, 4 at once``; empty where nothing is limited.
    """
    return ", ".join(said.format(quota[name]) for name, said in _LIMITS.items() if quota.get(name))


def _joined(value: Json) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else ""


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
