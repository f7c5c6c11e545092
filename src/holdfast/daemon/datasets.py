"""Data sets: prepared from what a client sends, listed, and shown with their profiles.

Order of operations: label, formats and suites are judged; the uploads are linked into the job's folder under numbers; a confined
worker reads, compares and splits them; what it wrote becomes an artefact under the label that was asked for. Invariants: no path
of a client names a file here; a data set is taken whole or not at all; malformed rows stop it, or are set aside and counted.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from holdfast import parts
from holdfast.artefact import Artefact, Kind, is_name, is_safe_path
from holdfast.confine.spec import Limits
from holdfast.daemon import admissible, intake, scratch, workbench
from holdfast.daemon.recorder import Cancelled
from holdfast.dataset import files, prepared, profile
from holdfast.errors import Conflict, NotFound, UntrustedRecipe, WorkerFailed
from holdfast.governance import labels
from holdfast.training.crosscheck import FIELDS, FORMS

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.messages import DatasetRequest
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

ACTION = "dataset.prepare"
WORK = Limits(memory_bytes=32 * 2**30, file_bytes=2 * prepared.MAX_FILE)  # rows are held in memory
_OPTIONAL = (prepared.HELD_OUT, prepared.QUARANTINE)


async def prepare(services: Services, session: Session, request: DatasetRequest) -> Job:
    """Make a data set from uploads.

    Args:
        services: The daemon's parts.
        session: An operator's.
        request: Names the uploads, and says how they are read.

    Returns:
        The job; its result holds ``dataset`` (the digest), counts, and the ``profile``.

    Raises:
        UntrustedRecipe: If what is asked for can't be done.
    """
    actor = session.actor(ACTION)
    label = _label(services, request)
    formats = _formats(request)
    uploads = {path: services.uploads.path(session.name, name) for path, name in request.files.items()}
    suites, missing = _suites(services, request.suites)
    params: dict[str, Json] = {
        "name": request.name,
        "method": request.method,
        "files": len(uploads),
        "quarantine": request.quarantine,
        "heldout": request.heldout,
        "suites": {name: found.digest for name, found in suites.items()},
    }

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(actor, ACTION, params, label=label) as act:
            job = services.jobs.open_job(act.seq, ACTION)
            opened.set_result(job)
            out = job.folder / "out"
            try:
                await _work(services, job, request, _linked(job.folder / "data", uploads, formats), suites)
                found, described = await _adopt(services, request, label, out)
            finally:
                await asyncio.to_thread(scratch.clean, job.folder)
            act.outcome = {
                "dataset": found.digest,
                "artefacts": [found.to_json()],
                "form": prepared.form_of(described.get("form"), name=request.name),
                **{name: _count(described, name) for name in ("rows", "held_out", "quarantined")},
                "duplicates": _count(described.get("duplicates"), "rows"),
                "near_duplicates": _count(described.get("near_duplicates"), "rows"),
                "overlap": _shared(described),
            }
            told = {name: value for name, value in act.outcome.items() if name != "artefacts"}
            return told | {
                "profile": described,
                "not_compared": [*missing, *parts.listed(described.get("not_compared"))],
            }

    return await services.jobs.start(ACTION, work)


def _label(services: Services, request: DatasetRequest) -> labels.Label:
    label = labels.parse({**request.label})
    admissible.at_home(services, label)
    for name in (request.name, request.version):
        if not is_name(name):
            raise UntrustedRecipe(
                "dataset.name",
                f"{name[:80]!r} can't name a data set.",
                remedy="Use a short printable name without '/', ':' and '@'.",
            )
    return label


def _formats(request: DatasetRequest) -> dict[str, files.Format]:
    """Say how each file is read, and refuse what can't be."""
    found = {}
    for path in request.files:
        if not is_safe_path(path):
            raise UntrustedRecipe(
                "dataset.path",
                f"{path[:80]!r} is no plain relative path.",
                remedy="Rename the file, or move it out of the folder.",
            )
        found[path] = files.format_of(path, request.format, folder=request.folder)
    fields = FIELDS[request.method]
    if unknown := sorted(set(request.columns) - set(fields)):
        raise UntrustedRecipe(
            "dataset.columns",
            f"A column is named for {unknown[0][:60]!r}; method {request.method} has {', '.join(fields)}.",
            remedy="Name columns for these fields alone.",
        )
    return found


def _suites(services: Services, names: list[str]) -> tuple[dict[str, Artefact], list[str]]:
    """Find the suites to compare with; those that can't be used here are named, and not compared."""
    found, missing = {}, []
    for name in sorted(set(names)):
        try:
            suite = services.state.resolve(name, Kind.SUITE)
            admissible.usable(services, suite)
        except (NotFound, Conflict):
            missing.append(f"{name}: it is not here, or may not be used")
        else:
            found[name] = suite
    return found, missing


