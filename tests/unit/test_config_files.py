"""JSON configurations: what makes libraries load or run what a file says, and what is out of bounds."""

from __future__ import annotations

import json

import pytest

from holdfast.errors import UntrustedBundle
from holdfast.formats import jsonconfig, runscode

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LORA = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
DIGEST = "sha512:" + "0" * 128


def refusal(read, config, name="config.json"):
    with pytest.raises(UntrustedBundle) as caught:
        read(config if isinstance(config, bytes) else json.dumps(config).encode(), name)
    assert caught.value.fields["file"] == name
    assert caught.value.message.startswith(f"{name} is refused: ")
    return caught.value.key.removeprefix("formats.")


def model(**changes):
    return jsonconfig.model(json.dumps(LLAMA | changes).encode(), "config.json")


def adapter(**changes):
    return jsonconfig.adapter(json.dumps(LORA | changes).encode(), "adapter_config.json")


@pytest.mark.parametrize("key", sorted(runscode.RUNS_CODE))
@pytest.mark.parametrize(
    "read", [jsonconfig.parse, jsonconfig.model, jsonconfig.adapter], ids=["any", "model", "adapter"]
)
def test_a_key_that_runs_code_is_refused_in_every_kind_of_file(key, read):
    for start in (LLAMA, LORA):
        assert refusal(read, start | {key: {"AutoModel": "evil.Model"}}) == "runs-code"
        assert refusal(read, start | {"nested": [{key: "evil/kernel"}]}) == "runs-code"


@pytest.mark.parametrize(
    "config",
    [
        {"_attn_implementation": "evil/kernel"},
        {"attn_implementation": "evil/kernel@main:attend"},
        {"_attn_implementation": "flash_attention_2"},
        {"_attn_implementation": {"": "eager"}},
        {"_attn_implementation_internal": "sdpa"},
        {"_experts_implementation": "evil/kernel"},
        {"trust_remote_code": True},
        {"trust_remote_code": 0},
        {"megatron_core": "evil.core"},
        {"tokenizer_kwargs": {"trust_remote_code": True}},
        {"init_inputs": ["/etc/passwd"]},
        {"use_kernels": True},
    ],
    ids=str,
)
def test_a_value_that_the_library_would_follow_is_refused(config):
    assert refusal(jsonconfig.parse, config, "tokenizer_config.json") == "runs-code"


@pytest.mark.parametrize(
    "config",
    [
        {"_attn_implementation": "sdpa"},
        {"attn_implementation": "eager"},
        {"_attn_implementation": None},
        {"auto_map": None},
        {"trust_remote_code": False},
        {"init_inputs": []},
        {"megatron_core": "megatron.core"},
    ],
    ids=str,
)
def test_what_the_libraries_write_and_nothing_follows_is_accepted(config):
    assert jsonconfig.parse(json.dumps(config).encode(), "tokenizer_config.json") == config


@pytest.mark.parametrize(
    "key", ["_name_or_path", "name_or_path", "tokenizer_name_or_path", "base_model_name_or_path"]
)
@pytest.mark.parametrize(
    "value",
    [
        "https://example.org/model",
        "hf://datasets/x",
        "file:///etc/passwd",
        "s3:bucket",
        "//server/share",
        "\\\\server\\share",
        "evil/model",
        "evil/model@main",
        "../../etc",
        "/srv/../etc",
        "a\\..\\b",
        "a\nb",
        "x" * 5000,
        7,
        ["evil"],
    ],
    ids=lambda value: str(value)[:24],
)
def test_urls_and_hub_ids_where_a_path_belongs_are_refused(key, value):
    assert refusal(jsonconfig.parse, {"inner": {key: value}}, "generation_config.json") == "foreign-path"


