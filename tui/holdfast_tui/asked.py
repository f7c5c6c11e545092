"""Requests in words: what is asked for, where it stands, what may be done about it, and what a second person signs. Pure.

Exceptions, inventories and requests for sealed texts come from the daemon in three forms; here they have one: ``request``,
``kind``, ``state``, ``requester``, and what is theirs alone. Invariant: nothing here raises on an answer of another shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.governance.exceptions import GRANT as GRANT_EXCEPTION
from holdfast.governance.inventories import GRANT as GRANT_INVENTORY
from holdfast.governance.sealings import GRANTS, Kind
from holdfast.parts import records
from holdfast_tui.reading import banner, brief, bytes_told, line, minute, number, row, since, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from holdfast.canonical import Json

    Found = Mapping[str, Json]

INVENTORY = "inventory"
UNSEAL, ERASE, RETENTION = (kind.value for kind in Kind)
SEALED = (UNSEAL, ERASE, RETENTION)
RULES = {
    "expired": "One medium may be imported although its metadata has expired.",
    "revoked": "One revoked artefact, and what was made from it, may be used.",
    "floor": "The time below which no clock is believed is set.",
    UNSEAL: "The sealed prompt and answer of one answer may be read, once, by who asks.",
    ERASE: "The key of one subject's sealed texts is destroyed; nobody ever reads them again. Proofs stay valid.",
    RETENTION: "Sealed texts of one class are shredded by their age, from the grant on. Proofs stay valid.",
}


def collected(data: Found) -> dict[int, dict[str, Json]]:
    """Bring what the daemon lists into one form.

    Args:
        data: Its ``exceptions``, ``requests`` (inventories) and ``sealed``.

    Returns:
        By number, the newest first.
    """
    found: list[dict[str, Json]] = [
        *({**one, "state": one.get("standing")} for one in records(data.get("exceptions"))),
        *({**one, "kind": INVENTORY} for one in records(data.get("requests"))),
        *(
            {**one, "state": one.get("standing"), "until": one.get("expires")}
            for one in records(data.get("sealed"))
        ),
    ]
    found.sort(key=lambda one: -number(one.get("request")))
    return {number(one.get("request")): one for one in found}


def place(one: Found) -> str:
    """Name where the daemon keeps a request.

    Args:
        one: The request.

    Returns:
        The collection's name in routes.
    """
    if one.get("kind") in SEALED:
        return "sealed"
    return "requests" if one.get("kind") == INVENTORY else "exceptions"


def granting(one: Found) -> str:
    """Name the act that the second person signs.

    Args:
        one: The request.

    Returns:
        An action of the audit log.
    """
    if one.get("kind") in SEALED:
        return GRANTS[Kind(str(one["kind"]))]
    return GRANT_INVENTORY if one.get("kind") == INVENTORY else GRANT_EXCEPTION


def subject(one: Found, artefacts: Mapping[str, Found]) -> str:
    """Name what a request is about, as short as a column.

    Args:
        one: The request.
        artefacts: What is known here, by digest.

    Returns:
        A few words.
    """
    about = one.get("subject")
    match one.get("kind"):
        case "floor":
            return minute(about)
        case "revoked":
            artefact = artefacts.get(str(about), {})
            return f"{told(artefact.get('name'))} {brief(about)}" if artefact else brief(about)
        case "expired":
            return f"medium {brief(about)}"
        case "unseal":
            return f"answer {told(one.get('answer'))}"
        case "erase":
            return f"{told(one.get('tenant'))} {brief(about)}"
        case "retention":
            return f"{told(one.get('class'))}s {_kept(one)}"
        case _:
            return f"{told(one.get('artefacts'))} artefacts"


def _kept(one: Found) -> str:
    return "for good" if one.get("days") is None else f"{one['days']} days"


def next_step(one: Found, person: str, now: datetime) -> str:
    """Say what a request is for, and what can be done about it.

    Args:
        one: The request.
        person: Who is at the terminal.
        now: The time, aware.

    Returns:
        A few lines.
    """
    if one.get("kind") == INVENTORY:
        what = f"Kinds, names, versions, sizes and digests of {told(one.get('artefacts'))} artefacts would leave."
    else:
        asked = f", {since(one['time'], now)} ago" if one.get("time") else ""
        what = line(
            f"{RULES.get(told(one.get('kind')), '')} {told(one.get('requester'))}{asked}: {told(one.get('reason'))}"
        )
    own = one.get("requester") == person
    if one.get("state") == "open":
        second = "person" if one.get("kind") in SEALED else "administrator"
        then = f"It waits for another {second}; x takes it back." if own else "g shows and grants it."
        return f"{what}\n{then}"
    if one.get("refusal"):
        return line(f"{what}") + "\n" + line(f"Refused by {told(one.get('decided_by'))}: {one['refusal']}")
    if one.get("kind") == UNSEAL and one.get("state") == "granted":
        who = "You open" if own else f"{told(one.get('requester'))} opens"
        return f"{what}\n{who} it in the command line, once: `holdfast sealed open {number(one.get('request'))}`."
    if one.get("document"):
        return f"{what}\nLet out by {told(one.get('decided_by'))}. f writes it to a file for the publisher."
    return what


def described(found: Found, now: datetime) -> Iterator[str]:
    """Show one request: what a second person reads before they sign.

    Args:
        found: The request as the daemon shows it, in the one form.
        now: The time, aware.

    Yields:
        Lines.
    """
    kind = found.get("kind")
    if kind == INVENTORY:
        yield from _inventory(found)
        return
    yield row("rule", line(f"{told(kind)}: {RULES.get(told(kind), '')}"))
    if kind not in SEALED:
        yield row("for", line(told(found.get("subject"))))
        yield row("until", f"{minute(found.get('until'))} (UTC)")
    elif kind == UNSEAL:
        held = found.get("commitments")
        yield row("answer", f"event {told(found.get('answer'))}")
        yield row("texts", line(", ".join(map(str, held)) if isinstance(held, dict) else told(None)))
        yield row("subject", line(told(found.get("subject"))))
    elif kind == ERASE:
        yield row("tenant", line(told(found.get("tenant"))))
        yield row("subject", line(told(found.get("subject"))))
        yield row("", "The subject's name is not on the record; this is its pseudonym.")
    else:
        yield row("class", line(told(found.get("class"))))
        yield row("kept", _kept(found))
    yield row("asked by", line(f"{told(found.get('requester'))}: {told(found.get('reason'))}"))
    if found.get("time"):
        yield row("asked", f"{minute(found.get('time'))} (UTC), {since(found.get('time'), now)} ago")
    yield from _decision(found)
    yield from _consequence(found)


def _consequence(found: Found) -> Iterator[str]:
    """Say what a grant of sealed texts does, and when."""
    if found.get("state") == "granted" and found.get("kind") == UNSEAL:
        yield row("until", f"{minute(found.get('until'))} (UTC)")
    if found.get("state") not in ("open", "granted"):
        return
    match found.get("kind"):
        case "unseal":
            yield ""
            yield row(
                "",
                f"Once granted, {told(found.get('requester'))} alone opens it, once and within an hour, in the command line: "
                f"`holdfast sealed open {number(found.get('request'))}`. The console shows no texts.",
                0,
            )
        case "erase":
            yield ""
            yield row("", "The grant acts at once and can't be undone.", 0)
        case "retention":
            yield ""
            yield row("", "The grant acts at once: what is older is shredded, and can't be had back.", 0)


def _inventory(found: Found) -> Iterator[str]:
    yield row("label", banner([found.get("label")])[1])
    yield row("lists", f"{told(found.get('artefacts'))} artefacts, {bytes_told(found.get('bytes'))} of files")
    yield row("statement", told(found.get("statement")))
    yield row("asked by", told(found.get("requester")))
    yield from _decision(found)
    yield ""
    yield "Of these, kind, name, version, sizes and digests leave the site, and nothing else:"
    for one in records(found.get("held")):
        yield f"  {told(one.get('kind')):9} {told(one.get('name'))} {told(one.get('version'))}  {brief(one.get('digest'))}"


def _decision(found: Found) -> Iterator[str]:
    yield row("state", told(found.get("state")))
    if found.get("decided_by"):
        parts = map(str, (found["decided_by"], found.get("refusal") or ""))
        yield row("decided by", line(": ".join(filter(None, parts))))
