"""Events: what producers submit, what the log stores, and the one byte string of each.

Invariants: an event's bytes are RFC 8785, at most ``MAX_EVENT`` of them; ``parse`` accepts exactly what ``Prepared.stamp``
can give, so bytes and event determine each other. Everything that can be wrong with a draft is found by ``prepare``,
before it has a sequence number. No I/O; the time comes from the caller.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from holdfast import canonical, hashing
from holdfast.audit.verify import LAYOUT, MAX_EVENT
from holdfast.errors import HoldfastError, UntrustedInput, UntrustedRequest, VerificationFailed
from holdfast.governance import labels

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.governance.labels import Label

MAX_TEXT = 256  # characters of a person's, role's or session's name
MAX_UID = 2**32 - 2  # the largest user id of Linux
_STAMP = 256  # bytes kept free for sequence number, source, time and clock
_KIND = re.compile(r"[a-z][a-z0-9._-]{0,31}")
_RUN = re.compile(r"[0-9a-f]{16}")
CLOCKS = ("trusted", "host")
PRODUCERS = ("daemon", "serve")


@dataclass(frozen=True)
class Actor:
    """Who did it.

    Args:
        person: Name of a person, an application's key or a part of the appliance.
        uid: User id of the process that asked; None if there is none.
        role: The role acted in.
        session: The session; None outside one.
    """

    person: str
    uid: int | None
    role: str
    session: str | None = None


@dataclass(frozen=True)
class Subject:
    """What it was done to.

    Args:
        kind: An artefact's kind, or another noun in lower case.
        digest: The thing's digest.
    """

    kind: str
    digest: str


@dataclass(frozen=True, slots=True)
class Source:
    """Which producer handed an event in, and as which of its events: a missing count is a missing event.

    Args:
        name: One of ``PRODUCERS``.
        run: One life of that producer: 16 hexadecimal digits.
        count: The event's number among those of the run; the first is 0.
    """

    name: str
    run: str
    count: int

    def to_json(self) -> dict[str, Json]:
        """Give the source as plain data.

        Returns:
            The three fields.
        """
        return {"name": self.name, "run": self.run, "count": self.count}


@dataclass(frozen=True)
class Draft:
    """What a producer submits.

    Args:
        action: A registered action.
        actor: Who.
        subject: To what; None if to nothing in particular.
        label: The subject's label.
        params: Facts of the action.
        cause: Sequence number of the event that this one follows from; required for outcomes.
    """

    action: str
    actor: Actor
    subject: Subject | None = None
    label: Label | None = None
    params: dict[str, Json] = field(default_factory=dict)
    cause: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Give the draft as plain data.

        Returns:
            The six fields.
        """
        actor, subject = self.actor, self.subject
        return {
            "action": self.action,
            "actor": {
                "person": actor.person,
                "uid": actor.uid,
                "role": actor.role,
                "session": actor.session,
            },
            "subject": None if subject is None else {"kind": subject.kind, "digest": subject.digest},
            "label": None if self.label is None else self.label.to_json(),
            "params": self.params,
            "cause": self.cause,
        }


@dataclass(frozen=True, kw_only=True)
class Event(Draft):
    """What the log stores.

    Args:
        seq: Its number; the first is 0.
        time: RFC 3339, UTC, with microseconds.
        clock: ``trusted`` or ``host``: what that time is worth.
        source: Who handed it in.
    """

    seq: int
    time: str
    clock: str
    source: Source

    def to_json(self) -> dict[str, Json]:
        """Give the event as plain data.

        Returns:
            The ten fields.
        """
        stamped: dict[str, Json] = {
            "seq": self.seq,
            "time": self.time,
            "clock": self.clock,
            "source": self.source.to_json(),
        }
        return super().to_json() | stamped


