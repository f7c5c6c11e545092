from __future__ import annotations

import json
import time

import pytest
from tests import suites

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import score
from holdfast.evaluation.responses import Answer, Logs
from holdfast.evaluation.scorers import bits, choice, json_schema
from holdfast.evaluation.spec import Suite, read_suite

HEAD = suites.head("one", {"only": "primary = true"})


def suite(options: str, *wanted: dict[str, object]) -> Suite:
    rows = [
        {"id": f"i{at}", "section": "only", "messages": [{"role": "user", "content": "q"}]} | one
        for at, one in enumerate(wanted)
    ]
    return read_suite((HEAD + options).encode(), "\n".join(map(json.dumps, rows)).encode(), file="suite.toml")


def judged(options: str, wanted: dict[str, object], answer: str) -> score.Outcome:
    return score.outcomes(suite(options, wanted), [Answer(answer)])[0]


def right(options: str, wanted: dict[str, object], answer: str) -> bool:
    return judged(options, wanted, answer).counted.mark == score.RIGHT


@pytest.mark.parametrize(
    ("answer", "is_right"), [("a", True), ("\ta ", True), ("a.", False), ("", False), ("a b", False)]
)
def test_exact_forgives_white_space_at_the_ends_only(answer, is_right):
    assert right('metric = "exact"', {"answers": ["a"]}, answer) is is_right


@pytest.mark.parametrize(
    ("options", "expected", "answer", "is_right"),
    [
        ("", "Marren", "  marren!", True),
        ("", "Straße 5", "STRASSE  5", True),
        ("", "café", "cafe\u0301", True),  # composed and not
        ("", "1/2", "½", True),  # compatibility forms; the fraction slash is a symbol
        ("", "ﬁve", "FIVE", True),
        ("", "a b", "ab", False),
        ("", "a b", "a\u00a0b", True),
        ('white_space = "drop"', "a b", "ab", True),
        ('punctuation = "keep"', "a.b", "ab", False),
        ("casefold = false", "A", "a", False),
        ("", "...", "!", True),  # nothing is left of either
        ("", "é", "e-\u0301", True),  # what stood between a letter and its accent
    ],
)
def test_normalised_forgives_what_its_options_say(options, expected, answer, is_right):
    assert right(f'metric = "normalised"\n{options}', {"answers": [expected]}, answer) is is_right


@pytest.mark.parametrize(
    ("answer", "value", "is_right"),
    [
        ("1234.5", 1234.5, True),
        ("1,234.5", 1234.5, True),
        ("1.234,5", 1234.5, True),
        ("1 234,5", 1234.5, True),
        ("1\u202f234,5", 1234.5, True),
        ("1'234.5", 1234.5, True),
        ("1\u2019234\u2019567", 1234567, True),
        ("1,234", 1234, True),  # either reading of one group
        ("1,234", 1.234, True),
        ("1,23", 1.23, True),
        ("12.345.678", 12345678, True),
        ("\u22125", -5, True),
        ("+5", 5, True),
        ("-5", 5, False),
        ("3e2", 300, True),
        ("3E-2", 0.03, True),
        (".5", 0.5, True),
        ("5.", 5, True),
        ("١٢٣", 123, True),
        ("1.2.3", 1.2, False),
        ("1,2,3", 123, False),
        ("1,23,456", 123456, False),  # groups of three only
        ("five", 5, False),
        ("", 0, False),
        ("5 of 6", 5, False),
        ("9" * 61, 9, False),
        ("1e400", 1, False),
        ("nan", 0, False),
    ],
)
def test_numbers_are_read_whatever_their_writers_grouping(answer, value, is_right):
    assert right('metric = "numeric"', {"value": value}, answer) is is_right


@pytest.mark.parametrize(
    ("options", "wanted", "answer", "is_right"),
    [
        ("absolute = 0.1", {"value": "0.3"}, "0.4", True),  # exactly the tolerance: not so in floating point
        ("absolute = 0.1", {"value": "0.3"}, "0.40001", False),
        ("relative = 0.01", {"value": -200}, "-202", True),
        ("relative = 0.01", {"value": -200}, "-202.1", False),
        ('take = "first"', {"value": 3}, "It is 3, not 4.", True),
        ('take = "last"', {"value": 4}, "It is 3, no, 4.", True),
        ('units = ["crowns", "%"]', {"value": 37, "unit": "crowns"}, "37 crowns.", True),
        ('units = ["crowns", "%"]', {"value": 37, "unit": "crowns"}, "37", True),
        ('units = ["crowns", "%"]', {"value": 37, "unit": "crowns"}, "37%", False),
        ('units = ["crowns", "%"]', {"value": 37, "unit": "%"}, "37 %", True),
        ('units = ["crowns"]\nunit = "required"', {"value": 37, "unit": "crowns"}, "37", False),
        ('units = ["crowns"]', {"value": 37}, "37 crowns", False),
        ('units = ["m"]', {"value": 37}, "37 metres", False),  # no unit that is stated, so not a number alone
    ],
)
def test_tolerances_and_units_are_those_stated(options, wanted, answer, is_right):
    assert right(f'metric = "numeric"\n{options}', wanted, answer) is is_right


