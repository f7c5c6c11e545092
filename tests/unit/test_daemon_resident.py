"""What a worker that stays may say: so much that nobody asked for, and counts that are counts."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.daemon import resident
from holdfast.daemon.resident import Resident, counts


class Worker:
    """Says one thing over and over until it is killed; answers what it is asked if told to."""

    pid = 1

    def __init__(self, says, *, answers=False):
        self.says, self.answers, self.said, self.dead = says, answers, 0, asyncio.Event()
        self._asked = asyncio.Queue()

    async def receive(self):
        if self.dead.is_set():
            return None
        if self.answers and self.said % 10 == 9:
            asked = await self._asked.get()
            self.said += 1
            return {"id": asked["id"], "reply": {"step": 0.0, "active": 1}}
        await asyncio.sleep(0)
        self.said += 1
        return self.says

    async def send(self, message):
        self._asked.put_nowait(message)

    def kill(self):
        self.dead.set()

    async def wait(self):
        await self.dead.wait()
        return -9


@pytest.mark.parametrize(
    "says", [{"progress": {}}, {"id": 10**6, "reply": {}}, {"error": {}}, {"result": {}}, {}]
)
async def test_a_worker_that_goes_on_saying_what_nobody_asked_for_is_ended(says):
    worker = Worker(says)
    found = Resident(worker)
    found.attend()
    await found.over()
    assert worker.said == resident.MAX_UNASKED + 1
    assert "nobody had asked for" in found.how


async def test_what_is_late_now_and_then_is_no_fault():
    worker = Worker({"id": 10**6, "reply": {}}, answers=True)
    found = Resident(worker)
    found.attend()
    for _ in range(3 * resident.MAX_UNASKED):
        assert counts(await found.ask({"op": "status"}), "active") == {"active": 1}
    assert not found.gone
    worker.kill()
    await found.over()
    assert "nobody" not in found.how


@pytest.mark.parametrize(
    "told",
    [None, [], "x", {"active": -1}, {"active": True}, {"active": 2.0}, {"active": 2**53}, {"other": 1}],
)
def test_only_counts_are_passed_on(told):
    assert counts(told, "active", "queued") == {}
    assert counts({"active": 3, "queued": [1]}, "active", "queued") == {"active": 3}
