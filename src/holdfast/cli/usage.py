"""``holdfast serve usage``: what applications used, and the energy and cost that are estimated from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect, runpage
from holdfast.cli.output import emit, json_option, records
from holdfast.parts import record
from holdfast.parts import records as rows_of

if TYPE_CHECKING:
    from holdfast.canonical import Json

_FIGURES = ("requests", "answered", "prompt_tokens", "cached_tokens", "completion_tokens")
_NAMES = ("requests", "answered", "prompt", "cached", "completion", "processor", "energy", "cost")
_SECOND = 1000  # milliseconds


@click.command()
@click.option("--tenant", help="Only this tenant's.")
@click.option("--since", help="From this day or moment on, UTC.")
@click.option("--until", help="Before this day or moment, UTC.")
@click.option(
    "--by",
    "parts",
    type=click.Choice(["tenant", "model", "day", "key"]),
    multiple=True,
    help="Sum up by this; may be given more than once. By tenant and model unless given.",
)
@json_option
@click.pass_context
def usage(
    ctx: click.Context,
    tenant: str | None,
    since: str | None,
    until: str | None,
    parts: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Show what applications used: requests, tokens, energy and cost."""
    by = ",".join(dict.fromkeys(parts or ("tenant", "model")))

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call(
                "GET", "/v1/serving/usage", tenant=tenant, since=since, until=until, by=by
            )

    found = connect.run(work())
    emit(found, as_json, lambda: lines(found))


def lines(found: dict[str, Json]) -> list[str]:
    """Write what was used.

    Args:
        found: What the daemon summed up.

    Returns:
        A table with the total below, and how the energy is known.
    """
    by, rows = found["by"], rows_of(found["rows"])
    parts = [str(part) for part in by] if isinstance(by, list) else []
    if not rows:
        return ["Nothing was used."]
    told = [[*(one[part] for part in parts), *_figures(found, one)] for one in rows]
    if len(rows) > 1:
        total = ["total", *([""] * len(parts))][: len(parts)]
        told.append([*total, *_figures(found, record(found["total"]))])
    cut = [f"Only the first {len(rows)} rows: ask for a shorter time."] if found["truncated"] else []
    return [*records((*parts, *_NAMES), told), *cut, f"Energy is {found['how']}."]


def _figures(found: dict[str, Json], one: dict[str, Json]) -> list[object]:
    spent = one["processor_ms"]
    seconds = spent / _SECOND if isinstance(spent, int | float) else 0.0
    used: Json = {"joules": one["joules"], "cost": one["cost"], "currency": found["currency"]}
    return [
        *(one[name] for name in _FIGURES),
        f"{seconds:.1f} s",
        runpage.energy(used),
        runpage.cost(used),
    ]
