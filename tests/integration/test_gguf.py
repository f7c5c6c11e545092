"""Conversion, quantization and their measurement, on a random Llama model made here."""

from __future__ import annotations

import json
import shutil
import socket
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from holdfast import frames
from holdfast.errors import UntrustedBundle, UntrustedRequest, VerificationFailed
from holdfast.gguf import spec
from holdfast.gguf.vocabulary import SPLITS
from holdfast.workers import convert
from holdfast.workers.channel import Channel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.model,
    # PEFT 0.21 reads a property that transformers 5.23 calls deprecated.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]

QWEN2 = next(pattern for (pattern, _), name in SPLITS.items() if name == "qwen2")
TEXTS = [f"Form {n} costs {n * 7} crowns and is due within {n} days; don't be late.\n" for n in range(1, 60)]
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"


def make_tokenizer(folder: Path) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [
        AddedToken(text, special=True, normalized=False) for text in ("<|end|>", "<|user|>", "<|assistant|>")
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", chat_template=TEMPLATE)
    fast.save_pretrained(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("hf") / "base"
    make_tokenizer(folder)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=400, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.05,
        bos_token_id=None, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("peft") / "adapter"
    torch.manual_seed(8)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(
            r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
        ),
    )
    model.save_pretrained(folder)
    return folder


def work(order: dict[str, object]) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Run the worker's body over a real channel; give its result and what it sent."""
    ours, daemons = socket.socketpair()
    with ours, daemons, mock.patch.dict("os.environ"):  # the worker sets its own environment
        result = convert.main(Channel(ours), order)
        ours.shutdown(socket.SHUT_WR)
        return result, list(iter(lambda: frames.receive(daemons), None))


@pytest.fixture(scope="module")
def converted(
    base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, object], list[dict[str, object]]]:
    out = tmp_path_factory.mktemp("gguf")
    order = {"task": "base", "model": str(base), "probe": TEXTS, "out": str(out)}
    result, sent = work({**order, "threads": 1})
    return out, result, sent


def test_a_base_becomes_an_f16_file_that_is_compared_with_it(converted) -> None:
    out, result, sent = converted
    files, fidelity = result["files"], result["fidelity"]
    assert files == {path.name: path.stat().st_size for path in out.iterdir()}
    assert set(files) == {"f16.gguf"}
    assert fidelity["token_ids_equal"] is True
    assert 0 < fidelity["f16_max_logit_diff"] <= spec.MAX_LOGIT_DIFF
    steps = [message["progress"] for message in sent]
    assert [step["done"] for step in steps] == list(range(3))
    assert steps[-1]["done"] == steps[-1]["total"]


def test_the_same_model_gives_the_same_bytes(base, converted, tmp_path) -> None:
    from holdfast.gguf.convert import convert_base

    convert_base(base, tmp_path / "f16.gguf", base.name)
    assert (tmp_path / "f16.gguf").read_bytes() == (converted[0] / "f16.gguf").read_bytes()


def test_the_chat_template_and_end_token_are_carried_over(converted) -> None:
    from holdfast.gguf.llama import load_backends
    from holdfast.gguf.model import GgufModel

    llama = load_backends()
    with GgufModel(converted[0] / "f16.gguf", 2) as model:
        assert llama.llama_model_chat_template(model._model, None).decode() == TEMPLATE
        end = model.token_ids("<|end|>")
        assert len(end) == 1
        assert llama.llama_vocab_is_eog(model._vocabulary, end[0])


def test_an_adapter_in_gguf_gives_the_logits_of_peft(base, adapter, converted, tmp_path) -> None:
    from holdfast.gguf.model import GgufModel

    order = {"task": "adapter", "model": str(base), "adapter": str(adapter), "gguf": str(converted[0])}
    result, _ = work({**order, "probe": TEXTS[:5], "out": str(tmp_path)})
    assert result["files"] == {"adapter.gguf": (tmp_path / "adapter.gguf").stat().st_size}
    assert result["fidelity"]["max_logit_diff"] <= spec.MAX_LOGIT_DIFF
    with GgufModel(converted[0] / "f16.gguf", 2) as model:
        tokens = model.token_ids(TEXTS[0])
        plain = model.logits(tokens)
        model.apply_adapter(tmp_path / "adapter.gguf")
        assert abs(model.logits(tokens) - plain).max() > 10 * spec.MAX_LOGIT_DIFF  # it does something


