"""Serving: one confined worker behind a listening socket that the daemon opens and passes on.

Order of operations of a start: find the quantized base and adapters, check that they are active and that each adapter's gate
said go, hash them again, record the intent, bind the port, start the worker with the socket and its own way to the audit log,
wait until it says that it is ready, record the outcome. Invariants: the worker opens no socket and no file outside of what it
was given; its events are of its own kinds only; keys reach it as hashes. What is revoked while it is served is withdrawn: the
worker ends what it is answering with it and tells applications why, as long as it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from holdfast import errors, hashing
from holdfast.audit import reconcile
from holdfast.audit.channel import ProducerServer
from holdfast.audit.event import Subject
from holdfast.confine.exits import describe_exit
from holdfast.confine.spec import WorkerSpec
from holdfast.daemon import admissible, models, served, training, workbench
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import Conflict, NotFound, NotRecorded, WorkerFailed
from holdfast.governance import labels
from holdfast.serving import keys as service_keys

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.messages import KeyRequest, ServeRequest
    from holdfast.artefact import Artefact
    from holdfast.audit.event import Actor
    from holdfast.canonical import Json
    from holdfast.confine.worker import Worker
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.recorder import Act
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

STOP_SECONDS = 15.0  # for the worker to end what it is answering; then it is killed
ANSWER = "answer"  # the intent that the serve worker records
READY_SECONDS = 300.0  # for a large model to load


class Serving:
    """What is served in this daemon's life: at most one worker."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.started_by: int | None = None
        self.address: str | None = None
        self.models: list[dict[str, Json]] = []
        self.uses: dict[str, tuple[str, ...]] = {}  # what each model id is made of
        self.withdrawn: dict[str, dict[str, Json]] = {}  # model ids that were revoked, and why
        self.ended: str | None = None
        self._replies: dict[int, asyncio.Future[dict[str, Json]]] = {}
        self._asked = 0
        self._listening: asyncio.Task[None] | None = None
        self._producer: ProducerServer | None = None
        self._changing = asyncio.Lock()
        self._paused = False

    @property
    def running(self) -> bool:
        """Whether a worker is up."""
        return self.worker is not None

    @property
    def refusing(self) -> bool:
        """Whether all that is served was withdrawn, so that the worker only says why."""
        return self.running and self.withdrawn.keys() >= self.uses.keys()

    @property
    def live(self) -> set[int]:
        """Answers under way in the worker: intents whose outcome it can still hand in."""
        return self._producer.live if self._producer is not None else set()

    def take_lost(self) -> set[int]:
        """Give the answers whose outcome the worker handed in and the log could not take.

        Returns:
            Their intents; each is given once.
        """
        return self._producer.take_lost() if self._producer is not None else set()

    async def pause(self, *, paused: bool) -> None:
        """Have the worker take no new question, because its answer could not be recorded, or take them again.

        Args:
            paused: Whether it takes none.
        """
        if self.running and paused != self._paused:
            reply = await self.ask({"op": "pause", "paused": paused})
            if reply.get("paused") is paused:
                self._paused = paused

    async def start(self, services: Services, session: Session, request: ServeRequest) -> Job:
        """Serve a base and adapters.

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
        base, tokenizer = training.model_parts(services, request.model)
        gguf = models.find_gguf(services, base, request.quantization)
        pairs = [self._admitted(services, name) for name in request.adapters]
        used = [tokenizer, gguf, *(lora for _, lora in pairs)]
        label = labels.join_all(found.label for found in used)
        host = request.host or services.site.serving.host
        port = services.site.serving.port if request.port is None else request.port

        async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
            self._require_idle()  # no other task ran since, so that of two starts at once one is refused here
            async with (
                self._changing,
                services.recorder.act(
                    actor,
                    "serve.start",
                    {"model": base.name, "gguf": gguf.digest, "adapters": [one.digest for one, _ in pairs]},
                    subject=Subject("gguf", gguf.digest),
                    label=label,
                ) as act,
            ):
                job = services.jobs.open_job(act.seq, "serve.start")
                opened.set_result(job)
                job.uses = frozenset({base.digest, *(found.digest for found in used)})
                if self.refusing:
                    await self.shut_down()
                for found in used:
                    admissible.usable(services, found)
                    await asyncio.to_thread(services.store.verify, found)
                inputs, settings = served.settings(services, base, tokenizer, gguf, pairs)
                listener = served.bind(host, port)
                try:
                    await self._launch(services, job, act, inputs, settings, listener)
                finally:
                    listener.close()
                self.uses = served.uses(base, tokenizer, gguf, pairs)
                act.outcome = {"address": self.address, "models": list(self.models)}
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

    @staticmethod
    def _admitted(services: Services, name: str) -> tuple[Artefact, Artefact]:
        """Find an adapter and its GGUF, and refuse one whose gate did not say go."""
        adapter = models.find_adapter(services, name)
        run = str(adapter.meta.get("run"))
        verdict = services.state.gates.get(run)
        if verdict is None or not verdict["go"] or verdict["adapter"] != adapter.digest:
            why = "was not judged by its gate yet" if verdict is None else "was refused by its gate"
            raise Conflict(
                "serve.gate",
                f"Adapter {adapter.name} ({hashing.short(adapter.digest)}) {why}.",
                remedy=f"See `holdfast eval gate {hashing.short(run)}`.",
                adapter=adapter.digest,
            )
        return adapter, models.find_gguf_adapter(services, adapter)

    async def _launch(  # noqa: PLR0917 - one act, its many parts
        self,
        services: Services,
        job: Job,
        act: Act,
        inputs: dict[str, Path],
        settings: dict[str, Json],
        listener: socket.socket,
    ) -> None:
        ours, theirs = socket.socketpair()
        producer = ProducerServer(ours, services.log, "serve", services.sealed)
        producer.start()
        spec = WorkerSpec(
            kind="serve",
            inputs=inputs,
            output=None,
            fds={"listen": listener.fileno(), "audit": theirs.fileno()},
            limits=workbench.MODEL_WORK,
            threads=services.site.threads,
        )
        order: dict[str, Json] = {
            "settings": settings,
            "keys": [],
            "threads": services.site.threads,
            "site": services.state.site,
        }
        try:
            worker = await services.launcher.launch(
                spec, order, workbench.denial_sink(services, "serve", act.seq)
            )
        except BaseException:
            producer.stop()
            raise
        finally:
            theirs.close()
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._wait_ready(job, worker)
        except BaseException:
            worker.kill()
            await worker.wait()
            producer.stop()
            raise
        host, port = listener.getsockname()[:2]
        self.worker, self._producer, self.started_by, self.ended = worker, producer, act.seq, None
        self.address = f"http://{host}:{port}"
        self.models = served.listed(settings)
        self.withdrawn, self._paused = {}, False
        self._listening = asyncio.create_task(self._listen(services, worker), name="serve worker")
        # Only now, so that a key that was revoked while the model was loading never counts.
        if not await self._send_keys(services):
            await self.shut_down()
            raise WorkerFailed(
                "serve.no-keys", "The serve worker did not take its keys.", remedy="Start serving again."
            )

    @staticmethod
    async def _wait_ready(job: Job, worker: Worker) -> None:
        while (message := await worker.receive()) is not None:
            progress, error = message.get("progress"), message.get("error")
            if isinstance(error, dict):
                raise errors.from_dict(error)
            if isinstance(progress, dict):
                await job.emit("progress", **progress)
                if progress["step"] == "ready":
                    return
        raise workbench.died(worker, await worker.wait())

    async def _listen(self, services: Services, worker: Worker) -> None:
        try:
            while (message := await worker.receive()) is not None:
                number = message.get("id")
                waiting = self._replies.pop(number, None) if isinstance(number, int) else None
                if waiting is not None and not waiting.done():
                    reply, error = message.get("reply"), message.get("error")
                    if isinstance(error, dict):
                        waiting.set_exception(errors.from_dict(error))
                    else:
                        waiting.set_result(reply if isinstance(reply, dict) else {})
        except WorkerFailed:
            worker.kill()  # it no longer speaks our language
        code = await worker.wait()
        await self._reconcile(services)
        if self.worker is worker:
            self.ended = f"The serve worker ended by itself: {describe_exit(code).message}"
            self._clear()

    async def _reconcile(self, services: Services) -> None:
        """Record the end of answers that died with their worker."""
        if self._producer is not None:
            await asyncio.to_thread(self._producer.stop)
            self._producer = None
        begun = [event for event in services.log.unfinished() if event.action == ANSWER]
        with contextlib.suppress(NotRecorded):
            for draft in reconcile.interrupted(begun, DAEMON):
                with contextlib.suppress(Conflict):  # it was found to have lost its outcome, and ended
                    await services.recorder.record(draft)

    def _clear(self) -> None:
        self.worker = None
        for waiting in self._replies.values():
            waiting.cancel()
        self._replies.clear()

    async def ask(self, request: dict[str, Json]) -> dict[str, Json]:
        """Put a request to the worker.

        Args:
            request: With ``op``.

        Returns:
            Its reply; empty if nothing is served.
        """
        worker = self.worker
        if worker is None:
            return {}
        self._asked += 1
        number = self._asked
        waiting: asyncio.Future[dict[str, Json]] = asyncio.get_running_loop().create_future()
        self._replies[number] = waiting
        await worker.send({"id": number, "request": request})
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await waiting
        except (TimeoutError, asyncio.CancelledError):
            return {}
        finally:
            self._replies.pop(number, None)

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
            if self.worker is None:
                raise Conflict(
                    "serve.not-running", "Nothing is served.", remedy="Start with `holdfast serve start`."
                )
            async with services.recorder.act(actor, "serve.stop", {"started": self.started_by}) as act:
                await self.shut_down()
                act.outcome = {"started": self.started_by}
        return {"stopped": True, "seq": act.seq}

    async def withdraw(self, services: Services) -> None:
        """Stop what may not be used now; waits for a start or stop under way.

        Args:
            services: The daemon's parts.
        """
        async with self._changing:
            found = {
                name: revoked
                for name, digests in self.uses.items()
                for revoked in [
                    next(filter(None, (admissible.revoked(services, one) for one in digests)), None)
                ]
                if revoked is not None and name not in self.withdrawn
            }
            if not self.running or not found:
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
                self.withdrawn |= {name: one for name, one in why.items() if isinstance(one, dict)}
                told = await self._tell_withdrawn(why)
                if not told:
                    self.ended = "; ".join(str(one["message"]) for one in self.withdrawn.values())
                act.outcome = {"started": self.started_by, "models": list(why), "told": told}

    async def _tell_withdrawn(self, why: dict[str, Json]) -> bool:
        """Have the worker end what it answers; one that does not confirm it is ended itself."""
        worker = self.worker
        try:
            reply = await self.ask({"op": "withdraw", "models": why})
        except WorkerFailed:
            reply = {}
        if reply.get("withdrawn") == list(why):
            return True
        if worker is not None:
            worker.kill()
            await self.shut_down()
        return False

    async def shut_down(self) -> None:
        """End the worker, giving it time for what it is answering."""
        worker = self.worker
        if worker is None:
            return
        self.worker = None
        await worker.cancel()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await worker.wait()
        except TimeoutError:
            worker.kill()
            await worker.wait()
        if self._listening is not None:
            await self._listening
        self._clear()

    async def status(self) -> dict[str, Json]:
        """Describe what is served.

        Returns:
            ``running``, ``address``, ``models`` (each with ``revoked``: why it was withdrawn, or None), ``ended`` and the
            worker's own figures.
        """
        figures = await self.ask({"op": "status"})
        return {
            "running": self.running,
            "address": self.address if self.running else None,
            "models": [
                {**one, "revoked": self.withdrawn.get(str(one["id"]))} for one in self.models if self.running
            ],
            "started_by": self.started_by if self.running else None,
            "ended": self.ended,
            **figures,
        }

    async def create_key(self, services: Services, session: Session, request: KeyRequest) -> dict[str, Json]:
        """Create an application's key; its secret is shown once and kept nowhere.

        Args:
            services: The daemon's parts.
            session: An administrator's or operator's.
            request: Whose, and for which models.

        Returns:
            ``key`` (public part), ``secret`` and ``tenant``.
        """
        actor = session.actor("serve.key.created")
        clearance = labels.Label(
            request.level, frozenset(request.compartments), frozenset(services.state.zones)
        )
        secret, kept = service_keys.mint(request.tenant, request.models or [service_keys.ANY], clearance)
        await services.recorder.fact(
            actor,
            "serve.key.created",
            {"key": kept.id, "tenant": request.tenant, "record": kept.to_json()},
        )
        await self._send_keys(services)  # a worker that does not answer gets it when it is started anew
        return {"key": kept.id, "secret": secret, "tenant": request.tenant}

    async def revoke_key(self, services: Services, session: Session, key_id: str) -> dict[str, Json]:
        """Revoke an application's key at once.

        Args:
            services: The daemon's parts.
            session: An administrator's or operator's.
            key_id: The key's public part.

        Returns:
            ``revoked``: the key.

        Raises:
            NotFound: If there is none.
            WorkerFailed: If the worker did not say that it no longer takes the key.
        """
        actor = session.actor("serve.key.revoked")
        if key_id not in services.state.keys:
            raise NotFound(
                "serve.key-unknown",
                f"There is no key {key_id[:40]!r}.",
                remedy="See `holdfast serve keys list`.",
            )
        await services.recorder.fact(actor, "serve.key.revoked", {"key": key_id})
        if not await self._send_keys(services):
            raise WorkerFailed(
                "serve.key-held",
                f"{key_id} is revoked on the record, but the serve worker did not confirm it.",
                remedy="Stop serving with `holdfast serve stop`; the key counts nowhere afterwards.",
            )
        return {"revoked": key_id}

    async def _send_keys(self, services: Services) -> bool:
        """Hand the keys that count to the worker; tells whether none can still take another."""
        reply = await self.ask({"op": "keys", "keys": _keys(services)})
        return not self.running or "keys" in reply


def _keys(services: Services) -> list[Json]:
    return [key.record for key in services.state.keys.values() if not key.revoked]
