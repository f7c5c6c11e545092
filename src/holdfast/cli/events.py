"""``holdfast audit events``: what the audit log records, from the registry, on any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.command()
@click.argument("name", required=False)
@json_option
@click.pass_context
def events(ctx: click.Context, name: str | None, *, as_json: bool) -> None:
    """List the events that the audit log can hold; with NAME, what one holds.

    NAME is an action, an act (then its outcomes are shown too), or the beginning of several (`bundle.`). No daemon is needed.
    """
    from holdfast.audit import actions

    rows = [row for row in actions.rows() if name is None or _fits(row, name)]
    if not rows:
        raise click.BadParameter(f"no event is called {name!r}.", ctx, param_hint="NAME")
    found: Json = {"events": [*rows]}
    emit(found, as_json, lambda: _overview(rows) if name is None else _details(rows))


def _fits(row: dict[str, Json], name: str) -> bool:
    action = str(row["action"])
    return name in (action, row["act"]) or (name.endswith(".") and action.startswith(name))


def _overview(rows: list[dict[str, Json]]) -> list[str]:
    told = [row for row in rows if row["phase"] != "outcome"]
    return table(
        ("event", "kind", "meaning"),
        [(row["action"], "fact" if row["phase"] == "fact" else "act", row["meaning"]) for row in told],
    )


def _details(rows: list[dict[str, Json]]) -> list[str]:
    from holdfast.audit import catalogue

    lines: list[str] = []
    for row in rows:
        essential = ", essential" if row["essential"] else ""
        lines += [
            f"{row['action']}  ({row['phase']}, by {row['producer']}{essential})",
            f"  means     {row['meaning']}",
            f"  told as   {row['sentence']}",
            f"  serves    {_serves(row)}",
            *(f"  {name:<9} {kind}" for name, kind in catalogue.listed(row["params"])),
            "",
        ]
    return lines[:-1]


def _serves(row: dict[str, Json]) -> str:
    controls = row["controls"]
    return ", ".join(str(one) for one in controls) if isinstance(controls, list) else ""
