"""``holdfast audit queries``: named queries of the audit log, those that come with the software and those of this site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import auditsql, connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, plain, table
from holdfast.errors import NotFound

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.group(cls=Group)
def queries() -> None:
    """List, show, save and remove queries of the audit log."""


def _known(ctx: click.Context) -> list[dict[str, Json]]:
    listed = connect.call(ctx, "GET", "/v1/audit/queries")["queries"]
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _parameters(one: dict[str, Json]) -> list[dict[str, Json]]:
    listed = one["parameters"]
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


@queries.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List all queries: what they answer, and what may be set."""
    known = _known(ctx)
    told: list[Json] = [*known]

    def lines() -> list[str]:
        rows = [
            (
                one["name"],
                " ".join(f"${each['name']}" for each in _parameters(one)),
                one["saved_by"],
                plain(str(one["about"])),
            )
            for one in known
        ]
        return table(("name", "parameters", "saved by", "answers"), rows)

    emit({"queries": told}, as_json, lines)


@queries.command()
@click.argument("name")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, *, as_json: bool) -> None:
    """Show a query's parameters and text."""
    found = next((one for one in _known(ctx) if one["name"] == name), None)
    if found is None:
        raise NotFound(
            "query.unknown", f"There is no query {name[:60]!r}.", remedy="See `holdfast audit queries list`."
        )
    shown = found

    def lines() -> list[str]:
        rows = [
            (f"${each['name']}", each["type"], each["default"], each["about"]) for each in _parameters(shown)
        ]
        head = table(("parameter", "type", "default", "means"), rows) if rows else []
        return [plain(str(shown["about"])), "", *head, "", plain(str(shown["sql"]).rstrip())]

    emit(found, as_json, lines)


@queries.command()
@click.argument("name")
@click.argument("query", required=False)
@click.option(
    "--file", "source", type=click.Path(), help="Read the query from a file, or from stdin with `-`."
)
@click.option("--about", help="What it answers; else its first comment lines say so.")
@json_option
@click.pass_context
def save(
    ctx: click.Context, name: str, query: str | None, source: str | None, about: str | None, *, as_json: bool
) -> None:
    """Save a SELECT under a name, for everybody who audits here. The log records it.

    A line above it declares each parameter: `-- $since time = 2000-01-01: From then on.` Types are text, integer, number, time and flag;
    without a default it must be set. `holdfast audit queries show acts-of` shows an example.
    """
    body = auditsql.question(query, source, None) | {"name": name, "about": about}
    found = connect.call(ctx, "POST", "/v1/audit/queries", body)
    emit(found, as_json, lambda: [f"Saved {name}, recorded as event {found['seq']}."])


@queries.command()
@click.argument("name")
@json_option
@click.pass_context
def remove(ctx: click.Context, name: str, *, as_json: bool) -> None:
    """Remove a query that was saved here. The log records it."""
    from urllib.parse import quote

    found = connect.call(ctx, "DELETE", f"/v1/audit/queries/{quote(name, safe='')}")
    emit(found, as_json, lambda: [f"Removed {name}."])
