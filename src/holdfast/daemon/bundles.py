"""Bundles: imported into quarantine, admitted or rejected by a second administrator, rolled back.

Order of operations: open the medium beneath a media root; verify its metadata and policy (``media.verify``); check free
space; copy and hash in one pass into ``quarantine/<request>``; inspect every file in a confined worker; record what was
found. A second administrator signs what the request says; then the files are hashed again and adopted by the store, the new
generation is written and switched to, and the outcome recorded; only then is the trusted metadata raised and the quarantine
removed. Invariants: any failure leaves the previous generation active; the log decides: at every start the pointer on disk is
set to what it says is active, and an admission that it holds is brought to its end (``settle``); one decision at a time.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

from holdfast import artefact, hashing
from holdfast.audit.event import Subject
from holdfast.daemon import beneath, workbench
from holdfast.daemon.recorder import DAEMON, Cancelled
from holdfast.errors import (
    Conflict,
    HoldfastError,
    NotFound,
    NotPermitted,
    OperationFailed,
    UntrustedBundle,
    VerificationFailed,
)
from holdfast.governance import approvals, labels
from holdfast.governance.approvals import Statement
from holdfast.keys import person as keys
from holdfast.media import importer, trusthome
from holdfast.media.verify import verify_medium
from holdfast.store import disk, hashfile
from holdfast.store.generations import Generations
from holdfast.trust import fingerprint
from holdfast.trust.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.api.messages import ApprovalRequest
    from holdfast.artefact import Artefact, Kind
    from holdfast.audit.event import Actor
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.state import Import
    from holdfast.media.verify import Progress, VerifiedMedium
    from holdfast.trust.workflow import TrustState

TRUST_FOLDER = "trust"


async def submit(services: Services, session: Session, path: str) -> Job:
    """Import a medium into quarantine.

    Args:
        services: The daemon's parts.
        session: An administrator's or operator's.
        path: The medium's folder, beneath a media root.

    Returns:
        The job; its number is the request's.
    """
    actor = session.actor("bundle.import")
    medium = beneath.open_folder(services.site.media_roots, path)

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        await record_root(services)
        async with services.recorder.act(actor, "bundle.import", {"path": path}) as act:
            job = services.jobs.open_job(act.seq, "bundle.import")
            opened.set_result(job)
            act.outcome = await _take_in(services, job, medium) | {"requester": actor.person}
            return {"request": act.seq, **act.outcome}

    async def closing(opened: asyncio.Future[Job]) -> dict[str, Json]:
        try:
            return await work(opened)
        finally:
            os.close(medium)

    return await services.jobs.start("bundle.import", closing)


async def _take_in(services: Services, job: Job, medium: int) -> dict[str, Json]:
    loop = asyncio.get_running_loop()
    last: list[tuple[str, int]] = [("", -1)]

    def progress(step: str, done: int, total: int) -> None:
        # One report per hundredth is enough for people, and keeps the stream short.
        share = done * 100 // total if total else 0
        if last[0] != (step, share):
            last[0] = (step, share)
            asyncio.run_coroutine_threadsafe(job.emit("progress", step=step, done=done, total=total), loop)

    quarantine = services.home.quarantine / str(job.number)
    try:
        # Digest and state are read with no wait between them: admission compares the one to know the other.
        trusted = trusthome.load(services.home.trust)
        trusted_before = _state_digest(services.home.trust)
        _check_root(services, trusted)
        verified = await workbench.in_thread(
            job,
            verify_medium,
            medium,
            trusted,
            services.now(),
            progress,
            contents=False,
            cancelled=job.cancelling.is_set,
        )
        try:
            for found in verified.artefacts:
                _check_zones(services, found)
                _check_label(services, found)
                _check_parents(
                    found, {one.digest for one in verified.artefacts} | set(services.state.artefacts)
                )
            await workbench.in_thread(
                job, _copy, services, verified, quarantine, progress, job.cancelling.is_set
            )
        finally:
            verified.medium.close()
        findings = await _inspect(services, job, quarantine, verified.artefacts)
    except BaseException as error:
        await asyncio.to_thread(shutil.rmtree, quarantine, ignore_errors=True)
        if isinstance(error, OperationFailed) and job.cancelling.is_set():
            raise Cancelled(
                "bundle.cancelled", "The import was stopped.", remedy="Start it again.", by=job.cancelled_by
            ) from error
        raise
    return {
        "name": verified.manifest.name,
        "version": verified.manifest.version,
        "publisher": verified.manifest.publisher,
        "manifest": verified.digest,
        "root_version": verified.root_version,
        "root_fingerprint": verified.fingerprint,
        "holders": list(verified.holders),
        "artefacts": [found.to_json() for found in verified.artefacts],
        "bytes": verified.size,
        "volumes": 1,
        "trusted_before": trusted_before,
        "findings": findings,
    }


async def record_root(services: Services) -> None:
    """Put a root that a person pinned on the record, before anything is judged by it.

    Args:
        services: The daemon's parts.
    """
    try:
        trusted = trusthome.load(services.home.trust)
    except NotFound:
        return
    if services.state.root is None:
        await services.recorder.fact(
            DAEMON,
            "trust.pinned",
            {
                "fingerprint": fingerprint.of_root(trusted.root),
                "version": Workflow(trusted, services.now()).root.version,
                "self_made": any("root" in gap for gap in services.site.gaps),
            },
        )


def _check_root(services: Services, trusted: TrustState) -> None:
    """Refuse a trust folder that was changed behind the log's back."""
    recorded = (services.state.root or {}).get("fingerprint")
    found = fingerprint.of_root(trusted.root)
    if found != recorded:
        raise VerificationFailed(
            "trust.not-recorded",
            f"The root in the trust folder has the fingerprint {found}; the log recorded {recorded}.",
            remedy="Restore the home's trust folder from a backup.",
            found=found,
        )


