"""The facts of a residency report, as plain data: schema ``holdfast.residency/1``.

Order of operations: read each event once, tolerantly; pair outcomes with their intents by ``cause``; let each section fold
what is its own; then state what is known to be missing. Invariants: pure (the time comes in); the result is canonical JSON
and fits a worker's frame; a list that had to be cut says by how much in ``left_out`` and among the gaps; nothing of a prompt
or an answer is in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.artefact import Kind
from holdfast.audit.actions import REGISTRY, Phase
from holdfast.governance import labels
from holdfast.report import gaps, reading
from holdfast.report.conduct import Endings, People, Refusals, Service, shared_uids
from holdfast.report.custody import Inventory, Trust, stores
from holdfast.report.releases import Releases
from holdfast.report.safeguards import Safeguards
from holdfast.report.shape import SCHEMA
from holdfast.report.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.canonical import Json
    from holdfast.report.custody import Row
    from holdfast.report.reading import Recorded, View

REPORTING = "report.residency"
MAX_ROWS = 2_000  # rows of one list; with rows of about 1 KB the facts stay within one 16 MiB frame


def _is_act(action: str) -> bool:
    """Tell whether an action is an intent, which an outcome follows."""
    found = REGISTRY.get(action)
    return found is not None and found.phase is Phase.INTENT


@dataclass
class _Sections:
    """The folds, and what is remembered between events."""

    inventory: Inventory = field(default_factory=Inventory)
    people: People = field(default_factory=People)
    refusals: Refusals = field(default_factory=Refusals)
    endings: Endings = field(default_factory=Endings)
    safeguards: Safeguards = field(default_factory=Safeguards)
    releases: Releases = field(default_factory=Releases)
    intents: dict[int, View] = field(default_factory=dict)
    founded: View | None = None
    started: View | None = None
    first: View | None = None
    last: View | None = None
    clocks: set[str] = field(default_factory=set)
    count: int = 0

    def __post_init__(self) -> None:
        self.trust = Trust(self.inventory)
        self.work = Work(self.inventory)
        self.service = Service(self.inventory)

    def take(self, seen: View) -> None:
        self.count += 1
        self.first = self.first or seen
        self.last = seen
        if seen.clock and len(self.clocks) < reading.MAX_ITEMS:
            self.clocks.add(seen.clock)
        intent = self._paired(seen)
        if seen.action == "site.founded":
            self.founded = self.founded or seen
            self.people.found(seen)
        elif seen.action == "people.listed":
            self.people.found(seen)
        elif seen.action == "daemon.started":
            self.started = seen
        self.trust.take(seen, intent)
        if seen.action != "bundle.import" and (seen.outcome == "done" or not _is_act(seen.action)):
            self.inventory.take(seen)
        self.work.take(seen, intent)
        self.service.take(seen, intent)
        self.people.take(seen)
        self.refusals.take(seen)
        self.endings.take(seen)
        self.safeguards.take(seen)
        self.releases.take(seen)

    def _paired(self, seen: View) -> View | None:
        if seen.outcome is not None:
            return self.intents.pop(seen.cause, None) if seen.cause is not None else None
        if seen.seq is not None and _is_act(seen.action):
            self.intents[seen.seq] = seen
        return None

    def open(self) -> list[Row]:
        """List the acts that were begun and have no outcome yet, less the making of this report."""
        return [
            {"action": intent.action, "by": intent.person, **intent.origin()}
            for intent in self.intents.values()
            if intent.action != REPORTING
        ]


def gather(
    events: Iterable[Recorded | Mapping[str, object]],
    *,
    site: str,
    walls: Mapping[str, object],
    now: str,
    log: Mapping[str, object],
) -> dict[str, Json]:
    """Fold a log into the facts of a report.

    Args:
        events: The events in the order of the log, as objects or plain data.
        site: Name of the site.
        walls: What this host enforces around workers: a name and a state each, as ``daemon.started`` records them.
        now: When the report is made, RFC 3339.
        log: ``origin``, ``size`` and ``root`` of the checkpoint that the report stands on.

    Returns:
        The facts; see ``shape.SECTIONS`` for the names.
    """
    sections = _Sections()
    for event in events:
        sections.take(reading.view(event))
    founding = sections.founded.params if sections.founded else {}
    zones = [str(zone) for zone in reading.texts(founding.get("zones"))]
    inventory = sections.inventory
    inventory.place(zones)
    label = inventory.joined(list(Kind), zones) or labels.highest(zones)
    people = sections.people.rows()
    started = sections.started
    left_out: dict[str, Json] = {}

    def cut(name: str, rows: list[Row]) -> list[Json]:
        if len(rows) > MAX_ROWS:
            left_out[name] = len(rows) - MAX_ROWS
        return list(rows[:MAX_ROWS])

    facts: dict[str, Json] = {
        "schema": SCHEMA,
        "made": reading.text(now),
        "site": {
            "name": reading.text(site),
            "zones": list(zones),
            "founded": sections.founded.time if sections.founded else None,
            "gaps": reading.texts(founding.get("gaps")),
        },
        "period": {
            "first": sections.first.origin() if sections.first else None,
            "last": sections.last.origin() if sections.last else None,
            "events": sections.count,
            "clocks": [*sorted(sections.clocks)],
        },
        "log": {
            "origin": reading.text(log.get("origin")),
            "size": reading.whole(log.get("size")),
            "root": reading.text(log.get("root")),
            "first": reading.whole(log.get("first")),
        },
        "label": label.to_json(),
        "banner": str(label) if label.zones else str(label).removesuffix(" @"),
        "software": {
            "version": reading.text(started.params.get("version")) if started else None,
            "started": started.time if started else None,
        },
        "walls": reading.figures(dict(walls)),
        "trust": cut("trust", sections.trust.pinned),
        "imports": cut("imports", sections.trust.imports),
        "imports_refused": cut("imports_refused", sections.trust.refused),
        "generations": cut("generations", sections.trust.generations),
        "stores": cut("stores", stores(inventory, zones)),
        "artefacts": cut("artefacts", list(inventory.rows.values())),
        "added": cut("added", sections.work.added),
        "training": cut("training", sections.work.runs),
        "replays": cut("replays", sections.work.replays),
        "conversions": cut("conversions", sections.work.conversions),
        "evaluations": cut("evaluations", sections.work.evaluations),
        "gates": cut("gates", sections.work.gates),
        "releases": cut("releases", sections.releases.rows()),
        "serving": cut("serving", sections.service.starts),
        "answers": cut("answers", sections.service.answers()),
        "exceptions": cut("exceptions", sections.safeguards.exceptions()),
        "revocations": cut("revocations", sections.safeguards.revocations()),
        "inventories": cut("inventories", sections.safeguards.inventories()),
        "people": cut("people", people),
        "shared_uids": cut("shared_uids", shared_uids(people)),
        "system": dict(sorted(sections.people.system.most_common(reading.MAX_ITEMS))),
        "endings": cut("endings", sections.endings.rows()),
        "open": cut("open", sections.open()),
        "access_denied": cut("access_denied", sections.refusals.access()),
        "worker_denied": cut("worker_denied", sections.refusals.workers()),
    }
    facts["egress"] = gaps.egress(facts)
    facts["left_out"] = left_out
    facts["gaps"] = list(gaps.find(facts))
    return facts
