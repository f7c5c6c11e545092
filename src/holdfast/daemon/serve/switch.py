"""A change of what is served, made ready beside what is served now: engines launched, adapters attached.

Invariants: nothing here changes what applications get; it is ``Serving`` that gives the front its new settings once the change is
on the record. If there is no change after all, ``undo`` leaves what was there, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.daemon.serve import planning, wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.daemon.jobs import Job
    from holdfast.daemon.serve.planning import Plan
    from holdfast.daemon.serve.serving import Serving
    from holdfast.daemon.serve.wanted import Desired
    from holdfast.daemon.services import Services
    from holdfast.governance.releases import Proposal


class Switch:
    """A change; made by ``Serving.switching``.

    Args:
        serving: What is served.
        services: The daemon's parts.
    """

    def __init__(self, serving: Serving, services: Services) -> None:
        self.asked = serving.asked
        self.plan: Plan | None = None
        self._serving, self._services = serving, services
        self._launched: list[str] = []
        self._attached: list[tuple[str, str]] = []

    async def prepare(self, job: Job, found: Proposal) -> bool:
        """Make ready what serves a release under its alias.

        Args:
            job: Gets its progress.
            found: The release that is to be in force.

        Returns:
            Whether there is anything to switch; not if nothing of that base is served.

        Raises:
            HoldfastError: If it can't be served.
        """
        asked, alias = self.asked, found.release.alias
        if asked is None or not self._serving.running or self._serving.refusing:
            return False
        for one in asked.loaded:
            wanted.require_name(one.base, alias, found.release)
        if asked.of(found.release.base) is None:
            return False
        releases = {**self._services.state.releases.aliases, alias: found}
        await self.to(job, asked, releases, needed=alias)
        return True

    async def to(
        self, job: Job, asked: Desired, releases: Mapping[str, Proposal], *, needed: str | None = None
    ) -> None:
        """Make ready what is to be served from now on.

        Args:
            job: Gets its progress.
            asked: What operators asked for.
            releases: What each alias stands for.
            needed: The alias that must be served.

        Raises:
            HoldfastError: If it can't be served.
        """
        deployment = self._serving.deployment
        if deployment is None:
            return
        pool = deployment.pool
        usable = asked.usable(self._services)
        plan = await planning.plan(self._services, usable, releases, needed=needed, verified=pool.digests)
        job.uses |= plan.digests
        for alias, why in plan.left_out.items():
            await job.emit("note", text=f"{alias} is not served: {why}")
        for engine in plan.engines.values():
            if engine.name not in pool.seats:
                await pool.add(job, engine)
                self._launched.append(engine.name)
                continue
            for lane in engine.lanes.values():
                if lane.name not in pool.seats[engine.name].lanes:
                    await pool.attach(engine.name, lane)
                    self._attached.append((engine.name, lane.name))
        self.asked, self.plan = asked, plan

    async def undo(self) -> None:
        """End what was made ready."""
        deployment = self._serving.deployment
        if deployment is None:
            return
        pool = deployment.pool
        for name in self._launched:
            await pool.remove(name)
        for name, lane in self._attached:
            if name in pool.seats:
                await pool.detach(name, lane)
