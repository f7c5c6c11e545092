"""The log's reserve: a preallocated file that keeps room for what must still be written when the disk is full (AU-5).

Invariants: the file is there unless the log has stopped, so that a restart knows the level too; a log that stopped goes on
only once the file could be made again. Levels and thresholds: see ``space``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.audit.actions import Phase
from holdfast.audit.space import Level
from holdfast.errors import NoSpace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.audit.actions import Action
    from holdfast.audit.segment import Disk
    from holdfast.audit.space import Thresholds

FILE = "reserve"


class Reserve:
    """The reserve, and the level of space. The writer alone calls ``look``.

    Args:
        disk: File operations.
        folder: The log's folder.
        thresholds: Where the levels begin.
        changed: Told each change after this, with the bytes that are free; must not raise or wait.

    Raises:
        OSError: If the space can't be told.
    """

    free: int  # bytes, when it was last looked

    def __init__(
        self, disk: Disk, folder: Path, thresholds: Thresholds, changed: Callable[[Level, int], None]
    ) -> None:
        self._disk, self._folder, self._thresholds = disk, folder, thresholds
        self._path, self._changed = folder / FILE, changed
        size = thresholds.reserve
        held = size == 0 or (self._path.is_file() and self._path.stat().st_size == size)
        self.level = Level.AMPLE if held else Level.STOPPED
        self._settle(disk.free(folder))

    def look(self) -> int:
        """Bring level and file to what is free.

        Returns:
            Bytes free.

        Raises:
            OSError: If that can't be told.
        """
        before, free = self.level, self._disk.free(self._folder)
        self._settle(free)
        if self.level is not before:
            self._changed(self.level, free)
        return free

    def _settle(self, free: int) -> None:
        self.free = free
        level = self._thresholds.level(free, self.level)
        if level is Level.STOPPED and self.level is not Level.STOPPED:
            with suppress(OSError):  # the log stops all the same
                self._disk.unlink(self._path)
        elif self.level is Level.STOPPED and level is not Level.STOPPED and self._thresholds.reserve:
            try:
                self._disk.reserve(self._path, self._thresholds.reserve)
            except OSError:
                return  # there is no room for it yet
        self.level = level

    def takes(self, action: Action) -> bool:
        """Tell whether there is space for an event.

        Args:
            action: What it is.

        Returns:
            False if only the reserve is left, and the event neither ends an act nor is essential.
        """
        return self.level is not Level.STOPPED or action.essential or action.phase is Phase.OUTCOME

    def refusal(self) -> NoSpace:
        """Make the error about an event that there is no space for.

        Returns:
            The error, not raised.
        """
        free, needed = self.free, self._thresholds.needed
        return NoSpace(
            "audit.reserve",
            f"Only {free} bytes are free for the audit log, so nothing new begins; {needed} are needed.",
            remedy=f"Free {max(0, needed - free)} bytes on its disk; the log goes on by itself.",
            free=free,
            needed=needed,
        )
