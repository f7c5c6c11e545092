"""Receipts of imports: what came in, from which media, who asked and who decided, with proofs from the log.

Order of operations: the intent is recorded, a checkpoint is made, the import's events and their proofs are read from the log,
a confined worker renders PDF and JSON, the appliance signs the folder, the outcome records its digests. What is offered for
download is checked elsewhere by ``report.verify``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast import __version__, canonical
from holdfast.audit import checkpoint as notes
from holdfast.audit.verify import MAX_EVENT
from holdfast.daemon import admission, custody, reports
from holdfast.errors import Conflict, OperationFailed, VerificationFailed
from holdfast.frames import MAX_FRAME
from holdfast.governance import listing
from holdfast.report import receipt, sign

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.records import Import

DECIDED = frozenset({"admitted", "rejected", "failed"})
MAX_FACTS = (
    MAX_FRAME - 64 * 1024
)  # bytes of a receipt's facts; they go to the worker that renders them in one message
FOUNDING = "site.founded"
WHAT = {
    FOUNDING: "The founding of the site, which names its people and their keys",
    "people.listed": "Further people of the site, and their keys",
    "bundle.import": "The request",
    "bundle.verified": "The medium's signatures were verified",
    listing.LISTED: "An artefact on the medium",
    "bundle.import.done": "What was copied; with the last volume, that nothing was found",
    "bundle.import.failed": "What was refused",
    "bundle.admit": "The second person's signed admission",
    "bundle.admit.done": "The new generation",
    "bundle.reject": "The second person's signed rejection",
    "bundle.reject.done": "The removal from quarantine",
}


async def write(services: Services, session: Session, request: int) -> Job:
    """Make the receipt of an import that was decided, or refused by inspection.

    Args:
        services: The daemon's parts.
        session: An administrator's or auditor's.
        request: The import's number; of a split medium the one that completed it.

    Returns:
        The job; its result names the files.

    Raises:
        Conflict: If nothing was decided yet, or the medium's signatures were not verified.
    """
    actor = session.actor("report.receipt")
    found = admission.find(services, request)
    if found.state not in DECIDED or found.manifest is None:
        raise Conflict(
            "receipt.undecided",
            f"Request {request} is {found.state}: there is nothing to give a receipt for.",
            remedy="See `holdfast bundle show`; a receipt is made of what was admitted, rejected or refused by inspection.",
            request=request,
        )

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(actor, "report.receipt", {"request": request}) as act:
            job = services.jobs.open_job(act.seq, "report.receipt")
            opened.set_result(job)
            checkpoint = services.log.checkpoint()
            head = notes.parse(checkpoint)
            gathered = await asyncio.to_thread(_gather, services, found, head.size, head.root.hex())
            digests = await reports.publish(services, job, sign.RECEIPT, gathered, checkpoint)
            act.outcome = {"request": request, "files": digests}
            return {"request": request, "files": list(digests), "digests": digests}

    return await services.jobs.start("report.receipt", work)


def _events(services: Services, found: Import) -> list[int]:
    """Number the events of an import: its founding, every volume's, one of each artefact, the decision's."""
    numbers = set(found.events)
    for one in services.state.imports.values():
        if one.facts.get("completed_by") == found.request:
            numbers |= set(one.events)
    people = {services.state.enrolled.get(name, 0) for name in (found.requester, found.decided_by or "")}
    return sorted({0, *people, *numbers})  # the founding is the first event of every log


def _gather(services: Services, found: Import, size: int, root: str) -> dict[str, Json]:
    log = services.log
    stored = custody.staying(services)
    proofs: list[dict[str, Json]] = []
    events: list[dict[str, Json]] = []
    checkpoints: dict[str, int] = {}
    for seq in _events(services, found):
        data = stored.get(seq)
        value = canonical.decode(data, limit=MAX_EVENT, what=f"Event {seq}", error=VerificationFailed)
        if isinstance(value, dict):
            events.append(value)
            path, note = _divided(log.prove(seq, data).decode())
            proofs.append(
                {
                    "what": WHAT.get(str(value.get("action")), str(value.get("action"))),
                    "seq": seq,
                    "event": data.decode(),
                    "proof": path,
                    "checkpoint": checkpoints.setdefault(note, len(checkpoints)),
                }
            )
    facts = receipt.gather(
        proofs,
        [*checkpoints],
        events,
        now=services.now().isoformat(timespec="seconds"),
        version=__version__,
        log={"origin": log.origin, "size": size, "root": root},
    )
    length = len(canonical.encode(facts))
    if length > MAX_FACTS:
        raise OperationFailed(
            "receipt.too-large",
            f"The receipt would have {length} bytes, for {len(proofs)} events; {MAX_FACTS} are allowed.",
            remedy="Have the events proven one by one with `holdfast audit prove`.",
            request=found.request,
        )
    return facts


def _divided(proof: str) -> tuple[str, str]:
    """Cut a proof where its checkpoint begins, and leave the event out, which stands beside it; both are proven as before."""
    head, blank, note = proof.partition("\n\n")
    return "\n".join(line for line in head.split("\n") if not line.startswith("extra ")) + blank, note
