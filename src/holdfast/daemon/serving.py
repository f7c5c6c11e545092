"""Serving: a confined worker behind a listening socket that the daemon opens, holds and passes on.

Order of operations of a start: find the quantized base and adapters, check that they are active and that each adapter's gate
said go, hash them again, record the intent, bind the port, start the worker with the socket and its own way to the audit log,
wait until it is ready, give it the keys, open it, record the outcome. Whatever is released for that base is served beside, under
its alias. When an alias changes what it stands for, a second worker is made ready beside the first; once the decision is on the
record, it is opened on the same socket, and the first one answers what it was asked and ends. Invariants: an application that
connects waits rather than fails; keys reach a worker as hashes; what is revoked while it is served is withdrawn: the worker ends
what it is answering with it and tells applications why, as long as it runs.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import reduce
from typing import TYPE_CHECKING

from holdfast.audit.event import Subject
from holdfast.daemon import admissible, models, runs, served, servekeys, serveworker
from holdfast.daemon.recorder import DAEMON
from holdfast.daemon.switch import Switch
from holdfast.errors import Conflict, WorkerFailed
from holdfast.governance import labels
from holdfast.governance.state import tighten

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from holdfast.api.messages import ServeRequest
    from holdfast.audit.event import Actor
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.served import Asked, Plan
    from holdfast.daemon.serveworker import ServeWorker
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session


class Serving:
    """What is served in this daemon's life: at most one worker that takes connections, and those that end their answers."""

    def __init__(self) -> None:
        self.current: ServeWorker | None = None
        self.retiring: set[ServeWorker] = set()
        self.asked: Asked | None = None
        self.listener: socket.socket | None = None
        self.started_by: int | None = None
        self.address: str | None = None
        self.ended: str | None = None
        self._changing = asyncio.Lock()
        self._watching: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> bool:
        """Whether a worker takes connections."""
        return self.current is not None

    @property
    def uses(self) -> dict[str, tuple[str, ...]]:
        """What each model id that is served is made of."""
        return {} if self.current is None else self.current.plan.uses

    @property
    def held(self) -> set[str]:
        """Digests of what any worker has open."""
        return {digest for worker in self._workers for digest in worker.plan.digests}

    @property
    def withdrawn(self) -> dict[str, dict[str, Json]]:
        """Model ids that were revoked while they were served, and why."""
        return {} if self.current is None else self.current.withdrawn

    @property
    def refusing(self) -> bool:
        """Whether all that is served was withdrawn, so that the worker only says why."""
        return self.running and self.withdrawn.keys() >= self.uses.keys()

    @property
    def _workers(self) -> list[ServeWorker]:
        return [*([] if self.current is None else [self.current]), *self.retiring]

    @property
    def live(self) -> set[int]:
        """Answers under way: intents whose outcome a worker can still hand in."""
        return {seq for worker in self._workers for seq in worker.live}

    def take_lost(self) -> set[int]:
        """Give the answers whose outcome a worker handed in and the log could not take.

        Returns:
            Their intents; each is given once.
        """
        return {seq for worker in self._workers for seq in worker.take_lost()}

    async def pause(self, *, paused: bool) -> None:
        """Have the workers take no new question, because its answer could not be recorded, or take them again.

        Args:
            paused: Whether they take none.
        """
        for worker in self._workers:
            if paused != worker.paused:
                reply = await worker.ask({"op": "pause", "paused": paused})
                if reply.get("paused") is paused:
                    worker.paused = paused

    async def start(self, services: Services, session: Session, request: ServeRequest) -> Job:
        """Serve a base and adapters, and what is released for that base.

        Args:
            services: The daemon's parts.
            session: An operator's.
            request: What and where.

        Returns:
            The job; its result holds the address.

        Raises:
            Conflict: If something is served already, a port is taken, or a gate did not say go.
        """
        actor = session.actor("serve.start")
        self._require_idle()
        base, tokenizer = runs.model_parts(services, request.model)
        served.require_judged(services, base)
        standing = services.state.releases.in_force(base.name)
        if standing is not None:
            served.require_name(base, base.name, standing.release)
        gguf = models.find_gguf(services, base, request.quantization)
        pairs = [served.admitted(services, name) for name in request.adapters]
        asked = served.Asked(base, tokenizer, gguf, request.quantization, pairs)
        label = labels.join_all(found.label for found in asked.opened)
        host = request.host or services.site.serving.host
        port = services.site.serving.port if request.port is None else request.port

        async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
            self._require_idle()  # no other task ran since, so that of two starts at once one is refused here
            async with self._changing:
                released = {
                    alias: found
                    for alias, found in services.state.releases.aliases.items()
                    if found.release.base == base.digest
                }
                intent: dict[str, Json] = {
                    "model": base.name,
                    "gguf": gguf.digest,
                    "adapters": [one.digest for one, _ in pairs],
                    "released": {alias: found.request for alias, found in released.items()},
                }
                async with services.recorder.act(
                    actor,
                    "serve.start",
                    intent,
                    subject=Subject("gguf", gguf.digest),
                    label=reduce(tighten, [found.release.label for found in released.values()], label),
                ) as act:
                    job = services.jobs.open_job(act.seq, "serve.start")
                    opened.set_result(job)
                    job.uses = frozenset({base.digest, *(found.digest for found in asked.opened)})
                    if self.refusing:
                        await self.shut_down()
                    plan = await served.plan(services, asked, released)
                    job.uses |= plan.digests
                    for alias, why in plan.left_out.items():
                        await job.emit("note", text=f"{alias} is not served: {why}")
                    await self.open(services, job, plan, served.bind(host, port))
                    self.asked = asked
                    act.outcome = {"address": self.address, "models": list(plan.listed())}
            return act.outcome

        return await services.jobs.start("serve.start", work)

    def _require_idle(self) -> None:
        if (self.running and not self.refusing) or self._changing.locked():
            raise Conflict(
                "serve.running",
                f"Models are already served at {self.address}."
                if self.running
                else "Serving is being started or stopped.",
                remedy="Stop them first with `holdfast serve stop`.",
            )

    async def open(self, services: Services, job: Job, plan: Plan, listener: socket.socket) -> None:
        """Start a worker on a socket, and let it take connections.

        Args:
            services: The daemon's parts.
            job: The start.
            plan: What is served.
            listener: Where; it is closed when serving ends.

        Raises:
            WorkerFailed: If it does not start.
        """
        try:
            worker = await serveworker.launch(services, job, job.number, plan, listener, [])
        except BaseException:
            listener.close()
            raise
        self.current, self.listener = worker, listener
        self.started_by, self.ended = job.number, None
        host, port = listener.getsockname()[:2]
        self.address = f"http://{host}:{port}"
        self._watch(worker)
        # Only now, so that a key that was revoked while the model was loading never counts.
        if not await self.send_keys(services) or not await self._opened(worker):
            await self.shut_down()
            raise WorkerFailed(
                "serve.no-keys", "The serve worker did not take its keys.", remedy="Start serving again."
            )

    @staticmethod
    async def _opened(worker: ServeWorker) -> bool:
        return (await worker.ask({"op": "open"})).get("open") is True

    @asynccontextmanager
    async def switching(self, services: Services) -> AsyncIterator[Switch]:
        """Let an alias stand for something else: what was prepared inside takes over when the block ends well.

        Args:
            services: The daemon's parts.

        Yields:
            The change.
        """
        async with self._changing:
            switch = Switch(self, services)
            try:
                yield switch
                if switch.ready is not None:
                    await asyncio.shield(self._take_over(services, switch, switch.ready))
            except BaseException:
                if switch.ready is not None and switch.ready is not self.current:
                    switch.ready.kill()
                    await switch.ready.over()
                raise
            finally:
                if switch.listener is not None and switch.listener is not self.listener:
                    switch.listener.close()

    async def _take_over(self, services: Services, switch: Switch, worker: ServeWorker) -> None:
        """Put a worker that is ready in the place of the one that serves."""
        before, self.current = self.current, worker
        if before is None:
            self.asked, self.listener, self.ended = switch.asked, switch.listener, None
        self._watch(worker)
        if before is not None:
            self.retiring.add(before)
        # Keys may have come or gone while it was loading. What can't take over does not leave the place to what is no longer meant.
        if not await self.send_keys(services) or not await self._opened(worker):
            await self.shut_down()
            self.ended = "The worker that was to take over did not open."
            return
        if before is not None and (await before.ask({"op": "drain"})).get("draining") is not True:
            before.kill()

    def _watch(self, worker: ServeWorker) -> None:
        task = asyncio.create_task(self._until_over(worker), name="serve worker's end")
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _until_over(self, worker: ServeWorker) -> None:
        await worker.over()
        self.retiring.discard(worker)
        if self.current is worker:
            self.ended = f"The serve worker ended by itself: {worker.how}"
            self._forget()

    def _forget(self) -> None:
        """Nothing is served any more."""
        self.current = self.asked = None
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    async def ask(self, request: dict[str, Json]) -> dict[str, Json]:
        """Put a request to the worker that takes connections.

        Args:
            request: With ``op``.

        Returns:
            Its reply; empty if nothing is served.
        """
        return {} if self.current is None else await self.current.ask(request)

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
        async with self._changing:
            if self.current is None:
                raise Conflict(
                    "serve.not-running", "Nothing is served.", remedy="Start with `holdfast serve start`."
                )
            async with services.recorder.act(actor, "serve.stop", {"started": self.started_by}) as act:
                await self.shut_down()
                act.outcome = {"started": self.started_by}
        return {"stopped": True, "seq": act.seq}

    async def withdraw(self, services: Services) -> None:
        """Stop what may not be used now; waits for a start, stop or switch under way.

        Args:
            services: The daemon's parts.
        """
        async with self._changing:
            for worker in self._workers:
                await self._withdraw(services, worker)

    async def _withdraw(self, services: Services, worker: ServeWorker) -> None:
        found = {
            name: revoked
            for name, digests in worker.plan.uses.items()
            for revoked in [next(filter(None, (admissible.revoked(services, one) for one in digests)), None)]
            if revoked is not None and name not in worker.withdrawn
        }
        if not found:
            return
        why: dict[str, Json] = {
            name: {
                **revoked.to_json(),
                "bundle": revoked.bundle,
                "message": f"The model {name} was stopped: {revoked.kind} {revoked.name}, which it uses, is revoked"
                f" since {revoked.since} by {revoked.bundle}: {revoked.reason}",
                "remedy": admissible.instead(services, revoked),
            }
            for name, revoked in found.items()
        }
        # An event is bounded, and the reasons are on the record already.
        params: dict[str, Json] = {
            "started": self.started_by,
            "why": "revoked",
            "models": {name: revoked.digest for name, revoked in found.items()},
        }
        async with services.recorder.act(DAEMON, "serve.stop", params) as act:
            worker.withdrawn |= {name: one for name, one in why.items() if isinstance(one, dict)}
            told = await self._tell_withdrawn(worker, why)
            if not told:
                self.ended = "; ".join(str(one["message"]) for one in worker.withdrawn.values())
            act.outcome = {"started": self.started_by, "models": list(why), "told": told}

    async def _tell_withdrawn(self, worker: ServeWorker, why: dict[str, Json]) -> bool:
        """Have a worker end what it answers; one that does not confirm it is ended itself."""
        try:
            reply = await worker.ask({"op": "withdraw", "models": why})
        except WorkerFailed:
            reply = {}
        if reply.get("withdrawn") == list(why):
            return True
        worker.kill()
        if worker is self.current:
            await self.shut_down()
        return False

    async def shut_down(self) -> None:
        """End the workers, giving them time for what they are answering."""
        workers = self._workers
        self._forget()
        await asyncio.gather(*(worker.end() for worker in workers))

    async def status(self) -> dict[str, Json]:
        """Describe what is served.

        Returns:
            ``running``, ``address``, ``models`` (each with ``release`` and ``revoked``: why it was withdrawn, or None),
            ``left_out`` (aliases that are released and can't be served, and why), ``retiring`` (workers that only end their
            answers), ``ended`` and the worker's own figures.
        """
        current = self.current
        figures = await self.ask({"op": "status"})
        return {
            "running": self.running,
            "address": self.address if self.running else None,
            "models": []
            if current is None
            else [{**one, "revoked": current.withdrawn.get(str(one["id"]))} for one in current.plan.listed()],
            "left_out": {} if current is None else dict(current.plan.left_out),
            "retiring": len(self.retiring),
            "started_by": self.started_by if self.running else None,
            "ended": self.ended,
            **figures,
        }

    async def send_keys(self, services: Services) -> bool:
        """Hand the keys that count to the workers.

        Args:
            services: The daemon's parts.

        Returns:
            Whether no worker can still take another.
        """
        taken = [
            "keys" in await worker.ask({"op": "keys", "keys": servekeys.counting(services)}) or worker.gone
            for worker in self._workers
        ]
        return all(taken)
