"""Inventories for a publisher: made from the store, let out by a second administrator, handed out under the appliance's signature.

It is an export: what leaves is named by its digest, carries the join of all labels, and took two people. Order of operations: the
intent is recorded, every file that is listed is hashed again, the statement is kept in the job's folder and its digest
recorded; a second administrator signs that digest; then the statement is signed by the appliance; handing it out is
recorded each time. Invariants: kinds, names, versions, digests and sizes leave, nothing else; what is handed out is what was
signed, byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.artefact import Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, seconding, workbench
from holdfast.daemon.recorder import Cancelled
from holdfast.daemon.seconding import Waiting
from holdfast.errors import Conflict, NotFound, UntrustedRequest, VerificationFailed
from holdfast.governance import inventories, labels
from holdfast.media import request as documents
from holdfast.store import disk, hashfile

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from holdfast.api.messages import ApprovalRequest, InventoryRequest
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.formats.chunking import Chunk
    from holdfast.governance.inventories import Inventory
    from holdfast.governance.labels import Label

STATEMENT = "statement.json"  # in the job's folder: what is to leave, before it is signed
DOCUMENT = "request.json"  # beside it: what leaves
BUILT_UPON = (
    Kind.BASE,
    Kind.TOKENIZER,
    Kind.ADAPTER,
    Kind.MERGED,
    Kind.GGUF,
    Kind.SUITE,
)  # what publishers publish


async def make(services: Services, session: Session, asked: InventoryRequest) -> Job:
    """Make an inventory; it waits for a second administrator.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        asked: The artefacts to list; if none is named, all that bundles brought and are in force.

    Returns:
        The job; its number is the request's.

    Raises:
        UntrustedRequest: If there is nothing to list.
    """
    actor = session.actor("request.make")
    held = [services.state.resolve(name) for name in asked.artefacts] or _brought(services)
    held = list({one.digest: one for one in held}.values())
    if not 0 < len(held) <= documents.MAX_HELD:
        raise UntrustedRequest(
            "request.empty",
            f"An inventory lists 1 to {documents.MAX_HELD} artefacts; this one would list {len(held)}.",
            remedy="Name artefacts with --artefact; `holdfast model list` shows them.",
        )
    for one in held:
        admissible.here(services, one)
    label = labels.join_all(one.label for one in held)
    digests: list[Json] = [hashing.short(one.digest) for one in held[:100]]

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(
            actor, "request.make", {"artefacts": len(held), "listed": digests}, label=label
        ) as act:
            job = services.jobs.open_job(act.seq, "request.make")
            opened.set_result(job)
            with services.leases.hold("request.make", [one.digest for one in held]):
                statement, size = await _state(services, job, held, label)
            act.outcome = {
                "statement": hashing.sha512(statement),
                "artefacts": len(held),
                "bytes": size,
                "label": label.to_json(),
            }
            return {"request": act.seq, **act.outcome}

    return await services.jobs.start("request.make", work)


def _brought(services: Services) -> list[Artefact]:
    """List what came on media, is in force and can be built upon; what was made here is nobody else's business."""
    generation = services.state.generation()
    known = [services.state.artefacts[digest] for digest in (generation.artefacts if generation else ())]
    return [one for one in known if one.kind in BUILT_UPON]


async def _state(services: Services, job: Job, held: list[Artefact], label: Label) -> tuple[bytes, int]:
    """Hash every file and write the statement; gives it and its bytes described."""
    found: list[tuple[Artefact, dict[str, tuple[Chunk, ...]]]] = []
    total, done = sum(one.size for one in held), 0
    for one in held:
        if job.cancelling.is_set():
            raise Cancelled(
                "request.cancelled",
                "The inventory was stopped.",
                remedy="Make it again.",
                by=job.cancelled_by,
            )
        found.append((one, await workbench.in_thread(job, _chunks, services, one)))
        done += one.size
        await job.emit("progress", step="hashing", done=done, total=total)
    stated = documents.make(services.state.site or "", services.now(), label, found)
    data = canonical.encode(stated.to_json())
    await workbench.in_thread(job, disk.create_file, job.folder / STATEMENT, data)
    return data, total


def _chunks(services: Services, found: Artefact) -> dict[str, tuple[Chunk, ...]]:
    folder = services.store.folder(found.digest)
    chunks: dict[str, tuple[Chunk, ...]] = {}
    for file in found.files:
        described = hashfile.describe(folder / file.path, file.path)
        if described.ref != file:
            raise VerificationFailed(
                "store.file-damaged",
                f"{file.path} of {found.kind} {found.name} is not what was recorded; it can't be built upon.",
                remedy="Import the medium that brought it again.",
                file=file.path,
            )
        chunks[file.path] = described.chunks
    return chunks


def listing(services: Services) -> dict[str, Json]:
    """List inventories.

    Args:
        services: The daemon's parts.

    Returns:
        ``requests``, newest first.
    """
    found = sorted(services.state.inventories.values(), key=lambda one: -one.request)
    return {"requests": [one.to_json() for one in found]}


