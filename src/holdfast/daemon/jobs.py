"""Jobs: long acts, each with a numbered stream that clients read and resume.

A job's number is the sequence number of its intent. Its stream is a list of entries ``{"n", "kind", ...}`` with kinds
``progress``, ``metric``, ``note`` and at the end one ``result`` or ``error``; it lies in ``jobs/<n>/stream.jsonl`` too, so
that it can be read after a restart. Invariants: entry numbers only rise, by one as they come; of a stream that grows beyond
``MAX_ENTRIES`` every second metric and progress so far is forgotten, in memory and on disk, so that a job of any length has a
bounded one; nothing follows the last entry; a client that goes away changes nothing; a full disk loses the stored stream,
never the job or its readers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from bisect import bisect_right
from itertools import count
from typing import TYPE_CHECKING, Any

from holdfast.errors import Conflict, HoldfastError, NotFound, OperationFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from holdfast.canonical import Json

_LOG = logging.getLogger(__name__)
STREAM = "stream.jsonl"
FINAL = ("result", "error")
MAX_STREAM = 64 * 2**20  # bytes of one stored stream that is read back
MAX_ENTRIES = 20_000  # of a stream; a metric has some 300 bytes, so that it stays far below MAX_STREAM
THINNED = frozenset({"metric", "progress"})  # kinds of which every second is forgotten


class Job:
    """One running or ended job.

    Args:
        number: Sequence number of its intent.
        action: The act's name.
        folder: Its scratch folder.
        stream: The descriptor to which its stream is appended; None for a job of an earlier life.
    """

    def __init__(self, number: int, action: str, folder: Path, stream: int | None = None) -> None:
        self.number = number
        self.action = action
        self.folder = folder
        self.entries: list[dict[str, Json]] = []
        self.cancelling = asyncio.Event()
        self.cancelled_by: str | None = None
        self.uses: frozenset[str] = frozenset()  # digests of what it works with
        self._grown = asyncio.Condition()
        self._stream = stream

    @property
    def ended(self) -> bool:
        """Whether the last entry is there."""
        return bool(self.entries) and self.entries[-1]["kind"] in FINAL

    async def emit(self, kind: str, /, **fields: Json) -> None:
        """Append one entry and wake the readers.

        Args:
            kind: See the module's description.
            **fields: The entry's data.
        """
        if self.ended:
            return
        entry: dict[str, Json] = {
            "n": _number(self.entries[-1]) + 1 if self.entries else 1,
            "kind": kind,
            **fields,
        }
        self.entries.append(entry)
        self._store(entry)
        if len(self.entries) > MAX_ENTRIES:
            self._thin()
        async with self._grown:
            self._grown.notify_all()

    def _store(self, entry: dict[str, Json]) -> None:
        if self._stream is None:
            return
        data = json.dumps(entry).encode() + b"\n"
        try:
            whole = os.write(self._stream, data) == len(data)
        except OSError:
            whole = False
        if self.ended or not whole:  # after a torn line nothing may follow
            os.close(self._stream)
            self._stream = None

    def _thin(self) -> None:
        """Forget every second figure so far, also in what is stored."""
        seen, newest = count(), self.entries[-1]
        older = [one for one in self.entries[:-1] if one["kind"] not in THINNED or next(seen) % 2]
        self.entries = [*older, newest]
        if self._stream is None:
            return
        os.close(self._stream)
        self._stream = None
        stored, draft = self.folder / STREAM, self.folder / f"{STREAM}.new"
        try:
            draft.write_text("".join(json.dumps(one) + "\n" for one in self.entries), encoding="utf-8")
            draft.replace(stored)
            self._stream = open_stream(stored)
        except OSError:
            draft.unlink(missing_ok=True)
            return
        if self.ended:
            os.close(self._stream)
            self._stream = None

    async def follow(self, after: int) -> AsyncIterator[dict[str, Json]]:
        """Give entries as they come, until the last.

        Args:
            after: Number of the last entry that the reader has; 0 for all.

        Yields:
            The entries in order.
        """
        while True:
            for entry in self.entries[bisect_right(self.entries, after, key=_number) :]:
                after = _number(entry)
                yield entry
            if self.ended and after >= _number(self.entries[-1]):
                return
            async with self._grown:
                if not self.ended and (not self.entries or after >= _number(self.entries[-1])):
                    await self._grown.wait()


def _number(entry: dict[str, Json]) -> int:
    number = entry["n"]
    return number if isinstance(number, int) else 0


def open_stream(path: Path) -> int:
    """Open a stored stream to append to it.

    Args:
        path: The file; made if it is not there.

    Returns:
        Its descriptor.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


