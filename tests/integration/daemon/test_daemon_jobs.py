"""Trainings as jobs: what is checked before, who can follow, what an interruption leaves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time

import psutil
import pytest

from holdfast.artefact import Kind
from holdfast.client import datasets, training
from holdfast.errors import Conflict, HoldfastError, NotFound, UntrustedInput, UntrustedRecipe


@pytest.fixture
async def running(stocked):
    async with stocked.open() as opened:
        yield opened


async def send(daemon, recipe, who="olga", **data):
    """Send a recipe without the client's own check, as another client might."""
    place = daemon.place
    async with daemon.session(who) as client:
        sent = {"rows.jsonl": "sha512:" + "0" * 128} | data
        upload = await client.upload(place.recipe(recipe))
        body = {"recipe": upload, "file": "recipe.toml", "data": sent, "model": "tiny"}
        return await client.call("POST", "/v1/runs", body)


def recorded(daemon):
    return [found for found in daemon.state.artefacts.values() if found.kind in (Kind.DATASET, Kind.RECIPE)]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed = 1", 'seed = "one"', r"recipe.toml:6:.*seed"),
        ("steps = 4", "steps = 4\nstepz = 4", r"recipe.toml:39:.*stepz"),
        ('path = "rows.jsonl"', 'path = "../rows.jsonl"', r"recipe.toml:11:"),
        ('version = "1"', "version = 1", r"recipe.toml:3:.*version"),
        ("[tuning]", "[tuning", r"recipe.toml:20:"),
    ],
)
async def test_a_wrong_recipe_is_refused_with_its_line_and_nothing_is_taken_in(
    running, texts, old, new, told
):
    assert old in texts.RECIPE
    with pytest.raises(UntrustedRecipe) as caught:
        await send(running, texts.RECIPE.replace(old, new, 1))
    assert re.search(told, caught.value.message, re.DOTALL), caught.value.message
    assert not recorded(running)
    assert not [act for act in running.state.acts.values() if act.action == "train.run"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('version = "1"', 'version = "2026/11"'),
        ('version = "1"', 'version = "a:b"'),
        ('version = "1"', 'version = "a@b"'),
        ('zones = ["site"]', 'zones = ["abroad"]'),
    ],
)
async def test_what_could_not_be_recorded_or_live_here_is_refused_before_it_is_taken_in(
    running, texts, old, new
):
    async with running.session("olga") as client:
        with pytest.raises(UntrustedInput):
            await training.start(client, running.place.recipe(texts.RECIPE.replace(old, new)), "tiny")
    assert not recorded(running)
    running.at_rest()


async def test_the_client_names_a_missing_data_file_before_it_asks_anybody(stocked):
    recipe = stocked.recipe()
    (stocked.folder / "rows.jsonl").unlink()
    with pytest.raises(UntrustedRecipe) as caught:
        datasets.recipe_of(recipe)
    assert caught.value.key == "recipe.data-missing"
    assert "recipe.toml:11:" in caught.value.message
    assert "rows.jsonl" in caught.value.message


async def test_a_run_needs_a_base_that_is_active(place, media, texts):
    place.found(media.first)
    async with place.open() as daemon:
        with pytest.raises(NotFound):
            await send(daemon, texts.RECIPE)


async def begin(stocked):
    async with stocked.session("olga") as client:
        return await training.start(client, stocked.recipe(), "tiny")


