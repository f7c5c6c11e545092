"""Whom a run reports to. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from holdfast.canonical import Json


class Reporter(Protocol):
    """Takes progress and figures, and says when to stop; ``workers.channel.Channel`` is one."""

    @property
    def cancelled(self) -> bool:
        """Whether the work is asked to stop."""

    def progress(self, step: str, done: int, total: int, **fields: Json) -> None:
        """Take how far the work is."""

    def metric(self, **fields: Json) -> None:
        """Take one step's figures."""