class Jobs:
    """All jobs of this daemon's life, and the stored streams of earlier ones.

    Args:
        folder: ``HOME/jobs``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[int, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def folder(self, number: int) -> Path:
        """Give a job's scratch folder.

        Args:
            number: The job.

        Returns:
            Its path; it may not exist.
        """
        return self._folder / str(number)

    async def start(
        self, action: str, work: Callable[[asyncio.Future[Job]], Awaitable[dict[str, Json]]]
    ) -> Job:
        """Start a job in the background.

        Args:
            action: The act's name.
            work: Runs the act. It must call ``open_job`` once its intent is recorded and resolve the future with what
                that gave; its return value becomes the ``result`` entry.

        Returns:
            The job, as soon as its intent is on the record.

        Raises:
            HoldfastError: Whatever ``work`` raised before its intent was recorded.
            Conflict: If the daemon is stopping.
        """
        if self._stopping:
            raise _stopping()
        opened: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run(work, opened), name=f"job {action}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        waiting: set[asyncio.Future[Any]] = {opened, task}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            if task.cancelled():
                raise _stopping()
            await task
            raise RuntimeError(f"{action} ended without opening its job")
        return opened.result()

    def open_job(self, number: int, action: str) -> Job:
        """Make the job of an intent that was just recorded.

        Args:
            number: The intent's sequence number.
            action: The act's name.

        Returns:
            The job, with its folder made.
        """
        folder = self.folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        job = Job(number, action, folder, open_stream(folder / STREAM))
        self._jobs[number] = job
        return job

    async def _run(
        self,
        work: Callable[[asyncio.Future[Job]], Awaitable[dict[str, Json]]],
        opened: asyncio.Future[Job],
    ) -> None:
        try:
            result = await work(opened)
        except HoldfastError as error:
            if not opened.done():
                raise
            await opened.result().emit("error", error=error.to_dict())  # type: ignore[arg-type]  # plain data by construction
        except asyncio.CancelledError:
            if opened.done():
                await opened.result().emit("error", error=_stopped().to_dict())  # type: ignore[arg-type]  # as above
            raise
        except Exception as error:
            if not opened.done():
                raise
            _LOG.exception("Job %d broke.", opened.result().number)
            await opened.result().emit("error", error=_internal(error).to_dict())  # type: ignore[arg-type]  # as above
        else:
            await opened.result().emit("result", result=result)

    def get(self, number: int) -> Job:
        """Find a job, reading its stored stream if it is of an earlier life.

        Args:
            number: The job.

        Returns:
            The job.

        Raises:
            NotFound: If there is none.
        """
        job = self._jobs.get(number)
        if job is None:
            job = self._load(number)
        return job

    def _load(self, number: int) -> Job:
        stored = self.folder(number) / STREAM
        if not stored.is_file() or stored.stat().st_size > MAX_STREAM:
            raise NotFound(
                "job.unknown",
                f"There is no job {number}.",
                remedy="See `holdfast train list` or `holdfast status`.",
            )
        lines = stored.read_text(encoding="utf-8").splitlines()
        job = self._jobs[number] = Job(number, "", self.folder(number))
        for line in lines:
            try:
                job.entries.append(json.loads(line))
            except json.JSONDecodeError:
                break  # a line torn by a kill: the stream ends before it
        if not job.ended:
            job.entries.append(
                {
                    "n": _number(job.entries[-1]) + 1 if job.entries else 1,
                    "kind": "error",
                    "error": _stopped().to_dict(),  # type: ignore[dict-item]  # plain data
                }
            )
        return job

    def cancel(self, number: int, person: str) -> None:
        """Ask a job to stop at its next safe point.

        Args:
            number: The job.
            person: Who asks; its outcome names them.

        Raises:
            Conflict: If it has ended.
        """
        job = self.get(number)
        if job.ended:
            raise Conflict(
                "job.ended", f"Job {number} has already ended.", remedy="Nothing is left to cancel."
            )
        job.cancelled_by = person
        job.cancelling.set()

    @property
    def running(self) -> list[Job]:
        """Jobs that have not ended."""
        return [job for job in self._jobs.values() if not job.ended]

    async def stop(self) -> None:
        """Interrupt whatever runs, and wait for it; nothing can be started any more."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stopping() -> HoldfastError:
    return Conflict("daemon.stopping", "The daemon is stopping.", remedy="Start it again with `holdfast up`.")


def _stopped() -> HoldfastError:
    return Conflict(
        "job.interrupted",
        "The daemon stopped while this job ran.",
        remedy="Start it again; a training goes on from its last checkpoint with `holdfast train resume`.",
    )


def _internal(error: Exception) -> HoldfastError:
    return OperationFailed(
        "job.internal", f"The job broke on {type(error).__name__}: {error}.", remedy="See the daemon's log."
    )
