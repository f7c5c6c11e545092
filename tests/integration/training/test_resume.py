"""A run that was stopped, killed or short of disk goes on, and ends as if it had not been."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.training.kit import KILLED, Site, changed

from holdfast.errors import VerificationFailed
from holdfast.training import checkpoints, environment, software

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("libraries")]

HERE = Path(__file__).parent


def went_on(site: Site, uninterrupted, at: int) -> None:
    """Resume, and find everything as in the run that was never stopped."""
    resumed = site.train(resume=True)
    assert (resumed["resumed_from"], resumed["steps"], resumed["finished"]) == (at, 10, True)
    assert site.product() == uninterrupted[1]
    assert site.lines("states.jsonl") == uninterrupted[2]
    assert [one["step"] for one in site.lines("telemetry.jsonl")] == list(range(1, 11))
    assert resumed["final_loss"] == uninterrupted[0]["final_loss"]
    assert resumed["run"] == uninterrupted[0]["run"]


@pytest.mark.parametrize("stop", [4, 7])
def test_a_run_that_was_stopped_and_goes_on_ends_as_if_it_had_not_been(site, uninterrupted, stop):
    stopped = site.train(stop_after=stop)
    assert not stopped["finished"]
    assert stopped["product"] is None
    assert stopped["steps"] == stop
    found = checkpoints.latest(site.out / "checkpoints", run=stopped["run"])
    assert found is not None
    assert found.step == stop
    assert not (site.out / "adapter").exists()
    went_on(site, uninterrupted, stop)


def test_a_run_whose_product_was_lost_makes_it_again_from_its_last_checkpoint(site, uninterrupted):
    site.train()
    for path in (site.out / "adapter").iterdir():
        path.unlink()
    went_on(site, uninterrupted, 10)
    assert site.recorder.metrics == []  # not a step was trained


def test_what_was_used_counts_on(site):
    first = site.train(stop_after=6)
    found = checkpoints.latest(site.out / "checkpoints", run=first["run"])
    used = found.notes["used"]
    assert first["seconds"] >= used["seconds"] > 0
    assert first["cpu_seconds"] >= used["cpu_seconds"] > 0
    second = site.train(resume=True)
    for figure in ("seconds", "cpu_seconds"):
        before = second[figure] - second["spent"][figure]
        assert before == pytest.approx(used[figure])
    assert second["estimate"] == first["estimate"]


def test_a_damaged_checkpoint_costs_steps_but_not_the_run(site, uninterrupted):
    site.train(stop_after=6)
    (site.out / "checkpoints" / "step-0000000006" / "optimizer.pt").write_bytes(b"damaged")
    went_on(site, uninterrupted, 4)


def test_lines_after_the_checkpoint_are_made_anew(site, uninterrupted):
    site.train(stop_after=6)
    (site.out / "states.jsonl").write_bytes(b"{")
    went_on(site, uninterrupted, 6)


def test_a_checkpoint_of_other_circumstances_is_neither_used_nor_lost(site, monkeypatch, uninterrupted):
    site.train(stop_after=6)
    with pytest.raises(VerificationFailed) as caught:
        site.train(changed(tuning={"alpha": 16}), resume=True)
    assert caught.value.key == "train.other-run"
    with monkeypatch.context() as patch:
        patch.setattr(environment.platform, "python_version", lambda: "3.10.0")
        with pytest.raises(VerificationFailed) as caught:
            site.train(resume=True)
    here = uninterrupted[0]["manifest"]["environment"]["python"]
    assert caught.value.fields["differences"] == [f"python: the run had {here}, here it is 3.10.0."]
    went_on(site, uninterrupted, 6)


@pytest.fixture(scope="module")
def faulty(base, data, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Runs that were killed, or met a really full disk in a mount namespace of their own: their folders, and how they ended."""
    root, small = tmp_path_factory.mktemp("faulty"), tmp_path_factory.mktemp("small")
    unshare = ["unshare", "--mount", *(() if os.getuid() == 0 else ("--map-root-user",)), "sh", "-c"]
    mount = "mount -t tmpfs -o size=3m,nr_inodes=200 tmpfs"
    worker = [sys.executable, str(HERE / "faulty.py"), str(base), str(data), str(root)]
    can_mount = not subprocess.run(
        [*unshare, f'{mount} "$1"', "sh", str(small)], capture_output=True, check=False
    ).returncode
    begin = [*unshare, f'{mount} "$6" && exec "$@"', "sh"] if can_mount else []
    done = subprocess.run(
        [*begin, *worker, str(small) if can_mount else "", json.dumps(software.identity())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("place", "at"),
    [("pass", 4), ("optimiser", 4), ("rename", 4), ("renamed", 8), ("old", 10), ("product", 10)],
)
def test_a_run_that_was_killed_goes_on(site, faulty, uninterrupted, place, at):
    root, ended = faulty
    assert ended[place] == "signal 9"
    site.out = root / place
    went_on(site, uninterrupted, at)
    assert not (site.out / "partial").exists()


@pytest.mark.parametrize(("method", "at"), [("cpt-dora", 0), ("dpo-full", 4)])
def test_a_run_of_another_method_that_was_killed_goes_on(base, faulty, tmp_path, method, at):
    root, ended = faulty
    assert ended[method] == "signal 9"
    recipe, data = KILLED[method][2], root / f"{method}-data"
    whole, parts = (Site(base, data, folder) for folder in (tmp_path / "whole", root / method))
    result = whole.train(recipe)
    resumed = parts.train(recipe, resume=True)
    assert (resumed["resumed_from"], resumed["run"]) == (at, result["run"])
    assert parts.product(resumed["product"]["folder"]) == whole.product(result["product"]["folder"])
    assert parts.lines("states.jsonl") == whole.lines("states.jsonl")


@pytest.mark.parametrize("disk", ["optimiser", "files"])
def test_on_a_disk_that_is_really_full_a_run_pauses(base, data, faulty, uninterrupted, disk):
    root, ended = faulty
    if f"disk-{disk}" not in ended:
        pytest.skip("no file system can be mounted here")
    assert ended[f"disk-{disk}"] == "disk-full 4 None"
    went_on(Site(base, data, root / f"disk-{disk}"), uninterrupted, 4)


@pytest.mark.parametrize(("place", "kept"), [("states", 4), ("product", 10)])
def test_a_full_disk_pauses_a_run_at_other_writes_too(site, uninterrupted, monkeypatch, place, kept):
    from holdfast.training import product, telemetry

    write = telemetry.StepLines.write

    def write_line(self, figures):
        if self.path.name.startswith(place) and figures["step"] >= 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, figures)

    def no_product(*_, **__):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(telemetry.StepLines, "write", write_line)
        if place == "product":
            patch.setattr(product, "save", no_product)
        paused = site.train()
    assert (paused["paused"], paused["finished"], paused["product"]) == ("disk-full", False, None)
    assert paused["steps"] == kept
    assert not (site.out / "partial").exists()
    went_on(site, uninterrupted, kept)


def test_another_fault_is_not_called_a_full_disk(site, monkeypatch):
    from holdfast.training import product

    def broken(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(product, "save", broken)
    with pytest.raises(OSError, match="Input/output error"):
        site.train()
