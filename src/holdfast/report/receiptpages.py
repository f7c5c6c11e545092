"""What stands on the pages of a receipt: one page for people who sign for what came in, tables behind it.

Invariants: the pages say nothing that the facts do not; what is not known is called unknown; every text is printable
(``wording.clean``). No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.report import reading, wording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

MAX_RUNNING = 70  # characters that fit the head and foot of every page
UNKNOWN = "unknown"
STATES = {
    "admitted": "ADMITTED",
    "rejected": "REJECTED",
    "refused": "REFUSED BY INSPECTION",
}


def lay_out(facts: Mapping[str, object]) -> dict[str, Json]:
    """Lay out the facts.

    Args:
        facts: What ``receipt.gather`` gives.

    Returns:
        Plain data for ``receipt.typ``. All texts are printable.
    """
    site, request, bundle, trust, log, people = (
        reading.mapping(facts.get(name)) for name in ("site", "request", "bundle", "trust", "log", "people")
    )
    banner, level = str(facts.get("banner")), wording.said(reading.mapping(facts.get("label")).get("level"))
    state = str(request.get("state"))
    volumes = [reading.mapping(one) for one in wording.entries(facts.get("volumes"))]
    reason: list[Json] = (
        [["Reason", wording.said(request.get("reason"))]] if request.get("reason") is not None else []
    )
    model: dict[str, Json] = {
        "banner": banner,
        "running": banner if len(banner) <= MAX_RUNNING else f"{level.upper()} (the full label is on page 1)",
        "level": level,
        "footer": f"{wording.said(site.get('name'))}, request {wording.count(request.get('number'))}"[
            :MAX_RUNNING
        ],
        "state": STATES.get(state, state),
        "title": f"{wording.said(bundle.get('name'))} {wording.said(bundle.get('version'))}",
        "cover": [
            ["Site", wording.said(site.get("name"))],
            [
                "Request",
                f"{wording.count(request.get('number'))}, asked {wording.time(request.get('asked'))}",
            ],
            ["Decided", _decided(request)],
            *reason,
            ["Publisher", wording.said(bundle.get("publisher"))],
            ["Signed by", f"{wording.joined(trust.get('holders'))}, as {wording.said(trust.get('role'))}"],
            [
                "Root of trust",
                f"version {wording.count(trust.get('root_version'))}, {wording.said(trust.get('root_fingerprint'))}",
            ],
            ["Size", wording.size(bundle.get("bytes"))],
            ["Manifest", wording.said(bundle.get("manifest"))],
            ["Receipt made", f"{wording.time(facts.get('made'))} (all times are UTC)"],
            ["Audit log", f"{wording.said(log.get('origin'))}, {wording.count(log.get('size'))} events"],
            ["Log root", wording.said(log.get("root"))],
        ],
        "people": [
            _person("Requester", reading.mapping(people.get("requester"))),
            *(
                [
                    _person(
                        "Second person",
                        reading.mapping(people.get("approver")),
                        alike=people.get("one_local_user") is True,
                    )
                ]
                if people.get("approver")
                else []
            ),
        ],
        "tables": [_media(volumes), _findings(facts), _artefacts(facts), _proofs(facts)],
    }
    cleaned = wording.clean(model)
    return cleaned if isinstance(cleaned, dict) else {}


def _decided(request: Mapping[str, object]) -> str:
    generation = request.get("generation")
    after = f"; generation {wording.count(generation)} became active" if generation is not None else ""
    return f"{wording.said(request.get('state'))} {wording.time(request.get('decided'))}{after}"


def _person(part: str, person: Mapping[str, object], *, alike: bool = False) -> dict[str, Json]:
    user = wording.count(person.get("uid"))
    signatures = [reading.mapping(one) for one in wording.entries(person.get("signatures"))]
    named = ", ".join(str(one.get("algorithm")) for one in signatures)
    how = (
        f"signed the decision ({named}); the signature stands in the JSON"
        if signatures
        else f"proved their key in session {wording.said(person.get('session'))}"
    )
    return {
        "part": part,
        "name": f"{wording.said(person.get('name'))}, {wording.said(person.get('role'))}",
        "rows": [
            ["Key", wording.said(person.get("fingerprint"))],
            ["Local user", f"{user}, as the requester: who has both keys is both persons" if alike else user],
            ["When", wording.time(person.get("time"))],
            ["How", how],
        ],
    }


def _media(volumes: list[Mapping[str, object]]) -> Json:
    rows: list[Json] = []
    for one in volumes:
        medium = reading.mapping(one.get("medium"))
        thing = [reading.text(medium.get(name)) for name in ("vendor", "model")]
        rows.append(
            [
                f"{wording.count(one.get('number'))} of {wording.count(one.get('count'))}",
                " ".join(part for part in thing if part) or UNKNOWN,
                reading.text(medium.get("serial")) or UNKNOWN,
                _standing(medium),
                " ".join(
                    filter(None, (reading.text(medium.get("filesystem")), reading.text(medium.get("uuid"))))
                )
                or UNKNOWN,
                f"{wording.said(one.get('requester'))}, {wording.time(one.get('time'))}",
                wording.short(one.get("digest")),
            ]
        )
    return {
        "title": "Media",
        "columns": ["Volume", "Device", "Serial", "Writing", "File system", "Read by", "Digest"],
        "widths": [1.1, 2, 2, 1.7, 2, 2.2, 1.8],
        "rows": rows,
        "note": "" if rows else "No medium is on the record.",
    }


def _standing(medium: Mapping[str, object]) -> str:
    if medium.get("device_read_only") is True:
        return "locked by the device"
    if medium.get("read_only") is True:
        return "mounted read-only"
    return "WRITABLE" if medium.get("read_only") is False else UNKNOWN


def _findings(facts: Mapping[str, object]) -> Json:
    found = [reading.mapping(one) for one in wording.entries(facts.get("findings"))]
    return {
        "title": "Findings of the inspection",
        "columns": ["File", "Filed under", "What is wrong"],
        "widths": [2, 1.6, 5],
        "rows": [
            [
                wording.said(one.get("file")) if one.get("file") else "the whole",
                wording.said(one.get("key")),
                wording.said(one.get("sentence")),
            ]
            for one in found
        ],
        "note": "" if found else "Nothing speaks against what the files hold.",
    }


def _artefacts(facts: Mapping[str, object]) -> Json:
    found = [reading.mapping(one) for one in wording.entries(facts.get("artefacts"))]
    return {
        "title": "Artefacts",
        "columns": ["Kind", "Name", "Version", "Size", "Files", "Label", "Digest"],
        "widths": [1.2, 2, 1.2, 1.2, 0.8, 2, 2],
        "rows": [
            [
                wording.said(one.get("kind")),
                wording.said(one.get("name")),
                wording.said(one.get("version")),
                wording.size(one.get("bytes")),
                wording.count(one.get("files")),
                wording.label(one),
                wording.short(one.get("digest")),
            ]
            for one in found
        ],
        "note": "" if found else "None is on the record of this request.",
    }


def _proofs(facts: Mapping[str, object]) -> Json:
    found = [reading.mapping(one) for one in wording.entries(facts.get("proofs"))]
    return {
        "title": "Events of the audit log, each with its proof in the JSON",
        "columns": ["Event", "What it records"],
        "widths": [1, 8],
        "rows": [[wording.count(one.get("seq")), wording.said(one.get("what"))] for one in found],
        "note": "" if found else "None.",
    }
