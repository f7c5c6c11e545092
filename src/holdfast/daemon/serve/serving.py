"""Serving: what people and releases ask for, and what follows from a revocation.

Order of operations of a start: find the quantized base and adapters, check that they are active and that each adapter's gate said
go, hash them again, record the intent, bind the port, have engines and front started, record the outcome. Whatever is released for
a base is served beside it, under its alias. A change (a release, a rollback, ``serve load``, ``serve unload``) makes ready what is
new, is recorded, and then takes over. Invariants: one change at a time; if anything fails, what is served goes on as it was; what
is revoked while it is served is withdrawn: applications are told why as long as serving lasts, and its weights are let go of.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

from holdfast.audit.event import Subject
from holdfast.daemon import admissible
from holdfast.daemon.recorder import DAEMON
from holdfast.daemon.serve import door, planning, wanted
from holdfast.daemon.serve.deployment import Deployment
from holdfast.daemon.serve.switch import Switch
from holdfast.daemon.serve.wanted import Desired
from holdfast.errors import Conflict
from holdfast.governance import labels
from holdfast.governance.state import tighten

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from holdfast.api.messages import LoadRequest, ServeRequest, UnloadRequest
    from holdfast.audit.event import Actor
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session


class Serving:
    """What is served in this daemon's life."""

    def __init__(self) -> None:
        self.deployment: Deployment | None = None
        self.asked: Desired | None = None
        self.started_by: int | None = None
        self.address: str | None = None
        self.changing = asyncio.Lock()

    @property
    def running(self) -> bool:
        """Whether something is served; also while a front is started anew."""
        return self.deployment is not None and self.deployment.open

    @property
    def uses(self) -> dict[str, tuple[str, ...]]:
        """What each model id that is served is made of."""
        return {} if self.deployment is None else self.deployment.plan.uses

    @property
    def withdrawn(self) -> dict[str, dict[str, Json]]:
        """Model ids that were revoked while they were served, and why."""
        return {} if self.deployment is None else self.deployment.withdrawn

    @property
    def held(self) -> set[str]:
        """Digests of what is served, or still open."""
        return (
            set()
            if self.deployment is None
            else {*self.deployment.plan.digests, *self.deployment.pool.digests}
        )

    @property
    def refusing(self) -> bool:
        """Whether all that is served was withdrawn, so that the front only says why."""
        return self.running and self.withdrawn.keys() >= self.uses.keys()

    @property
    def live(self) -> set[int]:
        """Answers under way: intents whose outcome a front can still hand in."""
        return (
            set() if self.deployment is None or self.deployment.front is None else self.deployment.front.live
        )

    def take_lost(self) -> set[int]:
        """Give the answers whose outcome a front handed in and the log could not take.

        Returns:
            Their intents; each is given once.
        """
        return (
            set()
            if self.deployment is None or self.deployment.front is None
            else self.deployment.front.take_lost()
        )

    async def pause(self, *, paused: bool) -> None:
        """Have the front take no new question, because its answer could not be recorded, or take them again.

        Args:
            paused: Whether it takes none.
        """
        if self.deployment is not None:
            await self.deployment.pause(paused=paused)

    async def send_keys(self) -> bool:
        """Hand the keys that count to the front.

        Returns:
            Whether it can't still take another.
        """
        return True if self.deployment is None else await self.deployment.send_keys()

    async def forget(self, tenant: str) -> bool:
        """Have the engines wipe what they keep of a tenant's prompts.

        Args:
            tenant: Whose.

        Returns:
            Whether each engine confirmed it; one that did not was ended.
        """
        return True if self.deployment is None else await self.deployment.pool.forget(tenant)

    async def start(self, services: Services, session: Session, request: ServeRequest) -> Job:
        """Serve a base and adapters, and what is released for that base.

        Args:
            services: The daemon's parts.
            session: An operator's.
            request: What, where and by which rules.

        Returns:
            The job; its result holds the address.

        Raises:
            Conflict: If something is served already, a port is taken, or a gate did not say go.
        """
        actor = session.actor("serve.start")
        self._require_idle()
        loaded = wanted.load(services, request)
        asked = Desired(wanted.terms(services, request), (loaded,))
        label = labels.join_all(found.label for found in loaded.opened)
        host = request.host or services.site.serving.host
        port = services.site.serving.port if request.port is None else request.port

        async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
            self._require_idle()  # no other task ran since, so that of two starts at once one is refused here
            async with self.changing:
                released = asked.released(services.state.releases.aliases)
                intent: dict[str, Json] = {
                    "model": loaded.base.name,
                    "gguf": loaded.gguf.digest,
                    "adapters": [one.digest for one, _ in loaded.pairs],
                    "released": {alias: found.request for alias, found in released.items()},
                    "context": asked.terms.context,
                    "parallel": asked.terms.limits["parallel"],
                    "kv": asked.terms.kv,
                }
                async with services.recorder.act(
                    actor,
                    "serve.start",
                    intent,
                    subject=Subject("gguf", loaded.gguf.digest),
                    label=reduce(tighten, [found.release.label for found in released.values()], label),
                ) as act:
                    job = services.jobs.open_job(act.seq, "serve.start")
                    opened.set_result(job)
                    job.uses = frozenset({loaded.base.digest, *(found.digest for found in loaded.opened)})
                    await self.shut_down()  # what only refuses
                    shown = await asyncio.to_thread(door.certificate, services)
                    plan = await planning.plan(services, asked, released)
                    job.uses |= plan.digests
                    for alias, why in plan.left_out.items():
                        await job.emit("note", text=f"{alias} is not served: {why}")
                    deployment = Deployment(
                        services,
                        plan,
                        asked.terms.memory,
                        door.bind(host, port),
                        self.changing,
                        certificate=shown,
                    )
                    await deployment.begin(job)
                    self.deployment, self.asked, self.started_by = deployment, asked, job.number
                    self.address = door.address(services, deployment.listener)
                    act.outcome = {"address": self.address, "models": list(plan.listed())}
            return act.outcome

        return await services.jobs.start("serve.start", work)

    def _require_idle(self) -> None:
        if (self.running and not self.refusing) or self.changing.locked():
            raise Conflict(
                "serve.running",
                f"Models are already served at {self.address}."
                if self.running
                else "Serving is being started or stopped.",
                remedy="Stop them first with `holdfast serve stop`, or add to them with `holdfast serve load`.",
            )

    def require_running(self) -> Desired:
        """Refuse where nothing is served.

        Returns:
            What was asked to be served.

        Raises:
            Conflict: If nothing is.
        """
        if not self.running or self.asked is None:
            raise Conflict(
                "serve.not-running", "Nothing is served.", remedy="Start with `holdfast serve start`."
            )
        return self.asked

    async def load(self, services: Services, session: Session, request: LoadRequest) -> Job:
        """Serve one more base, or more adapters of one that is served; or bring back what was taken out.

        Args:
            services: The daemon's parts.
            session: An operator's.
            request: What.

        Returns:
            The job; its result lists the models.

        Raises:
            Conflict: If nothing is served, or a gate did not say go.
        """
        actor = session.actor("serve.change")
        added = wanted.load(services, request, self.require_running())
        params: dict[str, Json] = {
            "change": "load",
            "model": added.base.name,
            "gguf": added.gguf.digest,
            "adapters": [one.digest for one, _ in added.pairs],
        }

        def change(asked: Desired) -> Desired:
            new = wanted.load(services, request, asked)
            known = asked.of(new.base.digest)
            rest = tuple(new if one is known else one for one in asked.loaded)
            return replace(asked, loaded=rest if known is not None else (*rest, new))

        return await self._change(services, actor, params, change, returning=added.gguf.digest)

    async def unload(self, services: Services, session: Session, request: UnloadRequest) -> Job:
        """Serve something no more; whoever asked for it is answered first.

        Args:
            services: The daemon's parts.
            session: An operator's.
            request: What.

        Returns:
            The job; its result lists the models that remain.

        Raises:
            Conflict: If nothing is served, or nothing would remain.
            NotFound: If it is not served.
        """
        actor = session.actor("serve.change")

        def change(asked: Desired) -> Desired:
            rest = asked.without(request.model)
            if not rest.loaded:
                raise Conflict(
                    "serve.last",
                    f"{request.model} is all that is served.",
                    remedy="Use `holdfast serve stop`.",
                )
            return rest

        change(self.require_running())
        params: dict[str, Json] = {"change": "unload", "model": request.model}
        return await self._change(services, actor, params, change)

    async def _change(
        self,
        services: Services,
        actor: Actor,
        params: dict[str, Json],
        change: Callable[[Desired], Desired],
        *,
        returning: str | None = None,
    ) -> Job:
        """Serve something else from now on, on the record.

        Args:
            services: The daemon's parts.
            actor: Who asks for it.
            params: What the intent says.
            change: Makes what is asked for out of what was.
            returning: Digest of the weights whose engines are brought back, if they were taken out.

        Returns:
            The job.
        """

        async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
            async with services.deciding:
                self.require_running()
                intent = {"started": self.started_by, **params}
                async with (
                    AsyncExitStack() as stack,
                    services.recorder.act(actor, "serve.change", intent) as act,
                ):
                    job = services.jobs.open_job(act.seq, "serve.change")
                    opened.set_result(job)
                    switch = await stack.enter_async_context(self.switching(services))
                    await switch.to(job, change(self.require_running()), services.state.releases.aliases)
                    await self._bring_back(job, returning)
                    listed = [] if switch.plan is None else switch.plan.listed()
                    act.outcome = {"models": list(listed)}
            return {**act.outcome, "address": self.address}

        return await services.jobs.start("serve.change", work)

    async def _bring_back(self, job: Job, weights: str | None) -> None:
        if self.deployment is not None:
            for name, seat in [*self.deployment.pool.seats.items()]:
                if seat.plan.model["digest"] == weights:
                    await self.deployment.pool.bring_back(job, name)

    @asynccontextmanager
    async def switching(self, services: Services) -> AsyncIterator[Switch]:
        """Serve something else: what was made ready inside takes over when the block ends well.

        Args:
            services: The daemon's parts.

        Yields:
            The change.
        """
        async with self.changing:
            switch = Switch(self, services)
            try:
                yield switch
            except BaseException:
                await asyncio.shield(switch.undo())
                raise
            if switch.plan is not None and self.deployment is not None:
                self.asked = switch.asked
                await asyncio.shield(self.deployment.take_over(switch.plan))

    async def stop(self, services: Services, actor: Actor) -> dict[str, Json]:
        """Stop serving.

        Args:
            services: The daemon's parts.
            actor: Who asks for it.

        Returns:
            The outcome.

        Raises:
            Conflict: If nothing is served.
        """
        async with self.changing:
            self.require_running()
            async with services.recorder.act(actor, "serve.stop", {"started": self.started_by}) as act:
                await self.shut_down()
                act.outcome = {"started": self.started_by}
        return {"stopped": True, "seq": act.seq}

    async def withdraw(self, services: Services) -> None:
        """Stop what may not be used now; waits for a start, stop or change under way.

        Args:
            services: The daemon's parts.
        """
        async with self.changing:
            deployment = self.deployment
            if deployment is None or not deployment.open:
                return
            found = {
                name: revoked
                for name, digests in deployment.plan.uses.items()
                for revoked in [
                    next(filter(None, (admissible.revoked(services, one) for one in digests)), None)
                ]
                if revoked is not None and name not in deployment.withdrawn
            }
            held = {digest: admissible.revoked(services, digest) for digest in deployment.pool.digests}
            files = {digest: revoked for digest, revoked in held.items() if revoked is not None}
            if not found and not files:
                return
            told_ids = {
                name: admissible.stopped(services, f"The model {name}", revoked)
                for name, revoked in found.items()
            }
            told_files = {
                digest: admissible.stopped(services, "The model", revoked)
                for digest, revoked in files.items()
            }
            # An event is bounded, and the reasons are on the record already.
            listed = [str(one["id"]) for one in deployment.plan.listed()]
            digests: dict[str, Json] = {name: found[name].digest for name in listed if name in found}
            params: dict[str, Json] = {"started": self.started_by, "why": "revoked", "models": digests}
            async with services.recorder.act(DAEMON, "serve.stop", params) as act:
                told = await deployment.withdraw(told_ids, told_files)
                act.outcome = {"started": self.started_by, "models": list(digests), "told": told}

    async def shut_down(self) -> None:
        """End all of it, giving the front time for what it is answering."""
        if self.deployment is not None:
            await self.deployment.close()
        self.deployment = self.asked = None
