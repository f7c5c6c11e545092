"""``holdfast train``: runs of recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.canonical import Json
    from holdfast.client.connection import Client


@click.group()
def train() -> None:
    """Customise a model: run, follow, cancel, resume, replay."""


def _job(ctx: click.Context, start: Callable[[Client], Awaitable[int]], *, detach: bool) -> dict[str, Json]:
    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            job = await start(client)
            if detach:
                return {"job": job}
            return {"job": job, **await connect.finish(client, job)}

    return connect.run(work())


def _told(result: dict[str, Json]) -> list[str]:
    if "run" not in result:
        return [f"Job {result['job']} runs. Follow it with `holdfast train follow {result['job']}`."]
    return [
        (
            f"Run {result['job']} is done: {result['steps']} steps, final loss {_figure(result['final_loss'], 3)}, "
            f"{_figure(result['tokens_per_second'], 0)} tokens/s, {_figure(result['seconds'], 1)} s."
        ),
        f"run      {result['run']}",
        f"adapter  {result['adapter']}",
        f"Next: `holdfast model quantize BASE --adapter {result['job']}`, then `holdfast eval gate {result['job']}`.",
    ]


def _figure(value: Json, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "?"


_detach = click.option("--detach", is_flag=True, help="Return at once; the job goes on.")


@train.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--model", default="starter", show_default=True, help="The base, by name or digest.")
@_detach
@json_option
@click.pass_context
def run(ctx: click.Context, recipe: Path, model: str, *, detach: bool, as_json: bool) -> None:
    """Train an adapter by RECIPE. Ctrl-C leaves the run going; `train cancel` stops it."""

    async def start(client: Client) -> int:
        from holdfast.client import operations

        return await operations.start_training(client, recipe, model)

    from holdfast.client import operations

    operations.data_files(recipe)  # every mistake in the recipe is told before a key is opened
    result = _job(ctx, start, detach=detach)
    emit(result, as_json, lambda: _told(result))


@train.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@json_option
def check(recipe: Path, *, as_json: bool) -> None:
    """Check RECIPE and the data it names, without a daemon."""
    from holdfast.client import operations
    from holdfast.dataset import messages

    rows: dict[str, Json] = {}
    for name in operations.data_files(recipe):
        with (recipe.parent / name).open("rb") as file:
            rows[name] = len(
                messages.read_rows(file.read(messages.MAX_FILE + 1), file=str(recipe.parent / name))
            )
    emit(
        {"recipe": str(recipe), "rows": rows},
        as_json,
        lambda: [f"{recipe}: in order", *(f"  {n}: {c} rows" for n, c in rows.items())],
    )


@train.command()
@click.argument("job", type=int)
@json_option
@click.pass_context
def follow(ctx: click.Context, job: int, *, as_json: bool) -> None:
    """Follow JOB to its end."""

    async def start(_client: Client) -> int:
        return job

    result = _job(ctx, start, detach=False)
    emit(result, as_json, lambda: [f"Job {job} is done."])


@train.command()
@click.argument("job", type=int)
@json_option
@click.pass_context
def resume(ctx: click.Context, job: int, *, as_json: bool) -> None:
    """Go on with the stopped run JOB from its last checkpoint."""

    async def start(client: Client) -> int:
        return int(str((await client.call("POST", f"/v1/runs/{job}/resume"))["job"]))

    result = _job(ctx, start, detach=False)
    emit(result, as_json, lambda: _told(result))


@train.command()
@click.argument("run_name", metavar="RUN")
@json_option
@click.pass_context
def replay(ctx: click.Context, run_name: str, *, as_json: bool) -> None:
    """Run RUN again from its manifest; the adapter must be the same bit for bit."""

    async def start(client: Client) -> int:
        return int(str((await client.call("POST", f"/v1/runs/{run_name}/replay"))["job"]))

    result = _job(ctx, start, detach=False)
    emit(result, as_json, lambda: ["The same adapter, bit for bit.", str(result["replayed_digest"])])


@train.command()
@click.argument("job", type=int)
@json_option
@click.pass_context
def cancel(ctx: click.Context, job: int, *, as_json: bool) -> None:
    """Stop JOB, of whatever kind, at its next step; a training run leaves a checkpoint."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("POST", f"/v1/jobs/{job}/cancel")

    result = connect.run(work())
    emit(
        result,
        as_json,
        lambda: [
            f"Job {job} stops at its next step. A training run goes on with `holdfast train resume {job}`."
        ],
    )


@train.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List runs, the newest first."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", "/v1/runs")

    found = connect.run(work())

    def lines() -> list[str]:
        listed = found["runs"]
        rows = []
        for one in listed if isinstance(listed, list) else []:
            if isinstance(one, dict):
                gate = one["gate"]
                verdict = ("go" if gate["go"] else "no-go") if isinstance(gate, dict) else ""
                loss = _figure(one["final_loss"], 3) if one["final_loss"] is not None else ""
                rows.append(
                    (one["number"], one["state"], one["recipe"], one["base"], one["steps"], loss, verdict)
                )
        if not rows:
            return ["No runs yet. Begin with `holdfast train run RECIPE`."]
        return table(("run", "state", "recipe", "base", "steps", "loss", "gate"), rows)

    emit(found, as_json, lines)


@train.command()
@click.argument("run_name", metavar="RUN")
@json_option
@click.pass_context
def show(ctx: click.Context, run_name: str, *, as_json: bool) -> None:
    """Show RUN: its inputs, manifest, figures and gate."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call("GET", f"/v1/runs/{run_name}")

    found = connect.run(work())

    def lines() -> list[str]:
        params, result, gate = found["params"], found["result"], found["gate"]
        out = []
        for group in (params, result):
            out += [f"{name:18} {value}" for name, value in group.items()] if isinstance(group, dict) else []
        if isinstance(gate, dict) and isinstance(gate["reasons"], list):
            out.append(f"gate: {'GO' if gate['go'] else 'NO-GO'}")
            out += [f"  {reason}" for reason in gate["reasons"]]
        return out

    emit(found, as_json, lines)
