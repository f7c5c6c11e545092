"""GGUF files that upstream's converters write of the known families are accepted, and llama.cpp computes with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.benign import models

from holdfast.artefact import Kind
from holdfast.formats import inspection

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
]  # other makers' libraries warn as they like


PIECES = {"gemma3", "mistral", "phi3"}  # their tokenizers are SentencePiece's, written as byte pairs


def convert(folder: Path, target: Path, *, pieces: bool) -> None:
    """Convert as ``gguf.convert`` does, which knows fewer architectures."""
    from holdfast.gguf.convert import _enter_upstream

    _enter_upstream()
    import gguf
    import torch
    from conversion import get_model_class

    (architecture,) = json.loads((folder / "config.json").read_text())["architectures"]
    upstream = get_model_class(architecture)

    class Converter(upstream):
        model_arch = upstream.model_arch

        def set_vocab(self):
            if pieces:
                self._set_vocab_llama_hf()
            else:
                self._set_vocab_gpt2()

        def get_vocab_base_pre(self, _):
            return "qwen2"

    with torch.inference_mode():
        converter = Converter(folder, gguf.LlamaFileType.MOSTLY_F16, target, model_name="tiny")
        converter.write()
        converter.gguf_writer.close()


@pytest.mark.parametrize("family", sorted(models.FAMILIES))
def test_a_converted_model_of_each_family_is_accepted(family, tmp_path, monkeypatch):
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.quantize import quantize

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    base, made = tmp_path / "base", tmp_path / f"{family}.gguf"
    pieces = family in PIECES
    settings = {"hidden_size": 32, "intermediate_size": 128}
    if pieces:  # this way no rows are added for the pieces that are missing
        settings["vocab_size"] = len(models.wrapped(models.TOKENIZERS[models.FAMILIES[family][0]]()))
    if family == "phi":  # the older Phis have as many key-value heads as heads
        settings["num_key_value_heads"] = models.SHAPE["num_attention_heads"]
    models.base(base, family, **settings)
    convert(base, made, pieces=pieces)
    quantize(made, tmp_path / "q8_0.gguf", "q8_0", 1)
    for path in (made, tmp_path / "q8_0.gguf"):
        data = path.read_bytes()
        sizes = {path.name: len(data)}
        found = inspection.inspect(Kind.GGUF, sizes, lambda _, at, count, data=data: data[at : at + count])
        assert [problem.message for problem in found.refusals] == []
        with GgufModel(path, 1) as model:
            assert model.logits([5, 6, 7]).shape == (3, model.vocabulary_size)
            assert found.facts["vocab_size"] == model.vocabulary_size


def test_a_converted_adapter_is_accepted(tmp_path):
    from holdfast.gguf.convert import convert_adapter

    base, adapter, made = tmp_path / "base", tmp_path / "adapter", tmp_path / "adapter.gguf"
    models.base(base, "llama")
    models.adapter(adapter, "llama")
    convert_adapter(base, adapter, made)
    data = made.read_bytes()
    found = inspection.inspect(Kind.GGUF, {made.name: len(data)}, lambda _, at, count: data[at : at + count])
    assert [problem.message for problem in found.refusals] == []
    assert found.facts["part"] == "adapter"
