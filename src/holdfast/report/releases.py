"""What was released under which name, by whom, and what became of it, in the order of the log.

Invariants: what was proposed is listed whatever became of it; a release is decided once. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.report import reading
from holdfast.report.decisions import Folding, decide

if TYPE_CHECKING:
    from holdfast.report.custody import Row
    from holdfast.report.decisions import Folds
    from holdfast.report.reading import View


class Releases(Folding):
    """Proposals, approvals, refusals and rollbacks."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        folds: Folds = {
            ("release.proposed", None): self._proposed,
            ("release.approve", "done"): self._approved,
            ("release.refused", None): lambda seen: decide(self._rows, seen, "refused"),
            ("release.rollback", "done"): self._rolled_back,
        }
        super().__init__(folds)

    def rows(self) -> list[Row]:
        """List releases.

        Returns:
            One row each, in the order in which they were proposed.
        """
        return list(self._rows.values())

    def _proposed(self, seen: View) -> None:
        release = reading.mapping(seen.params.get("release"))
        if seen.seq is not None:
            self._rows[seen.seq] = {
                "request": seen.seq,
                "alias": reading.text(release.get("alias")),
                "kind": reading.text(release.get("kind")),
                "product": reading.digest(release.get("product")),
                "run": reading.digest(release.get("run")),
                "evaluation": reading.digest(release.get("evaluation")),
                "requester": seen.person,
                "state": "open",
                "decision": None,
                **seen.origin(),
            }

    def _approved(self, seen: View) -> None:
        row = decide(self._rows, seen, "in force")
        if row is None:
            return
        for other in self._of(row["alias"], "in force"):
            if other is not row:
                other["state"] = "superseded"

    def _rolled_back(self, seen: View) -> None:
        goal = reading.whole(seen.params.get("to"))
        row = self._rows.get(goal) if goal is not None else None
        if row is None or row["state"] != "superseded":
            return
        since = reading.whole(reading.mapping(row["decision"]).get("seq")) or 0
        for other in (*self._of(row["alias"], "in force"), *self._of(row["alias"], "superseded")):
            if (reading.whole(reading.mapping(other["decision"]).get("seq")) or 0) > since:
                other["state"] = f"rolled back by {seen.person}: {reading.text(seen.params.get('reason'))}"
        row["state"] = "in force"

    def _of(self, alias: object, state: str) -> list[Row]:
        return [row for row in self._rows.values() if (row["alias"], row["state"]) == (alias, state)]
