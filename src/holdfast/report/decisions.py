"""What acts of two persons have in common: a row for what one asked for, decided by another, once. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.report import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.report.custody import Row
    from holdfast.report.reading import View

Folds = dict[tuple[str, str | None], "Callable[[View], object]"]


class Folding:
    """Folds events, each by what its action and outcome call for.

    Args:
        folds: By action and outcome.
    """

    def __init__(self, folds: Folds) -> None:
        self._folds = folds

    def take(self, seen: View) -> None:
        """Fold one event.

        Args:
            seen: The event.
        """
        fold = self._folds.get((seen.action, seen.outcome))
        if fold is not None:
            fold(seen)


def decide(rows: Mapping[int, Row], seen: View, state: str) -> Row | None:
    """Take a decision about what was asked for; of several the first stands.

    Args:
        rows: What was asked for, by the number of the request.
        seen: The event that says who decided.
        state: How it was decided.

    Returns:
        The row; None if there is no such request, or it is decided already.
    """
    request = reading.whole(seen.params.get("request"))
    row = rows.get(request) if request is not None else None
    if row is None or row["decision"] is not None:
        return None
    row["state"] = state
    row["decision"] = {"by": seen.person, "reason": reading.text(seen.params.get("reason")), **seen.origin()}
    return row