@pytest.mark.parametrize(
    "value", [None, "", DIGEST, "/srv/models/base", "./models/base", "base", "C:\\models\\base", "a/b/c"]
)
def test_a_path_of_the_machine_that_wrote_it_is_accepted(value):
    assert model(_name_or_path=value)
    assert adapter(base_model_name_or_path=value)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b'{"a": 1, "a": 2}', "json.duplicate-key"),
        (b'{"a": {"b": 1, "b": 1}}', "json.duplicate-key"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "json.depth"),
        (b'{"a": NaN}', "json.constant"),
        (b'{"a": -Infinity}', "json.constant"),
        (b'{"a": 1e999}', "json.number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "json.integer"),
        (b'{"a": "\\ud800"}', "json.surrogate"),
        (b'{"a": "\xff"}', "json.encoding"),
        (b"\xef\xbb\xbf{}", "json.syntax"),
        (b'{"a": 1} {}', "json.syntax"),
        (b" " * (jsonconfig.MAX_CONFIG + 1), "json.too-large"),
        (b"[]", "formats.config"),
        (b"7", "formats.config"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_not_one_plain_object_is_refused(data, key):
    with pytest.raises(UntrustedBundle) as caught:
        jsonconfig.parse(data, "generation_config.json")
    assert caught.value.key == key


def test_the_limit_that_transformers_writes_for_no_limit_is_accepted():
    written = b'{"model_max_length": 1000000000000000019884624838656}'
    assert jsonconfig.parse(written, "tokenizer_config.json") == {"model_max_length": 1e30}


def test_the_facts_of_a_model_decide_its_shapes():
    assert model(tie_word_embeddings=True, use_cache=False, rms_norm_eps=1e-6, pad_token_id=-1) == {
        "architecture": "LlamaForCausalLM",
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["EvilForCausalLM"]},
        {"architectures": ["LlamaForCausalLM", "MistralForCausalLM"]},
        {"architectures": "LlamaForCausalLM"},
        {"architectures": [["LlamaForCausalLM"]]},
        {"architectures": None},
        {"model_type": "mistral"},
        {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3"},
    ],
    ids=str,
)
def test_an_unknown_architecture_is_refused(changes):
    assert refusal(jsonconfig.model, LLAMA | changes) == "architecture"


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": None},
        {"vocab_size": 0},
        {"vocab_size": 10**9},
        {"vocab_size": True},
        {"hidden_size": 16.0},
        {"hidden_size": "16"},
        {"hidden_size": -16},
        {"num_hidden_layers": 10**6},
        {"num_attention_heads": 5},
        {"num_key_value_heads": 3},
        {"head_dim": 10**6},
        {"max_position_embeddings": 2**53 - 1},
        {"sliding_window": 0},
        {"tie_word_embeddings": 1},
        {"attention_bias": "yes"},
        {"dtype": "os"},
        {"torch_dtype": ["float32"]},
        {"hidden_act": "a b"},
        {"hidden_act": {"x": 1}},
        {"layer_types": ["full_attention"]},
        {"layer_types": ["full_attention", "evil"]},
        {"layer_types": [["full_attention"], {}]},
        {"rope_parameters": {"rope_type": "evil"}},
        {"rope_parameters": {"rope_type": ["default"]}},
        {"rope_parameters": {"rope_theta": "1e4"}},
        {"rope_parameters": {"long_factor": [1.0] * 5000}},
        {"rope_parameters": {"full_attention": {"rope_type": "evil"}}},
        {"rope_scaling": 4},
        {"tokenizer_class": "EvilTokenizer"},
        {"text_config": {"hidden_size": 4}},
        {"base_model_tp_plan": {"x": "y"}},
        {"_secret": 1},
        {"_post_init_done": True},
        {"a b": 1},
        {"many": [0] * 100_000},
        {"note": "x" * 5000},
    ],
    ids=lambda changes: str(changes)[:48],
)
def test_a_setting_out_of_bounds_is_refused(changes):
    assert refusal(jsonconfig.model, LLAMA | changes) == "config"


@pytest.mark.parametrize("changes", [{"note": "see https://x.org"}, {"list": [["ftp://x"]]}])
def test_a_url_anywhere_in_a_models_configuration_is_refused(changes):
    assert refusal(jsonconfig.model, LLAMA | changes) == "foreign-path"


