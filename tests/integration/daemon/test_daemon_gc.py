"""Garbage collection: old generations go, and what nothing needs with them; what anything holds stays."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from tests import recorded

from holdfast.artefact import Kind
from holdfast.audit.event import Actor
from holdfast.daemon import intake
from holdfast.daemon.serve.planning import Plan
from holdfast.errors import Conflict, NotFound
from holdfast.store.generations import Generations

OLGA = Actor(person="olga", uid=0, role="operator", session="s")


@pytest.fixture(scope="session")
def line(press, media):
    """Media that follow each other, each with another base."""
    second = media.second
    third = press.publish("third", version="4444", previous=second, size=5000)
    return SimpleNamespace(
        second=second, third=third, fourth=press.publish("fourth", version="55555", previous=third, size=6000)
    )


@pytest.fixture
async def daemon(stocked, line):
    """Four generations, the last active."""
    async with stocked.open() as opened:
        for name, medium in vars(line).items():
            await opened.admit(await opened.take_in(stocked.insert(medium, name)))
        assert opened.state.active == 4
        yield opened


async def collect(daemon, keep=1, *, dry_run=False, who="bob"):
    async with daemon.session(who) as client:
        return await client.call("POST", "/v1/store/gc", {"keep": keep, "dry_run": dry_run})


def bases(daemon):
    """Digests of the bases by the number of the generation that brought them."""
    found = {}
    for one in daemon.state.generations:
        for digest in one.artefacts:
            if daemon.state.artefacts[digest].kind is Kind.BASE:
                found[one.number] = digest
    return found


async def test_a_dry_run_tells_and_changes_nothing(daemon):
    size = daemon.services.log.size
    told = await collect(daemon, 2, dry_run=True)
    assert (told["generations"], told["kept"], told["freed"]) == ([1, 2], [3, 4], 0)
    assert {(one["kind"], one["version"]) for one in told["artefacts"]} >= {("base", "1"), ("base", "22")}
    assert all(one["medium"] == f"tiny {one['version']}" for one in told["artefacts"])
    assert "store.gc" not in daemon.actions()
    assert daemon.services.log.size <= size + 2  # a session came and went
    assert len(Generations(daemon.services.store).list()) == 4


async def test_what_no_kept_generation_needs_goes_and_says_how_to_have_it_again(daemon):
    gone, kept = bases(daemon)[1], bases(daemon)[4]
    done = await collect(daemon)
    assert done["generations"] == [1, 2, 3]
    assert done["freed"] > 3000
    store, state = daemon.services.store, daemon.state
    assert not store.has(gone)
    assert store.has(kept)
    assert set(store.artefacts()) == set(state.artefacts) - set(state.collected)
    for digest in state.generation().artefacts:
        store.verify(state.artefacts[digest])
    with pytest.raises(NotFound) as caught:
        state.resolve("tiny@1", Kind.BASE)
    assert caught.value.key == "artefact.collected"
    assert caught.value.remedy == "Import the medium tiny 1 again."
    assert not state.is_active(gone)
    async with daemon.session("alice") as client:
        with pytest.raises(NotFound) as caught:
            await client.call("POST", "/v1/bundles/rollback", {"generation": 2})
        listed = await client.call("GET", "/v1/bundles")
    assert caught.value.key == "bundle.no-generation"
    assert [one["number"] for one in listed["generations"]] == [4]
    event = daemon.events("store.gc")[0]
    assert (event.actor.person, event.params["generations"]) == ("bob", [1, 2, 3])
    assert gone in event.params["artefacts"]
    daemon.at_rest()


async def test_the_generation_gone_back_to_stays(daemon):
    async with daemon.session("alice") as client:
        await client.call("POST", "/v1/bundles/rollback", {"generation": 2})
    done = await collect(daemon, 1)
    assert done["generations"] == [1, 3]
    assert done["kept"] == [2, 4]
    assert daemon.services.store.has(bases(daemon)[2])
    async with daemon.session("alice") as client:
        await client.call("POST", "/v1/bundles/rollback", {"generation": 4})


async def made_here(daemon, base):
    """Record something made here from a base."""
    file = daemon.place.folder / "results.json"
    file.write_text("{}")
    record = daemon.state.artefacts[base]
    found = await intake.adopt(
        daemon.services,
        Kind.EVALUATION,
        "tiny",
        "1",
        {"results.json": file},
        label=record.label,
        parents=(base,),
    )
    async with daemon.services.recorder.act(OLGA, "eval.run", recorded.sample("eval.run")) as act:
        act.outcome = recorded.sample("eval.run.done", artefacts=[found.to_json()])
    return found


async def test_what_something_made_here_descends_from_stays(daemon):
    base = bases(daemon)[2]
    made = await made_here(daemon, base)
    await collect(daemon)
    assert daemon.services.store.has(base)
    assert daemon.services.store.has(made.digest)
    assert not daemon.services.store.has(bases(daemon)[1])


async def test_what_a_server_a_job_or_a_lease_holds_stays(daemon):
    held = bases(daemon)
    daemon.services.serving.deployment = SimpleNamespace(
        plan=Plan(uses={"tiny": (held[1],)}), pool=SimpleNamespace(digests=set())
    )
    job = daemon.services.jobs.open_job(9999, "train.run")
    job.uses = frozenset({held[2]})
    try:
        with daemon.services.leases.hold("bundle.import", {held[3]}):
            done = await collect(daemon)
    finally:
        daemon.services.serving.deployment = None
        await job.emit("result", result={})
    assert done["generations"] == [1, 2, 3]
    assert all(daemon.services.store.has(held[number]) for number in (1, 2, 3, 4))
    await collect(daemon)
    assert [number for number in held if daemon.services.store.has(held[number])] == [4]


async def test_what_begins_between_plan_and_removal_is_spared_or_refused(daemon, monkeypatch):
    """A job that took what was planned to go, before that was on the record, keeps it."""
    held = bases(daemon)[1]
    recorder = daemon.services.recorder
    real, job = recorder.record, daemon.services.jobs.open_job(9999, "train.run")

    async def beginning(draft):
        if draft.action == "store.gc":
            job.uses = frozenset({held})
            with pytest.raises(Conflict):
                daemon.services.leases.take("bundle.import", {held})
        return await real(draft)

    monkeypatch.setattr(recorder, "record", beginning)
    done = await collect(daemon)
    await job.emit("result", result={})
    assert daemon.services.store.has(held)
    assert held not in {one["digest"] for one in done["artefacts"]}
    assert held not in daemon.state.collected
    assert daemon.events("store.gc.done")[0].params["spared"] == [held]


async def test_what_waits_in_quarantine_keeps_what_it_relies_on(daemon, line, press):
    """The first medium's suite is in the store and was not copied for the one that waits."""
    waiting = await daemon.take_in(
        daemon.place.insert(press.publish("fifth", version="666666", previous=line.fourth), "fifth")
    )
    relied = {
        one.digest for one in daemon.state.imports[waiting].artefacts if daemon.services.store.has(one.digest)
    }
    assert relied
    await collect(daemon)
    assert all(daemon.services.store.has(digest) for digest in relied)
    await daemon.admit(waiting)
    daemon.at_rest()


