"""The auditor's side: the index worker, what is read from it, verification, rebuilding.

Invariants: the daemon never opens DuckDB; one confined worker does, and sees the log read-only; it is told how far the log is
synced and reads no further; recording events never waits for it; what it answers is evidence only together with the log.
Auditors' reads are recorded, and so is an index that was found to differ from the log.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import errors
from holdfast.audit import complete, verify
from holdfast.confine import exits
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.custody import listing
from holdfast.daemon import scratch, workbench
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import HoldfastError, NoSpace, NotRecorded, WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.audit.verify import Finding
    from holdfast.canonical import Json
    from holdfast.confine.worker import Worker
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

    Told = Callable[[dict[str, Json]], None]

ANSWER_SECONDS = 120.0  # for one answer, beyond the worker's own limit
WRITE_SECONDS = 600.0  # for one result in files, beyond the worker's own limit
DEATHS = 5  # of the index worker within DEATH_SECONDS: then it is not started anew for a while
DEATH_SECONDS = 60.0
RESTARTED = "index.restarted"  # what it answers with when it ended itself: whoever else waited asks once more
LIMITS = Limits(
    memory_bytes=4 * 2**30, file_bytes=64 * 2**30
)  # DuckDB bounds itself far below; a large log's index fits


@dataclass
class _Waiting:
    """Somebody who waits for a reply."""

    answered: asyncio.Future[dict[str, Json]]
    progress: Told | None


class Index:
    """The index worker, started at first use and started anew if it dies."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._listening: asyncio.Task[None] | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._recording: set[asyncio.Task[None]] = set()
        self._next = 0
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._starting = asyncio.Lock()

    async def ask(
        self,
        services: Services,
        request: dict[str, Json],
        *,
        seconds: float = ANSWER_SECONDS,
        progress: Told | None = None,
    ) -> dict[str, Json]:
        """Put a request to the index.

        Args:
            services: The daemon's parts.
            request: With ``op``; see ``workers.index``.
            seconds: How long to wait for the reply.
            progress: Told what the worker says before it replies.

        Returns:
            Its reply.

        Raises:
            HoldfastError: What the worker refused with.
            WorkerFailed: If it does not answer.
        """
        try:
            return await self._ask(services, request, seconds, progress)
        except WorkerFailed as error:
            if error.key != RESTARTED:
                raise
            return await self._ask(services, request, seconds, progress)

    async def _ask(
        self, services: Services, request: dict[str, Json], seconds: float, progress: Told | None
    ) -> dict[str, Json]:
        worker = await self._running(services)
        await self._send(worker, {"op": "synced", "size": services.log.size}, ANSWER_SECONDS, None)
        return await self._send(worker, request, seconds, progress)

    async def _send(
        self,
        worker: Worker,
        request: dict[str, Json],
        seconds: float,
        progress: Told | None,
    ) -> dict[str, Json]:
        self._next += 1
        number = self._next
        waiting = self._waiting[number] = _Waiting(asyncio.get_running_loop().create_future(), progress)
        try:
            async with asyncio.timeout(seconds):
                message = await self._answer(worker, {"id": number, "request": request}, waiting)
        except TimeoutError as error:
            raise WorkerFailed(
                "index.slow",
                "The index did not answer in time.",
                remedy="Ask for less, or run `holdfast audit rebuild`.",
            ) from error
        finally:
            self._waiting.pop(number, None)
        failure, reply = message.get("error"), message.get("reply")
        if isinstance(failure, dict):
            raise errors.from_dict(failure)
        return reply if isinstance(reply, dict) else {}

    async def _answer(self, worker: Worker, message: dict[str, Json], waiting: _Waiting) -> dict[str, Json]:
        try:
            await worker.send(message)
        except WorkerFailed:  # it is dying, and whoever listens to it learns of what
            if worker is not self._worker:  # it was seen dead before this request was known to wait
                raise _restarted() from None
        return await waiting.answered

    async def _running(self, services: Services) -> Worker:
        async with self._starting:
            if self._worker is None:
                now = time.monotonic()
                if len(self._deaths) == DEATHS and now - self._deaths[0] < DEATH_SECONDS:
                    raise WorkerFailed(
                        "index.gone",
                        f"The index worker died {DEATHS} times within {DEATH_SECONDS:.0f} seconds.",
                        remedy="Ask again in a minute; the log itself is not touched.",
                    )
                services.home.index.mkdir(exist_ok=True, mode=0o700)
                spec = WorkerSpec(
                    kind="index",
                    inputs={"log": services.home.log},
                    output=services.home.index,
                    fds={},
                    limits=LIMITS,
                    threads=services.site.threads,
                )
                self._worker = await services.launcher.launch(
                    spec, {"log": "/in/log", "out": "/out"}, workbench.denial_sink(services, "index", None)
                )
                self._listening = asyncio.create_task(
                    self._listen(services, self._worker), name="index worker"
                )
            return self._worker

    async def _listen(self, services: Services, worker: Worker) -> None:
        failure: dict[str, Json] | None = None
        try:
            while (message := await worker.receive()) is not None:
                number, rebuilt, step = message.get("id"), message.get("rebuilt"), message.get("progress")
                waiting = self._waiting.get(number) if isinstance(number, int) else None
                if isinstance(rebuilt, dict):
                    self._record(services, rebuilt)
                elif waiting is not None and isinstance(step, dict):
                    if waiting.progress is not None:
                        waiting.progress(step)
                elif waiting is not None and not waiting.answered.done():
                    waiting.answered.set_result(message)
                elif isinstance(message.get("error"), dict):
                    failure = message
        except WorkerFailed:
            worker.kill()  # it no longer speaks our language
        code = await worker.wait()
        died = _restarted() if code == exits.ANEW else workbench.died(worker, code)
        self._worker = None
        self._deaths.append(time.monotonic())
        for one in self._waiting.values():
            if not one.answered.done():
                one.answered.set_result(failure or {"error": died.to_dict()})  # type: ignore[dict-item]  # plain data

    def _record(self, services: Services, rebuilt: dict[str, Json]) -> None:
        """Put on the record that the index was not what the log says."""

        async def record() -> None:
            try:
                await services.recorder.fact(DAEMON, "audit.index.rebuilt", rebuilt)
            except (NotRecorded, NoSpace):
                return  # the log has stopped: it says so itself

        task = asyncio.create_task(record(), name="index rebuilt")
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    async def shut_down(self) -> None:
        """End the worker, and finish recording what it said."""
        async with self._starting:  # one that is being launched is ended too
            worker, listening = self._worker, self._listening
        if worker is not None:
            await worker.cancel()
            try:
                async with asyncio.timeout(10):
                    await worker.wait()
            except TimeoutError:
                worker.kill()
                await worker.wait()
        if listening is not None:
            await listening
        await asyncio.gather(*self._recording)


