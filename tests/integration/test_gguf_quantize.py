"""Quantization of a tiny model: every type, the importance matrix, overrides, and what is kept."""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scripts import families, tinymodels
from tests.suites import head

from holdfast.artefact import Kind
from holdfast.errors import HoldfastError, UntrustedRecipe, UntrustedRequest
from holdfast.formats import gguf, inspection
from holdfast.gguf import quantizations, spec
from holdfast.gguf.choice import Floor
from holdfast.workers import convert, quantize

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
]  # other makers' libraries warn as they like

ROWS = families.conversations()[:40]
TEXTS = families.texts(ROWS)
SOURCE = "sha512:" + "a" * 128
FLOOR = Floor().to_json()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny Llama, its f16 file and a data set."""
    folder = tmp_path_factory.mktemp("quantize")
    before = dict(os.environ)
    tinymodels.make(folder / "base", "llama", TEXTS, hidden=256, layers=1, vocabulary=320, steps=20)
    families.write_data(folder / "data", ROWS)
    (folder / "f16").mkdir()
    order = {"task": "base", "model": str(folder / "base"), "probe": TEXTS, "out": str(folder / "f16")}
    convert.main(families.Quiet(), order)
    yield SimpleNamespace(
        folder=folder, base=folder / "base", f16=folder / "f16" / "f16.gguf", data=folder / "data"
    )
    os.environ.clear()
    os.environ.update(before)


def work(made, out: Path, types, *, keep="all", calibrated=False, channel=None, **more):
    out.mkdir(exist_ok=True)
    order = {
        "f16": str(made.f16), "out": str(out), "types": [*types], "floor": FLOOR, "keep": keep, "probe": TEXTS, "threads": 1,
    }  # fmt: skip
    if calibrated:
        order |= {"calibration": str(made.data), "source": SOURCE}
    return quantize.main(channel or families.Quiet(), order | more)


def header(path: Path) -> gguf.Header:
    data = path.read_bytes()
    return gguf.parse(lambda at, count: data[at : at + count], len(data), path.name)


def test_every_type_is_made_read_by_our_reader_and_measured(made, tmp_path):
    names = [name for name in quantizations.NAMES if name != "f16"]
    found = work(made, tmp_path / "out", names, calibrated=True)
    table = found["table"]
    assert [*table] == ["f16", *names]
    assert found["kept"] == names
    for name in names:
        row, path = table[name], tmp_path / "out" / f"{name}.gguf"
        assert row["size"] == path.stat().st_size
        assert row["tokens"] == table["q8_0"]["tokens"] > 200
        assert row["kl"] >= 0
        assert 0 <= row["top1"] <= 1
        assert row["prefill"] > 0
        assert row["decode"] > 0
        assert header(path).values["general.file_type"].data == quantizations.find(name).file_type
        types = {one.type.lower() for one in header(path).tensors}
        assert quantizations.find(name).tensor in types or name in {"mxfp4_moe", "iq2_s"}
    assert (
        table["f32"]["kl"]
        < table["q8_0"]["kl"]
        < table["q4_k_m"]["kl"]
        < table["q2_k"]["kl"]
        < table["q1_0"]["kl"]
    )
    assert (
        table["q2_k"]["bits_per_weight"]
        < table["q4_k_m"]["bits_per_weight"]
        < 8
        < table["q8_0"]["bits_per_weight"]
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.gguf" for name in names} | {
        "importance.gguf"
    }


def test_names_and_numbers_are_those_of_the_library():
    from llama_cpp import llama_cpp

    for one in quantizations.ALL:
        assert getattr(llama_cpp, f"LLAMA_FTYPE_{'ALL' if one.name == 'f32' else 'MOSTLY'}_{one.name.upper()}", one.file_type) == one.file_type  # fmt: skip


def test_the_importance_matrix_is_that_of_a_plain_computation(made, tmp_path):
    """The mean squared input of each column, as hooks on transformers' linear layers see it on the same tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    from holdfast.gguf import calibration, fidelity
    from holdfast.gguf.model import GgufModel

    found = work(made, tmp_path / "out", ["q4_0"], calibrated=True)
    texts = calibration.read(made.data).calibrating
    with GgufModel(made.f16, 1) as model:
        chunks = fidelity.chunks(model.token_ids, model.context, texts, 32_768)
    assert found["importance"] == sum(len(one) for one in chunks if len(one) >= 16)
    reference = AutoModelForCausalLM.from_pretrained(made.base, dtype=torch.float32)
    sums: dict[str, torch.Tensor] = {}

    def hook(name):
        def seen(_module, inputs):
            squares = inputs[0].double().square().sum(dim=(0, 1))
            sums[name] = sums[name] + squares if name in sums else squares

        return seen

    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    for theirs, ours in names.items():
        module = reference.get_submodule(f"model.layers.0.{theirs}")
        module.register_forward_pre_hook(hook(f"blk.0.{ours}.weight"))
    with torch.inference_mode():
        for chunk in chunks:
            if len(chunk) >= 16:
                reference(torch.tensor([chunk]))
    path = tmp_path / "out" / "importance.gguf"
    written = header(path)
    data = path.read_bytes()
    at = len(data) - sum(one.extent for one in written.tensors)
    values = {}
    for one in written.tensors:
        values[one.name] = np.frombuffer(data, "<f4", one.size // 4, at)
        at += one.extent
    assert written.values["general.type"].data == "imatrix"
    assert written.values["imatrix.datasets"].data == (SOURCE,)
    assert {name.removesuffix(".in_sum2") for name in values if name.endswith(".in_sum2")} == set(sums)
    for name, wanted in sums.items():
        ours = values[f"{name}.in_sum2"] / values[f"{name}.counts"]
        np.testing.assert_allclose(ours, wanted.numpy() / found["importance"], rtol=0.02)


def test_importance_changes_the_file_and_threads_do_not(made, tmp_path):
    from holdfast.gguf.quantize import quantize as run

    work(made, tmp_path / "plain", ["q4_k_m"])
    work(made, tmp_path / "calibrated", ["q4_k_m"], calibrated=True)
    run(made.f16, tmp_path / "two.gguf", "q4_k_m", 2)
    plain = (tmp_path / "plain" / "q4_k_m.gguf").read_bytes()
    assert plain == (tmp_path / "two.gguf").read_bytes()
    assert plain != (tmp_path / "calibrated" / "q4_k_m.gguf").read_bytes()


def test_overrides_give_tensors_types_of_their_own(made, tmp_path):
    overrides = ["blk.*.ffn_down.weight=q8_0", "blk.0.ffn_*.weight=q6_k"]
    work(made, tmp_path / "out", ["q4_k_m"], overrides=overrides)
    types = {one.name: one.type for one in header(tmp_path / "out" / "q4_k_m.gguf").tensors}
    assert (types["blk.0.ffn_down.weight"], types["blk.0.ffn_up.weight"]) == ("Q8_0", "Q6_K")
    assert types["blk.0.attn_q.weight"] == "Q4_K"


@pytest.mark.parametrize(
    ("types", "more", "key"),
    [
        (["q4_k_m"], {"overrides": ["blk.9.*=q8_0"]}, "quantize.override"),
        (["q4_k_m"], {"overrides": ["*norm*=q8_0"]}, "quantize.override"),
        (["bf16"], {"overrides": ["blk.0.ffn_up.weight=q8_0"]}, "quantize.override"),
        (["iq2_xxs"], {}, "quantize.uncalibrated"),
        (["q9"], {}, "quantize.type"),
        ([], {}, "quantize.order"),
        (["q4_0"], {"floor": {"kl": float("nan"), "top1": 0, "cosine": 0}}, "quantize.order"),
        (["q4_0"], {"keep": "some"}, "quantize.order"),
        (["q4_0"], {"unknown": 1}, "quantize.order"),
    ],
)
def test_what_can_not_be_done_is_refused(made, tmp_path, types, more, key):
    with pytest.raises(UntrustedRequest) as caught:
        work(made, tmp_path / "out", types, **more)
    assert caught.value.key == key


def test_the_smallest_that_keeps_the_floor_is_kept_alone(made, tmp_path):
    types = ["q8_0", "q6_k", "q2_k"]
    shown = work(made, tmp_path / "shown", types, keep="none")
    assert shown["kept"] == []
    assert [*(tmp_path / "shown").iterdir()] == []
    kl = {name: shown["table"][name]["kl"] for name in types}
    floor = {"kl": (kl["q6_k"] + kl["q2_k"]) / 2, "top1": 0.0, "cosine": 0.0}
    found = work(made, tmp_path / "out", types, keep="chosen", floor=floor)
    assert found["kept"] == [found["chosen"]] == ["q6_k"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["q6_k.gguf"]


def test_nothing_is_kept_where_none_keeps_the_floor(made, tmp_path):
    found = work(made, tmp_path / "out", ["q8_0", "q2_k"], keep="chosen", memory=1000)
    assert (found["kept"], found["chosen"]) == ([], None)
    assert set(found["table"]) == {"f16", "q8_0", "q2_k"}
    assert not [*(tmp_path / "out").glob("*.gguf")]


def test_a_suite_is_put_to_each_type(made, tmp_path):
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "suite.toml").write_text(head("quiz", {"one": 'metric = "choice"\nprimary = true'}))
    items = [
        {
            "id": str(at),
            "section": "one",
            "messages": row["messages"][:-1],
            "choices": ["yes", "no"],
            "answer": "yes",
        }
        for at, row in enumerate(ROWS[:4])
    ]
    (suite / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
    found = work(made, tmp_path / "out", ["q8_0"], keep="none", suite=str(suite), model=str(made.base))
    assert {name: row["score"] for name, row in found["table"].items()} == {"f16": pytest.approx(0.5, abs=0.5), "q8_0": pytest.approx(0.5, abs=0.5)}  # fmt: skip


def test_a_cancelled_quantization_says_so(made, tmp_path):
    channel = families.Quiet()
    channel.cancelled = True
    assert work(made, tmp_path / "out", ["q8_0"], channel=channel) == {"finished": False}


def test_a_data_set_without_rows_to_hold_out_or_damaged_is_refused(made, tmp_path):
    few = tmp_path / "few"
    families.write_data(few, ROWS[:4])
    with pytest.raises(UntrustedRecipe) as caught:
        work(made, tmp_path / "out", ["q8_0"], calibration=str(few))
    assert caught.value.key == "quantize.calibration"
    (few / "rows.jsonl").write_bytes(b"{")
    with pytest.raises(UntrustedRecipe):
        work(made, tmp_path / "out", ["q8_0"], calibration=str(few))
    shutil.rmtree(few)
    with pytest.raises(UntrustedRecipe):
        work(made, tmp_path / "out", ["q8_0"], calibration=str(few))


@pytest.mark.parametrize("cut", [lambda data: data[:-40], lambda _: b"GGUF", lambda data: data + b"\0" * 32])
def test_a_damaged_source_is_refused_before_llama_cpp_sees_it(made, tmp_path, cut):
    broken = tmp_path / "f16.gguf"
    broken.write_bytes(cut(made.f16.read_bytes()))
    with pytest.raises(HoldfastError) as caught:
        work(made, tmp_path / "out", ["q8_0"], f16=str(broken))
    assert caught.value.key.startswith("formats.")


def test_what_is_measured_was_not_calibrated_on(made):
    from holdfast.gguf import calibration

    found = calibration.read(made.data)
    assert len(found.held_out) == len(ROWS) // 5
    assert len(found.calibrating) == len(ROWS) - len(found.held_out)
    assert not {*found.calibrating} & {*found.held_out}


def test_every_kept_file_would_come_in_on_a_medium(made, tmp_path):
    work(made, tmp_path / "out", ["q3_k_s"], calibrated=True)
    path = tmp_path / "out" / "q3_k_s.gguf"
    data = path.read_bytes()
    found = inspection.inspect(Kind.GGUF, {path.name: len(data)}, lambda _, at, count: data[at : at + count])
    assert found.refusals == []
    assert spec.F16 not in found.facts["types"]
