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

[tuning]
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
            "unknown key 'rnak' in [tuning] (did you mean 'rank'?)",
        ),
        ("rank = 16\n", "", "[tuning]", "key 'rank' in [tuning] is missing"),
        (
            "seed = 7",
            "seed = -7",
            "seed = 7",
            "'seed': expected a number greater than or equal to 0, found -7",
        ),
        ('"authority"', '"My recipe"', "name", "'name': expected text of the pattern [a-z0-9]"),
        ('version = "1.0.0"', "version = 1", "version", "'version': expected text in quotes, found 1"),
        ("seed = 7", 'seed = "7"', "seed = 7", "'seed': expected a valid integer, found '7'"),
        (
            "alpha = 32",
            "alpha = 32.5",
            "alpha = 32",
            "'alpha' in [tuning]: expected a valid integer, found 32.5",
        ),
        (
            "packing = true",
            "packing = 1",
            "packing",
            "'packing' in [batch]: expected a valid boolean, found 1",
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
        ("epochs = 2", "epochs = 2\nsteps = 30", "[batch]", "expected exactly one of 'epochs' and 'steps'"),
        ("epochs = 2\n", "", "[batch]", "expected exactly one of 'epochs' and 'steps'"),
        ('"data/domain.jsonl"', '"../domain.jsonl"', 'path = "data/d', "expected a relative path beneath"),
        ('"data/domain.jsonl"', '"/etc/passwd"', 'path = "data/d', "expected a relative path beneath"),
        (
            "data/rehearsal",
            "data/domain",
            'path = "data/rehearsal',
            "entry 1 of [[data]] names the same path",
        ),
        ('zones = ["site"] }', "zones = [] }", "label = {", "zones is empty"),
        ("1e-3", "nan", "learning_rate", "'learning_rate' in [optimiser]: expected a finite number"),
        ("holdfast.recipe/1", "holdfast.recipe/9", "schema", "'schema': expected 'holdfast.recipe/1'"),
        (
            'type = "lora"',
            'type = "lorra"',
            "type",
            "'type' in [tuning]: expected 'lora', 'rslora', 'dora', 'full'",
        ),
        ('type = "lora"\n', "", "[tuning]", "key 'type' in [tuning] is missing"),
        ('"v_proj"', '"v proj"', "targets", "'v proj' is neither the name of a module"),
        ('method = "sft"', 'method = "cpt"', "loss", "'loss': it is for method 'sft' alone"),
        ('loss = "answers"', 'loss = "some"', "loss", "'loss': expected 'answers' or 'all'"),
        ('"sft"', '"sft"\ndpo = { beta = 0.1 }', "seed", "'dpo': it is for method 'dpo' alone"),
        ('"cosine"', '"wsd"', "schedule", "'wsd' needs 'decay_share'"),
        (
            '"cosine"',
            '"cosine"\ndecay_share = 0.1',
            "warmup",
            "'decay_share' in [optimiser]: it is for schedule 'wsd'",
        ),
        ("epochs = 2", "steps = 10", "warmup_steps", "expected fewer than the 10 steps of [batch], found 10"),
        ("repeat = 2", 'repeat = 2\nformat = "text"', "licence", "plain text is for method 'cpt'"),
        ("domain.jsonl", "domain.md", 'path = "data/d', "plain text is for method 'cpt'"),
        ("domain.jsonl", "domain.markdown", 'path = "data/d', "plain text is for method 'cpt'"),
        (
            'repeat = 2\nlicence = "Apache-2.0"',
            "repeat = 2",
            "[[data]]",
            "key 'licence' in [data] 1 is missing",
        ),
        (
            'repeat = 2\nlicence = "Apache-2.0"',
            'repeat = 2\nlicence = ""',
            "licence",
            "'licence' in [data] 1: ",
        ),
        (
            'label = { level = "public", compartments = [], zones = ["site"] }\n',
            "",
            '[[data]]\npath = "data/rehearsal',
            "key 'label' in [data] 2 is missing",
        ),
        (
            "repeat = 2",
            'repeat = 2\ncolumns.chosen = "b"',
            "licence",
            "no field of that name; its fields: messages,",
        ),
        (
            "repeat = 2",
            "repeat = 2\nheldout = 1.0",
            "licence",
            "'heldout' in [data] 1: expected a number less than 1",
        ),
        (
            'rule = "minimum"',
            'rule = "max_loss"',
            "rule",
            "expected 'minimum', 'improvement' or 'non_inferiority'",
        ),
        (
            "value = 0.9",
            "alpha = 0.0\nvalue = 0.9",
            "value = 0.9",
            "'alpha' in [gate] 1: expected a number greater than or equal to",
        ),
    ],
)
def test_each_mistake_is_told_with_its_line_and_what_was_expected(right, wrong, at, told):
    assert right in RECIPE
    found = mistakes(RECIPE.replace(right, wrong))
    assert len(found) == 1
    assert found[0].startswith(f"adapt.toml:{line_of(at)}: ")
    assert told in found[0]


