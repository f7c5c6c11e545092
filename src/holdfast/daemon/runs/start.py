"""A run, from its intent to what it makes.

Order of operations: what it needs on disk is compared with what is free, the intent is recorded with the digests of everything
that determines the outcome, a confined worker trains, what it made becomes artefacts (run, and adapter or model) under the
join of all labels, the outcome is recorded, the worker's folder is removed. Invariants: nothing is half taken in; a run that
was stopped, or that ran out of space, keeps its checkpoints and can be resumed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from holdfast import canonical
from holdfast.artefact import Artefact, Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, energy, intake, scratch
from holdfast.daemon.recorder import Cancelled
from holdfast.daemon.runs import find, folders, reported, space, worker
from holdfast.daemon.runs.sources import read_recipe
from holdfast.errors import NoSpace
from holdfast.governance import labels
from holdfast.store import disk

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.recorder import Act
    from holdfast.daemon.runs.sources import Inputs
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.labels import Label

MANIFEST = "manifest.json"
FIGURES = "figures.json"
FILES = (MANIFEST, FIGURES, folders.STATES, folders.TELEMETRY)  # of a run's artefact


async def start(
    services: Services, session: Session, inputs: Inputs, *, quarantine: bool, resumes: int | None = None
) -> Job:
    """Start a run, or take a stopped one up again.

    Args:
        services: The daemon's parts.
        session: An operator's.
        inputs: What determines the outcome.
        quarantine: Whether rows that can't be trained on are set aside instead of stopping the run.
        resumes: The stopped run whose checkpoints are used.

    Returns:
        The job.

    Raises:
        NoSpace: If the disk can't hold what the run will write; then nothing was begun.
    """
    actor = session.actor(find.RUN)
    for found in inputs.all:
        admissible.usable(services, found)
    label = labels.join_all(found.label for found in inputs.all)
    recipe = read_recipe(services, inputs.recipe)
    await asyncio.to_thread(space.require, services, recipe, inputs, resumes)
    suite: dict[str, Json] = {"suite": inputs.suite.digest} if inputs.suite else {}
    params: dict[str, Json] = {
        **inputs.named(),
        **suite,
        "datasets": [found.digest for found in inputs.data.values()],
        "method": recipe.method,
        "tuning": recipe.tuning.type,
        "quarantine": quarantine,
        "resumes": resumes,
    }

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        subject = Subject("recipe", inputs.recipe.digest)
        async with services.recorder.act(actor, find.RUN, params, subject=subject, label=label) as act:
            job = services.jobs.open_job(act.seq, find.RUN)
            opened.set_result(job)
            out = folders.output(services, act.seq, resumes)
            try:
                result, used = await worker.work(
                    services, job, inputs, out, resume=resumes is not None, quarantine=quarantine
                )
            finally:
                await asyncio.to_thread(scratch.clean, job.folder, folders.OUT)
            figures = worker.figures(result, used)
            if not result["finished"]:
                act.outcome = {"steps": result["steps"], "figures": figures}
                _stopped(act, job, result)
            try:
                await _keep(services, act, inputs, label, out, result, figures)
            except NoSpace as full:
                act.outcome = {"steps": result["steps"], "figures": figures}
                raise _paused(act.seq, result["steps"]) from full
        await asyncio.to_thread(scratch.clean, job.folder)
        return act.outcome

    return await services.jobs.start(find.RUN, work)


def _stopped(act: Act, job: Job, result: dict[str, Json]) -> NoReturn:
    """End a run that did not come to its last step."""
    if result.get("paused") is not None:
        raise _paused(act.seq, result["steps"])
    raise Cancelled(
        "train.cancelled",
        f"Run {act.seq} stopped after {result['steps']} steps, with a checkpoint.",
        remedy=f"Go on with `holdfast train resume {act.seq}`, or give it up with `holdfast train discard {act.seq}`.",
        job=act.seq,
        by=job.cancelled_by,
    )


def _paused(number: int, steps: Json) -> NoSpace:
    return NoSpace(
        find.PAUSED_KEY,
        f"The disk filled up: run {number} is paused after {steps} steps and keeps its last good checkpoint.",
        remedy=f"Free some space, then go on with `holdfast train resume {number}`.",
        job=number,
    )


async def _keep(  # noqa: PLR0917 - one act, its many parts
    services: Services,
    act: Act,
    inputs: Inputs,
    label: Label,
    out: Path,
    result: dict[str, Json],
    figures: dict[str, Json],
) -> None:
    """Make artefacts of what a finished run left, and fill the act's outcome."""
    folder = services.jobs.folder(act.seq)
    estimate = priced(services, result.get("estimate"))
    documents: dict[str, Json] = {
        MANIFEST: result["manifest"],
        FIGURES: {
            **figures,
            "estimate": estimate,
            "held_out": result.get("held_out") or {},
            "set_aside": [*worker.set_aside(result)[: worker.MAX_SET_ASIDE]],
        },
    }
    with disk.faults(f"run {act.seq}"):
        for name, document in documents.items():  # beside the worker's folder, never in it
            (folder / name).write_bytes(canonical.encode(document))
    kind, files = worker.made(out, result)
    left = {one: scratch.plain(out, one) for one in (folders.STATES, folders.TELEMETRY)}
    await asyncio.to_thread(reported.states, left[folders.STATES])
    reported.require_size(left[folders.TELEMETRY], reported.MAX_TELEMETRY)
    name, version = inputs.recipe.name, inputs.recipe.version
    run = await intake.adopt(
        services,
        Kind.RUN,
        name,
        version,
        {one: folder / one for one in documents} | left,
        label=label,
        parents=inputs.parents,
    )
    product = await intake.adopt(
        services,
        kind,
        name,
        version,
        files,
        label=label,
        parents=(*inputs.parents, run.digest),
        meta={"base": inputs.base.digest, "tokenizer": inputs.tokenizer.digest, "run": run.digest},
    )
    act.outcome = {
        "run": run.digest,
        ("adapter" if kind is Kind.ADAPTER else "model"): product.digest,
        "artefacts": [run.to_json(), product.to_json()],
        **{one: result[one] for one in ("steps", "tokens", "tokens_per_second", "seconds", "final_loss")},
        "stopped_early": result.get("stopped_early") is not None,
        "telemetry": _digest(run, folders.TELEMETRY),
        "states": _digest(run, folders.STATES),
        "estimate": estimate,
        "figures": figures,
    }


def _digest(run: Artefact, path: str) -> str:
    return next(file.digest for file in run.files if file.path == path)


def priced(services: Services, estimate: Json) -> dict[str, Json]:
    """Add to a worker's estimate what it will cost in energy and money.

    Args:
        services: The daemon's parts.
        estimate: The worker's figures.

    Returns:
        These, with ``energy``; empty if the worker gave none.
    """
    if not isinstance(estimate, dict):
        return {}
    seconds = worker.number(estimate.get("cpu_seconds"))
    return estimate | {"energy": energy.estimated(services.site.energy, seconds)}