async def test_what_was_collected_comes_back_with_its_medium(stocked, daemon, line, press):
    await collect(daemon)
    again = press.publish("again", version="22", previous=line.fourth)
    assert not daemon.state.is_active(bases(daemon)[2])
    request = await daemon.take_in(stocked.insert(again, "again"))
    await daemon.admit(request)
    base = daemon.state.resolve("tiny@22", Kind.BASE)
    daemon.services.store.verify(base)
    assert base.digest not in daemon.state.collected
    assert daemon.state.is_active(base.digest)
    daemon.at_rest()


DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from holdfast.daemon import housekeeping, process
from holdfast.daemon.sessions import Session
from holdfast.paths import Home
from tests import recorded
async def work():
    async with process.opened(Home(Path(sys.argv[1]))) as services:
        real = services.store.remove
        def removing(digest):
            real(digest)
            os.kill(os.getpid(), signal.SIGKILL)
        services.store.remove = removing
        session = Session("s", services.state.people["bob"], 0, 1e18)
        await housekeeping.collect(services, session, SimpleNamespace(keep=1, dry_run=False))
asyncio.run(work())
"""


def die(home):
    """Collect in a process that kills itself once the first artefact is removed; gives its exit code."""
    return subprocess.run([sys.executable, "-c", DYING, str(home)], check=False, timeout=240).returncode


async def test_a_removal_that_was_cut_short_is_finished_at_the_next_start(stocked, line):
    async with stocked.open() as daemon:
        for name, medium in vars(line).items():
            await daemon.admit(await daemon.take_in(stocked.insert(medium, name)))
    assert die(stocked.home.root) == -9
    async with stocked.open() as daemon:
        state = daemon.state
        assert state.collected
        assert set(daemon.services.store.artefacts()) == set(state.artefacts) - set(state.collected)
        assert [one.number for one in Generations(daemon.services.store).list()] == [4]
        assert [one.number for one in state.generations if one.kept] == [4]
        daemon.at_rest()


def test_the_command_line_says_what_goes(stocked, line):
    stocked.run("up")
    medium = stocked.insert(line.second, "second")
    request = stocked.told("bundle", "import", str(medium), who="alice")["request"]
    stocked.call("bundle", "admit", str(request), who="bob")
    out, _ = stocked.call("store", "gc", "--keep", "1", "--dry-run", who="bob")
    assert "generations would be removed: 1; kept: 2" in out
    assert "tiny 1" in out
    out, _ = stocked.call("store", "gc", "--keep", "1", who="bob")
    assert "generations removed: 1; kept: 2" in out
    assert "freed:" in out
    assert stocked.told("store", "gc", who="bob")["artefacts"] == []
    assert stocked.refused("store", "gc", who="olga", code=4)["key"] == "role.missing"
