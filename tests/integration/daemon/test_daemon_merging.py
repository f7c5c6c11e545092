"""Whole models at the command line: a DoRA is merged, a run of full weights stands alone, and both become GGUF files.

The base is a Qwen 3 with a tokenizer of its own, which comes in on a medium as any other.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from scripts import tinymodels

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
]  # other makers' libraries warn as they like

TEXTS = [f"Form {n} costs {n * 7} crowns and is due within {n} days." for n in range(1, 40)]
FILES = {
    "base": ["model.safetensors", "config.json", "generation_config.json"],
    "tokenizer": ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"],
}
PART = """
[[artefact]]
kind = "{kind}"
name = "quill"
version = "1"
path = "quill"
files = {files}
licence = "Apache-2.0"
[artefact.label]
level = "internal"
compartments = []
zones = ["site"]
"""


def publish(press, folder: Path) -> Path:
    """Build a medium that brings the tiny Qwen 3."""
    tinymodels.make(folder / "quill", "qwen3", TEXTS, tied=True, steps=4, dtype="bfloat16")
    text = (
        'schema = "holdfast.medium/1"\nname = "quill"\nversion = "1"\ndescription = "A tiny Qwen 3."\n'
        'publisher = "Test works"\n'
    )
    text += "".join(PART.format(kind=kind, files=json.dumps(files)) for kind, files in FILES.items())
    (folder / "recipe.toml").write_text(text)
    return press.build(folder, folder / "medium")


def test_a_dora_is_merged_and_a_full_run_stands_alone_and_both_are_served(place, press, tmp_path, texts):
    medium = publish(press, tmp_path / "press")
    place.found(medium)
    place.told("up")
    inserted = place.insert(medium)
    request = place.told("bundle", "import", str(inserted), who="alice")["request"]
    place.told("bundle", "admit", str(request), who="bob")
    shutil.rmtree(tmp_path / "press")

    plain = texts.RECIPE.replace('targets = ["q_proj"]', 'targets = ["all-linear"]')
    plain = plain.replace("learning_rate = 0.01", "learning_rate = 0.05")
    dora = plain.replace('type = "lora"', 'type = "dora"')
    run = str(place.told("train", "run", str(place.recipe(dora)), "--model", "quill", who="olga")["job"])

    # GGUF holds no DoRA: it says what to do, and that works.
    error = place.refused("model", "quantize", "quill", "--adapter", run, who="olga", code=3)
    assert error["key"] == "gguf.merge-first"
    assert "holdfast model merge" in error["remedy"]
    merged = place.told("model", "merge", "quill", "--adapter", run, who="olga")
    assert merged["likeness"]["kl"] < 0.1 * merged["likeness"]["adapter_kl"]
    (made,) = merged["artefacts"]
    parents = {
        found["kind"]: found["digest"] for found in place.told("model", "lineage", made["digest"], who="aude")
    }
    assert made["kind"] == "merged"
    assert made["label"]["level"] == "internal"
    assert made["meta"] == {
        "base": parents["base"],
        "tokenizer": parents["tokenizer"],
        "adapter": parents["adapter"],
        "run": parents["run"],
    }
    served = place.told("model", "quantize", made["name"], "--type", "q8_0", who="olga")
    assert served["fidelity"]["token_ids_equal"] is True
    assert {found["meta"]["base"] for found in served["artefacts"]} == {made["digest"]}

    whole = (
        plain[: plain.index("[tuning]")] + '[tuning]\ntype = "full"\n\n' + plain[plain.index("[optimiser]") :]
    )
    run = place.told("train", "run", str(place.recipe(whole)), "--model", "quill", who="olga")
    assert "adapter" not in run
    number = str(run["job"])
    served = place.told("model", "quantize", number, "--type", "q8_0", who="olga")
    assert {found["meta"]["base"] for found in served["artefacts"]} == {run["model"]}
    assert (
        place.refused("model", "merge", "quill", "--adapter", number, who="olga", code=1)["key"]
        == "model.no-adapter"
    )
    assert (
        place.refused("model", "merge", made["name"], "--adapter", "lesson", who="olga", code=6)["key"]
        == "merge.other-base"
    )
    assert place.refused("model", "merge", "quill", "--adapter", "lesson", who="aude", code=4)["key"]
