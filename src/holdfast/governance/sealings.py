"""Sealed payloads under two persons: opening an answer, erasing a subject, changing how long payloads are kept.

Order of operations: asked for by one person, then granted or refused by another, whose signature names the digest of the very
document that was asked. A grant to open is used by the one who asked, once, before it expires; the other two act at their
grant. Invariants: each request is decided once and used once; what acts is counted from its intent on, so that what a crash
cut short is finished and never asked again; an erased subject goes on under the next generation of its key; erasures and
shredded days only grow. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.errors import UntrustedInput, UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.audit.event import Event
    from holdfast.canonical import Json

SCHEMA = "holdfast.sealing/1"
CLASSES = ("prompt", "answer")  # of payloads, in the order in which a person reads them
MAX_REASON = 1000  # characters; a page would not be read
MAX_NAME = 256  # characters of a tenant's name
MAX_DAYS = 36_500  # that payloads are kept: a century, beyond which nothing was decided
# A payload is sealed at most this long before its event is stamped; nobody shreds an event's payload before its time.
STAMP_SLACK = timedelta(hours=1)
_SUBJECT = re.compile(r"[0-9a-f]{64}")


class Kind(StrEnum):
    """What is asked for."""

    UNSEAL = "unseal"
    ERASE = "erase"
    RETENTION = "retention"


ACTS = {Kind.UNSEAL: "sealed.unseal", Kind.ERASE: "sealed.erase", Kind.RETENTION: "sealed.retention"}
"""The act that each leads to; who may do it may ask for it."""

GRANTS = {**ACTS, Kind.UNSEAL: "sealed.granted"}
"""The act that the second person signs. Granting an unsealing is one of its own: who grants it need not be one who may read."""


class Standing(StrEnum):
    """Where a request stands at a moment."""

    OPEN = "open"
    GRANTED = "granted"  # and not opened yet
    DONE = "done"
    REFUSED = "refused"
    LAPSED = "lapsed"  # granted, and not opened in its time


@dataclass(frozen=True)
class Asked:
    """What is asked for: the document whose digest the second person signs.

    Args:
        kind: What shall happen.
        reason: Why, for the record.
        subject: Pseudonym of whose payloads they are; empty for a change of retention.
        answer: Sequence number of the answer to open; None for the others.
        commitments: What the log holds of its payloads, by class; empty for the others.
        tenant: The subject's tenant, for an erasure; else empty.
        payload_class: The class whose retention is changed; else empty.
        days: How many days it shall be kept; None for good, and for the others.
    """

    kind: Kind
    reason: str
    subject: str = ""
    answer: int | None = None
    commitments: dict[str, str] = field(default_factory=dict)
    tenant: str = ""
    payload_class: str = ""
    days: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Give the document as plain data.

        Returns:
            The fields of its kind, with the schema.
        """
        head: dict[str, Json] = {"schema": SCHEMA, "kind": self.kind.value, "reason": self.reason}
        match self.kind:
            case Kind.UNSEAL:
                held: dict[str, Json] = dict(self.commitments)
                return {**head, "subject": self.subject, "answer": self.answer, "commitments": held}
            case Kind.ERASE:
                return {**head, "subject": self.subject, "tenant": self.tenant}
            case Kind.RETENTION:
                return {**head, "class": self.payload_class, "days": self.days}

    @property
    def digest(self) -> str:
        """SHA-512 over the document's canonical bytes."""
        return hashing.sha512(canonical.encode(self.to_json()))


def parse(value: object) -> Asked:
    """Read a request's document.

    Args:
        value: What ``Asked.to_json`` gave.

    Returns:
        The request; writing it again gives the same document.

    Raises:
        UntrustedRequest: If a field is missing, unknown or malformed.
    """
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or value.get("kind") not in list(Kind):
        raise _bad("it is of no known kind")
    kind, reason = Kind(value["kind"]), value.get("reason")
    if (
        not isinstance(reason, str)
        or not 0 < len(reason.strip()) <= MAX_REASON
        or len(reason) > MAX_REASON
        or not reason.isprintable()
    ):
        raise _bad(f"its reason is not one line of at most {MAX_REASON} characters")
    match kind:
        case Kind.UNSEAL:
            asked = Asked(
                kind,
                reason,
                subject=_subject(value.get("subject")),
                answer=_count(value.get("answer"), "answer", 0, canonical.MAX_SAFE_INTEGER),
                commitments=_commitments(value.get("commitments")),
            )
        case Kind.ERASE:
            asked = Asked(
                kind, reason, subject=_subject(value.get("subject")), tenant=_name(value.get("tenant"))
            )
        case Kind.RETENTION:
            days = value.get("days")
            asked = Asked(
                kind,
                reason,
                payload_class=payload_class(value.get("class")),
                days=None if days is None else _count(days, "days", 1, MAX_DAYS),
            )
    if asked.to_json() != value:
        raise _bad(f"it has other fields than a request of kind {kind}")
    return asked


