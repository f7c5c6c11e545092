"""Tolerant, bounded reading of events for the report.

An event that an older or newer version of Holdfast wrote must never stop the report: a field that is missing or has another
type reads as None, which the pages show as "not stated". Invariants: what these functions give is canonical JSON, every
text and list is bounded, nothing raises on plain data. No I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from holdfast import canonical, hashing
from holdfast.errors import UntrustedInput
from holdfast.governance import labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json
    from holdfast.governance.labels import Label

MAX_TEXT = 400  # characters of one text; sentences fit, and a hostile name can't fill pages
MAX_ITEMS = 256  # entries of one list inside a row (artefacts of a bundle, holders, reasons)
MAX_DEPTH = 4  # levels of free-form figures (scores, fidelity)
OUTCOMES = ("done", "failed", "cancelled", "interrupted")
_OUTCOME = re.compile(rf"(?P<intent>.+)\.(?P<outcome>{'|'.join(OUTCOMES)})", re.DOTALL)


class Recorded(Protocol):
    """An event object that can give itself as plain data."""

    def to_json(self) -> dict[str, Json]:
        """Give the event's fields."""


@dataclass(frozen=True)
class View:
    """One event, read tolerantly.

    Args:
        seq: Its sequence number, None if not stated.
        time: Its time as text.
        clock: What it says of its clock.
        action: The action without the outcome's suffix.
        outcome: One of ``OUTCOMES``, None for an intent or a single event.
        person: Who acted; None for the appliance itself.
        uid: The peer's user id.
        role: The role acted in.
        session: The session.
        subject: Digest of the subject.
        label: The event's label.
        params: Its parameters.
        cause: Sequence number of the intent.
    """

    seq: int | None
    time: str | None
    clock: str | None
    action: str
    outcome: str | None
    person: str | None
    uid: int | None
    role: str | None
    session: str | None
    subject: str | None
    label: Label | None
    params: Mapping[str, object]
    cause: int | None

    def origin(self) -> dict[str, Json]:
        """Give where and when this stands in the log.

        Returns:
            ``seq`` and ``time``.
        """
        return {"seq": self.seq, "time": self.time}


def view(event: Recorded | Mapping[str, object]) -> View:
    """Read one event.

    Args:
        event: An event object or its plain data.

    Returns:
        The view; fields that can't be read are None.
    """
    data: Mapping[str, object] = event if hasattr(event, "keys") else event.to_json()  # type: ignore[assignment]  # a mapping is told by its keys; Recorded has none
    actor, subject = mapping(data.get("actor")), mapping(data.get("subject"))
    action = text(data.get("action")) or "not stated"
    parts = _OUTCOME.fullmatch(action)
    return View(
        seq=whole(data.get("seq")),
        time=text(data.get("time")),
        clock=text(data.get("clock")),
        action=parts["intent"] if parts else action,
        outcome=parts["outcome"] if parts else None,
        person=text(actor.get("person")),
        uid=whole(actor.get("uid")),
        role=text(actor.get("role")),
        session=text(actor.get("session")),
        subject=digest(subject.get("digest")),
        label=label(data.get("label")),
        params=mapping(data.get("params")),
        cause=whole(data.get("cause")),
    )


def mapping(value: object) -> Mapping[str, object]:
    """Read an object.

    Args:
        value: Anything.

    Returns:
        The value with text keys only; empty if it is no object.
    """
    if not isinstance(value, dict):
        return {}
    return {key: item for key, item in value.items() if isinstance(key, str)}


def text(value: object) -> str | None:
    """Read a text, or a number as text.

    Args:
        value: Anything.

    Returns:
        At most ``MAX_TEXT`` characters without lone surrogates; None if there is none.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    found = str(value)
    clean = found[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")
    return (clean if len(found) <= MAX_TEXT else clean[:-1] + "…") or None


def whole(value: object) -> int | None:
    """Read a count.

    Args:
        value: Anything.

    Returns:
        A non-negative integer that canonical JSON can carry, else None.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= canonical.MAX_SAFE_INTEGER:
        return None
    return value


def number(value: object) -> int | float | None:
    """Read a figure.

    Args:
        value: Anything.

    Returns:
        A number that canonical JSON can carry and give back, else None.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Floats beyond it too: RFC 8785 writes 2**60 as the integer that a strict reader refuses. NaN fails the comparison.
    return value if abs(value) <= canonical.MAX_SAFE_INTEGER else None


def truth(value: object) -> bool | None:
    """Read a yes or no.

    Args:
        value: Anything.

    Returns:
        The value if it is a boolean, else None.
    """
    return value if isinstance(value, bool) else None


def digest(value: object) -> str | None:
    """Read a digest.

    Args:
        value: Anything.

    Returns:
        The digest as text, else None.
    """
    try:
        return hashing.parse(value)
    except UntrustedInput:
        return None


def label(value: object) -> Label | None:
    """Read a label.

    Args:
        value: Anything.

    Returns:
        The label, else None.
    """
    try:
        return labels.parse(value)
    except UntrustedInput:
        return None


def texts(value: object) -> list[Json]:
    """Read a list of texts.

    Args:
        value: A list, or one text.

    Returns:
        At most ``MAX_ITEMS`` texts; of an entry that is an object, its ``name`` or ``fingerprint``.
    """
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return []
    read = (text(entry) or _naming(mapping(entry)) for entry in value[:MAX_ITEMS])
    return [entry for entry in read if entry is not None]


def figures(value: object, depth: int = MAX_DEPTH) -> Json:
    """Copy free-form figures, such as scores, within bounds.

    Args:
        value: Plain data.
        depth: Levels still allowed.

    Returns:
        The same data with texts, lists and nesting cut to size; what is not plain data becomes None.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return text(value)
    if depth == 0:
        return None
    if isinstance(value, dict):
        kept = list(mapping(value).items())[:MAX_ITEMS]
        return {text(key) or "": figures(item, depth - 1) for key, item in kept}
    if isinstance(value, list | tuple):
        return [figures(item, depth - 1) for item in value[:MAX_ITEMS]]
    return None


def _naming(entry: Mapping[str, object]) -> str | None:
    return text(entry.get("name")) or text(entry.get("person")) or text(entry.get("fingerprint"))
