"""``holdfast exception``: a rule lifted for a time, by two administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

SHORT = 24  # characters of a subject in a table; --json gives the whole


@click.group(cls=Group)
def exception() -> None:
    """Lift a rule for a time: one administrator asks, another one grants, and the log keeps it."""


@exception.command()
@click.argument("kind", type=click.Choice(["expired", "revoked", "floor"]))
@click.argument("subject")
@click.option("--until", metavar="TIME", help="When it ends, for example 2026-03-01T12:00:00Z.")
@click.option("--days", type=click.IntRange(1, 30), help="Or how many days it lasts.")
@click.option("--reason", required=True, help="Why; it goes on the record.")
@json_option
@click.pass_context
def ask(  # noqa: PLR0917 - click passes arguments by name
    ctx: click.Context,
    kind: str,
    subject: str,
    until: str | None,
    days: int | None,
    reason: str,
    *,
    as_json: bool,
) -> None:
    """Ask for an exception of KIND for SUBJECT. It lasts 30 days at most.

    expired: import a medium whose metadata has expired; SUBJECT is the digest that the refusal names.
    revoked: use a revoked artefact and what was made from it; SUBJECT is its digest or name.
    floor: set the time below which no clock is believed; SUBJECT is that time, for example 2026-03-01T12:00:00Z.
    """
    from holdfast.errors import UsageRefused

    if (until is None) == (days is None):
        raise UsageRefused(
            "exception.end", "An exception needs one end.", remedy="Give either --until TIME or --days N."
        )

    async def work() -> dict[str, Json]:
        body: dict[str, Json] = {
            "kind": kind,
            "subject": subject,
            "until": until,
            "days": days,
            "reason": reason,
        }
        async with connect.session(ctx) as client:
            return await client.call("POST", "/v1/exceptions", body)

    found = connect.run(work())
    emit(
        found,
        as_json,
        lambda: [
            *_lines(found),
            f"A second administrator grants it with `holdfast --as PERSON exception grant {found['request']}`.",
        ],
    )


@exception.command()
@click.argument("request", type=int)
@json_option
@click.pass_context
def grant(ctx: click.Context, request: int, *, as_json: bool) -> None:
    """Grant exception REQUEST as the second administrator."""

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session_and_key(ctx) as (client, pair):
            return await operations.grant_exception(client, pair, request)

    found = connect.run(work())
    emit(found, as_json, lambda: _lines(found))


@exception.command()
@click.argument("request", type=int)
@click.option("--reason", required=True, help="Why; it goes on the record.")
@json_option
@click.pass_context
def refuse(ctx: click.Context, request: int, reason: str, *, as_json: bool) -> None:
    """Refuse exception REQUEST, or take your own back."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", f"/v1/exceptions/{request}/refuse", {"reason": reason})

    found = connect.run(work())
    emit(found, as_json, lambda: _lines(found))


@exception.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List exceptions: open, in force, ended."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", "/v1/exceptions")

    found = connect.run(work())

    def lines() -> list[str]:
        listed = found["exceptions"]
        rows = [
            (
                one["request"],
                one["standing"],
                one["kind"],
                str(one["subject"])[:SHORT],
                one["until"],
                one["requester"],
                one["decided_by"],
                one["reason"],
            )
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, dict)
        ]
        if not rows:
            return ["No exception was ever asked for."]
        head = ("request", "standing", "kind", "subject", "until", "asked by", "decided by", "reason")
        return table(head, rows)

    emit(found, as_json, lines)


def _lines(found: dict[str, Json]) -> Iterator[str]:
    yield f"exception {found['request']}: {found['kind']}, {found['standing']}"
    yield f"subject     {found['subject']}"
    yield f"until       {found['until']}"
    yield f"asked by    {found['requester']}: {found['reason']}"
    if found["decided_by"]:
        yield f"decided by  {found['decided_by']}{': ' + str(found['refusal']) if found['refusal'] else ''}"
