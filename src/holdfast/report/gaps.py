"""What a report must admit: the gaps between what Holdfast promises and what this site can show.

Invariants: a gap is one sentence for a security officer; what the log does not state is assumed missing, never assumed
present. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.report import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

OFF = frozenset(("off", "no", "absent", "missing", "unavailable", "none", "false", "not available"))
SECONDS = len("2026-03-01T12:00:00")  # of a time in UTC: so far times can be compared as texts
HOLDERS = 2  # distinct signers that a medium must have
SINK = "egress_sink"
SERVICE_KEYS = "service_keys"
PROTECTED = ("tpm", "credential")  # what keeps a service key better than a file does


def find(facts: dict[str, Json]) -> Iterator[str]:
    """Name the gaps of a site.

    Args:
        facts: All other sections.

    Yields:
        One sentence per gap, those about trust first.
    """
    yield from (str(gap) for gap in _list(reading.mapping(facts["site"]).get("gaps")))
    yield from _trust(facts)
    yield from _safeguards(facts)
    yield from _custody(facts)
    yield from _people(facts)
    yield from _host(facts)
    yield from _record(facts)


def missing_walls(facts: dict[str, Json]) -> list[str]:
    """List the walls that this host does not put up.

    Args:
        facts: The facts.

    Returns:
        Their names, sorted.
    """
    walls = reading.mapping(facts["walls"])
    return sorted(name for name, state in walls.items() if name != SERVICE_KEYS and is_off(state))


def is_off(state: object) -> bool:
    """Tell whether a wall's state means that it is not there.

    Args:
        state: A boolean, a word, or an object with ``on`` or ``state``.

    Returns:
        True for false, null and words that say so.
    """
    if isinstance(state, dict):
        return is_off(state.get("on", state.get("state")))
    if isinstance(state, str):
        return state.strip().lower() in OFF or state.startswith("refused")
    return state is None or state is False


def egress(facts: dict[str, Json]) -> Json:
    """State what is known of attempts to reach out.

    Args:
        facts: All sections gathered so far.

    Returns:
        ``state`` (``quiet``, or ``attempted and denied``), ``attempts`` and ``sink`` (whether attempts are seen with their
        destination at the network's edge too).
    """
    attempts = 0
    for row in _list(facts["worker_denied"]):
        attempts += reading.whole(reading.mapping(row).get("count")) or 0
    sink = not is_off(reading.mapping(facts["walls"]).get(SINK))
    return {"state": "attempted and denied" if attempts else "quiet", "attempts": attempts, "sink": sink}


def _trust(facts: dict[str, Json]) -> Iterator[str]:
    pinned = [reading.mapping(row) for row in _list(facts["trust"])]
    if not pinned:
        yield "No trusted root is on the record, so no publisher could be verified."
    for row in pinned:
        named = f"The trusted root, version {_said(row.get('version'))}, fingerprint {_said(row.get('fingerprint'))},"
        if row.get("self_made") is True:
            yield f"{named} was made on this site itself: it proves no outside publisher."
        elif row.get("self_made") is None:
            yield f"{named} does not state where it was made."
    for row in map(reading.mapping, _list(facts["imports"])):
        named = f"Bundle {_said(row.get('name'))} {_said(row.get('version'))}"
        holders = _list(row.get("holders"))
        if len(set(map(str, holders))) < HOLDERS:
            yield f"{named} is on the record with {len(holders)} signing holder(s); {HOLDERS} are asked for."
        admitted = reading.mapping(row.get("admitted"))
        if admitted and admitted.get("by") == row.get("requester"):
            yield f"{named} was admitted by the person who asked for it, or the log does not state who did."


def _safeguards(facts: dict[str, Json]) -> Iterator[str]:
    made = str(facts["made"])[:SECONDS]
    for row in map(reading.mapping, _list(facts["exceptions"])):
        decision = reading.mapping(row.get("decision"))
        named = f"The exception of kind {_said(row.get('kind'))} that {_said(row.get('requester'))} asked for"
        if row.get("state") != "granted":
            continue
        if decision.get("by") == row.get("requester"):
            yield f"{named} was granted by the same person, or the log does not state by whom."
        elif row.get("kind") != "floor" and str(row.get("until"))[:SECONDS] > made:
            yield f"{named} is in force until {_said(row.get('until'))}."
    for row in map(reading.mapping, _list(facts["releases"])):
        by = reading.mapping(row.get("decision")).get("by")
        if by is not None and by == row.get("requester") and row.get("state") != "refused":
            yield f"{_said(by)} released {_said(row.get('alias'))} alone: release {_said(row.get('request'))}."


def _custody(facts: dict[str, Json]) -> Iterator[str]:
    artefacts = [reading.mapping(row) for row in _list(facts["artefacts"])]
    unlabelled = sum(row.get("label") is None for row in artefacts)
    if unlabelled:
        yield f"{unlabelled} artefact(s) carry no readable label and are treated as of the highest level."
    outside = sum(row.get("within_zones") is False for row in artefacts)
    if outside:
        yield f"{outside} artefact(s) lie here although their label names none of this site's zones."
    if not _list(reading.mapping(facts["site"]).get("zones")):
        yield "The log states no residency zone of this site, so no artefact's place could be checked."
    unequal = sum(reading.mapping(row).get("equal") is not True for row in _list(facts["replays"]))
    if unequal:
        yield f"{unequal} replay(s) of a training run did not give, or do not state, the same adapter digest."


def _people(facts: dict[str, Json]) -> Iterator[str]:
    for row in map(reading.mapping, _list(facts["shared_uids"])):
        people = ", ".join(map(str, _list(row.get("people"))))
        yield f"The host account with uid {row.get('uid')} holds the keys of several people ({people}): the host can't tell them apart."
    for row in map(reading.mapping, _list(facts["people"])):
        if row.get("known_at_founding") is False:
            yield f"{row.get('name')} acted here but is not among the people named when the site was founded."


def _host(facts: dict[str, Json]) -> Iterator[str]:
    walls = reading.mapping(facts["walls"])
    for name in missing_walls(facts):
        if name != SINK:
            yield f"This host does not put up the wall {name!r} around workers."
    if is_off(walls.get(SINK)):
        yield "There is no egress sink: attempts to reach the network are denied, but not seen at the network's edge."
    if not walls:
        yield "The log does not state which walls this host puts up around workers."
    kept = reading.text(walls.get(SERVICE_KEYS))
    if kept not in PROTECTED:
        yield "The service keys (log, appliance) lie in files of mode 0600: neither a TPM nor a systemd credential protects them."


def _record(facts: dict[str, Json]) -> Iterator[str]:
    size = reading.mapping(facts["log"]).get("size")
    count = reading.mapping(facts["period"]).get("events")
    first = reading.mapping(facts["log"]).get("first")
    if first:
        yield f"Events before {_said(first)} were archived: of them, answers, visits and refusals are counted nowhere in this report."
    elif size != count:
        yield f"The facts were drawn from {count} events, while the log's checkpoint counts {_said(size)}."
    if "trusted" not in _list(reading.mapping(facts["period"]).get("clocks")):
        yield "All times come from this host's own clock, for which nothing vouches."
    yield "No outside witness has countersigned the log's checkpoint that this report stands on."
    for name, dropped in reading.mapping(facts["left_out"]).items():
        yield f"The list {name!r} was cut; {dropped} more row(s) are in the log."


def _list(value: object) -> list[Json]:
    return value if isinstance(value, list) else []


def _said(value: object) -> str:
    return reading.text(value) or "not stated"
