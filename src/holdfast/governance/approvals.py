"""Two-person acts: what a second person signs, and when that counts.

An approval is a signature over one canonical statement {site, request, action, digest, requester, expires}. Invariants: it
fits exactly one request at one site; the approver is not the requester, holds other keys and has the role; it expires; a request is decided
once (the state fold keeps which are open). Pure: the clock is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import NotPermitted, UntrustedRequest
from holdfast.governance import people

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.governance.people import Person

DOMAIN = "holdfast.approval/1"
MAX_VALIDITY = timedelta(days=7)  # longer, and the approver no longer remembers what they looked at


@dataclass(frozen=True)
class Statement:
    """What is approved.

    Args:
        site: The site's name.
        request: Sequence number of the request's event.
        action: The act that is approved, for example ``bundle.admit``.
        digest: What it is about.
        requester: Who asked for it.
        expires: RFC 3339 time after which the signature no longer counts.
    """

    site: str
    request: int
    action: str
    digest: str
    requester: str
    expires: str

    def to_json(self) -> dict[str, Json]:
        """Give the statement as plain data.

        Returns:
            All fields, with the schema.
        """
        return {
            "schema": DOMAIN,
            "site": self.site,
            "request": self.request,
            "action": self.action,
            "digest": self.digest,
            "requester": self.requester,
            "expires": self.expires,
        }

    def payload(self) -> bytes:
        """Give the bytes that are signed.

        Returns:
            RFC 8785 bytes of the statement.
        """
        return canonical.encode(self.to_json())


def parse(value: object) -> Statement:
    """Read a statement from an untrusted request.

    Args:
        value: What ``Statement.to_json`` gave.

    Returns:
        The statement.

    Raises:
        UntrustedRequest: If a field is missing, unknown or of the wrong type.
    """
    shape = {"site": str, "request": int, "action": str, "digest": str, "requester": str, "expires": str}
    if (
        not isinstance(value, dict)
        or set(value) != {"schema", *shape}
        or value["schema"] != DOMAIN
        or any(type(value[name]) is not kind for name, kind in shape.items())
    ):
        raise UntrustedRequest(
            "approval.form",
            "The approval is not a statement of this version.",
            remedy="Approve with the client of this software version.",
        )
    return Statement(**{name: value[name] for name in shape})


def judge(
    statement: Statement,
    expected: Statement,
    approver: Person,
    now: datetime,
    *,
    requester: Person | None = None,
) -> None:
    """Decide whether a correctly signed statement approves a request.

    The signature itself is checked by ``keys.person.verify`` before.

    Args:
        statement: What was signed.
        expected: What the open request calls for; its ``expires`` is ignored.
        approver: Who signed.
        now: The time of judgement, aware.
        requester: Who asked, as the site knows them: two names with one key are one person.

    Raises:
        NotPermitted: If it fits another request, has expired, runs too long, or the approver may not.
    """

    def refuse(key: str, why: str, remedy: str) -> NotPermitted:
        return NotPermitted(f"approval.{key}", why, remedy=remedy, request=expected.request)

    for name in ("site", "request", "action", "digest", "requester"):
        if getattr(statement, name) != getattr(expected, name):
            raise refuse(
                "other-request",
                f"The approval names {name} {getattr(statement, name)!r}, the request {getattr(expected, name)!r}.",
                "Look at the request again and sign what it says now.",
            )
    if approver.name == statement.requester:
        raise refuse(
            "own-request", f"{approver.name} asked for this and can't approve it.", "Ask a second person."
        )
    if requester is not None and people.share_key(approver, requester):
        raise refuse(
            "same-key",
            f"{approver.name} and {requester.name} hold the same key: one person can't be both.",
            "Ask a person with a key of their own.",
        )
    approver.role_for(statement.action)
    try:
        expires = datetime.fromisoformat(statement.expires)
        remaining = expires - now
    except (TypeError, ValueError) as error:
        raise refuse("expiry", "The approval's expiry is not an RFC 3339 time.", "Sign it again.") from error
    if remaining <= timedelta(0):
        raise refuse("expired", f"The approval expired at {statement.expires}.", "Sign it again.")
    if remaining > MAX_VALIDITY:
        raise refuse(
            "too-long", f"The approval would last until {statement.expires}.", "Sign for at most 7 days."
        )
