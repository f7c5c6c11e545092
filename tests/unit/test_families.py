"""What a configuration implies of its weights, and what contradicts it."""

from __future__ import annotations

import pytest

from holdfast.formats import families

LLAMA = {
    "architecture": "LlamaForCausalLM",
    "vocab_size": 10,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LORA = {"ranks": [2, 4]}


def keys(found):
    assert all(problem.key == "formats.mismatch" for problem in found)
    return [problem.message for problem in found]


def test_the_tensors_of_a_llama():
    assert families.expected(LLAMA) == {
        "model.embed_tokens.weight": (10, 8),
        "model.layers.0.input_layernorm.weight": (8,),
        "model.layers.0.post_attention_layernorm.weight": (8,),
        "model.layers.0.self_attn.q_proj.weight": (8, 8),
        "model.layers.0.self_attn.k_proj.weight": (4, 8),
        "model.layers.0.self_attn.v_proj.weight": (4, 8),
        "model.layers.0.self_attn.o_proj.weight": (8, 8),
        "model.layers.0.mlp.gate_proj.weight": (12, 8),
        "model.layers.0.mlp.up_proj.weight": (12, 8),
        "model.layers.0.mlp.down_proj.weight": (8, 12),
        "model.norm.weight": (8,),
        "lm_head.weight": (10, 8),
    }


def test_what_is_not_known_has_no_tensors():
    assert families.expected({**LLAMA, "architecture": "Other"}) is None
    short = {key: value for key, value in LLAMA.items() if key != "num_attention_heads"}
    assert families.expected(short) is None
    assert "it lacks num_attention_heads" in keys(families.cross_check("config.json", short, None, {}))[0]


def test_weights_that_agree_are_accepted():
    tensors = families.expected(LLAMA)
    assert families.cross_check("config.json", LLAMA, {"highest_id": 9}, tensors) == []
    frequencies = {"model.layers.0.self_attn.rotary_emb.inv_freq": (1,)}
    assert families.cross_check("config.json", LLAMA, None, tensors | frequencies) == []


@pytest.mark.parametrize("stored", [True, False])
def test_a_tied_head_may_be_stored_or_not(stored):
    tied = LLAMA | {"tie_word_embeddings": True}
    tensors = families.expected(tied)
    assert "lm_head.weight" not in tensors
    head = {"lm_head.weight": (10, 8)} if stored else {}
    assert families.cross_check("config.json", tied, None, tensors | head) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"lm_head.weight": None}, "its weights lack lm_head.weight"),
        ({"evil": (1,)}, "its weights hold evil, which no such model has"),
        ({"model.layers.1.mlp.up_proj.weight": (12, 8)}, "which no such model has"),
        (
            {"model.norm.weight": (9,)},
            "tensor model.norm.weight has the shape [9] where its configuration says [8]",
        ),
        ({"model.norm.weight": (8, 1)}, "has the shape [8, 1]"),
        ({"lm_head.weight": (11, 8)}, "lm_head.weight has the shape [11, 8]"),
    ],
    ids=str,
)
def test_weights_that_contradict_are_refused(change, why):
    tensors = {
        name: shape for name, shape in (families.expected(LLAMA) | change).items() if shape is not None
    }
    (message,) = keys(families.cross_check("config.json", LLAMA, None, tensors))
    assert why in message


def test_a_tied_head_of_another_shape_is_refused():
    tied = LLAMA | {"tie_word_embeddings": True}
    found = families.cross_check(
        "config.json", tied, None, families.expected(tied) | {"lm_head.weight": (99, 8)}
    )
    assert "lm_head.weight has the shape [99, 8]" in keys(found)[0]


def test_a_tokenizer_with_an_id_beyond_the_table_is_refused():
    (message,) = keys(
        families.cross_check("config.json", LLAMA, {"highest_id": 10}, families.expected(LLAMA))
    )
    assert "ids up to 10 and the model has embeddings for 10" in message


def test_special_tokens_that_the_library_would_add_count():
    tensors = families.expected(LLAMA)
    assert families.cross_check("config.json", LLAMA, {"highest_id": 7, "added": 2}, tensors) == []
    (message,) = keys(families.cross_check("config.json", LLAMA, {"highest_id": 8, "added": 2}, tensors))
    assert "ids up to 10 (2 of them for special tokens that tokenizer.json lacks)" in message


def test_the_matrices_of_an_adapter_are_pairs_of_a_rank_it_states():
    good = {"q.lora_A.weight": (4, 8), "q.lora_B.weight": (8, 4), "q.lora_magnitude_vector": (8,)}
    embedding = {"e.lora_embedding_A": (2, 10), "e.lora_embedding_B": (8, 2)}
    assert families.cross_check_adapter("adapter_config.json", LORA, good | embedding) == []


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({}, "no LoRA matrices"),
        ({"model.norm.weight": (8,)}, "no LoRA matrices"),
        ({"q.lora_A.weight": (4, 8)}, "not a pair"),
        ({"q.lora_A.weight": (4, 8), "q.lora_embedding_B": (8, 4)}, "not a pair"),
        ({"q.lora_A.weight": (4,), "q.lora_B.weight": (8, 4)}, "not a pair"),
        ({"q.lora_A.weight": (4, 8), "q.lora_B.weight": (8, 2)}, "ranks 4 and 2"),
        ({"q.lora_A.weight": (3, 8), "q.lora_B.weight": (8, 3)}, "ranks 3 and 3, and it says [2, 4]"),
    ],
    ids=str,
)
def test_an_adapter_that_contradicts_itself_is_refused(tensors, why):
    (message,) = keys(families.cross_check_adapter("adapter_config.json", LORA, tensors))
    assert why in message
