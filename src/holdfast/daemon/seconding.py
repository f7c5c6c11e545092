"""What a second person's signed statement is worth: the same judgement for every act that takes two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import NotPermitted
from holdfast.governance import approvals
from holdfast.keys import person as keys

if TYPE_CHECKING:
    from holdfast.api.messages import ApprovalRequest
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.approvals import Statement


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
