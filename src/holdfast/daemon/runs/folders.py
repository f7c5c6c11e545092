"""The folders of jobs that train, and of other work on models: what lies in them, and what is left once nothing needs the rest.

``jobs/<n>/`` holds the job's stream; while it works ``model`` (links into the store) and ``out`` (what its worker writes:
checkpoints, states, telemetry, the product). Invariants: of a run that is done, discarded, replayed or estimated the stream
alone stays, since telemetry and states are files of the run's artefact, and so of a data set's preparation, a conversion, a
merge and an evaluation; of a run that was stopped ``out`` stays until it goes on elsewhere or is discarded; the streams of the last ``KEPT`` jobs are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.daemon import scratch
from holdfast.daemon.runs.find import RUN
from holdfast.errors import Conflict
from holdfast.training import telemetry

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.daemon.services import Services
    from holdfast.governance.records import Act

OUT = "out"
MODEL = "model"
TELEMETRY = telemetry.TELEMETRY
STATES = telemetry.STATES
KEPT = 1000  # jobs whose streams are kept; each has at most jobs.MAX_STREAM bytes, mostly some thousand
ACTS = frozenset({RUN, "train.replay", "train.estimate"})
# Other work on models, which leaves nothing but its stream either.
OTHERS = frozenset({"dataset.prepare", "model.quantize", "model.merge", "eval.run"})


def output(services: Services, number: int, resumes: int | None) -> Path:
    """Give the folder that a run writes to; a run that goes on takes over the stopped one's.

    Args:
        services: The daemon's parts.
        number: The run.
        resumes: The stopped run whose checkpoints are used.

    Returns:
        The folder, made.

    Raises:
        Conflict: If the stopped run left nothing.
    """
    out = services.jobs.folder(number) / OUT
    if resumes is not None:
        stopped = services.jobs.folder(resumes) / OUT
        if not stopped.is_dir():
            raise Conflict(
                "train.nothing-to-resume",
                f"Run {resumes} left no checkpoint: it went on already, or was discarded.",
                remedy="Start it anew with `holdfast train run`.",
            )
        stopped.rename(out)
    out.mkdir(exist_ok=True)
    return out


def resumable(services: Services, number: int) -> bool:
    """Tell whether a stopped run left something to go on from, be it only its beginning.

    Args:
        services: The daemon's parts.
        number: The run.

    Returns:
        True if its output folder is there.
    """
    return (services.jobs.folder(number) / OUT).is_dir()


def settle(services: Services) -> None:
    """Finish cleaning that was cut short, and forget the oldest streams; called at start, when no job runs.

    Args:
        services: The daemon's parts.
    """
    ended = sorted(
        (act for act in services.state.acts.values() if act.action in ACTS | OTHERS), key=lambda one: -one.seq
    )
    for at, act in enumerate(ended):
        folder = services.jobs.folder(act.seq)
        scratch.clean(folder, *(() if _spent(services, act) else (OUT,)))
        if at >= KEPT and not (folder / OUT).exists():
            scratch.remove(folder)


def _spent(services: Services, act: Act) -> bool:
    """Tell whether a job's output serves nobody any more."""
    return act.action != RUN or act.state == "done" or act.seq in services.state.trainings.discarded