@pytest.mark.usefixtures("held")
async def test_a_job_goes_on_without_its_client_and_is_followed_from_any_entry(stocked):
    job = await begin(stocked)  # its session has ended by now
    async with stocked.session("aude") as aude, stocked.session("olga") as olga:
        shown = await aude.call("GET", f"/v1/jobs/{job}")
        assert shown["ended"] is False
        whole = asyncio.create_task(_all(aude.follow(job)))
        part = asyncio.create_task(_all(olga.follow(job, after=2)))
        status = await aude.call("GET", "/v1/status")
        assert status["jobs"] == [{"job": job, "action": "train.run"}]
        with pytest.raises(Conflict) as caught:
            async with stocked.session("alice") as alice:
                await alice.call("POST", "/v1/bundles/rollback", {"generation": 1})
        assert caught.value.key == "bundle.active"
        await olga.call("POST", f"/v1/jobs/{job}/cancel")
        entries, rest = await whole, await part
        assert [entry["n"] for entry in entries] == [*range(1, len(entries) + 1)]
        assert rest == entries[2:]
        assert entries[-1]["error"]["key"] == "train.cancelled"
        with pytest.raises(Conflict) as caught:
            await olga.call("POST", f"/v1/jobs/{job}/cancel")
        assert caught.value.key == "job.ended"
        assert await _all(olga.follow(job, after=len(entries) - 1)) == entries[-1:]
        ended = (await olga.call("GET", "/v1/runs"))["runs"][0]
        assert (ended["number"], ended["state"], ended["steps"]) == (job, "cancelled", 3)


async def _all(entries):
    return [entry async for entry in entries]


async def test_a_run_that_was_stopped_is_taken_up_and_says_who_stopped_it(stocked, held):
    job = await begin(stocked)
    async with stocked.session("olga") as olga:
        await olga.call("POST", f"/v1/jobs/{job}/cancel")
        with pytest.raises(HoldfastError):
            await olga.finish(job)
        again = int(str((await olga.call("POST", f"/v1/runs/{job}/resume"))["job"]))
        with pytest.raises(Conflict) as caught:
            await olga.call("POST", f"/v1/runs/{again}/resume")
        assert caught.value.key == "train.not-stopped"
        await olga.call("POST", f"/v1/jobs/{again}/cancel")
        with pytest.raises(HoldfastError):
            await olga.finish(again)
        third = await training.resume(olga, job)
        with pytest.raises(HoldfastError) as caught:
            await olga.finish(third)
        assert caught.value.key == "train.nothing-to-resume"
        assert (await training.discard(olga, again))["run"] == again
        with pytest.raises(Conflict) as caught:
            await training.discard(olga, again)
        assert caught.value.key == "train.nothing-to-discard"
        shown = await training.show(olga, str(again))
        assert (shown["state"], shown["discarded"], shown["resumable"]) == ("cancelled", True, False)
    held.send_signal(signal.SIGTERM)
    assert held.wait(120) == 0
    async with stocked.open() as daemon:
        assert daemon.events("train.run.cancelled")[0].params["by"] == "olga"
        assert daemon.events("train.discarded")[0].params["run"] == again
        assert [entry.name for entry in daemon.services.jobs.folder(again).iterdir()] == ["stream.jsonl"]
        daemon.at_rest()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_daemon_that_is_told_to_stop_interrupts_jobs_and_tells_who_follows(stocked, held, number):
    job = await begin(stocked)
    async with stocked.session("olga") as olga:
        follower = olga.follow(job)
        first = await anext(follower)
        held.send_signal(number)
        entries = [first, *await _all(follower)]
    assert entries[-1]["error"]["key"] == "job.interrupted"
    assert held.wait(120) == 0
    async with stocked.open() as daemon:
        assert daemon.events("train.run.interrupted")[0].cause == job
        assert daemon.actions()[-2] == "daemon.stopped"
        daemon.at_rest()
        stream = daemon.services.jobs.get(job).entries
        assert stream == entries


async def test_a_killed_daemons_job_is_found_interrupted_and_its_follower_goes_on_with_the_next(
    stocked, held
):
    job = await begin(stocked)
    async with stocked.session("olga") as olga:
        follower = olga.follow(job)
        entries = [await anext(follower), await anext(follower)]
        held.kill()
        held.wait()
        again = stocked.hold()
        try:
            entries += await _all(follower)
            runs = (await olga.call("GET", "/v1/runs"))["runs"]
            with pytest.raises(HoldfastError) as caught:
                await olga.finish(job)
        finally:
            again.kill()
            again.wait()
            again.stdout.close()
    assert [entry["n"] for entry in entries] == [*range(1, len(entries) + 1)]
    assert caught.value.key == "job.interrupted"
    assert "resume" in caught.value.remedy
    assert [(run["number"], run["state"]) for run in runs] == [(job, "interrupted")]


