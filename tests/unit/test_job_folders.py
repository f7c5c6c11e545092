"""What a killed daemon left of its jobs is cleaned when the next one starts, and only what nothing needs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from holdfast.daemon.runs import folders


@pytest.mark.parametrize(
    ("action", "state", "left"),
    [
        ("train.run", "interrupted", {"stream.jsonl", "out"}),
        ("train.run", "done", {"stream.jsonl"}),
        ("train.estimate", "interrupted", {"stream.jsonl"}),
        ("dataset.prepare", "interrupted", {"stream.jsonl"}),
        ("model.merge", "interrupted", {"stream.jsonl"}),
        ("eval.run", "failed", {"stream.jsonl"}),
        ("audit.export", "interrupted", {"stream.jsonl", "out", "model", "data"}),  # another's to clean
    ],
)
def test_what_is_left_of_a_job(tmp_path, action, state, left):
    folder = tmp_path / "7"
    for name in ("out", "model", "data"):
        (folder / name / "deep").mkdir(parents=True)
    (folder / folders.scratch.STREAM).touch()
    act = SimpleNamespace(seq=7, action=action, state=state)
    services = SimpleNamespace(
        state=SimpleNamespace(acts={7: act}, trainings=SimpleNamespace(discarded=set())),
        jobs=SimpleNamespace(folder=lambda number: tmp_path / str(number)),
    )
    folders.settle(services)
    assert {path.name for path in folder.iterdir()} == {
        folders.scratch.STREAM if one == "stream.jsonl" else one for one in left
    }
