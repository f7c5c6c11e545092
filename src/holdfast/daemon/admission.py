"""A second person's word on what lies in quarantine: admitted, rejected; or given up by its requester.

Order of operations of an admission: the second administrator's signature over the request is judged; the intent is recorded
with it; every file is hashed again and adopted by the store; the new generation is written and switched to, in one rename;
the outcome is recorded; only then is the trusted metadata raised, the quarantine removed, and what the medium revokes
withdrawn. Invariants: any failure leaves the previous generation active; a request is decided once, one at a time; the
requester decides nothing, under no name that shares their key; an admission that the log holds is brought to its end at the
next start (``quarantine.settle``).
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.audit.event import Subject
from holdfast.daemon import acceptance, exceptions, imports, quarantine, revocations, seconding, workbench
from holdfast.errors import Conflict, NotFound, NotPermitted, UntrustedInput, VerificationFailed
from holdfast.governance import labels, listing
from holdfast.media import importer
from holdfast.store.generations import Generations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.api.messages import AdmitRequest, RejectRequest
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.approvals import Statement
    from holdfast.governance.records import Import

ADMIT, REJECT = "bundle.admit", "bundle.reject"
UNDECIDED = frozenset({"collecting", "waiting", "failed", "cancelled", "interrupted"})


def find(services: Services, request: int) -> Import:
    """Find an import.

    Args:
        services: The daemon's parts.
        request: Its number.

    Returns:
        The import.

    Raises:
        NotFound: If there is none.
    """
    found = services.state.imports.get(request)
    if found is None:
        raise NotFound(
            "bundle.unknown", f"There is no import request {request}.", remedy="See `holdfast bundle list`."
        )
    return found


def expected(services: Services, found: Import, action: str) -> Statement:
    """State what a second person signs to decide a request.

    Args:
        services: The daemon's parts.
        found: The request.
        action: ``ADMIT`` or ``REJECT``.

    Returns:
        The statement, without its expiry.
    """
    return seconding.expected(services, action, found.request, found.manifest or "", found.requester)


def _waiting(services: Services, request: int) -> Import:
    found = find(services, request)
    if found.state != "waiting":
        raise Conflict(
            "bundle.decided",
            f"Request {request} is {found.state}; only a waiting one can be decided.",
            remedy="See `holdfast bundle list`.",
        )
    return found


async def admit(services: Services, session: Session, request: int, asked: AdmitRequest) -> dict[str, Json]:
    """Admit a waiting import with a second person's signature.

    Args:
        services: The daemon's parts.
        session: The second administrator's.
        request: The request.
        asked: Their signed statement, and a reason if they give one.

    Returns:
        The outcome, with the generation now active and what was let in.
    """
    async with services.deciding:
        outcome = await _admit(services, session, request, asked)
    await revocations.settle(services)
    return outcome


async def _admit(services: Services, session: Session, request: int, asked: AdmitRequest) -> dict[str, Json]:
    actor = session.actor(ADMIT)
    found = _waiting(services, request)
    approval = seconding.judge(services, session, expected(services, found, ADMIT), asked)
    _check_expiry(services, found)
    artefacts = found.artefacts
    # Another generation may be active than when it was imported.
    acceptance.check_names(services, str(found.facts["collection"]), artefacts)
    with (
        quarantine.working(services, found.manifest or "", request),
        services.leases.hold(ADMIT, services.state.next_generation(artefacts)),
    ):
        async with services.recorder.act(
            actor,
            ADMIT,
            {"request": request, "requester": found.requester, "approval": approval},
            subject=Subject("manifest", found.manifest or ""),
            label=labels.join_all(one.label for one in artefacts) if artefacts else None,
        ) as act:
            generation = await workbench.in_thread(None, _activate, services, found, artefacts)
            act.outcome = {
                "request": request,
                "requester": found.requester,
                "reason": asked.reason,
                "generation": generation,
                "artefacts": len(artefacts),
                "listing": listing.digest_of(one.digest for one in artefacts),
                "floor": found.facts["floor"],
                "root": {
                    "version": found.facts["root_version"],
                    "fingerprint": found.facts["root_fingerprint"],
                },
            }
    await workbench.in_thread(None, quarantine.settle_admitted, services, found)
    return act.outcome | {"artefacts": [listing.summary(one) for one in artefacts]}


def _check_expiry(services: Services, found: Import) -> None:
    """Refuse what has expired, before it was taken in or while it waited, unless an exception is in force."""
    facts = found.facts
    ended = datetime.fromisoformat(str(facts["expires"])) <= exceptions.moment(services)
    if (ended or facts["expired"]) and facts["timestamp"] not in exceptions.waived(services):
        raise Conflict(
            "bundle.expired",
            f"The metadata of this medium expired at {facts['expires']}, and no exception is in force for it.",
            remedy=f"Ask for one with `holdfast exception ask expired {facts['timestamp']}`, or reject the request.",
            medium=str(facts["timestamp"]),
        )


def _activate(services: Services, found: Import, artefacts: Iterable[Artefact]) -> int:
    if imports.state_digest(services.home.trust) != found.facts["trusted_before"]:
        raise Conflict(
            "bundle.overtaken",
            "What is trusted has moved on since this one was verified: another bundle was admitted, or the time floor set.",
            remedy="Reject this request and import the medium again.",
        )
    if not quarantine.complete(services, found.manifest or ""):  # a removal was begun and cut short
        raise VerificationFailed(
            "bundle.quarantine",
            f"What lies in quarantine for request {found.request} is no longer complete.",
            remedy="Reject this request and import the medium again.",
            request=found.request,
        )
    stage = quarantine.stage(services, found.manifest or "")
    for one in artefacts:
        folder = importer.folder(stage, one.digest)
        if not folder.is_dir():
            services.store.verify(one)  # it was here before
            continue
        quarantine.check(folder, one)
        if services.store.has(one.digest):
            if _is_whole(services, one):  # an earlier attempt to admit it came this far
                continue
            services.store.discard(one)
        services.store.adopt(folder, one)
    generations = Generations(services.store)
    made = generations.create(
        f"{found.facts['name']}@{found.facts['version']}", services.state.next_generation(artefacts)
    )
    generations.activate(made.number)
    return made.number


def _is_whole(services: Services, found: Artefact) -> bool:
    try:
        services.store.verify(found)
    except VerificationFailed:
        return False
    return True


async def reject(services: Services, session: Session, request: int, asked: RejectRequest) -> dict[str, Json]:
    """Refuse a waiting import with a second person's signature; it is removed from quarantine.

    Args:
        services: The daemon's parts.
        session: The second administrator's.
        request: The request.
        asked: Their reason and signed statement.

    Returns:
        The outcome.
    """
    actor = session.actor(REJECT)
    async with services.deciding:
        found = _waiting(services, request)
        approval = seconding.judge(services, session, expected(services, found, REJECT), asked)
        params: dict[str, Json] = {
            "request": request,
            "requester": found.requester,
            "reason": asked.reason,
            "approval": approval,
        }
        manifest = found.manifest or ""
        with quarantine.working(services, manifest, request):
            async with services.recorder.act(
                actor, REJECT, params, subject=Subject("manifest", manifest)
            ) as act:
                await asyncio.to_thread(quarantine.remove, services, manifest)
                act.outcome = {"request": request, "reason": asked.reason}
    return act.outcome


async def discard(services: Services, session: Session, named: str) -> dict[str, Json]:
    """Give up an import that is not complete, or one's own that waits; it is removed from quarantine.

    Args:
        services: The daemon's parts.
        session: An administrator's, or an operator's.
        named: The request's number, or the manifest's digest (or its first digits).

    Returns:
        The outcome.

    Raises:
        NotFound: If nothing of that name lies in quarantine.
        NotPermitted: If it waits to be decided and somebody else asked for it.
        Conflict: If it is being imported, or is decided.
    """
    actor = session.actor("bundle.discard")
    async with services.deciding:
        found = _staged(services, named)
        manifest = found.manifest or ""
        if found.state == "waiting" and found.requester != session.person.name:
            raise NotPermitted(
                "bundle.not-yours",
                f"Request {found.request} of {found.requester} waits to be decided.",
                remedy="Decide it with `holdfast bundle admit` or `holdfast bundle reject`.",
                request=found.request,
            )
        with quarantine.working(services, manifest, found.request):
            params: dict[str, Json] = {"request": found.request, "manifest": manifest}
            async with services.recorder.act(
                actor, "bundle.discard", params, subject=Subject("manifest", manifest)
            ) as act:
                await asyncio.to_thread(quarantine.remove, services, manifest)
                act.outcome = params
    return act.outcome


def _staged(services: Services, named: str) -> Import:
    """Find what lies in quarantine by its request or its manifest."""
    state = services.state
    if named.isascii() and named.isdigit():
        manifest = find(services, int(named)).manifest
    else:
        try:
            manifest = hashing.parse(named)
        except UntrustedInput:
            fitting = [one for one in state.staged if one.removeprefix("sha512:").startswith(named)]
            manifest = fitting[0] if len(fitting) == 1 and len(named) >= 6 else None  # noqa: PLR2004 - as artefacts
    found = state.imports.get(state.staged.get(manifest or "", -1))
    if found is None:
        raise NotFound(
            "bundle.not-staged",
            f"Nothing of {named[:80]!r} lies in quarantine.",
            remedy="See `holdfast bundle list` for what is collecting or waiting.",
        )
    if found.state not in UNDECIDED:
        raise Conflict(
            "bundle.running",
            f"Request {found.request} is {found.state}.",
            remedy=f"Stop it first with `holdfast job cancel {found.request}`.",
            request=found.request,
        )
    return found
