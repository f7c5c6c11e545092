"""Sealed payloads at work: asked for, granted by a second person, opened, erased, and shredded by their age.

Order of operations of an unsealing: an auditor names an answer; what the log holds of it is put into the request; a second
person signs that request; the one who asked opens it, once: the act's intent is recorded, the texts are unsealed and compared
with the log's commitments, the outcome is recorded, and only then are they handed out. An erasure and a change of retention
act at the second administrator's signature. Shredding by age: what is due is counted and recorded, then destroyed. Invariants:
texts are held in memory only, and reach nobody but the one who asked; an erasure or a shredding that a crash cut short, or
that an old copy of the keys would undo, is done again at every start; no leaf of the log is ever touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, date
from typing import TYPE_CHECKING

from holdfast.audit import event as events
from holdfast.audit.event import Subject
from holdfast.daemon import seconding, workbench
from holdfast.daemon.recorder import DAEMON
from holdfast.daemon.seconding import Waiting
from holdfast.errors import Conflict, NoSpace, NotFound, NotPermitted, NotRecorded, UntrustedRequest
from holdfast.governance import sealings as rules
from holdfast.governance.sealings import ACTS, GRANTS, Asked, Kind, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.api.messages import ApprovalRequest, EraseRequest, RetentionRequest, UnsealRequest
    from holdfast.audit.event import Actor, Event
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.labels import Label
    from holdfast.governance.sealings import Sealing

_LOG = logging.getLogger(__name__)
WATCH_SECONDS = 3600.0  # between two looks at what is due by its age, which changes once a day
ANSWER = "answer"


async def ask_unseal(services: Services, session: Session, asked: UnsealRequest) -> dict[str, Json]:
    """Ask for the texts of an answer to be opened.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        asked: The answer's sequence number and the reason.

    Returns:
        The request, open.

    Raises:
        UntrustedRequest: If that event is no answer, or nothing was sealed with it.
        NotFound: If nothing of it is left.
    """
    actor = session.actor(ACTS[Kind.UNSEAL])
    intent = services.log.event(asked.answer)
    held = await workbench.in_thread(None, _held, services, intent)
    found = rules.parse(
        {
            "schema": rules.SCHEMA,
            "kind": Kind.UNSEAL.value,
            "reason": asked.reason,
            "subject": intent.params.get("sealed_for"),
            "answer": asked.answer,
            "commitments": {name: _committed(event, name) for name, event in held.items()},
        }
    )
    gone = {name: why for name, event in held.items() if (why := _fate(services, found, name, event))}
    if len(gone) == len(held):
        raise _nothing_left(gone)  # nobody needs to grant what can't be opened
    return await _ask(services, actor, found, intent.label)


def _held(services: Services, intent: Event) -> dict[str, Event]:
    """Find which events of an answer hold commitments: its intent the prompt's, its outcome the answer's."""
    if intent.action != ANSWER or _committed(intent, "prompt") is None:
        raise UntrustedRequest(
            "sealed.no-answer",
            f"Event {intent.seq} ({intent.action}) is no answer whose prompt was sealed.",
            remedy="Name an event `answer`; `holdfast audit log --action answer` lists them.",
        )
    found = {"prompt": intent}
    marked = b'"cause":%d,' % intent.seq
    for stored in services.log.read(intent.seq + 1, services.log.size):
        if marked in stored:
            ended = events.parse(stored)
            if ended.cause == intent.seq and ended.action.startswith(f"{ANSWER}."):
                if _committed(ended, "answer") is not None:
                    found["answer"] = ended
                break
    _require_own(services, found)
    return found


def _require_own(services: Services, held: dict[str, Event]) -> None:
    """Refuse a commitment that an event before holds: a worker that is not true could name another answer's as its own."""
    wanted = {str(_committed(event, name)).encode(): event for name, event in held.items()}
    log = services.log
    for seq, stored in enumerate(log.read(log.first, max(event.seq for event in held.values())), log.first):
        for committed, event in wanted.items():
            if seq < event.seq and committed in stored and _holds(stored, committed):
                raise UntrustedRequest(
                    "sealed.not-own",
                    f"Event {event.seq} names a commitment that event {seq} holds: what it opens was not sealed with it.",
                    remedy=f"Look into who wrote event {event.seq}; ask for event {seq} if that is the answer you mean.",
                    event=seq,
                )


