"""What our reader of GGUF accepts, llama.cpp's own loader accepts; and what the converters write, ours accepts."""

from __future__ import annotations

import sys

import pytest
from scripts.crafted import gguffile, ggufs, mutations
from scripts.crafted.llama_loader import Loader

from holdfast.errors import UntrustedBundle
from holdfast.formats import gguf, ggufmodel, ggufvocab

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
