"""What a run may begin with, what hostile names come to, and how runs and replays end that can't be made to end so."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from holdfast.artefact import Kind
from holdfast.client import training
from holdfast.confine import gpu
from holdfast.daemon import intake, workbench
from holdfast.daemon.recorder import DAEMON
from holdfast.daemon.runs import folders, space
from holdfast.errors import Conflict, HoldfastError, NoSpace, NotFound, UntrustedInput, VerificationFailed
from holdfast.governance import labels
from holdfast.store import disk
from holdfast.training import manifest, software

INTERNAL = {"level": "internal", "compartments": [], "zones": ["site"]}
HOSTILE = [
    "..",
    "../../log",
    "%2e%2e",
    "sha512:",
    "sha512:" + "f" * 128,
    "9" * 15,
    "9" * 400,
    "-1",
    "1e3",
    "²",
    "a" * 5000,
    "x\u202ey",
    "\x1b[2J",
    "; rm -r /",
    "lesson@",
]


@pytest.fixture
async def running(stocked):
    async with stocked.open() as opened:
        yield opened


async def data_set(daemon, *, form="messages", label=INTERNAL, licence="Apache-2.0"):
    """Record a data set as the preparation does."""
    folder = daemon.place.folder / f"prepared-{form}-{label['level']}-{licence}"
    folder.mkdir()
    (folder / "rows.jsonl").write_text(json.dumps({"form": form, "label": label}))
    found = await intake.adopt(
        daemon.services,
        Kind.DATASET,
        "rows",
        "1",
        {"rows.jsonl": folder / "rows.jsonl"},
        label=labels.parse(label),
        meta={"form": form, "licence": licence},
    )
    asked = {"name": "rows", "method": "sft", "files": 1, "quarantine": False, "heldout": 0.0, "suites": {}}
    counted = dict.fromkeys(("rows", "held_out", "quarantined", "duplicates", "near_duplicates"), 1)
    async with daemon.services.recorder.act(DAEMON, "dataset.prepare", asked) as act:
        told = {"dataset": found.digest, "artefacts": [found.to_json()], "form": form, "overlap": {}}
        act.outcome = told | counted
    return found.digest


async def submit(daemon, recipe, data, route="/v1/runs", **more):
    async with daemon.session("olga") as client:
        upload = await client.upload(daemon.place.recipe(recipe))
        body = {"recipe": upload, "file": "recipe.toml", "data": data, "model": "tiny", **more}
        return (await client.call("POST", route, body))["job"]


def begun(daemon):
    return [act for act in daemon.state.acts.values() if act.action in folders.ACTS]


@pytest.mark.parametrize(
    ("how", "key"),
    [
        ("unknown", "recipe.data-unknown"),
        ("a suite", "recipe.data-unknown"),
        ("another form", "recipe.data-form"),
        ("looser", "recipe.data-label"),
        ("another licence", "recipe.data-licence"),
        ("missing", "recipe.data"),
        ("another path", "recipe.data"),
        ("no digest", "digest.form"),
    ],
)
@pytest.mark.parametrize("route", ["/v1/runs", "/v1/runs/estimate"])
async def test_data_that_do_not_go_with_the_recipe_are_refused_and_nothing_is_taken_in(
    running, texts, how, key, route
):
    data = {
        "unknown": lambda: {"rows.jsonl": "sha512:" + "0" * 128},
        "a suite": lambda: {"rows.jsonl": running.state.resolve("quiz", Kind.SUITE).digest},
        "another form": lambda: {"rows.jsonl": None},
        "looser": lambda: {"rows.jsonl": None},
        "another licence": lambda: {"rows.jsonl": None},
        "missing": dict,
        "another path": lambda: {"../rows.jsonl": "sha512:" + "0" * 128},
        "no digest": lambda: {"rows.jsonl": "../../etc/passwd"},
    }[how]()
    if how == "another form":
        data["rows.jsonl"] = await data_set(running, form="preference")
    if how == "looser":
        data["rows.jsonl"] = await data_set(running, label=INTERNAL | {"level": "public"})
    if how == "another licence":
        data["rows.jsonl"] = await data_set(running, licence="Proprietary")
    with pytest.raises(UntrustedInput) as caught:
        await submit(running, texts.RECIPE, data, route)
    assert caught.value.key == key
    assert caught.value.remedy
    assert not [one for one in running.state.artefacts.values() if one.kind is Kind.RECIPE]
    assert not begun(running)
    running.at_rest()


async def test_a_run_that_the_disk_could_not_hold_is_not_started(running, texts, monkeypatch):
    data = {"rows.jsonl": await data_set(running)}
    monkeypatch.setattr(space, "RESERVE", 2**52)
    with pytest.raises(NoSpace) as caught:
        await submit(running, texts.RECIPE, data)
    assert (caught.value.key, caught.value.exit_code) == ("train.no-space", 7)
    assert caught.value.fields["needed"] > caught.value.fields["free"] > 0
    assert not begun(running)


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_of_runs_find_nothing_and_touch_nothing(running, name):
    size = running.services.log.size
    async with running.session("olga") as client:
        for ask in (
            training.show(client, name),
            training.replay(client, name),
            _all(training.telemetry(client, name)),
            *(
                client.call("POST", f"/v1/runs/{number}/{act}")
                for number in ("9", "x", "²")
                for act in ("resume", "discard", "cancel")
            ),
        ):
            with pytest.raises((NotFound, UntrustedInput)):
                await ask
    assert not begun(running)
    assert set(running.actions()[size:]) <= {"session.opened", "session.closed", "session.refused"}


async def _all(chunks):
    return [one async for one in chunks]


async def test_train_cancel_stops_no_other_job(running):
    async with running.session("alice") as alice, running.session("olga") as olga:
        scrub = (await alice.call("POST", "/v1/store/scrub"))["job"]
        await alice.finish(scrub)
        with pytest.raises(Conflict) as caught:
            await training.cancel(olga, scrub)
        assert caught.value.key == "train.other-job"
        assert f"job cancel {scrub}" in caught.value.remedy


ENVIRONMENT = {"software": None, "threads": 1}
WEIGHTS = "weights.json"
PLAN = manifest.Plan(1, 1, 1, 1, 1, 0.0, 0, 0, 1)


def _environment():
    return ENVIRONMENT | {"software": software.identity()}


class Trainer:
    """Stands where the worker stands, since no real one can be made to end in these ways."""

    def __init__(self, monkeypatch) -> None:
        self.orders, self.changes, self.weights, self.before = [], {}, b"weights", lambda _: None
        self.devices = ()
        monkeypatch.setattr(workbench, "run_worker", self)

    async def __call__(self, _services, job, _kind, order, *, inputs, output, devices=()):
        self.orders.append(order)
        self.devices = devices
        assert inputs["model"] == job.folder / "model"
        (output / "adapter").mkdir(exist_ok=True)
        (output / "adapter" / WEIGHTS).write_bytes(self.weights)
        for name in (folders.STATES, folders.TELEMETRY):
            (output / name).write_text(
                json.dumps({"step": 10, "hash": "sha512:" + "a" * 128, "loss": 1.0}) + "\n"
            )
        self.before(output)
        named = manifest.build(order["recipe"], order["digests"], SimpleNamespace(to_json=_environment), PLAN)
        return {
            "manifest": named,
            "run": manifest.digest(named),
            "product": {"kind": "adapter", "folder": "adapter", "files": [WEIGHTS]},
            "finished": True,
            "paused": None,
            **dict.fromkeys(("steps", "tokens", "tokens_per_second", "seconds", "final_loss"), 4),
            "spent": {"seconds": 4, "cpu_seconds": 3},
            "estimate": {"seconds": 5, "cpu_seconds": 6},
            "diverged": None,
            "differences": [],
            **self.changes,
        }


@pytest.fixture
def trainer(monkeypatch):
    return Trainer(monkeypatch)


@pytest.fixture
async def trained(running, texts, trainer):
    """A run that is done."""
    assert not trainer.orders
    run = await submit(running, texts.RECIPE, {"rows.jsonl": await data_set(running)})
    async with running.session("olga") as client:
        await client.finish(run)
        yield run, client


def stored(daemon):
    return set(daemon.services.store.artefacts())


async def ended(daemon, client, run, error, **how):
    """Replay, and give what is on the record of how it ended."""
    before, jobs = stored(daemon), len(begun(daemon))
    with pytest.raises(error) as caught:
        await client.finish(await training.replay(client, str(run), **how))
    assert stored(daemon) == before
    last = daemon.state.acts[max(daemon.state.acts)]
    if len(begun(daemon)) > jobs:
        assert [one.name for one in daemon.services.jobs.folder(last.seq).iterdir()] == ["stream.jsonl"]
    daemon.at_rest()
    return caught.value, last.result


async def test_a_run_is_lent_the_gpu_of_the_host(running, texts, trainer, monkeypatch):
    nodes = ("nvidiactl", "nvidia-uvm", "nvidia0")
    monkeypatch.setattr(gpu, "nodes", lambda: nodes)
    run = await submit(running, texts.RECIPE, {"rows.jsonl": await data_set(running)})
    async with running.session("olga") as client:
        await client.finish(run)
    assert trainer.devices == nodes


async def test_a_replay_that_goes_another_way_says_where_and_what_differs(running, trained, trainer):
    run, client = trained
    trainer.changes = {
        "finished": False,
        "product": None,
        "diverged": {"after": 10, "at": 20},
        "differences": ["environment.packages.torch: 2.1 → 2.2"],
    }
    error, result = await ended(running, client, run, VerificationFailed)
    assert (error.key, error.exit_code) == ("train.replay-differs", 3)
    assert "same at step 10, and another one at step 20" in error.message
    assert "torch: 2.1 → 2.2" in error.remedy
    assert (result["diverged"], result["equal"], result["replayed_digest"]) == (20, False, None)
    assert result["differences"] == trainer.changes["differences"]
    order = trainer.orders[-1]["expected"]
    assert order["states"] == [[10, "sha512:" + "a" * 128]]
    assert order["anyway"] is False


async def test_a_replay_that_makes_something_else_leaves_none_of_it(running, trained, trainer):
    run, client = trained
    trainer.weights = b"other"
    error, result = await ended(running, client, run, VerificationFailed)
    assert error.key == "train.replay-differs"
    assert result["replayed_digest"] != result["adapter_digest"]
    assert "memory or processor" in error.remedy
    shown = await training.show(client, str(run))
    assert [(one["state"], one["equal"]) for one in shown["replays"]] == [("failed", False)]


async def test_a_worker_that_can_not_hold_the_environment_is_quoted(running, trained, trainer):
    run, client = trained

    def refuse(_out):
        raise VerificationFailed(
            "train.environment", "Other.", remedy="Try --anyway.", differences=["threads: 2 → 1"]
        )

    trainer.before = refuse
    error, result = await ended(running, client, run, VerificationFailed)
    assert error.key == result["error"] == "train.environment"
    assert result["differences"] == ["threads: 2 → 1"]


async def test_a_run_of_software_that_is_gone_says_so_before_anything_is_started(
    running, trained, trainer, monkeypatch
):
    run, client = trained
    made_by = software.identity()
    monkeypatch.setattr(software, "identity", lambda: {"version": "9.9", "digest": "sha512:" + "9" * 128})
    jobs = len(begun(running))
    with pytest.raises(NotFound) as caught:
        await training.replay(client, str(run))
    assert caught.value.key == "train.software-gone"
    assert caught.value.fields["here"] == "sha512:" + "9" * 128
    assert caught.value.fields["needed"] == made_by["digest"]
    assert len(begun(running)) == jobs
    await client.finish(await training.replay(client, str(run), anyway=True))
    assert trainer.orders[-1]["expected"]["anyway"] is True


async def test_a_disk_that_fills_up_when_the_product_is_taken_in_pauses_the_run(
    running, texts, trainer, monkeypatch
):
    data = {"rows.jsonl": await data_set(running)}
    real = intake.adopt

    async def full(services, kind, *rest, **more):
        if kind is Kind.ADAPTER:
            raise disk.no_space("the adapter", needed=2, free=1)
        return await real(services, kind, *rest, **more)

    monkeypatch.setattr(intake, "adopt", full)
    run = await submit(running, texts.RECIPE, data)
    async with running.session("olga") as client:
        with pytest.raises(NoSpace) as caught:
            await client.finish(run)
        assert caught.value.key == "train.paused"
        listed = (await training.listed(client))["runs"][0]
        assert (listed["state"], listed["resumable"]) == ("paused", True)
        monkeypatch.setattr(intake, "adopt", real)
        done = await client.finish(await training.resume(client, run))
    assert trainer.orders[-1]["resume"] is True
    assert running.state.artefacts[done["adapter"]].meta["run"] == done["run"]
    running.at_rest()


@pytest.mark.parametrize(
    "name", ["../../../log/log.pub", "/etc/passwd", "", "stolen", "adapter/../x", ".hidden"]
)
async def test_a_worker_names_no_file_outside_of_what_it_made(running, texts, trainer, name):
    secret = running.place.home.keys / "log.key"

    def steal(out):
        (out / "adapter" / "stolen").symlink_to(secret)

    trainer.before = steal
    trainer.changes = {"product": {"kind": "adapter", "folder": "adapter", "files": [name]}}
    run = await submit(running, texts.RECIPE, {"rows.jsonl": await data_set(running)})
    async with running.session("olga") as client:
        with pytest.raises(HoldfastError) as caught:
            await client.finish(run)
    assert caught.value.key == "worker.output"
    assert not [one for one in running.state.artefacts.values() if one.kind is Kind.ADAPTER]


async def test_a_folder_that_a_worker_replaced_by_a_link_is_not_followed(running, texts, trainer):
    def steal(out):
        shutil.rmtree(out / "adapter")
        (out / "adapter").symlink_to(running.place.home.keys)

    trainer.before = steal
    trainer.changes = {"product": {"kind": "adapter", "folder": "adapter", "files": ["log.key"]}}
    run = await submit(running, texts.RECIPE, {"rows.jsonl": await data_set(running)})
    async with running.session("olga") as client:
        with pytest.raises(HoldfastError) as caught:
            await client.finish(run)
    assert caught.value.key == "worker.output"
    assert not [one for one in running.state.artefacts.values() if one.kind is Kind.ADAPTER]


async def test_what_an_ended_run_no_longer_needs_is_removed_at_the_next_start(stocked, texts, trainer):
    async with stocked.open() as daemon:
        run = await submit(daemon, texts.RECIPE, {"rows.jsonl": await data_set(daemon)})
        async with daemon.session("olga") as client:
            await client.finish(run)
            trainer.changes = {"finished": False, "product": None}
            stopped = await submit(
                daemon, texts.RECIPE, {"rows.jsonl": daemon.state.acts[run].params["datasets"][0]}
            )
            with pytest.raises(HoldfastError):
                await client.finish(stopped)
        for number in (run, stopped):  # as if it had been cut short
            for name in ("out", "model"):
                (daemon.services.jobs.folder(number) / name).mkdir(exist_ok=True)
    async with stocked.open() as daemon:
        left = {
            number: {one.name for one in daemon.services.jobs.folder(number).iterdir()}
            for number in (run, stopped)
        }
        assert left == {run: {"stream.jsonl"}, stopped: {"stream.jsonl", "out"}}