def test_plain_settings_of_later_versions_are_accepted():
    assert model(
        new_switch=True, new_scale=0.5, new_kind="swish", new_list=[1, 2, [3]], new_empty={}, new_none=None
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "PROMPT_TUNING"},
        {"peft_type": None},
        {"peft_type": ["LORA"]},
        {"task_type": "SEQ_CLS"},
        {"task_type": ["CAUSAL_LM"]},
        {"r": 0},
        {"r": 10**6},
        {"r": 8.0},
        {"lora_alpha": None},
        {"lora_alpha": True},
        {"lora_alpha": "16"},
        {"rank_pattern": {"q_proj": 10**6}},
        {"rank_pattern": {"(a+)+": 4}},
        {"alpha_pattern": {"q_proj": "x"}},
        {"target_modules": "(a|a)*b"},
        {"target_modules": "x" * 5000},
        {"target_modules": [1]},
        {"target_modules": {"q_proj": 1}},
        {"layers_pattern": "(.*)*"},
        {"modules_to_save": [["a"]]},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_1000000000"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "loftq"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": {"a": 1}},
        {"loftq_config": {"loftq_bits": 4}},
        {"layer_replication": [[0, 1000000]]},
        {"arrow_config": {"top_k": 3}},
        {"kasa_config": {"beta": 1.0}},
        {"trainable_token_indices": {"embed_tokens": [1]}},
    ],
    ids=lambda changes: str(changes)[:48],
)
def test_an_adapter_that_is_no_plain_lora_is_refused(changes):
    assert refusal(jsonconfig.adapter, LORA | changes, "adapter_config.json") == "config"


def test_the_facts_of_an_adapter_name_all_ranks():
    found = adapter(rank_pattern={"layers.1.q_proj": 4}, alpha_pattern={"q_proj": 2}, eva_config={"rho": 2.0})
    assert found == {"rank": 8, "alpha": 16, "target_modules": ["q_proj"], "ranks": [4, 8]}


@pytest.mark.parametrize(
    "config",
    [
        {"weight_map": {"a": "../model.safetensors"}},
        {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": "pytorch_model.bin"}},
        {"weight_map": {"a": 1}},
    ],
    ids=str,
)
def test_an_index_that_finds_tensors_elsewhere_is_refused(config):
    assert refusal(jsonconfig.parse, config, "model.safetensors.index.json") == "foreign-path"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"weight_map": []},
        {"weight_map": {}, "metadata": []},
        {"weight_map": {}, "metadata": {"a": {}}},
        {"weight_map": {}, "more": 1},
    ],
    ids=str,
)
def test_an_index_of_another_form_is_refused(config):
    assert refusal(jsonconfig.parse, config, "model.safetensors.index.json") == "config"


def test_an_index_is_accepted():
    table = {
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"},
        "metadata": {"total_size": 8},
    }
    assert jsonconfig.parse(json.dumps(table).encode(), "model.safetensors.index.json") == table


