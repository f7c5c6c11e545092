from __future__ import annotations

import contextlib
import json
import unicodedata
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import code
from holdfast.evaluation.scorers import exact, json_schema, normalised, numeric, regex
from holdfast.evaluation.spec import read_suite

# What a model may write: any text, half surrogates too, and texts that look like what is asked for.
answers = (
    st.text()
    | st.text(alphabet="0123456789.,'+-\u2212eE %\u202fm", max_size=80)
    | st.text('[]{}":,1ea \\u`\n')
)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
surrogates = st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF), max_size=5)
SCHEMA = json_schema.check(
    {
        "anyOf": [
            {"type": "array", "uniqueItems": True, "items": {"$ref": "#"}},
            {"multipleOf": 0.1},
            {"pattern": "^a"},
        ]
    }
)


@given(answers | surrogates)
def test_no_answer_makes_a_scorer_raise(answer):
    exact.judge(answer, ["a"])
    normalised.judge(answer, ["a"], casefold=True, punctuation="drop", white_space="collapse")
    regex.judge(answer, "(a|b)+", match="search", ignore_case=True)
    for extract in ("whole", "fenced"):
        json_schema.judge(answer, SCHEMA, extract=extract)
    for take in ("whole", "first", "last"):
        numeric.judge(
            answer,
            Fraction(1, 3),
            "m",
            absolute=0.1,
            relative=0.1,
            take=take,
            units=["m", "%"],
            unit_required=True,
        )
    test = code.Test("f", (), 1)
    code.failure(test, code.Ended(code.GAVE, code.program(answer).encode("utf-8", "replace")))


@given(jsons)
def test_any_json_is_judged_by_a_schema(value):
    json_schema.judge(json.dumps(value), SCHEMA, extract="whole")


@given(jsons)
def test_any_schema_is_taken_or_refused(value):
    with contextlib.suppress(ValueError):
        json_schema.judge("[1]", json_schema.check(value), extract="whole")


@given(st.dictionaries(st.sampled_from(["$ref", "items", "anyOf", "pattern", "enum", "type"]), jsons))
def test_what_looks_like_a_schema_is_taken_or_refused(value):
    with contextlib.suppress(ValueError):
        json_schema.judge("[1]", json_schema.check(value), extract="whole")


@given(
    st.lists(st.dictionaries(st.sampled_from(["id", "section", "messages", "tests", "value", "text"]), jsons))
)
def test_items_raise_only_our_error(rows):
    head = (
        'schema = "holdfast.suite/1"\nname = "x"\nversion = "1"\ndescription = "x"\nlicence = "x"\nitems = "items.jsonl"\n'
        '[label]\nlevel = "public"\ncompartments = []\nzones = ["site"]\n[generation]\nmax_new_tokens = 1\n'
    )
    for metric in ("numeric", "code", "bits_per_byte"):
        section = f'[[section]]\nname = "a"\nmetric = "{metric}"\nprimary = true\n'
        with contextlib.suppress(UntrustedRecipe):
            read_suite(
                (head + section).encode(), "\n".join(map(json.dumps, rows)).encode(), file="suite.toml"
            )


@given(st.text(), st.booleans(), st.sampled_from(["drop", "keep"]), st.sampled_from(["drop", "collapse"]))
def test_the_normal_form_is_normal(text, casefold, punctuation, white_space):
    form = {"casefold": casefold, "punctuation": punctuation, "white_space": white_space}
    once = normalised.normalise(text, **form)
    assert normalised.normalise(once, **form) == once
    assert normalised.normalise(unicodedata.normalize("NFD", text), **form) == once


@given(
    st.integers(-(10**15), 10**15),
    st.integers(0, 9),
    st.sampled_from([",.", ".,", " .", " ,", "'.", "\u202f,"]),
)
def test_a_number_is_read_in_every_grouping(whole, tenth, marks):
    grouped = f"{whole:,}".replace(",", marks[0]) + marks[1] + str(tenth)
    value = numeric.wanted(f"{whole}.{tenth}") if whole or tenth else Fraction(0)
    verdict = numeric.judge(
        grouped, value, "", absolute=0.0, relative=0.0, take="whole", units=[], unit_required=False
    )
    assert verdict.correct


@given(jsons)
def test_a_value_equals_itself_and_no_other_kind(value):
    text = json.dumps(value)
    if code.depth(value) > code.MAX_DEPTH or "NaN" in text:
        return
    test = code.Test("f", (), value)
    assert code.failure(test, code.Ended(code.GAVE, text.encode())) == ""
    assert code.failure(test, code.Ended(code.GAVE, json.dumps([value]).encode())) != ""
