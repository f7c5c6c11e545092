"""Imports in words: where one stands, what to do next, what speaks against it, what a second administrator signs. Pure.

Invariant: nothing here raises on an answer of another shape; what is missing is shown as a dash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.parts import record, records
from holdfast_tui.reading import NOTHING, brief, bytes_told, minute, number, numbers, ranges, row, texts, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from holdfast.canonical import Json
    from holdfast_tui.feed import Feed

GIVEN_UP = ("collecting", "waiting", "failed", "cancelled", "interrupted")  # what may lie in quarantine
RECEIPTED = ("admitted", "rejected", "failed")  # what a receipt is made of


def collecting(imports: Iterable[Mapping[str, Json]]) -> set[int]:
    """Find the requests that say last what is missing of their medium.

    Args:
        imports: The daemon's listing, newest first.

    Returns:
        The newest request of each medium that is still being collected.
    """
    newest: dict[str, int] = {}
    for one in imports:
        if one.get("state") == "collecting":
            newest.setdefault(str(one.get("manifest")), number(one.get("request")))
    return set(newest.values())


def standing(one: Mapping[str, Json], *, newest: bool) -> str:
    """Say where an import stands, in a word or two.

    Args:
        one: A row of the daemon's listing.
        newest: Whether it says last what is missing of its medium.

    Returns:
        At most 14 characters in ordinary life.
    """
    state, volume = told(one.get("state")), record(one.get("volume"))
    if state == "collecting" and newest:
        return f"collecting {len(texts(one.get('present')))}/{_count(one)}"
    if state in ("collecting", "collected"):
        return f"volume {told(volume.get('number'))} of {told(volume.get('count'))}"
    if one.get("findings"):
        return "refused"
    return "resumable" if one.get("resumable") else state


def _count(one: Mapping[str, Json]) -> int:
    return len(texts(one.get("present"))) + len(texts(one.get("missing")))


def lacking(one: Mapping[str, Json]) -> str:
    """Say which volumes are in, and which to insert next.

    Args:
        one: A row of the daemon's listing, or an import's result.

    Returns:
        Sentences; empty if nothing is missing.
    """
    missing = numbers(one.get("missing"))
    if not missing:
        return ""
    return (
        f"In: {ranges(numbers(one.get('present')))}. Missing: {ranges(missing)}. "
        f"Insert volume {missing[0]} of {_count(one)}, then press i."
    )


def head(one: Mapping[str, Json]) -> str:
    """Name an import, and the volume that it is of.

    Args:
        one: A row of the daemon's listing.

    Returns:
        For example ``#50 volume 3 of 7``.
    """
    volume = record(one.get("volume"))
    several = number(volume.get("count")) > 1
    part = f" volume {told(volume.get('number'))} of {told(volume.get('count'))}" if several else ""
    return f"#{told(one.get('request'))}{part}"


def next_step(one: Mapping[str, Json], person: str, feed: Feed | None, *, newest: bool) -> str:
    """Say what becomes of an import, and what a person can do about it.

    Args:
        one: A row of the daemon's listing.
        person: Who is at the terminal.
        feed: The import's stream, if it is followed.
        newest: Whether it says last what is missing of its medium.

    Returns:
        One or two lines.
    """
    state = told(one.get("state"))
    about = head(one)
    kept = " What was copied is kept: i goes on with it, d gives it up." if one.get("resumable") else ""
    match state:
        case "running":
            return f"{about} {feed.progress() if feed else 'is being read'}"
        case "collecting" if newest:
            return f"{lacking(one)} d gives it up."
        case "waiting" if one.get("requester") == person:
            return f"{about}: nothing was found. It waits for another administrator; d takes it back."
        case "waiting":
            return f"{about}: nothing was found. a shows what you would sign; x rejects it."
        case "failed" if one.get("findings"):
            count = len(records(one.get("findings")))
            return f"{about} is refused: {count} finding{'' if count == 1 else 's'}. Enter shows all; e writes its receipt."
        case "failed" | "cancelled" | "interrupted":
            why = told(one.get("message")) if state == "failed" else f"The import was {state}."
            return f"{about} {why}{kept}"
        case "admitted" | "rejected" | "discarded":
            reason = f": {one['reason']}" if one.get("reason") else ""
            receipt = "; e writes its receipt" if state in RECEIPTED else ""
            return f"{about} was {state} by {told(one.get('decided_by'))}{reason}. Enter shows it{receipt}."
        case _:
            return f"{about} is part of a medium in volumes. Enter shows it."


def named(artefacts: Iterable[Mapping[str, Json]]) -> dict[str, str]:
    """Name artefacts for people.

    Args:
        artefacts: Records, as the daemon lists them.

    Returns:
        Kind, name and version, by digest.
    """
    return {
        str(one.get("digest")): f"{told(one.get('kind'))} {told(one.get('name'))}@{told(one.get('version'))}"
        for one in artefacts
    }


def described(found: Mapping[str, Json], names: Mapping[str, str]) -> Iterator[str]:
    """Describe one import with everything that is known of it.

    Args:
        found: The daemon's answer.
        names: Of artefacts here, by digest.

    Yields:
        Lines.
    """
    findings = records(found.get("findings"))
    yield row("state", "refused" if findings else told(found.get("state")))
    if found.get("message") and not findings:
        yield row("", str(found["message"]))
    yield row("asked by", told(found.get("requester")))
    if found.get("decided_by"):
        reason = f": {found['reason']}" if found.get("reason") else ""
        yield row("decided by", f"{found['decided_by']}{reason}")
    if found.get("missing"):
        yield row("volumes", lacking(found))
    if findings:
        yield ""
        yield f"{len(findings)} finding{'' if len(findings) == 1 else 's'}, which no other copy of the medium would change:"
        for one in findings:
            yield f"- {told(one.get('file'))} ({told(one.get('key'))})"
            yield row("", told(one.get("sentence")), under=2)
    yield ""
    yield from evidence(found, names)


def to_sign(found: Mapping[str, Json], names: Mapping[str, str]) -> Iterator[str]:
    """Describe what a second administrator answers for when they admit an import.

    Args:
        found: The daemon's answer.
        names: Of artefacts here, by digest.

    Yields:
        Lines.
    """
    yield f"{told(found.get('name'))} {told(found.get('version'))} of {told(found.get('publisher'))}"
    yield row("asked by", told(found.get("requester")))
    yield from evidence(found, names)
    yield ""
    yield "You sign, with your own key, that this manifest is admitted here:"
    yield told(found.get("manifest"))


def evidence(found: Mapping[str, Json], names: Mapping[str, str]) -> Iterator[str]:
    """Describe what a medium is and what it does here: signers, time, volumes, delta, revocations, contents.

    Args:
        found: The daemon's answer.
        names: Of artefacts here, by digest.

    Yields:
        Lines.
    """
    facts = record(found.get("facts"))
    if not facts.get("manifest"):
        yield "Its signatures were not verified: nothing more is known of it."
        return
    names = {**named(records(facts.get("artefacts"))), **names}
    role = told(facts.get("role"))
    delegated = " (delegated)" if role != "targets" else ""
    yield row("signed by", ", ".join(texts(facts.get("holders"))) or NOTHING)
    yield row("role", f"{role}{delegated}, collection {told(facts.get('collection'))}")
    yield row("root", f"version {told(facts.get('root_version'))}, {told(facts.get('root_fingerprint'))}")
    yield row("metadata", _validity(facts))
    yield row("findings", str(len(records(facts.get("findings"))) or "none"))
    yield from _volumes(records(found.get("parts")))
    yield from _delta(facts, names)
    yield from _revocations(record(facts.get("revocations")), names)
    held = records(facts.get("artefacts"))
    size = f", {bytes_told(facts.get('bytes'))}" if held else ""
    yield row("brings", f"{len(held)} artefacts{size}" if held else "no artefact")
    for one in held:
        yield f"  {told(one.get('kind')):9} {told(one.get('name'))} {told(one.get('version'))}  {brief(one.get('digest'))}"


def _validity(facts: Mapping[str, Json]) -> str:
    until = minute(facts.get("expires"))
    return (
        f"EXPIRED on {until}; let in by a granted exception"
        if facts.get("expired")
        else f"valid until {until}"
    )


def _volumes(parts: Sequence[Mapping[str, Json]]) -> Iterator[str]:
    """Say what each volume was read from."""
    for one in parts:
        medium = record(one.get("medium"))
        yield row(
            "medium",
            f"{told(one.get('number'))} of {told(one.get('count'))}, serial {told(medium.get('serial'))}, "
            f"{writing(medium)}, {told(medium.get('filesystem'))}, read by {told(one.get('requester'))}",
        )


def writing(medium: Mapping[str, Json]) -> str:
    """Say whether a medium could have been written while it was read.

    Args:
        medium: What the daemon saw of it.

    Returns:
        For people.
    """
    if medium.get("device_read_only") is True:
        return "read-only by the device"
    if medium.get("read_only") is True:
        return "mounted read-only"
    return "WRITABLE" if medium.get("read_only") is False else "writable or not: unknown"


def _delta(facts: Mapping[str, Json], names: Mapping[str, str]) -> Iterator[str]:
    bases = texts(facts.get("delta"))
    if bases:
        known = [f"{names.get(one, 'an unknown artefact')} ({brief(one)})" for one in bases]
        yield row("builds on", f"what is here of {', '.join(known)}")


def _revocations(found: Mapping[str, Json], names: Mapping[str, str]) -> Iterator[str]:
    """Say what a medium revokes, and whom it concerns here."""
    if not found:
        yield row("revokes", "nothing")
        return
    new = records(found.get("new"))
    listed = f"list {told(found.get('counter'))}: {told(found.get('entries'))} entries, {len(new)} new here"
    yield row("revokes", listed)
    for one in new:
        instead = one.get("instead")
        use = f" Use {names.get(str(instead), brief(instead))} instead." if instead else ""
        about = f"{told(one.get('kind'))} {told(one.get('name'))} ({brief(one.get('digest'))})"
        yield row("", f"{about}: {told(one.get('reason'))}{use}")
    concerned = texts(found.get("concerned"))
    if concerned:
        yield row("", f"STOPS BEING USABLE HERE: {', '.join(concerned)}")
    elif new:
        yield row("", "Nothing that is here is concerned.")