@pytest.mark.parametrize(
    ("options", "pattern", "answer", "is_right"),
    [
        ("", "[A-Z]-\\d+", " B-2\n", True),
        ("", "[A-Z]-\\d+", "form B-2", False),
        ('match = "search"', "[A-Z]-\\d+", "form B-2", True),
        ("", "b-2", "B-2", False),
        ("ignore_case = true", "b-2", "B-2", True),
        ("", "ü+", "üü", True),
    ],
)
def test_a_pattern_matches_the_whole_answer_or_a_part(options, pattern, answer, is_right):
    assert right(f'metric = "regex"\n{options}', {"pattern": pattern}, answer) is is_right


def test_a_hostile_pattern_takes_linear_time():
    begun = time.process_time()
    assert not right('metric = "regex"', {"pattern": "(a*)*(a|aa)+$"}, "a" * 50_000 + "b")
    assert time.process_time() - begun < 2


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z]"},
        "parts": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/part"}},
    },
    "patternProperties": {"^x-": {"type": "null"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"part": {"type": ["number", "null"]}},
}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('{"name": "Ada", "parts": [1, 2.5, null], "x-1": null}', ""),
        ('{"name": "ada"}', "$.name: pattern does not hold"),
        ('{"name": "A", "parts": [1, 1.0]}', "$.parts: uniqueItems does not hold"),
        ('{"name": "A", "parts": ["1"]}', "$.parts[0]: type does not hold"),
        ('{"name": "A", "x-1": 1}', "$['x-1']: type does not hold"),
        ('{"name": "A", "other": 1}', "$: additionalProperties does not hold"),
        ("{}", "$: required does not hold"),
        ('{"name": "A", "name": "B"}', "not JSON: a key occurs twice"),
        ('{"name": NaN}', "not JSON: NaN is no JSON"),
        ('{"name": 1e999}', "not JSON: a number is out of bounds"),
        ("[" * 300 + "]" * 300, "its values are nested too deeply"),
        ("[" * 60_000, "not JSON: "),
        ("1" * 301, "not JSON: a number has too many digits"),
        ("x" * 70_000, "longer than 65536 characters"),
    ],
)
def test_json_is_judged_by_the_items_schema(answer, told):
    one = judged('metric = "json_schema"', {"schema": SCHEMA}, answer)
    assert one.verdict is not None
    assert one.verdict.correct is (told == "")
    assert one.verdict.told.startswith(told)


def test_what_was_expected_is_written_down_whatever_it_is():
    schema = {"maximum": 10**30, "const": "\ud800"}
    one = judged('metric = "json_schema"', {"schema": schema}, "5").to_json()
    assert json.loads(str(one["expected"][0])) == schema
    assert score.lines([one]).encode()
    row = judged('metric = "numeric"\nunits = ["m"]', {"value": "0.10", "unit": "m"}, "5").to_json()
    assert row["expected"] == ["0.1 m"]


def test_json_may_stand_between_fences():
    wanted = {"schema": {"type": "integer"}}
    fenced = "Here you are:\n```json\n5\n```\nAnything else?"
    assert right('metric = "json_schema"\nextract = "fenced"', wanted, fenced)
    assert right('metric = "json_schema"\nextract = "fenced"', wanted, "5")
    assert not right('metric = "json_schema"', wanted, fenced)


@pytest.mark.parametrize("depth", [25, 200])
def test_a_schema_that_multiplies_itself_is_given_up(depth):
    defs = {
        f"a{at}": {"anyOf": [{"$ref": f"#/$defs/a{at + 1}"}, {"$ref": f"#/$defs/a{at + 1}"}]}
        for at in range(depth)
    }
    schema = json_schema.check({"$ref": "#/$defs/a0", "$defs": defs | {f"a{depth}": {"type": "string"}}})
    begun = time.process_time()
    for answer in ("1", json.dumps([1] * 20_000)):
        assert json_schema.judge(answer, schema, extract="whole").told == "the schema takes too long to apply"
    assert time.process_time() - begun < 20


@pytest.mark.parametrize(
    ("texts", "logs", "normalise", "found"),
    [
        (["no", "certainly"], [-3.0, -6.0], "none", 0),
        (["no", "certainly"], [-3.0, -6.0], "characters", 1),
        (["üü", "abc"], [-3.0, -4.0], "characters", 1),
        (["üü", "abc"], [-3.0, -4.0], "bytes", 0),
        (["a", "b"], [-1.0, -1.0], "none", 0),  # of equal ones the first
        (["a", "b"], [float("nan"), -1.0], "none", None),
        (["a", "b"], [float("-inf"), -1.0], "none", 1),
    ],
)
def test_the_likeliest_choice_is_taken(texts, logs, normalise, found):
    assert choice.chosen(texts, logs, normalise=normalise) == found


