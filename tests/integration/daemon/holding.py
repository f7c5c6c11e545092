"""A daemon whose trainings go on until they are stopped: a real confined worker waits in the trainer's place."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from holdfast.daemon import process, workbench
from holdfast.paths import Home
from holdfast.training import manifest

_run_worker = workbench.run_worker


async def run_worker(services, job, kind, order, **rest):
    if kind != "train":
        return await _run_worker(services, job, kind, order, **rest)
    for step in (1, 2, 3):
        await job.emit("metric", step=step, steps=9, loss=1.0 / step)
    await _run_worker(services, job, "rehearse", {"act": "answer"}, inputs={}, output=None)
    named = {"schema": manifest.SCHEMA, "recipe": order["recipe"], "digests": order["digests"]}
    return {
        "finished": False,
        "manifest": named,
        "run": manifest.digest(named),
        "product": None,
        "steps": 3,
        "tokens": 30,
        "tokens_per_second": 10.0,
        "seconds": 3.0,
        "final_loss": 1 / 3,
        "spent": {"seconds": 3.0, "cpu_seconds": 3.0},
    }


workbench.run_worker = run_worker
asyncio.run(process.run(Home(Path(sys.argv[1])), lambda: print("ready", flush=True)))  # noqa: T201 - the sign that tests wait for
