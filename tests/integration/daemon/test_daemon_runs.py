"""Runs through the daemon, with real workers on a tiny base: estimated, killed, resumed, shown, replayed."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.integration.daemon import able
from tests.integration.daemon.conftest import Place
from tests.integration.daemon.filling import MIB

from holdfast.cli import service
from holdfast.errors import DaemonUnreachable

pytestmark = pytest.mark.model


def can_mount(unshare):
    tried = [*unshare, "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def able_home(tmp_path_factory, press, pairs, key_folder):
    """A home in which a base that can be trained is active; tests copy it. Its log is content with a small disk."""
    made = Place(tmp_path_factory.mktemp("able") / "place", pairs, key_folder)
    made.energy = {"watts_per_core": 20.0, "price_per_kwh": 0.5}
    made.audit = {"low_space_bytes": 8 * MIB, "reserve_bytes": MIB}
    medium = press.publish("able", version="4", base=able.base())
    made.found(medium)
    inserted = made.insert(medium)

    async def work():
        async with made.open() as opened:
            await opened.admit(await opened.take_in(inserted))

    asyncio.run(work())
    return made.folder


@pytest.fixture(scope="module")
def learner(tmp_path_factory, pairs, key_folder, able_home):
    """A copy of it, and its daemon."""
    made = Place(tmp_path_factory.mktemp("learner") / "place", pairs, key_folder)
    shutil.copytree(able_home, made.folder, symlinks=True, ignore=shutil.ignore_patterns("media"))
    made.told("up")
    yield made
    with suppress(DaemonUnreachable):
        service.stop(made.home)


@pytest.fixture(scope="module")
def recipe(learner, texts):
    return learner.recipe(able.recipe(texts.RECIPE), able.rows())


def kinds(learner):
    """What the store holds, by kind."""
    return sorted(one["kind"] for one in learner.told("model", "list", who="aude")["artefacts"])


def left(learner, job):
    return sorted(entry.name for entry in (learner.home.jobs / str(job)).iterdir())


def page(learner, run):
    return learner.told("train", "show", str(run), who="aude")


@pytest.fixture(scope="module")
def killed(learner, recipe):
    """A run whose worker was killed in the middle."""
    run = learner.told("train", "run", str(recipe), "--model", "tiny", "--detach", who="olga")["job"]

    def strike():
        sizes = {}
        for one in psutil.Process(service._owner(learner.home)).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # the one that trains is there
                sizes[one] = one.memory_info().rss
        max(sizes, key=sizes.get).send_signal(signal.SIGKILL)

    async def die():
        struck = False
        async with learner.session("olga") as olga:
            async for entry in olga.follow(run):
                if entry["kind"] == "metric" and entry["step"] > able.CHECKPOINT and not struck:
                    strike()
                    struck = True
                if entry["kind"] in ("error", "result"):
                    return entry.get("error")
            return None

    assert asyncio.run(die())["key"] == "worker.killed"
    return run


@pytest.fixture(scope="module")
def resumed(learner, killed):
    """The run that went on from it, and what was there of the first before."""
    before = page(learner, killed), learner.call("train", "telemetry", str(killed), who="aude")[0]
    return learner.told("train", "resume", str(killed), who="olga"), before


def test_an_estimate_says_all_that_a_run_needs_and_leaves_nothing(learner, recipe):
    before = kinds(learner)
    told = learner.told("train", "estimate", str(recipe), "--model", "tiny", who="olga")
    found = told["estimate"]
    assert found["steps"] == able.STEPS
    counted = (
        "seconds",
        "cpu_seconds",
        "memory_bytes",
        "disk_bytes",
        "tokens",
        "tokens_per_second",
        "free_bytes",
    )
    assert {name for name in counted if not found[name] > 0} == set()
    energy = found["energy"]
    assert energy["how"].startswith("estimated: ")
    assert energy["joules"] == pytest.approx(20.0 * found["cpu_seconds"], abs=0.1)
    assert energy["cost"] == pytest.approx(energy["joules"] / 3.6e6 * 0.5, abs=1e-5)
    assert set(kinds(learner)) - set(before) <= {"dataset", "recipe"}
    assert left(learner, told["job"]) == ["stream.jsonl"]


def test_a_killed_run_says_so_and_offers_what_can_be_done(killed, resumed):
    (shown, telemetry) = resumed[1]
    assert (shown["state"], shown["resumable"], shown["artefact"]) == ("failed", True, None)
    assert shown["total"]["unknown"] == [killed]
    assert shown["total"]["energy"]["joules"] is None
    steps = [json.loads(line)["step"] for line in telemetry.splitlines()]
    assert steps == [*range(1, len(steps) + 1)]
    assert able.CHECKPOINT < steps[-1] < able.STEPS


def test_a_resumed_run_makes_a_whole_one_with_its_figures_beside_the_estimate(learner, killed, resumed):
    run = resumed[0]["job"]
    shown = page(learner, run)
    assert (shown["state"], shown["result"]["steps"]) == ("done", able.STEPS)
    figures = shown["figures"]
    reached = len(resumed[1][1].splitlines())
    assert figures["resumed_from"] in range(able.CHECKPOINT, reached + 1, able.CHECKPOINT)
    assert figures["resumed_from"] > reached - 2 * able.CHECKPOINT  # it may have died while one was written
    assert 0 <= figures["padding"] < 1
    assert 0 < figures["gemm_fraction"] < 1
    assert shown["total"]["parts"] == [killed, run]
    assert shown["total"]["unknown"] == [killed]
    assert shown["total"]["seconds"] == figures["spent"]["seconds"]
    energy = shown["total"]["energy"]
    assert energy["how"].startswith(("estimated: ", "measured: RAPL"))
    assert energy["joules"] > 0
    assert energy["cost"] is not None
    assert shown["estimate"]["seconds"] > 0
    assert set(shown["held_out"]["rows.jsonl"]) == {"before", "after"}
    assert shown["manifest"]["environment"]["software"]["digest"].startswith("sha512:")
    files = {one["path"] for one in shown["artefact"]["files"]}
    assert files == {"manifest.json", "figures.json", "states.jsonl", "telemetry.jsonl"}
    assert page(learner, killed)["resumed_by"] == run
    assert left(learner, run) == ["stream.jsonl"]
    refused = learner.refused("train", "resume", str(killed), who="olga", code=6)
    assert refused["key"] == "train.nothing-to-resume"
    assert (
        learner.refused("train", "discard", str(killed), who="olga", code=6)["key"]
        == "train.nothing-to-discard"
    )


def test_the_page_is_readable_at_80_columns(learner, resumed):
    text, _ = learner.call("train", "show", str(resumed[0]["job"]), who="aude")
    assert max(map(len, text.splitlines())) <= 80
    for word in (
        "estimated",
        "came",
        "padding",
        "bits per byte",
        "environment",
        "matrix-product",
        "killed without",
    ):
        assert word in text


def test_telemetry_comes_as_lines_and_as_a_table(learner, resumed):
    run = str(resumed[0]["job"])
    lines = [json.loads(line) for line in learner.call("train", "telemetry", run, who="aude")[0].splitlines()]
    assert [one["step"] for one in lines] == [*range(1, able.STEPS + 1)]
    assert lines[-1]["joules_estimated"] == pytest.approx(20.0 * lines[-1]["cpu_seconds"], abs=0.1)
    written, _ = learner.call("train", "telemetry", run, "--format", "csv", who="aude")
    table = [*csv.DictReader(io.StringIO(written))]
    assert [float(one["loss"]) for one in table] == [one["loss"] for one in lines]


def test_a_replay_of_what_was_killed_and_resumed_is_the_same_and_adds_nothing(learner, resumed):
    run, before = resumed[0]["job"], kinds(learner)
    told = learner.told("train", "replay", str(run), who="olga")
    assert told["equal"] is True
    assert told["replayed_digest"] == told["adapter_digest"] == resumed[0]["adapter"]
    assert told["differences"] == []
    assert kinds(learner) == before
    assert left(learner, told["job"]) == ["stream.jsonl"]
    assert [(one["equal"], one["diverged"]) for one in page(learner, run)["replays"]] == [(True, None)]


def test_a_run_whose_disk_fills_up_is_paused_and_goes_on(able_home, key_folder, tmp_path):
    """On a file system of a few megabytes in a mount namespace of our own."""
    unshare = ["unshare", "--mount", *(() if os.getuid() == 0 else ("--map-root-user",)), "sh", "-c"]
    if not can_mount(unshare):
        pytest.skip("no file system can be mounted here")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    begin = 'mount -t tmpfs -o size=64m tmpfs "$1" && cp -a "$2" "$1/" && exec "$4" -m tests.integration.daemon.pausing "$1" "$3"'
    done = subprocess.run(
        [*unshare, begin, "sh", str(mounted), str(able_home), str(key_folder), sys.executable],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert done.stdout.split() == ["refused", "paused", "done"]
