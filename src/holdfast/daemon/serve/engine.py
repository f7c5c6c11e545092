"""One engine: a confined worker that computes with one set of weights, from its launch to its end.

Order of operations: launched with the weights' and the tokenizer's folders, one end of a stream to the front (the link), a
packet socket for adapters, and the memory that it may take; it refuses, with the numbers, what would not fit, loads, and says
that it is ready. It also says what it measured, which is kept for the next engine of the same weights: that is listened to only
here, before anybody's prompt can have reached it. The link's other end goes to the front. An adapter is given as an open file
that was hashed here, and hashed again by the engine while it copies it. Invariants: an engine sees one model, no key, no log
and no other engine's files; each link has one owner at each end; a file that changed since it was verified is not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.daemon import resident, workbench
from holdfast.daemon.descriptors import Handover
from holdfast.daemon.resident import Resident
from holdfast.daemon.serve import measures
from holdfast.errors import HoldfastError, NoSpace, UntrustedBundle, WorkerFailed
from holdfast.serving import measured

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.confine.worker import Worker
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.serve.planning import EnginePlan, Lane
    from holdfast.daemon.services import Services

READY_SECONDS = 300.0  # for a large model to load
ATTACH_SECONDS = 120.0  # for a large adapter to be copied and loaded
STEP_SECONDS = 300.0  # of one step: 128 tokens of a prompt, or one text to embed; the slowest take a tenth
DETACH_SECONDS = 30.0  # for an engine to let go of an adapter that nobody asks for
SCRATCH = 4 * 2**30  # bytes of its /tmp: one adapter at a time lies there
SLACK = 2 * 2**30  # bytes beyond what it plans with: the interpreter, tables, threads' stacks, grammars
MEMORY = ("weights", "cache", "compute", "total")  # what an engine tells of it, in bytes
OPEN_FILES = 1024  # a count: sharded weights need some hundred


class Engine(Resident):
    """An engine that runs; made by ``launch_engine``.

    Args:
        worker: Its process.
        link: The front's end of its link.
        files: The way for adapters.
        memory: Bytes by what they are for, as it said when it was ready.
    """

    def __init__(self, worker: Worker, link: socket.socket, files: Handover, memory: dict[str, int]) -> None:
        super().__init__(worker)
        self.memory = memory
        self.lanes: set[str] = set()
        self._link: socket.socket | None = link
        self._files = files

    def take_link(self) -> socket.socket | None:
        """Give the front's end of its link away.

        Returns:
            The socket, which the caller closes; None if it was given away already.
        """
        link, self._link = self._link, None
        return link

    @property
    def taken(self) -> int:
        """Bytes of memory that it had taken when it was asked last."""
        return self.memory.get("total", 0)

    async def look(self) -> dict[str, Json]:
        """Ask it how it is.

        Returns:
            Its own figures; empty if it does not answer.
        """
        with contextlib.suppress(HoldfastError):
            told = await self.ask({"op": "status"})
            self.memory = resident.counts(told.get("memory"), *MEMORY) or self.memory
            return told
        return {}

    async def attach(self, lane: Lane) -> None:
        """Give it an adapter.

        Args:
            lane: Which file, and at which scale.

        Raises:
            UntrustedBundle: If the file is not what was recorded.
            HoldfastError: If the engine does not take it.
        """
        if lane.name in self.lanes:
            return
        descriptor = os.open(lane.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size, digest = await asyncio.to_thread(_hashed, descriptor)
            if size != lane.size:
                raise UntrustedBundle(
                    "serve.adapter-size",
                    f"The adapter {lane.digest[:24]} has {size} bytes; recorded are {lane.size}.",
                    remedy="Find out who changed it: `holdfast store scrub`.",
                )
            self._files.give({"lane": lane.name, "digest": digest, "size": size}, descriptor)
        finally:
            os.close(descriptor)
        reply = await self.ask(
            {"op": "attach", "lane": lane.name, "scale": lane.scale}, seconds=ATTACH_SECONDS
        )
        if reply.get("attached") != lane.name:
            raise WorkerFailed(
                "serve.attach",
                f"The engine did not take the adapter {lane.digest[:24]}.",
                remedy="Try again; if it ends so again, examine the adapter with `holdfast media check`.",
            )
        self.lanes.add(lane.name)

    async def detach(self, lane: str) -> bool:
        """Have it let go of an adapter.

        Args:
            lane: Its name.

        Returns:
            Whether it did.
        """
        with contextlib.suppress(HoldfastError):
            reply = await self.ask({"op": "detach", "lane": lane}, seconds=DETACH_SECONDS)
            if reply.get("detached") == lane:
                self.lanes.discard(lane)
                return True
        return False

    def _amiss(self, told: dict[str, Json]) -> str:
        step = told.get("step")
        if isinstance(step, int | float) and step > STEP_SECONDS:
            return f"A step took more than {STEP_SECONDS:.0f} seconds, and it was ended."
        return ""

    async def _ended(self) -> None:
        self._files.close()
        link = self.take_link()
        if link is not None:
            link.close()


def lacks(lane: Lane, error: HoldfastError | OSError) -> dict[str, Json]:
    """Write why an engine does without an adapter.

    Args:
        lane: The adapter.
        error: What happened when it was given it.

    Returns:
        ``why`` and ``remedy``, as operators and applications are told.
    """
    why = error.message if isinstance(error, HoldfastError) else f"It can't be read: {error.strerror}."
    return {
        "why": f"The adapter {lane.digest[:24]} could not be loaded when its engine was started again: {why}",
        "remedy": "An operator can load it with `holdfast serve load MODEL`, once what is wrong was put right.",
    }


def _require_lockable(plan: EnginePlan) -> None:
    """Refuse weights that are to be locked in memory and can't be: llama.cpp would go on without a word.

    Source: ``getrlimit(2)``, RLIMIT_MEMLOCK; a worker has its daemon's limit and no capability to go beyond it.
    """
    allowed = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if plan.model["mlock"] is not True or allowed == resource.RLIM_INFINITY:
        return
    size = (plan.inputs["model"] / Path(str(plan.model["path"])).name).stat().st_size
    if size > allowed:
        raise NoSpace(
            "serve.mlock",
            f"{plan.model['id']} has {size} bytes of weights, and {allowed} bytes may be locked in memory.",
            remedy="Raise the daemon's limit (LimitMEMLOCK= in systemd, `ulimit -l`), or leave mlock out of [serving].",
            needed_bytes=size,
            allowed_bytes=allowed,
        )


def _hashed(descriptor: int) -> tuple[int, str]:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
        file.seek(0)  # the engine shares the position
        return os.fstat(descriptor).st_size, f"sha512:{digest}"


async def launch_engine(
    services: Services, job: Job | None, plan: EnginePlan, limits: dict[str, Json], memory: int
) -> Engine:
    """Start an engine and wait until it has loaded its weights.

    Args:
        services: The daemon's parts.
        job: Gets its progress, if somebody waits for it.
        plan: What it computes with.
        limits: ``serving.spec.Limits`` as plain data.
        memory: Bytes that it may take.

    Returns:
        The engine, without adapters.

    Raises:
        HoldfastError: If it refuses, ends, or does not become ready.
    """
    _require_lockable(plan)
    digest = str(plan.model["digest"])
    kept = await asyncio.to_thread(measures.find, services.home.measured, digest)
    ours, theirs = socket.socketpair()
    files = Handover()
    spec = WorkerSpec(
        kind="engine",
        inputs=plan.inputs,
        output=None,
        fds={"link": theirs.fileno(), "files": files.theirs.fileno()},
        limits=Limits(
            memory_bytes=memory + SLACK, file_bytes=SCRATCH, open_files=OPEN_FILES, scratch_bytes=SCRATCH
        ),
        threads=services.site.threads,
        huge_pages=True,
    )
    order: dict[str, Json] = {
        "model": plan.model,
        "limits": limits,
        "threads": services.site.threads,
        "memory_bytes": memory,
        "measured": None if kept is None else kept.plain(),
    }
    act = None if job is None else job.number
    try:
        worker = await services.launcher.launch(spec, order, workbench.denial_sink(services, "engine", act))
        said = await resident.ready(job, worker, READY_SECONDS)
    except BaseException:
        ours.close()
        files.close()
        raise
    finally:
        theirs.close()
        files.started()
    engine = Engine(worker, ours, files, resident.counts(said.get("memory"), *MEMORY))
    engine.attend()
    found = measured.parse(said.get("measured"))
    try:
        if found is not None and found != kept:
            await asyncio.to_thread(measures.keep, services.home.measured, digest, found)
    except BaseException:
        engine.kill()
        await engine.over()
        raise
    return engine
