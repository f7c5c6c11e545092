"""What the libraries write of the known families is never refused: models, tokenizers, templates and adapters of each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.benign import models
from tests.benign.templates import TEMPLATES

from holdfast.artefact import Kind
from holdfast.formats import chattemplate, families, inspection, safetensors, tokenizer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
]  # other makers' libraries warn as they like

TURNS = [
    {"role": "user", "content": "Will it rain in Kyiv?"},
    {"role": "assistant", "content": "<think>\nclouds\n</think>\n\nYes."},
    {"role": "user", "content": "When? <b>'\"&"},
]
KINDS = {
    "plain": {},
    "all linear": {"target_modules": "all-linear"},
    "weight-decomposed": {"use_dora": True, "target_modules": "all-linear"},
    "rank-stabilised": {"use_rslora": True, "lora_dropout": 0.05, "bias": "none"},
    "ranks of their own": {"rank_pattern": {"layers.1.": 2}, "alpha_pattern": {"layers.1.": 4}},
    "by pattern": {"target_modules": r".*layers\.[0-9]+\..*(q_proj|qkv_proj|o_proj|dense)"},
    "embeddings": {"target_modules": ["embed_tokens"], "modules_to_save": ["lm_head"]},
    "some layers": {
        "target_modules": "all-linear",
        "layers_to_transform": None,
        "exclude_modules": ["lm_head"],
    },
    "gaussian": {"init_lora_weights": "gaussian"},
}


def read_from(folder: Path):
    def read(path: str, offset: int, length: int) -> bytes:
        with (folder / path).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    return read


def judge(kind: Kind, folder: Path) -> inspection.Inspection:
    sizes = {
        str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()
    }
    found = inspection.inspect(kind, sizes, read_from(folder))
    assert [problem.message for problem in found.refusals] == []
    loose = inspection.inspect_loose(sizes, read_from(folder))
    assert [problem.message for problem in loose.refusals] == []
    return found


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    tensors = {}
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        header = safetensors.parse(lambda at, count, data=data: data[at : at + count], len(data), path.name)
        tensors |= {tensor.name: tensor.shape for tensor in header.tensors}
    return tensors


@pytest.mark.parametrize("family", sorted(models.FAMILIES))
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_base_of_each_family_is_accepted(family, tied, tmp_path):
    models.base(tmp_path, family, tie_word_embeddings=tied)
    found = judge(Kind.BASE, tmp_path)
    assert families.expected(found.facts) == {
        name: shape for name, shape in shapes(tmp_path).items() if name != "lm_head.weight" or not tied
    }
    assert 0 < found.facts["tokenizer"]["highest_id"] < found.facts["vocab_size"]


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"head_dim": 16, "num_key_value_heads": 1}),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
                }
            },
        ),
        ("mistral", {"sliding_window": 16, "head_dim": 10}),
        ("mistral", {"sliding_window": None}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
        ("qwen3", {"attention_bias": True, "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}}),
        ("gemma3", {"sliding_window": 16, "num_hidden_layers": 7, "query_pre_attn_scalar": 24}),
        ("gemma3", {"final_logit_softcapping": 30.0, "use_bidirectional_attention": False}),
        ("phi", {"qk_layernorm": True}),
        ("phi", {"num_key_value_heads": 4, "hidden_act": "gelu_new"}),
        ("phi3", {"sliding_window": 64, "hidden_act": "silu"}),
        (
            "phi3",
            {
                "original_max_position_embeddings": 64,
                "rope_parameters": {
                    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.1, 1.2],
                    "long_factor": [1.0, 2.0, 3.5],
                },
            },
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_family_can_be_set_to_is_accepted(family, settings, tmp_path):
    models.base(tmp_path, family, **settings)
    judge(Kind.BASE, tmp_path)


def test_a_model_in_shards_is_accepted(tmp_path):
    models.base(tmp_path, "qwen3", shard="20KB")
    assert len([*tmp_path.glob("model-*.safetensors")]) > 2
    judge(Kind.BASE, tmp_path)


@pytest.mark.parametrize("family", sorted(models.FAMILIES))
def test_adapters_of_each_family_and_what_they_merge_into_are_accepted(family, tmp_path):
    known = {"target_modules": "all-linear"} if family in {"gemma3", "phi3"} else {}
    models.adapter(tmp_path / "adapter", family, merged=tmp_path / "merged", **known)
    found = judge(Kind.ADAPTER, tmp_path / "adapter")
    assert found.facts["ranks"] == [4]
    judge(Kind.MERGED, tmp_path / "merged")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_adapters_of_each_kind_are_accepted(kind, tmp_path):
    models.adapter(tmp_path, "llama", **KINDS[kind])
    judge(Kind.ADAPTER, tmp_path)


def test_an_adapter_of_a_model_in_a_folder_is_accepted(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    models.base(tmp_path / "base", "llama")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    get_peft_model(loaded, LoraConfig(task_type="CAUSAL_LM")).save_pretrained(tmp_path / "adapter")
    written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == str(tmp_path / "base")
    judge(Kind.ADAPTER, tmp_path / "adapter")


@pytest.mark.parametrize("style", sorted(models.TOKENIZERS))
def test_a_tokenizer_of_each_style_is_accepted(style, tmp_path):
    made = models.TOKENIZERS[style]()
    models.wrapped(made).save_pretrained(tmp_path)
    found = judge(Kind.TOKENIZER, tmp_path)
    assert found.facts["tokenizer"]["vocab_size"] == made.get_vocab_size()


@pytest.mark.parametrize("legacy", [True, False], ids=["texts", "pairs"])
def test_merges_in_either_form_are_accepted(legacy):
    written = json.loads(models.TOKENIZERS["llama-3"]().to_str())
    if legacy:
        written["model"]["merges"] = [" ".join(pair) for pair in written["model"]["merges"]]
    assert tokenizer.read(json.dumps(written).encode(), "tokenizer.json")[0]["model"] == "BPE"


def test_ids_that_are_kept_free_are_accepted_and_told():
    written = json.loads(models.TOKENIZERS["llama-3"]().to_str())
    highest = max(written["model"]["vocab"].values())
    written["added_tokens"] = [
        *written["added_tokens"][:4],
        written["added_tokens"][4] | {"id": highest + 20},
    ]
    found, _ = tokenizer.read(json.dumps(written).encode(), "tokenizer.json")
    assert (found["highest_id"], found["free_ids"]) == (highest + 20, 19)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_template_renders_as_transformers_renders_it(name):
    from transformers.utils.chat_template_utils import render_jinja_template

    tokens = {**chattemplate.TOKENS, "today": "3 May 2025"}
    theirs, _ = render_jinja_template(
        [TURNS], chat_template=TEMPLATES[name], add_generation_prompt=True, **tokens
    )
    assert chattemplate.render(TEMPLATES[name].encode(), "t.jinja", TURNS, tokens=tokens) == theirs[0]


def test_special_tokens_beyond_the_table_are_refused(tmp_path):
    models.base(tmp_path, "llama")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["extra_special_tokens"] = [f"<|new-{number}|>" for number in range(8)]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    found = inspection.inspect(Kind.BASE, sizes, read_from(tmp_path))
    assert "8 of them for special tokens that tokenizer.json lacks" in found.refusals[0].message
    config["extra_special_tokens"].pop()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    judge(Kind.BASE, tmp_path)


def test_weights_of_another_shape_than_the_configuration_says_are_refused(tmp_path):
    models.base(tmp_path, "llama")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 41}))
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    found = inspection.inspect(Kind.BASE, sizes, read_from(tmp_path))
    assert [problem.key for problem in found.refusals] == ["formats.mismatch"]
    assert (
        "mlp.down_proj.weight has the shape [24, 40] where its configuration says [24, 41]"
        in found.refusals[0].message
    )
