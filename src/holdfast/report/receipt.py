"""The facts of an import's receipt, as plain data: schema ``holdfast.receipt/1``.

A receipt says what came in, from which media, what was found, who asked and who decided, and carries the events of the audit
log that say so, each with its proof. Invariants: every fact but the date and the proofs follows from those events alone
(``derive``), so that whoever holds the receipt and the log's keys can derive it again; pure; what is not stated in the
events is None. Its size is bounded: of each artefact it carries the first event alone, which says everything but the files of
a large one (``governance.listing``) and names them by the artefact's digest; and checkpoints, which most proofs share, stand
in it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.governance import labels, listing
from holdfast.report import reading
from holdfast.report.custody import loosely_joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.canonical import Json
    from holdfast.governance.labels import Label
    from holdfast.report.reading import View

SCHEMA = "holdfast.receipt/1"
MAX_PROOFS = 4096  # events of one receipt: three for each of 999 volumes, one for each of 1000 artefacts, and a few more
MAX_CHECKPOINTS = 16  # that its proofs lead to; those of one receipt are made within seconds
DECISIONS = {"bundle.admit": "admitted", "bundle.reject": "rejected"}
FOUNDING = ("site.founded", "people.listed")  # events that name the people of a site
MEDIUM = (
    "read_only",
    "device_read_only",
    "filesystem",
    "source",
    "device",
    "uuid",
    "vendor",
    "model",
    "serial",
)
DERIVED = (
    "site",
    "label",
    "banner",
    "request",
    "bundle",
    "trust",
    "volumes",
    "findings",
    "artefacts",
    "people",
)
STATED = ("schema", "made", "software", "log", "proofs", "checkpoints")


def derive(events: Sequence[Mapping[str, object]]) -> dict[str, Json]:
    """Derive the facts of an import from its events.

    Args:
        events: Plain data of the events of ``FOUNDING``, of every ``bundle.import`` that belongs to the request with its
            ``bundle.verified`` and its outcome, of the first ``artefact.listed`` of every artefact, and of the decision and its
            outcome, in the order of the log.

    Returns:
        The sections of ``DERIVED``.
    """
    views = [reading.view(event) for event in events]
    founding = next((one for one in views if one.action == "site.founded"), None)
    known = {str(one.get("name")): one for one in reversed(people_of(views))}
    asked = [one for one in views if one.action == "bundle.import" and one.outcome is None]
    verified = {one.cause: one for one in views if one.action == "bundle.verified"}
    ended = {one.cause: one for one in views if one.action == "bundle.import" and one.outcome is not None}
    last = asked[-1] if asked else None
    end = ended.get(last.seq) if last else None
    facts = verified.get(last.seq) if last else None
    told: Mapping[str, object] = {**(facts.params if facts else {}), **(end.params if end else {})}
    decision = next((one for one in views if one.action in DECISIONS and one.outcome is None), None)
    decided = next((one for one in views if one.action in DECISIONS and one.outcome == "done"), None)
    closing = decided or end
    zones = [str(zone) for zone in reading.texts(founding.params.get("zones") if founding else None)]
    artefacts = [_artefact(one) for one in brought(views)] if end and end.outcome == "done" else []
    label = _label([one for one, _ in artefacts], zones)
    return {
        "site": {
            "name": reading.text(founding.params.get("site") if founding else None),
            "zones": list(zones),
            "appliance": reading.text(founding.params.get("appliance") if founding else None),
        },
        "label": label.to_json(),
        "banner": str(label) if label.zones else str(label).removesuffix(" @"),
        "request": {
            "number": last.seq if last else None,
            "asked": last.time if last else None,
            "state": DECISIONS[decided.action] if decided else "refused",
            "decided": closing.time if closing else None,
            "reason": reading.text(closing.params.get("reason", closing.params.get("message")))
            if closing
            else None,
            "generation": reading.whole(decided.params.get("generation")) if decided else None,
        },
        "bundle": {
            **{
                name: reading.text(told.get(name))
                for name in ("name", "version", "publisher", "collection", "expires")
            },
            "manifest": reading.digest(told.get("manifest")),
            "bytes": reading.whole(told.get("bytes")),
        },
        "trust": {
            "root_version": reading.whole(told.get("root_version")),
            "root_fingerprint": reading.text(told.get("root_fingerprint")),
            "role": reading.text(told.get("role")),
            "holders": reading.texts(told.get("holders")),
        },
        "volumes": [_volume(one, verified.get(one.seq)) for one in asked],
        "findings": [_finding(entry) for entry in _entries(told.get("findings"))],
        "artefacts": [row for _, row in artefacts],
        "people": {
            "requester": _requester(last, known),
            "approver": _approver(decision, known),
            "one_local_user": last is not None and decision is not None and last.uid == decision.uid,
        },
    }


def brought(views: Sequence[View]) -> list[View]:
    """Find what the last import of some events listed.

    Args:
        views: The events.

    Returns:
        The first event of every artefact.
    """
    asked = [one.seq for one in views if one.action == "bundle.import" and one.outcome is None]
    return [
        one
        for one in views
        if one.action == listing.LISTED and one.params.get("part") == 1 and asked and one.cause == asked[-1]
    ]


def is_whole(views: Sequence[View]) -> bool:
    """Tell whether every artefact is there that the last import's outcome names.

    Args:
        views: The events.

    Returns:
        True if it is so, or the import did not end as intended.
    """
    ended = [one for one in views if one.action == "bundle.import" and one.outcome is not None]
    if not ended or ended[-1].outcome != "done":
        return True
    digests = [
        reading.digest(reading.mapping(one.params.get("artefact")).get("digest")) for one in brought(views)
    ]
    return listing.digest_of(one or "" for one in digests) == ended[-1].params.get("listing")


def gather(
    proofs: Sequence[Mapping[str, Json]],
    checkpoints: Sequence[str],
    events: Sequence[Mapping[str, object]],
    *,
    now: str,
    version: str,
    log: Mapping[str, Json],
) -> dict[str, Json]:
    """Make a receipt's facts.

    Args:
        proofs: For each event ``what`` (for people), ``seq``, ``event`` (its bytes as text), ``proof`` (a tlog-proof up to its
            checkpoint) and ``checkpoint`` (which of the checkpoints follows).
        checkpoints: The checkpoints.
        events: The same events as plain data.
        now: When the receipt is made, RFC 3339.
        version: The software's.
        log: ``origin``, ``size`` and ``root`` of the checkpoint beside the receipt.

    Returns:
        The facts.
    """
    return {
        **derive(events),
        "schema": SCHEMA,
        "made": now,
        "software": {"version": version},
        "log": dict(log),
        "proofs": [dict(one) for one in proofs],
        "checkpoints": [*checkpoints],
    }


def people_of(views: Sequence[View]) -> list[Mapping[str, object]]:
    """Find the people whom the founding of the site names.

    Args:
        views: Events, among them those of the founding.

    Returns:
        Their records; of two with one name the first counts.
    """
    return [
        reading.mapping(entry)
        for one in views
        if one.action in FOUNDING
        for entry in _entries(one.params.get("people"))
    ]


def _requester(asked: View | None, known: Mapping[str, Mapping[str, object]]) -> dict[str, Json]:
    return _person(asked, known) | {"session": asked.session if asked else None}


def _approver(decision: View | None, known: Mapping[str, Mapping[str, object]]) -> dict[str, Json] | None:
    if decision is None:
        return None
    approval = reading.mapping(decision.params.get("approval"))
    statement = reading.mapping(approval.get("statement"))
    return _person(decision, known) | {
        "statement": {name: reading.text(value) for name, value in sorted(statement.items())},
        "signatures": [
            {name: _whole(value) for name, value in sorted(reading.mapping(one).items())}
            for one in _entries(approval.get("signatures"))
        ],
    }


def _person(seen: View | None, known: Mapping[str, Mapping[str, object]]) -> dict[str, Json]:
    name = seen.person if seen else None
    entry = known.get(name or "", {})
    return {
        "name": name,
        "role": seen.role if seen else None,
        "uid": seen.uid if seen else None,
        "time": seen.time if seen else None,
        "fingerprint": reading.text(entry.get("fingerprint")),
    }


def _volume(asked: View, verified: View | None) -> dict[str, Json]:
    volume = reading.mapping(verified.params.get("volume") if verified else None)
    medium = reading.mapping(volume.get("medium"))
    return {
        "request": asked.seq,
        "requester": asked.person,
        "time": asked.time,
        "number": reading.whole(volume.get("number")),
        "count": reading.whole(volume.get("count")),
        "digest": reading.digest(volume.get("digest")),
        "medium": {
            name: reading.truth(medium.get(name)) if "read_only" in name else reading.text(medium.get(name))
            for name in MEDIUM
        },
    }


def _artefact(listed: View) -> tuple[Label | None, dict[str, Json]]:
    fields = reading.mapping(listed.params.get("artefact"))
    label = reading.label(fields.get("label"))
    return label, {
        "kind": reading.text(fields.get("kind")),
        "name": reading.text(fields.get("name")),
        "version": reading.text(fields.get("version")),
        "digest": reading.digest(fields.get("digest")),
        "bytes": reading.whole(listed.params.get("bytes")),
        "files": reading.whole(listed.params.get("files")),
        "label": label.to_json() if label else None,
    }


def _label(found: list[Label | None], zones: list[str]) -> Label:
    fallback = labels.highest(zones)
    return loosely_joined([one or fallback for one in found], zones) if found else fallback


def _finding(entry: object) -> dict[str, Json]:
    fields = reading.mapping(entry)
    return {name: reading.text(fields.get(name)) for name in ("file", "key", "sentence")}


def _entries(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _whole(value: object) -> str | None:
    """Give a signature's text uncut; the event that holds it is bounded."""
    return value if isinstance(value, str) else None
