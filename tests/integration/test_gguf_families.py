"""Every family on its whole way: trained, merged, converted, and the same logits in llama.cpp."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import families, tinymodels

from holdfast.artefact import Kind
from holdfast.errors import UntrustedBundle
from holdfast.formats import inspection
from holdfast.gguf import spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
]  # other makers' libraries warn as they like

ROWS = families.conversations()[:120]
TEXTS = families.texts(ROWS)
CASES = [
    ("llama", False),
    ("llama", True),
    ("mistral", False),
    ("qwen3", True),
    ("gemma3", True),
    ("phi", False),
    ("phi3", False),
]


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """The process as a worker prepares it; other tests get theirs back."""
    import torch

    from holdfast.training import environment as training

    before = dict(os.environ)
    training.prepare(1, tempfile.gettempdir())
    yield
    torch.use_deterministic_algorithms(False)
    os.environ.clear()
    os.environ.update(before)


def accepted(folder: Path, kind: Kind) -> dict:
    """Judge a folder as an import does; give its facts."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    sizes = {name: len(data) for name, data in files.items()}
    found = inspection.inspect(kind, sizes, lambda name, at, count: files[name][at : at + count])
    assert [problem.message for problem in found.refusals] == []
    return found.facts


@pytest.mark.parametrize(("family", "tied"), CASES)
def test_a_family_is_trained_merged_and_served_with_the_same_logits(family, tied, tmp_path):
    base, data, out = tmp_path / "base", tmp_path / "data", tmp_path / "out"
    tinymodels.make(base, family, TEXTS, tied=tied, steps=8, shard="200KB")
    assert len([*base.glob("*.safetensors")]) > 1
    families.write_data(data, ROWS)
    families.train(base, data, out, families.recipe(dtype="fp32", steps=4))
    made = tmp_path / "made"
    found = families.serve_ready(base, out / "adapter", made, TEXTS, ["q8_0"])
    # The adapter does something, and the merged model does the same.
    assert found["merged"]["adapter_kl"] > 1e-4
    assert found["merged"]["kl"] < 1e-8
    # llama.cpp computes both ways to serve it as transformers does.
    assert found["fidelity"]["token_ids_equal"] is True
    assert 0 < found["fidelity"]["f16_max_logit_diff"] <= spec.MAX_LOGIT_DIFF
    assert 0 < found["adapter"] <= spec.MAX_LOGIT_DIFF
    assert found["fidelity"]["q8_0"]["kl"] < 0.001
    # What was written, an import would take.
    assert accepted(made / "merged", Kind.MERGED)["architecture"] == tinymodels.FAMILIES[family].model
    for path in (*(made / "whole").iterdir(), *(made / "lora").iterdir()):
        alone = made / path.stem
        alone.mkdir()
        path.rename(alone / path.name)
        accepted(alone, Kind.GGUF)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("families") / "base"
    tinymodels.make(folder, "mistral", TEXTS, shard="200KB")
    return folder


def _change(folder: Path, tensor: str, value: float | None, *, shape: tuple[int, ...] | None = None) -> None:
    """Write a value into a tensor, or give it another shape."""
    from safetensors.torch import load_file, save_file

    for path in folder.glob("*.safetensors"):
        held = load_file(path)
        if tensor in held:
            changed = held[tensor].clone()
            if value is not None:
                changed.view(-1)[-1] = value
            held[tensor] = changed[: shape[0], : shape[1]].contiguous() if shape else changed
            save_file(held, path, metadata={"format": "pt"})


DOWN = "model.layers.1.mlp.down_proj.weight"
NORM = "model.norm.weight"


def _missing_shard(folder: Path) -> None:
    sorted(folder.glob("*.safetensors"))[1].unlink()


def _index(folder: Path, change: dict) -> None:
    path = folder / "model.safetensors.index.json"
    document = json.loads(path.read_text())
    document["weight_map"] |= change
    path.write_text(json.dumps(document))


def _double(folder: Path) -> None:
    """A shard of float64 values."""
    from safetensors.torch import load_file, save_file

    path = min(folder.glob("*.safetensors"))
    save_file({name: one.double() for name, one in load_file(path).items()}, path, metadata={"format": "pt"})


HOSTILE = {
    "nan": (lambda folder: _change(folder, DOWN, float("nan")), "weights.not-finite"),
    "infinity in a norm": (lambda folder: _change(folder, NORM, float("-inf")), "weights.not-finite"),
    "beyond float16": (lambda folder: _change(folder, DOWN, -65520.0), "weights.beyond-half"),
    "missing shard": (_missing_shard, "formats.mismatch"),
    "index names a file that is not there": (
        lambda folder: _index(folder, {NORM: "model-00009-of-00009.safetensors"}),
        "formats.mismatch",
    ),
    "index lacks a tensor": (lambda folder: _index(folder, {NORM + "x": "model-00001-of-00003.safetensors"}), "formats.mismatch"),
    "wrong shape": (lambda folder: _change(folder, DOWN, None, shape=(64, 64)), "formats.mismatch"),
    "float64": (_double, "weights.type"),
}  # fmt: skip


