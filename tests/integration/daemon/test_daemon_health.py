"""That the daemon lives, that its clock stands, and that nobody fills its log by being refused."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from itertools import pairwise

import pytest

from holdfast.audit import complete, verify
from holdfast.audit.clock import SECOND, Reading
from holdfast.audit.refusals import BURST, Pace
from holdfast.daemon import heartbeat, space
from holdfast.daemon.heartbeat import boot_id, read_clocks
from holdfast.errors import NoSpace, NotAuthenticated, NotFound, NotPermitted


class Clocks:
    """The host's clocks as they were once, moved by a hand alone."""

    def __init__(self):
        self.stepped = self.passed = self.asleep = 0.0
        self._began, self._reads = read_clocks(), 0

    async def read_again(self):
        """Wait until the daemon, which nobody asks anything, has looked at the clocks a few times more."""
        enough = self._reads + 5
        while self._reads < enough:  # noqa: ASYNC110 - whoever reads them tells nobody
            await asyncio.sleep(0.01)

    def __call__(self):
        self._reads += 1
        now = self._began
        passed, asleep = round(self.passed * SECOND), round(self.asleep * SECOND)
        wall = now.wall + passed + round(self.stepped * SECOND)
        return Reading(wall, now.boot + passed, now.awake + passed - asleep, now.blur)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(space, "LOOK_SECONDS", 0.01)


@pytest.fixture
def place(place):
    place.audit = {}  # heartbeats as often as where nothing is said
    return place


@pytest.fixture
def clocks():
    return Clocks()


def last(daemon, action):
    return daemon.events(action)[-1].params


async def test_a_start_says_how_the_last_life_ended_and_of_which_boot_it_is(founded):
    told = []
    async with founded.open() as daemon:
        founding = daemon.events("site.founded")[0].params
        assert founding["log_keys"] == (founded.home.log / "log.pub").read_text().splitlines()
        assert len(founding["log_keys"]) == 2
        told.append(last(daemon, "daemon.started"))
    async with founded.open() as daemon:
        told.append(last(daemon, "daemon.started"))
        kept = {path: path.read_bytes() for path in founded.home.log.iterdir() if path.is_file()}
    for path, data in kept.items():  # as a kill would have left it
        path.write_bytes(data)
    for path in set(founded.home.log.iterdir()) - set(kept):
        path.unlink()
    async with founded.open() as daemon:
        told.append(last(daemon, "daemon.started"))
    assert [one["previous"] for one in told] == ["none", "stopped", "unexplained"]
    assert all(one["boot"] == boot_id() and one["heartbeat"] == 60 for one in told)
    moved = datetime.fromisoformat(told[2]["booted"]) - datetime.fromisoformat(told[0]["booted"])
    assert abs(moved.total_seconds()) < 0.25


async def test_heartbeats_come_on_time_whatever_the_wall_clock_does(founded, clocks):
    async with founded.open(clocks=clocks) as daemon:
        clocks.passed = 59.9
        await clocks.read_again()
        assert daemon.events("daemon.heartbeat") == []
        clocks.passed, clocks.asleep = 61.0, 30.0  # suspended for half a minute
        (first,) = await daemon.until("daemon.heartbeat")
        clocks.passed, clocks.stepped = 122.0, -3600.0
        second = (await daemon.until("daemon.heartbeat", 2))[1]
        size, root = daemon.services.log.size, daemon.services.log.root
    assert (first.params["uptime_s"], second.params["uptime_s"]) == (61.0, 122.0)
    assert first.params["slept_s"] == 30.0
    assert first.params["size"] <= first.seq
    assert first.params["counters"] == {"daemon": first.source.count}
    assert first.params["free"] > 0
    assert (size, root.hex()) >= (first.params["size"], "")
    tree = verify.Frontier()
    for record in daemon.services.log.read(0, first.params["size"]):
        tree.append(verify.leaf_hash(record))
    assert tree.root().hex() == first.params["root"]


async def test_a_step_of_the_clock_is_said_at_once_and_events_keep_their_order(founded, clocks):
    async with founded.open(clocks=clocks) as daemon:
        before = daemon.services.log.size
        clocks.stepped = -86_400.0
        (step,) = await daemon.until("clock.stepped")
        assert step.seq == before
        async with daemon.session("alice"):
            pass
        clocks.stepped = 0.0
        await daemon.until("clock.stepped", 2)
        clocks.asleep = 5000.0  # no step
        async with daemon.session("alice"):
            pass
        assert len(daemon.events("clock.stepped")) == 2
    assert step.params["seconds"] == -86_400
    assert step.params["before"] > step.params["after"]
    keys = verify.parse_keys((founded.home.log / "log.pub").read_bytes())
    verdict = complete.verify_log(founded.home.log, keys)
    assert verdict.ok
    assert step.seq in {found.seq for found in verdict.gaps if "clock" in found.text}


