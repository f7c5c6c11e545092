"""Running a confined worker for a job: its order in, its progress into the job's stream, its result out.

Order of operations: launch with inputs and descriptors only; forward ``progress`` and ``metric`` frames; on the job's
cancellation pass ``cancel`` on, once; take ``result`` or ``error``; wait for the process. Invariants: every denial that the
walls report is put on the record; a worker that dies without a word is an error with what it last wrote to its stderr; no
worker outlives this call.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING, TypeVar

from holdfast import canonical, errors
from holdfast.confine.exits import describe_exit
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import (
    DaemonUnreachable,
    Locked,
    NoSpace,
    NotAuthenticated,
    NotPermitted,
    NotRecorded,
    WorkerFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.confine.spec import Denial
    from holdfast.confine.worker import Worker
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.errors import HoldfastError

R = TypeVar("R")

INSPECTION = Limits(memory_bytes=2 * 2**30, cpu_seconds=600, file_bytes=2**30)  # reads headers, renders pages
MAX_TOLD = 4096  # bytes of one progress or metric: a stream keeps thousands of them in memory
MAX_ERROR = 2**18  # bytes of an error: a list of mistakes has some thousand, and it goes into a stream
TAIL = 400  # characters of a dead worker's output that its error repeats
MODEL_WORK = Limits(
    memory_bytes=64 * 2**30, file_bytes=256 * 2**30
)  # as large as a machine of this class holds


def denial_sink(services: Services, worker: str, job: int | None) -> Callable[[Denial], None]:
    """Make the function that puts a worker's refused attempts on the record.

    Args:
        services: The daemon's parts.
        worker: The worker's kind.
        job: The job it works for.

    Returns:
        A function to be called on the event loop.
    """
    pending: set[asyncio.Task[None]] = set()

    async def record(denial: Denial) -> None:
        try:
            await services.recorder.fact(
                DAEMON,
                "worker.denied",
                {
                    "worker": worker,
                    "job": job,
                    "syscall": denial.syscall,
                    "family": denial.family,
                    "destination": denial.destination,
                    "count": denial.count,
                },
                cause=job,
            )
        except (NotRecorded, NoSpace):
            return  # the log has stopped: the act itself will fail on it, and says so

    def sink(denial: Denial) -> None:
        task = asyncio.get_running_loop().create_task(record(denial))
        pending.add(task)
        task.add_done_callback(pending.discard)

    return sink


async def run_worker(
    services: Services,
    job: Job,
    kind: str,
    order: dict[str, Json],
    *,
    inputs: Mapping[str, Path],
    output: Path | None,
    limits: Limits = MODEL_WORK,
    devices: tuple[str, ...] = (),
) -> dict[str, Json]:
    """Run one worker to its end.

    Args:
        services: The daemon's parts.
        job: Whose stream takes the progress.
        kind: The worker's module.
        order: Its order.
        inputs: What it sees, read-only, by name.
        output: What it may write.
        limits: Its bounds.
        devices: The nodes of a GPU, for a worker that computes on one.

    Returns:
        The worker's result.

    Raises:
        HoldfastError: What the worker reported, or ``WorkerFailed`` if it died.
    """
    spec = WorkerSpec(
        kind=kind,
        inputs=inputs,
        output=output,
        fds={},
        limits=limits,
        threads=services.site.threads,
        devices=devices,
    )
    worker = await services.launcher.launch(spec, order, denial_sink(services, kind, job.number))
    passing = asyncio.create_task(_pass_cancel(job, worker))
    try:
        return await _listen(job, worker)
    finally:
        passing.cancel()
        worker.kill()
        await worker.wait()


async def _pass_cancel(job: Job, worker: Worker) -> None:
    await job.cancelling.wait()
    await job.emit("note", text="Stopping at the next safe point.")
    await worker.cancel()


async def _listen(job: Job, worker: Worker) -> dict[str, Json]:
    while (message := await worker.receive()) is not None:
        for name in ("progress", "metric"):
            fields = message.get(name)
            if isinstance(fields, dict):
                if len(canonical.encode(fields)) > MAX_TOLD:
                    raise WorkerFailed(
                        "worker.babbles",
                        f"The worker sent a {name} of more than {MAX_TOLD} bytes.",
                        remedy="Start the job again; if it ends so again, treat what it was given as hostile.",
                    )
                # Numbering and kind are ours; a worker gives figures.
                await job.emit(name, **{key: fields[key] for key in fields if key not in {"n", "kind"}})
        result, error = message.get("result"), message.get("error")
        if isinstance(result, dict):
            return result
        if isinstance(error, dict):
            raise reported(error)
    raise died(worker, await worker.wait())


def reported(error: dict[str, Json]) -> HoldfastError:
    """Rebuild what a worker reported; it judges what it was given, and has no word on the log or on who may do what.

    Args:
        error: The error as it was sent.

    Returns:
        The error, not raised.
    """
    if len(canonical.encode(error)) > MAX_ERROR:
        return WorkerFailed(
            "worker.babbles",
            f"The worker reported an error of more than {MAX_ERROR} bytes.",
            remedy="Start the job again; if it ends so again, treat what it was given as hostile.",
        )
    found = errors.from_dict(error)
    if isinstance(found, NotRecorded | NotPermitted | NotAuthenticated | Locked | DaemonUnreachable):
        return WorkerFailed(
            "worker.error",
            "The worker reported an error that is not its own to report.",
            remedy="Treat what it was given as hostile and keep it for examination.",
        )
    return found


async def in_thread(job: Job | None, function: Callable[..., R], *arguments: object, **named: object) -> R:
    """Run blocking work in a thread that never outlives the act, so that nothing is written after its outcome.

    Args:
        job: Whose work it is, if a job's. When it is interrupted, its ``cancelling`` is set; the thread is waited for.
        function: The work; a job's must look at ``job.cancelling`` if it can take long.
        *arguments: Its arguments.
        **named: Its named arguments.

    Returns:
        What it returns.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **named))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        if job is not None:
            job.cancelling.set()
        await asyncio.wait({thread})
        thread.exception()  # it was told to stop: how it did no longer matters
        raise


def died(worker: Worker, code: int) -> HoldfastError:
    """Explain a worker that ended without a word.

    Args:
        worker: The worker.
        code: Its exit code.

    Returns:
        The error, with the end of what it wrote, not raised.
    """
    error = describe_exit(code)
    tail = worker.log_tail.strip()[-TAIL:]
    if tail:
        error.message += f" It last wrote: {tail}"
    return error


def link_view(services: Services, folder: Path, *parts: Artefact) -> Path:
    """Show several artefacts as one folder, by hard links: a base beside its tokenizer, as model libraries want it.

    Args:
        services: The daemon's parts.
        folder: The folder to make; what stood there is removed.
        *parts: The artefacts.

    Returns:
        The folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in parts:
        source = services.store.folder(part.digest)
        for file in part.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(source / file.path, target)
    return folder
