"""Space for the log: when to warn, when to stop acts, and when to take them again (AU-5).

Three levels. *Ample*: everything is taken. *Low*: the same, but somebody is told. *Stopped*: only what ends an act, and what
the registry marks as essential, is taken. The log holds a preallocated file, its reserve, while it is not stopped; that file
is given up on stopping, so that what must still be written finds room on a full disk, and is made again on recovering.
Invariants: space is counted as if the reserve were always held, so that giving it up changes no level; a level is left
upwards only with a margin, so that a disk at a threshold does not flutter. Pure.

Source: NIST SP 800-53 AU-5 (response to audit logging process failures), AU-5(1) (storage capacity warning).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MARGIN = 8  # a level is left upwards at its threshold and one eighth


class Level(StrEnum):
    """What the log takes."""

    AMPLE = "ample"
    LOW = "low"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Thresholds:
    """Where the levels begin, in bytes that are free beside the reserve.

    Args:
        low: Below it, space is low; 0 never warns.
        reserve: Below it, the log stops; also the size of the reserve. 0 holds no reserve and never stops.
    """

    low: int = 0
    reserve: int = 0

    def level(self, free: int, held: Level) -> Level:
        """Decide the level.

        Args:
            free: Bytes free on the log's disk.
            held: The level so far.

        Returns:
            The level from here on.
        """
        beside = free - self.reserve if held is Level.STOPPED else free
        if beside < self._bound(self.reserve, higher=held is Level.STOPPED):
            return Level.STOPPED
        if beside < self._bound(self.low, higher=held is not Level.AMPLE):
            return Level.LOW
        return Level.AMPLE

    @property
    def needed(self) -> int:
        """Bytes that must be free for a log that has stopped to go on: for the reserve, and beside it."""
        return self.reserve + self._bound(self.reserve, higher=True)

    @staticmethod
    def _bound(threshold: int, *, higher: bool) -> int:
        return threshold + threshold // MARGIN if higher else threshold
