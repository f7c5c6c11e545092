"""Quantizing at the command line: the table before the choice, the smallest that keeps a floor, calibration, a model that embeds."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from scripts import tinyembedders, tinymodels
from tests.suites import head

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
]  # other makers' libraries warn as they like

TEXTS = [f"Form {n} costs {n * 7} crowns and is due within {n} days." for n in range(1, 40)]
WEIGHTS = ["model.safetensors", "config.json", "generation_config.json"]
TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
POOLING = ["1_Pooling/config.json", "modules.json"]
PARTS = [
    ("base", "quill", WEIGHTS),
    ("tokenizer", "quill", TOKENIZER),
    ("base", "vane", [*WEIGHTS, *POOLING]),
    ("tokenizer", "vane", TOKENIZER),
    ("suite", "quiz", ["suite.toml", "items.jsonl"]),
]
LABEL = '[artefact.label]\nlevel = "{level}"\ncompartments = []\nzones = ["site"]\n'


def publish(press, folder: Path) -> Path:
    """Build a medium of a tiny Llama, a tiny model that embeds, and a suite that is labelled higher."""
    tinymodels.make(folder / "quill", "llama", TEXTS, hidden=256, layers=1, vocabulary=320)
    tinyembedders.make_encoder(folder / "vane", TEXTS)
    (folder / "quiz").mkdir()
    (folder / "quiz" / "suite.toml").write_text(head("quiz", {"one": 'metric = "choice"\nprimary = true'}))
    items = [
        {"id": str(at), "section": "one", "messages": [{"role": "user", "content": text}], "choices": ["yes", "no"], "answer": "no"}
        for at, text in enumerate(TEXTS)
    ]  # fmt: skip
    (folder / "quiz" / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
    text = (
        'schema = "holdfast.medium/1"\nname = "quill"\nversion = "1"\ndescription = "Tiny models."\n'
        'publisher = "Test works"\n'
    )
    for kind, name, files in PARTS:
        there = [file for file in files if (folder / name / file).exists()]
        text += f'[[artefact]]\nkind = "{kind}"\nname = "{name}"\nversion = "1"\npath = "{name}"\n'
        text += f'files = {json.dumps(there)}\nlicence = "Apache-2.0"\n'
        text += LABEL.format(level="internal" if kind == "suite" else "public")
    (folder / "recipe.toml").write_text(text)
    return press.build(folder, folder / "medium")


def kinds(found) -> list[tuple[str, str | None]]:
    return [(one["kind"], one["meta"].get("quantization")) for one in found["artefacts"]]


def test_a_model_is_measured_chosen_and_kept(place, press, tmp_path):
    medium = publish(press, tmp_path / "press")
    place.found(medium)
    place.told("up")
    inserted = place.insert(medium)
    request = place.told("bundle", "import", str(inserted), who="alice")["request"]
    place.told("bundle", "admit", str(request), who="bob")
    shutil.rmtree(tmp_path / "press")

    # The smallest that keeps the floor, calibrated on the suite: its label and its digest are the file's.
    asked = ("model", "quantize", "quill", "--type", "q8_0", "--type", "q4_k_m")
    found = place.told(*asked, "--floor-kl", "50", "--floor-top1", "0", "--calibration", "quiz", who="olga")
    assert kinds(found) == [("gguf", "f16"), ("report", None), ("gguf", "q4_k_m")]
    assert found["chosen"] == "q4_k_m"
    assert found["fidelity"]["q8_0"]["kl"] < found["fidelity"]["q4_k_m"]["kl"]
    f16, report, kept = found["artefacts"]
    levels = [one["label"]["level"] for one in (f16, kept, report)]
    assert levels == ["public", "internal", "internal"]
    lineage = place.told("model", "lineage", kept["digest"], who="aude")
    made_of = {one["kind"]: one["digest"] for one in lineage}
    assert kept["meta"]["calibration"] == made_of["suite"]
    assert kept["meta"]["base"] == made_of["base"]
    assert kept["meta"]["within_floor"] is True
    assert {file["path"] for file in report["files"]} == {"table.json", "importance.gguf"}

    # The table alone keeps nothing but itself; what was converted before is used again.
    shown = place.told(*asked, "--override", "blk.*.ffn_*=q6_k", "--table", "--suite", "quiz", who="olga")
    assert kinds(shown) == [("report", None)]
    assert shown["fidelity"]["f16_max_logit_diff"] == found["fidelity"]["f16_max_logit_diff"]
    assert 0 <= shown["fidelity"]["q8_0"]["score"] <= 1

    # Below every floor: refused with the table, which is on the record.
    error = place.refused(
        "model", "quantize", "quill", "--type", "q8_0", "--memory", "1KB", who="olga", code=1
    )
    assert error["key"] == "quantize.none-keeps"
    assert [one.partition(":")[0] for one in error["fields"]["table"]] == ["q8_0"]
    log = place.told("audit", "log", who="aude")["events"]
    failed = [one for one in log if one["action"] == "model.quantize.failed"]
    assert "q8_0" in failed[-1]["params"]["fidelity"]

    for wrong, key in (
        (("--type", "iq1_s"), "quantize.uncalibrated"),
        (("--override", "none=q8_0"), "quantize.override"),
        (("--override", "none"), "quantize.override"),
        (("--calibration", "nobody"), "artefact.unknown"),
    ):
        assert place.refused("model", "quantize", "quill", *wrong, who="olga", code=1)["key"] == key

    # A model that embeds is compared by its embeddings.
    vane = place.told("model", "quantize", "vane", "--type", "q8_0", who="olga")
    assert vane["fidelity"]["f16_min_cosine"] > 0.999
    assert vane["fidelity"]["q8_0"]["cosine"] > 0.9
    assert [one["meta"].get("embeds") for one in vane["artefacts"] if one["kind"] == "gguf"] == [64, 64]
