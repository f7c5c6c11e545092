"""``holdfast train``: runs of recipes."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast import parts
from holdfast.cli import connect, runpage, traincheck
from holdfast.cli.group import Group
from holdfast.cli.output import Progress, emit, json_option, size, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.canonical import Json
    from holdfast.client.connection import Client


@click.group(cls=Group)
def train() -> None:
    """Customise a model: check, estimate, run, follow, cancel, resume, discard, replay."""


train.add_command(traincheck.check)


def _job(
    ctx: click.Context, start: Callable[[Client], Awaitable[int]], *, as_json: bool, detach: bool = False
) -> None:
    """Start a job, follow it to its end, and print what came of it."""
    from holdfast.client import training

    async def work() -> tuple[dict[str, Json], dict[str, Json]]:
        async with connect.session(ctx) as client:
            job = await start(client)
            if detach:
                return {"job": job}, {}
            result = {"job": job, **await connect.finish(client, job, f"`holdfast train follow {job}`")}
            trained = "final_loss" in result
            return result, await training.show(client, str(job)) if trained else {}

    result, page = connect.run(work())
    emit(result, as_json, lambda: _told(result, page))


def _told(result: dict[str, Json], page: dict[str, Json]) -> list[str]:
    """Say what came of a run, of a replay or of an estimate."""
    job = result["job"]
    if "replayed_digest" in result:
        return ["The same, bit for bit.", str(result["replayed_digest"])]
    if not page:
        if "estimate" in result:
            return runpage.estimate(parts.record(result["estimate"]))
        return [f"Run {job} goes on. Follow it with `holdfast train follow {job}`."]
    kind = "adapter" if "adapter" in result else "model"
    convert = f"`holdfast model quantize {job}`"
    if kind == "adapter":
        convert = f"`holdfast model quantize {page['base']} --adapter {job}`"
    if page["tuning"] == "dora":
        convert = f"`holdfast model merge {page['base']} --adapter {job}`, `holdfast model quantize` of that"
    return [
        (
            f"Run {job} is done: {result['steps']} steps, final loss {runpage.figure(result['final_loss'], 3)}, "
            f"{runpage.figure(result['tokens_per_second'])} tokens/s, {runpage.duration(result['seconds'])}."
        ),
        f"run      {result['run']}",
        f"{kind:7}  {result[kind]}",
        f"Its page: `holdfast train show {job}`. Next: {convert}, then `holdfast eval gate {job}`.",
    ]


_recipe = click.argument("recipe", type=click.Path(path_type=Path))
_run = click.argument("run_name", metavar="RUN")
_number = click.argument("number", metavar="RUN", type=int)
_model = click.option("--model", default="starter", show_default=True, help="The base, by name or digest.")
_quarantine = click.option(
    "--quarantine", is_flag=True, help="Set malformed rows aside, listed, instead of stopping."
)


async def _prepared(progress: Progress, starting: Awaitable[int]) -> int:
    """Show how the data are prepared; who leaves meanwhile is told that nothing was started."""
    try:
        return await starting
    except asyncio.CancelledError:
        progress.end()
        click.echo("The data were being prepared; nothing was started.", err=True)
        raise
    finally:
        progress.end()


@train.command()
@_recipe
@_model
@_quarantine
@click.option("--detach", is_flag=True, help="Return once the data are prepared; the run goes on.")
@json_option
@click.pass_context
def run(
    ctx: click.Context, recipe: Path, model: str, *, quarantine: bool, detach: bool, as_json: bool
) -> None:
    """Train a model by RECIPE. Ctrl-C leaves the run going; `train cancel` stops it."""
    from holdfast.client import datasets, training

    datasets.recipe_of(recipe)  # every mistake in the recipe is told before a key is opened
    progress = Progress()

    async def start(client: Client) -> int:
        starting = training.start(client, recipe, model, quarantine=quarantine, tell=progress.entry)
        return await _prepared(progress, starting)

    _job(ctx, start, as_json=as_json, detach=detach)


@train.command()
@_recipe
@_model
@_quarantine
@json_option
@click.pass_context
def estimate(ctx: click.Context, recipe: Path, model: str, *, quarantine: bool, as_json: bool) -> None:
    """Say what a run of RECIPE needs: memory, disk, time, energy and cost."""
    from holdfast.client import datasets, training

    datasets.recipe_of(recipe)
    progress = Progress()

    async def start(client: Client) -> int:
        starting = training.estimate(client, recipe, model, quarantine=quarantine, tell=progress.entry)
        return await _prepared(progress, starting)

    _job(ctx, start, as_json=as_json)


@train.command()
@_number
@json_option
@click.pass_context
def follow(ctx: click.Context, number: int, *, as_json: bool) -> None:
    """Follow RUN, a replay or an estimate to its end."""

    async def start(_client: Client) -> int:
        return number

    _job(ctx, start, as_json=as_json)


@train.command()
@_number
@json_option
@click.pass_context
def resume(ctx: click.Context, number: int, *, as_json: bool) -> None:
    """Go on with the stopped or paused RUN from its last checkpoint."""
    from holdfast.client import training

    _job(ctx, lambda client: training.resume(client, number), as_json=as_json)


@train.command()
@_run
@click.option("--anyway", is_flag=True, help="Also where software or machine are not those of the run.")
@json_option
@click.pass_context
def replay(ctx: click.Context, run_name: str, *, anyway: bool, as_json: bool) -> None:
    """Run RUN again from its manifest; what it makes must be the same bit for bit."""
    from holdfast.client import training

    _job(ctx, lambda client: training.replay(client, run_name, anyway=anyway), as_json=as_json)


@train.command()
@_number
@json_option
@click.pass_context
def cancel(ctx: click.Context, number: int, *, as_json: bool) -> None:
    """Stop RUN, a replay or an estimate at its next step; a run leaves a checkpoint."""
    from holdfast.client import training

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await training.cancel(client, number)

    result = connect.run(work())
    emit(
        result,
        as_json,
        lambda: [f"{number} stops at its next step. A run goes on with `holdfast train resume {number}`."],
    )


@train.command()
@_number
@json_option
@click.pass_context
def discard(ctx: click.Context, number: int, *, as_json: bool) -> None:
    """Give up the checkpoints of the stopped RUN, which frees their space."""
    from holdfast.client import training

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await training.discard(client, number)

    result = connect.run(work())
    emit(
        result,
        as_json,
        lambda: [f"Run {number} is given up; {size(int(str(result['bytes'])))} are free again."],
    )


@train.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List runs, the newest first."""
    from holdfast.client import training

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await training.listed(client)

    found = connect.run(work())

    def lines() -> list[str]:
        rows = []
        for one in parts.records(found["runs"]):
            gate = parts.record(one["gate"])
            verdict = ("go" if gate["go"] else "no-go") if gate else ""
            loss = runpage.figure(one["final_loss"], 3) if one["final_loss"] is not None else ""
            rows.append(
                (one["number"], one["state"], one["recipe"], one["base"], one["steps"], loss, verdict)
            )
        if not rows:
            return ["No runs yet. Begin with `holdfast train run RECIPE`."]
        return table(("run", "state", "recipe", "base", "steps", "loss", "gate"), rows)

    emit(found, as_json, lines)


