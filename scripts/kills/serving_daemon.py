"""A real daemon that serves a tiny model: HOME MODELS, then a command a line on its standard input, answered by a line of JSON.

``serve`` starts the serve worker (anew) and gives its address; ``pids`` gives the processes of the index and serve workers. It
says ``{"ready": true}`` when it answers, and refuses to start as the ordinary daemon does: an error in JSON, its exit code.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.audit.event import Actor, Subject
from holdfast.daemon import process, served
from holdfast.daemon.served import Plan
from holdfast.errors import HoldfastError
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
CONTEXT = 512  # of the tiny model, tokens


def settings() -> dict[str, Json]:
    """Describe the tiny model as the worker sees it."""
    model = spec.ModelSpec(
        id="base", path="/in/models/base.gguf", digest=DIGEST, label=LABEL.to_json(), context=CONTEXT
    )
    limits = spec.Limits(prompt_tokens=400, new_tokens=64, parallel=4, queue=16, body_bytes=65536)
    chosen: dict[str, Json] = json.loads(spec.Settings(models=(model,), limits=limits).model_dump_json())
    return chosen


async def serve(services: Services, models: Path) -> dict[str, Json]:
    """Start the serve worker as an operator would."""
    params: dict[str, Json] = {"model": "base", "gguf": DIGEST, "adapters": [], "released": {}}
    async with services.recorder.act(
        OTTO, "serve.start", params, subject=Subject("gguf", DIGEST), label=LABEL
    ) as act:
        job = services.jobs.open_job(act.seq, "serve.start")
        plan = Plan({"models": models}, settings(), {"base": (DIGEST,)})
        await services.serving.open(services, job, plan, served.bind("127.0.0.1", 0))
        act.outcome = {"address": services.serving.address, "models": list(plan.listed())}
        await job.emit("result", result=act.outcome)
    return {"address": services.serving.address}


async def pids(services: Services) -> dict[str, Json]:
    """Name the workers' processes."""
    found = {"index": services.index._worker, "serve": services.serving.current}  # noqa: SLF001 - whom to kill
    return {name: worker.pid if worker is not None else None for name, worker in found.items()}


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
    create = process.create_app

    def create_app(services: Services) -> object:
        made.append(services)
        return create(services)

    def ready() -> None:
        arguments = (made[0], models, asyncio.get_running_loop())
        threading.Thread(target=listen, args=arguments, daemon=True).start()
        say({"ready": True})

    replace: Callable[..., object] = create_app
    process.create_app = replace  # type: ignore[assignment]  # the same, and it remembers
    await process.run(home, ready)


if __name__ == "__main__":
    try:
        asyncio.run(run(Home(Path(sys.argv[1])), Path(sys.argv[2])))
    except HoldfastError as error:
        say({"error": error.to_dict()})  # type: ignore[dict-item]  # plain data
        sys.exit(error.exit_code)
