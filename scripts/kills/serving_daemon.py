"""A real daemon that serves a model from a folder, and does what it is told on its standard input.

Usage: ``HOME MODELS``; then a command a line, each answered by a line of JSON.

The folder holds ``base.gguf``, any ``adapter-<n>.gguf``, and ``serving.json``: ``{"context": tokens, "limits": Limits}``. ``serve``
serves them (anew), as ``base`` and ``base:adapter-<n>``, and gives the address; ``pids`` gives the processes of the index worker,
the front and the engine. It says ``{"ready": true}`` when it answers, and refuses to start as the ordinary daemon does: an error in
JSON, its exit code.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.audit.event import Actor, Subject
from holdfast.daemon import app, process
from holdfast.daemon.serve import door
from holdfast.daemon.serve.deployment import Deployment
from holdfast.daemon.serve.planning import EnginePlan, Lane, Plan
from holdfast.errors import HoldfastError, UntrustedRequest
from holdfast.governance.labels import Label
from holdfast.paths import Home
from holdfast.serving import spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.daemon.services import Services

OTTO = Actor("otto", 0, "operator", "soak")
DIGEST = "sha512:" + "1" * 128
LABEL = Label("internal", frozenset(), frozenset({"site"}))
MODEL, ENGINE = "base", "e-base"
SETTINGS = "serving.json"
MAX_SETTINGS = 2**16  # bytes


def plan(models: Path) -> Plan:
    """Plan what a folder holds.

    Args:
        models: The folder; see the module's description.

    Returns:
        The plan.
    """
    read = canonical.decode(
        (models / SETTINGS).read_bytes(), limit=MAX_SETTINGS, what=SETTINGS, error=UntrustedRequest
    )
    chosen = read if isinstance(read, dict) else {}
    files = {path.stem: path for path in sorted(models.glob("adapter-*.gguf"))}
    adapters = [
        spec.AdapterSpec(
            id=name, version="1", digest="sha512:" + f"{2 + at:x}".rjust(128, "0"), label={**LABEL.to_json()}
        )
        for at, name in enumerate(files)
    ]
    model = spec.parse_model(
        {
            "id": MODEL,
            "engine": ENGINE,
            "path": "/in/model/base.gguf",
            "digest": DIGEST,
            "label": LABEL.to_json(),
            "context": chosen.get("context"),
        }
    ).model_dump(mode="json", exclude={"adapters"})
    lanes = {
        one.lane: Lane(one.lane, one.digest, one.scale, path, path.stat().st_size)
        for one, path in zip(adapters, files.values(), strict=True)
    }
    listed: list[Json] = [one.model_dump(mode="json") for one in adapters]
    settings: dict[str, Json] = {
        "models": [{**model, "adapters": listed}],
        "limits": chosen.get("limits"),
    }
    read_back = spec.parse(settings)
    engine = EnginePlan(ENGINE, model, {"model": models}, frozenset({DIGEST}), lanes=lanes)
    uses: dict[str, tuple[str, ...]] = {choice.id: (DIGEST,) for choice in spec.offered(read_back)}
    return Plan(read_back.model_dump(mode="json"), {ENGINE: engine}, uses)


async def serve(services: Services, models: Path) -> dict[str, Json]:
    """Serve as if an operator had asked for it."""
    params: dict[str, Json] = {"model": MODEL, "gguf": DIGEST, "adapters": [], "released": {}}
    serving = services.serving
    async with (
        serving.changing,
        services.recorder.act(
            OTTO, "serve.start", params, subject=Subject("gguf", DIGEST), label=LABEL
        ) as act,
    ):
        job = services.jobs.open_job(act.seq, "serve.start")
        await serving.shut_down()
        made = plan(models)
        deployment = Deployment(services, made, None, door.bind("127.0.0.1", 0), serving.changing)
        await deployment.begin(job)
        serving.deployment, serving.started_by = deployment, job.number
        serving.address = door.address(services, deployment.listener)
        act.outcome = {"address": serving.address, "models": list(made.listed())}
        await job.emit("result", result=act.outcome)
    return {"address": serving.address}


async def pids(services: Services) -> dict[str, Json]:
    """Name the workers' processes."""
    deployment, index = services.serving.deployment, services.index._worker  # noqa: SLF001 - whom to kill
    seat = None if deployment is None else deployment.pool.seats.get(ENGINE)
    found = {
        "index": index,
        "serve": None if deployment is None else deployment.front,
        "engine": None if seat is None else seat.engine,
    }
    return {name: None if worker is None else worker.pid for name, worker in found.items()}


def say(told: dict[str, Json]) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def listen(services: Services, models: Path, loop: asyncio.AbstractEventLoop) -> None:
    """Do what is asked, until nobody asks."""
    for line in sys.stdin:
        work = serve(services, models) if line.strip() == "serve" else pids(services)
        try:
            say(asyncio.run_coroutine_threadsafe(work, loop).result())
        except HoldfastError as error:
            say({"error": error.to_dict()})  # type: ignore[dict-item]  # plain data


async def run(home: Home, models: Path) -> None:
    """Run the daemon, and listen once it is ready."""
    made: list[Services] = []

    def create_app(services: Services) -> object:
        made.append(services)
        return app.create_app(services)

    def ready() -> None:
        arguments = (made[0], models, asyncio.get_running_loop())
        threading.Thread(target=listen, args=arguments, daemon=True).start()
        say({"ready": True})

    replace: Callable[..., object] = create_app
    process.create_app = replace  # type: ignore[assignment, attr-defined]  # the same, and it remembers
    await process.run(home, ready)


if __name__ == "__main__":
    try:
        asyncio.run(run(Home(Path(sys.argv[1])), Path(sys.argv[2])))
    except HoldfastError as error:
        say({"error": error.to_dict()})  # type: ignore[dict-item]  # plain data
        sys.exit(error.exit_code)
