"""A daemon whose work goes on until it is told otherwise: HOME, and GATE.

In the trainer's place a real confined worker waits until it is stopped; an import that has told of its progress waits until there
is a file GATE.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from holdfast.daemon import imports, process, workbench
from holdfast.paths import Home
from holdfast.training import manifest

_run_worker, _take_in = workbench.run_worker, imports.importer.take_in
GATE = Path(sys.argv[2])


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


def take_in(verified, store, stage, progress, cancelled):
    def told(step, done, total):
        progress(step, done, total)
        while not GATE.exists():
            time.sleep(0.01)

    return _take_in(verified, store, stage, told, cancelled)


workbench.run_worker, imports.importer.take_in = run_worker, take_in
asyncio.run(process.run(Home(Path(sys.argv[1])), lambda: print("ready", flush=True)))  # noqa: T201 - the sign that tests wait for
