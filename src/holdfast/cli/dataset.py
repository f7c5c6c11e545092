"""``holdfast dataset``: data prepared for training, and what can be said about them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from holdfast import hashing
from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import Progress, emit, json_option, records
from holdfast.client import datapage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json


@click.group(cls=Group)
def dataset() -> None:
    """Prepare data for training, list data sets, show their profiles."""


@dataset.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--quarantine", is_flag=True, help="Set malformed rows aside instead of stopping.")
@json_option
@click.pass_context
def prepare(ctx: click.Context, recipe: Path, *, quarantine: bool, as_json: bool) -> None:
    """Prepare the data of every [[data]] entry of RECIPE as a data set."""
    from holdfast.client import datasets

    datasets.recipe_of(recipe)  # every mistake in the recipe is told before a key is opened

    async def work() -> dict[str, dict[str, Json]]:
        progress = Progress()
        try:
            async with connect.session(ctx) as client:
                return await datasets.prepare_data(client, recipe, quarantine=quarantine, tell=progress.entry)
        except asyncio.CancelledError:
            progress.end()
            click.echo("What was being prepared goes on; `holdfast dataset list` will show it.", err=True)
            raise click.exceptions.Exit(connect.LEFT) from None
        finally:
            progress.end()

    found = connect.run(work())
    emit(dict(found), as_json, lambda: _prepared(found))


def _prepared(found: dict[str, dict[str, Json]]) -> Iterator[str]:
    for path, one in found.items():
        yield f"{path}: data set {one['dataset']}"
        yield from ("  " + line for line in datapage.lines(one["profile"], datapage.WIDTH - 2))
        if isinstance(missing := one.get("not_compared"), list) and missing:
            yield from (f"  Not compared with the suite {told}" for told in missing)


@dataset.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List data sets, the newest first."""
    found = connect.call(ctx, "GET", "/v1/datasets")

    def lines() -> list[str]:
        listed = found["datasets"]
        rows = [
            (
                hashing.short(str(one["digest"])),
                f"{one['name']}@{one['version']}",
                one["form"],
                one["rows"],
                one["held_out"],
                one["quarantined"],
                one["licence"],
            )
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, dict)
        ]
        if not rows:
            return ["No data sets yet. Make them with `holdfast dataset prepare RECIPE`."]
        return records(("digest", "name", "form", "rows", "held out", "set aside", "licence"), rows)

    emit(found, as_json, lines)


@dataset.command()
@click.argument("name")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, *, as_json: bool) -> None:
    """Show the data set NAME, a name or digits of a digest, with its profile."""
    found = connect.call(ctx, "GET", f"/v1/datasets/{quote(name, safe='')}")

    def lines() -> Iterator[str]:
        one, runs = found["dataset"], found["runs"]
        if not isinstance(one, dict):
            return
        yield f"{one['name']}@{one['version']}  {hashing.short(str(one['digest']))}"
        label = one["label"] if isinstance(one["label"], dict) else {}
        zones, compartments = label.get("zones"), label.get("compartments")
        where = f"level {label.get('level')}, zones {_joined(zones)}"
        if compartments:
            where += f", compartments {_joined(compartments)}"
        for title, text in (
            ("label", where),
            ("licence", one["licence"]),
            ("prepared", f"by {found['person']}, {found['time']}" if found["person"] else None),
            ("used by runs", _joined(runs) if runs else "none"),
        ):
            if text is not None:
                yield f"{title:<{datapage.INDENT}}{text}"
        yield from datapage.lines(found["profile"])

    emit(found, as_json, lines)


def _joined(values: Json) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list) else ""
