"""A confined worker that stays: it is asked while it runs, and answers, until it is told to end.

Order of operations: launched by its own module, which waits until it says ``ready``; then ``attend`` listens to it for as long as
it lives, and ``ask`` puts requests to it. Invariants: what a worker says is bounded and judged before it goes anywhere; a request
to a worker that has ended, or that does not answer in time, has an empty reply; a worker that does not even read is ended, as is
one that answers no ``ping``, ``MISSES`` times in a row, and one that goes on saying what nobody asked for; nobody waits for a reply
that can't come any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.confine.exits import describe_exit
from holdfast.daemon import workbench
from holdfast.errors import HoldfastError, WorkerFailed

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.confine.worker import Worker
    from holdfast.daemon.jobs import Job

STOP_SECONDS = 15.0  # for a worker to end what it is doing; then it is killed
REPLY_SECONDS = 15.0  # for it to react to a request
PROBE_SECONDS = 5.0  # between two pings
PONG_SECONDS = 10.0  # for it to answer one; a thread of its own does nothing else, so only a machine that swaps is as slow
MAX_UNASKED = 64  # messages one after another that answer nothing: replies that came too late are a few
MISSES = 3  # pings without an answer after which it is taken for hung; one may be lost while the daemon itself stood still


class Resident:
    """A worker that stays.

    Args:
        worker: Its process, which has said that it is ready.
    """

    def __init__(self, worker: Worker) -> None:
        self.how = ""  # it ended
        self.clean = False  # it ended by itself, and without an error
        self._worker = worker
        self._replies: dict[int, asyncio.Future[dict[str, Json]]] = {}
        self._asked = 0
        self._life: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._fault = ""  # why it was ended

    @property
    def pid(self) -> int:
        """Its supervisor's process."""
        return self._worker.pid

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._life is None or self._life.done()

    def attend(self) -> None:
        """Listen to it from now on, and look whether it still reacts."""
        self._life = asyncio.create_task(self._listen(), name=f"worker {self.pid}")
        self._watch = asyncio.create_task(self._probe(), name=f"watch on worker {self.pid}")

    async def ask(self, request: dict[str, Json], seconds: float = REPLY_SECONDS) -> dict[str, Json]:
        """Put a request to the worker.

        Args:
            request: With ``op``.
            seconds: For it to answer.

        Returns:
            Its reply; empty if it gave none.

        Raises:
            HoldfastError: What it answered, if that was an error.
        """
        if self.gone:
            return {}
        self._asked += 1
        number = self._asked
        waiting: asyncio.Future[dict[str, Json]] = asyncio.get_running_loop().create_future()
        self._replies[number] = waiting
        whole = False
        try:
            async with asyncio.timeout(seconds):
                sent = await self._sent({"id": number, "request": request})
                whole = True
                if sent:
                    return await waiting
        except TimeoutError:
            if not whole:  # what follows half a request would not be understood
                self.kill()
        finally:
            self._replies.pop(number, None)
        return {}

    async def _sent(self, message: dict[str, Json]) -> bool:
        try:
            await self._worker.send(message)
        except WorkerFailed:  # it ended meanwhile
            return False
        return True

    def kill(self) -> None:
        """End it without more ado."""
        self._worker.kill()

    async def end(self) -> None:
        """End it, giving it time for what it is doing."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._worker.cancel()
                await self._worker.wait()
        except TimeoutError:
            self._worker.kill()
            await self._worker.wait()
        await self.over()

    async def over(self) -> None:
        """Wait until it has ended and all that follows from it is done."""
        if self._life is not None:
            await asyncio.shield(self._life)

    async def _listen(self) -> None:
        last, unasked = "", 0
        try:
            while (message := await self._worker.receive()) is not None:
                error, number = message.get("error"), message.get("id")
                unasked += 1
                if unasked > MAX_UNASKED:
                    self._fault = f"It said {MAX_UNASKED} things that nobody had asked for, and was ended."
                    self._worker.kill()
                    break
                if isinstance(number, int):
                    unasked = 0 if self._answer(number, message) else unasked
                elif isinstance(error, dict):
                    last = workbench.reported(error).message
                elif "result" in message:
                    self.clean = True
        except WorkerFailed:
            self._worker.kill()  # it does not speak our language
        code = await self._worker.wait()
        self.clean = self.clean and code == 0
        if self._watch is not None:
            self._watch.cancel()
        self.how = self._fault or last or ("It returned." if self.clean else describe_exit(code).message)
        await self._ended()
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.set_result({})

    async def _probe(self) -> None:
        missed = 0
        while not self._fault:
            await asyncio.sleep(PROBE_SECONDS)
            told: dict[str, Json] = {}
            with contextlib.suppress(HoldfastError):  # it says itself that it does not react
                told = await self.ask({"op": "ping"}, PONG_SECONDS)
            missed = 0 if told else missed + 1
            if missed >= MISSES:
                self._fault = f"It answered none of {MISSES} pings, and was ended."
            elif told:
                self._fault = self._amiss(told)
        self.kill()

    def _amiss(self, told: dict[str, Json]) -> str:
        """Judge what it said of itself.

        Args:
            told: Its answer to a ping.

        Returns:
            Why it is to be ended; empty if it is not.
        """
        del told
        return ""

    def _answer(self, number: int, message: dict[str, Json]) -> bool:
        """Hand on a reply; False if nobody waits for it."""
        waiting = self._replies.pop(number, None)
        if waiting is None or waiting.done():
            return False
        reply, error = message.get("reply"), message.get("error")
        if isinstance(error, dict):
            waiting.set_exception(workbench.reported(error))
        else:
            waiting.set_result(reply if isinstance(reply, dict) else {})
        return True

    async def _ended(self) -> None:
        """Do what must be done when it has ended; nothing by itself."""


def counts(told: Json, *names: str) -> dict[str, int]:
    """Take counts that a worker gave; it is not trusted to give any, and nothing else that it says is passed on.

    Args:
        told: What it said.
        *names: Of the counts.

    Returns:
        Those that are there, whole and not negative.
    """
    found = told if isinstance(told, dict) else {}
    return {
        name: figure
        for name in names
        if type(figure := found.get(name)) is int and 0 <= figure <= canonical.MAX_SAFE_INTEGER
    }


async def ready(job: Job | None, worker: Worker, seconds: float) -> dict[str, Json]:
    """Wait until a worker says that it is ready; one that does not is ended.

    Args:
        job: Gets its progress, if there is one.
        worker: The worker.
        seconds: For it to be ready.

    Returns:
        What it said with that.

    Raises:
        HoldfastError: What it reported instead.
        WorkerFailed: If it ended, or was not ready in time.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _ready(job, worker)
    except TimeoutError as error:
        await _drop(worker)
        raise WorkerFailed(
            "worker.not-ready",
            f"The worker was not ready after {seconds:.0f} seconds.",
            remedy="Try again when the machine has less to do.",
        ) from error
    except BaseException:
        await _drop(worker)
        raise


async def _ready(job: Job | None, worker: Worker) -> dict[str, Json]:
    while (message := await worker.receive()) is not None:
        progress, error = message.get("progress"), message.get("error")
        if isinstance(error, dict):
            raise workbench.reported(error)
        if isinstance(progress, dict):
            if len(canonical.encode(progress)) > workbench.MAX_TOLD:
                raise WorkerFailed(
                    "worker.babbles",
                    f"The worker sent a progress of more than {workbench.MAX_TOLD} bytes.",
                    remedy="Start it again; if it ends so again, treat what it was given as hostile.",
                )
            if job is not None:
                # Numbering and kind are ours; a worker gives figures.
                fields = {name: value for name, value in progress.items() if name not in {"n", "kind"}}
                await job.emit("progress", **fields)
            if progress.get("step") == "ready":
                return progress
    raise workbench.died(worker, await worker.wait())


async def _drop(worker: Worker) -> None:
    worker.kill()
    await worker.wait()
