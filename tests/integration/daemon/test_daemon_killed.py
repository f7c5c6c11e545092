"""The daemon killed at any moment of an import and an admission: the next start finds a home at rest."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.client import operations
from holdfast.daemon import imports
from holdfast.errors import Conflict, VerificationFailed
from holdfast.media import trusthome

DYING = Path(__file__).with_name("dying.py")
MOMENTS = 12


def die(medium, *homes):
    done = subprocess.run(
        [sys.executable, str(DYING), str(medium), *homes],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_whenever_it_dies_the_next_start_finds_everything_at_rest_and_goes_on(place, media):
    """Kills at moments spread over all durable steps, each in its own copy of a home."""
    place.found(media.first)
    medium = place.insert(media.first)
    async with place.open():
        pass
    counted = shutil.copytree(place.home.root, place.folder / "home-0", symlinks=True)
    steps = int(die(medium, f"{counted}=0"))
    assert steps > 4 * MOMENTS
    homes = {}
    for at in range(MOMENTS):
        # The last tenth is the admission, where most can go wrong: it gets half of the moments.
        step = (
            1 + (at * steps * 9 // 10) // (MOMENTS // 2) if at < MOMENTS // 2 else steps - (MOMENTS - at) * 2
        )
        homes[step] = shutil.copytree(place.home.root, place.folder / f"home-{step}", symlinks=True)
    die(medium, *(f"{home}={step}" for step, home in homes.items()))
    seen = set()
    for home in homes.values():
        shutil.rmtree(place.home.root)
        home.rename(place.home.root)
        async with place.open() as daemon:
            daemon.at_rest()
            assert not [act for act in daemon.state.acts.values() if act.state == "running"]
            states = [one.state for one in daemon.state.imports.values()]
            assert set(states) <= {"interrupted", "waiting", "admitted"}
            seen.update(states or ["nothing"])
            trusted = trusthome.load(place.home.trust)
            assert (trusted.timestamp is not None) == (daemon.state.active > 0)
            # Whatever was interrupted can be done again, to the same end.
            waiting = [one.request for one in daemon.state.imports.values() if one.state == "waiting"]
            if not daemon.state.active:
                await daemon.admit(waiting[0] if waiting else await daemon.take_in(medium))
            assert daemon.state.generation() is not None
            for digest in daemon.state.generation().artefacts:
                daemon.services.store.verify(daemon.state.artefacts[digest])
            daemon.at_rest()
    assert {"interrupted", "waiting", "admitted"} <= seen | {"admitted"}


async def test_whenever_it_dies_over_the_last_volume_the_others_are_still_there(stocked, volumes):
    """The volumes before it are never read again, and the generation is the old one or the whole new one."""
    *others, last = [stocked.insert(folder, folder.name) for folder in volumes]
    async with stocked.open() as daemon:
        for medium in others:
            await daemon.take_in(medium)
    for medium in others:
        shutil.rmtree(medium)
    counted = shutil.copytree(stocked.home.root, stocked.folder / "home-0", symlinks=True)
    steps = int(die(last, f"{counted}=0"))
    homes = {
        step: shutil.copytree(stocked.home.root, stocked.folder / f"home-{step}", symlinks=True)
        for step in sorted({1, steps // 4, steps // 2, steps * 3 // 4, steps - 12, steps - 3})
    }
    die(last, *(f"{home}={step}" for step, home in homes.items()))
    for home in homes.values():
        shutil.rmtree(stocked.home.root)
        home.rename(stocked.home.root)
        async with stocked.open() as daemon:
            daemon.at_rest()
            assert daemon.state.active in {1, 2}
            for digest in daemon.state.generation().artefacts:
                daemon.services.store.verify(daemon.state.artefacts[digest])
            if daemon.state.active == 1:
                waiting = [one.request for one in daemon.state.imports.values() if one.state == "waiting"]
                await daemon.admit(waiting[0] if waiting else await daemon.take_in(last))
            assert daemon.state.active == 2
            for digest in daemon.state.generation().artefacts:
                daemon.services.store.verify(daemon.state.artefacts[digest])
            daemon.at_rest()


async def test_a_founding_that_was_cut_short_is_done_again(place, media):
    """Nothing counts as founded before ``site.founded`` is on disk."""
    place.found(media.first)
    async with place.open():
        pass
    for left in ({"keys"}, {"keys", "log"}, {"keys", "log", "store", "jobs"}):
        for entry in place.home.root.iterdir():
            if entry.name not in {"site.toml", "trust", *left}:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        async with place.open() as daemon:
            assert daemon.actions().count("site.founded") == 1
            daemon.at_rest()


async def test_a_home_whose_log_was_lost_does_not_begin_anew(place, media):
    place.found(media.first)
    async with place.open():
        pass
    shutil.rmtree(place.home.log)
    with pytest.raises(VerificationFailed) as caught:
        async with place.open():
            pass
    assert caught.value.key == "log.lost"


@pytest.mark.usefixtures("held")
def test_ctrl_c_leaves_an_import_going(stocked, media):
    """The client is interrupted once it shows progress; the daemon's own work goes on to its end."""
    medium = stocked.insert(media.second, "second")
    client = stocked.interruptible("bundle", "import", str(medium), who="alice")
    with client.stderr:
        assert client.stderr.readline()
        os.killpg(client.pid, signal.SIGINT)
        rest = client.stderr.read()
    assert client.wait(120) == 130, rest
    job = int(re.search(r"Job (\d+) goes on", rest)[1])
    assert f"bundle show {job}" in rest
    assert [one["job"] for one in stocked.told("status")["jobs"]] == [job]
    stocked.gate.touch()

    async def finish():
        async with stocked.session("alice") as alice:
            await alice.finish(job)
            return await alice.call("GET", f"/v1/bundles/{job}")

    assert asyncio.run(finish())["state"] == "waiting"


async def test_an_import_is_cancelled_and_leaves_nothing(stocked, media, monkeypatch):
    """Cancelled in the middle of copying."""
    medium = stocked.insert(media.second, "second")
    async with stocked.open() as daemon, daemon.session("alice") as alice:
        real = imports.importer.take_in

        def cancel_then_take(verified, store, stage, progress, cancelled):
            for job in daemon.services.jobs.running:
                daemon.services.jobs.cancel(job.number, "bob")
            return real(verified, store, stage, progress, cancelled)

        monkeypatch.setattr(imports.importer, "take_in", cancel_then_take)
        job = await operations.start_import(alice, medium)
        with pytest.raises(Exception, match="stopped"):
            await alice.finish(job)
        assert daemon.state.imports[job].state == "cancelled"
        assert daemon.events("bundle.import.cancelled")[0].params["by"] == "bob"
        with pytest.raises(Conflict):
            await alice.call("POST", f"/v1/jobs/{job}/cancel")
        daemon.at_rest()