@pytest.mark.parametrize("damage", sorted(HOSTILE))
def test_weights_that_cannot_be_right_are_refused_before_they_are_used(base, tmp_path, damage):
    from holdfast.gguf.convert import convert_base

    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    change, key = HOSTILE[damage]
    change(folder)
    with pytest.raises(UntrustedBundle) as caught:
        convert_base(folder, tmp_path / "f16.gguf", "tiny")
    assert caught.value.key == key
    assert caught.value.remedy
    assert not (tmp_path / "f16.gguf").exists()


def test_the_largest_value_of_float16_is_let_through(base, tmp_path):
    from holdfast.weights.folder import check_numbers, open_model

    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    _change(folder, DOWN, 65504.0)
    check_numbers(open_model(folder), for_half=True)
    _change(folder, DOWN, struct.unpack("<f", b"\xff\xff\x7f\x7f")[0])  # the largest of float32
    check_numbers(open_model(folder))


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> Iterator[dict]:
    """Both structures of pieces, in transformers and in llama.cpp."""
    from holdfast.gguf.convert import convert_base
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    opened = {}
    for family in ("phi3", "gemma3"):
        folder = tmp_path_factory.mktemp(family)
        tinymodels.make(folder / "base", family, TEXTS, layers=1)
        convert_base(folder / "base", folder / "f16.gguf", "tiny")
        path = folder / "f16.gguf"
        opened[family] = (Reference(folder / "base", 1), GgufModel(path, 1), str(path))
    yield opened
    for _, model, _ in opened.values():
        model.close()


WORDS = sorted({word for text in TEXTS for word in text.split()})
PARTS = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from([word[:3] for word in WORDS]),
    st.sampled_from([" ", "  ", "\n", "\t", *tinymodels.SPECIALS, "<0x41>", "<s", "|end|>"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0▁"), max_size=4),
)


@given(parts=st.lists(PARTS, max_size=12))
@settings(max_examples=300, database=None)
@pytest.mark.parametrize("family", ["phi3", "gemma3"])
def test_pieces_are_joined_as_by_the_list_of_merges(tokenizers, family, parts):
    reference, model, _ = tokenizers[family]
    text = "".join(parts)
    assert model.token_ids(text) == reference.token_ids(text)


@pytest.mark.parametrize("family", ["phi3", "gemma3"])
@pytest.mark.parametrize("answer", ["Form 7", " Form 7", "  "])
def test_an_answer_does_not_begin_with_the_space_that_the_tokenizer_put(tokenizers, family, answer):
    from holdfast.serving.engine.llama import Weights

    weights = Weights(SimpleNamespace(id="tiny", path=tokenizers[family][2], mmap=True, mlock=False))
    vocabulary = weights.vocabulary
    user, *tokens = vocabulary.tokenize("<|user|>" + answer, begin=False, special=True)
    read = [vocabulary.piece(token, after=None if at else user) for at, token in enumerate(tokens)]
    assert b"".join(read).decode() == answer
    # In the middle of a text the same token has its space.
    words = vocabulary.tokenize("<|user|>Form 7 crowns", begin=False, special=True)
    spaced = [token for token in words if vocabulary.piece(token).startswith(b" ")]
    assert vocabulary.piece(spaced[-1], after=words[1]).startswith(b" ")
    weights.close()


def test_a_name_decides_nothing_about_blanks(tmp_path):
    """llama.cpp strips blanks after added tokens in models named Phi-3; this one's tokenizer does not."""
    from holdfast.gguf.convert import convert_base
    from holdfast.gguf.fidelity import check_token_ids
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    tinymodels.make(tmp_path / "base", "phi3", TEXTS, layers=1)
    convert_base(tmp_path / "base", tmp_path / "f16.gguf", "My-Phi-3-copy")
    with GgufModel(tmp_path / "f16.gguf", 1) as model:
        check_token_ids(Reference(tmp_path / "base", 1), model, ["<|user|>   two <|end|>\n\n three"])


def test_blanks_are_taken_along_where_the_tokenizer_of_phi_3_does(tmp_path):
    from holdfast.gguf.convert import convert_base
    from holdfast.gguf.fidelity import check_token_ids
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    folder = tmp_path / "base"
    tinymodels.make(folder, "phi3", TEXTS, layers=1)
    document = json.loads((folder / "tokenizer.json").read_text())
    for token in document["added_tokens"]:
        token["rstrip"] = token["content"] not in {"<unk>", "<s>", "<|endoftext|>"}
        if token["content"] == "<|assistant|>":  # the real one has this token, and so llama.cpp looks for it
            token["content"] = "<|endoftext|>"
            token["rstrip"] = False
    known = document["model"]["vocab"]
    known["<|endoftext|>"] = known.pop("<|assistant|>")
    (folder / "tokenizer.json").write_text(json.dumps(document))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    convert_base(folder, tmp_path / "f16.gguf", "tiny")
    with GgufModel(tmp_path / "f16.gguf", 1) as model:
        texts = ["<|user|>   two <|end|>\n\n three", "<|endoftext|>  x <s>  y"]
        check_token_ids(Reference(folder, 1), model, texts)