@pytest.mark.parametrize(
    "config",
    [
        {"watermarking_config": {"bias": 2.0}},
        {"compile_config": {"backend": "evil"}},
        {"cache_config": {"a": 1}},
        {"_private": 1},
    ],
    ids=str,
)
def test_a_generation_configuration_with_objects_is_refused(config):
    assert refusal(jsonconfig.parse, config, "base/generation_config.json") == "config"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "EvilTokenizer"}),
        ("tokenizer_config.json", {"tokenizer_class": "MistralCommonBackend"}),
        ("tokenizer_config.json", {"tokenizer_class": ["LlamaTokenizer"]}),
        ("tokenizer_config.json", {"vocab": "/etc/passwd"}),
        ("tokenizer_config.json", {"merges": "/etc/passwd"}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"-1": {"content": "a"}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"9" * 5000: {"content": "a"}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": "a"}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": {"content": 1}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": {"content": "a", "special": 1}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": {"content": "a", "evil": True}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": []}),
        ("tokenizer_config.json", {"extra_special_tokens": [1]}),
        ("tokenizer_config.json", {"extra_special_tokens": "a"}),
        ("tokenizer_config.json", {"extra_special_tokens": [{"content": "a", "x": 1}]}),
        ("tokenizer_config.json", {"sp_model_kwargs": {"model_file": "/etc/passwd"}}),
        ("tokenizer_config.json", {"chat_template": {"a": "b"}}),
        ("tokenizer_config.json", {"chat_template": [{"name": "a"}]}),
        ("tokenizer_config.json", {"chat_template": [{"name": "a", "template": 1}]}),
        ("tokenizer_config.json", {"eos_token": {"__type": "Evil", "content": "a"}}),
        ("tokenizer_config.json", {"eos_token": {"__type": "AddedToken"}}),
        ("tokenizer_config.json", {"backend": "x" * 5000}),
        ("tokenizer_config.json", {"anything": [{"a": 1}]}),
        ("special_tokens_map.json", {"eos_token": {"a": {}}}),
        ("added_tokens.json", {"a": "1"}),
        ("added_tokens.json", {"a": -1}),
        ("added_tokens.json", {"a": 10**9}),
        ("added_tokens.json", {"a": {"id": 1}}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_tokenizers_settings_of_another_form_are_refused(name, config):
    assert refusal(jsonconfig.parse, config, f"base/{name}") == "config"


def test_a_tokenizers_settings_as_libraries_write_them_are_accepted():
    token = {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": False, "special": True}
    config = {
        "tokenizer_class": "LlamaTokenizerFast",
        "added_tokens_decoder": {"2": {"content": "</s>", "lstrip": False, "single_word": False}},
        "eos_token": token,
        "bos_token": "<s>",
        "pad_token": None,
        "extra_special_tokens": ["<a>", token],
        "additional_special_tokens": [],
        "model_specific_special_tokens": {"image_token": "<image>"},
        "sp_model_kwargs": {},
        "chat_template": [{"name": "default", "template": "{{ messages }}"}],
        "model_input_names": ["input_ids", "attention_mask"],
        "processor_class": "Gemma3Processor",
        "clean_up_tokenization_spaces": False,
    }
    assert jsonconfig.parse(json.dumps(config).encode(), "tokenizer_config.json") == config
    table = {"<a>": 5}
    assert jsonconfig.parse(json.dumps(table).encode(), "added_tokens.json") == table


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"num_labels": 10**10}, "num_labels"),
        ({"num_labels": -1}, "num_labels"),
        ({"num_labels": "2"}, "num_labels"),
        ({"partial_rotary_factor": 1e12}, "partial_rotary_factor"),
        ({"partial_rotary_factor": 0}, "partial_rotary_factor"),
        ({"partial_rotary_factor": [1]}, "partial_rotary_factor"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1e12}},
            "partial_rotary_factor",
        ),
        ({"rope_scaling": {"full_attention": {"partial_rotary_factor": True}}}, "partial_rotary_factor"),
    ],
    ids=str,
)
def test_a_figure_that_the_library_allocates_by_is_bounded(changes, why):
    with pytest.raises(UntrustedBundle, match=why):
        model(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_beams": 10**9},
        {"num_beams": -1},
        {"num_beams": 1.0},
        {"num_beams": True},
        {"num_return_sequences": 10**6},
        {"num_beam_groups": "2"},
        {"max_length": 10**12},
        {"max_new_tokens": 2**53},
        {"min_length": [1]},
        {"prompt_lookup_num_tokens": 10**9},
        {"no_repeat_ngram_size": 10**9},
    ],
    ids=str,
)
def test_a_count_of_a_generation_is_bounded(changes):
    assert refusal(jsonconfig.parse, changes, "base/generation_config.json") == "config"
    assert refusal(jsonconfig.model, LLAMA | changes) == "config"


def test_ordinary_counts_of_a_generation_are_accepted():
    config = {
        "num_beams": 4,
        "num_return_sequences": 1,
        "max_length": 1_048_576,
        "max_new_tokens": None,
        "min_length": 0,
        "no_repeat_ngram_size": 3,
    }
    assert jsonconfig.parse(json.dumps(config).encode(), "generation_config.json") == config
    model(**config)


def test_ordinary_figures_of_that_kind_are_accepted():
    model(
        num_labels=2,
        partial_rotary_factor=0.5,
        rope_parameters={"rope_type": "default", "partial_rotary_factor": 1},
    )