def _restarted() -> WorkerFailed:
    return WorkerFailed(
        RESTARTED,
        "The index worker ended itself, because somebody's query could not be stopped.",
        remedy="Ask again.",
    )


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
    """Verify the log as it lies on disk, up to a checkpoint made now, and compare the index with it.

    Args:
        services: The daemon's parts.
        session: An auditor's.

    Returns:
        ``verified``, ``size``, ``root``, ``problems``, ``gaps``, ``notes`` (objects with ``seq`` and ``what``), and
        ``index``: its ``size``, what ``differed`` (null: nothing), ``seconds``, and how it was ``built``.
    """
    actor = session.actor("audit.read")
    await services.recorder.fact(actor, "audit.read", {"what": "verify", "request": {}})
    services.log.checkpoint()
    known = verify.parse_keys((services.home.log / "log.pub").read_bytes())
    verdict = await asyncio.to_thread(complete.verify_log, services.home.log, known)
    index = await services.index.ask(services, {"op": "compare"}, seconds=WRITE_SECONDS)
    await services.recorder.fact(
        session.actor("audit.verified"),
        "audit.verified",
        {
            "size": verdict.size,
            "root": verdict.root,
            "problems": len(verdict.problems),
            "gaps": len(verdict.gaps),
        },
    )
    return {
        "verified": verdict.ok,
        "size": verdict.size,
        "root": verdict.root,
        "problems": _findings(verdict.problems),
        "gaps": _findings(verdict.gaps),
        "notes": _findings(verdict.notes),
        "index": index,
    }


def _findings(found: list[Finding]) -> list[Json]:
    return [{"seq": one.seq, "what": one.text} for one in found]


async def rebuild(services: Services, session: Session) -> dict[str, Json]:
    """Build the index anew from the segments.

    Args:
        services: The daemon's parts.
        session: An auditor's.

    Returns:
        ``size``, ``events``, ``seconds``, ``reason``, and what ``differed`` before (null: nothing).
    """
    actor = session.actor("audit.rebuild")
    async with services.recorder.act(actor, "audit.rebuild", {}) as act:
        act.outcome = await services.index.ask(services, {"op": "rebuild"}, seconds=WRITE_SECONDS)
    return act.outcome


async def write(
    services: Services,
    request: dict[str, Json],
    folder: Path,
    progress: Told | None = None,
) -> dict[str, Json]:
    """Have the index write rows into files, and take them.

    Args:
        services: The daemon's parts.
        request: The fields of the worker's operation ``write``, without its folder.
        folder: Where the files go, in the home's file system; must not exist.
        progress: Told how many rows are written.

    Returns:
        The worker's reply; its ``files`` lie in the folder.
    """
    name = secrets.token_hex(8)
    made = services.home.index / name
    try:
        told = await services.index.ask(
            services, {"op": "write", "folder": name, **request}, seconds=WRITE_SECONDS, progress=progress
        )
        await asyncio.to_thread(_take, made, folder)
    finally:
        await asyncio.to_thread(scratch.remove, made)
    return told


def _take(made: Path, folder: Path) -> None:
    """Take what the worker wrote, out of its reach first; a link in it would give out other files of this machine."""
    made.rename(folder)
    try:
        if folder.is_symlink():
            raise NotADirectoryError(f"{folder} is a link")
        listing.paths_in(folder)
    except (HoldfastError, OSError) as error:
        scratch.remove(folder)
        raise WorkerFailed(
            "index.files",
            "The index worker left something else than plain files.",
            remedy="Restart the daemon.",
        ) from error


async def write_result(
    services: Services, wanted: dict[str, Json], start: int, stop: int, target: Path
) -> dict[str, Json]:
    """Write the events of a range that fit a declarative filter as one Parquet file. Whose act it is records it.

    Args:
        services: The daemon's parts.
        wanted: Any of ``action`` (an action, or an act with all that belongs to it), ``person``, ``role``, ``kind``, ``digest``,
            ``since``, ``until`` (RFC 3339, UTC; from the first, before the second).
        start: The first event of the range.
        stop: One past its last.
        target: The file, in the home's file system; must not exist.

    Returns:
        ``rows``, ``digest`` and ``bytes``.
    """
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    request: dict[str, Json] = {"filter": wanted, "start": start, "stop": stop, "formats": ["parquet"]}
    try:
        told = await write(services, request, folder)
        await asyncio.to_thread((folder / "rows.parquet").rename, target)
    finally:
        await asyncio.to_thread(scratch.remove, folder)
    files = told["files"]
    made = files["rows.parquet"] if isinstance(files, dict) else {}
    return {"rows": told["rows"], **(made if isinstance(made, dict) else {})}
