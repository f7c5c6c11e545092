"""What a site holds: artefacts, trust, bundles that came in, generations and the folders they lie in.

Invariants: an artefact is listed once, under its digest, as it was first recorded; what carries no readable label counts as
the highest level. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.artefact import Kind
from holdfast.governance import labels
from holdfast.governance.labels import Label
from holdfast.governance.listing import LISTED
from holdfast.report import reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.canonical import Json
    from holdfast.report.reading import View

Row = dict[str, "Json"]

# folder of the home, what kind of store it is, what lies in it (see holdfast.paths)
FOLDERS = (
    ("trust", "signed metadata", "The pinned root and the newest trusted metadata of publishers."),
    ("keys", "service keys", "The keys that sign the log and this report."),
    ("log", "append-only segments", "The audit log: the system of record."),
    ("index", "database", "An index of the audit log, rebuilt from it at need."),
    ("store", "files by digest", "Weights, tokenizers, data sets, adapters, runs and other artefacts."),
    ("quarantine", "files by manifest", "Imported bundles that wait for a second person."),
    ("jobs", "scratch", "Working folders and telemetry of training and evaluation."),
    ("sealed", "encrypted payloads", "Prompts and answers, sealed outside the log."),
)
HELD, WAITING, REJECTED = "held", "in quarantine", "rejected"  # where an artefact stands
MODEL_KINDS = (Kind.BASE, Kind.ADAPTER, Kind.MERGED, Kind.GGUF)  # what can be served, and so seen in prompts


class Inventory:
    """Every artefact the log names, by digest."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.labels: dict[str, Label | None] = {}

    def take(self, seen: View) -> list[Json]:
        """Add the artefacts of one event, which were made or sent in here.

        Args:
            seen: The event.

        Returns:
            Their digests, for the row that the event makes.
        """
        listed = seen.params.get("artefacts")
        if not isinstance(listed, list):
            return []
        found: list[Json] = []
        for entry in listed[: reading.MAX_ITEMS]:
            fields = reading.mapping(entry)
            digest = reading.digest(fields.get("digest")) or reading.digest(entry)
            if digest is None:
                continue
            found.append(digest)
            if fields and digest not in self.rows:
                self._add(digest, fields, seen)
            if digest in self.rows:
                self.rows[digest]["state"] = HELD
        return found

    def take_listed(self, listed: Iterable[View]) -> list[str]:
        """Add what an import listed, which waits in quarantine.

        Args:
            listed: The first event of each artefact.

        Returns:
            Their digests.
        """
        found: list[str] = []
        for seen in listed:
            fields = reading.mapping(seen.params.get("artefact"))
            digest = reading.digest(fields.get("digest"))
            if digest is None:
                continue
            found.append(digest)
            if digest not in self.rows:
                self._add(digest, fields, seen)
                self.rows[digest] |= {
                    "state": WAITING,
                    "files": reading.whole(seen.params.get("files")),
                    "bytes": reading.whole(seen.params.get("bytes")),
                }
            elif self.rows[digest]["state"] == REJECTED:
                self.rows[digest]["state"] = WAITING
        return found

    def move(self, digests: Iterable[str], state: str) -> None:
        """Note what became of artefacts that an import listed.

        Args:
            digests: Theirs.
            state: ``HELD``, or ``REJECTED`` for what left quarantine without coming in. What is held stays so.
        """
        for digest in digests:
            row = self.rows.get(digest)
            if row is not None and (state == HELD or row["state"] == WAITING):
                row["state"] = state

    def _add(self, digest: str, fields: Mapping[str, object], seen: View) -> None:
        label = reading.label(fields.get("label"))
        files = fields.get("files")
        sizes = (
            [reading.whole(reading.mapping(file).get("size")) for file in files]
            if isinstance(files, list)
            else []
        )
        known = [size for size in sizes if size is not None]
        parents = fields.get("parents")
        listed = parents[: reading.MAX_ITEMS] if isinstance(parents, list) else []
        self.labels[digest] = label
        self.rows[digest] = {
            "digest": digest,
            "kind": reading.text(fields.get("kind")),
            "name": reading.text(fields.get("name")),
            "version": reading.text(fields.get("version")),
            "files": len(sizes),
            "bytes": sum(known) if known else reading.whole(fields.get("size")),
            "label": label.to_json() if label else None,
            "parents": [parent for parent in map(reading.digest, listed) if parent],
            "recorded_by": seen.action,
            **seen.origin(),
        }

    def title(self, digest: str | None) -> str | None:
        """Name an artefact for people.

        Args:
            digest: Its digest.

        Returns:
            Its name and version, None if the log does not describe it.
        """
        row = self.rows.get(digest or "")
        return f"{row['name'] or 'unnamed'} {row['version'] or ''}".strip() if row else None

    def place(self, site_zones: list[str]) -> None:
        """State of every artefact whether its label allows it to lie here.

        Args:
            site_zones: The zones of the site.
        """
        here = frozenset(site_zones)
        for digest, row in self.rows.items():
            label = self.labels[digest]
            row["within_zones"] = bool(label.zones & here) if label and here else None

    def joined(self, kinds: Iterable[str], site_zones: list[str]) -> Label | None:
        """Join the labels of what is held.

        Args:
            kinds: The artefact kinds that count.
            site_zones: Zones of the site, which hold what is unlabelled.

        Returns:
            Highest level, all compartments, and the zones that all share (the site's, where none is shared); None if
            nothing of these kinds is held.
        """
        wanted = set(kinds)
        fallback = labels.highest(site_zones)
        held = [
            self.labels[digest] or fallback
            for digest, row in self.rows.items()
            if row["kind"] in wanted and row["state"] != REJECTED
        ]
        if not held:
            return None
        return loosely_joined(held, site_zones)


