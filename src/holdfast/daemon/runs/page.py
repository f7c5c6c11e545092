"""What is shown of runs: the list, the page of one, its telemetry.

Invariants: nothing is computed anew that was recorded; what a run needed is told for it and the stopped runs that it went on
from together, so that it can be compared with the estimate of the whole; a sum that lacks a part says so.
"""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING

from holdfast import canonical, parts
from holdfast.daemon import models
from holdfast.daemon.runs import find, folders, replay, start
from holdfast.daemon.runs.find import state_of
from holdfast.errors import NotFound, UntrustedInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.governance.records import Act

SPENT = ("seconds", "cpu_seconds")  # figures of each part of a run, which add up
LARGEST = ("peak_memory_bytes", "disk_bytes")  # figures whose largest counts
CHUNK = 2**18  # bytes of telemetry that are read at once
LINES = 2**12  # bytes at the end of the telemetry that hold the last line; one has some hundred
UNWRITTEN = bytes({*range(32), *range(127, 256)} - {10})  # what no telemetry has, and a terminal might obey


def summaries(services: Services) -> list[dict[str, Json]]:
    """List all runs.

    Args:
        services: The daemon's parts.

    Returns:
        One object per run, newest first: number, state, recipe, person, time, figures, gate.
    """
    acts = sorted(services.state.acts.values(), key=lambda act: -act.seq)
    return [_summary(services, act) for act in acts if act.action == find.RUN]


def _summary(services: Services, act: Act) -> dict[str, Json]:
    run = act.result.get("run")
    state = state_of(act)
    return {
        "number": act.seq,
        "state": state,
        "person": act.person,
        "time": act.time,
        "recipe": act.params.get("recipe_name"),
        "base": act.params.get("base_name"),
        "method": act.params.get("method"),
        "tuning": act.params.get("tuning"),
        "run": run,
        "adapter": act.result.get("adapter"),
        "model": act.result.get("model"),
        "steps": act.result.get("steps"),
        "final_loss": act.result.get("final_loss"),
        "tokens_per_second": act.result.get("tokens_per_second"),
        "seconds": act.result.get("seconds"),
        "resumes": act.params.get("resumes"),
        "resumable": state in find.STOPPED and folders.resumable(services, act.seq),
        "gate": services.state.gates.get(str(run)),
    }


def page(services: Services, name: str) -> dict[str, Json]:
    """Tell everything of one run.

    Args:
        services: The daemon's parts.
        name: Its number; of a finished one also its digest, digits of it, or its recipe's name.

    Returns:
        What the list says of it, ``params``, ``result``, ``artefact`` and ``manifest`` (None if it is not done), ``data`` (by path
        each data set's digest and counts of rows), ``figures`` (of this run), ``latest`` (of a running one, the figures of its
        last step), ``total`` (with the runs that it went on from), ``estimate``, ``held_out``, ``set_aside``, ``resumed_by``,
        ``discarded``, ``replays``, ``gate``.
    """
    act = find.find_act(services, name)
    run = services.state.artefacts.get(str(act.result.get("run")))
    here = run is not None and services.store.has(run.digest)
    kept = replay.document(services, run, start.FIGURES) if run is not None and here else {}
    figures = act.result.get("figures")
    return {
        **_summary(services, act),
        "artefact": None if run is None else models.shown(services, run),
        "params": act.params,
        "result": {one: value for one, value in act.result.items() if one != "artefacts"},
        "manifest": replay.manifest(services, run) if run is not None and here else None,
        "figures": figures if isinstance(figures, dict) else None,
        "total": total(services, act),
        "data": _data(services, act),
        "latest": _latest(services, act) if state_of(act) == "running" else None,
        "estimate": kept.get("estimate") or None,
        "held_out": kept.get("held_out") or None,
        "set_aside": kept.get("set_aside") or None,
        "resumed_by": next(
            (
                other.seq
                for other in services.state.acts.values()
                if other.action == find.RUN and other.params.get("resumes") == act.seq
            ),
            None,
        ),
        "discarded": act.seq in services.state.trainings.discarded,
        "replays": [*_replays(services, None if run is None else run.digest)],
    }


def _data(services: Services, act: Act) -> dict[str, Json]:
    """Say of each data set of a run how many of its rows are for training, held out and set aside."""
    found: dict[str, Json] = {}
    for path, digest in parts.record(act.params.get("data")).items():
        known = services.state.artefacts.get(str(digest))
        meta = {} if known is None else known.meta
        found[path] = {
            "dataset": digest,
            **{name: meta.get(name) for name in ("rows", "held_out", "quarantined")},
        }
    return found