def test_full_weights_have_no_rank():
    assert mistakes(RECIPE.replace('type = "lora"', 'type = "full"')) == [
        f"adapt.toml:{line_of(key)}: unknown key '{key}' in [tuning] (known are type, targets)"
        for key in ("rank", "alpha", "dropout")
    ]


def test_dpo_needs_its_table_and_takes_pairs_as_they_are():
    wrong = RECIPE.replace('method = "sft"', 'method = "dpo"')
    assert [one.split(": ", 1)[1].split(";")[0] for one in mistakes(wrong)] == [
        "'method': method 'dpo' needs a table [dpo] with 'beta'",
        "'loss': it is for method 'sft' alone, and 'dpo' learns what its data say",
        "'packing' in [batch]: preference pairs are not packed",
    ]
    right = wrong.replace('loss = "answers"\n', "").replace("packing = true\n", "") + "[dpo]\nbeta = 0.1\n"
    assert spec.read_recipe(right.encode(), file="adapt.toml").forms() == ("preference",)


def test_mistakes_of_keys_and_between_keys_are_told_together():
    found = mistakes(
        RECIPE.replace("seed = 7", "seed = true").replace("epochs = 2", "epochs = 2\nsteps = 30")
    )
    assert [one.split(": ")[1] for one in found] == ["'seed'", "'batch'"]


def test_a_suite_that_would_never_be_looked_at_is_told():
    stop = '[stop]\nsuite = "domain"\nsection = "all"\nevery = 21\npatience = 1\nmin_change = 0.0\n'
    found = mistakes(RECIPE.replace("epochs = 2", "steps = 20") + stop)
    assert [one.partition(": ")[2] for one in found] == [
        "'every' in [stop]: expected at most the 20 steps of [batch], found 21"
    ]
    spec.read_recipe((RECIPE.replace("epochs = 2", "steps = 21") + stop).encode(), file="adapt.toml")


def test_missing_data_are_told_beside_every_other_mistake():
    wrong = RECIPE.replace("rank = 16", "rank = 0").replace("data/rehearsal.jsonl", "../x")
    with pytest.raises(UntrustedRecipe) as caught:
        spec.read_recipe(wrong.encode(), file="adapt.toml", exists=lambda _: False)
    assert [one.split(":")[1] for one in caught.value.fields["mistakes"]] == [
        str(line_of(one)) for one in ('path = "data/d', 'path = "data/r', "rank = 16")
    ]


def test_a_text_without_its_closing_quote_is_told_in_words():
    assert mistakes('name = "x\nversion = "1"') == [
        "adapt.toml:1: this is not TOML: a text in quotes does not end in its line"
    ]


def test_what_was_left_out_has_its_default():
    recipe = spec.read_recipe(RECIPE.replace('loss = "answers"\n', "").encode(), file="adapt.toml")
    assert recipe.answers_only
    assert (recipe.state_every, recipe.batch.rows_per_step, recipe.gate[0].alpha) == (10, 8, 0.05)
    assert "loss" not in recipe.to_json()


def test_all_mistakes_are_told_at_once_in_the_order_of_lines():
    found = mistakes(RECIPE.replace("seed = 7", "seed = true").replace("rank = 16", "rnak = 16"))
    assert [one.split(":")[1] for one in found] == sorted(
        (str(line_of("seed")), str(line_of("[tuning]")), str(line_of("rank = 16"))), key=int
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


@pytest.mark.parametrize(
    "text", ["a." * 20_000 + "b = 1", "[ a" + ' . "x"' * 9_000 + "]", "x = 1\n'a'.'b'." + "a." * 70 + "c=1"]
)
def test_a_key_of_thousands_of_parts_is_refused_before_it_is_parsed(text):
    """Parsing one would take many seconds, in which nobody else gets an answer."""
    with pytest.raises(UntrustedRecipe, match="a key has more than 64 parts") as caught:
        spec.read_recipe(text.encode(), file="recipe.toml")
    assert caught.value.fields["line"] == text.count("\n") + 1
