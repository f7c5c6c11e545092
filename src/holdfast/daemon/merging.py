"""Whole models made from a base and an adapter.

Order of operations: base, tokenizer and adapter are hashed again; a confined worker merges them and compares the outcome with
base and adapter; what it made is adopted under the label that all of them have together. Invariants: a merged model's parents
and ``meta`` say what it was made from; what is not like base and adapter never becomes an artefact.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import MAX_NAME, Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, intake, models, runs, scratch, workbench
from holdfast.errors import Conflict, WorkerFailed
from holdfast.governance import labels

if TYPE_CHECKING:
    from holdfast.api.messages import MergeRequest
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

ACT = "model.merge"


async def merge(services: Services, session: Session, request: MergeRequest) -> Job:
    """Merge an adapter into its base.

    Args:
        services: The daemon's parts.
        session: An operator's.
        request: The base and the adapter.

    Returns:
        The job.

    Raises:
        Conflict: If the adapter was made for another base.
    """
    actor = session.actor(ACT)
    base, tokenizer = runs.model_parts(services, request.model)
    adapter = models.find_adapter(services, request.adapter)
    made_for = adapter.meta.get("base", base.digest)
    if made_for != base.digest:
        raise Conflict(
            "merge.other-base",
            f"The adapter {adapter.name} was made for {hashing.short(str(made_for))}, which is not {base.name}.",
            remedy="Name the base that it was trained on; see `holdfast model lineage`.",
        )
    parts = (base, tokenizer, adapter)
    label = labels.join_all(found.label for found in parts)
    params: dict[str, Json] = {"base": base.digest, "adapter": adapter.digest}

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(
            actor, ACT, params, subject=Subject(adapter.kind.value, adapter.digest), label=label
        ) as act:
            job = services.jobs.open_job(act.seq, ACT)
            opened.set_result(job)
            job.uses = frozenset(found.digest for found in parts)
            try:
                merged, likeness = await _work(services, job, parts)
            finally:
                await asyncio.to_thread(scratch.clean, job.folder)
            act.outcome = {"model": merged.digest, "likeness": likeness, "artefacts": [merged.to_json()]}
            return act.outcome

    return await services.jobs.start(ACT, work)


async def _work(
    services: Services, job: Job, parts: tuple[Artefact, Artefact, Artefact]
) -> tuple[Artefact, Json]:
    base, tokenizer, adapter = parts
    out = job.folder / "out"
    out.mkdir()
    for found in parts:
        admissible.usable(services, found)
        await asyncio.to_thread(services.store.verify, found)
    order: dict[str, Json] = {
        "model": "/in/model",
        "adapter": "/in/adapter",
        "probe": list(await asyncio.to_thread(models.probes, services)),
        "threads": services.site.threads,
        "out": "/out",
    }
    inputs = {
        "model": workbench.link_view(services, job.folder / "model", base, tokenizer),
        "adapter": services.store.folder(adapter.digest),
    }
    made = await workbench.run_worker(services, job, "merge", order, inputs=inputs, output=out)
    files, likeness = made.get("files"), made.get("likeness")
    if not isinstance(files, dict) or not files or not isinstance(likeness, dict):
        raise WorkerFailed(
            "worker.output", "The worker did not say what it made.", remedy="Start the merge again."
        )
    meta: dict[str, Json] = {"base": base.digest, "tokenizer": tokenizer.digest, "adapter": adapter.digest}
    if "run" in adapter.meta:
        meta["run"] = adapter.meta["run"]
    merged = await intake.adopt(
        services,
        Kind.MERGED,
        f"{base.name}-{adapter.name}"[:MAX_NAME],
        adapter.version,
        {str(name): scratch.plain(out, str(name)) for name in files},
        label=labels.join_all(found.label for found in parts),
        parents=tuple(found.digest for found in parts),
        meta=meta,
    )
    return merged, likeness