@dataclass(frozen=True)
class Prepared:
    """A checked draft in canonical bytes, less what only the log knows.

    Args:
        head: Bytes up to the clock.
        middle: Bytes from the label up to the sequence number.
        tail: Bytes of the subject.
    """

    head: bytes
    middle: bytes
    tail: bytes

    def stamp(self, seq: int, time: str, clock: str, source: Source) -> bytes:
        """Make it an event.

        Args:
            seq: Sequence number.
            time: As ``timestamp`` gives it.
            clock: One of ``CLOCKS``.
            source: Who handed it in.

        Returns:
            The event's RFC 8785 bytes.
        """
        name, run, count = source.name.encode(), source.run.encode(), source.count
        return b'%b"clock":"%b",%b"seq":%d,"source":{"count":%d,"name":"%b","run":"%b"},%b"time":"%b"}' % (
            (self.head, clock.encode(), self.middle, seq, count, name, run, self.tail, time.encode())
        )


def timestamp(moment: datetime) -> str:
    """Write a time as events carry it.

    Args:
        moment: An aware time.

    Returns:
        RFC 3339, UTC, always with six digits after the point.
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def prepare(draft: Draft) -> Prepared:
    """Check a draft and write it down.

    Args:
        draft: What a producer submitted.

    Returns:
        Its bytes, ready for the log's stamp.

    Raises:
        UntrustedInput: If a field is malformed, or the event would be too large.
    """
    _check(draft.to_json(), UntrustedRequest)
    return write(draft)


def write(draft: Draft) -> Prepared:
    """Write a draft down that was checked, as ``parse_draft`` does.

    Args:
        draft: What a producer submitted.

    Returns:
        Its bytes, ready for the log's stamp.

    Raises:
        UntrustedInput: If canonical JSON can't express its parameters, or the event would be too large.
    """
    data = canonical.encode(draft.to_json())
    if len(data) > MAX_EVENT - _STAMP:
        _refuse(UntrustedRequest, f"it would have about {len(data)} bytes; {MAX_EVENT - _STAMP} are allowed")
    # Text escapes its quotes, so these are keys: no field before the label has one of that name, nor has the subject.
    label, subject = data.index(b'"label":'), data.rindex(b'"subject":')
    return Prepared(data[:label], data[label:subject], data[subject:-1] + b",")


def parse(data: bytes) -> Event:
    """Read an event's stored bytes, strictly.

    Args:
        data: Bytes from a segment or a receipt.

    Returns:
        The event; writing it again gives the same bytes.

    Raises:
        VerificationFailed: If they are not the canonical bytes of an event.
    """
    value = canonical.decode(data, limit=MAX_EVENT, what="An event", error=VerificationFailed)
    if not isinstance(value, dict) or not LAYOUT.fullmatch(data):
        _refuse(VerificationFailed, "its layout is not that of an event")
    seq, time, clock = value.pop("seq", None), value.pop("time", None), value.pop("clock", None)
    source = parse_source(value.pop("source", None), VerificationFailed)
    draft = parse_draft(value, VerificationFailed)
    if not isinstance(seq, int) or not isinstance(time, str) or not isinstance(clock, str):
        _refuse(VerificationFailed, "its number, time or clock has the wrong type")
    try:
        datetime.fromisoformat(time)
        if prepare(draft).stamp(seq, time, clock, source) != data:
            _refuse(VerificationFailed, "its bytes are not canonical")
    except (ValueError, UntrustedInput) as error:
        _refuse(VerificationFailed, str(error))
    return Event(**vars(draft), seq=seq, time=time, clock=clock, source=source)


def parse_source(value: object, error: type[HoldfastError] = UntrustedRequest) -> Source:
    """Read a source from plain data.

    Args:
        value: What ``Source.to_json`` gives.
        error: The class to raise, by who is at fault.

    Returns:
        The source.

    Raises:
        HoldfastError: As ``error``, if a field is missing, unknown or malformed.
    """
    if not isinstance(value, dict) or set(value) != {"name", "run", "count"}:
        _refuse(error, "its source has not exactly name, run and count")
    name, run, count = value["name"], value["run"], value["count"]
    if name not in PRODUCERS or not isinstance(run, str) or not _RUN.fullmatch(run):
        _refuse(error, "its source is no run of a producer")
    if not _is_integer(count) or not 0 <= count <= canonical.MAX_SAFE_INTEGER:
        _refuse(error, "its source's count is not a number from 0")
    return Source(name, run, count)


def parse_draft(value: object, error: type[HoldfastError] = UntrustedRequest) -> Draft:
    """Read a draft from plain data.

    Args:
        value: What ``Draft.to_json`` gives.
        error: The class to raise, by who is at fault.

    Returns:
        The draft.

    Raises:
        HoldfastError: As ``error``, if a field is missing, unknown or malformed.
    """
    fields = _check(value, error)
    actor, subject, label = fields["actor"], fields["subject"], fields["label"]
    action, params, cause = fields["action"], fields["params"], fields["cause"]
    if not isinstance(actor, dict) or not isinstance(params, dict):  # _check has seen to it; this tells mypy
        _refuse(error, "actor or params is not an object")
    return Draft(
        action=str(action),
        actor=Actor(**actor),  # type: ignore[arg-type]  # _check has seen to names and types
        subject=Subject(str(subject["kind"]), str(subject["digest"])) if isinstance(subject, dict) else None,
        label=None if label is None else labels.parse(label),
        params=params,
        cause=cause if isinstance(cause, int) else None,
    )


def _check(value: object, error: type[HoldfastError]) -> dict[str, Json]:
    """Give a draft's fields if all of them are well-formed."""
    if not isinstance(value, dict) or set(value) != {
        "action",
        "actor",
        "subject",
        "label",
        "params",
        "cause",
    }:
        _refuse(error, "its fields are not exactly action, actor, subject, label, params and cause")
    if not isinstance(value["action"], str) or not re.fullmatch(r"[a-z][a-z0-9.-]{0,63}", value["action"]):
        _refuse(error, "its action is not a dotted name")
    _check_actor(value["actor"], error)
    cause = value["cause"]
    try:
        _check_subject(value["subject"], error)
        if value["label"] is not None:
            labels.parse(value["label"])
    except UntrustedInput as problem:
        if isinstance(problem, error):
            raise
        _refuse(error, problem.message)
    if not isinstance(value["params"], dict):
        _refuse(error, "its params are not an object")
    if cause is not None and not (_is_integer(cause) and 0 <= cause <= canonical.MAX_SAFE_INTEGER):
        _refuse(error, "its cause is not a sequence number")
    return value


