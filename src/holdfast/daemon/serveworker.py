"""One serve worker, from its launch to the last answer that it gives.

Order of operations: launched with a listening socket and a way to the audit log of its own; it loads its models and says that it
is ready; it is given the keys; it is opened. Another worker may take its place on the same socket: then it is drained, answers
what it was asked, and ends. Invariants: the worker opens no socket and no file outside of what it was given; its events are of
its own kinds only; whatever it began and did not end when it is gone is recorded as interrupted, and nobody else's answers are.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from holdfast import errors
from holdfast.audit import reconcile
from holdfast.audit.channel import ProducerServer
from holdfast.confine.exits import describe_exit
from holdfast.confine.spec import WorkerSpec
from holdfast.daemon import workbench
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import Conflict, NotRecorded, WorkerFailed

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.confine.worker import Worker
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.served import Plan
    from holdfast.daemon.services import Services

STOP_SECONDS = 15.0  # for the worker to end what it is answering; then it is killed
REPLY_SECONDS = 15.0  # for it to react to a request
READY_SECONDS = 300.0  # for a large model to load


class ServeWorker:
    """A worker that serves; made by ``launch``.

    Args:
        plan: What it serves.
        worker: Its process.
        producer: Its way to the audit log.
    """

    def __init__(self, plan: Plan, worker: Worker, producer: ProducerServer) -> None:
        self.plan = plan
        self.withdrawn: dict[str, dict[str, Json]] = {}  # model ids that were revoked, and why
        self.paused = False
        self.how = ""  # it ended
        self._worker = worker
        self._producer: ProducerServer | None = producer
        self._replies: dict[int, asyncio.Future[dict[str, Json]]] = {}
        self._asked = 0
        self._life: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its supervisor's process."""
        return self._worker.pid

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._life is None or self._life.done()

    @property
    def live(self) -> set[int]:
        """Answers under way: intents whose outcome it can still hand in."""
        return self._producer.live if self._producer is not None else set()

    def take_lost(self) -> set[int]:
        """Give the answers whose outcome it handed in and the log could not take.

        Returns:
            Their intents; each is given once.
        """
        return self._producer.take_lost() if self._producer is not None else set()

    async def ask(self, request: dict[str, Json]) -> dict[str, Json]:
        """Put a request to the worker.

        Args:
            request: With ``op``.

        Returns:
            Its reply; empty if it gave none.
        """
        if self.gone:
            return {}
        self._asked += 1
        number = self._asked
        waiting: asyncio.Future[dict[str, Json]] = asyncio.get_running_loop().create_future()
        self._replies[number] = waiting
        await self._worker.send({"id": number, "request": request})
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                return await waiting
        except (TimeoutError, asyncio.CancelledError):
            return {}
        finally:
            self._replies.pop(number, None)

    def kill(self) -> None:
        """End it without more ado; what it was answering is recorded as interrupted."""
        self._worker.kill()

    async def end(self) -> None:
        """End it, giving it time for what it is answering."""
        await self._worker.cancel()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._worker.wait()
        except TimeoutError:
            self._worker.kill()
            await self._worker.wait()
        await self.over()

    async def over(self) -> None:
        """Wait until it has ended and everything that it began is on the record."""
        if self._life is not None:
            await asyncio.shield(self._life)

    def _attend(self, services: Services) -> None:
        self._life = asyncio.create_task(self._listen(services), name="serve worker")

    async def _listen(self, services: Services) -> None:
        try:
            while (message := await self._worker.receive()) is not None:
                number = message.get("id")
                waiting = self._replies.pop(number, None) if isinstance(number, int) else None
                if waiting is not None and not waiting.done():
                    reply, error = message.get("reply"), message.get("error")
                    if isinstance(error, dict):
                        waiting.set_exception(errors.from_dict(error))
                    else:
                        waiting.set_result(reply if isinstance(reply, dict) else {})
        except WorkerFailed:
            self._worker.kill()  # it no longer speaks our language
        code = await self._worker.wait()
        self.how = describe_exit(code).message
        await self._reconcile(services)
        for waiting in self._replies.values():
            waiting.cancel()

    async def _reconcile(self, services: Services) -> None:
        """Record the end of answers that died with it."""
        producer = self._producer
        if producer is None:
            return
        await asyncio.to_thread(producer.stop)
        own = producer.live | producer.take_lost()
        self._producer = None
        begun = [event for event in services.log.unfinished() if event.seq in own]
        with contextlib.suppress(NotRecorded):
            for draft in reconcile.interrupted(begun, DAEMON):
                with contextlib.suppress(Conflict):  # it was found to have lost its outcome, and ended
                    await services.recorder.record(draft)


async def launch(  # noqa: PLR0917 - one act, its many parts
    services: Services, job: Job, act: int, plan: Plan, listener: socket.socket, keys: list[Json]
) -> ServeWorker:
    """Start a worker and wait until it could answer; it takes connections once it is asked to ``open``.

    Args:
        services: The daemon's parts.
        job: Gets its progress.
        act: Sequence number of the act that starts it.
        plan: What it serves.
        listener: Where it listens.
        keys: Applications' keys.

    Returns:
        The worker.

    Raises:
        WorkerFailed: If it ended or did not become ready.
    """
    ours, theirs = socket.socketpair()
    producer = ProducerServer(ours, services.log, "serve", services.sealed)
    producer.start()
    spec = WorkerSpec(
        kind="serve",
        inputs=plan.inputs,
        output=None,
        fds={"listen": listener.fileno(), "audit": theirs.fileno()},
        limits=workbench.MODEL_WORK,
        threads=services.site.threads,
    )
    order: dict[str, Json] = {
        "settings": plan.settings,
        "keys": keys,
        "threads": services.site.threads,
        "site": services.state.site,
    }
    try:
        worker = await services.launcher.launch(spec, order, workbench.denial_sink(services, "serve", act))
    except BaseException:
        producer.stop()
        raise
    finally:
        theirs.close()
    try:
        async with asyncio.timeout(READY_SECONDS):
            await _wait_ready(job, worker)
    except BaseException:
        worker.kill()
        await worker.wait()
        producer.stop()
        raise
    made = ServeWorker(plan, worker, producer)
    made._attend(services)  # noqa: SLF001 - its own maker
    return made


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