def loosely_joined(held: list[Label], site_zones: list[str]) -> Label:
    """Join labels of things that merely lie together, which may share no zone.

    Args:
        held: At least one label.
        site_zones: Zones to name where the labels share none.

    Returns:
        The label under which a page that speaks of all of them may be read.
    """
    level = max((label.level for label in held), key=labels.LEVELS.index)
    compartments = frozenset().union(*(label.compartments for label in held))
    zones = frozenset.intersection(*(label.zones for label in held)) or frozenset(site_zones)
    return Label(level, compartments, zones)


class Trust:
    """Pinned roots, imports, admissions and generations, in the order of the log."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.pinned: list[Row] = []
        self.imports: list[Row] = []
        self.generations: list[Row] = []
        self.refused: list[Row] = []
        self._by_seq: dict[int, Row] = {}
        self._listed: dict[
            int, list[View]
        ] = {}  # what an import that goes on has listed, by the import's number
        self._brought: dict[int, list[str]] = {}  # digests of what an import brought

    def take(self, seen: View, intent: View | None) -> None:
        """Fold one event of trust or bundles.

        Args:
            seen: The event.
            intent: The intent it closes, if it is an outcome.
        """
        if seen.action == "trust.pinned":
            self.pinned.append(
                {
                    "version": reading.whole(seen.params.get("version")),
                    "fingerprint": reading.text(seen.params.get("fingerprint")),
                    "self_made": reading.truth(seen.params.get("self_made")),
                    "by": seen.person,
                    **seen.origin(),
                }
            )
        elif seen.action == LISTED and seen.cause is not None and seen.params.get("part") == 1:
            self._listed.setdefault(seen.cause, []).append(seen)
        elif seen.action == "bundle.import" and seen.outcome:
            self._imported(seen, intent)
        elif seen.action in ("bundle.admit", "bundle.rollback") and seen.outcome == "done":
            self._generation(seen, intent)
        elif seen.action in ("bundle.reject", "bundle.discard") and seen.outcome == "done":
            row = self._requested(seen, intent)
            if row is not None:
                self._inventory.move(self._brought.get(_number(row), ()), REJECTED)
                row["rejected"] = {"by": (intent or seen).person, **seen.origin()}

    def _imported(self, seen: View, intent: View | None) -> None:
        params = seen.params
        asked = intent or seen
        listed = self._listed.pop(seen.cause, []) if seen.cause is not None else []
        if seen.outcome != "done":
            self.refused.append(
                {
                    "requester": asked.person,
                    "outcome": seen.outcome,
                    "error": reading.text(params.get("error")),
                    "reason": reading.text(params.get("message")) or reading.text(params.get("reason")),
                    **seen.origin(),
                }
            )
            return
        if params.get("missing"):
            return  # one volume of several: the import that completes them speaks for all
        digests = self._inventory.take_listed(listed)
        row: Row = {
            "name": reading.text(params.get("name")),
            "version": reading.text(params.get("version")),
            "publisher": reading.text(params.get("publisher")),
            "manifest": reading.digest(params.get("manifest")),
            "root_version": reading.whole(params.get("root_version")),
            "holders": reading.texts(params.get("holders")),
            "bytes": reading.whole(params.get("bytes")),
            "volumes": reading.whole(params.get("volumes")),
            "requester": reading.text(params.get("requester")) or asked.person,
            "artefacts": [*digests[: reading.MAX_ITEMS]],
            "brought": len(digests),
            "admitted": None,
            "rejected": None,
            **seen.origin(),
        }
        self.imports.append(row)
        self._brought[_number(row)] = digests
        for seq in (seen.seq, seen.cause):  # an admission may cite the import's intent or its outcome
            if seq is not None:
                self._by_seq[seq] = row

    def _generation(self, seen: View, intent: View | None) -> None:
        by = (intent or seen).person
        number = reading.whole(seen.params.get("generation"))
        self.generations.append(
            {
                "generation": number,
                "act": seen.action,
                "by": by,
                "role": (intent or seen).role,
                **seen.origin(),
            }
        )
        if seen.action != "bundle.admit":
            return
        row = self._requested(seen, intent)
        if row is not None:
            row["admitted"] = {"by": by, "generation": number, **seen.origin()}
            self._inventory.move(self._brought.get(_number(row), ()), HELD)

    def _requested(self, seen: View, intent: View | None) -> Row | None:
        """Find the import that a decision is about."""
        request = reading.whole(seen.params.get("request"))
        if request is None and intent is not None:
            request = reading.whole(intent.params.get("request"))
        return self._by_seq.get(request) if request is not None else None


def _number(row: Row) -> int:
    """Give the number of a row's event, which tells rows apart; negative for an event without one."""
    seq = row["seq"]
    return seq if isinstance(seq, int) else -1