def _check_actor(actor: object, error: type[HoldfastError]) -> None:
    if not isinstance(actor, dict) or set(actor) != {"person", "uid", "role", "session"}:
        _refuse(error, "its actor has not exactly person, uid, role and session")
    for name in ("person", "role", "session"):
        text = actor[name]
        if name == "session" and text is None:
            continue
        if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT or not text.isprintable():
            _refuse(error, f"the actor's {name} is not 1 to {MAX_TEXT} printable characters")
    uid = actor["uid"]
    if uid is not None and not (_is_integer(uid) and 0 <= uid <= MAX_UID):
        _refuse(error, "the actor's uid is not a user id")


def _check_subject(subject: object, error: type[HoldfastError]) -> None:
    if subject is None:
        return
    if not isinstance(subject, dict) or set(subject) != {"kind", "digest"}:
        _refuse(error, "its subject has not exactly kind and digest")
    if not isinstance(subject["kind"], str) or not _KIND.fullmatch(subject["kind"]):
        _refuse(error, f"its subject's kind {str(subject['kind'])[:40]!r} is not a short lower-case name")
    hashing.parse(subject["digest"])


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(error: type[HoldfastError], why: str) -> NoReturn:
    raise error(
        "audit.event", f"An event is refused: {why}.", remedy="See holdfast.audit.event for the form."
    )
