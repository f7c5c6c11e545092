"""What a second person decides: the same judgement, and the same order of steps, for every act that takes two.

Order of operations of a grant: one decision at a time; the request is looked up and must still be open; the second person's
signature is judged; what they grant is recorded with it. A refusal takes no signature, for it lets nothing happen.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import NotPermitted
from holdfast.governance import approvals
from holdfast.keys import person as keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from holdfast.api.messages import ApprovalRequest
    from holdfast.audit.event import Subject
    from holdfast.canonical import Json
    from holdfast.daemon.recorder import Act
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.approvals import Statement
    from holdfast.governance.labels import Label


@dataclass(frozen=True)
class Waiting:
    """An open request, as the second person finds it.

    Args:
        request: Its number.
        requester: Who asked.
        subject: What it is about; its digest is what is signed.
        label: The label of what it is about, if it has one.
    """

    request: int
    requester: str
    subject: Subject
    label: Label | None = None

    def statement(self, services: Services, action: str) -> Statement:
        """State what the second person has to sign.

        Args:
            services: The daemon's parts.
            action: The act that is approved.

        Returns:
            The statement, its expiry empty: that is their choice.
        """
        return expected(services, action, self.request, self.subject.digest, self.requester)


def expected(services: Services, action: str, request: int, digest: str, requester: str) -> Statement:
    """State what an open request calls for.

    Args:
        services: The daemon's parts.
        action: The act that is approved.
        request: Sequence number of the request's event.
        digest: What it is about.
        requester: Who asked.

    Returns:
        The statement, its expiry empty: that is the second person's choice.
    """
    return approvals.Statement(
        site=services.state.site or "",
        request=request,
        action=action,
        digest=digest,
        requester=requester,
        expires="",
    )


def judge(services: Services, session: Session, wanted: Statement, asked: ApprovalRequest) -> dict[str, Json]:
    """Decide whether a second person approved a request.

    Args:
        services: The daemon's parts.
        session: Theirs.
        wanted: What the request calls for.
        asked: What they signed.

    Returns:
        Statement and signatures, as the act's intent records them.

    Raises:
        NotPermitted: If the signature is not theirs, or the statement does not approve this request now.
        UntrustedRequest: If the statement is malformed.
    """
    statement = approvals.parse(asked.statement)
    signatures: list[Json] = [dict(one) for one in asked.signatures]
    keys.verify(
        keys.public_from_json(session.person.key),
        approvals.DOMAIN,
        statement.payload(),
        signatures,
        error=NotPermitted,
    )
    approvals.judge(
        statement,
        wanted,
        session.person,
        services.now(),
        requester=services.state.people.get(wanted.requester),
    )
    return {"statement": statement.to_json(), "signatures": signatures}


@asynccontextmanager
async def granting(  # noqa: PLR0917 - who grants what to whom
    services: Services,
    session: Session,
    action: str,
    find: Callable[[], Waiting],
    asked: ApprovalRequest,
    facts: dict[str, Json] | None = None,
) -> AsyncIterator[Act]:
    """Let an act run that a second person grants.

    Args:
        services: The daemon's parts.
        session: The second person's.
        action: The act.
        find: Gives the request, or raises if it is not open; called once nobody else decides.
        asked: What they signed.
        facts: What else the act's intent says.

    Yields:
        The act, its intent recorded with the approval.
    """
    actor = session.actor(action)
    async with services.deciding:
        found = find()
        approval = judge(services, session, found.statement(services, action), asked)
        params: dict[str, Json] = {
            "request": found.request,
            "requester": found.requester,
            "approval": approval,
            **(facts or {}),
        }
        async with services.recorder.act(
            actor, action, params, subject=found.subject, label=found.label
        ) as act:
            yield act


async def grant(
    services: Services, session: Session, action: str, find: Callable[[], Waiting], asked: ApprovalRequest
) -> None:
    """Record a grant that is used later.

    Args:
        services: The daemon's parts.
        session: The second person's.
        action: The fact that records it, which is also what they sign.
        find: Gives the request, or raises if it is not open.
        asked: What they signed.
    """
    actor = session.actor(action)
    async with services.deciding:
        found = find()
        approval = judge(services, session, found.statement(services, action), asked)
        await services.recorder.fact(
            actor,
            action,
            {"request": found.request, "requester": found.requester, "approval": approval},
            subject=found.subject,
            cause=found.request,
            label=found.label,
        )


async def refuse(
    services: Services, session: Session, action: str, find: Callable[[], Waiting], reason: str
) -> None:
    """Refuse a request, or take one's own back.

    Args:
        services: The daemon's parts.
        session: Of somebody who may refuse.
        action: The fact that records it.
        find: Gives the request, or raises if it is not open.
        reason: Why, for the record.
    """
    actor = session.actor(action)
    async with services.deciding:
        found = find()
        await services.recorder.fact(
            actor,
            action,
            {"request": found.request, "reason": reason},
            subject=found.subject,
            cause=found.request,
            label=found.label,
        )
