"""Runs that were stopped: taken up again, or given up.

Invariants: a run goes on once, in a run of its own that takes its checkpoints over; what is given up is on the record before
it is removed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.daemon import scratch
from holdfast.daemon.runs import find, folders, start
from holdfast.daemon.runs.sources import inputs_of
from holdfast.errors import Conflict, NotFound

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.records import Act


def _stopped(services: Services, number: int) -> Act:
    """Find a stopped run that left something."""
    act = services.state.acts.get(number)
    if act is None or act.action != find.RUN:
        raise NotFound("train.unknown", f"There is no run {number}.", remedy="See `holdfast train list`.")
    standing = find.state_of(act)
    if standing not in find.STOPPED:
        raise Conflict(
            "train.not-stopped",
            f"Run {number} is {standing}; only a stopped run can go on or be given up.",
            remedy="See `holdfast train list`.",
        )
    return act


async def resume(services: Services, session: Session, number: int) -> Job:
    """Take a stopped run up again from its last checkpoint.

    Args:
        services: The daemon's parts.
        session: An operator's.
        number: The stopped run's number.

    Returns:
        The job of the run that goes on.

    Raises:
        NotFound: If there is no such run.
        Conflict: If it was not stopped.
    """
    stopped = _stopped(services, number)
    inputs = inputs_of(services, stopped.params)
    quarantine = bool(stopped.params.get("quarantine"))
    return await start.start(services, session, inputs, quarantine=quarantine, resumes=number)


async def discard(services: Services, session: Session, number: int) -> dict[str, Json]:
    """Give up what a stopped run left.

    Args:
        services: The daemon's parts.
        session: An operator's.
        number: The stopped run's number.

    Returns:
        ``run`` and ``bytes``, the size of what was removed.

    Raises:
        NotFound: If there is no such run.
        Conflict: If it was not stopped, or left nothing.
    """
    actor = session.actor(find.RUN)
    _stopped(services, number)
    if not folders.resumable(services, number):
        raise Conflict(
            "train.nothing-to-discard",
            f"Run {number} left nothing: it went on already, or was discarded.",
            remedy="See `holdfast train list`.",
        )
    folder = services.jobs.folder(number)
    told: dict[str, Json] = {
        "run": number,
        "bytes": await asyncio.to_thread(scratch.size, folder / folders.OUT),
    }
    await services.recorder.fact(actor, "train.discarded", told)
    await asyncio.to_thread(scratch.clean, folder)
    return told
