"""A daemon whose disk fills up and is emptied again: HOME's folder, and ``mounted`` where that is a small file system of its own.

Where none can be mounted, a disk is put in the log's hands that says what a small one would. Says what happened, a word a line.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast.audit import segment, verify
from holdfast.daemon import process, space
from holdfast.daemon.housekeeping import scrub
from holdfast.daemon.sessions import Session
from holdfast.errors import NoSpace, NotRecorded
from holdfast.paths import Home

SECONDS = 100  # for the daemon to notice
MIB = 2**20


class Mounted:
    """A real file system of a few megabytes, and a ballast in it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ballast = folder, folder / "ballast"

    def leave(self, free: int) -> None:
        """Fill it until so many bytes are left."""
        with self._ballast.open("ab") as file:
            while (left := self._left() - free) > 0:
                try:
                    file.write(bytes(min(left, MIB)))
                    file.flush()
                except OSError:
                    return

    def _left(self) -> int:
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def empty(self) -> None:
        """Take the ballast out."""
        self._ballast.unlink()


class Said:
    """A disk that says so."""

    def __init__(self) -> None:
        self.free = 2**40
        write, room = segment.HostDisk.write, self

        def full(disk: segment.HostDisk, handle: int, data: bytes, offset: int = 0) -> None:
            if room.free < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(disk, handle, data, offset)

        segment.HostDisk.write = full
        segment.HostDisk.free = lambda _disk, _folder: room.free

    def leave(self, free: int) -> None:
        self.free = free

    def empty(self) -> None:
        self.free = 2**40


def events(services, action):
    return [event for event in services.log.events() if event.action == action]


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def scrubbed(services, actor):
    """Begin an act, and wait until its outcome is on the record too."""
    job = await scrub(services, actor)
    assert [entry async for entry in job.follow(0)][-1]["kind"] == "result"


@asynccontextmanager
async def under_way(services, actor, end):
    """An act that runs until it is told to end."""

    async def act():
        async with services.recorder.act(actor, "audit.rebuild", {}) as found:
            begun.set_result(found.seq)
            await end.wait()
            found.outcome = {"size": 1, "events": 1, "seconds": 1.0, "reason": None, "differed": None}

    begun = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(act())
    yield await begun, task
    if not task.done():
        end.set()
        await task


async def stopped_and_recovered(services, room, alice) -> None:
    """The reserve is reached: acts are refused, what is under way ends, and it goes on by itself."""
    end = asyncio.Event()
    async with under_way(services, alice.visitor(), end) as (intent, task):
        room.leave(6 * MIB)
        await until(lambda: events(services, "audit.space.low"))
        await scrubbed(services, alice)  # low is but a warning
        room.leave(MIB // 2)
        await until(lambda: events(services, "audit.space.stopped"))
        status = services.space.status(services)
        assert (status["level"], status["failure"]) == ("stopped", None)
        for _ in range(3):
            before = services.log.size
            with pytest.raises(NoSpace) as caught:
                await scrub(services, alice)
            assert (caught.value.key, caught.value.exit_code, caught.value.remedy > "") == (
                "audit.reserve",
                7,
                True,
            )
            assert services.log.size == before
        end.set()
        await task
        assert events(services, "audit.rebuild.done")[-1].cause == intent
    told = events(services, "audit.space.stopped")[-1].params
    assert told["free"] >= 0
    assert told["reserve"] == MIB
    print("stopped")  # noqa: T201 - the answer
    room.empty()
    await until(lambda: events(services, "audit.space.recovered"))
    await scrubbed(services, alice)
    print("recovered")  # noqa: T201 - the answer


async def failed_and_recovered(services, room, alice) -> None:
    """Nothing at all is left: the log fails, an act's outcome is lost, and all of it is mended when there is space."""
    stray = services.home.quarantine / "nobodys"
    stray.mkdir()
    end = asyncio.Event()
    actor = alice.visitor()
    goes_on = asyncio.Event()
    async with (
        under_way(services, actor, end) as (lost, task),
        under_way(services, actor, goes_on) as (kept, _),
    ):
        while services.log.failure is None:  # the reserve is given back to the disk, and eaten too
            room.leave(0)
            await services.refusals.flush()
            with pytest.raises((NoSpace, NotRecorded)):
                await services.recorder.fact(actor, "audit.rebuild", {})
            if services.log.failure is None:
                room.leave(0)
                await write_on(services, actor)
        end.set()
        with pytest.raises(NotRecorded):
            await task
        known = services.log.size
        with pytest.raises((NoSpace, NotRecorded)):
            await scrub(services, alice)
        assert services.space.status(services)["failure"] is not None
        print("failed")  # noqa: T201 - the answer
        room.empty()
        await until(lambda: services.log.failure is None)
        await until(
            lambda: [one for one in events(services, "audit.rebuild.interrupted") if one.cause == lost]
        )
        assert kept in {event.seq for event in services.log.unfinished()}  # it runs
        assert services.log.size > known
        await until(lambda: services.state.size == services.log.size)
        assert services.state.acts[lost].state == "interrupted"
        assert stray.exists()  # the disk is brought to what the log says only once nothing runs
    await until(lambda: not stray.exists())
    assert services.state.acts[kept].state == "done"
    await scrubbed(services, alice)
    print("mended")  # noqa: T201 - the answer


async def write_on(services, actor) -> None:
    """Hand in what even the reserve takes, until there is no room for it."""
    while services.log.failure is None:
        try:
            await services.recorder.fact(
                actor, "clock.stepped", {"seconds": 1.0, "before": TIME, "after": TIME}
            )
        except (NotRecorded, NoSpace):
            return


TIME = "2026-01-01T00:00:00.000000Z"


async def main() -> None:
    folder, how = Path(sys.argv[1]), sys.argv[2]
    room = Mounted(folder) if how == "mounted" else Said()
    space.LOOK_SECONDS = 0.02
    home = Home(folder / "home")
    async with process.opened(home) as services:
        alice = Session("s", services.state.people["alice"], os.getuid(), 1e18)
        await stopped_and_recovered(services, room, alice)
        await failed_and_recovered(services, room, alice)
        await until(lambda: not services.recorder.live)
    async with process.opened(home) as services:
        started = events(services, "daemon.started")[-1].params
        assert (started["previous"], started["reconciled"]) == ("stopped", [])
    keys = verify.parse_keys((home.log / "log.pub").read_bytes())
    verdict = verify.verify_log(home.log, keys)
    assert verdict.ok, str(verdict)
    print("well")  # noqa: T201 - the answer


if __name__ == "__main__":
    asyncio.run(main())