def stores(inventory: Inventory, site_zones: list[str]) -> list[Row]:
    """Tell where data of the site lies.

    Args:
        inventory: All artefacts, placed.
        site_zones: The zones of the site.

    Returns:
        One row per folder of the home: kind, contents, zones, labels of what lies there, and counts for the store.
    """
    everything = inventory.joined(list(Kind), site_zones)
    models = inventory.joined(MODEL_KINDS, site_zones)
    under = {
        "store": everything,
        "quarantine": everything,
        "jobs": everything,
        "log": everything,
        "index": everything,
        "sealed": models,
    }
    rows: list[Row] = []
    for folder, kind, contents in FOLDERS:
        label = under.get(folder)
        state = {"store": HELD, "quarantine": WAITING}.get(folder)
        rows.append(
            {
                "folder": folder,
                "kind": kind,
                "contents": contents,
                "zones": list(site_zones),
                "label": label.to_json() if label else None,
                "artefacts": sum(row["state"] == state for row in inventory.rows.values()) if state else None,
                "labels": _distinct(inventory) if folder == "store" else [],
            }
        )
    return rows


def _distinct(inventory: Inventory) -> list[Json]:
    found = {str(label) if label else "unlabelled" for label in inventory.labels.values()}
    return [*sorted(found)[: reading.MAX_ITEMS]]
