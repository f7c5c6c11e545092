"""What a run will take, said before it starts, beside what it took."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from tests.integration.training.kit import DIGESTS, changed

from holdfast.training import estimate, spec
from holdfast.workers import train

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("libraries")]


def test_an_estimate_trains_nothing_and_leaves_nothing(site, uninterrupted):
    found = site.train(task="estimate")
    assert site.files() == set()
    assert site.recorder.metrics == []
    assert found["run"] == uninterrupted[0]["run"]
    names = {
        "steps",
        "tokens",
        "tokens_per_second",
        "seconds",
        "cpu_seconds",
        "memory_bytes",
        "disk_bytes",
        "how",
    }
    assert found["estimate"].keys() == names
    assert found["estimate"]["steps"] == 10
    assert found["estimate"]["tokens"] == uninterrupted[0]["tokens"]


@pytest.fixture
def half(monkeypatch):
    """A machine on which everything gets half a processor, always: one that stands still for a while changes no figure."""
    from holdfast.training import calibrate, meter, setup, watch

    clock = SimpleNamespace(monotonic=lambda: 2 * time.process_time(), process_time=time.process_time)
    for module in (calibrate, meter, setup, watch):
        monkeypatch.setattr(module, "time", clock)


@pytest.mark.usefixtures("half")
def test_a_run_carries_its_estimate_beside_what_came(site):
    result = site.train(changed(batch={"steps": 30}))
    said = result["estimate"]
    assert said["steps"] == result["steps"]
    assert said["tokens"] == result["tokens"]
    # A tiny model's steps are mostly overhead: within a factor, not to a percent.
    assert 0.1 < said["seconds"] / result["seconds"] < 10
    assert 0.1 < said["cpu_seconds"] / result["cpu_seconds"] < 10
    assert said["cpu_seconds"] / said["seconds"] == pytest.approx(0.5, rel=0.01)
    assert 0.5 < said["memory_bytes"] / result["peak_memory_bytes"] < 2
    assert 0.5 < said["disk_bytes"] / result["disk_bytes"] < 2


def test_calibrating_leaves_no_trace(site, monkeypatch, uninterrupted):
    from holdfast.training import calibrate, setup

    seen = calibrate.measure

    def many(*arguments):
        for _ in range(3):
            found = seen(*arguments)
        return found

    monkeypatch.setattr(setup.calibrate, "measure", many)
    site.train()
    assert site.product() == uninterrupted[1]


@pytest.mark.parametrize(
    "tuning", [{"type": "full"}, {"type": "lora", "rank": 4, "alpha": 8, "targets": ["q_proj"]}]
)
def test_sizes_are_those_of_the_model(site, tuning):
    from holdfast.training import calibrate, setup

    asked = train.TrainOrder.model_validate(site.order(changed() | {"tuning": tuning}))
    inputs = setup.Inputs(asked.recipe, asked.model, asked.data, DIGESTS, asked.out, 1)
    built = setup.build(inputs, setup.prepare(inputs, site.recorder), [])
    found = calibrate.sizes(built)
    layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128  # q, k and v, o, three of the network
    words = built.learnt_model().config.vocab_size
    assert (found.layers, found.width, found.head) == (4, 64, words * 64)
    if tuning["type"] == "full":
        assert (found.tuned, found.frozen, found.head_tuned) == (4 * layer, 0, True)
        assert found.trained == sum(one.numel() for one in built.learnt_model().parameters())
    else:
        assert (found.tuned, found.frozen, found.head_tuned) == (4 * 4 * (64 + 64), 4 * layer, False)
        assert found.trained == found.tuned


def test_operations_are_counted_as_the_sources_do():
    whole = estimate.Sizes(frozen=0, tuned=1000, head=100, head_tuned=True, layers=2, width=8, trained=1100)
    assert estimate.flops(whole, tokens=10, learnt=10, squares=0) == 6 * 1100 * 10
    adapter = estimate.Sizes(frozen=1000, tuned=50, head=100, head_tuned=False, layers=2, width=8, trained=50)
    found = estimate.flops(adapter, tokens=10, learnt=4, squares=100)
    assert found == 10 * (4 * 1000 + 6 * 50) + 4 * 4 * 100 + 12 * 2 * 8 * 100


def test_disk_is_counted_for_full_weights_and_for_adapters():
    whole = spec.from_json(changed() | {"tuning": {"type": "full"}})
    # Three checkpoints of weights and two moments in fp32, and a model in bf16.
    assert estimate.disk_bytes(whole, 10**9, 2 * 10**9) == pytest.approx(3 * 12 * 10**9 + 2 * 10**9, rel=1e-3)
    small = spec.from_json(changed())
    assert estimate.disk_bytes(small, 10**6, 2 * 10**9) == pytest.approx(3 * 12e6 + 4e6, rel=0.05)
