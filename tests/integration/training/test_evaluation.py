"""Evaluation of a tiny base and of what was trained on it, in transformers and as GGUF."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.integration.training.kit import FACTS, Recorder

from holdfast.errors import UntrustedBundle, UntrustedRecipe
from holdfast.workers import evaluate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("libraries")]


def run_suite(runs: list[dict], base: Path, suite: Path, out: Path, recorder: Recorder | None = None) -> dict:
    order = {
        "runs": [{"engine": "transformers", "model": str(base)} | run for run in runs],
        "suites": {"facts": str(suite)},
        "threads": 1,
        "out": str(out),
    }
    return evaluate.main(recorder or Recorder(), order)


def test_an_adapter_is_judged_beside_its_base(base, suite, learned, tmp_path):
    ran = run_suite([{"id": "before"}, {"id": "after", "adapter": str(learned)}], base, suite, tmp_path)
    assert ran["finished"]
    assert ran["pending"] == []
    assert ran["results"]["before"]["facts"]["score"] == 0.0
    assert ran["results"]["after"]["facts"]["score"] == 1.0
    assert ran["outcomes"] == ["before-facts.jsonl", "after-facts.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "after-facts.jsonl").read_text().splitlines()]
    assert [line["answer"] for line in lines] == [answer for _, answer in FACTS]


def test_an_evaluation_that_is_cancelled_says_so(base, suite, tmp_path):
    ran = run_suite([{"id": "before"}], base, suite, tmp_path, Recorder(stop_after=0))
    assert not ran["finished"]
    assert ran["results"] == {"before": {}}


def test_a_gguf_with_its_adapter_answers_as_the_original_does(base, suite, learned, tmp_path):
    from holdfast.gguf.convert import convert_adapter, convert_base

    convert_base(base, tmp_path / "f16.gguf", "tiny")
    convert_adapter(base, learned, tmp_path / "adapter.gguf")
    gguf = {"engine": "gguf", "gguf": str(tmp_path / "f16.gguf")}
    runs = [
        {"id": "base"},
        {"id": "base-gguf", **gguf},
        {"id": "adapted-gguf", **gguf, "lora": str(tmp_path / "adapter.gguf")},
    ]
    ran = run_suite(runs, base, suite, tmp_path)
    assert ran["results"]["adapted-gguf"]["facts"]["score"] == 1.0
    assert ran["results"]["base-gguf"] == ran["results"]["base"]


def test_a_file_that_is_no_gguf_is_refused(base, suite, tmp_path):
    (tmp_path / "not.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(UntrustedBundle) as caught:
        run_suite([{"id": "x", "engine": "gguf", "gguf": str(tmp_path / "not.gguf")}], base, suite, tmp_path)
    assert caught.value.key == "evaluation.gguf"


def test_more_results_than_a_message_carries_are_refused_before_a_model_is_loaded(suite, tmp_path):
    runs = [{"id": f"m{at}"} for at in range(60_000)]
    with pytest.raises(UntrustedRecipe) as caught:
        run_suite(runs, tmp_path / "nowhere", suite, tmp_path)
    assert caught.value.key == "eval.too-large"


def test_programs_wait_to_be_run(base, suite, tmp_path):
    folder = tmp_path / "suite"
    folder.mkdir()
    head = (suite / "suite.toml").read_text().replace('metric = "exact"', 'metric = "code"')
    (folder / "suite.toml").write_text(head)
    item = {
        "id": "c",
        "section": "facts",
        "messages": [{"role": "user", "content": "A program?"}],
        "tests": [{"input": "", "output": "1"}],
    }
    (folder / "items.jsonl").write_text(json.dumps(item))
    ran = run_suite([{"id": "m"}], base, folder, tmp_path)
    assert ran["pending"] == [["m", "facts"]]
    assert ran["results"]["m"]["facts"]["outcomes"] == "?"
    assert json.loads((tmp_path / "m-facts.jsonl").read_text())["correct"] is None