def show(services: Services, request: int) -> dict[str, Json]:
    """Describe one inventory: what is in it, and what a second person would sign.

    Args:
        services: The daemon's parts.
        request: Its number.

    Returns:
        Its facts, ``held`` (kind, name, version and digest of what it lists), and ``approval`` if it is open.
    """
    found = _find(services, request)
    wanted = _waiting(found).statement(services, inventories.GRANT)
    approval = wanted.to_json() if found.state == "open" else None
    held: list[Json] = [
        {"kind": one.kind.value, "name": one.name, "version": one.version, "digest": one.digest}
        for one in _statement(services, found).artefacts
    ]
    return found.to_json() | {"approval": approval, "held": held}


def _find(services: Services, request: int) -> Inventory:
    found = services.state.inventories.get(request)
    if found is None:
        raise NotFound(
            "request.unknown",
            f"There is no inventory {request}.",
            remedy="See `holdfast media request list`.",
        )
    return found


def _open(services: Services, request: int) -> Inventory:
    found = _find(services, request)
    if found.state != "open":
        raise Conflict(
            "request.decided",
            f"Inventory {request} is {found.state}; only an open one can be decided.",
            remedy="See `holdfast media request list`, or make another one.",
        )
    return found


def _waiting(found: Inventory) -> Waiting:
    return Waiting(found.request, found.requester, _subject(found), labels.parse(found.facts["label"]))


def _kept(services: Services, found: Inventory, name: str, digest: str) -> bytes:
    """Read a file of an inventory, which must still be what was recorded."""
    path = services.jobs.folder(found.request) / name
    try:
        with path.open("rb") as file:
            data = file.read(documents.MAX_REQUEST + 1)
    except OSError:
        data = b""
    if hashing.sha512(data) != digest:
        raise VerificationFailed(
            "request.changed",
            f"The file {name} of inventory {found.request} is gone, or not what was recorded.",
            remedy="Make another inventory with `holdfast media request make`.",
        )
    return data


def _statement(services: Services, found: Inventory) -> documents.Request:
    data = _kept(services, found, STATEMENT, str(found.facts["statement"]))
    value = canonical.decode(
        data, limit=documents.MAX_REQUEST, what="The inventory", error=VerificationFailed
    )
    return documents.parse(value)


async def grant(
    services: Services, session: Session, request: int, asked: ApprovalRequest
) -> dict[str, Json]:
    """Let an inventory out with a second person's signature.

    Args:
        services: The daemon's parts.
        session: The second administrator's.
        request: The inventory's number.
        asked: Their signed statement.

    Returns:
        The inventory; ``document`` is the digest of what may be fetched.
    """
    session.actor(inventories.GRANT)  # refuses who may not, before anything is read
    found = _open(services, request)
    stated = await workbench.in_thread(None, _statement, services, found)
    async with seconding.granting(
        services, session, inventories.GRANT, lambda: _waiting(_open(services, request)), asked
    ) as act:
        data = await workbench.in_thread(None, documents.encode, stated, services.appliance)
        place = services.jobs.folder(request) / DOCUMENT
        await workbench.in_thread(None, disk.write_file, place, data)
        act.outcome = {
            "request": request,
            "document": hashing.sha512(data),
            "statement": found.facts["statement"],
            "bytes": len(data),
        }
    return _find(services, request).to_json()


def _subject(found: Inventory) -> Subject:
    return Subject("inventory", str(found.facts["statement"]))


async def refuse(services: Services, session: Session, request: int, reason: str) -> dict[str, Json]:
    """Refuse to let an inventory out, or take one's own back.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        request: The inventory's number.
        reason: Why, for the record.

    Returns:
        The inventory, refused.
    """
    await seconding.refuse(
        services, session, "request.refused", lambda: _waiting(_open(services, request)), reason
    )
    return _find(services, request).to_json()


async def fetch(services: Services, session: Session, request: int) -> Path:
    """Hand an inventory out.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        request: The inventory's number.

    Returns:
        The file that leaves, which is what was recorded.

    Raises:
        NotPermitted: If the person may not.
        Conflict: If no second person let it out.
    """
    actor = session.actor("request.fetched")
    found = _find(services, request)
    if found.document is None:
        raise Conflict(
            "request.not-granted",
            f"Inventory {request} is {found.state}: no second administrator let it out.",
            remedy=f"A second administrator lets it out with `holdfast media request grant {request}`.",
        )
    await workbench.in_thread(None, _kept, services, found, DOCUMENT, found.document)
    await services.recorder.fact(
        actor,
        "request.fetched",
        {"request": request, "document": found.document},
        subject=_subject(found),
        cause=request,
        label=labels.parse(found.facts["label"]),
    )
    return services.jobs.folder(request) / DOCUMENT