def _holds(stored: bytes, committed: bytes) -> bool:
    """Tell whether an event of an answer holds a commitment; requests to open it repeat it."""
    told = events.parse(stored)
    return told.action.partition(".")[0] == ANSWER and committed.decode() in (
        _committed(told, name) for name in rules.CLASSES
    )


def _committed(event: Event, name: str) -> Json:
    held = event.params.get("commitments")
    return held.get(name) if isinstance(held, dict) else None


async def ask_erase(services: Services, session: Session, asked: EraseRequest) -> dict[str, Json]:
    """Ask for a subject to be erased. The log gets the subject's pseudonym, never its name.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        asked: The tenant, its own id of the subject, and the reason.

    Returns:
        The request, open.
    """
    actor = session.actor(ACTS[Kind.ERASE])
    subject = await workbench.in_thread(None, services.sealed.subject_id, asked.tenant, asked.subject)
    document: dict[str, Json] = {
        "schema": rules.SCHEMA,
        "kind": Kind.ERASE.value,
        "reason": asked.reason,
        "subject": subject,
        "tenant": asked.tenant,
    }
    return await _ask(services, actor, rules.parse(document), None)


async def ask_retention(services: Services, session: Session, asked: RetentionRequest) -> dict[str, Json]:
    """Ask for a class of payloads to be kept for another number of days.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        asked: The class, the days (None: for good) and the reason.

    Returns:
        The request, open.
    """
    actor = session.actor(ACTS[Kind.RETENTION])
    document: dict[str, Json] = {
        "schema": rules.SCHEMA,
        "kind": Kind.RETENTION.value,
        "reason": asked.reason,
        "class": asked.payload_class,
        "days": asked.days,
    }
    return await _ask(services, actor, rules.parse(document), None)


async def _ask(services: Services, actor: Actor, found: Asked, label: Label | None) -> dict[str, Json]:
    receipt = await services.recorder.fact(
        actor,
        "sealed.asked",
        {"request": found.to_json()},
        subject=Subject("sealed", found.digest),
        cause=found.answer,
        label=label,
    )
    return show(services, receipt.seq)


def listing(services: Services) -> dict[str, Json]:
    """List requests, and how long payloads are kept.

    Args:
        services: The daemon's parts.

    Returns:
        ``requests``, newest first; ``retention`` (days by class, None for good); ``shredded`` (by class, the day before
        which all is gone).
    """
    state, now = services.state.sealings, services.state.moment(services.now())
    found = sorted(state.requests.values(), key=lambda one: -one.request)
    shredded: dict[str, Json] = {name: one.before for name, one in state.shredded.items()}
    return {
        "requests": [one.to_json(now) for one in found],
        "retention": {name: state.retention.get(name) for name in rules.CLASSES},
        "shredded": shredded,
    }


def show(services: Services, request: int) -> dict[str, Json]:
    """Describe one request, with what a second person would sign.

    Args:
        services: The daemon's parts.
        request: Its number.

    Returns:
        Its facts; ``approval`` if it is open.
    """
    found, now = _find(services, request), services.state.moment(services.now())
    if found.standing(now) is not Standing.OPEN:
        return found.to_json(now) | {"approval": None}
    wanted = _waiting(services, found).statement(services, GRANTS[found.asked.kind])
    return found.to_json(now) | {"approval": wanted.to_json()}


