"""The store's upkeep: removing what nothing needs, and hashing again what is here.

Order of operations of a collection: what may go is found from the state fold and from what runs; the intent names all of it,
and from then on the fold counts it as gone, so that nothing can begin to use it; what began to use it in that moment is
spared; generations, artefacts and files are removed; the outcome says what was freed. A removal that was cut short is
finished at the next start. Needed is: what a kept generation, a release (a gate's go), a request in quarantine, a running
server, job or import holds, whatever was made here, and everything that any of these was made from. Order of operations
of a scrub: every artefact is hashed; each that is not what was recorded is put on the record as damaged, and is not used
until its medium was imported again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.audit.event import Subject
from holdfast.daemon import bounded, workbench
from holdfast.daemon.recorder import DAEMON, Cancelled
from holdfast.errors import NotFound, OperationFailed
from holdfast.store import scrub as scrubbing
from holdfast.store.generations import Generations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.api.messages import CollectRequest
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.records import Import
    from holdfast.governance.state import State
    from holdfast.store.scrub import Damage

MAX_COLLECTED = 300  # artefacts of one collection; their digests must fit one event of the log
MAX_GENERATIONS = 1000  # of one collection, for the same reason
MAX_FAULTS = 40  # faults of one artefact that are told
MAX_TOLD = 40_000  # bytes of them, which must fit one event
MAX_UNNAMED = (
    10_000  # bytes of what a scrub says of things that no artefact has; it stands beside the damaged ones
)
OPEN = frozenset({"running", "collecting", "waiting", "failed", "cancelled", "interrupted"})


def needed(state: State, kept: Iterable[int]) -> set[str]:
    """Find every artefact that something on the record needs.

    Args:
        state: The fold.
        kept: Numbers of the generations that are kept.

    Returns:
        Digests, with those of everything that they were made from.
    """
    numbers = set(kept)
    roots = {digest for one in state.generations if one.number in numbers for digest in one.artefacts}
    roots |= state.made
    roots |= {
        str(gate[kind])
        for gate in state.gates.values()
        for kind in ("adapter", "model")
        if gate.get("go") and kind in gate
    }
    for found in state.imports.values():
        if found.state in OPEN and found.manifest in state.staged:
            roots |= _wanted(found)
    return {one.digest for root in roots for one in state.lineage(root)} | roots


def _wanted(found: Import) -> set[str]:
    """Name what a request in quarantine relies on: what it did not copy because it was here, and a delta's bases."""
    bases = found.facts.get("delta")
    digests = {digest for one in found.artefacts for digest in (one.digest, *one.parents)}
    return digests | {str(base) for base in (bases if isinstance(bases, list) else [])}


def used(services: Services) -> set[str]:
    """Find every artefact that something running holds.

    Args:
        services: The daemon's parts.

    Returns:
        Digests.
    """
    found = set(services.leases.held)
    for job in services.jobs.running:
        found |= job.uses
    return found | services.serving.held


def _plan(services: Services, keep: int) -> tuple[list[int], list[str]]:
    """Name the generations and artefacts that may go."""
    state = services.state
    numbers = sorted((one.number for one in state.generations if one.kept), reverse=True)
    kept = {*numbers[:keep], state.active}
    wanted = needed(state, kept) | used(services)
    here = set(services.store.artefacts())
    free = [digest for digest in state.artefacts if digest in here and digest not in wanted]
    return sorted(set(numbers) - kept)[:MAX_GENERATIONS], free[:MAX_COLLECTED]


async def collect(services: Services, session: Session, asked: CollectRequest) -> dict[str, Json]:
    """Remove old generations, and the artefacts that nothing needs any more.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        asked: How many generations to keep, and whether only to say what would go.

    Returns:
        ``generations`` and ``artefacts`` (each with kind, name, version, digest, size and medium) that went or would go,
        ``kept`` generations, ``freed`` bytes, ``dry_run``.
    """
    actor = session.actor("store.gc")
    async with services.deciding:
        generations, artefacts = _plan(services, asked.keep)
        told = _told(services, generations, artefacts)
        if asked.dry_run or not (generations or artefacts):
            return {**told, "freed": 0, "dry_run": asked.dry_run}
        with services.leases.removing(artefacts) as free:
            gone = [digest for digest in artefacts if digest in free]
            params: dict[str, Json] = {
                "keep": asked.keep,
                "generations": list(generations),
                "artefacts": list(gone),
            }
            async with services.recorder.act(actor, "store.gc", params) as act:
                spared = used(services) & free  # begun between the plan and its record
                act.outcome = {"spared": [*sorted(spared)]}
                freed = await workbench.in_thread(
                    None, _remove, services, generations, [one for one in gone if one not in spared]
                )
                act.outcome = {"spared": [*sorted(spared)], "freed": freed}
    return {
        **_told(services, generations, [one for one in gone if one not in spared]),
        "freed": freed,
        "dry_run": False,
    }


