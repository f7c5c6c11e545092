"""Training runs whose checkpoints were given up, as the log tells it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.audit.event import Event


class Trainings:
    """The fold of what was discarded."""

    def __init__(self) -> None:
        self.discarded: dict[int, int] = {}  # run, and the event that says so

    def apply(self, event: Event) -> None:
        """Fold one event in.

        Args:
            event: The next event of the log.
        """
        if event.action == "train.discarded":
            run = event.params.get("run")
            if isinstance(run, int):
                self.discarded[run] = event.seq
