"""What a run will need, before it is started: memory, disk, time, energy and cost.

Order of operations: as a run's, but that the worker measures a few steps on a copy and makes nothing. Invariants: every figure
is labelled an estimate; nothing that was made on the way stays.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.audit.event import Subject
from holdfast.daemon import admissible, scratch
from holdfast.daemon.runs import folders, space, start, worker
from holdfast.governance import labels

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.runs.sources import Inputs
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

ACTION = "train.estimate"


async def estimate(services: Services, session: Session, inputs: Inputs, *, quarantine: bool) -> Job:
    """Estimate a run.

    Args:
        services: The daemon's parts.
        session: An operator's.
        inputs: What determines its outcome.
        quarantine: Whether rows that can't be trained on are set aside instead of stopping it.

    Returns:
        The job; its result holds ``estimate``, with ``free_bytes`` of the disk beside what the run will write.
    """
    actor = session.actor(ACTION)
    for found in inputs.all:
        admissible.usable(services, found)
    label = labels.join_all(found.label for found in inputs.all)

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        subject = Subject("recipe", inputs.recipe.digest)
        async with services.recorder.act(actor, ACTION, inputs.named(), subject=subject, label=label) as act:
            job = services.jobs.open_job(act.seq, ACTION)
            opened.set_result(job)
            out = folders.output(services, act.seq, None)
            try:
                result, _ = await worker.work(
                    services, job, inputs, out, task="estimate", quarantine=quarantine
                )
            finally:
                await asyncio.to_thread(scratch.clean, job.folder)
            found = start.priced(services, result.get("estimate"))
            act.outcome = {"estimate": found | {"free_bytes": space.free(services)}}
            return act.outcome

    return await services.jobs.start(ACTION, work)