def _told(services: Services, generations: list[int], artefacts: list[str]) -> dict[str, Json]:
    state = services.state
    rows: list[Json] = [
        {
            "kind": found.kind.value,
            "name": found.name,
            "version": found.version,
            "digest": found.digest,
            "size": found.size,
            "medium": state.brought_by(found.digest),
        }
        for found in (state.artefacts[digest] for digest in artefacts)
    ]
    kept: list[Json] = [one.number for one in state.generations if one.kept and one.number not in generations]
    return {"generations": [*generations], "artefacts": rows, "kept": kept}


def _remove(services: Services, generations: Iterable[int], artefacts: Iterable[str]) -> int:
    """Remove from disk, in an order that leaves no generation naming what is gone; gives the bytes freed."""
    listed = Generations(services.store)
    for number in generations:
        try:
            listed.remove(number)
        except NotFound:
            continue  # a removal that was cut short had come this far
    for digest in artefacts:
        services.store.remove(digest)
    return services.store.release()


def settle(services: Services) -> None:
    """Finish a removal that was cut short, and forget generations that no admission put on the record; called at start.

    Args:
        services: The daemon's parts.
    """
    left = set(services.store.artefacts()) & services.state.collected.keys()
    try:
        listed = {one.number for one in Generations(services.store).list()}
    except OperationFailed:
        return  # a generation's file is damaged: whoever goes to it is told, and nothing is removed by guessing
    gone = listed - {one.number for one in services.state.generations if one.kept}
    if left or gone:
        _remove(services, sorted(gone), sorted(left))


async def scrub(services: Services, session: Session) -> Job:
    """Hash everything in the store again.

    Args:
        services: The daemon's parts.
        session: An administrator's.

    Returns:
        The job; its result holds ``checked`` (artefacts), ``bytes`` and ``damaged`` (a row for each artefact).
    """
    actor = session.actor("store.scrub")

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(actor, "store.scrub", {}) as act:
            job = services.jobs.open_job(act.seq, "store.scrub")
            opened.set_result(job)
            rows, figures = await _scrub(services, job)
            gone: list[Json] = [row["artefact"] for row in rows]
            act.outcome = {**figures, "damaged": gone[:MAX_COLLECTED]}
            return {**figures, "damaged": [*rows]}

    return await services.jobs.start("store.scrub", work)


async def _scrub(services: Services, job: Job) -> tuple[list[dict[str, Json]], dict[str, Json]]:
    """Hash, and record what is damaged; gives a row for each damaged artefact, and the figures."""
    loop = asyncio.get_running_loop()
    last = [-1]

    def progress(step: str, done: int, total: int) -> None:
        share = done * 100 // total if total else 0
        if last[0] != share:
            last[0] = share
            asyncio.run_coroutine_threadsafe(job.emit("progress", step=step, done=done, total=total), loop)

    state = services.state
    here = [one for digest, one in state.artefacts.items() if digest not in state.collected]
    job.uses = frozenset(one.digest for one in here)
    try:
        found = await workbench.in_thread(
            job, scrubbing.scrub, services.store, here, progress, job.cancelling.is_set
        )
    except OperationFailed as error:
        if not job.cancelling.is_set():
            raise
        raise Cancelled(error.key, error.message, remedy=error.remedy, by=job.cancelled_by) from error
    rows: list[dict[str, Json]] = []
    for digest in sorted({one.artefact for one in found if one.harms}):
        harm = [one for one in found if one.artefact == digest and one.harms]
        record = state.artefacts[digest]
        row: dict[str, Json] = {
            "artefact": digest,
            "kind": record.kind.value,
            "name": record.name,
            "version": record.version,
            "medium": state.brought_by(digest),
            "faults": bounded.fitting(map(_told_of, harm[:MAX_FAULTS]), MAX_TOLD),
            "count": len(harm),
        }
        rows.append(row)
        if digest not in state.damaged:
            await services.recorder.fact(
                DAEMON,
                "store.damaged",
                row,
                subject=Subject(record.kind.value, digest),
                cause=job.number,
                label=record.label,
            )
    unnamed: list[Json] = [one.message for one in found if not one.harms]
    return rows, {
        "checked": len(here),
        "bytes": sum(one.size for one in here),
        "unnamed": bounded.fitting(unnamed, MAX_UNNAMED),
    }


def _told_of(one: Damage) -> dict[str, Json]:
    return {"file": one.path or None, "message": one.message, "recorded": one.recorded, "found": one.found}
