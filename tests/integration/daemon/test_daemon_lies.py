"""A compromised training worker: whatever it says or leaves, the run ends with an error of ours, and nothing of it is kept."""

from __future__ import annotations

import json
import os

import pytest
from tests.integration.daemon.test_daemon_submit import (  # noqa: F401 - fixtures
    WEIGHTS,
    data_set,
    running,
    submit,
    trainer,
)

from holdfast import canonical
from holdfast.artefact import Kind
from holdfast.client import training
from holdfast.daemon import intake, scratch, workbench
from holdfast.daemon.jobs import Jobs
from holdfast.daemon.runs import folders, reported
from holdfast.errors import HoldfastError, WorkerFailed
from holdfast.governance import labels

DIGEST = "sha512:" + "a" * 128
HUGE = "x" * 70_000
LIES = {
    "no figures": {"steps": None},
    "a text for a count": {"steps": "4"},
    "a flag for a count": {"tokens": True},
    "a negative count": {"tokens": -1},
    "beyond whole numbers": {"seconds": 1e308},
    "an estimate beyond them": {"estimate": {"memory_bytes": 1e300}},
    "figures without end": {"spent": {"seconds": 1, "cpu_seconds": 1e308}},
    "a processor's name of many pages": {"gpu": HUGE},
    "an estimate of many pages": {"estimate": {str(number): HUGE for number in range(9)}},
    "an estimate in no order": {"estimate": [1, 2]},
    "what is set aside is no list": {"quarantined": {"a": 1}},
    "held-out text that nobody has": {"held_out": {"/etc/passwd": {"before": 1, "after": 1}}},
    "another manifest": {"manifest": {}},
    "a manifest that is a text": {"manifest": "x"},
    "another digest": {"run": DIGEST},
    "neither finished nor not": {"finished": "yes"},
    "a product of no kind": {"product": {"kind": "../adapter", "files": [WEIGHTS]}},
    "a product of no file": {"product": {"kind": "adapter", "files": []}},
    "a product of numbers": {"product": {"kind": "adapter", "files": [1]}},
    "a product that is a folder": {"product": {"kind": "adapter", "files": ["folder.json"]}},
    "a product that is a pipe": {"product": {"kind": "adapter", "files": ["pipe.json"]}},
    "a product that is code": {"product": {"kind": "adapter", "files": ["adapter_model.bin"]}},
    "a product of thousands": {
        "product": {"kind": "adapter", "files": [f"{number}.json" for number in range(5000)]}
    },
}
LEFT = {
    "no states": lambda out: (out / folders.STATES).unlink(),
    "states that are none": lambda out: (out / folders.STATES).write_text("[1]\n"),
    "states of nothing": lambda out: (out / folders.STATES).write_text(
        '{"step": 1, "hash": "x", "loss": 1}\n'
    ),
    "half a state": lambda out: (out / folders.STATES).write_text(json.dumps({"step": 1, "hash": DIGEST})),
    "states that go back": lambda out: (out / folders.STATES).write_text(
        2 * (json.dumps({"step": 1, "hash": DIGEST}) + "\n")
    ),
    "states without end": lambda out: os.truncate(out / folders.STATES, reported.MAX_STATES + 1),
    "states in depth": lambda out: (out / folders.STATES).write_text("[" * 4000 + "\n"),
    "telemetry without end": lambda out: os.truncate(out / folders.TELEMETRY, reported.MAX_TELEMETRY + 1),
    "telemetry that is a link": lambda out: (
        (out / folders.TELEMETRY).unlink(),
        (out / folders.TELEMETRY).symlink_to("/etc/passwd"),
    ),
}


def spoil(out):
    """Leave what may be named: a folder, a pipe and code."""
    (out / "adapter" / "folder.json").mkdir()
    os.mkfifo(out / "adapter" / "pipe.json")
    (out / "adapter" / "adapter_model.bin").write_bytes(b"\x80\x04.")


async def test_no_lie_of_a_training_worker_is_kept_or_breaks_the_daemon(running, texts, trainer):  # noqa: F811
    data = {"rows.jsonl": await data_set(running)}
    ended = {}
    async with running.session("olga") as client:
        for name, (changes, left) in (
            {one: (changes, spoil) for one, changes in LIES.items()}
            | {one: ({}, left) for one, left in LEFT.items()}
        ).items():
            trainer.changes, trainer.before = changes, left
            run = await submit(running, texts.RECIPE, data)
            with pytest.raises(HoldfastError) as caught:
                await client.finish(run)
            act = running.state.acts[run]
            ended[name] = (type(caught.value), caught.value.key, act.state, act.result.get("error"))
            assert (await training.show(client, str(run)))["state"] == "failed"
    keys = ("worker.result", "worker.product", "worker.output")
    assert {
        name: end
        for name, end in ended.items()
        if end not in [(WorkerFailed, key, "failed", key) for key in keys]
    } == {}
    kinds = {one.kind for one in running.state.artefacts.values()}
    assert kinds.isdisjoint({Kind.RUN, Kind.ADAPTER})
    running.at_rest()


