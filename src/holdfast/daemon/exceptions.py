"""Exceptions: asked for by one administrator, granted or refused by another, ended by themselves.

Order of operations of a grant: the second person's signature is judged, the intent recorded, a new time floor written to the
trust folder if that is what was asked for, the outcome recorded; from then on the fold says that it is in force. Invariants:
one decision at a time; the log decides: at every start the floor in the trust folder is set to what the log says.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.audit.event import Subject
from holdfast.daemon import seconding, workbench
from holdfast.daemon.seconding import Waiting
from holdfast.errors import Conflict, NotFound, UntrustedInput, UntrustedRequest
from holdfast.governance import exceptions as rules
from holdfast.governance.exceptions import Kind, Standing
from holdfast.media import trusthome
from holdfast.trust import floor as floors

if TYPE_CHECKING:
    from holdfast.api.messages import ApprovalRequest, ExceptionRequest
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.exceptions import Exemption


def moment(services: Services) -> datetime:
    """Give the time by which exceptions and media are judged: never before what signed evidence or a trusted clock showed.

    Args:
        services: The daemon's parts.

    Returns:
        The latest of the host's clock, the time floor, and the newest time that a trusted clock put into the log.
    """
    return services.state.moment(services.now())


def waived(services: Services) -> frozenset[str]:
    """Tell which media may be imported although their metadata has expired.

    Args:
        services: The daemon's parts.

    Returns:
        Digests of their timestamp.json.
    """
    return services.state.excepted(Kind.EXPIRED, services.now())


async def ask(services: Services, session: Session, asked: ExceptionRequest) -> dict[str, Json]:
    """Ask for an exception.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        asked: Kind, subject, end and reason.

    Returns:
        The exception, open, with its number.

    Raises:
        UntrustedRequest: If the subject fits nothing that can be excepted, or the end is too far.
        Conflict: If the same is asked for already.
    """
    actor = session.actor("exception.asked")
    now = moment(services)
    until = asked.until or rules.write_time(now + timedelta(days=asked.days or 0))
    found = rules.parse(
        {
            "schema": rules.SCHEMA,
            "kind": asked.kind,
            "subject": _subject(services, asked),
            "until": until,
            "reason": asked.reason,
        }
    )
    found.check_box(now)
    if found.floor is not None and not floors.EARLIEST <= found.floor <= floors.LATEST:
        raise UntrustedRequest(
            "exception.floor",
            f"{found.subject} can't be a time floor.",
            remedy=f"Give a time from {floors.EARLIEST:%Y-%m-%d} to {floors.LATEST:%Y-%m-%d}.",
        )
    for one in services.state.exceptions.values():
        same = (one.asked.kind, one.asked.subject) == (found.kind, found.subject)
        if same and one.standing(now) is Standing.OPEN:
            raise Conflict(
                "exception.open",
                f"Request {one.request} of {one.requester} asks for the same.",
                remedy=f"Have it granted with `holdfast exception grant {one.request}`, or refuse it first.",
                request=one.request,
            )
    receipt = await services.recorder.fact(
        actor, "exception.asked", {"exception": found.to_json()}, subject=Subject("exception", found.digest)
    )
    return show(services, receipt.seq)


def _subject(services: Services, asked: ExceptionRequest) -> str:
    if Kind(asked.kind) is not Kind.REVOKED:
        return asked.subject
    state = services.state
    # The name of what is revoked itself comes before the same name of what was made from it.
    named = [one.digest for one in state.revocations.values() if one.name == asked.subject]
    try:
        digest = named[0] if len(named) == 1 else hashing.parse(asked.subject)
    except UntrustedInput:
        digest = state.resolve(asked.subject).digest
    if state.revocation_of(digest) is None:
        raise UntrustedRequest(
            "exception.not-revoked",
            f"{asked.subject[:160]} is not revoked, nor made from anything that is.",
            remedy="See `holdfast model list` for what is.",
        )
    return digest


def listing(services: Services) -> dict[str, Json]:
    """List exceptions.

    Args:
        services: The daemon's parts.

    Returns:
        ``exceptions``, newest first.
    """
    now, clock = moment(services), services.now()
    found = sorted(services.state.exceptions.values(), key=lambda one: -one.request)
    return {"exceptions": [one.to_json(now, clock) for one in found]}


def counts(services: Services) -> dict[str, Json]:
    """Count what needs attention.

    Args:
        services: The daemon's parts.

    Returns:
        ``open`` and ``in_force``.
    """
    now, clock = moment(services), services.now()
    standings = [one.standing(now, clock) for one in services.state.exceptions.values()]
    return {"open": standings.count(Standing.OPEN), "in_force": standings.count(Standing.IN_FORCE)}


def show(services: Services, request: int) -> dict[str, Json]:
    """Describe one exception, with what a second person would sign.

    Args:
        services: The daemon's parts.
        request: Its number.

    Returns:
        Its facts; ``approval`` if it is open.
    """
    found, now = _find(services, request), moment(services)
    is_open = found.standing(now) is Standing.OPEN
    told = found.to_json(now, services.now())
    return told | {
        "approval": _waiting(found).statement(services, rules.GRANT).to_json() if is_open else None
    }


def _find(services: Services, request: int) -> Exemption:
    found = services.state.exceptions.get(request)
    if found is None:
        raise NotFound(
            "exception.unknown",
            f"There is no exception {request}.",
            remedy="See `holdfast exception list`.",
        )
    return found


def _open(services: Services, request: int) -> Exemption:
    found = _find(services, request)
    standing = found.standing(moment(services))
    if standing is not Standing.OPEN:
        raise Conflict(
            "exception.decided",
            f"Exception {request} is {standing}; only an open one can be decided.",
            remedy="See `holdfast exception list`, or ask for another one.",
        )
    return found


def _waiting(found: Exemption) -> Waiting:
    return Waiting(found.request, found.requester, Subject("exception", found.asked.digest))


async def grant(
    services: Services, session: Session, request: int, asked: ApprovalRequest
) -> dict[str, Json]:
    """Grant an exception with a second person's signature.

    Args:
        services: The daemon's parts.
        session: The second administrator's.
        request: The exception's number.
        asked: Their signed statement.

    Returns:
        The exception, in force; a floor's has acted then.
    """
    async with seconding.granting(
        services, session, rules.GRANT, lambda: _waiting(_open(services, request)), asked
    ) as act:
        found = _find(services, request)
        if found.asked.floor is not None:
            agreed = floors.set_by_two(found.asked.floor, {found.requester, session.person.name})
            await workbench.in_thread(None, trusthome.set_floor, services.home.trust, agreed)
        act.outcome = {"request": request, "exception": found.asked.to_json()}
    return show(services, request)


async def refuse(services: Services, session: Session, request: int, reason: str) -> dict[str, Json]:
    """Refuse an exception, or take one's own request back.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        request: The exception's number.
        reason: Why, for the record.

    Returns:
        The exception, refused.
    """
    await seconding.refuse(
        services, session, "exception.refused", lambda: _waiting(_open(services, request)), reason
    )
    return show(services, request)


def settle_floor(services: Services) -> None:
    """Set the time floor in the trust folder to what the log says; called at start.

    Args:
        services: The daemon's parts.
    """
    told = services.state.floor
    if told is not None and trusthome.load(services.home.trust).floor != told:
        trusthome.set_floor(services.home.trust, told)