def _find(services: Services, request: int) -> Sealing:
    found = services.state.sealings.requests.get(request)
    if found is None:
        raise NotFound(
            "sealed.unknown", f"There is no request {request}.", remedy="See `holdfast sealed list`."
        )
    return found


def _stands(services: Services, request: int, wanted: Standing) -> Sealing:
    found = _find(services, request)
    standing = found.standing(services.state.moment(services.now()))
    if standing is not wanted:
        raise Conflict(
            "sealed.standing",
            f"Request {request} is {standing}, not {wanted}.",
            remedy="See `holdfast sealed list`, or ask anew.",
            standing=standing.value,
        )
    return found


def _waiting(services: Services, found: Sealing) -> Waiting:
    label = None
    with contextlib.suppress(NotFound):  # its answer may have gone into an archive
        label = None if found.asked.answer is None else services.log.event(found.asked.answer).label
    return Waiting(found.request, found.requester, Subject("sealed", found.asked.digest), label)


def _open(services: Services, request: int) -> Callable[[], Waiting]:
    return lambda: _waiting(services, _stands(services, request, Standing.OPEN))


async def grant(
    services: Services, session: Session, request: int, asked: ApprovalRequest
) -> dict[str, Json]:
    """Grant a request with a second person's signature; an erasure or a change of retention acts at once.

    Args:
        services: The daemon's parts.
        session: The second person's.
        request: The request's number.
        asked: Their signed statement.

    Returns:
        The request; of an erasure also what it ``erased``: how many ``keys`` and ``payloads``.
    """
    told: dict[str, Json] = {}
    match _find(services, request).asked:
        case Asked(kind=Kind.UNSEAL):
            await seconding.grant(services, session, GRANTS[Kind.UNSEAL], _open(services, request), asked)
        case Asked(kind=Kind.ERASE) as found:
            told["erased"] = await _erase(services, session, request, found, asked)
        case Asked(kind=Kind.RETENTION) as found:
            facts: dict[str, Json] = {"class": found.payload_class, "days": found.days}
            async with seconding.granting(
                services, session, ACTS[Kind.RETENTION], _open(services, request), asked, facts
            ) as act:
                act.outcome = facts
            await retain(services)
    return {**show(services, request), **told}


async def _erase(
    services: Services, session: Session, request: int, found: Asked, asked: ApprovalRequest
) -> dict[str, Json]:
    generation = len(services.state.sealings.erased.get(found.subject, ())) + 1
    facts: dict[str, Json] = {
        "tenant": found.tenant,
        "subject": found.subject,
        "generation": generation,
    }
    async with seconding.granting(
        services, session, ACTS[Kind.ERASE], _open(services, request), asked, facts
    ) as act:
        keys, payloads = await workbench.in_thread(None, services.sealed.erase, found.subject, generation)
        await services.serving.forget(found.tenant)  # what engines keep of its prompts, to answer sooner
        act.outcome = {"keys": keys, "payloads": payloads}
    return {"keys": keys, "payloads": payloads}


async def refuse(services: Services, session: Session, request: int, reason: str) -> dict[str, Json]:
    """Refuse a request, or take one's own back.

    Args:
        services: The daemon's parts.
        session: An auditor's or administrator's.
        request: The request's number.
        reason: Why, for the record.

    Returns:
        The request, refused.
    """
    await seconding.refuse(services, session, "sealed.refused", _open(services, request), reason)
    return show(services, request)


