"""An import and an admission in a process that kills itself at a chosen durable step, once for each copy of a home.

Arguments: the medium, then ``home=step`` for each; step 0 counts the steps and prints how many.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

from holdfast.daemon import admission, bundles, imports, process
from holdfast.daemon.sessions import Session
from holdfast.governance import approvals
from holdfast.keys import person
from holdfast.paths import Home

STEPS = ("fsync", "fdatasync", "rename", "replace", "link", "mkdir", "unlink", "rmdir")
done = 0


def die_at(step: int) -> None:
    """Count what reaches the disk from now on, and die right after the chosen one."""

    def counted(call):
        def counting(*arguments, **named):
            global done  # noqa: PLW0603 - one count for the process
            result = call(*arguments, **named)
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counting

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


async def work(home: Home, medium: str, step: int) -> None:
    async with process.opened(home) as services:
        die_at(step)
        people = services.state.people
        alice, bob = (Session(name, people[name], os.getuid(), 1e18) for name in ("alice", "bob"))
        job = await imports.submit(services, alice, medium)
        assert [entry async for entry in job.follow(0)][-1]["kind"] == "result"
        await admit(services, bob, job.number)
        if step == 0:
            print(done)  # noqa: T201 - the answer


async def admit(services, bob, request):
    """Admit without a signature: what is tried here is the disk."""
    person.verify = approvals.judge = lambda *_, **__: None
    statement = {**bundles.show(services, request)["approval"], "expires": "2026-01-01T00:00:00+00:00"}
    await admission.admit(
        services, bob, request, SimpleNamespace(statement=statement, signatures=(), reason=None)
    )


def main() -> None:
    for named in sys.argv[2:]:
        home, _, step = named.rpartition("=")
        child = os.fork()
        if child == 0:
            asyncio.run(work(Home(Path(home)), sys.argv[1], int(step)))
            sys.stdout.flush()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == (0 if step == "0" else -signal.SIGKILL), (home, step, status)


main()