async def test_a_clock_that_was_moved_while_no_daemon_lived_is_said_at_the_next_start(
    founded, clocks, monkeypatch
):
    async with founded.open(clocks=clocks):
        pass
    clocks.stepped = -500.0
    async with founded.open(clocks=clocks) as daemon:
        (step,) = daemon.events("clock.stepped")
        assert step.params["seconds"] == -500
        assert daemon.actions()[step.seq + 1] == "daemon.started"
    async with founded.open(clocks=clocks) as daemon:  # it was said
        assert len(daemon.events("clock.stepped")) == 1
    monkeypatch.setattr(heartbeat, "boot_id", lambda: "another boot")
    async with founded.open(clocks=clocks) as daemon:
        assert len(daemon.events("clock.stepped")) == 1
    clocks.stepped = -1_000_000.0
    monkeypatch.setattr(heartbeat, "boot_id", lambda: "a third boot")
    async with founded.open(clocks=clocks) as daemon:
        step = daemon.events("clock.stepped")[1]
        assert step.params["seconds"] < -900_000
        assert step.params["before"] == daemon.services.log.event(step.seq - 1).time


async def test_thousands_of_strangers_are_a_few_events_and_none_is_forgotten(founded, monkeypatch):
    knocks, moments, real = 4000, [], Pace.recorded

    def recorded(pace, now):
        moments.append(now)
        real(pace, now)

    monkeypatch.setattr(Pace, "recorded", recorded)
    async with founded.open() as daemon:
        before = daemon.services.log.size
        async with daemon.visitor() as client, daemon.visitor(uid=4242) as other:
            for number in range(knocks):
                with pytest.raises(NotAuthenticated):
                    await (client if number % 4 else other).call("GET", "/v1/bundles")
        during = daemon.services.log.size - before
    async with founded.open() as daemon:
        counted = daemon.events("access.refused")
        assert daemon.events("access.denied") == []
    assert sum(event.params["count"] for event in counted) == knocks
    assert sum(event.params["reasons"]["session.missing"] for event in counted) == knocks
    assert sum(event.params["uids"].get("4242", 0) for event in counted) == knocks / 4
    assert sum(event.params["uids"].get(str(os.getuid()), 0) for event in counted) == knocks * 3 / 4
    assert len(moments) == len(counted)
    assert all(after - before > 0.99 for before, after in pairwise(moments[:-1]))  # the last is of the stop
    assert during <= len(counted)


async def test_a_person_who_is_refused_without_end_gets_some_events_and_then_a_count(founded):
    tries = 500
    async with founded.open() as daemon, daemon.session("aude") as client:
        for _ in range(tries):
            with pytest.raises(NotPermitted):
                await client.call("POST", "/v1/bundles/import", {"path": "/nowhere"})
    async with founded.open() as daemon:
        single, counted = daemon.events("access.denied"), daemon.events("access.refused")
    assert BURST <= len(single) < tries / 2
    assert {event.params["person"] for event in [*single, *counted]} == {"aude"}
    assert len(single) + sum(event.params["count"] for event in counted) == tries


async def test_refusals_that_the_log_does_not_take_are_told_later(founded, monkeypatch):
    async with founded.open() as daemon, daemon.session("aude") as aude, daemon.visitor() as nobody:
        taken = daemon.services.recorder.fact

        async def full(*_arguments, **_named):
            raise NoSpace("audit.reserve", "Full.", remedy="Free some.")

        monkeypatch.setattr(daemon.services.recorder, "fact", full)
        for _ in range(10):
            with pytest.raises(NotAuthenticated):
                await nobody.call("GET", "/v1/bundles")
            with pytest.raises(NotPermitted):
                await aude.call("POST", "/v1/bundles/import", {"path": "/nowhere"})
        await daemon.services.refusals.flush()
        monkeypatch.setattr(daemon.services.recorder, "fact", taken)
    async with founded.open() as daemon:
        told = [(event.params["person"], event.params["count"]) for event in daemon.events("access.refused")]
        assert sorted(told, key=str) == [("aude", 10), (None, 10)]
        assert daemon.events("access.denied") == []


async def test_unknown_calls_are_no_refusals_of_access(founded):
    async with founded.open() as daemon:
        async with daemon.visitor() as client:
            with pytest.raises(NotFound):
                await client.call("GET", "/v1/nothing")
        await daemon.services.refusals.flush()
        assert daemon.events("access.refused") == []


async def test_an_act_whose_caller_goes_away_before_its_intent_is_acked_is_still_ended(founded):
    async with founded.open() as daemon:
        alice = daemon.events("daemon.started")[0].actor

        async def act():
            async with daemon.services.recorder.act(alice, "audit.rebuild", {}):
                pytest.fail("it ran")

        task = asyncio.create_task(act())
        await asyncio.sleep(0)  # the intent is on its way
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if daemon.events("audit.rebuild"):
            await daemon.until("audit.rebuild.interrupted")
    async with founded.open() as daemon:
        assert len(daemon.events("audit.rebuild")) == len(daemon.events("audit.rebuild.interrupted"))
