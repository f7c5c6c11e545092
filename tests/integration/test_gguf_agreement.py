"""What our reader of GGUF accepts, llama.cpp's own loader accepts; and what the converters write, ours accepts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from scripts.crafted import gguffile, ggufs, mutations
from scripts.crafted.llama_loader import Loader

from holdfast.artefact import Kind
from holdfast.errors import UntrustedBundle
from holdfast.formats import gguf, ggufmodel, ggufvocab, inspection

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model

ROUNDS = 2500  # mutants; about a quarter is accepted by us and shown to llama.cpp


@pytest.fixture(scope="module")
def loader():
    with Loader() as found:
        yield found


@pytest.fixture
def upstream(monkeypatch):
    from holdfast_llama_conversion import TREE

    monkeypatch.setattr(sys, "path", [str(TREE), *sys.path])
    import gguf as module

    yield module
    for name in [name for name in sys.modules if name == "gguf" or name.startswith("gguf.")]:
        monkeypatch.delitem(sys.modules, name)


def accepted(data: bytes) -> bool:
    def read(offset, length):
        return data[offset : offset + length]

    try:
        header = gguf.parse(read, len(data), "x.gguf")
        gguf.check_padding(read, header, "x.gguf")
        ggufmodel.judge(header, "x.gguf")
    except UntrustedBundle:
        return False
    return True


def test_what_we_accept_llama_cpp_loads(loader, tmp_path):
    path = tmp_path / "x.gguf"
    shown = 0
    for number in range(ROUNDS):
        data = mutations.changed_gguf(number)
        if accepted(data):
            path.write_bytes(data)
            shown += 1
            assert loader.takes(path), f"mutant {number} is accepted by us and refused by llama.cpp"
    assert shown > ROUNDS / 10


@pytest.mark.parametrize(
    "vector", [v for v in ggufs.right() if "adapter" not in v.name], ids=lambda v: v.name
)
def test_llama_cpp_loads_every_valid_vector(loader, tmp_path, vector):
    path = tmp_path / vector.name
    path.write_bytes(vector.data)
    assert loader.takes(path)


@pytest.mark.parametrize("name", sorted(ggufvocab.PRE_TOKENIZERS))
def test_llama_cpp_knows_every_pre_tokenizer_that_we_accept(loader, tmp_path, name):
    path = tmp_path / "x.gguf"
    path.write_bytes(gguffile.model(tokenizer="gpt2").changed("tokenizer.ggml.pre", "str", name).pack())
    assert accepted(path.read_bytes())
    assert loader.takes(path)


def test_the_table_of_types_is_that_of_the_pinned_source(upstream):
    sizes = upstream.constants.GGML_QUANT_SIZES
    assert {kind.value: (kind.name, *size) for kind, size in sizes.items()} == gguf.TYPES


def test_the_architectures_are_known_to_the_pinned_source(upstream):
    assert set(upstream.constants.MODEL_ARCH_NAMES.values()) >= ggufmodel.ARCHITECTURES


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A model whose rows fill the largest blocks."""
    path = tmp_path_factory.mktemp("plain") / "f32.gguf"
    path.write_bytes(gguffile.model(width=256).pack())
    return path


# Every type of llama.h's enum llama_ftype that needs no importance matrix, by its number.
TYPES = {
    "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11, "q3_k_m": 12, "q3_k_l": 13,
    "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "iq4_nl": 25, "iq3_s": 26, "iq3_m": 27,
    "iq4_xs": 30, "bf16": 32, "tq1_0": 36, "tq2_0": 37,
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_the_quantizer_is_accepted(plain, tmp_path, name, monkeypatch):
    from holdfast.gguf import quantize

    monkeypatch.setitem(quantize.FILE_TYPES, name, TYPES[name])
    made = tmp_path / f"{name}.gguf"
    quantize.quantize(plain, made, name, threads=1)
    data = made.read_bytes()
    found = inspection.inspect(Kind.GGUF, {made.name: len(data)}, lambda _, at, count: data[at : at + count])
    assert found.refusals == []
    assert found.facts["types"] != ["F32"]


@pytest.mark.parametrize(
    "code", sorted(code for code, (name, *_) in gguf.TYPES.items() if name in ggufmodel.MATRIX_TYPES)
)
def test_llama_cpp_loads_matrices_of_every_type_that_we_accept(loader, tmp_path, code):
    made = gguffile.model(width=256)
    _, block, width = gguf.TYPES[code]
    for tensor in made.tensors:
        if len(tensor.shape) > 1:
            tensor.type, tensor.data = code, bytes(tensor.shape[0] * tensor.shape[1] // block * width)
    path = tmp_path / "x.gguf"
    path.write_bytes(made.pack())
    assert accepted(path.read_bytes())
    assert loader.takes(path)


def test_llama_cpp_takes_the_adapter_that_we_accept(tmp_path):
    from holdfast.gguf.model import GgufModel

    base, adapter = tmp_path / "base.gguf", tmp_path / "adapter.gguf"
    base.write_bytes(gguffile.model().pack())
    adapter.write_bytes(gguffile.adapter().pack())
    assert accepted(adapter.read_bytes())
    with GgufModel(base, 1) as model:
        model.apply_adapter(adapter)
