"""Every family of models: examples packed into one row do not see each other, the quick loss is the plain one, targets."""

from __future__ import annotations

import pytest
from tests.integration.methods.tiny import FULL, recipe

from holdfast.errors import UntrustedRecipe
from holdfast.training import environment

pytestmark = pytest.mark.model

FAMILIES = {
    "llama": {},
    "mistral": {"sliding_window": 8},
    "qwen3": {"tie_word_embeddings": True},
    # Layers that see 8 tokens and layers that see all, and caps that bite.
    "gemma3": {
        "sliding_window": 8,
        "final_logit_softcapping": 2.0,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "phi": {"num_key_value_heads": 4},
    "phi3": {"sliding_window": 8},
}
SIZES = (9, 20, 1, 13)


@pytest.fixture(params=FAMILIES)
def model(request, bases):
    import torch
    from transformers import AutoModelForCausalLM

    base = bases(request.param, **FAMILIES[request.param])
    made = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa")
    if made.get_output_embeddings().bias is not None:  # fresh models have zeros there
        torch.nn.init.normal_(made.get_output_embeddings().bias)
    return made.eval()


def examples():
    from holdfast.training.tokens import Example

    ids = [[(at * 37 + size) % 250 + 5 for at in range(size)] for size in SIZES]
    return [Example(one, list(one)) for one in ids]


def test_packed_examples_do_not_see_each_other(model):
    import torch

    from holdfast.training.rows import Collator, of_examples

    rows = list(of_examples(examples(), sequence_length=33, packed=True))
    batch = Collator(0, packed=True)(rows)
    assert [row["seq_lengths"] for row in rows] == [[20, 13], [9, 1]]
    with torch.inference_mode():
        packed = model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits
        apart = [
            model(torch.tensor([examples()[at].input_ids]), use_cache=False).logits[0] for at in (1, 3, 0, 2)
        ]
    for logits, (row, start) in zip(apart, ((0, 0), (0, 20), (1, 0), (1, 9)), strict=True):
        assert torch.allclose(packed[row, start : start + len(logits)], logits, atol=2e-5)
    # No example is asked to predict the first token of the next.
    assert [batch["labels"][0, at].item() for at in (0, 20)] == [-100, -100]


@pytest.mark.parametrize("packed", [True, False])
def test_the_quick_loss_and_its_gradient_are_the_plain_ones(model, packed):
    from contextlib import nullcontext

    import torch

    from holdfast.training.objectives import head, likelihood
    from holdfast.training.rows import Collator, of_examples

    head.verify(model)
    rows = list(of_examples(examples(), sequence_length=33, packed=packed))
    batch = Collator(0, packed=packed)(rows)
    count = likelihood.items(batch)
    assert int(count) == sum(SIZES) - len(SIZES)
    quick = likelihood.loss(model, batch, count, nullcontext)
    quick.backward()
    gradients = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad()
    plain = torch.zeros(())
    for one in examples():
        ids = torch.tensor([one.input_ids])
        logits = model(ids, use_cache=False).logits[0, :-1]
        plain = plain + torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum") / count
    plain.backward()
    assert quick.item() == pytest.approx(plain.item(), rel=1e-5)
    for name, one in model.named_parameters():
        assert torch.allclose(gradients[name], one.grad, rtol=1e-3, atol=1e-5), name


def test_a_model_with_another_head_is_refused(bases):
    from transformers import AutoModelForCausalLM

    from holdfast.training.objectives import head

    model = AutoModelForCausalLM.from_pretrained(bases("llama"))
    plain = model.forward

    def scaled(*args: object, **options: object):
        made = plain(*args, **options)
        made.logits = made.logits * 1.5
        return made

    model.forward = scaled
    with pytest.raises(UntrustedRecipe, match="turns hidden states into logits"):
        head.verify(model)


def tuned(bases, family: str, **tuning: object):
    from holdfast.training import tuning as room

    with environment.without_deprecations():
        made = room.load(recipe(tuning=tuning), bases(family, **FAMILIES[family]))
    return {name for name, parameter in made.named_parameters() if parameter.requires_grad}, made


@pytest.mark.parametrize(
    ("family", "targets", "layers"),
    [
        ("llama", ["q_proj", "self_attn.v_proj"], {"0.self_attn.q_proj", "0.self_attn.v_proj", "1.self_attn.q_proj", "1.self_attn.v_proj"}),
        ("llama", ["model.layers.1.mlp.*"], {"1.mlp.gate_proj", "1.mlp.up_proj", "1.mlp.down_proj"}),
        ("llama", ["*.[0]*.?_proj", "down_proj"], {f"0.self_attn.{one}_proj" for one in "qkvo"} | {"0.mlp.down_proj", "1.mlp.down_proj"}),
        ("phi", ["*.fc?"], {"0.mlp.fc1", "0.mlp.fc2", "1.mlp.fc1", "1.mlp.fc2"}),
        ("phi3", ["qkv_proj"], {"0.self_attn.qkv_proj", "1.self_attn.qkv_proj"}),
    ],
    ids=["names", "pattern", "both", "phi", "phi3"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_goes_where_its_targets_say(bases, family, targets, layers, kind):
    names, model = tuned(bases, family, targets=targets, type=kind)
    assert {name.split("layers.")[1].split(".lora_")[0] for name in names} == layers
    assert model.peft_config["default"].use_dora is (kind == "dora")


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_is_every_linear_layer_but_the_last(bases, family):
    import torch

    names, model = tuned(bases, family, targets=["all-linear"])
    plain = model.get_base_model()
    linear = [
        one
        for one in plain.modules()
        if isinstance(one, torch.nn.Linear) and one is not plain.get_output_embeddings()
    ]
    per_layer = sum("layers.0." in name for name in names)
    assert per_layer * 2 == len(names)
    assert len(names) == 2 * sum(hasattr(one, "lora_A") for one in plain.modules())
    assert not [name for name in names if "lm_head" in name or "embed" in name]
    assert linear


@pytest.mark.parametrize(
    ("targets", "trained"),
    [
        (None, None),
        (["lm_head"], {"model.embed_tokens.weight"}),  # tied: one tensor of two names
        (["model.norm", "*.0.*norm"], {"model.norm.weight", "model.layers.0.input_layernorm.weight"}),
    ],
    ids=["all", "tied", "norms"],
)
def test_weights_are_trained_where_targets_say(bases, targets, trained):
    import torch

    names, model = tuned(bases, "qwen3", **FULL | {"targets": targets})
    everything = {name for name, _ in model.named_parameters()}
    assert names >= (trained or everything)
    assert targets is None or all("norm" in name or "embed" in name for name in names)
    assert {one.dtype for one in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("tuning", "told"),
    [
        ({"targets": ["q_proj", "qq_proj"]}, r"'qq_proj' matches no linear layer"),
        ({"targets": ["*.attention.*"]}, r"matches no linear layer"),
        ({"targets": ["mlp"]}, r"'mlp' matches no linear layer"),
        ({"targets": ["*"]}, r"'\*' matches the output layer lm_head"),
        (FULL | {"targets": ["mlp", "nothing"]}, r"'nothing' matches no module with weights"),
    ],
    ids=["name", "pattern", "container", "head", "full"],
)
def test_targets_that_mean_nothing_are_refused_with_what_there_is(bases, tuning, told):
    with pytest.raises(UntrustedRecipe, match=told) as caught:
        tuned(bases, "llama", **tuning)
    assert caught.value.key == "recipe.targets"
    if "no " in told:
        assert "model.layers.*.mlp" in caught.value.remedy
        assert ("lm_head" in caught.value.remedy) == (tuning.get("type") == "full")


def test_rslora_scales_by_the_root_of_the_rank(bases):
    for kind, scale in (("lora", 2.0), ("rslora", 4.0)):
        _, model = tuned(bases, "llama", rank=4, alpha=8, type=kind)
        scales = {one.scaling["default"] for one in model.modules() if hasattr(one, "lora_A")}
        assert scales == {scale}
