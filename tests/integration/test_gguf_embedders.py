"""Models that embed: judged as at an import, converted, compared with transformers, quantized."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scripts import families, tinyembedders

from holdfast.artefact import Kind
from holdfast.errors import HoldfastError, UntrustedBundle, VerificationFailed
from holdfast.formats import inspection
from holdfast.gguf import spec
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
MAKERS = {
    "uncased": lambda folder: tinyembedders.make_encoder(folder, TEXTS),
    "cased": lambda folder: tinyembedders.make_encoder(folder, TEXTS, lowercase=False, mode="cls_token"),
    "decoder": lambda folder: tinyembedders.make_decoder(folder, TEXTS),
    "decoder-with-head": lambda folder: tinyembedders.make_decoder(folder, TEXTS, bare=False),
}


@pytest.fixture(scope="module", params=MAKERS)
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedder")
    before = dict(os.environ)
    MAKERS[request.param](folder / "base")
    (folder / "out").mkdir()
    order = {"task": "base", "model": str(folder / "base"), "probe": TEXTS, "out": str(folder / "out")}
    found = convert.main(families.Quiet(), order)
    yield SimpleNamespace(
        name=request.param, base=folder / "base", f16=folder / "out" / "f16.gguf", fidelity=found["fidelity"]
    )
    os.environ.clear()
    os.environ.update(before)


def judged(folder: Path, kind: Kind) -> inspection.Inspection:
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    sizes = {name: len(data) for name, data in files.items()}
    return inspection.inspect(kind, sizes, lambda name, at, count: files[name][at : at + count])


def test_it_would_come_in_on_a_medium_and_says_how_it_pools(made):
    found = judged(made.base, Kind.BASE)
    assert [problem.message for problem in found.refusals] == []
    wanted = {"uncased": "mean", "cased": "cls"}.get(made.name, "lasttoken")
    assert found.facts["pooling"] == wanted
    assert (
        judged(made.f16.parent, Kind.GGUF).facts["pooling_type"]
        == {"mean": 1, "cls": 2, "lasttoken": 3}[wanted]
    )


def test_its_embeddings_are_those_of_transformers_and_differ_between_texts(made):
    from holdfast.gguf.model import GgufModel

    assert made.fidelity["token_ids_equal"] is True
    assert spec.MIN_COSINE <= made.fidelity["f16_min_cosine"] <= 1.001
    assert made.fidelity["dimensions"] == 64
    with GgufModel(made.f16, 1, embeds=True) as model:
        vectors = [model.embedding(model.token_ids(text)) for text in ("The fee is due.", "12345.67")]
    assert [float(np.linalg.norm(one)) for one in vectors] == pytest.approx([1, 1], abs=1e-5)
    assert vectors[0] @ vectors[1] < 0.99


def test_texts_that_llama_cpp_normalises_otherwise_are_counted(made):
    assert made.fidelity.get("texts_left_out", 0) == (1 if made.name == "uncased" else 0)


def test_it_is_quantized_by_the_cosine(made, tmp_path):
    families.write_data(tmp_path / "data", ROWS)
    (tmp_path / "made").mkdir()
    order = {
        "f16": str(made.f16), "out": str(tmp_path / "made"), "types": ["q8_0", "q4_0"], "embeds": True, "keep": "chosen",
        "floor": Floor(cosine=0.5).to_json(), "calibration": str(tmp_path / "data"), "source": "sha512:00",
    }  # fmt: skip
    found = quantize.main(families.Quiet(), order)
    table = found["table"]
    assert 0.5 <= table["q4_0"]["cosine"] < table["q8_0"]["cosine"] <= 1.001
    assert "kl" not in table["q4_0"]
    assert table["q4_0"]["decode"] is None
    assert found["kept"] == ["q4_0"]
    assert found["importance"] > 100


def test_another_model_is_caught_by_its_embeddings(made):
    from holdfast.gguf import fidelity, pooling
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    with GgufModel(made.f16, 1, embeds=True) as model:
        ids = [model.token_ids(text) for text in TEXTS[:3]]
        reference = Reference(made.base, 1, pools=pooling.of_folder(made.base))
        with pytest.raises(VerificationFailed) as caught:
            fidelity.check_embeddings(
                lambda tokens: -reference.embedding(tokens), model.embedding, ids, "f16.gguf"
            )
    assert caught.value.key == "gguf.logits"


@pytest.fixture
def encoder(tmp_path) -> Path:
    MAKERS["uncased"](tmp_path / "base")
    return tmp_path / "base"


def change(path: Path, **changed) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_older_writers_left_what_nobody_reads(encoder, tmp_path):
    tensors = load_file(encoder / "model.safetensors")
    tensors["embeddings.position_ids"] = np.arange(256, dtype=np.int64).reshape(1, 256)
    for name in ("weight", "bias"):
        del tensors[f"pooler.dense.{name}"]
    save_file(tensors, encoder / "model.safetensors", metadata={"format": "pt"})
    assert judged(encoder, Kind.BASE).refusals == []
    (tmp_path / "out").mkdir()
    order = {"task": "base", "model": str(encoder), "probe": TEXTS[:5], "out": str(tmp_path / "out")}
    assert convert.main(families.Quiet(), order)["fidelity"]["f16_min_cosine"] > spec.MIN_COSINE


@pytest.mark.parametrize(
    ("damage", "key"),
    [
        (lambda folder: (folder / "1_Pooling" / "config.json").unlink(), "gguf.convert"),
        (lambda folder: change(folder / "1_Pooling" / "config.json", pooling_mode_max_tokens=True), "formats.pooling"),
        (lambda folder: change(folder / "config.json", hidden_act="relu"), "gguf.setting"),
        (lambda folder: change(folder / "config.json", type_vocab_size=3), "formats.mismatch"),
        (lambda folder: change(folder / "config.json", num_hidden_layers=3), "formats.mismatch"),
        (lambda folder: (folder / "2_Dense").mkdir() or (folder / "2_Dense" / "config.json").write_text("{}"), "formats.file-name"),
        (lambda folder: (folder / "modules.json").write_text("[]"), "formats.pooling"),
    ],
)  # fmt: skip
def test_what_would_embed_otherwise_is_refused(encoder, tmp_path, damage, key):
    damage(encoder)
    (tmp_path / "out").mkdir()
    order = {"task": "base", "model": str(encoder), "probe": [], "out": str(tmp_path / "out")}
    with pytest.raises(HoldfastError) as caught:
        convert.main(families.Quiet(), order)
    assert caught.value.key == key


def test_a_decoder_without_its_head_comes_in_only_where_it_embeds(tmp_path):
    MAKERS["decoder"](tmp_path / "base")
    for path in (tmp_path / "base" / "1_Pooling" / "config.json", tmp_path / "base" / "modules.json"):
        path.unlink()
    (tmp_path / "base" / "1_Pooling").rmdir()
    found = judged(tmp_path / "base", Kind.BASE).refusals
    assert [problem.key for problem in found][:1] == ["formats.mismatch"]
    assert isinstance(found[0], UntrustedBundle)


def patched(data: bytes, key: bytes, value: int) -> bytes:
    """Change a number of a header in its place: behind the key stand its type and it."""
    at = data.index(key) + len(key) + 4
    return data[:at] + value.to_bytes(4, "little") + data[at + 4 :]


@pytest.mark.parametrize(
    ("damage", "key"),
    [
        (lambda data: data.replace(b"ggml.bos_token_id", b"ggml.eot_token_id"), "formats.gguf-vocabulary"),
        (lambda data: patched(data, b"tokenizer.ggml.mask_token_id", 10**6), "formats.gguf-vocabulary"),
        (lambda data: patched(data, b"tokenizer.ggml.token_type_count", 0), "formats.gguf-model"),
        (lambda data: patched(data, b"tokenizer.ggml.token_type_count", 3), "formats.gguf-model"),
        (lambda data: patched(data, b"bert.pooling_type", 4), "formats.gguf-model"),
        (lambda data: patched(data, b"bert.context_length", 255), "formats.gguf-model"),
    ],
)
def test_a_file_that_llama_cpp_would_fill_up_by_guessing_is_refused(encoder, tmp_path, damage, key):
    from holdfast.gguf.convert import convert_base

    convert_base(encoder, tmp_path / "f16.gguf", "tiny")
    data = damage((tmp_path / "f16.gguf").read_bytes())
    found = inspection.inspect(Kind.GGUF, {"x.gguf": len(data)}, lambda _, at, count: data[at : at + count])
    assert [problem.key for problem in found.refusals] == [key]
