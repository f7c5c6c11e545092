"""Importing a medium, or one volume of it, into quarantine.

Order of operations: open the folder beneath a media root and note what it lies on; the intent is recorded; the medium's
signatures, policy and listing are verified (``media.verify``); what it holds must be acceptable here (``acceptance``); that is
put on the record as ``bundle.verified``; then its chunks are copied and hashed in one pass into the manifest's own stage
(``quarantine``), going on from what earlier volumes or an interrupted import left there; when nothing is missing, a confined
worker inspects every file; each artefact is put on the record (``governance.listing``); what was found is the outcome, which
names that list. Invariants: any failure leaves the active generation as it was;
one import works on a manifest at a time; what is safe in a stage is kept when the medium failed, and removed when what is
in it was refused.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.audit.event import Subject
from holdfast.daemon import (
    acceptance,
    beneath,
    bounded,
    exceptions,
    mediafacts,
    quarantine,
    revocations,
    workbench,
)
from holdfast.daemon.recorder import DAEMON, Cancelled
from holdfast.errors import (
    Conflict,
    NotFound,
    OperationFailed,
    UntrustedBundle,
    VerificationFailed,
)
from holdfast.governance import listing
from holdfast.governance.exceptions import write_time
from holdfast.media import importer, trusthome
from holdfast.media.verify import DAMAGE, verify_medium
from holdfast.report import wording
from holdfast.trust import fingerprint, revocation
from holdfast.trust.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.audit.event import Actor
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.recorder import Act
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.errors import HoldfastError
    from holdfast.media.importer import Taken
    from holdfast.media.verify import Progress, VerifiedMedium
    from holdfast.trust.workflow import TrustState

MAX_FINDINGS = 60  # kept of one import; a person who reads sixty knows enough
MAX_FOUND = 32_000  # bytes of them: one event takes them beside an error
MAX_FINDING = 400  # characters of one finding
MAX_FILE, MAX_KEY = 240, 80  # characters of the file and the key beside it
BASES = 100  # of a delta that one event names; further ones follow in events of their own
MENDABLE = DAMAGE | {
    "media.delta-source",
    "media.delta-base",
}  # what another copy, or a repaired base, would mend


async def submit(services: Services, session: Session, path: str) -> Job:
    """Import a medium, or a volume of one, into quarantine.

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
            try:
                act.outcome = await _take_in(services, actor, act, job, medium)
            except OperationFailed as error:
                if not job.cancelling.is_set():
                    raise
                raise Cancelled(
                    "bundle.cancelled",
                    "The import was stopped. What was copied is kept.",
                    remedy="Start it again to go on, or give it up with `holdfast bundle discard`.",
                    by=job.cancelled_by,
                ) from error
            return {"request": act.seq, "requester": actor.person, **act.outcome}

    async def closing(opened: asyncio.Future[Job]) -> dict[str, Json]:
        try:
            return await work(opened)
        finally:
            os.close(medium)

    return await services.jobs.start("bundle.import", closing)


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


@dataclass(frozen=True)
class _Import:
    """What the steps of one import share."""

    services: Services
    actor: Actor
    act: Act
    job: Job
    progress: Progress

    def stopped(self) -> bool:
        return self.job.cancelling.is_set()


async def _take_in(services: Services, actor: Actor, act: Act, job: Job, medium: int) -> dict[str, Json]:
    one = _Import(services, actor, act, job, _reporter(job))
    async with services.deciding:  # what is trusted rises after an admission was recorded
        await workbench.in_thread(job, quarantine.settle_newest, services)
    await revocations.settle(services)
    # Digest and state are read with no wait between them: admission compares the one to know the other.
    trusted = trusthome.load(services.home.trust)
    trusted_before = state_digest(services.home.trust)
    _check_root(services, trusted)
    verified = await workbench.in_thread(
        job,
        verify_medium,
        medium,
        trusted,
        exceptions.moment(services),
        one.progress,
        waived=exceptions.waived(services),
        contents=False,
        cancelled=one.stopped,
    )
    with ExitStack() as ending:
        ending.callback(verified.medium.close)
        revocation.reaches(services.state.custody.revocations, verified.revocations)
        acceptance.check(services, verified)
        _check_open(services, verified)
        ending.enter_context(quarantine.working(services, verified.digest, act.seq))
        needed = {found.digest for found in verified.artefacts}
        needed |= {str(base) for base in _bases(verified)}
        ending.enter_context(services.leases.hold("bundle.import", needed))
        facts = _facts(verified, medium) | {
            "trusted_before": trusted_before,
            "revocations": revocations.told(services, verified.revocations),
            "expired": verified.expires <= exceptions.moment(services),
        }
        await services.recorder.fact(actor, "bundle.verified", facts, cause=act.seq)
        bases = _bases(verified)
        for at in range(BASES, len(bases), BASES):
            further: dict[str, Json] = {"bases": bases[at : at + BASES]}
            await services.recorder.fact(actor, "bundle.delta", further, cause=act.seq)
        return await _fill(one, verified)