async def test_an_honest_run_beside_them_is_kept(running, texts, trainer):  # noqa: F811
    trainer.before = spoil
    run = await submit(running, texts.RECIPE, {"rows.jsonl": await data_set(running)})
    async with running.session("olga") as client:
        done = await client.finish(run)
    assert [one.path for one in running.state.artefacts[done["adapter"]].files] == [WEIGHTS]
    assert len(canonical.encode(done)) < 65_535


async def test_telemetry_gives_a_terminal_nothing_to_obey(running, texts, trainer):  # noqa: F811
    trainer.before = lambda out: (out / folders.TELEMETRY).write_bytes(
        b'{"step":1}\n\x1b[2J\x9b2J\x07\xc2\x9b\r{}\n'
    )
    run = await submit(running, texts.RECIPE, {"rows.jsonl": await data_set(running)})
    async with running.session("olga") as client:
        await client.finish(run)
        got = b"".join([one async for one in training.telemetry(client, str(run))])
    assert got == b'{"step":1}\n[2J2J{}\n'


async def test_no_artefact_is_made_of_what_is_no_plain_file(daemon, tmp_path):
    """A pipe would never be read to its end, and a folder can't be linked."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "link", ".", "missing"):
        with pytest.raises(WorkerFailed) as caught:
            await intake.adopt(
                daemon.services,
                Kind.GGUF,
                "x",
                "1",
                {"x.gguf": tmp_path / name},
                label=labels.parse({"level": "internal", "compartments": [], "zones": ["site"]}),
            )
        assert caught.value.key == "worker.output"
    daemon.at_rest()


def test_a_folder_nested_beyond_every_path_is_measured_and_removed(tmp_path):
    job = tmp_path / "7"
    out = job / "out"
    (out / "shut").mkdir(parents=True)
    (out / "shut" / "file").write_bytes(b"123")
    (out / "link").symlink_to(tmp_path)
    here = os.open(out, os.O_RDONLY)
    for _ in range(1100):  # deeper than a recursion, longer than a path
        os.mkdir("deep", dir_fd=here)
        inner = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    assert scratch.size(out) == 3
    (out / "shut").chmod(0)
    scratch.clean(job)
    assert [*job.iterdir()] == []
    assert [one.name for one in tmp_path.iterdir()] == ["7"]


class Babbler:
    """A worker that says what it was given, and nothing more."""

    def __init__(self, *messages) -> None:
        self._messages = iter(messages)

    async def receive(self):
        return next(self._messages, None)


async def test_what_a_worker_tells_on_the_way_is_bounded_and_breaks_no_stream(tmp_path):
    job = Jobs(tmp_path).open_job(7, "train.run")
    odd = {"self": 1, "kind": "result", "n": -5, "fields": {}, "step": 1}
    done = await workbench._listen(job, Babbler({"metric": odd}, {"progress": "x"}, {"result": {"a": 1}}))
    assert done == {"a": 1}
    assert job.entries == [{"n": 1, "kind": "metric", "self": 1, "fields": {}, "step": 1}]
    for name in ("progress", "metric"):
        with pytest.raises(WorkerFailed) as caught:
            await workbench._listen(job, Babbler({name: {"step": HUGE}}))
        assert caught.value.key == "worker.babbles"
    assert len(job.entries) == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"type": "NoSpace", "key": "x", "fields": {"key": "y", "remedy": 1, "self": 2, "message": 3}}, "x"),
        ({"type": "UntrustedRecipe", "key": "x", "message": ["no", "text"], "fields": [1]}, "x"),
        ({"type": "NotRecorded", "key": "audit.lost"}, "worker.error"),
        ({"type": "DaemonUnreachable", "key": "daemon.gone"}, "worker.error"),
        ({"type": "type", "key": "x"}, "x"),
        ({"message": 4 * HUGE}, "worker.babbles"),
    ],
)
async def test_an_error_that_a_worker_reports_is_one_of_ours(tmp_path, error, told):
    job = Jobs(tmp_path).open_job(7, "train.run")
    with pytest.raises(HoldfastError) as caught:
        await workbench._listen(job, Babbler({"error": error}))
    assert caught.value.key == told
    json.dumps(caught.value.to_dict())
