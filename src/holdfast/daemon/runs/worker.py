"""The training worker, as runs, replays and estimates order it: its inputs hashed again, its energy measured.

Invariants: the worker sees the model, the prepared data and the suite read-only, and writes into one folder; what it says of
that folder is looked at without following links.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from holdfast.artefact import Kind
from holdfast.confine import gpu
from holdfast.daemon import energy, scratch, workbench
from holdfast.daemon.runs import folders, reported
from holdfast.daemon.runs.sources import read_recipe
from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.runs.sources import Inputs
    from holdfast.daemon.services import Services

PRODUCTS = {"adapter": Kind.ADAPTER, "model": Kind.MERGED}  # what a run makes, and the folder it lies in
FIGURES = (
    "steps",
    "tokens",
    "tokens_per_second",
    "seconds",
    "final_loss",
    "stopped_early",
    "resumed_from",
    "padding",
    "gemm_fraction",
    "gemm_peak_flops",
    "cpu_seconds",
    "peak_memory_bytes",
    "disk_bytes",
    "gpu",
)  # of a worker's result
MAX_SET_ASIDE = 1000  # rows that were set aside which a run's figures name; all of them are counted
MAX_WHY = 400  # characters that are repeated of why one was
PLAIN = (".safetensors", ".json")  # what a product's files are; others could be code to who opens them


async def work(
    services: Services,
    job: Job,
    inputs: Inputs,
    out: Path,
    *,
    task: str = "run",
    resume: bool = False,
    quarantine: bool = False,
    expected: dict[str, Json] | None = None,
) -> tuple[dict[str, Json], dict[str, Json]]:
    """Let a worker train, or estimate a training.

    Args:
        services: The daemon's parts.
        job: Whose stream takes the progress.
        inputs: What the run is made from.
        out: What the worker may write.
        task: ``run`` or ``estimate``.
        resume: Whether to go on from the last good checkpoint in ``out``.
        quarantine: Whether rows that can't be trained on are set aside instead of stopping the run.
        expected: For a replay, the environment and the states that the run had.

    Returns:
        The worker's result, and the energy that the work took; see ``energy.Meter.figures``.

    Raises:
        WorkerFailed: If the result is malformed, or of something else than was ordered.
    """
    job.uses = frozenset(inputs.parents)
    for found in inputs.all:
        await asyncio.to_thread(services.store.verify, found)
    recipe = read_recipe(services, inputs.recipe)
    model = workbench.link_view(services, job.folder / folders.MODEL, inputs.base, inputs.tokenizer)
    seen: dict[str, Path] = {"model": model}
    data: dict[str, Json] = {}
    for at, (path, found) in enumerate(inputs.data.items()):
        seen[f"data{at}"] = services.store.folder(found.digest)
        data[path] = f"/in/data{at}"
    if inputs.suite is not None:
        seen["suite"] = services.store.folder(inputs.suite.digest)
    order: dict[str, Json] = {
        "task": task,
        "recipe": cast("Json", recipe.to_json()),
        "model": "/in/model",
        "data": data,
        "digests": inputs.digests(),
        "out": "/out",
        "resume": resume,
        "threads": recipe.precision.threads,
        "quarantine": quarantine,
        "suite": "/in/suite" if inputs.suite is not None else None,
        "expected": expected,
        "watts_per_core": services.site.energy.watts_per_core,
    }
    async with energy.metered(services.site.energy) as meter:
        said = await workbench.run_worker(
            services, job, "train", order, inputs=seen, output=out, devices=gpu.nodes()
        )
    result = reported.estimate(said) if task == "estimate" else reported.run(said, recipe, inputs)
    spent = result.get("spent")
    told = spent if isinstance(spent, dict) else {}
    return result, meter.figures(number(told.get("cpu_seconds")), number(told.get("gpu_joules")))


def figures(result: dict[str, Json], used: dict[str, Json]) -> dict[str, Json]:
    """Give what a run's page tells of its course.

    Args:
        result: The worker's result.
        used: The energy that it took.

    Returns:
        The figures by name; those that the worker did not give are left out. ``spent`` and ``energy`` are of this worker
        alone, the others of the run with all that it went on from.
    """
    found = {name: result[name] for name in FIGURES if result.get(name) is not None}
    aside = set_aside(result)
    return found | {"quarantined": len(aside), "spent": result.get("spent"), "energy": used}


def set_aside(result: dict[str, Json]) -> list[str]:
    """Name the rows that could not be trained on.

    Args:
        result: The worker's result.

    Returns:
        Path, line and reason of each.
    """
    found = result.get("quarantined")
    return [str(one)[:MAX_WHY] for one in found] if isinstance(found, list) else []


def made(out: Path, result: dict[str, Json]) -> tuple[Kind, dict[str, Path]]:
    """Find what a worker made.

    Args:
        out: Its output folder.
        result: What it reported.

    Returns:
        The kind of artefact, and its files by their names.

    Raises:
        WorkerFailed: If it names no product, or no plain files of one.
    """
    said = result.get("product")
    kind = said.get("kind") if isinstance(said, dict) else None
    names = said.get("files") if isinstance(said, dict) else None
    if not isinstance(kind, str) or kind not in PRODUCTS or not isinstance(names, list) or not names:
        raise WorkerFailed(
            "worker.product", "The worker did not say what it made.", remedy="Start the run again."
        )
    folder = scratch.plain(out, kind)
    files = {str(name): scratch.plain(folder, str(name)) for name in names}
    for name, path in files.items():
        if not path.is_file() or not name.endswith(PLAIN):
            raise WorkerFailed(
                "worker.product",
                f"The worker named {name[:80]!r} as a file of what it made; {' and '.join(PLAIN)} files are taken.",
                remedy="Start the run again; if it ends so again, treat what it was given as hostile.",
            )
    return PRODUCTS[kind], files


def number(value: Json) -> float | None:
    """Take a figure that a worker gave.

    Args:
        value: What it gave.

    Returns:
        The figure; None if it is none.
    """
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