async def _fill(one: _Import, verified: VerifiedMedium) -> dict[str, Json]:
    """Copy what this medium carries, and inspect once everything is here."""
    services, job = one.services, one.job
    one.act.outcome = {"kept": True}
    free = await asyncio.to_thread(shutil.disk_usage, services.home.quarantine)
    await job.emit(
        "note",
        text=f"{verified.manifest.name} {verified.manifest.version} is signed by {', '.join(verified.holders)}:"
        f" {wording.size(verified.size)} in all; {wording.size(free.free)} are free here.",
    )
    try:
        taken = await workbench.in_thread(job, _copy, services, verified, one.progress, one.stopped)
    except UntrustedBundle as error:
        if error.key not in MENDABLE:
            await _refuse(one, verified, error)
        raise
    count = verified.volume.count if verified.volume else 1
    missing = sorted(taken.missing)
    outcome: dict[str, Json] = {
        "name": verified.manifest.name,
        "version": verified.manifest.version,
        "manifest": verified.digest,
        "bytes": verified.size,
        "volumes": count,
        "present": [number for number in range(1, count + 1) if number not in taken.missing],
        "missing": list(missing),
        "holders": list(verified.holders),
        "publisher": verified.manifest.publisher,
        "root_version": verified.root_version,
    }
    if missing:
        return outcome
    try:
        await _inspect(services, job, verified, taken)
    except UntrustedBundle as error:
        await _refuse(one, verified, error)
        raise
    await _list(one, verified)
    await asyncio.to_thread(quarantine.keep_trust, services, verified)
    return outcome | {
        "artefacts": len(verified.artefacts),
        "files": sum(len(found.files) for found in verified.artefacts),
        "listing": listing.digest_of(found.digest for found in verified.artefacts),
        "findings": [],
    }


async def _list(one: _Import, verified: VerifiedMedium) -> None:
    """Put every artefact on the record; what is listed counts once the import's outcome names the whole list."""
    for found in verified.artefacts:
        for told in listing.divide(found, verified.manifest.origins):
            await one.services.recorder.fact(
                one.actor,
                listing.LISTED,
                told,
                subject=Subject(found.kind.value, found.digest),
                cause=one.act.seq,
                label=found.label,
            )


async def _refuse(one: _Import, verified: VerifiedMedium, error: UntrustedBundle) -> None:
    """Say what speaks against the contents, which no other copy of the medium would change, and remove them."""
    one.act.outcome = {"kept": False, "findings": findings_of(error)}
    await asyncio.to_thread(quarantine.remove, one.services, verified.digest)


def _copy(
    services: Services, verified: VerifiedMedium, progress: Progress, cancelled: Callable[[], bool]
) -> Taken:
    stage = quarantine.stage(services, verified.digest)
    return importer.take_in(verified, services.store, stage, progress, cancelled)


def _reporter(job: Job) -> Progress:
    loop = asyncio.get_running_loop()
    last: list[tuple[str, int]] = [("", -1)]

    def progress(step: str, done: int, total: int) -> None:
        # One report per hundredth is enough for people, and keeps the stream short.
        share = done * 100 // total if total else 0
        if last[0] != (step, share):
            last[0] = (step, share)
            asyncio.run_coroutine_threadsafe(job.emit("progress", step=step, done=done, total=total), loop)

    return progress


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


def _check_open(services: Services, verified: VerifiedMedium) -> None:
    """Refuse a medium that waits to be decided already, or whose import is just saying how it ended."""
    found = services.state.imports.get(services.state.staged.get(verified.digest, -1))
    if found is not None and found.state == "running":
        raise quarantine.busy(found.request)
    if found is not None and found.state == "waiting":
        raise Conflict(
            "bundle.waiting",
            f"This medium is here already: request {found.request} waits for a second administrator.",
            remedy=f"See `holdfast bundle show {found.request}`; its requester may discard it.",
            request=found.request,
        )


