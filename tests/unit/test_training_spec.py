from __future__ import annotations

import json

import pytest

from holdfast.errors import UntrustedRecipe
from holdfast.formats import written
from holdfast.training import spec

RECIPE = """\
schema = "holdfast.recipe/1"
name = "authority"
version = "1.0.0"
description = \"\"\"
Text with what looks like a table:
[data]
\"\"\"
method = "sft"
seed = 7
loss = "answers"
checkpoint_every = 50

[[data]]
path = "data/domain.jsonl"
role = "domain"
repeat = 2
licence = "Apache-2.0"
[data.label]
level = "internal"
compartments = ["water"]
zones = ["north", "site"]

[[data]]
path = "data/rehearsal.jsonl"
role = "rehearsal"
repeat = 1
licence = "Apache-2.0"
label = { level = "public", compartments = [], zones = ["site"] }

[adapter]
type = "lora"
rank = 16
alpha = 32
dropout = 0.05
targets = [
  "q_proj",  # attention
  "v_proj",
]

[optimiser]
learning_rate = 1e-3
schedule = "cosine"
warmup_steps = 10
weight_decay = 0
max_grad_norm = 1.0

[batch]
sequence_length = 256
sequences = 8
packing = true
epochs = 2

[precision]
dtype = "bf16"
threads = 2

[[gate]]
suite = "domain"
section = "primary"
rule = "minimum"
value = 0.9
"""


def mistakes(text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(UntrustedRecipe) as caught:
        spec.read_recipe(data, file="adapt.toml")
    found = caught.value.fields["mistakes"]
    assert isinstance(found, list)
    return [str(one) for one in found]


def line_of(text: str) -> int:
    return RECIPE[: RECIPE.index(text)].count("\n") + 1


def test_a_recipe_survives_the_way_to_a_worker():
    recipe = spec.read_recipe(RECIPE.encode(), file="adapt.toml")
    assert spec.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_the_label_is_the_join_of_the_data():
    label = spec.read_recipe(RECIPE.encode(), file="adapt.toml").label()
    assert (label.level, label.compartments, label.zones) == ("internal", {"water"}, {"site"})


@pytest.mark.parametrize(
    ("right", "wrong", "at", "told"),
    [
        (
            "rank = 16",
            "rank = 16\nrnak = 1",
            "alpha",
            "unknown key 'rnak' in [adapter] (did you mean 'rank'?)",
        ),
        ("rank = 16\n", "", "[adapter]", "key 'rank' in [adapter] is missing"),
        ("seed = 7", 'seed = "7"', "seed = 7", "'seed': expected a valid integer, found '7'"),
        (
            "alpha = 32",
            "alpha = 32.5",
            "alpha = 32",
            "'alpha' in [adapter]: expected a valid integer, found '32.5'",
        ),
        (
            "packing = true",
            "packing = 1",
            "packing",
            "'packing' in [batch]: expected a valid boolean, found '1'",
        ),
        (
            'role = "rehearsal"',
            'role = "x"',
            'role = "rehearsal"',
            "'role' in [data] 2: expected 'domain' or",
        ),
        ('"v_proj"', '"lm_head"', "targets", "a GGUF LoRA carries no embedding or output layer"),
        ('"v_proj"', '"model.embed_tokens"', "targets", "a GGUF LoRA carries no embedding or output layer"),
        ('"v_proj"', '"all-linear"', "targets", 'expected ["all-linear"] alone'),
        ("epochs = 2", "epochs = 2\nsteps = 3", "[batch]", "expected exactly one of 'epochs' and 'steps'"),
        ("epochs = 2\n", "", "[batch]", "expected exactly one of 'epochs' and 'steps'"),
        ('"data/domain.jsonl"', '"../domain.jsonl"', 'path = "data/d', "expected a relative path beneath"),
        ('"data/domain.jsonl"', '"/etc/passwd"', 'path = "data/d', "expected a relative path beneath"),
        ("data/rehearsal", "data/domain", 'schema = "', "name the same path"),
        ('zones = ["site"] }', "zones = [] }", "label = {", "zones is empty"),
        ("1e-3", "nan", "learning_rate", "'learning_rate' in [optimiser]: expected a finite number"),
        ("holdfast.recipe/1", "holdfast.recipe/9", "schema", "'schema': expected 'holdfast.recipe/1'"),
    ],
)
def test_each_mistake_is_told_with_its_line_and_what_was_expected(right, wrong, at, told):
    assert right in RECIPE
    found = mistakes(RECIPE.replace(right, wrong))
    assert len(found) == 1
    assert found[0].startswith(f"adapt.toml:{line_of(at)}: ")
    assert told in found[0]


def test_all_mistakes_are_told_at_once_in_the_order_of_lines():
    found = mistakes(RECIPE.replace("seed = 7", "seed = true").replace("rank = 16", "rnak = 16"))
    assert [one.split(":")[1] for one in found] == sorted(
        (str(line_of("seed")), str(line_of("[adapter]")), str(line_of("rank = 16"))), key=int
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"a = [", "this is not TOML"),
        (b'name = "x"\nname = "y"', "adapt.toml:2: this is not TOML"),
        (b"\n\n\xff", "adapt.toml:3: this is not UTF-8"),
        (b"a = " + b"[" * 30_000, "nested too deeply"),
        (b"a = 1" + b"0" * 9_000, "Exceeds the limit"),
        (b"#" * (written.MAX_DOCUMENT + 1), f"{written.MAX_DOCUMENT} are allowed"),
        (b"", "key 'schema' is missing"),
    ],
)
def test_what_is_no_recipe_at_all_is_refused(data, told):
    assert told in mistakes(data)[0]


def test_a_missing_data_file_is_told_with_its_line():
    with pytest.raises(UntrustedRecipe) as caught:
        spec.read_recipe(RECIPE.encode(), file="adapt.toml", exists=lambda path: "domain" in path)
    assert caught.value.key == "recipe.data-missing"
    assert caught.value.fields["line"] == line_of('path = "data/rehearsal')
    assert "data/rehearsal.jsonl" in caught.value.message