@dataclass(frozen=True)
class Sealing:
    """A request and what became of it.

    Args:
        request: Sequence number of the event that asked.
        requester: Who asked.
        asked: What was asked for.
        time: When, RFC 3339.
        decided_by: Who granted or refused it.
        expires: Until when a grant to open may be used.
        refusal: Why it was refused, or None.
        used: Sequence number of the act's intent, or None.
    """

    request: int
    requester: str
    asked: Asked
    time: str
    decided_by: str | None = None
    expires: datetime | None = None
    refusal: str | None = None
    used: int | None = None

    def standing(self, now: datetime) -> Standing:
        """Tell where it stands.

        Args:
            now: The time to judge by, aware.

        Returns:
            Its standing.
        """
        if self.refusal is not None:
            return Standing.REFUSED
        if self.used is not None:
            return Standing.DONE
        if self.expires is None:
            return Standing.OPEN
        return Standing.GRANTED if now < self.expires else Standing.LAPSED

    def to_json(self, now: datetime) -> dict[str, Json]:
        """Describe it for people and programs.

        Args:
            now: The time to judge by, aware.

        Returns:
            The document's fields, who and when, and ``standing``.
        """
        return {
            **{name: value for name, value in self.asked.to_json().items() if name != "schema"},
            "request": self.request,
            "requester": self.requester,
            "time": self.time,
            "standing": self.standing(now).value,
            "decided_by": self.decided_by,
            "expires": None if self.expires is None else self.expires.isoformat(),
            "refusal": self.refusal,
            "event": self.used,
        }


@dataclass(frozen=True)
class Erasure:
    """A subject's erasure.

    Args:
        event: Sequence number of the act's intent.
        time: When, RFC 3339.
    """

    event: int
    time: str


@dataclass(frozen=True)
class Shredding:
    """The last time that payloads of a class were shredded by age.

    Args:
        event: Sequence number of the event.
        time: When, RFC 3339.
        before: Every payload from before this day, UTC, is gone: ``2026-03-01``.
    """

    event: int
    time: str
    before: str


