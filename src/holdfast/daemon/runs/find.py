"""Finding runs, what they made, and how they stand.

Invariants: a run is named by its number, its artefact's digest, digits of that, or its recipe's name; what it made is an
adapter or a whole model, never both; nothing is written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.artefact import Kind
from holdfast.errors import NotFound

if TYPE_CHECKING:
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.governance.records import Act

RUN = "train.run"
PAUSED = "paused"  # a run that ended for want of space, and can go on
PAUSED_KEY = "train.paused"  # the error with which it ends
STOPPED = frozenset({"cancelled", "interrupted", "failed", PAUSED})  # states from which a run can go on
MAX_DIGITS = 15  # of a run's number; more would not be exact in JSON


def is_number(name: str) -> bool:
    """Tell whether a name is the number of a run.

    Args:
        name: What a person calls it.

    Returns:
        True for up to 15 ASCII digits, which are below 2**53.
    """
    return name.isascii() and name.isdigit() and len(name) <= MAX_DIGITS


def state_of(act: Act) -> str:
    """Say how a run stands.

    Args:
        act: The run.

    Returns:
        running, done, failed, cancelled, interrupted, or paused: out of space, with a checkpoint.
    """
    return PAUSED if act.state == "failed" and act.result.get("error") == PAUSED_KEY else act.state


def find_act(services: Services, name: str) -> Act:
    """Find a run, finished or not.

    Args:
        services: The daemon's parts.
        name: Its number; of a finished one also its digest, digits of it, or its recipe's name (the newest of that name).

    Returns:
        Its act.

    Raises:
        NotFound: If there is none.
    """
    state = services.state
    act = state.acts.get(int(name)) if is_number(name) else None
    if act is None or act.action != RUN:
        run = state.resolve(name, Kind.RUN)
        act = state.acts.get(state.runs.get(run.digest, -1))
    if act is None:
        raise NotFound(
            "train.elsewhere",
            f"Run {name} was not made here.",
            remedy="See `holdfast train list` for those that were.",
        )
    return act


def find_run(services: Services, name: str) -> tuple[Artefact, dict[str, Json], dict[str, Json]]:
    """Find a finished run.

    Args:
        services: The daemon's parts.
        name: Its digest, digits of it, its number, or its recipe's name (the newest of that name).

    Returns:
        The run's artefact, its intent's parameters and its outcome's.

    Raises:
        NotFound: If there is none.
    """
    act = find_act(services, name)
    run = services.state.artefacts.get(str(act.result.get("run")))
    if run is None:
        raise NotFound(
            "train.unfinished",
            f"Run {act.seq} is {state_of(act)}; it made nothing.",
            remedy="See `holdfast train list`.",
        )
    return run, act.params, act.result


def product(services: Services, result: dict[str, Json]) -> Artefact:
    """Find what a run made.

    Args:
        services: The daemon's parts.
        result: The outcome's parameters of a finished run.

    Returns:
        An adapter, or a whole model.

    Raises:
        NotFound: If it is no longer known.
    """
    digest = result.get("adapter") or result.get("model")
    found = services.state.artefacts.get(str(digest))
    if found is None:
        raise NotFound(
            "train.product-gone",
            f"What run {result.get('run')} made is not known here.",
            remedy="See `holdfast model list`, or run the recipe again.",
        )
    return found
