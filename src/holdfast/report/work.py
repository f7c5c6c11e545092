"""What was made on the site: data sets and recipes taken in, training runs, replays, conversions, evaluations, gates.

Invariants: rows stand in the order of the log; a run that did not end well is listed with how it ended. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.artefact import Kind
from holdfast.report import reading

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.report.custody import Inventory, Row
    from holdfast.report.reading import View


class Work:
    """Training and what belongs to it.

    Args:
        inventory: Where artefacts are noted.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.added: list[Row] = []
        self.runs: list[Row] = []
        self.replays: list[Row] = []
        self.conversions: list[Row] = []
        self.evaluations: list[Row] = []
        self.gates: list[Row] = []

    def take(self, seen: View, intent: View | None) -> None:
        """Fold one event.

        Args:
            seen: The event.
            intent: The intent it closes, if it is an outcome.
        """
        if seen.action in ("recipe.added", "suite.added"):
            self._added(seen, seen.action.removesuffix(".added"))
        elif seen.action == "gate.decided":
            self._gate(seen)
        elif seen.outcome is None:
            return
        elif seen.action == "dataset.prepare":
            self._added(seen, Kind.DATASET)
        elif seen.action == "train.run":
            self._run(seen, intent)
        elif seen.action == "train.replay":
            self._replay(seen, intent)
        elif seen.action == "model.quantize":
            self._conversion(seen, intent)
        elif seen.action == "model.merge":
            self._inventory.take(seen)
        elif seen.action == "eval.run":
            self._evaluation(seen, intent)

    def _added(self, seen: View, what: str) -> None:
        for digest in self._inventory.take(seen):
            self.added.append(
                {
                    "artefact": digest,
                    "name": self._inventory.title(str(digest)),
                    "what": what,
                    "by": seen.person,
                    **seen.origin(),
                }
            )

    def _of_kind(self, digests: list[Json], kind: Kind) -> str | None:
        for digest in digests:
            row = self._inventory.rows.get(str(digest))
            if row is not None and row["kind"] == kind:
                return str(digest)
        return None

    def _run(self, seen: View, intent: View | None) -> None:
        asked = (intent or seen).params
        made = self._inventory.take(seen)
        run = reading.digest(seen.params.get("run")) or self._of_kind(made, Kind.RUN)
        base = reading.digest(asked.get("base")) or reading.digest(seen.params.get("base"))
        adapter = self._product(made, seen)
        data = [asked.get(name) or seen.params.get(name) for name in ("data", "datasets")]
        self.runs.append(
            {
                "run": run,
                "outcome": seen.outcome,
                "by": (intent or seen).person,
                "base": base,
                "base_name": self._inventory.title(base),
                "tokenizer": reading.digest(asked.get("tokenizer")),
                "recipe": reading.digest(asked.get("recipe")) or reading.digest(seen.params.get("recipe")),
                "datasets": _digests(data),
                "adapter": adapter,
                "adapter_name": self._inventory.title(adapter),
                "steps": reading.whole(seen.params.get("steps")),
                "tokens_per_second": reading.number(seen.params.get("tokens_per_second")),
                "seconds": reading.number(seen.params.get("seconds")),
                "telemetry": reading.digest(seen.params.get("telemetry")),
                **seen.origin(),
            }
        )

    def _product(self, made: list[Json], seen: View) -> str | None:
        """Find what a run made: an adapter, or a whole model."""
        stated = (reading.digest(seen.params.get(name)) for name in ("adapter", "model"))
        found = self._of_kind(made, Kind.ADAPTER) or self._of_kind(made, Kind.MERGED)
        return found or next(filter(None, stated), None)

    def _replay(self, seen: View, intent: View | None) -> None:
        asked = (intent or seen).params
        first = reading.digest(seen.params.get("adapter_digest"))
        second = reading.digest(seen.params.get("replayed_digest"))
        stated = reading.truth(seen.params.get("equal"))
        self._inventory.take(seen)
        self.replays.append(
            {
                "run": reading.digest(seen.params.get("run")) or reading.digest(asked.get("run")),
                "outcome": seen.outcome,
                "by": (intent or seen).person,
                "adapter": first,
                "replayed": second,
                # The digests decide; what the event states counts only where they are not stated.
                "equal": first == second if first and second else stated,
                **seen.origin(),
            }
        )

    def _conversion(self, seen: View, intent: View | None) -> None:
        self.conversions.append(
            {
                "outcome": seen.outcome,
                "by": (intent or seen).person,
                "artefacts": self._inventory.take(seen),
                "fidelity": reading.figures(seen.params.get("fidelity")),
                "adapter_fidelity": reading.figures(seen.params.get("adapter_fidelity")),
                **seen.origin(),
            }
        )

    def _evaluation(self, seen: View, intent: View | None) -> None:
        asked = (intent or seen).params
        made = self._inventory.take(seen)

        def stated(name: str) -> object:
            return seen.params.get(name) or asked.get(name)

        self.evaluations.append(
            {
                "outcome": seen.outcome,
                "by": (intent or seen).person,
                "run": reading.digest(stated("run")),
                "suites": reading.texts([*reading.mapping(stated("suites"))]),
                "base": reading.digest(stated("base")) or reading.digest(stated("model")),
                "adapter": reading.digest(stated("adapter")),
                "engine": reading.text(stated("engine")),
                "scores": reading.figures(seen.params.get("scores")),
                "artefacts": made,
                **seen.origin(),
            }
        )

    def _gate(self, seen: View) -> None:
        self.gates.append(
            {
                "run": reading.digest(seen.params.get("run")),
                "evaluation": reading.digest(seen.params.get("evaluation")),
                "suites": _digests([seen.params.get("suites")]),
                "go": reading.truth(seen.params.get("go")),
                "verdicts": _verdicts(seen),
                "reasons": reading.texts(seen.params.get("reasons")),
                "by": seen.person,
                **seen.origin(),
            }
        )


def _verdicts(seen: View) -> list[Json]:
    """Tell what a gate decided on each rule and engine, in a few words each."""
    judged = seen.params.get("judged")
    told: list[Json] = []
    for one in (judged if isinstance(judged, list) else [])[: reading.MAX_ITEMS]:
        row = reading.mapping(one)
        words = [reading.text(row.get(name)) for name in ("on", "suite", "section", "rule", "verdict")]
        holds = reading.truth(row.get("holds"))
        if holds is not None and None not in words:
            told.append(f"{' '.join(map(str, words[:4]))}: {'holds' if holds else 'fails'}, {words[4]}")
    return told


def _digests(values: list[object]) -> list[Json]:
    """Collect digests from texts, lists and one level of objects, without repeats, in order."""
    found: dict[str, None] = {}
    for value in values:
        entries = (
            list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
        )
        for entry in entries[: reading.MAX_ITEMS]:
            digest = reading.digest(entry) or reading.digest(reading.mapping(entry).get("digest"))
            if digest:
                found[digest] = None
    return list(found)