async def open_texts(services: Services, session: Session, request: int) -> dict[str, Json]:
    """Open what was granted, and hand the texts to the one who asked; this uses the grant up.

    Args:
        services: The daemon's parts.
        session: The requester's.
        request: The request's number.

    Returns:
        The request, with ``texts``: for each class its ``event``, ``commitment``, and ``text`` or, where it can't be
        there any more, ``gone``: why.

    Raises:
        NotPermitted: If another person asked.
        Conflict: If it is not granted, was opened before, or its time is over.
        NotFound: If nothing of it is left.
    """
    actor = session.actor(ACTS[Kind.UNSEAL])
    async with services.deciding:
        found = _find(services, request)
        if found.requester != session.person.name:
            raise NotPermitted(
                "sealed.requester",
                f"{found.requester} asked for this, and nobody else is handed the texts.",
                remedy="Ask for it yourself.",
                person=session.person.name,
            )
        _stands(services, request, Standing.GRANTED)
        asked = found.asked
        intent = services.log.event(asked.answer or 0)
        held = await workbench.in_thread(None, _held, services, intent)
        gone = {name: why for name, event in held.items() if (why := _fate(services, asked, name, event))}
        if len(gone) == len(asked.commitments):
            raise _nothing_left(gone)
        params: dict[str, Json] = {
            "request": request,
            "requester": found.requester,
            "answer": asked.answer,
            "commitments": dict(asked.commitments),
        }
        async with services.recorder.act(
            actor,
            ACTS[Kind.UNSEAL],
            params,
            subject=Subject("sealed", asked.digest),
            label=intent.label,
        ) as act:
            texts = await workbench.in_thread(None, _unseal, services, asked, gone)
            told: dict[str, Json] = {**gone}
            act.outcome = {"opened": [*texts], "gone": told}
    rows: list[Json] = [
        {
            "class": name,
            "event": held[name].seq,
            "commitment": committed,
            "text": texts.get(name),
            "gone": gone.get(name),
        }
        for name, committed in asked.commitments.items()
    ]
    return show(services, request) | {"texts": rows}


def _unseal(services: Services, asked: Asked, gone: dict[str, str]) -> dict[str, str]:
    """Unseal what is there; adds to ``gone`` what is not, and refuses if that is all."""
    texts: dict[str, str] = {}
    for name, committed in asked.commitments.items():
        if name in gone:
            continue
        try:
            texts[name] = services.sealed.unseal(asked.subject, name, committed).decode("utf-8", "replace")
        except NotFound as error:
            gone[name] = error.message
    if not texts:
        raise _nothing_left(gone)
    return texts


def _nothing_left(gone: dict[str, str]) -> NotFound:
    return NotFound("sealed.gone", " ".join(dict.fromkeys(gone.values())), remedy="Nothing can be done.")


def _fate(services: Services, asked: Asked, name: str, event: Event) -> str | None:
    return services.state.sealings.fate(asked.subject, name, event.seq, event.time)


def settle(services: Services) -> None:
    """Destroy again what the log says is destroyed; called at start.

    Args:
        services: The daemon's parts.
    """
    state = services.state.sealings
    shredded = {name: date.fromisoformat(one.before) for name, one in state.shredded.items()}
    services.sealed.settle(state.generations(), shredded)


async def retain(services: Services) -> None:
    """Shred what is older than its class is kept.

    Args:
        services: The daemon's parts.
    """
    for name in rules.CLASSES:
        before = services.state.sealings.due(name, services.now().astimezone(UTC))
        if before is None or not await workbench.in_thread(None, services.sealed.due, name, before):
            continue
        count = await workbench.in_thread(None, services.sealed.count, name, before)
        params: dict[str, Json] = {"class": name, "before": before.isoformat(), "count": count}
        await services.recorder.fact(DAEMON, "sealed.shredded", params)
        await workbench.in_thread(None, services.sealed.shred, name, before)


async def watch(services: Services, every: float = WATCH_SECONDS) -> None:
    """Shred again and again what has become due, until cancelled.

    Args:
        services: The daemon's parts.
        every: Seconds between two looks.
    """
    while True:
        await asyncio.sleep(every)
        try:
            await retain(services)
        except (NotRecorded, NoSpace):
            continue  # the log takes nothing: nothing is sealed any more either
        except Exception:  # noqa: BLE001 - a watcher that died would let grow old what is to be shredded
            _LOG.exception("What is older than its retention could not be shredded; it is tried again.")
