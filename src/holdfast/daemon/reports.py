"""Residency reports and import receipts: facts from the log, rendered in a confined worker, signed by the appliance.

Order of operations: the intent is recorded, a checkpoint is made, the facts are a pure function of the log up to it, the
worker renders PDF and JSON, the daemon signs both with the checkpoint, the outcome records their digests. What is offered for
download is the folder that ``report.verify`` checks on another machine.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.audit import checkpoint as notes
from holdfast.audit import event as events
from holdfast.daemon import custody, intake, workbench
from holdfast.errors import NotFound
from holdfast.report import facts, folder, sign
from holdfast.store import disk

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.report.sign import Form


FOLDER = "report"  # in the job's folder
MADE = ("report.residency", "report.receipt")  # acts that leave such a folder


async def residency(services: Services, session: Session) -> Job:
    """Make a residency report.

    Args:
        services: The daemon's parts.
        session: An auditor's.

    Returns:
        The job; its result names the files.
    """
    actor = session.actor("report.residency")

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(actor, "report.residency", {}) as act:
            job = services.jobs.open_job(act.seq, "report.residency")
            opened.set_result(job)
            checkpoint = services.log.checkpoint()
            head = notes.parse(checkpoint)
            gathered = await asyncio.to_thread(_gather, services, head.size, head.root.hex())
            digests = await publish(services, job, sign.RESIDENCY, gathered, checkpoint)
            act.outcome = {"files": digests}
            return {"files": list(digests), "digests": digests, "size": head.size, "root": head.root.hex()}

    return await services.jobs.start("report.residency", work)


async def publish(
    services: Services, job: Job, form: Form, gathered: dict[str, Json], checkpoint: bytes
) -> dict[str, Json]:
    """Render facts, sign them, and keep the folder for download.

    Args:
        services: The daemon's parts.
        job: Whose folder takes it.
        form: What kind of report it is.
        gathered: Its facts.
        checkpoint: The signed checkpoint that they state.

    Returns:
        Digests of the files by name.
    """
    out = job.folder / "out"
    out.mkdir()
    await workbench.run_worker(
        services,
        job,
        "render",
        {"facts": gathered, "out": "/out"},
        inputs={},
        output=out,
        limits=workbench.INSPECTION,
    )
    return await asyncio.to_thread(_complete, services, form, out, job.folder / FOLDER, checkpoint)


def _gather(services: Services, size: int, root: str) -> dict[str, Json]:
    log = services.log
    walls = services.launcher.walls() | {"service_keys": "file-0600"}
    stored = chain(custody.staying(services).read(), log.read(log.first, size))
    return facts.gather(
        (events.parse(one) for one in stored),
        site=services.state.site or "",
        walls=dict(walls),
        now=services.now().isoformat(timespec="seconds"),
        log={"origin": log.origin, "size": size, "root": root, "first": log.first},
    )


def _complete(services: Services, form: Form, out: Path, place: Path, checkpoint: bytes) -> dict[str, Json]:
    """Add what makes the folder verifiable elsewhere, sign it, and write it durably; gives the files' digests."""
    whole = folder.assemble(
        form,
        intake.read_output(out / form.pdf),
        intake.read_output(out / form.facts),
        checkpoint=checkpoint,
        log_keys=(services.home.log / "log.pub").read_bytes(),
        pair=services.appliance,
    )
    place.mkdir()
    for name, data in whole.items():
        disk.create_file(place / name, data)
    return {name: hashing.sha512(data) for name, data in sorted(whole.items())}


def files(services: Services, session: Session, number: int) -> dict[str, Path]:
    """Find the files of a report.

    Args:
        services: The daemon's parts.
        session: Of somebody who may make such a report.
        number: The report's job.

    Returns:
        Names and files.

    Raises:
        NotFound: If there is no such report, or it was not finished.
    """
    act = services.state.acts.get(number)
    if act is None or act.action not in MADE or act.state != "done":
        raise NotFound(
            "report.unknown",
            f"There is no finished report {number}.",
            remedy="Run `holdfast report residency` or `holdfast bundle receipt`.",
        )
    session.actor(act.action)
    recorded = act.result["files"]
    place = services.jobs.folder(number) / FOLDER
    return {name: place / name for name in recorded} if isinstance(recorded, dict) else {}
