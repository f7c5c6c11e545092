"""A run on a tiny base: what it leaves, what it tells, what it refuses."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from tests.integration.training.kit import (
    DIGESTS,
    FACTS,
    PATH,
    RECIPE,
    Site,
    changed,
    conversations,
    prepared_folder,
)

from holdfast.errors import UntrustedRecipe
from holdfast.training import environment, spec

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("libraries")]


def test_a_run_leaves_a_product_and_its_evidence_and_nothing_else(site, uninterrupted):
    result = site.train()
    assert result["finished"]
    assert result["steps"] == 10
    assert result["product"] == {
        "kind": "adapter",
        "folder": "adapter",
        "files": ["adapter_config.json", "adapter_model.safetensors"],
    }
    beside = {name for name in site.files() if not name.startswith("checkpoints/")}
    assert beside == {
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "telemetry.jsonl",
        "states.jsonl",
    }
    # The same manifest gives the same bytes, and the same way there.
    assert result["manifest"] == uninterrupted[0]["manifest"]
    assert site.product() == uninterrupted[1]
    assert site.lines("states.jsonl") == uninterrupted[2]


def test_every_step_is_reported(done):
    site, result = done
    told = site.recorder.metrics
    assert [one["step"] for one in told] == list(range(1, 11))
    names = {"loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "eta_s", "steps"}
    assert names | {"gemm_fraction", "memory_bytes", "cpu_seconds"} <= told[-1].keys()
    assert told[-1]["tokens"] == result["tokens"]
    assert told[-1]["eta_s"] == 0.0
    assert 0 < told[-1]["gemm_fraction"] < 1
    assert told[-1]["memory_bytes"] > 10_000_000
    assert site.lines("telemetry.jsonl") == told


def test_energy_is_in_the_telemetry_and_says_how_it_is_known(site):
    site.train(changed(batch={"steps": 3}), watts_per_core=20.0)
    for line in site.lines("telemetry.jsonl"):
        assert line["joules_estimated"] == pytest.approx(20.0 * line["cpu_seconds"], abs=0.1)


def test_the_result_says_what_the_run_used(done):
    site, result = done
    assert result["tokens_per_second"] > 0
    assert 0 < result["gemm_fraction"] < 1
    assert result["gemm_peak_flops"] > 1e9
    assert result["cpu_seconds"] > 0
    assert result["peak_memory_bytes"] > 10_000_000
    held = sum(path.stat().st_size for path in site.out.rglob("*") if path.is_file())
    assert result["disk_bytes"] >= held
    assert (result["paused"], result["stopped_early"], result["diverged"]) == (None, None, None)


def test_the_fraction_of_the_peak_counts_what_the_mathematics_needs(done, base, data):
    from transformers import AutoTokenizer

    from holdfast.training import estimate, material

    result = done[1]
    shapes = (
        (64, 64),
        (64, 32),
        (64, 32),
        (64, 64),
        (64, 128),
        (64, 128),
        (128, 64),
    )  # of each of four layers
    words = json.loads((base / "config.json").read_text())["vocab_size"]
    rank = RECIPE["tuning"]["rank"]
    adapter = 4 * rank * sum(one + other for one, other in shapes)
    sizes = estimate.Sizes(
        frozen=4 * sum(one * other for one, other in shapes),
        tuned=adapter,
        head=64 * words,
        head_tuned=False,
        layers=4,
        width=64,
        trained=adapter,
    )
    plan = result["manifest"]["plan"]
    found = material.load(spec.from_json(RECIPE), {PATH: data}, AutoTokenizer.from_pretrained(base))
    work = estimate.flops(sizes, tokens=plan["tokens"], learnt=plan["learnt"], squares=found.squares)
    rate = work / plan["tokens"] * result["tokens_per_second"]
    assert result["gemm_fraction"] == pytest.approx(rate / result["gemm_peak_flops"], abs=1e-4)
    assert result["gemm_fraction"] > 2e-4


def test_state_hashes_come_every_so_many_steps_and_at_the_end(site):
    result = site.train(changed(state_every=4))
    assert [one["step"] for one in site.lines("states.jsonl")] == [4, 8, 10]
    assert site.lines("states.jsonl")[-1]["loss"] == result["final_loss"]


def test_the_manifest_names_the_software_and_the_machine(uninterrupted):
    found = uninterrupted[0]["manifest"]["environment"]
    assert found["software"]["digest"].startswith("sha512:")
    assert found["device"] == {"type": "cpu"}
    assert found["threads"] == 1
    assert environment.describe(3).threads == 3
    assert {"torch", "transformers", "peft", "trl"} <= found["packages"].keys()


def test_an_adapter_names_its_base_by_digest_and_no_path(done, base):
    site, _ = done
    config = (site.out / "adapter" / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == DIGESTS["base"]
    weights = (site.out / "adapter" / "adapter_model.safetensors").read_bytes()
    for place in (str(base), str(site.out)):
        assert place not in config
        assert place.encode() not in weights


def test_epochs_come_to_steps(site):
    batch = {"sequence_length": 64, "sequences": 5, "packing": False, "epochs": 3}
    result = site.train(RECIPE | {"batch": batch})
    plan = result["manifest"]["plan"]
    assert (plan["examples"], plan["rows"], plan["steps"], plan["rows_per_step"]) == (12, 12, 9, 5)
    assert plan["tokens"] == result["tokens"] // 3
    assert 0 < plan["learnt"] < plan["tokens"]
    assert 0 < plan["padding"] < 1


def test_an_example_longer_than_a_row_is_refused_with_its_line(site):
    with pytest.raises(UntrustedRecipe) as caught:
        site.train(changed(batch={"sequence_length": 30}))
    assert caught.value.key == "dataset.too-long"
    assert caught.value.fields["line"] == 6
    assert site.files() == set()


def test_rows_that_are_set_aside_are_told(site):
    result = site.train(changed(batch={"sequence_length": 30}), quarantine=True)
    assert [one.split(" ")[0] for one in result["quarantined"]] == ["data/facts.jsonl:6:"]
    assert result["manifest"]["plan"]["set_aside"] == 1
    assert result["finished"]


def test_a_loss_that_is_no_number_stops_the_run(site, base, tmp_path):
    from safetensors.torch import load_file, save_file

    site.base = shutil.copytree(base, tmp_path / "poisoned")
    weights = load_file(site.base / "model.safetensors")
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, site.base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UntrustedRecipe) as caught:
        site.train()
    assert caught.value.key == "recipe.diverged"


def test_more_threads_than_processors_are_refused_before_anything_is_loaded(site):
    threads = len(os.sched_getaffinity(0)) + 1
    with pytest.raises(UntrustedRecipe) as caught:
        site.train(changed(precision={"threads": threads}), threads=threads)
    assert caught.value.key == "recipe.threads"
    assert caught.value.fields["processors"] == threads - 1
    assert site.recorder.steps == []


def test_held_out_text_is_foretold_better_afterwards(base, tmp_path):
    data = prepared_folder(tmp_path / "data", "messages", conversations(), held_out=conversations(FACTS[:2]))
    site = Site(base, data, tmp_path / "out")
    learning = changed(optimiser={"learning_rate": 0.01}, tuning={"dropout": 0.0}, batch={"steps": 30})
    result = site.train(learning)
    found = result["held_out"]["data/facts.jsonl"]
    assert 0 < found["after"] < found["before"] / 2
    # Measuring moves no bits.
    plain = Site(base, prepared_folder(tmp_path / "plain", "messages", conversations()), tmp_path / "other")
    plain.train(learning)
    assert plain.product() == site.product()


def test_bits_per_byte_are_those_of_the_model(base, tmp_path):
    import math

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    data = prepared_folder(tmp_path / "data", "messages", conversations(), held_out=conversations(FACTS[:1]))
    site = Site(base, data, tmp_path / "out")
    result = site.train(changed(precision={"dtype": "fp32"}, batch={"steps": 3}))
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    asked, answer = FACTS[0]
    head = tokenizer.encode(f"<|user|>{asked}<|end|><|assistant|>", add_special_tokens=False)
    ids = head + tokenizer.encode(f"{answer}<|end|>", add_special_tokens=False)
    with torch.inference_mode():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    bits = -sum(logs[at - 1, ids[at]].item() for at in range(len(head), len(ids))) / math.log(2)
    assert result["held_out"]["data/facts.jsonl"]["before"] == pytest.approx(bits / len(answer), rel=1e-4)


def test_what_goes_on_beside_a_run_moves_no_random_number(libraries):  # noqa: ARG001 - prepared first
    import random

    import numpy as np
    import torch

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002, S311 - what is guarded

    torch.manual_seed(5)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - as above
    expected = draw()
    random.setstate(before[0])
    np.random.set_state(before[1])  # noqa: NPY002 - as above
    torch.set_rng_state(before[2])
    with environment.apart():
        draw()
    assert draw() == expected


def test_recipes_of_these_tests_are_what_a_person_may_write():
    assert spec.from_json(RECIPE).name == "tiny"
