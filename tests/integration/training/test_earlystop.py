"""A run that may end early: by its suite, on its best weights, the same with and without a stop in between."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.integration.training.kit import Recorder, Site, changed, without

from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("libraries")]

LEARNING = changed(
    batch={"steps": 60, "packing": False, "sequences": 12},
    tuning={"rank": 16, "alpha": 32, "dropout": 0.1},
    optimiser={"learning_rate": 0.01, "schedule": "constant"},
    stop={"suite": "facts", "section": "all", "every": 8, "patience": 2, "min_change": 0.0},
    checkpoint_every=12,
    state_every=4,
)


@pytest.fixture(scope="module")
def ended(base, data, suite, tmp_path_factory) -> tuple[dict, dict, list, Path]:
    site = Site(base, data, tmp_path_factory.mktemp("ended") / "out")
    result = site.train(LEARNING, suite=str(suite))
    return result, site.product(), site.lines("states.jsonl"), site.out


def test_a_run_ends_when_the_suite_is_known(ended):
    result, _, states, _ = ended
    assert result["finished"]
    assert result["stopped_early"] == result["steps"] < 60
    assert states[-1]["step"] == result["steps"]


def test_the_product_are_the_best_weights(base, suite, ended, tmp_path):
    from holdfast.workers import evaluate

    adapter = str(ended[3] / "adapter")
    order = {
        "runs": [{"id": "a", "engine": "transformers", "model": str(base), "adapter": adapter}],
        "suites": {"facts": str(suite)},
        "threads": 1,
        "out": str(tmp_path),
    }
    assert evaluate.main(Recorder(), order)["results"]["a"]["facts"]["score"] == 1.0


@pytest.mark.parametrize("before_the_end", [1, 14])
def test_a_stop_in_between_changes_nothing(site, suite, ended, before_the_end):
    stop = ended[0]["steps"] - before_the_end
    stopped = site.train(LEARNING, suite=str(suite), stop_after=stop)
    assert stopped["steps"] == stop
    resumed = site.train(LEARNING, suite=str(suite), resume=True)
    assert (resumed["resumed_from"], resumed["stopped_early"]) == (stop, ended[0]["stopped_early"])
    assert site.product() == ended[1]
    assert site.lines("states.jsonl") == ended[2]


def test_an_ended_run_makes_its_product_again(site, suite, ended, tmp_path):
    site.out = shutil.copytree(ended[3], tmp_path / "copy")
    for path in (site.out / "adapter").iterdir():
        path.unlink()
    resumed = site.train(LEARNING, suite=str(suite), resume=True)
    assert resumed["stopped_early"] == ended[0]["stopped_early"]
    assert site.product() == ended[1]
    assert site.recorder.metrics == []


def test_looking_moves_no_bits(ended, tmp_path, base, data):
    """The same recipe without looks passes through the same losses; only the chain's beginning differs."""
    plain = Site(base, data, tmp_path / "plain")
    batch = LEARNING["batch"] | {"steps": ended[0]["steps"]}
    plain.train({name: part for name, part in LEARNING.items() if name != "stop"} | {"batch": batch})
    losses = [one["loss"] for one in plain.lines("states.jsonl")]
    assert losses == [one["loss"] for one in ended[2]]


def test_a_run_ends_after_so_many_looks_without_enough_of_a_rise_and_goes_back(base, data, suite, tmp_path):
    """However well the suite is answered, no share rises by more than 1: the first look stays the best."""
    looked, plain = (Site(base, data, tmp_path / name) for name in ("looked", "plain"))
    looks = changed(LEARNING, stop={"every": 4, "patience": 3, "min_change": 1.0})
    result = looked.train(looks, suite=str(suite))
    assert result["stopped_early"] == result["steps"] == 4 * (1 + 3)
    plain.train(without("stop", changed(LEARNING, batch={"steps": 4})))
    assert looked.product() == plain.product()


def test_a_suite_that_was_not_sent_is_missed_before_the_base_is_loaded(site):
    with pytest.raises(UntrustedRecipe) as caught:
        site.train(LEARNING)
    assert caught.value.key == "recipe.stop"
    assert "loading the base" not in [step[0] for step in site.recorder.steps]


def test_a_section_that_is_not_there_is_refused(site, suite):
    with pytest.raises(UntrustedRecipe) as caught:
        site.train(changed(LEARNING, stop={"section": "other"}), suite=str(suite))
    assert caught.value.key == "recipe.stop"
