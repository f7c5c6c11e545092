"""An adapter merged into its base: the same model as peft's, the same bytes each time, and nothing else."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from scripts import tinymodels
from scripts.families import Quiet

from holdfast.errors import UntrustedBundle, UntrustedRequest, VerificationFailed
from holdfast.weights import spec
from holdfast.workers import merge

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
]  # other makers' libraries warn as they like

TEXTS = [f"Form {n} costs {n * 7} crowns and is due within {n} days; don't be late." for n in range(1, 40)]
QUERY = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    tinymodels.make(folder / "float32", "qwen3", TEXTS, tied=False, steps=4)
    tinymodels.make(folder / "bfloat16", "llama", TEXTS, tied=False, steps=4, dtype="bfloat16", shard="200KB")
    tinymodels.make(folder / "tied", "qwen3", TEXTS, tied=True, steps=4)
    return {path.name: path for path in folder.iterdir()}


def adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """Write an adapter with random matrices."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(4)
    chosen = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "init_lora_weights": False} | settings
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(task_type="CAUSAL_LM", **chosen),
    )
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def merged(base: Path, learnt: Path, out: Path, **order: Any) -> dict[str, Any]:
    out.mkdir()
    asked = {"model": str(base), "adapter": str(learnt), "out": str(out), "probe": TEXTS, "threads": 1}
    return merge.main(Quiet(), asked | order)  # type: ignore[arg-type]  # stands where the channel stands


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: one for path in folder.glob("*.safetensors") for name, one in load_file(path).items()}


@pytest.mark.parametrize(
    "settings", [{}, {"use_rslora": True}, {"use_dora": True}, {"r": 3, "use_dora": True}]
)
def test_the_merged_weights_are_those_of_peft(bases, tmp_path, settings):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = bases["float32"]
    learnt = adapter(base, tmp_path / "adapter", **settings)
    result = merged(base, learnt, tmp_path / "out")
    likeness = result["likeness"]
    assert likeness["kl"] < 1e-8
    assert likeness["max_logit_diff"] < 1e-4
    assert likeness["adapter_kl"] > 0.001
    assert likeness["tokens"] == spec.PROBE_TOKENS
    whole = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(learnt)
    )
    wanted = whole.merge_and_unload().state_dict()
    found = tensors(tmp_path / "out")
    assert found.keys() == tensors(base).keys()
    for name, value in found.items():
        assert torch.allclose(value, wanted[name], atol=1e-6), name
    files = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert result["files"] == files
    assert set(files) == {"model.safetensors", "config.json", "generation_config.json"}


def test_element_types_and_shards_are_kept_in_bounds_and_bytes_repeat(bases, tmp_path):
    import torch

    base = bases["bfloat16"]
    learnt = adapter(base, tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    result = merged(base, learnt, tmp_path / "out", shard=65536)
    assert merged(base, learnt, tmp_path / "again", shard=65536) == result
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    before, after = tensors(base), tensors(tmp_path / "out")
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    touched = {name for name in before if not torch.equal(before[name], after[name])}
    assert touched == {name for name in before if "q_proj" in name or "down_proj" in name}
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(shards) > 2
    single = max(value.nbytes for value in after.values())
    assert max(path.stat().st_size for path in shards) < max(65536, single) + 4096
    index = json.loads((tmp_path / "out" / spec.INDEX).read_text())
    assert index["weight_map"].keys() == after.keys()
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in after.values())
    # bf16 rounding is all that is lost, and it is told beside what the adapter does.
    assert 0 < result["likeness"]["kl"] < spec.MAX_SHARE * result["likeness"]["adapter_kl"]


def test_a_head_that_was_tied_is_written_apart_if_the_adapter_changed_it(bases, tmp_path):
    import torch

    base = bases["tied"]
    assert "lm_head.weight" not in tensors(base)
    learnt = adapter(base, tmp_path / "adapter", target_modules=["lm_head", "q_proj"])
    result = merged(base, learnt, tmp_path / "out")
    assert result["likeness"]["max_logit_diff"] < 1e-4
    found = tensors(tmp_path / "out")
    assert torch.equal(found["model.embed_tokens.weight"], tensors(base)["model.embed_tokens.weight"])
    assert not torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == json.loads((base / "config.json").read_text()) | {"tie_word_embeddings": False}


