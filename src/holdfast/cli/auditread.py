"""``holdfast audit log|rebuild``: the log read through its daemon, and its index built anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.evidence import moment
from holdfast.cli.output import emit, json_option, plain, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

SHORT = 12  # hexadecimal digits of a digest that are shown


@click.command()
@click.option("--limit", type=click.IntRange(1, 200), default=40, show_default=True, help="Events at most.")
@click.option("--before", type=click.IntRange(min=0), help="Only events before this sequence number.")
@click.option("--action", help="Only this action; with an act, its outcomes too.")
@click.option("--who", help="Only this person.")
@click.option("--role", help="Only this role.")
@click.option("--kind", help="Only events about a thing of this kind.")
@click.option("--digest", help="Only events about this thing.")
@click.option("--cause", type=click.IntRange(min=0), help="Only this event, and those that follow from it.")
@click.option("--since", help="Only from this time on (UTC), for example 2026-11-01 or 2026-11-01T08:00:00.")
@click.option("--until", help="Only before this time (UTC).")
@json_option
@click.pass_context
def log(
    ctx: click.Context,
    /,
    limit: int,
    before: int | None,
    who: str | None,
    cause: int | None,
    *,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """Show events, the newest first: when, who, and what was done, in a sentence."""
    if wanted["action"] is not None:
        from holdfast.audit import actions

        actions.get(
            wanted["action"]
        )  # else a name that nobody registered would look like an act that nobody did
    for name in ("since", "until"):
        text = wanted[name]
        wanted[name] = None if text is None else moment(text)
    asked: dict[str, str | int | None] = {
        "limit": limit,
        "before": before,
        "person": who,
        "cause": cause,
        **wanted,
    }
    found = connect.call(ctx, "GET", "/v1/audit/events", None, **asked)

    def lines() -> list[str]:
        listed = found["events"]
        rows = [_row(one) for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict)]
        more = [f"Older ones: --before {found['next']}"] if found["next"] is not None else []
        return [*table(("seq", "time", "who", "role", "subject", "what"), rows), *more]

    emit(found, as_json, lines)


def _row(one: Mapping[str, Json]) -> tuple[object, ...]:
    kind, digest = one["subject_kind"], str(one["subject_digest"])
    subject = f"{kind} {digest.partition(':')[2][:SHORT]}" if kind else ""
    what = plain(str(one["sentence"] or one["action"]))
    return one["seq"], str(one["time"])[:19], plain(str(one["person"])), one["role"], subject, what


@click.command()
@json_option
@click.pass_context
def rebuild(ctx: click.Context, *, as_json: bool) -> None:
    """Build the DuckDB index anew from the segments, and say what was wrong with the old one."""
    found = connect.call(ctx, "POST", "/v1/audit/rebuild")

    def lines() -> list[str]:
        differed = found["differed"]
        return [
            f"Built anew from the segments: {found['events']} events in {found['seconds']} s.",
            f"Before, it was not what the log says: {differed}."
            if differed
            else "Before, it was what the log says.",
        ]

    emit(found, as_json, lines)