@train.command()
@_run
@json_option
@click.pass_context
def show(ctx: click.Context, run_name: str, *, as_json: bool) -> None:
    """Show RUN: what it came from and what it made, its figures beside the estimate, replays, gate."""
    from holdfast.client import training

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await training.show(client, run_name)

    found = connect.run(work())
    emit(found, as_json, lambda: runpage.lines(found))


@train.command()
@_run
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="As what.",
)
@click.pass_context
def telemetry(ctx: click.Context, run_name: str, form: str) -> None:
    """Write the telemetry of RUN to stdout, a line for each step."""
    from holdfast.client import training

    async def work() -> None:
        write = _csv() if form == "csv" else _plain
        rest = b""
        async with connect.session(ctx) as client:
            async for chunk in training.telemetry(client, run_name):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    write(line)

    connect.run(work())


def _plain(line: bytes) -> None:
    click.echo(line.decode("utf-8", "replace"))


def _csv() -> Callable[[bytes], None]:
    """Write lines as CSV; the first says the columns."""
    writer = csv.writer(sys.stdout)
    columns: list[str] = []

    def write(line: bytes) -> None:
        figures = json.loads(line)
        if not columns:
            columns.extend(figures)
            writer.writerow(columns)
        writer.writerow([figures.get(name) for name in columns])

    return write
