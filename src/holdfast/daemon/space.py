"""What the daemon does when space runs out (NIST SP 800-53 AU-5), and when it is back.

Order of operations: about once a second the log looks at its space. ``low`` is recorded as a warning. At ``stopped`` only the
reserve is left: that it stopped is recorded, whatever would begin an act is refused, the front is told to answer
nothing new, and what is under way ends as it would have. When space is back, ``audit.space.recovered`` is recorded and the
worker told. A log that failed is opened again as soon as there is space: the fold catches up, then every intent whose act no
longer runs in this process gets its outcome. Once no act runs, the disk is brought to what the log says, as at a start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from holdfast.audit import reconcile
from holdfast.audit.space import Level
from holdfast.daemon import revocations
from holdfast.daemon.heartbeat import free_bytes
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import Conflict, NoSpace, NotRecorded, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.canonical import Json
    from holdfast.config import AuditEntry
    from holdfast.daemon.services import Services

    Settle = Callable[[Services], None]

_LOG = logging.getLogger(__name__)
LOOK_SECONDS = 1.0  # between two looks at the space


class Space:
    """The space of the log, as the daemon sees it.

    Args:
        bounds: The site's thresholds.
        settling: What brings the disk to what the log says, in order.
    """

    def __init__(self, bounds: AuditEntry, settling: Sequence[Settle]) -> None:
        self._bounds = bounds
        self._settling = settling
        self._open: set[int] = set()  # acts without outcome when the log was opened again
        self._unsettled = False
        self._damaged = False  # what lies on disk is not what was signed: nothing here can mend that

    def status(self, services: Services) -> dict[str, Json]:
        """Describe it for people.

        Args:
            services: The daemon's parts.

        Returns:
            ``level``, ``free``, ``low`` and ``reserve`` (bytes), and ``failure``: why the log takes nothing, or None.
        """
        failure = services.log.failure
        return {
            "level": services.log.space.value,
            "free": free_bytes(services.home.log),
            "low": self._bounds.low_space_bytes,
            "reserve": self._bounds.reserve_bytes,
            "failure": None if failure is None else failure.message,
        }

    async def run(self, services: Services) -> None:
        """Watch until cancelled.

        Args:
            services: The daemon's parts.
        """
        while True:
            try:
                await self.look(services)
            except (NotRecorded, NoSpace):
                pass  # the log takes nothing, or not this: it is tried again
            except Exception:  # noqa: BLE001 - a watcher that died would leave the daemon stopped for good
                _LOG.exception("The log's space could not be seen to; it is tried again.")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, services: Services) -> None:
        """Look at the space once, and do what follows from it.

        Args:
            services: The daemon's parts.
        """
        log = services.log
        if log.failure is not None:
            await services.serving.pause(paused=True)
            if not await self._recovered(services):
                return
        else:
            await asyncio.to_thread(log.check_space)
            # By now whatever was acknowledged when the log was opened again is known to whoever handed it in.
            services.recorder.unended |= self._open - services.serving.live
            self._open.clear()
        await self._tell(services)
        await services.serving.pause(paused=log.space is Level.STOPPED)
        await self.reconcile(services)
        if self._unsettled:
            await self._settle(services)

    async def _recovered(self, services: Services) -> bool:
        """Open a log again that failed, if that can be done."""
        log = services.log
        if self._damaged:
            return False
        try:
            if not await asyncio.to_thread(log.recover):
                return False
        except VerificationFailed as error:
            self._damaged = True
            _LOG.critical("The audit log can't be opened again: %s", error)
            return False
        services.recorder.catch_up(log.size)
        self._open = {event.seq for event in log.unfinished()}
        self._unsettled = True
        return True

    async def _tell(self, services: Services) -> None:
        """Record a change of level since the log told of one, in this life or an earlier one."""
        level, told = services.log.space, services.state.lives.space
        if level.value == told:
            return
        free = free_bytes(services.home.log)
        if level is Level.STOPPED:
            reserve = self._bounds.reserve_bytes
            await services.recorder.fact(DAEMON, "audit.space.stopped", {"free": free, "reserve": reserve})
        elif level is Level.LOW and told == Level.AMPLE.value:
            low = self._bounds.low_space_bytes
            await services.recorder.fact(DAEMON, "audit.space.low", {"free": free, "low": low})
        else:
            await services.recorder.fact(DAEMON, "audit.space.recovered", {"free": free})

    async def reconcile(self, services: Services) -> None:
        """Record the end of acts that lost theirs; what runs in this process still ends itself.

        Args:
            services: The daemon's parts.

        Raises:
            NotRecorded: If the log takes nothing.
        """
        recorder = services.recorder
        recorder.unended |= services.serving.take_lost()
        if not recorder.unended - recorder.live:
            return
        open_now = {event.seq: event for event in services.log.unfinished()}
        recorder.unended &= open_now.keys() | recorder.live
        dead = [open_now[seq] for seq in sorted(recorder.unended - recorder.live)]
        for draft in reconcile.interrupted(dead, DAEMON):
            with contextlib.suppress(Conflict):  # it was ended meanwhile
                await recorder.record(draft)
        recorder.unended -= {event.seq for event in dead}

    async def _settle(self, services: Services) -> None:
        """Bring the disk to what the log says, if nothing is under way; nothing begins meanwhile."""
        if services.deciding.locked():  # something is being decided: later
            return
        async with services.deciding:
            with services.recorder.alone() as alone:
                if not alone:
                    return
                for settle in self._settling:
                    await asyncio.to_thread(settle, services)
        self._unsettled = False
        with contextlib.suppress(NotRecorded, NoSpace):
            await revocations.settle(services)
