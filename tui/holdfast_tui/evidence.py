"""The log in words: an event's line, all that an event holds, what a verification found. Pure.

Invariants: nothing here raises on an answer of another shape; whatever an event holds is shown as text, on lines that fit a
dialog, and a value that is too long is cut with its length said.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from holdfast.audit import actions, catalogue
from holdfast.audit.registry.controls import CONTROLS
from holdfast.parts import record, records
from holdfast_tui.reading import NOTHING, banner, brief, figure, line, number, plain, row, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.canonical import Json

MAX_VALUE = 2_000  # characters of a parameter that are shown; the proof has it whole
MAX_FINDINGS = 40  # of one kind that are listed; the others are counted
_KNOWN = "not of a registered type"
_FINDINGS = (  # what the daemon calls them, and what they mean
    ("problems", "PROBLEM", "the evidence does not match; do not rely on it before it is explained"),
    ("gaps", "gap", "silences that the log itself shows; somebody should know the reason"),
    ("notes", "note", "what a reader should know; nothing is wrong"),
)


def about(event: Mapping[str, Json]) -> str:
    """Name what an event is about, as short as a column.

    Args:
        event: An event as the daemon lists it.

    Returns:
        Kind and first digits; empty if it is about no thing.
    """
    kind = event.get("subject_kind")
    return f"{kind} {brief(event.get('subject_digest'))}" if kind else ""


def sentence(event: Mapping[str, Json]) -> str:
    """Tell an event in a sentence.

    Args:
        event: An event as the daemon lists it.

    Returns:
        The registry's sentence; the action's name if there is none.
    """
    return told(event.get("sentence") or event.get("action"))


def under(event: Mapping[str, Json]) -> str:
    """Say more of the selected event, in a few lines.

    Args:
        event: An event as the daemon lists it.

    Returns:
        Its sentence, action, thing, cause and parameters.
    """
    cause = event.get("cause")
    parts = [
        told(event.get("action")),
        f"{told(event.get('person'))} ({told(event.get('role'))})",
        about(event),
        f"caused by {cause}" if cause is not None else "",
        json.dumps(event.get("params"), ensure_ascii=False),
    ]
    return f"{line(sentence(event))}\n{line(' · '.join(filter(None, parts)))[:MAX_VALUE]}"


def described(event: Mapping[str, Json]) -> Iterator[str]:
    """Show all that an event holds.

    Args:
        event: An event as the daemon lists it.

    Yields:
        Lines.
    """
    name = told(event.get("action"))
    known = actions.REGISTRY.get(name)
    phase = f"{told(event.get('phase'))}{f' of {known.act}' if known and known.act else ''}"
    subject = f"{told(event.get('subject_kind'))} {told(event.get('subject_digest'))}"
    who = [
        f"{told(event.get('person'))} ({told(event.get('role'))})",
        f"local user {event['uid']}" if event.get("uid") is not None else "",
        f"session {event['session']}" if event.get("session") else "",
    ]
    facts = {
        "what": sentence(event),
        "action": f"{name}, {phase if known else _KNOWN}",
        "means": known.sentence if known else NOTHING,
        "time": f"{told(event.get('time'))} UTC, clock: {told(event.get('clock'))}",
        "who": ", ".join(filter(None, who)),
        "about": subject if event.get("subject_kind") else NOTHING,
        "label": banner([dict(event)])[1] if event.get("level") else NOTHING,
        "cause": f"event {event['cause']}" if event.get("cause") is not None else NOTHING,
        "source": (
            f"{told(event.get('source_name'))}, run {told(event.get('source_run'))}, its event"
            f" {told(event.get('source_count'))}"
        ),
        "leaf": told(event.get("leaf")),
    }
    for label, value in facts.items():
        yield row(label, line(value))
    yield ""
    yield "Parameters:"
    typed = record(known.params.described()) if known else {}
    params = record(event.get("params"))
    for label, given in params.items():
        kind = catalogue.notation(typed[label]) if label in typed else _KNOWN
        yield row("", f"{line(label)}  ({kind})", 2)
        yield from _value(given)
    if not params:
        yield "  none"
    yield ""
    yield "Serves, of NIST SP 800-53:"
    for control in known.controls if known else ():
        yield row("", f"{control} {CONTROLS[control].title}", 2)


def _value(value: Json) -> Iterator[str]:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    cut = text[:MAX_VALUE]
    for one in cut.split("\n"):
        yield row("", plain(one), 4)
    if len(cut) < len(text):
        yield f"    … {len(text)} characters in all; the proof has them"


def verdict(found: Mapping[str, Json]) -> Iterator[str]:
    """Say what a verification found: problems, gaps and notes apart, and how the index stands.

    Args:
        found: The daemon's answer.

    Yields:
        Lines.
    """
    size = number(found.get("size"))
    whole = "is what was signed" if found.get("verified") else "is NOT what was signed"
    yield row("log", f"{size} events: what lies on disk {whole}")
    yield row("root", line(told(found.get("root"))))
    yield row("found", counted(found))
    yield row("index", line(_index(record(found.get("index")))))
    for name, word, means in _FINDINGS:
        listed = records(found.get(name))
        if not listed:
            continue
        yield ""
        yield row("", f"{len(listed)} {word}{'s' * (len(listed) != 1)}: {means}", 0)
        for one in listed[:MAX_FINDINGS]:
            where = "" if one.get("seq") is None else f"event {one['seq']}: "
            yield row("  -", line(f"{where}{told(one.get('what'))}"), 4)
        if len(listed) > MAX_FINDINGS:
            yield f"  … and {len(listed) - MAX_FINDINGS} more: `holdfast audit verify` lists all"


def counted(found: Mapping[str, Json]) -> str:
    """Count what a verification found.

    Args:
        found: The daemon's answer.

    Returns:
        For example ``no problems, 2 gaps, 1 note``.
    """
    parts = []
    for name, word, _ in _FINDINGS:
        count = len(records(found.get(name)))
        parts.append(f"{count or 'no'} {word.lower()}{'s' * (count != 1)}")
    return ", ".join(parts)


def _index(found: Mapping[str, Json]) -> str:
    if not found:
        return NOTHING
    built = record(found.get("built"))
    if found.get("fault"):
        return f"can't be read: {told(found['fault'])}"
    anew = f"built anew from the segments: {told(built.get('events'))} events in {_seconds(built.get('seconds'))}"
    if found.get("differed"):
        return f"WAS NOT what the log says ({told(found['differed'])}); it was {anew}"
    same = f"says what the log says (compared in {_seconds(found.get('seconds'))})"
    return f"{same}; last {anew}, because {told(built.get('reason'))}" if built else same


def _seconds(value: Json) -> str:
    return f"{figure(value, 1)} s"