def test_a_choice_is_written_down_with_its_likelihoods():
    read = suite('metric = "choice"', {"choices": ["red", "blue"], "answer": "blue"})
    row = score.outcomes(read, [Logs((-2.0, -1.25))])[0].to_json()
    assert row["correct"] is True
    assert (row["answer"], row["expected"], row["nats"]) == ("blue", ["blue"], [-2.0, -1.25])


@pytest.mark.parametrize("nats", [float("nan"), float("-inf"), -1e300])
def test_a_likelihood_that_is_no_number_is_the_worst_value(nats):
    assert bits.value(nats, 3) == bits.WORST


@pytest.mark.parametrize(
    ("options", "wanted", "told"),
    [
        ('metric = "numeric"', {"value": "1,5"}, "'value': expected a number"),
        ('metric = "numeric"', {"value": True}, "'value': expected a number"),
        ('metric = "numeric"', {"value": 1e999}, "'value': expected a number"),
        ('metric = "numeric"', {"value": 1, "unit": "m"}, "'unit': expected one of the section's units"),
        ('metric = "regex"', {"pattern": "(?=a)"}, "not a pattern that RE2 takes"),
        ('metric = "regex"', {"pattern": "a" * 1025}, "at most 1024 characters"),
        ('metric = "regex"', {"pattern": "((a{100}){100}){100}"}, "not a pattern that RE2 takes"),
        ('metric = "json_schema"', {"schema": []}, "'schema': expected an object"),
        ('metric = "json_schema"', {"schema": {"type": "text"}}, "'schema': "),
        ('metric = "json_schema"', {"schema": {"$ref": "https://x/y"}}, "a schema within this one"),
        (
            'metric = "json_schema"',
            {"schema": {"$ref": "#/const", "const": {"$ref": "file:///x"}}},
            "within this one",
        ),
        (
            'metric = "json_schema"',
            {"schema": {"properties": {"a": {"$id": "http://x"}}}},
            "'$id' is not taken",
        ),
        ('metric = "json_schema"', {"schema": {"pattern": "(?!a)"}}, "not a pattern that RE2 takes"),
        ('metric = "json_schema"', {"schema": {"unevaluatedItems": False}}, "is not taken"),
        ('metric = "json_schema"', {"schema": {"requried": ["a"]}}, "'requried' is not taken"),
        ('metric = "json_schema"', {"schema": {"$schema": "http://x"}}, "expected $schema to be"),
        ('metric = "choice"', {"choices": ["a"], "answer": "a"}, "a list of 2 to 64 texts"),
        ('metric = "choice"', {"choices": ["a", "a"], "answer": "a"}, "texts that all differ"),
        (
            'metric = "choice"',
            {"choices": ["a", "b"], "answer": "c"},
            "expected one of the choices, found 'c'",
        ),
        ('metric = "code"', {"tests": []}, "a list of 1 to 64 tests"),
        ('metric = "code"', {"tests": [{"call": "f"}]}, "'arguments', a list, and 'expected', a value"),
        (
            'metric = "code"',
            {"tests": [{"call": "f()", "arguments": [], "expected": 1}]},
            "the name of a function",
        ),
        (
            'metric = "code"',
            {"tests": [{"input": "\ud800", "output": "a"}]},
            "or the texts 'input' and 'output'",
        ),
        ('metric = "code"', {"tests": [{"input": "a"}]}, "or the texts 'input' and 'output'"),
        (
            'metric = "code"',
            {"tests": [{"call": "f", "arguments": [], "expected": 1, "tolerance": -1}]},
            "at least 0",
        ),
    ],
)
def test_what_an_item_wants_is_checked_when_it_is_read(options, wanted, told):
    with pytest.raises(UntrustedRecipe) as caught:
        suite(options, wanted)
    assert caught.value.fields["line"] == 1
    assert told in caught.value.message


def test_every_mistake_in_a_head_is_told_with_its_line():
    text = (
        HEAD + 'metric = "numeric"\nabsolut = 1.0\nrelative = -1.0\n[[section]]\nname = "b"\nprimary = true\n'
    )
    text += (
        'metric = "fuzzy"\n[[section]]\nname = "c"\nprimary = true\n[[section]]\nname = "d"\nprimary = true\n'
    )
    text += 'metric = "choice"\nnormalise = "words"\n'
    with pytest.raises(UntrustedRecipe) as caught:
        read_suite(text.encode(), b"", file="suite.toml")
    told = [str(one) for one in caught.value.fields["mistakes"]]
    assert [one.split(":")[1] for one in told] == ["17", "18", "22", "23", "30"]
    assert "did you mean 'absolute'?" in told[0]
    assert "'exact', 'normalised'" in told[2]
    assert "key 'metric' in [section] 3 is missing" in told[3]
