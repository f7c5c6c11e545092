"""Generations: going back to an earlier one, and holding the pointer on disk to what the log says.

Invariants: the log decides which generation is active; one switch at a time, and none under a model that is served or a job
that runs.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast.daemon import revocations, workbench
from holdfast.errors import Conflict, NotFound, OperationFailed
from holdfast.store.generations import Generations

if TYPE_CHECKING:
    from holdfast.audit.event import Actor
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

_LOG = logging.getLogger(__name__)


async def roll_back(services: Services, session: Session, number: int | None) -> dict[str, Json]:
    """Go to another generation that is kept.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        number: Which one; the one before the active one if None.

    Returns:
        The outcome.

    Raises:
        Conflict: If there is none before, models are served, or a job runs.
        NotFound: If there is no such generation.
    """
    actor = session.actor("bundle.rollback")
    async with services.deciding:
        outcome = await _roll_back(services, actor, number)
    await revocations.enforce(services)
    return outcome


async def _roll_back(services: Services, actor: Actor, number: int | None) -> dict[str, Json]:
    state = services.state
    kept = {found.number: found for found in state.generations if found.kept}
    goal = max((one for one in kept if one < state.active), default=0) if number is None else number
    if goal not in kept:
        removed = any(found.number == goal for found in state.generations)
        raise NotFound(
            "bundle.no-generation",
            f"Generation {goal} was removed by `holdfast store gc`."
            if removed
            else f"There is no generation {goal or 'before this one'} to go back to (active is {state.active or 'none'}).",
            remedy="See `holdfast bundle list`.",
        )
    if goal == state.active:
        raise Conflict("bundle.active", f"Generation {goal} is active already.", remedy="Name another one.")
    if services.serving.running:
        raise Conflict(
            "bundle.served",
            "Models of the active generation are being served.",
            remedy="Stop them first with `holdfast serve stop`.",
        )
    if services.jobs.running:
        job = services.jobs.running[0]
        raise Conflict(
            "bundle.busy",
            f"Job {job.number} ({job.action}) works with the active generation.",
            remedy=f"Wait for it, or stop it with `holdfast job cancel {job.number}`.",
            job=job.number,
        )
    async with services.recorder.act(actor, "bundle.rollback", {"from": state.active, "to": goal}) as act:
        await workbench.in_thread(None, Generations(services.store).activate, goal)
        act.outcome = {"generation": goal, "from": state.active}
    return act.outcome


def restore_pointer(services: Services) -> None:
    """Set the pointer on disk to the generation that the log says is active; called at start.

    Args:
        services: The daemon's parts.
    """
    generations = Generations(services.store)
    try:
        active = generations.active()
    except OperationFailed:
        active = None
    if not services.state.active:
        generations.deactivate()
    elif active is None or active.number != services.state.active:
        try:
            generations.activate(services.state.active)
        except NotFound as error:  # a restored home may lack what its backup lacked: each load says so again
            _LOG.warning("Generation %s is not whole: %s", services.state.active, error.message)
            generations.deactivate()
