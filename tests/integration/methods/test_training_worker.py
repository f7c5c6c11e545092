"""Each method through the training worker: stopped at any step and resumed, it ends with the same product and state hashes."""

from __future__ import annotations

import random

import pytest
from tests.integration.methods.tiny import FULL, recipe
from tests.integration.training.kit import PATH, Site

pytestmark = pytest.mark.model

CASES = {
    "sft-full": {"tuning": FULL},
    "cpt": {"method": "cpt", "batch": {"accumulation": 2}, "tuning": {"type": "dora"}},
    "dpo": {"method": "dpo", "dpo": {"beta": 0.2}, "batch": {"packing": False}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_run_ends_as_one_that_never_stopped(bases, data, tmp_path, case):
    made = recipe(**CASES[case], precision={"dtype": "bf16"}, state_every=2, checkpoint_every=3)
    written = made.to_json() | {"data": [made.to_json()["data"][0] | {"path": PATH}]}
    whole, parts = (Site(bases("llama"), data[made.method], tmp_path / name) for name in ("whole", "parts"))
    result = whole.train(written)
    kind = "model" if made.tuning.type == "full" else "adapter"
    assert (result["product"]["kind"], result["steps"]) == (kind, 6)
    step = random.Random(case).randrange(1, 6)  # noqa: S311 - where it stops
    assert parts.train(written, stop_after=step)["steps"] == step
    resumed = parts.train(written, resume=True)
    assert (resumed["resumed_from"], resumed["run"]) == (step, result["run"])
    assert parts.product(kind) == whole.product(kind)
    assert parts.lines("states.jsonl") == whole.lines("states.jsonl")
