"""The daemon's lives, as the log tells them: how the last one ended, its clock, its space, and how far producers have counted.

Invariants: pure; plain data; an event of another room changes nothing but the last time and the counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.audit.event import Event

STOPPED, UNEXPLAINED, NONE = "stopped", "unexplained", "none"  # how a life ended
AMPLE = "ample"
_SPACE = {"audit.space.low": "low", "audit.space.stopped": "stopped", "audit.space.recovered": AMPLE}


class Lives:
    """The fold of the daemon's starts and ends."""

    def __init__(self) -> None:
        self.started: int | None = None  # the last start, if a stop does not follow it
        self.before: str = NONE  # how the life before the last start had ended, as that start found it
        self.stopped: int | None = None  # the last stop
        self.boot: str | None = None  # the boot of the machine during the last life
        self.booted: str | None = None  # when that was, as the wall clock had it at the last start
        self.shift: int = 0  # milliseconds by which the wall clock was moved since, as events tell
        self.space: str = AMPLE  # the space for the log, as the log tells it
        self.last: str | None = None  # time of the last event
        self.counts: dict[str, int] = {}  # events in the log of each producer's latest run in this life

    def apply(self, event: Event) -> None:
        """Fold one event in.

        Args:
            event: The next event of the log.
        """
        self.last = event.time
        if event.action == "daemon.started":
            self.started, self.before = event.seq, str(event.params.get("previous"))
            boot, booted = event.params.get("boot"), event.params.get("booted")
            self.boot = boot if isinstance(boot, str) else None
            self.booted, self.shift = (booted if isinstance(booted, str) else None), 0
            self.counts.clear()
        elif event.action == "daemon.stopped":
            self.started, self.stopped = None, event.seq
        elif event.action == "clock.stepped":
            moved = event.params.get("seconds")
            self.shift += round(moved * 1000) if isinstance(moved, int | float) else 0
        elif event.action == "home.restored":  # no daemon of this log has lived before it
            self.started = self.stopped = self.boot = self.booted = None
        self.space = _SPACE.get(event.action, self.space)
        self.counts[event.source.name] = event.source.count + 1

    @property
    def previous(self) -> str:
        """How the last life ended, for who is about to start the next one: ``stopped``, ``unexplained`` or ``none``."""
        if self.started is not None:
            return UNEXPLAINED
        return NONE if self.stopped is None else STOPPED