def test_an_adapter_of_another_base_is_refused(base, adapter, converted, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "adapter"
    shutil.copytree(adapter, broken)
    weights = load_file(broken / "adapter_model.safetensors")
    save_file(
        {name: value[:, :128].contiguous() if "lora_A" in name else value for name, value in weights.items()},
        broken / "adapter_model.safetensors",
    )
    order = {"task": "adapter", "model": str(base), "adapter": str(broken), "gguf": str(converted[0])}
    with pytest.raises(UntrustedBundle):
        work({**order, "out": str(tmp_path)})


@pytest.mark.parametrize(
    "change",
    [
        {"rank_pattern": {"q_proj": 4}},
        {"modules_to_save": ["lm_head"]},
        {"peft_type": "IA3"},
    ],
)
def test_an_adapter_that_gguf_cannot_express_is_refused(base, adapter, tmp_path, change) -> None:
    from holdfast.gguf.convert import convert_adapter

    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(UntrustedBundle) as caught:
        convert_adapter(base, folder, tmp_path / "adapter.gguf")
    assert caught.value.key == "gguf.convert"
    assert not (tmp_path / "adapter.gguf").exists()


def test_a_dora_adapter_is_to_be_merged(base, adapter, tmp_path) -> None:
    from holdfast.gguf.convert import convert_adapter

    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(UntrustedBundle) as caught:
        convert_adapter(base, folder, tmp_path / "adapter.gguf")
    assert caught.value.key == "gguf.merge-first"
    assert "holdfast model merge" in caught.value.remedy


def test_an_rslora_in_gguf_has_the_scale_of_peft(base, adapter, converted, tmp_path) -> None:
    """llama.cpp scales by alpha / rank; with rank 8 a wrong scale would be off by a factor of 2.8."""
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True, "lora_alpha": 5}))
    order = {"task": "adapter", "model": str(base), "adapter": str(folder), "gguf": str(converted[0])}
    result, _ = work({**order, "probe": TEXTS[:5], "out": str(tmp_path)})
    assert result["fidelity"]["max_logit_diff"] <= spec.MAX_LOGIT_DIFF


def test_a_pickled_adapter_is_never_opened(base, adapter, tmp_path) -> None:
    from holdfast.gguf.convert import convert_adapter

    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(UntrustedBundle, match=r"no adapter_model\.safetensors"):
        convert_adapter(base, folder, tmp_path / "adapter.gguf")


def test_a_wrong_conversion_is_caught_by_its_logits(base, adapter, converted) -> None:
    from holdfast.gguf.fidelity import check_logits, chunks, largest_difference
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    reference = Reference(base, 2).with_adapter(
        adapter
    )  # the GGUF has no adapter: as wrong as a bad conversion
    with GgufModel(converted[0] / "f16.gguf", 2) as model:
        probes = chunks(reference.token_ids, reference.context, TEXTS[:3])
        difference = largest_difference(reference.logits, model.logits, probes)
    with pytest.raises(VerificationFailed) as caught:
        check_logits(difference, "f16.gguf")
    assert caught.value.key == "gguf.logits"


def test_a_tokenizer_that_differs_is_caught_by_its_ids(base, converted, tmp_path) -> None:
    from holdfast.gguf.fidelity import check_token_ids
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    other = tmp_path / "base"
    shutil.copytree(base, other)
    document = json.loads((other / "tokenizer.json").read_text())
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = QWEN2.replace(
        r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{L}+"
    )
    (other / "tokenizer.json").write_text(json.dumps(document))
    texts = ["due within two days"]
    with GgufModel(converted[0] / "f16.gguf", 2) as model:
        check_token_ids(Reference(base, 2), model, texts)
        with pytest.raises(UntrustedBundle) as caught:
            check_token_ids(Reference(other, 2), model, texts)
    assert caught.value.key == "gguf.token-ids"


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4096])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def foreign(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["MambaForCausalLM"]}))


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def unknown_split(folder: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+"
    (folder / "tokenizer.json").write_text(json.dumps(document))


def a_tensor_missing(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "key"),
    [
        (cut_short, "formats.safetensors"),
        (pickled, "formats.file-name"),
        (foreign, "formats.architecture"),
        (no_tokenizer, "gguf.convert"),
        (unknown_split, "gguf.tokenizer"),
        (a_tensor_missing, "formats.mismatch"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_model_is_refused(base, tmp_path, damage, key) -> None:
    folder, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(base, folder)
    out.mkdir()
    damage(folder)
    with pytest.raises(UntrustedBundle) as caught:
        work({"task": "base", "model": str(folder), "out": str(out)})
    assert caught.value.key == key


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"GGUF", lambda _: b""])
def test_a_damaged_gguf_is_refused(converted, tmp_path, damage) -> None:
    from holdfast.gguf.model import GgufModel

    path = tmp_path / "f16.gguf"
    path.write_bytes(damage((converted[0] / "f16.gguf").read_bytes()))
    with pytest.raises(UntrustedBundle) as caught:
        GgufModel(path, 1)
    assert caught.value.key == "gguf.unreadable"


@pytest.mark.parametrize(
    "change",
    [
        {"task": "merge"}, {"model": "relative"}, {"model": 7}, {"threads": 0}, {"threads": True}, {"probe": "text"},
        {"probe": [1]}, {"out": None},
    ],
)  # fmt: skip
def test_a_malformed_order_is_refused(tmp_path, change) -> None:
    order = {"task": "base", "model": str(tmp_path), "out": str(tmp_path), "threads": 1}
    with pytest.raises(UntrustedRequest) as caught:
        work({**order, **change})
    assert caught.value.key == "gguf.order"
