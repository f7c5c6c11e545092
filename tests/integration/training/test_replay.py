"""A recorded run repeated: compared before a model is loaded, and at every state hash."""

from __future__ import annotations

import shutil

import pytest
from tests.integration.training.kit import FACTS, RECIPE, Site, changed, conversations, prepared_folder

from holdfast.errors import VerificationFailed

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("libraries")]


def expected(run: dict, states: list[dict], **more) -> dict:
    recorded = {
        "environment": run["manifest"]["environment"],
        "states": [[one["step"], one["hash"]] for one in states],
        "anyway": False,
    }
    return recorded | more


TEXTS = [{"text": f"{asked} It is {answer}. " * 3} for asked, answer in FACTS]
PAIRS = [{"prompt": asked, "chosen": answer, "rejected": "I do not know."} for asked, answer in FACTS]
LORA = RECIPE["tuning"]
CASES = {
    "sft-fp32": ("messages", conversations(), changed(precision={"dtype": "fp32"})),
    "cpt-full": (
        "text",
        TEXTS,
        changed(method="cpt", loss=None, batch={"accumulation": 2}) | {"tuning": {"type": "full"}},
    ),
    "cpt-fp32": ("text", TEXTS, changed(method="cpt", loss=None, precision={"dtype": "fp32"})),
    "dpo-dora": (
        "preference",
        PAIRS,
        changed(method="dpo", loss=None, dpo={"beta": 0.1}, batch={"packing": False})
        | {"tuning": LORA | {"type": "dora"}},
    ),
    "dpo-full-fp32": (
        "preference",
        PAIRS,
        changed(
            method="dpo", loss=None, dpo={"beta": 0.1}, batch={"packing": False}, precision={"dtype": "fp32"}
        )
        | {"tuning": {"type": "full"}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_method_goes_on_and_repeats_to_the_bit(base, tmp_path, case):
    """Stopped and resumed, then replayed from its first step to its last, against the recorded state hashes."""
    form, rows, recipe = CASES[case]
    recipe = {name: part for name, part in recipe.items() if part is not None}
    data = prepared_folder(tmp_path / "data", form, rows[:5], held_out=rows[5:])
    site = Site(base, data, tmp_path / "out")
    stopped = site.train(recipe, stop_after=5)
    assert (stopped["steps"], stopped["finished"]) == (5, False)
    first = site.train(recipe, resume=True)
    folder = first["product"]["folder"]
    in_parts, states = site.product(folder), site.lines("states.jsonl")
    shutil.rmtree(site.out / folder)
    again = site.train(recipe, expected=expected(first, states))
    assert (again["finished"], again["diverged"], again["differences"]) == (True, None, [])
    assert site.product(folder) == in_parts
    assert again["held_out"] == first["held_out"]
    assert again["final_loss"] == first["final_loss"]


def test_a_replay_elsewhere_is_refused_before_anything_is_read(site, uninterrupted):
    run, _, states = uninterrupted
    there = run["manifest"]["environment"]
    there = there | {"threads": 2, "packages": there["packages"] | {"torch": "2.0.0"}}
    with pytest.raises(VerificationFailed) as caught:
        site.train(expected=expected(run, states, environment=there))
    assert caught.value.key == "train.environment"
    here = run["manifest"]["environment"]["packages"]["torch"]
    assert caught.value.fields["differences"] == [
        f"packages.torch: the run had 2.0.0, here it is {here}.",
        "threads: the run had 2, here it is 1.",
    ]
    assert [step[0] for step in site.recorder.steps] == ["loading the training libraries"]
    assert site.files() == set()


def test_a_replay_anyway_says_what_differs_and_compares_on(site, uninterrupted):
    run, product, _ = uninterrupted
    there = run["manifest"]["environment"] | {"python": "3.10.0"}
    # What a run there would have recorded: the chain begins with the digest of a manifest that names that environment.
    first = site.train(expected=expected(run, [], environment=there, anyway=True))
    states = site.lines("states.jsonl")
    assert states != uninterrupted[2]
    assert len(first["differences"]) == 1
    again = site.train(expected=expected(run, states, environment=there, anyway=True))
    assert again["finished"]
    assert site.product() == product


def test_a_replay_that_diverges_stops_and_says_where(site, uninterrupted):
    run, _, states = uninterrupted
    assert [one["step"] for one in states] == [2, 4, 6, 8, 10]
    states = [one | {"hash": "sha512:" + "0" * 128} if one["step"] >= 6 else one for one in states]
    result = site.train(expected=expected(run, states))
    assert result["diverged"] == {"after": 4, "at": 6}
    assert (result["finished"], result["product"], result["steps"]) == (False, None, 6)
    assert result["differences"] == []


def test_weights_that_were_touched_are_noticed_at_the_next_hash(site, uninterrupted, monkeypatch):
    import torch

    from holdfast.training import trainer

    run, _, states = uninterrupted
    step = trainer.RunTrainer.training_step

    def touched(self, *arguments):
        if self.state.global_step == 6:
            with torch.no_grad():
                next(iter(self.tuned_parameters().values())).view(-1)[0] += 1e-6
        return step(self, *arguments)

    monkeypatch.setattr(trainer.RunTrainer, "training_step", touched)
    result = site.train(expected=expected(run, states))
    assert result["diverged"] == {"after": 6, "at": 8}


def test_everything_of_a_state_is_in_its_hash():
    import torch

    from holdfast.training import statehash

    start = statehash.first("sha512:" + "1" * 128)
    one = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    found = {
        statehash.following(before, step=step, tensors=tensors, loss=loss)
        for before, step, tensors, loss in (
            (start, 2, one, 0.5),
            (statehash.first("sha512:" + "2" * 128), 2, one, 0.5),
            (start, 3, one, 0.5),
            (start, 2, one, 0.5000000000000001),
            (start, 2, {"a": one["a"], "c": one["b"]}, 0.5),
            (start, 2, {"a": one["a"].view(3, 2), "b": one["b"]}, 0.5),
            (start, 2, {"a": one["a"].to(torch.int32), "b": one["b"]}, 0.5),
            (start, 2, {"a": one["a"], "b": torch.tensor([1.0, 1.0, 1.0, -1.0])}, 0.5),
            (start, 2, {"a": one["a"]}, 0.5),
        )
    }
    assert len(found) == 9
    backwards = dict(reversed(one.items()))
    assert statehash.following(start, step=2, tensors=backwards, loss=0.5) in found
    assert (
        statehash.following(
            start, step=2, tensors={"a": one["a"].t().contiguous().t(), "b": one["b"]}, loss=0.5
        )
        in found
    )
