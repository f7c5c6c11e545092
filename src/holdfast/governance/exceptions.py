"""Exceptions: the few rules that two administrators together may lift, for a time, on the record.

Three kinds: ``expired`` lets one medium be imported although its metadata has expired (its subject is the digest of that
medium's timestamp.json), ``revoked`` lets one revoked artefact be used (its digest), ``floor`` sets the time floor (the new
floor). Order of operations: asked, then granted or refused by a second administrator, then over. Invariants: none lasts longer
than ``MAX_DAYS``; one counts only between its grant and its end, and is over for good once the log holds an event of after its
end, or two people set the time floor back, so that no clock that was set back prolongs it; a floor acts once, at its
grant. Pure: the time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.errors import UntrustedInput, UntrustedRequest

if TYPE_CHECKING:
    from holdfast.canonical import Json

SCHEMA = "holdfast.exception/1"
GRANT = "exception.grant"  # the act that a second administrator signs
MAX_DAYS = 30  # of one exception: long enough to get a new medium to a far site, too short to forget the rule
MAX_REASON = 1000  # characters; a page would not be read
CLOCK_SLACK = timedelta(hours=1)  # by which a clock may be corrected backwards without ending an exception
TIME = "%Y-%m-%dT%H:%M:%SZ"


class Kind(StrEnum):
    """Which rule is lifted."""

    EXPIRED = "expired"
    REVOKED = "revoked"
    FLOOR = "floor"


class Standing(StrEnum):
    """Where an exception stands at a moment."""

    OPEN = "open"
    IN_FORCE = "in force"
    ENDED = "ended"
    REFUSED = "refused"
    LAPSED = "lapsed"  # nobody granted it in its time


@dataclass(frozen=True)
class Request:
    """What is asked for: the document whose digest the second administrator signs.

    Args:
        kind: Which rule.
        subject: For what, see the module's description.
        until: When it ends, UTC to the second. A floor must be granted before.
        reason: Why, for the record.
    """

    kind: Kind
    subject: str
    until: datetime
    reason: str

    def to_json(self) -> dict[str, Json]:
        """Give the document as plain data.

        Returns:
            All fields, with the schema.
        """
        return {
            "schema": SCHEMA,
            "kind": self.kind.value,
            "subject": self.subject,
            "until": write_time(self.until),
            "reason": self.reason,
        }

    @property
    def digest(self) -> str:
        """SHA-512 over the document's canonical bytes."""
        return hashing.sha512(canonical.encode(self.to_json()))

    @property
    def floor(self) -> datetime | None:
        """The time floor that is asked for, or None if something else is."""
        return read_time(self.subject, "floor") if self.kind is Kind.FLOOR else None

    def check_box(self, now: datetime) -> None:
        """Refuse what is over already or would last too long.

        Args:
            now: The time of judgement, aware.

        Raises:
            UntrustedRequest: If it ends before, or more than ``MAX_DAYS`` after, that time.
        """
        if not timedelta(0) < self.until - now <= timedelta(days=MAX_DAYS):
            raise UntrustedRequest(
                "exception.until",
                f"The exception would end at {write_time(self.until)}; it is {write_time(now)} here.",
                remedy=f"Choose an end within the next {MAX_DAYS} days.",
            )


@dataclass(frozen=True)
class Exemption:
    """An exception and what became of it.

    Args:
        request: Sequence number of the event that asked for it.
        requester: Who asked.
        asked: What was asked for.
        granted: When it was granted, or None.
        decided_by: Who granted or refused it.
        refusal: Why it was refused, or None.
        over: Whether it ended for good, whatever a clock says.
    """

    request: int
    requester: str
    asked: Request
    granted: datetime | None = None
    decided_by: str | None = None
    refusal: str | None = None
    over: bool = False

    def standing(self, now: datetime, clock: datetime | None = None) -> Standing:
        """Tell where it stands.

        Args:
            now: The time to judge by, aware: never before the time floor.
            clock: What the host's clock says, if that is another time: a clock from before the grant was set back.

        Returns:
            Its standing.
        """
        if self.refusal is not None:
            return Standing.REFUSED
        over = self.over or now >= self.asked.until
        if self.granted is None:
            return Standing.LAPSED if over else Standing.OPEN
        if over or self.asked.kind is Kind.FLOOR or (clock or now) < self.granted - CLOCK_SLACK:
            return Standing.ENDED
        return Standing.IN_FORCE

    def to_json(self, now: datetime, clock: datetime | None = None) -> dict[str, Json]:
        """Describe it for people and programs.

        Args:
            now: The time to judge by, aware.
            clock: What the host's clock says, as for ``standing``.

        Returns:
            The request's fields, who and when, and ``standing``.
        """
        return {
            **{name: value for name, value in self.asked.to_json().items() if name != "schema"},
            "request": self.request,
            "requester": self.requester,
            "standing": self.standing(now, clock).value,
            "granted": None if self.granted is None else write_time(self.granted),
            "decided_by": self.decided_by,
            "refusal": self.refusal,
        }


def parse(value: object) -> Request:
    """Read a request's document.

    Args:
        value: What ``Request.to_json`` gave.

    Returns:
        The request; writing it again gives the same document.

    Raises:
        UntrustedRequest: If a field is missing, unknown or malformed.
    """
    fields = ("schema", "kind", "subject", "until", "reason")
    if (
        not isinstance(value, dict)
        or set(value) != set(fields)
        or not all(isinstance(value[name], str) for name in fields)
        or value["schema"] != SCHEMA
    ):
        raise _bad("its fields are not exactly schema, kind, subject, until and reason, all texts")
    if value["kind"] not in set(Kind):
        raise _bad(f"kind {value['kind'][:40]!r} is unknown")
    kind, subject, reason = Kind(value["kind"]), value["subject"], value["reason"]
    if not 0 < len(reason.strip()) <= MAX_REASON or not reason.isprintable():
        raise _bad(f"its reason is not one line of at most {MAX_REASON} characters")
    if kind is Kind.FLOOR:
        read_time(subject, "floor")
    else:
        try:
            hashing.parse(subject)
        except UntrustedInput as error:
            raise _bad(f"the subject of an exception of kind {kind} is a digest: {error.message}") from error
    return Request(kind, subject, read_time(value["until"], "until"), reason)


def read_time(text: str, what: str) -> datetime:
    """Read a moment.

    Args:
        text: RFC 3339 in UTC, to the second, such as ``2026-03-01T12:00:00Z``.
        what: The field's name, for the message.

    Returns:
        The moment, aware.

    Raises:
        UntrustedRequest: If it is written otherwise.
    """
    try:
        found = datetime.strptime(text, TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise _bad(f"{what} {text[:40]!r} is not a time such as 2026-03-01T12:00:00Z") from error
    if write_time(found) != text:
        raise _bad(f"{what} {text[:40]!r} is not a time such as 2026-03-01T12:00:00Z")
    return found


def write_time(moment: datetime) -> str:
    """Write a moment as documents carry it.

    Args:
        moment: An aware time.

    Returns:
        RFC 3339 in UTC, to the second, with a year of four digits.
    """
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _bad(why: str) -> UntrustedRequest:
    return UntrustedRequest(
        "exception.form", f"The exception is refused: {why}.", remedy="See `holdfast exception ask --help`."
    )
