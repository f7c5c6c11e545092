"""What runs while models are served: the listening socket, the front on it, and the engines behind it.

Order of operations: engines are launched with their adapters; the front is launched, given its links, the keys and its
settings, and opened. A new plan takes over by one message to the front; what it no longer leads to is ended once the front says
that nobody waits for it. A front that ends by itself is started again on the same socket, with new engines, until it does so
too often. Invariants: the socket lives as long as the deployment, and a front that takes another's place shows the same
certificate; a front that can't be told what is meant is ended, because it would go on with what is not; whoever was withdrawn
stays so for every front.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from holdfast.daemon.recorder import DAEMON
from holdfast.daemon.serve import keys
from holdfast.daemon.serve.deaths import WINDOW_SECONDS, Deaths
from holdfast.daemon.serve.front import Room, launch_front
from holdfast.daemon.serve.pool import Pool
from holdfast.errors import HoldfastError, NoSpace, NotRecorded, WorkerFailed
from holdfast.serving import spec

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine

    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.serve.certificate import Certificate
    from holdfast.daemon.serve.front import Front
    from holdfast.daemon.serve.planning import Plan
    from holdfast.daemon.services import Services

LOOK_SECONDS = 0.25  # between two looks at whether what is no longer served has become idle; they grow
MAX_LOOK_SECONDS = 5.0


class Deployment:
    """What runs; nothing of it is decided here.

    Args:
        services: The daemon's parts.
        plan: What is served.
        memory: Bytes that all engines may take together; None for a share of what is free now.
        listener: Where the front listens; closed with the deployment.
        changing: Held while something else begins to be served.
        certificate: What fronts speak TLS with; None without TLS.
    """

    def __init__(
        self,
        services: Services,
        plan: Plan,
        memory: int | None,
        listener: socket.socket,
        changing: asyncio.Lock,
        *,
        certificate: Certificate | None = None,
    ) -> None:
        self.plan = plan
        self.listener = listener
        self.front: Front | None = None
        self.certificate = certificate
        self.withdrawn: dict[str, dict[str, Json]] = {}
        self.deaths = Deaths()  # of fronts
        self.ended: str | None = None  # why it closed by itself
        limits = plan.settings["limits"]
        self.pool = Pool(
            services,
            limits if isinstance(limits, dict) else {},
            memory,
            self._reaching,
        )
        self._services = services
        self._changing = changing
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> bool:
        """Whether applications can connect; also while a front is started anew."""
        return self.listener.fileno() >= 0

    async def begin(self, job: Job) -> None:
        """Launch engines and front, and let applications in.

        Args:
            job: Gets the progress.

        Raises:
            HoldfastError: If one of them does not start; then nothing is left.
        """
        try:
            for engine in self.plan.engines.values():
                await self.pool.add(job, engine)
            front = await launch_front(self._services, job, self._room())
            opened = await self._let_in(front)
        except BaseException:
            await asyncio.shield(self.close())
            raise
        if not opened:
            await self.close()
            raise WorkerFailed("serve.no-keys", "The front did not open.", remedy="Start serving again.")

    def _reaching(self, engine: str) -> list[str]:
        return self.plan.reaching(engine)

    def _room(self) -> Room:
        return Room(self.plan.settings, self.withdrawn, self.listener, self.certificate)

    async def _let_in(self, front: Front) -> bool:
        """Give a front that is ready its links and keys, and open it."""
        self.front = front
        self._spawn(self._until_over(front))
        try:
            await self.pool.meet(front)
        except WorkerFailed:  # it is gone
            return False
        # Only now, so that what changed while it was launched counts.
        try:
            await front.renew(self.certificate)
        except HoldfastError:
            return False
        return (
            await self.send_keys()
            and await self._settle(front)
            and await front.does({"op": "open"}, "open", value=True)
        )

    async def _settle(self, front: Front) -> bool:
        """Tell the front what is served, and what was withdrawn."""
        told: dict[str, Json] = {
            "op": "settings",
            "settings": self.plan.settings,
            "withdrawn": dict(self.withdrawn),
        }
        return await front.does(told, "settings", value=True)

    async def send_keys(self) -> bool:
        """Hand the keys that count to the front.

        Returns:
            Whether it can't still take another.
        """
        front = self.front
        if front is None:
            return True
        told: dict[str, Json] = {}
        with contextlib.suppress(HoldfastError):
            told = await front.ask({"op": "keys", "keys": keys.counting(self._services)})
        return "keys" in told or front.gone

    async def renew(self, certificate: Certificate) -> None:
        """Speak TLS by another certificate with who connects from now on.

        Args:
            certificate: Which, and its key.

        Raises:
            HoldfastError: If the front refuses them; all goes on as it was.
        """
        if self.front is not None:
            await self.front.renew(certificate)
        self.certificate = certificate

    async def pause(self, *, paused: bool) -> None:
        """Have the front take no new question, or take them again.

        Args:
            paused: Whether it takes none.
        """
        front = self.front
        if (
            front is not None
            and paused != front.paused
            and await front.does({"op": "pause", "paused": paused}, "paused", value=paused)
        ):
            front.paused = paused

    async def take_over(self, plan: Plan) -> None:
        """Serve something else from now on.

        Args:
            plan: What; its engines run.
        """
        self.plan = plan
        self.withdrawn = {name: why for name, why in self.withdrawn.items() if name not in plan.uses}
        front = self.front
        if front is not None and not await self._settle(front):
            front.kill()  # the next one begins with what is meant
        self._spawn(self._retire())

    async def withdraw(self, why: dict[str, dict[str, Json]], files: dict[str, dict[str, Json]]) -> bool:
        """End the answers of some models, and let go of their weights.

        Args:
            why: ``message`` and ``remedy`` by model id.
            files: The same by the digest of what engines have open and may not use.

        Returns:
            Whether the front confirmed it; one that did not was ended, and the next one knows.
        """
        self.withdrawn = {**self.withdrawn, **why}
        front, told = self.front, True
        if front is not None:
            asked: dict[str, Json] = {"op": "withdraw", "models": dict(why), "files": dict(files)}
            told = await front.does(asked, "withdrawn", [*why])
            if not told:
                front.kill()
        for name, lanes in self._surplus().items():
            seat, planned = self.pool.seats[name], self.plan.engines.get(name)
            # What a release left behind may still be answered with, unless it is revoked itself.
            if "" in lanes and (planned is not None or seat.plan.digests & files.keys()):
                await self.pool.remove(name)
                continue
            for lane in lanes - {""}:
                known = planned is not None and lane in planned.lanes
                if known or seat.lanes[lane].digest in files:
                    await self.pool.detach(name, lane)
        return told

    async def close(self) -> None:
        """End all of it, giving the front time for what it is answering."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        await self._end_front()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._end_front()  # one that was being started
        self.listener.close()
        await self.pool.close()

    async def _end_front(self) -> None:
        front, self.front = self.front, None
        if front is not None:
            await front.end()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="serving")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_over(self, front: Front) -> None:
        """Wait for the front's end; one that ended by itself is started again."""
        await front.over()
        if self.front is not front:
            return  # it was ended on purpose
        self.front = None
        await self.pool.part()
        how: str | None = front.how
        while how is not None:
            count = self.deaths.add()
            params: dict[str, Json] = {"how": how[:400], "deaths": count}
            if self.deaths.too_many:
                self.ended = (
                    f"The front ended {count} times within {WINDOW_SECONDS:.0f} seconds; the last time: {how}"
                )
                await self._fact("serve.front.died", params)
                await self.close()
                return
            pause = self.deaths.pause
            await self._fact("serve.front.died", params | {"seconds": pause})
            await asyncio.sleep(pause)
            how = await self._start_again()

    async def _start_again(self) -> str | None:
        """Launch a front in the place of one that died.

        Returns:
            Why it did not start, if it did not.
        """
        begun = time.monotonic()
        try:
            front = await launch_front(self._services, None, self._room())
        except HoldfastError as error:
            return error.message
        if not await self._let_in(front):
            front.kill()  # whoever waits for its end sees to it
            return None
        seconds = round(time.monotonic() - begun, 3)
        await self._fact("serve.front.restarted", {"deaths": len(self.deaths), "seconds": seconds})
        return None

    async def _fact(self, action: str, params: dict[str, Json]) -> None:
        with contextlib.suppress(NotRecorded, NoSpace):  # the log has stopped: no answer is given either
            await self._services.recorder.fact(DAEMON, action, params)

    async def _retire(self) -> None:
        """End engines and let go of adapters that are served no more, once nobody waits for them."""
        wait = LOOK_SECONDS
        while self.retiring:
            await asyncio.sleep(wait)
            wait = min(2 * wait, MAX_LOOK_SECONDS)
            async with self._changing:
                surplus = self._surplus()
                busy = await self._busy(surplus)
                for name, lanes in surplus.items():
                    idle = {lane for lane in lanes if (name, lane) not in busy}
                    if "" not in lanes:
                        for lane in idle:
                            await self.pool.detach(name, lane)
                    elif idle == lanes:
                        await self.pool.remove(name)

    @property
    def retiring(self) -> bool:
        """Whether something still runs that is served no more."""
        return bool(self._surplus())

    def _surplus(self) -> dict[str, set[str]]:
        """Find what no model id leads to: lanes by engine, with the empty text where it is the whole engine."""
        wanted = self._wanted()
        found: dict[str, set[str]] = {}
        for name, seat in self.pool.seats.items():
            lanes = {"", *seat.lanes} if name not in wanted else seat.lanes.keys() - wanted[name]
            if lanes:
                found[name] = set(lanes)
        return found

    def _wanted(self) -> dict[str, set[str]]:
        """List the lanes that some model id leads to that was not withdrawn, by engine."""
        found: dict[str, set[str]] = {}
        for choice in spec.offered(spec.parse(self.plan.settings)):
            if choice.id not in self.withdrawn:
                found.setdefault(choice.model.engine, set()).add(choice.lane)
        return found

    async def _busy(self, surplus: dict[str, set[str]]) -> set[tuple[str, str]]:
        """Ask the front for which lanes somebody still waits; without a front, nobody does."""
        asked = [(name, lane) for name, lanes in surplus.items() for lane in sorted(lanes)]
        front = self.front
        if front is None:
            return set()
        told: dict[str, Json] = {}
        with contextlib.suppress(HoldfastError):
            told = await front.ask({"op": "idle", "lanes": [[name, lane] for name, lane in asked]})
        busy = told.get("busy")
        if not isinstance(busy, list):
            return set(asked)
        found = set()
        for one in busy:
            match one:
                case [str(name), str(lane)]:
                    found.add((name, lane))
        return found
