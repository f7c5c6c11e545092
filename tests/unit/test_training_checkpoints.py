from __future__ import annotations

import os

import pytest

from holdfast.training import checkpoints
from holdfast.training.telemetry import StepLines


def make(tmp_path, step: int, run: str = "r1"):
    scratch = tmp_path / "scratch"
    (scratch / "sub").mkdir(parents=True)
    (scratch / "weights").write_bytes(b"w%d" % step)
    (scratch / "sub" / "state").write_bytes(b"s%d" % step)
    return checkpoints.adopt(scratch, tmp_path / "checkpoints", step=step, run=run, notes={"state": step})


def test_the_newest_checkpoint_is_found_and_old_ones_go(tmp_path):
    for step in (2, 10, 9):
        make(tmp_path, step)
    found = checkpoints.latest(tmp_path / "checkpoints", run="r1")
    assert found is not None
    assert (found.step, found.notes) == (10, {"state": 10})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-0000000009",
        "step-0000000010",
    ]


@pytest.mark.parametrize("name", ["weights", "sub/state", checkpoints.NOTES, checkpoints.SEAL])
@pytest.mark.parametrize("damage", [b"", b"other", None])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, name, damage):
    make(tmp_path, 1)
    newest = make(tmp_path, 2)
    if damage is None:
        (newest / name).unlink()
    else:
        (newest / name).write_bytes(damage)
    found = checkpoints.latest(tmp_path / "checkpoints", run="r1")
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize(
    "add",
    [
        lambda folder: (folder / "pytorch_model.bin").write_bytes(b"\x80\x04."),
        lambda folder: (folder / "sub" / "link").symlink_to("/etc/passwd"),
        lambda folder: os.mkfifo(folder / "pipe"),
        lambda folder: ((folder / checkpoints.SEAL).unlink(), os.mkfifo(folder / checkpoints.SEAL)),
    ],
)
def test_a_checkpoint_with_something_more_in_it_is_passed_over(tmp_path, add):
    make(tmp_path, 1)
    add(make(tmp_path, 2))
    found = checkpoints.latest(tmp_path / "checkpoints", run="r1")
    assert found is not None
    assert found.step == 1


def test_a_checkpoint_of_another_run_is_never_used(tmp_path):
    make(tmp_path, 3, run="r2")
    assert checkpoints.latest(tmp_path / "checkpoints", run="r1") is None


def test_a_checkpoint_that_was_being_written_does_not_count(tmp_path):
    (tmp_path / "checkpoints" / "checkpoint-5").mkdir(parents=True)
    assert checkpoints.latest(tmp_path / "checkpoints", run="r1") is None
    assert checkpoints.latest(tmp_path / "nowhere", run="r1") is None


def test_what_a_run_does_not_go_on_from_makes_room(tmp_path):
    root = tmp_path / "checkpoints"
    make(tmp_path, 4)
    (make(tmp_path, 6) / "weights").write_bytes(b"bad")
    checkpoints.discard_after(root, 4)
    assert [path.name for path in root.iterdir()] == ["step-0000000004"]
    make(tmp_path, 6)
    found = checkpoints.latest(root, run="r1")
    assert found is not None
    assert (found.folder / "weights").read_bytes() == b"w6"
    checkpoints.discard_after(root, 0)
    assert list(root.iterdir()) == []
    checkpoints.discard_after(tmp_path / "nowhere", 0)


def test_a_checkpoint_under_another_name_is_passed_over(tmp_path):
    make(tmp_path, 3).rename(tmp_path / "checkpoints" / "step-0000000007")
    assert checkpoints.latest(tmp_path / "checkpoints", run="r1") is None


def opened(path, step: int, source=None) -> StepLines:
    lines = StepLines(path)
    lines.open(step, source)
    return lines


def test_telemetry_goes_on_after_the_checkpoint_and_drops_half_a_line(tmp_path):
    path = tmp_path / "telemetry.jsonl"
    first = opened(path, 0)
    for step in (1, 2, 3):
        first.write({"step": step})
    first.close()
    with path.open("a") as file:
        file.write('not json\n{"step": 4')
    second = opened(path, 2)
    second.write({"step": 3, "again": True})
    second.close()
    assert path.read_text().splitlines() == ['{"step":1}', '{"step":2}', '{"step":3,"again":true}']


def test_a_new_run_starts_new_telemetry(tmp_path):
    path = tmp_path / "telemetry.jsonl"
    path.write_text('{"step":1}\n')
    opened(path, 0).close()
    assert path.read_text() == ""


def test_lines_are_taken_from_the_checkpoint(tmp_path):
    (tmp_path / "kept").write_text('{"step":1}\n{"step":2}\n')
    opened(tmp_path / "states.jsonl", 2, tmp_path / "kept").close()
    assert (tmp_path / "states.jsonl").read_text() == '{"step":1}\n{"step":2}\n'
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []
