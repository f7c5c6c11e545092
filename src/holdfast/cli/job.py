"""``holdfast job``: long acts of any kind, by their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.group(cls=Group)
def job() -> None:
    """Follow or stop a job of any kind; `holdfast status` lists those that run."""


@job.command()
@click.argument("number", metavar="JOB", type=int)
@json_option
@click.pass_context
def follow(ctx: click.Context, number: int, *, as_json: bool) -> None:
    """Follow JOB to its end."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return {"job": number, **await connect.finish(client, number)}

    result = connect.run(work())
    emit(result, as_json, lambda: [f"Job {number} is done."])


@job.command()
@click.argument("number", metavar="JOB", type=int)
@json_option
@click.pass_context
def cancel(ctx: click.Context, number: int, *, as_json: bool) -> None:
    """Stop JOB at its next safe point."""
    result = connect.call(ctx, "POST", f"/v1/jobs/{number}/cancel")
    emit(result, as_json, lambda: [f"Job {number} stops at its next safe point."])
