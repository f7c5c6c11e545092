"""The workers of this daemon: started through the launcher, remembered while they run.

Their processes are remembered because none of them, nor anything that they start, may speak on the control socket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.confine.spec import Denial, Launcher, WorkerSpec
    from holdfast.confine.worker import Worker


class Workforce:
    """Starts and remembers workers.

    Args:
        launcher: What starts them.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._running: dict[int, Worker] = {}
        self._watching: set[asyncio.Task[None]] = set()

    async def launch(
        self, spec: WorkerSpec, order: dict[str, Json], on_denied: Callable[[Denial], None]
    ) -> Worker:
        """Start a worker.

        Args:
            spec: What it is given.
            order: Its order.
            on_denied: Called for every refusal that its walls record.

        Returns:
            The running worker.
        """
        worker = await self._launcher.launch(spec, order, on_denied)
        self._running[worker.pid] = worker
        task = asyncio.create_task(self._forget(worker))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return worker

    async def close(self) -> None:
        """End whatever still runs, and wait until it has ended: no process outlives the daemon, whoever forgot it."""
        for worker in self._running.values():
            worker.kill()
        await asyncio.gather(*self._watching)

    async def _forget(self, worker: Worker) -> None:
        await worker.wait()
        self._running.pop(worker.pid, None)

    @property
    def pids(self) -> list[int]:
        """Roots of the process trees that run now."""
        return list(self._running)

    def walls(self) -> dict[str, bool | str]:
        """Say what this host can enforce; the first call tries it and blocks.

        Returns:
            The name of each wall, and True, or False, or how far it goes.
        """
        return self._launcher.walls()