def _facts(verified: VerifiedMedium, medium: int) -> dict[str, Json]:
    """Say what was verified, before anything of it is copied."""
    manifest, volume = verified.manifest, verified.volume
    return {
        "name": manifest.name,
        "version": manifest.version,
        "publisher": manifest.publisher,
        "manifest": verified.digest,
        "collection": manifest.collection,
        "role": verified.role,
        "root_version": verified.root_version,
        "root_fingerprint": verified.fingerprint,
        "holders": list(verified.holders),
        "bytes": verified.size,
        "expires": verified.expires.isoformat(timespec="seconds"),
        "timestamp": hashing.sha512(verified.state.timestamp or b""),
        "floor": write_time(verified.state.floor) if verified.state.floor else None,
        "delta": _bases(verified)[:BASES] if manifest.delta else None,
        "volume": {
            "number": volume.number if volume else 1,
            "count": volume.count if volume else 1,
            "digest": volume_digest(verified),
            "medium": mediafacts.describe(medium),
        },
    }


def _bases(verified: VerifiedMedium) -> list[Json]:
    delta = verified.manifest.delta
    return [*sorted(delta.bases)] if delta else []


def volume_digest(verified: VerifiedMedium) -> str:
    """Name exactly what one volume carries.

    Args:
        verified: The verdict on it.

    Returns:
        SHA-512 over the manifest's digest, the volume's number and the digest of the sorted list of its chunks.
    """
    chunks = hashing.sha512(canonical.encode([*sorted(verified.expected)]))
    number = verified.volume.number if verified.volume else 1
    return hashing.sha512(canonical.encode({"manifest": verified.digest, "volume": number, "chunks": chunks}))


def state_digest(folder: Path) -> str:
    """Name what a home trusts at this moment.

    Args:
        folder: Its trust folder.

    Returns:
        SHA-512 of the trust state's file.
    """
    return hashing.sha512((folder / trusthome.FILE).read_bytes())


def findings_of(error: HoldfastError) -> list[Json]:
    """List what speaks against a medium's contents.

    Args:
        error: What the inspection refused with.

    Returns:
        Each finding with ``file``, ``key`` and ``sentence``; the error itself if it lists none. At most ``MAX_FINDINGS`` of
        ``MAX_FOUND`` bytes together, the last of which says how many were left out.
    """
    sentences, keys, files = (error.fields.get(name) for name in ("findings", "keys", "files"))
    if not isinstance(sentences, list) or not sentences:
        sentences, keys, files = [error.message], [error.key], [str(error.fields.get("file") or "")]
    found: list[Json] = [
        {
            "file": _at(files, number)[:MAX_FILE] or None,
            "key": (_at(keys, number) or error.key)[:MAX_KEY],
            "sentence": _plain(sentence)[:MAX_FINDING],
        }
        for number, sentence in enumerate(sentences)
    ]
    kept = bounded.fitting(found, MAX_FOUND)[:MAX_FINDINGS]
    if len(kept) < len(found):
        left = len(found) - len(kept) + 1
        more: Json = {"file": None, "key": error.key, "sentence": f"{left} more findings are left out."}
        kept = [*kept[:-1], more]
    return kept


def _at(listed: object, number: int) -> str:
    """Give one entry of a list beside the findings."""
    return _plain(listed[number]) if isinstance(listed, list) and number < len(listed) else ""


def _plain(text: object) -> str:
    """Write out what no terminal should be told: a worker repeats what a hostile file holds."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))


async def _inspect(services: Services, job: Job, verified: VerifiedMedium, taken: Taken) -> None:
    """Have every file read by a confined worker before a person is asked to admit it."""
    if not verified.artefacts:  # it only brings revocations
        return
    listed: list[Json] = []
    seen: dict[str, Path] = {}
    for at, found in enumerate(verified.artefacts):
        seen[f"artefact{at}"] = taken.folders[found.digest]
        listed.append({**found.to_json(), "path": f"/in/artefact{at}"})
    await workbench.run_worker(
        services,
        job,
        "inspect",
        {"artefacts": listed, "installed": list(acceptance.present(services))},
        inputs=seen,
        output=None,
        limits=workbench.INSPECTION,
    )
