"""The auditor's side: the index worker, proofs, verification, rebuilding.

Invariants: the daemon never opens DuckDB; one confined worker does, and sees the log read-only; it is told how far the log is
synced and reads no further; what it answers is evidence only together with the log. Auditors' reads are recorded.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast import errors
from holdfast.audit import verify
from holdfast.confine.spec import WorkerSpec
from holdfast.daemon import workbench
from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.confine.worker import Worker
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

ANSWER_SECONDS = 120.0  # for one query, beyond the worker's own limit
RESTARTS = 3  # times the index worker is started anew in one daemon's life


class Index:
    """The index worker, started at first use and started anew if it dies."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._listening: asyncio.Task[None] | None = None
        self._replies: dict[int, asyncio.Future[dict[str, Json]]] = {}
        self._next = 0
        self._starts = 0
        self._starting = asyncio.Lock()

    async def ask(self, services: Services, request: dict[str, Json]) -> dict[str, Json]:
        """Put a request to the index.

        Args:
            services: The daemon's parts.
            request: With ``op``; see ``workers.index``.

        Returns:
            Its reply.

        Raises:
            HoldfastError: What the worker refused with.
            WorkerFailed: If it does not answer.
        """
        worker = await self._running(services)
        await self._send(worker, {"op": "synced", "size": services.log.size})
        return await self._send(worker, request)

    async def _send(self, worker: Worker, request: dict[str, Json]) -> dict[str, Json]:
        self._next += 1
        number = self._next
        waiting: asyncio.Future[dict[str, Json]] = asyncio.get_running_loop().create_future()
        self._replies[number] = waiting
        try:
            await worker.send({"id": number, "request": request})
            async with asyncio.timeout(ANSWER_SECONDS):
                message = await waiting
        except TimeoutError as error:
            raise WorkerFailed(
                "index.slow",
                "The index did not answer in time.",
                remedy="Ask for less, or run `holdfast audit rebuild`.",
            ) from error
        finally:
            self._replies.pop(number, None)
        failure, reply = message.get("error"), message.get("reply")
        if isinstance(failure, dict):
            raise errors.from_dict(failure)
        return reply if isinstance(reply, dict) else {}

    async def _running(self, services: Services) -> Worker:
        async with self._starting:
            if self._worker is None:
                if self._starts > RESTARTS:
                    raise WorkerFailed(
                        "index.gone",
                        f"The index worker died {self._starts} times.",
                        remedy="Restart the daemon; then run `holdfast audit rebuild`.",
                    )
                self._starts += 1
                services.home.index.mkdir(exist_ok=True, mode=0o700)
                spec = WorkerSpec(
                    kind="index",
                    inputs={"log": services.home.log},
                    output=services.home.index,
                    fds={},
                    limits=workbench.MODEL_WORK,
                    threads=services.site.threads,
                )
                self._worker = await services.launcher.launch(
                    spec, {"log": "/in/log", "out": "/out"}, workbench.denial_sink(services, "index", None)
                )
                self._listening = asyncio.create_task(self._listen(self._worker), name="index worker")
            return self._worker

    async def _listen(self, worker: Worker) -> None:
        failure: dict[str, Json] | None = None
        try:
            while (message := await worker.receive()) is not None:
                number = message.get("id")
                waiting = self._replies.get(number) if isinstance(number, int) else None
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
                elif isinstance(message.get("error"), dict):
                    failure = message
        except WorkerFailed:
            worker.kill()  # it no longer speaks our language
        code = await worker.wait()
        died = workbench.died(worker, code)
        self._worker = None
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.set_result(failure or {"error": died.to_dict()})  # type: ignore[dict-item]  # plain data

    async def shut_down(self) -> None:
        """End the worker."""
        worker = self._worker
        if worker is None:
            return
        await worker.cancel()
        try:
            async with asyncio.timeout(10):
                await worker.wait()
        except TimeoutError:
            worker.kill()
            await worker.wait()


async def read(services: Services, session: Session, what: str, request: dict[str, Json]) -> dict[str, Json]:
    """Answer an auditor's question from the index, on the record.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        what: What was asked, for the event.
        request: The index's request.

    Returns:
        The reply.
    """
    actor = session.actor("audit.read")
    await services.recorder.fact(actor, "audit.read", {"what": what, "request": request})
    return await services.index.ask(services, request)


async def verify_live(services: Services, session: Session) -> dict[str, Json]:
    """Verify the log as it lies on disk, up to a checkpoint made now.

    Args:
        services: The daemon's parts.
        session: An auditor's.

    Returns:
        ``verified``, ``size``, ``root``, ``problems`` and the index's state.
    """
    actor = session.actor("audit.read")
    await services.recorder.fact(actor, "audit.read", {"what": "verify", "request": {}})
    services.log.checkpoint()
    known = verify.parse_keys((services.home.log / "log.pub").read_bytes())
    verdict = await asyncio.to_thread(verify.verify_log, services.home.log, known)
    return {
        "verified": verdict.ok,
        "size": verdict.size,
        "root": verdict.root,
        "problems": [{"seq": found.seq, "what": found.text} for found in verdict.problems],
        "index": await services.index.ask(services, {"op": "status"}),
    }


async def rebuild(services: Services, session: Session) -> dict[str, Json]:
    """Build the index anew from the segments.

    Args:
        services: The daemon's parts.
        session: An auditor's.

    Returns:
        What was done.
    """
    actor = session.actor("audit.rebuild")
    async with services.recorder.act(actor, "audit.rebuild", {}) as act:
        act.outcome = await services.index.ask(services, {"op": "rebuild"})
    return act.outcome
