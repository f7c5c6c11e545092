"""What llama.cpp ignores or assumes is refused where a configuration says otherwise."""

from __future__ import annotations

import pytest

from holdfast.errors import UntrustedBundle
from holdfast.formats.families import FAMILIES
from holdfast.gguf.architectures import ARCHITECTURES, check

PLAIN = {
    "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 32,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "sliding_window": None, "query_pre_attn_scalar": 32,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}  # fmt: skip


def config(architecture: str, **changes: object) -> dict:
    return {"architectures": [architecture], **PLAIN, **changes}


def test_what_an_import_knows_can_be_served() -> None:
    assert set(ARCHITECTURES) == set(FAMILIES)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_plain_configuration_passes(name: str) -> None:
    assert check(config(name)) == name


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"architectures": "LlamaForCausalLM"}, {"architectures": []}, {"architectures": ["A", "B"]},
     {"architectures": ["MambaForCausalLM"]}, {"architectures": [["LlamaForCausalLM"]]}],
)  # fmt: skip
def test_another_architecture_is_refused(value: object) -> None:
    with pytest.raises(UntrustedBundle) as caught:
        check(value)  # type: ignore[arg-type]  # as wrong as a file may be
    assert caught.value.key == "gguf.architecture"


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("LlamaForCausalLM", {"hidden_act": "gelu"}, "hidden_act"),
        ("LlamaForCausalLM", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
        ("LlamaForCausalLM", {"rope_parameters": None, "rope_scaling": {"type": "dynamic"}}, "dynamic"),
        ("MistralForCausalLM", {"sliding_window": 256}, "sliding_window"),
        ("MistralForCausalLM", {"max_position_embeddings": 8192, "sliding_window": 4096}, "sliding_window"),
        ("Qwen3ForCausalLM", {"use_sliding_window": True}, "use_sliding_window"),
        ("Qwen3ForCausalLM", {"layer_types": ["sliding_attention", "full_attention"]}, "use_sliding_window"),
        ("Qwen3ForCausalLM", {"rope_parameters": {"rope_type": "llama3"}}, "llama3"),
        ("Gemma3ForCausalLM", {"query_pre_attn_scalar": 64}, "query_pre_attn_scalar"),
        ("Gemma3ForCausalLM", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("Gemma3ForCausalLM", {"use_bidirectional_attention": True}, "bidirectional"),
        ("Gemma3ForCausalLM", {"layer_types": ["full_attention", "full_attention"]}, "layer_types"),
        ("Gemma3ForCausalLM", {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "yarn"),
        ("PhiForCausalLM", {"intermediate_size": 128}, "intermediate_size"),
        ("PhiForCausalLM", {"num_key_value_heads": 1}, "num_key_value_heads"),
        ("PhiForCausalLM", {"qk_layernorm": True}, "qk_layernorm"),
        ("PhiForCausalLM", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("PhiForCausalLM", {"rope_parameters": {"rope_theta": 1e6}}, "rope_theta"),
        ("Phi3ForCausalLM", {"sliding_window": 128}, "sliding_window"),
        ("Phi3ForCausalLM", {"head_dim": 16}, "head_dim"),
        ("Phi3ForCausalLM", {"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
    ],
)
def test_a_setting_that_llama_cpp_ignores_is_refused_by_name(name: str, changes: dict, word: str) -> None:
    with pytest.raises(UntrustedBundle, match=word) as caught:
        check(config(name, **changes))
    assert caught.value.key == "gguf.setting"
    assert name in caught.value.message


def test_a_window_as_long_as_the_context_hides_nothing() -> None:
    assert check(config("MistralForCausalLM", sliding_window=512)) == "MistralForCausalLM"


def test_gemma_sees_the_whole_text_in_every_sixth_layer() -> None:
    kinds = (["sliding_attention"] * 5 + ["full_attention"]) * 2
    assert check(config("Gemma3ForCausalLM", num_hidden_layers=12, layer_types=kinds)) == "Gemma3ForCausalLM"
    largest = config("Gemma3ForCausalLM", num_hidden_layers=62, layer_types=None, hidden_size=5376)
    largest |= {"num_attention_heads": 32, "head_dim": 128, "query_pre_attn_scalar": 168}
    assert check(largest) == "Gemma3ForCausalLM"
