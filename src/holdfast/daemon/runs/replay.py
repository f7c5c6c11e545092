"""Replays: a recorded run done again, which must make the same bytes.

Order of operations: the software that the run names is compared with what is installed; the worker compares the rest of its
environment before it loads anything; then every state hash is compared as it comes, so that a replay that goes another way
ends there; at last the digest of what was made. Invariants: nothing that a replay makes enters the store, since what it must
make is there already; its outcome says where it diverged and what differs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast import artefact, canonical, hashing
from holdfast.api import messages
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, scratch
from holdfast.daemon.recorder import Cancelled
from holdfast.daemon.runs import find, folders, reported, start, worker
from holdfast.daemon.runs.sources import bounded, inputs_of
from holdfast.errors import HoldfastError, NotFound, VerificationFailed
from holdfast.store import hashfile
from holdfast.training import software

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.messages import ReplayRequest
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

ACTION = "train.replay"
MAX_TOLD = 64  # differences that an outcome repeats
MAX_DIFFERENCE = 400  # characters of one of them


async def replay(services: Services, session: Session, name: str, request: ReplayRequest) -> Job:
    """Run a recorded run again and compare what it makes.

    Args:
        services: The daemon's parts.
        session: An operator's.
        name: The run: its digest, digits of it, its number, or its recipe's name.
        request: Whether to try it in another environment too.

    Returns:
        The job. It fails with ``VerificationFailed`` if the replay diverges or makes something else.

    Raises:
        NotFound: If the software that made the run is not what is installed here.
    """
    actor = session.actor(ACTION)
    run, params, result = find.find_run(services, name)
    inputs = inputs_of(services, params)
    expected = find.product(services, result).digest
    for found in (run, *inputs.all):
        admissible.usable(services, found)
    await asyncio.to_thread(services.store.verify, run)
    environment = manifest(services, run).get("environment")
    if not request.anyway:
        _require_software(environment)
    states = await asyncio.to_thread(reported.states, services.store.folder(run.digest) / folders.STATES)
    wanted: dict[str, Json] = {"environment": environment, "states": states, "anyway": request.anyway}

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        subject = Subject("run", run.digest)
        async with services.recorder.act(
            actor, ACTION, {"run": run.digest}, subject=subject, label=run.label
        ) as act:
            job = services.jobs.open_job(act.seq, ACTION)
            opened.set_result(job)
            out = folders.output(services, act.seq, None)
            quarantine = bool(params.get("quarantine"))
            try:
                told, _ = await worker.work(
                    services, job, inputs, out, quarantine=quarantine, expected=wanted
                )
                replayed = await asyncio.to_thread(_digest, out, told) if told["finished"] else None
            except HoldfastError as error:
                act.outcome = {"differences": _differences(error.fields.get("differences"))}
                raise
            finally:
                await asyncio.to_thread(scratch.clean, job.folder)
            act.outcome = {
                "run": run.digest,
                "adapter_digest": expected,
                "replayed_digest": replayed,
                "equal": replayed == expected,
                "diverged": _step(told, "at"),
                "differences": _differences(told.get("differences")),
                "seconds": told["seconds"],
            }
            _judge(act.outcome, told, job)
            return act.outcome

    return await services.jobs.start(ACTION, work)


def _judge(outcome: dict[str, Json], told: dict[str, Json], job: Job) -> None:
    """Refuse a replay that did not come to the same end."""
    if outcome["equal"]:
        return
    step, expected, replayed = (outcome[name] for name in ("diverged", "adapter_digest", "replayed_digest"))
    if step is None and replayed is None:
        raise Cancelled(
            "train.cancelled",
            f"The replay was stopped after {told['steps']} steps.",
            remedy="Start it again.",
            by=job.cancelled_by,
        )
    differences = [str(one) for one in _differences(outcome["differences"])]
    if step is not None:
        message = f"The replay was the same at step {_step(told, 'after')}, and another one at step {step}."
    else:
        message = f"The replay made {hashing.short(str(replayed))}, the run {hashing.short(str(expected))}."
    raise VerificationFailed(
        "train.replay-differs",
        message,
        remedy=f"What differs in the environment: {'; '.join(differences)}."
        if differences
        else "The environments do not differ in anything that is known to change bits: suspect memory or processor.",
        diverged=_step(told, "at"),
        adapter=str(expected),
        replayed=str(replayed) if replayed is not None else None,
        differences=differences,
    )


def _step(told: dict[str, Json], which: str) -> int | None:
    """Take a step of where a replay diverged: the last one that was equal, or the first one that was not."""
    found = told.get("diverged")
    step = found.get(which) if isinstance(found, dict) else None
    return step if isinstance(step, int) else None


def _require_software(environment: Json) -> None:
    """Refuse a run that was made by software that is not here."""
    named = environment.get("software") if isinstance(environment, dict) else None
    here = software.identity()
    if named == here:
        return
    told = named if isinstance(named, dict) else {}
    version, digest = str(told.get("version")), str(told.get("digest"))
    raise NotFound(
        "train.software-gone",
        f"The run was made by Holdfast {version} ({hashing.short(digest)}), which is gone: here is"
        f" {here['version']} ({hashing.short(here['digest'])}).",
        remedy="Install that software again, or see what this one makes of it with --anyway.",
        needed=digest,
        here=here["digest"],
    )


def manifest(services: Services, run: Artefact) -> dict[str, Json]:
    """Read a run's manifest.

    Args:
        services: The daemon's parts.
        run: The run's artefact.

    Returns:
        What determines its outcome.
    """
    return document(services, run, start.MANIFEST)


def document(services: Services, run: Artefact, name: str) -> dict[str, Json]:
    """Read one of the documents of a run.

    Args:
        services: The daemon's parts.
        run: The run's artefact.
        name: Its file.

    Returns:
        Plain data.
    """
    data = bounded(services.store.folder(run.digest) / name, messages.MAX_BODY)
    found = canonical.decode(data, limit=messages.MAX_BODY, what=f"The run's {name}")
    return found if isinstance(found, dict) else {}


def _digest(out: Path, told: dict[str, Json]) -> str:
    """Name what a replay made, without taking it in."""
    kind, files = worker.made(out, told)
    return artefact.digest_of(kind, tuple(hashfile.describe(path, name).ref for name, path in files.items()))


def _differences(found: object) -> list[Json]:
    listed = found if isinstance(found, list) else []
    return [str(one)[:MAX_DIFFERENCE] for one in listed[:MAX_TOLD]]
