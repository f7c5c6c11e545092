"""The worker that is made ready beside the one that serves, while somebody decides what an alias stands for.

Invariants: nothing here changes what is served; it is ``Serving`` that lets the worker take over once the decision is on the
record, and ends it if there is none.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from holdfast.daemon import served, servekeys, serveworker

if TYPE_CHECKING:
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.serveworker import ServeWorker
    from holdfast.daemon.services import Services
    from holdfast.daemon.serving import Serving
    from holdfast.governance.releases import Proposal


class Switch:
    """A change of what an alias stands for, as far as what is served goes; made by ``Serving.switching``.

    Args:
        serving: What is served.
        services: The daemon's parts.
    """

    def __init__(self, serving: Serving, services: Services) -> None:
        self._serving, self._services = serving, services
        self.asked = serving.asked
        self.ready: ServeWorker | None = None
        # Held here too, in case the worker that serves ends meanwhile.
        self.listener: socket.socket | None = None

    async def prepare(self, job: Job, found: Proposal) -> bool:
        """Make a worker ready that serves a release under its alias, beside the one that serves now.

        Args:
            job: Gets its progress.
            found: The release that is to be in force.

        Returns:
            Whether there is one; not if nothing of that base is served.

        Raises:
            HoldfastError: If it can't be served; what serves now goes on.
        """
        serving, asked, alias = self._serving, self.asked, found.release.alias
        if serving.current is None or serving.listener is None or asked is None:
            return False
        served.require_name(asked.base, alias, found.release)
        if asked.base.digest != found.release.base or serving.refusing:
            return False
        releases = {**self._services.state.releases.aliases, alias: found}
        plan = await served.plan(self._services, asked.usable(self._services), releases, needed=alias)
        # Not socket.dup(), which makes the description that all of them share block, and so the worker's loop.
        self.listener = socket.socket(fileno=os.dup(serving.listener.fileno()))
        self.ready = await serveworker.launch(
            self._services, job, job.number, plan, self.listener, servekeys.counting(self._services)
        )
        return True
