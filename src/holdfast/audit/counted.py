"""Counted refusals on their way to the record: one event a second at most, and none lost.

Order of operations: a refusal is added to the count at once and costs nothing more; a task puts the count on the record when
the pace allows it. What the log does not take is added again, and goes with the next count. Invariant: the counts recorded
until ``close`` has returned add up to the refusals added, as long as the log takes them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.audit.refusals import Pace, Tally
from holdfast.errors import NoSpace, NotRecorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Record = Callable[[Tally, float], Awaitable[object]]


class Counted:
    """One count, recorded again and again. Belongs to one event loop.

    Args:
        record: Puts a count and the seconds it spans on the record.
        monotonic: A clock in seconds.
    """

    def __init__(self, record: Record, monotonic: Callable[[], float]) -> None:
        self._record = record
        self._monotonic = monotonic
        self._tally = Tally()
        self._pace = Pace()
        self._task: asyncio.Task[None] | None = None
        self._recording = asyncio.Lock()
        self._paused = False

    def add(self, reason: str, caller: str | None = None) -> None:
        """Count one refusal.

        Args:
            reason: The error's key.
            caller: Who asked, as far as that is known.
        """
        self._tally.add(reason, caller, self._monotonic())
        self._wake()

    def pause(self, *, paused: bool) -> None:
        """Keep counts back, or let them go again.

        Args:
            paused: Whether the log takes none now.
        """
        self._paused = paused
        self._wake()

    def _wake(self) -> None:
        if not self._paused and self._tally.count and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="refusals")

    async def _run(self) -> None:
        while self._tally.count and not self._paused:
            await asyncio.sleep(self._pace.wait(self._monotonic()))
            await self.flush()

    async def flush(self) -> None:
        """Put on the record what was counted so far, whatever the pace."""
        async with self._recording:
            now = self._monotonic()
            tally, self._tally = self._tally, Tally()
            if not tally.count:
                return
            self._pace.recorded(now)
            try:
                await self._record(tally, round(now - tally.since, 3))
            except (NotRecorded, NoSpace):
                self._tally.put_back(tally)

    async def close(self) -> None:
        """Put the last count on the record, and stop."""
        self._paused = True
        if self._task is not None:
            async with self._recording:  # a count that is on its way to the log gets there
                self._task.cancel()
            await asyncio.wait({self._task})
        await self.flush()