class Sealings:
    """The fold's part for sealed payloads. Read its attributes; change it only through ``apply``."""

    def __init__(self) -> None:
        self.requests: dict[int, Sealing] = {}
        self.erased: dict[
            str, tuple[Erasure, ...]
        ] = {}  # by subject: as many as its key has generations behind it
        self.retention: dict[str, int] = {}  # days by class; a class that is not here is kept for good
        self.shredded: dict[str, Shredding] = {}  # by class

    def apply(self, event: Event) -> None:
        """Fold one event in; an event of another room changes nothing.

        Args:
            event: The next event of the log.
        """
        if not event.action.startswith("sealed."):
            return
        folds: dict[str, Callable[[Event], None]] = {
            "sealed.asked": self._asked,
            "sealed.granted": self._granted,
            "sealed.refused": self._refused,
            "sealed.unseal": self._used,
            "sealed.erase": self._erase,
            "sealed.retention": self._retain,
            "sealed.shredded": self._shred,
        }
        fold = folds.get(event.action)
        if fold is not None:
            fold(event)

    def _asked(self, event: Event) -> None:
        asked = parse(event.params.get("request"))
        self.requests[event.seq] = Sealing(event.seq, event.actor.person, asked, event.time)

    def _granted(self, event: Event) -> None:
        approval = event.params.get("approval")
        statement = approval.get("statement") if isinstance(approval, dict) else None
        expires = statement.get("expires") if isinstance(statement, dict) else None
        if isinstance(expires, str):
            self._decide(event, expires=datetime.fromisoformat(expires))

    def _refused(self, event: Event) -> None:
        self._decide(event, refusal=str(event.params.get("reason")))

    def _used(self, event: Event) -> None:
        found = self._named(event)
        if found is not None and found.used is None:
            self.requests[found.request] = replace(found, used=event.seq)

    def _erase(self, event: Event) -> None:
        self._decide(event, used=event.seq)
        subject = str(event.params.get("subject"))
        self.erased[subject] = (*self.erased.get(subject, ()), Erasure(event.seq, event.time))

    def _retain(self, event: Event) -> None:
        self._decide(event, used=event.seq)
        name, days = str(event.params.get("class")), event.params.get("days")
        self.retention.pop(name, None)
        if isinstance(days, int):
            self.retention[name] = days

    def _shred(self, event: Event) -> None:
        name, before = str(event.params.get("class")), str(event.params.get("before"))
        known = self.shredded.get(name)
        if known is None or known.before < before:
            self.shredded[name] = Shredding(event.seq, event.time, before)

    def _named(self, event: Event) -> Sealing | None:
        request = event.params.get("request")
        return self.requests.get(request) if isinstance(request, int) else None

    def _decide(self, event: Event, **changes: object) -> None:
        found = self._named(event)
        if found is not None and found.decided_by is None:
            decided = replace(found, decided_by=event.actor.person, **changes)  # type: ignore[arg-type]  # names are literal above
            self.requests[found.request] = decided

    def generations(self) -> dict[str, int]:
        """Tell which keys of erased subjects count.

        Returns:
            By subject, the first generation that is kept.
        """
        return {subject: len(erasures) for subject, erasures in self.erased.items()}

    def due(self, name: str, now: datetime) -> date | None:
        """Tell what of a class is to be shredded now.

        Args:
            name: The class.
            now: The time, aware, UTC.

        Returns:
            The first day that is kept; None if the class is kept for good.
        """
        days = self.retention.get(name)
        if days is None or now.date().toordinal() <= days + 1:
            return None
        return (now - STAMP_SLACK - timedelta(days=days)).date()

    def fate(self, subject: str, name: str, event: int, time: str) -> str | None:
        """Say why a payload can't be there.

        Args:
            subject: Whose it was.
            name: Its class.
            event: Sequence number of the event that holds its commitment.
            time: That event's time.

        Returns:
            One sentence; None if nothing on the record took it away.
        """
        for erasure in self.erased.get(subject, ()):
            if event < erasure.event:
                return f"The subject was erased at {erasure.time} by event {erasure.event}."
        shredded = self.shredded.get(name)
        sealed = (datetime.fromisoformat(time) - STAMP_SLACK).date().isoformat()
        if shredded is not None and sealed < shredded.before:
            return (
                f"Every {name} from before {shredded.before} was shredded by its age at {shredded.time}"
                f" by event {shredded.event}."
            )
        return None


def payload_class(value: object) -> str:
    """Read the name of a class.

    Args:
        value: What came.

    Returns:
        It, one of ``CLASSES``.

    Raises:
        UntrustedRequest: If it is none.
    """
    if not isinstance(value, str) or value not in CLASSES:
        raise _bad(f"class {str(value)[:40]!r} is not {' or '.join(CLASSES)}")
    return value


def _subject(value: object) -> str:
    if not isinstance(value, str) or not _SUBJECT.fullmatch(value):
        raise _bad("its subject is not a pseudonym of 64 hexadecimal digits")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise _bad(f"its tenant is not 1 to {MAX_NAME} printable characters")
    return value


def _count(value: object, what: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise _bad(f"{what} is not a whole number from {least} to {most}")
    return value


def _commitments(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not value or not set(value) <= set(CLASSES):
        raise _bad("its commitments are not those of a prompt or an answer")
    try:
        for digest in value.values():
            hashing.parse(digest)
    except UntrustedInput as error:
        raise _bad(f"a commitment is no digest: {error.message}") from error
    return {name: value[name] for name in CLASSES if name in value}


def _bad(why: str) -> UntrustedRequest:
    return UntrustedRequest(
        "sealed.form", f"The request is refused: {why}.", remedy="See `holdfast sealed --help`."
    )
