"""``holdfast sealed``: prompts and answers opened, erased, and kept for a time, each by two persons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, plain, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

_REASON = "Why; it goes on the record for good, so name no person in it."


@click.group(cls=Group)
def sealed() -> None:
    """Open, erase or shred sealed prompts and answers: one person asks, another one grants, and the log keeps it."""


@sealed.command()
@click.argument("seq", type=click.IntRange(min=0))
@click.option("--reason", required=True, help=_REASON)
@json_option
@click.pass_context
def ask(ctx: click.Context, seq: int, reason: str, *, as_json: bool) -> None:
    """Ask, as an auditor, for the texts of answer SEQ to be opened."""
    _told(connect.call(ctx, "POST", "/v1/sealed/unseal", {"answer": seq, "reason": reason}), as_json)


@sealed.command()
@click.argument("tenant")
@click.argument("subject")
@click.option("--reason", required=True, help=_REASON)
@json_option
@click.pass_context
def erase(ctx: click.Context, tenant: str, subject: str, reason: str, *, as_json: bool) -> None:
    """Ask, as an administrator, for SUBJECT of TENANT to be erased.

    SUBJECT is what the application sent as `user`; give '' for what it asked without one.
    """
    body: dict[str, Json] = {"tenant": tenant, "subject": subject, "reason": reason}
    _told(connect.call(ctx, "POST", "/v1/sealed/erase", body), as_json)


@sealed.command()
@click.option("--class", "payload_class", type=click.Choice(["prompt", "answer"]), required=True)
@click.option("--days", type=click.IntRange(1, 36_500), help="Shred what is older.")
@click.option("--for-good", is_flag=True, help="Shred nothing by its age.")
@click.option("--reason", required=True, help=_REASON)
@json_option
@click.pass_context
def retention(
    ctx: click.Context, payload_class: str, days: int | None, reason: str, *, for_good: bool, as_json: bool
) -> None:
    """Ask, as an administrator, for a class of payloads to be kept for some days."""
    from holdfast.errors import UsageRefused

    if (days is None) is not for_good:
        raise UsageRefused(
            "sealed.days", "A retention is one number of days.", remedy="Give either --days N or --for-good."
        )
    body: dict[str, Json] = {"class": payload_class, "days": days, "reason": reason}
    _told(connect.call(ctx, "POST", "/v1/sealed/retention", body), as_json)


@sealed.command()
@click.argument("request", type=int)
@json_option
@click.pass_context
def grant(ctx: click.Context, request: int, *, as_json: bool) -> None:
    """Grant REQUEST as the second person; an erasure or a retention acts at once."""

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session_and_key(ctx) as (client, pair):
            return await operations.grant_sealed(client, pair, request)

    _told(connect.run(work()), as_json)


@sealed.command()
@click.argument("request", type=int)
@click.option("--reason", required=True, help=_REASON)
@json_option
@click.pass_context
def refuse(ctx: click.Context, request: int, reason: str, *, as_json: bool) -> None:
    """Refuse REQUEST, or take your own back."""
    _told(connect.call(ctx, "POST", f"/v1/sealed/{request}/refuse", {"reason": reason}), as_json)


@sealed.command("open")
@click.argument("request", type=int)
@json_option
@click.pass_context
def open_(ctx: click.Context, request: int, *, as_json: bool) -> None:
    """Open, once, the texts that REQUEST was granted; only for the one who asked."""
    found = connect.call(ctx, "POST", f"/v1/sealed/{request}/open")

    def lines() -> Iterator[str]:
        listed = found["texts"]
        for one in listed if isinstance(listed, list) else []:
            if isinstance(one, dict):
                yield f"{one['class']} (event {one['event']}, {one['commitment']})"
                yield plain(str(one["gone"] if one["text"] is None else one["text"]))

    emit(found, as_json, lines)


@sealed.command()
@click.argument("request", type=int)
@json_option
@click.pass_context
def show(ctx: click.Context, request: int, *, as_json: bool) -> None:
    """Show REQUEST."""
    _told(connect.call(ctx, "GET", f"/v1/sealed/{request}"), as_json)


@sealed.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List requests, and how long payloads are kept."""
    found = connect.call(ctx, "GET", "/v1/sealed")

    def lines() -> Iterator[str]:
        kept, gone, listed = found["retention"], found["shredded"], found["requests"]
        for name, days in (kept if isinstance(kept, dict) else {}).items():
            before = gone.get(name) if isinstance(gone, dict) else None
            yield (
                f"{name}: kept {'for good' if days is None else f'{days} days'}"
                f"{f', shredded before {before}' if before else ''}"
            )
        rows = [
            (
                one["request"],
                one["standing"],
                one["kind"],
                _about(one),
                one["requester"],
                one["decided_by"],
                plain(str(one["reason"])),
            )
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, dict)
        ]
        if rows:
            yield from table(
                ("request", "standing", "kind", "about", "asked by", "decided by", "reason"), rows
            )

    emit(found, as_json, lines)


def _about(found: dict[str, Json]) -> str:
    match found["kind"]:
        case "unseal":
            return f"answer {found['answer']}"
        case "erase":
            return f"{plain(str(found['tenant']))} {str(found['subject'])[:12]}"
    days = found["days"]
    return f"{found['class']} {'for good' if days is None else f'{days} days'}"


def _told(found: dict[str, Json], as_json: bool) -> None:  # noqa: FBT001 - a click flag
    def lines() -> Iterator[str]:
        yield f"request     {found['request']}: {found['kind']}, {found['standing']}"
        yield f"about       {_about(found)}"
        yield f"asked by    {found['requester']}: {plain(str(found['reason']))}"
        if found["decided_by"]:
            refusal = found["refusal"]
            yield f"decided by  {found['decided_by']}{': ' + plain(str(refusal)) if refusal else ''}"
        erased = found.get("erased")
        if isinstance(erased, dict):
            yield f"erased      {erased['payloads']} payloads by destroying {erased['keys']} keys"
            if not erased["keys"]:
                yield "Nothing of this person was here: compare TENANT and SUBJECT with what the application sends."
        if found["standing"] == "open":
            yield f"A second person grants it with `holdfast --as PERSON sealed grant {found['request']}`."
        elif found["standing"] == "granted":
            yield f"{found['requester']} opens it, once, with `holdfast sealed open {found['request']}`"
            yield f"until {found['expires']}."

    emit(found, as_json, lines)