def _linked(folder: Path, uploads: dict[str, Path], formats: dict[str, files.Format]) -> list[Json]:
    """Show the uploads to the worker under numbers; what clients call them is text, and nothing else."""
    folder.mkdir()
    listed: list[Json] = []
    for number, (path, upload) in enumerate(sorted(uploads.items())):
        os.link(upload, folder / str(number))
        listed.append({"shown": path, "path": f"/in/data/{number}", "format": formats[path]})
    return listed


async def _work(
    services: Services, job: Job, request: DatasetRequest, listed: list[Json], suites: dict[str, Artefact]
) -> None:
    job.uses = frozenset(found.digest for found in suites.values())
    seen = {"data": job.folder / "data"}
    items: dict[str, Json] = {}
    for at, (name, found) in enumerate(suites.items()):
        await asyncio.to_thread(services.store.verify, found)
        seen[f"suite{at}"] = services.store.folder(found.digest)
        items[name] = f"/in/suite{at}/{files.ITEMS_FILE}"
    order: dict[str, Json] = {
        "files": listed,
        "forms": [*FORMS[request.method]],
        "columns": {**request.columns},
        "licence": request.licence,
        "held_out": request.heldout,
        "over": request.over,
        "quarantine": request.quarantine,
        "suites": items,
        "out": "/out",
    }
    out = job.folder / "out"
    out.mkdir()
    made = await workbench.run_worker(services, job, "prepare", order, inputs=seen, output=out, limits=WORK)
    if not made.get("finished"):
        raise Cancelled(
            "dataset.cancelled",
            f"The preparation of {request.name} was stopped; nothing was kept.",
            remedy="Start it again.",
            by=job.cancelled_by,
        )


async def _adopt(
    services: Services, request: DatasetRequest, label: labels.Label, out: Path
) -> tuple[Artefact, dict[str, Json]]:
    """Make an artefact of what the worker wrote."""
    data = await asyncio.to_thread(intake.read_output, out / prepared.PROFILE)
    described = profile.read(data, name=request.name)
    written = [prepared.ROWS, prepared.PROFILE, *(name for name in _OPTIONAL if (out / name).exists())]
    found = await intake.adopt(
        services,
        Kind.DATASET,
        request.name,
        request.version,
        {name: out / name for name in written},
        label=label,
        meta={
            "method": request.method,
            "role": request.role,
            "licence": request.licence,
            **{
                name: described.get(name)
                for name in ("form", "rows", "held_out", "quarantined", "files", "sources_digest")
            },
        },
    )
    return found, described


def _count(found: Json, name: str) -> int:
    value = found.get(name) if isinstance(found, dict) else None
    if not isinstance(value, int):
        raise WorkerFailed(
            "worker.output",
            "The worker's profile can't be used: a count is missing.",
            remedy="Start the job again.",
        )
    return value


def _shared(described: dict[str, Json]) -> dict[str, Json]:
    """Count the items of each suite that stand in the training rows, exactly or nearly."""
    found = described.get("overlap")
    listed = found.items() if isinstance(found, dict) else ()
    return {name: _count(one, "exact") + _count(one, "near") for name, one in listed}


def summaries(services: Services) -> list[dict[str, Json]]:
    """List all data sets that are here.

    Args:
        services: The daemon's parts.

    Returns:
        One object per data set, the newest first.
    """
    found = [one for one in services.state.artefacts.values() if one.kind is Kind.DATASET]
    return [_summary(one) for one in sorted(found, key=lambda one: -(one.made_by or 0))]


def _summary(found: Artefact) -> dict[str, Json]:
    names = ("form", "rows", "held_out", "quarantined", "licence", "role")
    return {
        "digest": found.digest,
        "name": found.name,
        "version": found.version,
        "label": found.label.to_json(),
        "made_by": found.made_by,
        "size": found.size,
        **{name: found.meta.get(name) for name in names},
    }


def page(services: Services, name: str) -> dict[str, Json]:
    """Show one data set.

    Args:
        services: The daemon's parts.
        name: Its name or digest.

    Returns:
        ``dataset``, its ``profile`` (None if it was not prepared here or elsewhere by Holdfast), who made it and when, and the
        numbers of the ``runs`` that were given it.
    """
    found = services.state.resolve(name, Kind.DATASET)
    admissible.here(services, found)
    made = services.state.acts.get(found.made_by if found.made_by is not None else -1)
    prepared_here = next(
        (act for act in services.state.acts.values() if act.result.get("dataset") == found.digest), made
    )
    runs: list[Json] = [
        act.seq
        for act in services.state.acts.values()
        if act.action == "train.run" and found.digest in parts.listed(act.params.get("datasets"))
    ]
    described = None
    if any(file.path == prepared.PROFILE for file in found.files):
        stored = services.store.folder(found.digest) / prepared.PROFILE
        with stored.open("rb") as file:
            described = profile.read(file.read(profile.MAX_PROFILE + 1), name=found.name)
    return {
        "dataset": _summary(found),
        "meta": found.meta,
        "person": prepared_here.person if prepared_here else None,
        "time": prepared_here.time if prepared_here else None,
        "runs": runs,
        "profile": described,
    }