def test_a_tied_model_stays_tied_if_the_head_is_untouched(bases, tmp_path):
    base = bases["tied"]
    merged(base, adapter(base, tmp_path / "adapter"), tmp_path / "out")
    assert "lm_head.weight" not in tensors(tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == (base / "config.json").read_bytes()


@pytest.fixture(scope="module")
def learnt(bases, tmp_path_factory) -> Path:
    return adapter(bases["float32"], tmp_path_factory.mktemp("learnt") / "adapter", target_modules=["q_proj"])


def _config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _weights(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    held = {name: value.clone() for name, value in load_file(path).items()}
    change(held)
    save_file({name: value.contiguous() for name, value in held.items()}, path, metadata={"format": "pt"})


A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
B = A.replace("lora_A", "lora_B")


def _rename(held: dict[str, Any], name: str) -> None:
    held[name] = held.pop(A)
    held[name.replace("lora_A", "lora_B")] = held.pop(B)


HOSTILE = {
    "modules to save": (lambda folder: _config(folder, modules_to_save=["lm_head"]), "merge.adapter"),
    "patterns": (lambda folder: _config(folder, alpha_pattern={"q_proj": 3}), "merge.adapter"),
    "a bias": (lambda folder: _config(folder, bias="all"), "merge.adapter"),
    "dora without magnitudes": (lambda folder: _config(folder, use_dora=True), "merge.adapter"),
    "another inner size": (
        lambda folder: _weights(folder, lambda held: held.update({A: held[A][:, :32]})), "merge.adapter",
    ),
    "another outer size": (
        lambda folder: _weights(folder, lambda held: held.update({B: held[B][:32]})), "merge.adapter",
    ),
    "no such layer": (
        lambda folder: _weights(folder, lambda held: _rename(held, A.replace("layers.0", "layers.9"))), "merge.adapter",
    ),
    "the embedding": (
        lambda folder: _weights(folder, lambda held: _rename(held, "base_model.model.model.embed_tokens.lora_A.weight")),
        "merge.adapter",
    ),
    "half a pair": (lambda folder: _weights(folder, lambda held: held.pop(B)), "formats.mismatch"),
    "another rank": (lambda folder: _config(folder, r=5), "formats.mismatch"),
    "not a number": (
        lambda folder: _weights(folder, lambda held: held[B].fill_(float("nan"))), "weights.not-finite",
    ),
    "too large to merge": (
        lambda folder: _weights(folder, lambda held: (held[A].fill_(1e30), held[B].fill_(1e30))), "weights.not-finite",
    ),
    "no configuration": (lambda folder: (folder / "adapter_config.json").unlink(), "formats.file-missing"),
}  # fmt: skip


@pytest.mark.parametrize("damage", sorted(HOSTILE))
def test_an_adapter_that_cannot_be_merged_is_refused(bases, learnt, tmp_path, damage):
    folder = tmp_path / "adapter"
    shutil.copytree(learnt, folder)
    change, key = HOSTILE[damage]
    change(folder)
    with pytest.raises(UntrustedBundle) as caught:
        merged(bases["float32"], folder, tmp_path / "out")
    assert caught.value.key == key
    assert caught.value.remedy


def test_a_merged_model_that_is_not_like_its_parts_is_refused(bases, tmp_path, monkeypatch):
    from holdfast.weights.lora import Adapter

    learnt = adapter(bases["float32"], tmp_path / "adapter")
    right = Adapter.merged
    monkeypatch.setattr(Adapter, "merged", lambda self, target, weight: right(self, target, weight) * 1.5)
    with pytest.raises(VerificationFailed) as caught:
        merged(bases["float32"], learnt, tmp_path / "out")
    assert caught.value.key == "merge.unlike"


@pytest.mark.parametrize(
    "change",
    [
        {"model": "in"},
        {"adapter": 7},
        {"out": None},
        {"threads": 0},
        {"threads": True},
        {"shard": 1},
        {"probe": [1]},
    ],
)
def test_a_malformed_order_is_refused(tmp_path, change):
    order = {"model": str(tmp_path), "adapter": str(tmp_path), "out": str(tmp_path)}
    with pytest.raises(UntrustedRequest) as caught:
        merge.main(Quiet(), order | change)  # type: ignore[arg-type]  # as wrong as an order may be
    assert caught.value.key == "merge.order"