def _check_zones(services: Services, found: Artefact) -> None:
    if not found.label.zones & set(services.state.zones):
        raise UntrustedBundle(
            "bundle.zone",
            f"{found.kind} {found.name} may live in {sorted(found.label.zones)}, this site is {list(services.state.zones)}.",
            remedy="Ask the publisher for a bundle labelled for this site.",
        )


def _check_label(services: Services, found: Artefact) -> None:
    """Refuse a bundle that labels what is here already so that no zone may hold it any more."""
    known = services.state.artefacts.get(found.digest)
    if known is not None:
        known.label.join(found.label)


def _check_parents(found: Artefact, known: set[str]) -> None:
    missing = [parent for parent in found.parents if parent not in known]
    if missing:
        raise UntrustedBundle(
            "bundle.parents",
            f"{found.kind} {found.name} was made from {missing[0][:24]}…, which is neither here nor on the medium.",
            remedy="Import the bundle with its base first.",
            parent=missing[0],
        )


def _copy(
    services: Services,
    verified: VerifiedMedium,
    quarantine: Path,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> None:
    """Copy what is new into quarantine, one folder per artefact, with the trust state that admission will commit."""
    quarantine.mkdir(parents=True)
    staged = importer.stage_medium(verified, services.store, progress, cancelled)
    try:
        for found, folder in staged:
            if not services.store.has(found.digest):
                folder.rename(quarantine / _folder_name(found))
    finally:
        importer.discard_staged(staged, services.store)
    (quarantine / TRUST_FOLDER).mkdir()
    trusthome.commit_trust(verified, quarantine / TRUST_FOLDER)


def _folder_name(found: Artefact) -> str:
    return found.digest.removeprefix("sha512:")[:32]


def _state_digest(folder: Path) -> str:
    return hashing.sha512((folder / trusthome.FILE).read_bytes())


async def _inspect(
    services: Services, job: Job, quarantine: Path, artefacts: tuple[Artefact, ...]
) -> list[Json]:
    """Have every file read by a confined worker before a person is asked to admit it."""
    listed: list[Json] = []
    seen: dict[str, Path] = {}
    for at, found in enumerate(artefacts):
        known = services.store.has(found.digest)
        seen[f"artefact{at}"] = (
            services.store.folder(found.digest) if known else quarantine / _folder_name(found)
        )
        listed.append({**found.to_json(), "path": f"/in/artefact{at}"})
    report = await workbench.run_worker(
        services,
        job,
        "inspect",
        {"artefacts": listed, "installed": list(services.state.artefacts)},
        inputs=seen,
        output=None,
        limits=workbench.INSPECTION,
    )
    findings = report["findings"]
    return findings if isinstance(findings, list) else []


def listing(services: Services) -> dict[str, Json]:
    """List imports and generations.

    Args:
        services: The daemon's parts.

    Returns:
        ``imports`` (newest first), ``generations`` and ``active``.
    """
    state = services.state
    return {
        "imports": [_shown(found) for found in sorted(state.imports.values(), key=lambda one: -one.request)],
        "generations": [
            {"number": found.number, "artefacts": list(found.artefacts), "request": found.request}
            for found in state.generations
        ],
        "active": state.active or None,
    }


def show(services: Services, request: int) -> dict[str, Json]:
    """Describe one import, with what a second person would sign.

    Args:
        services: The daemon's parts.
        request: The request.

    Returns:
        Its facts; ``approval`` if it waits.
    """
    found = _find(services, request)
    approval = _expected(services, found).to_json() if found.state == "waiting" else None
    return _shown(found) | {"facts": found.facts, "approval": approval}


def _shown(found: Import) -> dict[str, Json]:
    return {
        "request": found.request,
        "state": found.state,
        "requester": found.requester,
        "decided_by": found.decided_by,
        "name": found.facts.get("name"),
        "version": found.facts.get("version"),
        "publisher": found.facts.get("publisher"),
        "manifest": found.facts.get("manifest"),
        "holders": found.facts.get("holders"),
        "bytes": found.facts.get("bytes"),
        "message": found.facts.get("message"),
    }


def _find(services: Services, request: int) -> Import:
    found = services.state.imports.get(request)
    if found is None:
        raise NotFound(
            "bundle.unknown", f"There is no import request {request}.", remedy="See `holdfast bundle list`."
        )
    return found


def _expected(services: Services, found: Import) -> Statement:
    return Statement(
        site=services.state.site or "",
        request=found.request,
        action="bundle.admit",
        digest=str(found.facts["manifest"]),
        requester=found.requester,
        expires="",
    )


def _waiting(services: Services, request: int) -> Import:
    found = _find(services, request)
    if found.state != "waiting":
        raise Conflict(
            "bundle.decided",
            f"Request {request} is {found.state}; only a waiting one can be decided.",
            remedy="See `holdfast bundle list`.",
        )
    return found


async def admit(
    services: Services, session: Session, request: int, asked: ApprovalRequest
) -> dict[str, Json]:
    """Admit a waiting import with a second person's signature.

    Args:
        services: The daemon's parts.
        session: The second administrator's.
        request: The request.
        asked: Their signed statement.

    Returns:
        The outcome, with the generation now active.
    """
    async with services.deciding:
        return await _admit(services, session, request, asked)


async def _admit(
    services: Services, session: Session, request: int, asked: ApprovalRequest
) -> dict[str, Json]:
    actor = session.actor("bundle.admit")
    found = _waiting(services, request)
    statement = approvals.parse(asked.statement)
    keys.verify(
        keys.public_from_json(session.person.key),
        approvals.DOMAIN,
        statement.payload(),
        [dict(one) for one in asked.signatures],
        error=NotPermitted,
    )
    approvals.judge(statement, _expected(services, found), session.person, services.now())
    listed = found.facts["artefacts"]
    artefacts = [artefact.parse(value) for value in listed] if isinstance(listed, list) else []
    label = labels.join_all(one.label for one in artefacts)
    async with services.recorder.act(
        actor,
        "bundle.admit",
        {
            "request": request,
            "requester": found.requester,
            "approval": {
                "statement": statement.to_json(),
                "signatures": [dict(one) for one in asked.signatures],
            },
        },
        subject=Subject("manifest", str(found.facts["manifest"])),
        label=label,
    ) as act:
        generation = await workbench.in_thread(None, _activate, services, found, artefacts)
        act.outcome = {
            "request": request,
            "requester": found.requester,
            "generation": generation,
            "artefacts": [one.to_json() for one in artefacts],
            "root": {"version": found.facts["root_version"], "fingerprint": found.facts["root_fingerprint"]},
        }
    await workbench.in_thread(None, _settle_admitted, services, request)
    return act.outcome


def _activate(services: Services, found: Import, artefacts: list[Artefact]) -> int:
    quarantine = services.home.quarantine / str(found.request)
    if _state_digest(services.home.trust) != found.facts["trusted_before"]:
        raise Conflict(
            "bundle.overtaken",
            "Another bundle was admitted since this one was verified, and what is trusted has moved on.",
            remedy="Reject this request and import the medium again.",
        )
    for one in artefacts:
        if services.store.has(one.digest):
            services.store.verify(one)
        else:
            _check_quarantined(quarantine / _folder_name(one), one)
            services.store.adopt(quarantine / _folder_name(one), one)
    generations = Generations(services.store)
    # A new bundle replaces what the last one brought under the same kind and name; everything else stays in force.
    kept = {
        digest
        for generation in [services.state.generation()]
        if generation is not None
        for digest in generation.artefacts
        if _place(services.state.artefacts[digest]) not in {_place(one) for one in artefacts}
    }
    made = generations.create(
        f"{found.facts['name']}@{found.facts['version']}",
        tuple(sorted(kept | {one.digest for one in artefacts})),
    )
    generations.activate(made.number)
    return made.number


def _check_quarantined(folder: Path, found: Artefact) -> None:
    """Hash what lies in quarantine again: it may have waited there for days."""
    for file in found.files:
        try:
            ref = hashfile.describe(folder / file.path, file.path).ref
        except (OSError, HoldfastError) as error:
            raise _spoiled(found, file.path) from error
        if ref != file:
            raise _spoiled(found, file.path)


def _spoiled(found: Artefact, path: str) -> VerificationFailed:
    return VerificationFailed(
        "bundle.quarantine",
        f"{path} of {found.kind} {found.name} is no longer what was inspected.",
        remedy="Reject this request and import the medium again.",
        file=path,
    )


def _settle_admitted(services: Services, request: int) -> None:
    """Believe what an admitted medium showed, and remove its quarantine; does nothing if that was done."""
    quarantine = services.home.quarantine / str(request)
    trust = quarantine / TRUST_FOLDER / trusthome.FILE
    if trust.exists():
        disk.write_file(services.home.trust / trusthome.FILE, trust.read_bytes())
    shutil.rmtree(quarantine, ignore_errors=True)


def settle(services: Services) -> None:
    """Bring quarantine, trust and the pointer to the state that the log tells of; called at start.

    Args:
        services: The daemon's parts.
    """
    for folder in services.home.quarantine.iterdir():
        found = services.state.imports.get(int(folder.name)) if folder.name.isdecimal() else None
        if found is not None and found.state == "admitted" and _is_newest(services, found):
            _settle_admitted(services, found.request)
        elif found is None or found.state != "waiting":
            shutil.rmtree(folder, ignore_errors=True)
    _restore_pointer(services)


def _is_newest(services: Services, found: Import) -> bool:
    """Tell whether nothing was admitted after this; what was left of an older one must not be believed again."""
    return services.state.generations[-1].request == found.request


def _place(found: Artefact) -> tuple[Kind, str]:
    return found.kind, found.name


async def reject(services: Services, session: Session, request: int, reason: str) -> dict[str, Json]:
    """Refuse a waiting import; its quarantine is removed.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        request: The request.
        reason: Why, for the record.

    Returns:
        The outcome.
    """
    actor = session.actor("bundle.reject")
    async with services.deciding:
        found = _waiting(services, request)
        await _reject(services, actor, found, reason)
    return {"request": request, "reason": reason}


async def _reject(services: Services, actor: Actor, found: Import, reason: str) -> None:
    params: dict[str, Json] = {"request": found.request, "reason": reason}
    async with services.recorder.act(
        actor, "bundle.reject", params, subject=Subject("manifest", str(found.facts["manifest"]))
    ) as act:
        folder = services.home.quarantine / str(found.request)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        act.outcome = params


async def roll_back(services: Services, session: Session, number: int | None) -> dict[str, Json]:
    """Go back to an earlier generation.

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
        return await _roll_back(services, actor, number)


async def _roll_back(services: Services, actor: Actor, number: int | None) -> dict[str, Json]:
    state = services.state
    numbers = [found.number for found in state.generations]
    goal = max((one for one in numbers if one < state.active), default=0) if number is None else number
    if goal not in numbers:
        raise NotFound(
            "bundle.no-generation",
            f"There is no generation {goal or 'before this one'} to go back to (active is {state.active or 'none'}).",
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
            remedy="Wait for it, or stop it with `holdfast train cancel`.",
            job=job.number,
        )
    async with services.recorder.act(actor, "bundle.rollback", {"from": state.active, "to": goal}) as act:
        await workbench.in_thread(None, Generations(services.store).activate, goal)
        act.outcome = {"generation": goal, "from": state.active}
    return act.outcome


def _restore_pointer(services: Services) -> None:
    generations = Generations(services.store)
    try:
        active = generations.active()
    except OperationFailed:
        active = None
    if not services.state.active:
        generations.deactivate()
    elif active is None or active.number != services.state.active:
        generations.activate(services.state.active)