def _latest(services: Services, act: Act) -> dict[str, Json] | None:
    """Read the figures of a running run's last step; None before its first."""
    try:
        descriptor = _open(services.jobs.folder(act.seq) / folders.OUT / folders.TELEMETRY, act.seq)
    except NotFound:
        return None
    try:
        end = os.fstat(descriptor).st_size
        data = os.pread(descriptor, LINES, max(end - LINES, 0))
    finally:
        os.close(descriptor)
    *_, line, _rest = [b"", *data.split(b"\n")]  # what follows the last end of line is still being written
    try:
        return parts.record(
            canonical.decode(line, limit=LINES, what="A line of telemetry", error=UntrustedInput)
        )
    except UntrustedInput:
        return None  # the worker's own words: shown if they are in order


def total(services: Services, act: Act) -> dict[str, Json]:
    """Add up what a run and the stopped runs that it went on from needed.

    Args:
        services: The daemon's parts.
        act: The run.

    Returns:
        Sums and maxima of the figures, the ``energy`` and how it is known, ``parts`` (runs, the first one first) and ``unknown``
        (those of them that left no figures: their process was killed).
    """
    chain = [act]
    while (before := services.state.acts.get(_number(chain[-1].params.get("resumes")))) is not None:
        chain.append(before)
    told = [(one.seq, one.result.get("figures")) for one in reversed(chain)]
    known = [figures for _, figures in told if isinstance(figures, dict)]
    found: dict[str, Json] = {
        "parts": [seq for seq, _ in told],
        "unknown": [seq for seq, figures in told if not isinstance(figures, dict)],
    }
    spent = [one if isinstance(one := figures.get("spent"), dict) else {} for figures in known]
    for name in SPENT:
        found[name] = _sum(spent, name)
    for name in LARGEST:
        found[name] = max((_number(one[name]) for one in known if _figure(one.get(name))), default=None)
    used = [one for figures in known if isinstance(one := figures.get("energy"), dict)]
    found["energy"] = {
        "joules": _sum(used, "joules"),
        "how": "; ".join(sorted({str(one.get("how")) for one in used})) or None,
        "cost": _sum(used, "cost"),
        "currency": next((one["currency"] for one in used if one.get("currency")), None),
    }
    return found


def _sum(parts: list[dict[str, Json]], name: str) -> float | None:
    """Add up a figure; None if one of the parts has none."""
    values = [value for one in parts if (value := _figure(one.get(name))) is not None]
    return round(sum(values), 6) if values and len(values) == len(parts) else None


def _figure(value: Json) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(value: Json) -> int:
    return int(value) if isinstance(value, int | float) else -1


def _replays(services: Services, run: str | None) -> list[dict[str, Json]]:
    return [
        {
            "number": act.seq,
            "state": act.state,
            "person": act.person,
            "time": act.time,
            **{name: act.result.get(name) for name in ("equal", "diverged", "differences", "seconds")},
        }
        for act in services.state.acts.values()
        if act.action == replay.ACTION and run is not None and act.params.get("run") == run
    ]


async def telemetry(services: Services, name: str) -> AsyncIterator[bytes]:
    """Read the telemetry of a run: JSON Lines, one for each step.

    Args:
        services: The daemon's parts.
        name: The run, as for ``page``.

    Returns:
        Its bytes, piece by piece.

    Raises:
        NotFound: If the run has none, or it went on with another run.
    """
    act = find.find_act(services, name)
    run = services.state.artefacts.get(str(act.result.get("run")))
    if run is not None and services.store.has(run.digest):
        path = services.store.folder(run.digest) / folders.TELEMETRY
    else:
        path = services.jobs.folder(act.seq) / folders.OUT / folders.TELEMETRY
    descriptor = await asyncio.to_thread(_open, path, act.seq)

    async def chunks() -> AsyncIterator[bytes]:
        try:
            while chunk := await asyncio.to_thread(os.read, descriptor, CHUNK):
                yield chunk.translate(None, UNWRITTEN)
        finally:
            os.close(descriptor)

    return chunks()


def _open(path: Path, number: int) -> int:
    """Open a file that a worker may be writing to, trusting nothing about it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    except OSError:
        pass
    raise NotFound(
        "train.no-telemetry",
        f"Run {number} has no telemetry: it did not come to its first step, went on as another run, or was discarded.",
        remedy="See `holdfast train show` for where it went on.",
    )
