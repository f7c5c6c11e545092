"""Configurations and templates with anything anywhere: the readers answer or refuse, and nothing else."""

from __future__ import annotations

import json
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import UntrustedBundle
from holdfast.formats import chattemplate, families, hubrefs, jsonconfig, tokenizerconfig

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rope_parameters": {"rope_type": "default"},
    "layer_types": ["full_attention"] * 2, "dtype": "bfloat16", "tie_word_embeddings": False, "_name_or_path": "",
}  # fmt: skip
LORA = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "rank_pattern": {},
    "init_lora_weights": True, "base_model_name_or_path": None, "layer_replication": None,
}  # fmt: skip
ATOMS = (
    st.none() | st.booleans() | st.integers(-2, 2**54) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["LlamaForCausalLM", "gemma3_text", "a/b", "https://x", "..", "(a+)+", "full_attention", "default"])
)  # fmt: skip
JUNK = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [*LLAMA, *LORA, "weight_map", "metadata", "added_tokens_decoder", "tokenizer_class", "chat_template", "sp_model_kwargs",
     "eos_token", "extra_special_tokens", "head_dim", "alpha_pattern", "auto_map", "x"]
) | st.text(max_size=6)  # fmt: skip
NAMES = st.sampled_from(
    [*tokenizerconfig.FILES, "generation_config.json", "model.safetensors.index.json", "other.json"]
)
FRAGMENTS = st.sampled_from(
    [
        "{% for m in messages %}", "{% endfor %}", "{% if m %}", "{% else %}", "{% endif %}", "{{ ", " }}", "m", ".role", "['content']",
        " | trim", " | tojson", " | join", " | map('upper')", " | list", " ~ ", " + ", " * 9", "'a'", "9", "[1, 2]", "range(9)",
        "{% set n = namespace(a=1) %}", "{% set n.a = ", " %}", "n.a", "{% macro f(x) %}", "{% endmacro %}", "f(1)", "loop.index",
        "{% set x %}", "{% endset %}", "x", "text", "[1:]", "{# ", " #}", "{%- generation %}", "{% endgeneration %}", "(", ")",
        "raise_exception('no')", "strftime_now('%Y')", "{% break %}", "is defined", "not", "in", "messages", "{% raw %}",
    ]
)  # fmt: skip


def judged(read, data, name):
    """Give what a reader gives, or None for a refusal that can be shown."""
    try:
        return read(data, name)
    except UntrustedBundle as problem:
        refusal = problem
    assert refusal.message.isprintable()
    return None


def written(value):
    return json.dumps(value).encode("utf-8", "surrogatepass")


@settings(max_examples=600)
@given(
    st.dictionaries(KEYS, JUNK, max_size=3),
    st.dictionaries(st.text(max_size=30), st.lists(st.integers(0, 99), max_size=3)),
)
def test_a_models_configuration_is_judged_whatever_it_holds(changes, tensors):
    facts = judged(jsonconfig.model, written(LLAMA | changes), "config.json")
    if facts is not None:
        assert families.cross_check("config.json", facts, {"highest_id": 5}, tensors)


@settings(max_examples=600)
@given(
    st.dictionaries(KEYS, JUNK, max_size=3),
    st.dictionaries(
        st.sampled_from(["a.lora_A.weight", "a.lora_B.weight", "a.lora_embedding_A", "b"]),
        st.lists(st.integers(0, 9), max_size=3),
    ),
)
def test_an_adapters_configuration_is_judged_whatever_it_holds(changes, tensors):
    facts = judged(jsonconfig.adapter, written(LORA | changes), "adapter_config.json")
    if facts is not None:
        families.cross_check_adapter("adapter_config.json", facts, tensors)


@settings(max_examples=600)
@given(JUNK | st.dictionaries(KEYS, JUNK, max_size=3), NAMES)
def test_any_other_configuration_is_judged_whatever_it_holds(value, name):
    judged(jsonconfig.parse, written(value), name)


@given(st.text())
def test_any_text_is_a_path_or_not(text):
    assert isinstance(hubrefs.why_not_a_path(text), str)


@settings(max_examples=400)
@given(st.lists(FRAGMENTS, max_size=14).map("".join) | st.text(max_size=40))
def test_a_template_is_judged_soon_whatever_it_holds(text):
    start = time.process_time()
    judged(chattemplate.trial, text.encode("utf-8", "surrogatepass"), "t.jinja")
    assert time.process_time() - start < 5
