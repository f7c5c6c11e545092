"""The engines that must run, and what keeps them running.

Each set of weights has a seat, which an engine fills. Order of operations when one dies: the front has noticed by itself and told
whoever waited; it is put on the record; after a pause that grows with each death an engine is launched in its place, given its
adapters, and its link goes to the front. Whatever dies too often (``deaths``) is taken out, on the record:
the front says why until somebody loads it again. Invariants: all engines together are never granted more memory than serving may
take; an engine that was ended on purpose, or with the front, is no death; a seat has one engine at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.audit.event import Subject
from holdfast.audit.registry.serving import MAX_SERVED
from holdfast.daemon.recorder import DAEMON
from holdfast.daemon.serve.deaths import WINDOW_SECONDS
from holdfast.daemon.serve.engine import lacks, launch_engine
from holdfast.daemon.serve.seat import Seat
from holdfast.errors import HoldfastError, NoSpace, NotRecorded

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.serve.engine import Engine
    from holdfast.daemon.serve.front import Front
    from holdfast.daemon.serve.planning import EnginePlan, Lane
    from holdfast.daemon.services import Services

LOOK_SECONDS = 0.25  # between two questions to a front of which it is not known yet whether it is there
# Of the memory that is free when serving starts, where the site does not say how much it may take.
SHARE = 0.8
MEMINFO = Path("/proc/meminfo")


class Pool:
    """All engines of one front.

    Args:
        services: The daemon's parts.
        limits: ``serving.spec.Limits`` as plain data.
        memory: Bytes that they may take together; None for a share of what is free now.
        reaching: Lists the model ids that an engine answers for.
    """

    def __init__(
        self,
        services: Services,
        limits: dict[str, Json],
        memory: int | None,
        reaching: Callable[[str], list[str]],
    ) -> None:
        self.seats: dict[str, Seat] = {}
        self.front: Front | None = None
        self.budget = int(_available() * SHARE) if memory is None else memory
        self._services = services
        self._limits = limits
        self._reaching = reaching
        self._tasks: set[asyncio.Task[None]] = set()
        self._sharing = asyncio.Lock()

    @property
    def digests(self) -> set[str]:
        """Everything that any engine has open."""
        return {digest for seat in self.seats.values() for digest in seat.digests}

    async def add(self, job: Job | None, plan: EnginePlan) -> None:
        """Launch an engine with its adapters into a new seat.

        Args:
            job: Gets its progress.
            plan: What it computes with.

        Raises:
            HoldfastError: If it does not start; then there is no such seat.
        """
        seat = self.seats[plan.name] = Seat(plan, dict(plan.lanes))
        try:
            await self._fill(seat, job)
        except BaseException:
            self.seats.pop(plan.name, None)
            raise

    async def attach(self, name: str, lane: Lane) -> None:
        """Give an engine one more adapter.

        Args:
            name: The engine.
            lane: The adapter.

        Raises:
            HoldfastError: If it does not take it.
        """
        seat = self.seats[name]
        async with seat.filling:
            if seat.engine is not None and not seat.engine.gone:
                await seat.engine.attach(lane)
            seat.lanes[lane.name] = lane  # one that is launched later is given it too
            if seat.lacking.pop(lane.name, None) is not None:
                await self._tell_front(seat)

    async def detach(self, name: str, lane: str) -> None:
        """Have an engine let go of an adapter.

        Args:
            name: The engine.
            lane: The adapter's name.
        """
        seat = self.seats[name]
        async with seat.filling:
            seat.lanes.pop(lane, None)
            seat.lacking.pop(lane, None)
            if seat.engine is not None:
                await seat.engine.detach(lane)

    async def remove(self, name: str) -> None:
        """End an engine, and its seat with it.

        Args:
            name: The engine.
        """
        seat = self.seats.pop(name, None)
        if seat is None:
            return
        async with seat.filling:
            engine, seat.engine = seat.engine, None
        if engine is not None:
            await engine.end()
        await self._share()

    async def bring_back(self, job: Job | None, name: str) -> None:
        """Launch an engine again that was taken out, or give it the adapters that it lacks; its deaths are forgotten.

        Args:
            job: Gets its progress.
            name: The engine.

        Raises:
            HoldfastError: If it does not start, or does not take an adapter.
        """
        seat = self.seats[name]
        if seat.out is None:
            for lane in [*seat.lacking]:
                await self.attach(name, seat.lanes[lane])
            return
        await self._fill(seat, job)
        seat.out = None
        seat.deaths.forget()
        await self._tell_front(seat)

    async def meet(self, front: Front) -> None:
        """Hand a new front the ways to all engines; those that are missing are launched in the background.

        Args:
            front: The front.
        """
        self.front = front
        for name, seat in self.seats.items():
            if seat.out is not None or seat.lacking:
                await self._tell_front(seat)
            if seat.out is not None:
                continue
            if seat.engine is not None and not seat.engine.gone:
                front.link(name, seat.engine)
            else:
                self._spawn(self._restart(seat))

    async def part(self) -> None:
        """End all engines, because their front is gone and their links with it; their seats stay."""
        self.front = None
        engines = []
        for seat in self.seats.values():
            if seat.engine is not None:
                engines.append(seat.engine)
                seat.engine = None
        await asyncio.gather(*(engine.end() for engine in engines))

    async def close(self) -> None:
        """End all engines and whatever keeps them running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.part()
        self.seats.clear()

    async def forget(self, tenant: str) -> bool:
        """Have the engines wipe what they keep of a tenant's prompts.

        Args:
            tenant: Whose.

        Returns:
            Whether each of them said that it did; one that did not was ended, and its memory with it.
        """
        all_did = True
        for seat in [*self.seats.values()]:
            engine = seat.engine
            if engine is None or engine.gone:
                continue
            told: dict[str, Json] = {}
            with contextlib.suppress(HoldfastError):
                told = await engine.ask({"op": "forget", "tenant": tenant})
            if "forgotten" not in told:
                engine.kill()
                await engine.over()
                all_did = False
        return all_did

    async def status(self) -> list[dict[str, Json]]:
        """Describe the engines.

        Returns:
            Each as ``Seat.describe`` says.
        """
        return list(
            await asyncio.gather(*(seat.describe(self._reaching(name)) for name, seat in self.seats.items()))
        )

    async def _fill(self, seat: Seat, job: Job | None, *, lenient: bool = False) -> None:
        """Launch an engine into a seat that has none.

        Args:
            seat: The seat.
            job: Gets its progress.
            lenient: Whether an adapter that it does not take is left out and told, because better without it than not at all.
        """
        async with seat.filling:
            if seat.engine is not None and not seat.engine.gone:
                return
            async with self._sharing:  # of two at once, the second is granted what the first left
                engine = await self._launched(seat, job)
            try:
                seat.lacking.clear()
                for lane in [*seat.lanes.values()]:
                    try:
                        await engine.attach(lane)
                    except (HoldfastError, OSError) as error:
                        if not lenient:
                            raise
                        seat.lacking[lane.name] = lacks(lane, error)
                await self._tell_front(seat)  # before it can ask the engine for what that lacks
                if self.front is not None:
                    self.front.link(seat.plan.name, engine)
            except BaseException:
                engine.kill()
                await engine.over()
                raise
            seat.engine = engine
            self._spawn(self._until_over(seat, engine))
        await self._share()

    async def _launched(self, seat: Seat, job: Job | None) -> Engine:
        taken = await self._freeze(seat)
        room = max(1, self.budget - taken)
        try:
            return await launch_engine(self._services, job, seat.plan, self._limits, room)
        except NoSpace as error:
            if taken:
                error.message += (
                    f" Other engines take {taken / 2**20:.0f} MiB of {self.budget / 2**20:.0f} MiB."
                )
            raise

    async def _freeze(self, seat: Seat) -> int:
        """Grant every other engine what it has taken, and no more, until memory is shared anew."""
        others = [one.engine for one in self.seats.values() if one is not seat and one.engine is not None]
        for engine in others:
            await engine.look()
            await _grant(engine, engine.taken)
        return sum(engine.taken for engine in others)

    async def _share(self) -> None:
        """Share what is left among the engines, as room for their caches."""
        async with self._sharing:
            engines = [
                one.engine for one in self.seats.values() if one.engine is not None and not one.engine.gone
            ]
            left = max(0, self.budget - sum(engine.taken for engine in engines))
            for engine in engines:
                await _grant(engine, engine.taken + left // len(engines))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="engine's supervision")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_over(self, seat: Seat, engine: Engine) -> None:
        await engine.over()
        front = self.front
        # One that returned was told to, or its link was closed: perhaps because the front died, which may be noticed later.
        lives = await _reacts(front) if engine.clean else front is not None and not front.gone
        if seat.engine is not engine:
            return  # it was ended on purpose
        seat.engine = None
        if lives:
            await self._mourn(seat, engine.how)

    async def _mourn(self, seat: Seat, how: str) -> None:
        """Put a death on the record; then restart, or take out."""
        params: dict[str, Json] = {"how": how[:400], "deaths": seat.deaths.add()}
        pause, out = seat.deaths.pause, seat.deaths.too_many
        if not out:
            params["seconds"] = pause
        await self._fact("serve.engine.died", seat, params)
        if out:
            await self._take_out(seat, how)
            return
        await asyncio.sleep(pause)
        await self._restart(seat)

    async def _restart(self, seat: Seat) -> None:
        begun, front = time.monotonic(), self.front
        if self.seats.get(seat.plan.name) is not seat or seat.out is not None:
            return
        try:
            await self._fill(seat, None, lenient=True)
        except HoldfastError as error:
            if await _reacts(front):  # else it is launched with the next one
                await self._mourn(seat, error.message)
            return
        seconds = round(time.monotonic() - begun, 3)
        params: dict[str, Json] = {"deaths": len(seat.deaths), "seconds": seconds}
        if seat.lacking:
            params["without"] = [seat.lanes[name].digest for name in list(seat.lacking)[:MAX_SERVED]]
        await self._fact("serve.engine.restarted", seat, params)

    async def _take_out(self, seat: Seat, how: str) -> None:
        named, count = ", ".join(self._reaching(seat.plan.name)[:4]) or "a model", len(seat.deaths)
        told = (
            f"What computes {named} died {count} times within {WINDOW_SECONDS:.0f} seconds and was taken out"
        )
        seat.out = {
            "told": f"{told}.",
            "why": f"{told}; the last time: {how[:400]}",
            "remedy": "An operator can bring it back with `holdfast serve load MODEL`; if it lacked memory, by `holdfast serve stop`"
            " and a start with more of it or with a smaller context.",
        }
        await self._fact("serve.engine.withdrawn", seat, {"how": how[:400], "deaths": count})
        await self._tell_front(seat)

    async def _tell_front(self, seat: Seat) -> None:
        if self.front is not None:
            name = seat.plan.name
            lacking: dict[str, Json] = {lane: dict(why) for lane, why in seat.lacking.items()}
            told: dict[str, Json] = {"lacking": lacking}
            if seat.out is not None:  # how it died is the site's business
                told |= {"why": seat.out["told"], "remedy": "Tell whoever operates this appliance."}
            await self.front.does({"op": "engine", "engine": name, **told}, "engine", name)

    async def _fact(self, action: str, seat: Seat, params: dict[str, Json]) -> None:
        models: list[Json] = [*self._reaching(seat.plan.name)[:MAX_SERVED]]
        digest = str(seat.plan.model["digest"])
        with contextlib.suppress(NotRecorded, NoSpace):  # the log has stopped: no answer is given either
            await self._services.recorder.fact(
                DAEMON, action, {"models": models, **params}, subject=Subject("gguf", digest)
            )


async def _reacts(front: Front | None) -> bool:
    """Tell whether a front answers; the end of one that is dying is waited for."""
    while front is not None and not front.gone:
        if await front.ask({"op": "ping"}):
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await front.over()
    return False


async def _grant(engine: Engine, size: int) -> None:
    with contextlib.suppress(HoldfastError):
        await engine.ask({"op": "budget", "bytes": size})


def _available() -> int:
    """Read how much memory could be taken without swapping, in bytes.

    Source: ``MemAvailable`` in ``proc_meminfo(5)``, in units of 1024 bytes.
    """
    for line in MEMINFO.read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return 0
