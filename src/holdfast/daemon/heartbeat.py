"""That the daemon lives, and that nobody moved its clock: said again and again, so that silence is a fact too.

Order of operations: the clocks are read about once a second; a step goes to the record at once as ``clock.stepped``; when a
heartbeat is due, a checkpoint is signed and ``daemon.heartbeat`` tells its size and root, the space that is left, and how many
events each producer has recorded. Invariants: intervals are measured by the clock since boot, so that neither a moved wall
clock nor a suspended machine delays a heartbeat; what the log could not take is said when it can.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.audit import checkpoint, clock
from holdfast.audit.clock import SECOND, Reading, Watch
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import NoSpace, NotRecorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.audit.clock import Step
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services

_LOG = logging.getLogger(__name__)
LOOK_SECONDS = 1.0  # between two looks at the clocks
SHARP = SECOND // 1000  # nanoseconds within which all clocks should be read
TRIES = 5  # to read them so; a loaded machine may come between
MAX_STEPS = 64  # steps kept while the log takes nothing; each tells of all that went before it
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_clocks() -> Reading:
    """Read the host's clocks as one.

    Returns:
        The sharpest of a few readings.
    """
    found: list[Reading] = []
    while len(found) < TRIES and not (found and found[-1].blur < SHARP):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall, awake = time.time_ns(), time.monotonic_ns()
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        found.append(Reading(wall, before, awake, after - before))
    return min(found, key=lambda reading: reading.blur)


def boot_id() -> str:
    """Name this boot of the machine.

    Returns:
        The kernel's random name of it; empty where there is none.
    """
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def free_bytes(folder: Path) -> int:
    """Tell how much space is left.

    Args:
        folder: A folder of the file system.

    Returns:
        Bytes that we may still write.
    """
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Pulse:
    """The daemon's heart.

    Args:
        clocks: Reads the host's clocks.
        every: Seconds between two heartbeats.
    """

    def __init__(self, clocks: Callable[[], Reading], every: int) -> None:
        self._clocks = clocks
        self._every = every * SECOND
        self._first = clocks()
        self._watch = Watch(self._first)
        self._due = self._first.boot + self._every
        self._steps: deque[Step] = deque(maxlen=MAX_STEPS)

    async def begin(self, services: Services) -> dict[str, Json]:
        """Record a step that the clock made while no daemon lived, and say what ``daemon.started`` tells.

        Args:
            services: The daemon's parts, replayed.

        Returns:
            ``boot``, ``booted``, ``heartbeat`` and ``previous``.
        """
        lives, boot = services.state.lives, boot_id()
        previous, known = lives.previous, lives.booted if boot and boot == lives.boot else None
        step = clock.since(lives.last, known, lives.shift, self._first)
        if step is not None:
            await services.recorder.fact(DAEMON, "clock.stepped", dict(step.params()))
        return {
            "boot": boot,
            "booted": self._first.booted,
            "heartbeat": self._every // SECOND,
            "previous": previous,
        }

    async def run(self, services: Services) -> None:
        """Beat until cancelled.

        Args:
            services: The daemon's parts.
        """
        while True:
            try:
                await self.look(services)
            except (NotRecorded, NoSpace):
                pass  # the log takes nothing: what is to be said is said when it does
            except Exception:  # noqa: BLE001 - a heart that stopped would look like a dead daemon
                _LOG.exception("A heartbeat failed; it is tried again.")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, services: Services) -> None:
        """Look at the clocks, and record what there is to say.

        Args:
            services: The daemon's parts.
        """
        now = self._clocks()
        step = self._watch.look(now)
        if step is not None:
            self._steps.append(step)
        while self._steps:
            await services.recorder.fact(DAEMON, "clock.stepped", dict(self._steps[0].params()))
            self._steps.popleft()
        if now.boot >= self._due:
            await self._beat(services, now)
            self._due += self._every * (1 + (now.boot - self._due) // self._every)

    async def _beat(self, services: Services, now: Reading) -> None:
        note = checkpoint.parse(await asyncio.to_thread(services.log.checkpoint))
        await services.recorder.fact(
            DAEMON,
            "daemon.heartbeat",
            {
                "uptime_s": self._watch.uptime(now),
                "slept_s": self._watch.slept(now),
                "counters": dict(services.state.lives.counts),
                "free": free_bytes(services.home.log),
                "size": note.size,
                "root": note.root.hex(),
            },
        )