@pytest.mark.usefixtures("held")
def test_ctrl_c_leaves_a_run_going_and_says_how_to_see_it_again(stocked):
    stocked.recipe()
    client = stocked.interruptible("train", "run", "recipe.toml", "--model", "tiny", who="olga")
    with client.stderr:
        while not (first := client.stderr.readline()).startswith("step"):
            assert first, "no step was told"
        os.killpg(client.pid, signal.SIGINT)
        rest = client.stderr.read()
    assert client.wait(120) == 130, rest
    job = int(re.search(r"Job (\d+) goes on", rest)[1])
    assert f"train follow {job}" in rest
    assert "Stopped" not in rest  # it was left, not stopped
    status = stocked.told("status")
    assert [one["job"] for one in status["jobs"]] == [job]
    assert status["sessions"] == 0
    assert stocked.told("train", "cancel", str(job), who="olga") == {"cancelling": job}


@pytest.mark.usefixtures("held")
def test_a_running_run_shows_its_last_whole_step_whatever_its_worker_writes(stocked):
    stocked.recipe()
    job = asyncio.run(begin(stocked))
    written = stocked.home.jobs / str(job) / "out" / "telemetry.jsonl"
    written.parent.mkdir(exist_ok=True)
    line = b'{"step":%d,"steps":9,"loss":0.5,"tokens_per_second":10.0,"eta_s":3.5}\n'
    for data, latest in (
        (b"".join(line % step for step in range(1, 99)), 98),
        (line % 1 + line % 2 + b'{"step":', 2),
        (b"", None),
        (b"nonsense\n", None),
        (b"[1]\n", None),
        (b"x" * 10_000, None),
    ):
        written.write_bytes(data)
        found = stocked.told("train", "show", str(job), who="aude")
        assert (found["latest"] or {}).get("step") == latest, data[:40]
    written.write_bytes(line % 3)
    assert "step 3 of 9, loss 0.5000" in stocked.call("train", "show", str(job), who="aude")[0]
    written.unlink()
    written.symlink_to(stocked.home.site)
    assert stocked.told("train", "show", str(job), who="aude")["latest"] is None


@pytest.mark.usefixtures("held")
async def test_a_suite_that_is_not_here_is_told_before_the_run_begins(stocked):
    recipe = stocked.recipe()
    recipe.write_text(re.sub(r'suite = "[^"]*"', 'suite = "absent"', recipe.read_text()))
    told = []
    async with stocked.session("olga") as client:
        await training.start(client, recipe, "tiny", tell=told.append)
    (note,) = [str(one["text"]) for one in told if one["kind"] == "note"]
    assert note.startswith("Suite absent: it is not here")
    assert "can't be judged" in note


@pytest.mark.usefixtures("held")
def test_no_name_leads_to_another_route(stocked):
    for words in (
        ("eval", "show"),
        ("eval", "gate"),
        ("dataset", "show"),
        ("model", "show"),
        ("model", "lineage"),
        ("train", "show"),
    ):
        _, told = stocked.call(*words, "../../v1/status", who="olga", code=1)
        assert "/../../v1/status" in told, words
        assert "Check the name" in told, words


def children(pid):
    """The processes beneath a daemon, as soon as there are any: a worker starts after its job is on the record."""
    deadline = time.monotonic() + 120
    while not (found := psutil.Process(pid).children(recursive=True)):
        assert time.monotonic() < deadline, "no worker was started"
        time.sleep(0.01)
    return found


def lives(process):
    """Whether a process runs; one that nobody has waited for may go away while it is looked at."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_down_ends_a_daemon_and_its_workers(stocked, held):
    asyncio.run(begin(stocked))
    workers = children(held.pid)
    assert stocked.told("down") == {"stopped": held.pid}
    assert held.wait(120) == 0
    assert not [worker for worker in workers if lives(worker)]
    assert not stocked.home.socket.exists()
