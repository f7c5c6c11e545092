"""``holdfast train check``: a recipe and its data, judged without a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.output import Progress, emit, json_option, wrapped
from holdfast.client import datapage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

REFUSED = 1  # the exit code of what was refused


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--suite",
    "suites",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="A suite's folder to compare the training rows with; may be given several times.",
)
@click.option("--quarantine", is_flag=True, help="Malformed rows are no reason to refuse.")
@json_option
@click.pass_context
def check(
    ctx: click.Context, recipe: Path, suites: tuple[Path, ...], *, quarantine: bool, as_json: bool
) -> None:
    """Check RECIPE and the data it names, without a daemon: every mistake, and a profile of each entry.

    Exits with 1 if something has to be corrected before a run.
    """
    from holdfast.client import datacheck

    progress = Progress()
    try:
        found = datacheck.check(recipe, suites, tell=progress)
    finally:
        progress.end()
    data = found["data"] if isinstance(found["data"], dict) else {}
    entries = {path: one for path, one in data.items() if isinstance(one, dict)}
    wrong = [
        path for path, one in entries.items() if one["error"] is not None or (one["count"] and not quarantine)
    ]
    result: dict[str, Json] = {**found, "in_order": not wrong}

    def lines() -> Iterator[str]:
        yield f"{recipe}: the recipe is in order ({found['name']}, method {found['method']})"
        for path, one in entries.items():
            yield ""
            yield f"{path}: {'NOT in order' if path in wrong else 'in order'}"
            yield from ("  " + line for line in _entry(one, quarantine=quarantine))
        if missing := found["not_compared"]:
            names = ", ".join(map(str, missing if isinstance(missing, list) else []))
            yield ""
            told = (
                f"Not compared with the suites that judge the run: {names}. Name their folders with --suite."
            )
            yield from wrapped("", told)

    emit(result, as_json, lines)
    if wrong:
        ctx.exit(REFUSED)


def _entry(one: dict[str, Json], *, quarantine: bool) -> Iterator[str]:
    error, mistakes = one["error"], one["mistakes"]
    if isinstance(error, dict):
        yield f"Refused: {error['message']}"
        yield f"  {error['remedy']}"
    if one["count"]:
        what = (
            "--quarantine sets them aside"
            if quarantine
            else "correct them, or set them aside with --quarantine"
        )
        yield f"Malformed rows: {one['count']}; {what}:"
        yield from (f"  {told}" for told in (mistakes if isinstance(mistakes, list) else []))
    if one["profile"] is not None:
        yield from datapage.lines(one["profile"], datapage.WIDTH - 2)
