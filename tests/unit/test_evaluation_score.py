from __future__ import annotations

import json

import pytest

from holdfast import canonical
from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import score
from holdfast.evaluation.generate import batches, check_room
from holdfast.evaluation.spec import Suite, read_suite

HEAD = """\
schema = "holdfast.suite/1"
name = "domain"
version = "1"
description = "Questions."
licence = "Apache-2.0"
items = "items.jsonl"
[label]
level = "public"
compartments = []
zones = ["site"]
[generation]
max_new_tokens = 8
[[section]]
name = "single"
metric = "exact"
primary = true
[[section]]
name = "joined"
metric = "exact"
primary = false
"""


def item(name: str, section: str = "single", **other: object) -> str:
    row = {
        "id": name,
        "section": section,
        "messages": [{"role": "user", "content": "q"}],
        "answers": ["a", "b"],
    } | other
    return json.dumps(row)


ITEMS = [item("s1"), item("s2"), item("s3"), item("j1", "joined")]


def suite(head: str = HEAD, items: list[str] = ITEMS) -> Suite:
    return read_suite(head.encode(), "\n".join(items).encode(), file="suite.toml")


def test_sections_are_scored_apart_and_the_headline_is_the_primary_ones():
    judged = score.outcomes(suite(), [" a\n", "b", "A", "no"])
    result = score.result(suite(), judged)
    assert result["score"] == 0.666667
    assert result["sections"] == {
        "all": {"items": 4, "correct": 2, "score": 0.5},
        "primary": {"items": 3, "correct": 2, "score": 0.666667},
        "single": {"items": 3, "correct": 2, "score": 0.666667},
        "joined": {"items": 1, "correct": 0, "score": 0.0},
    }
    assert result["outcomes"] == "1100"
    assert canonical.encode(result) == canonical.encode(score.result(suite(), judged))
    assert judged[3].to_json() == {
        "id": "j1",
        "section": "joined",
        "answer": "no",
        "expected": ["a", "b"],
        "correct": False,
    }


@pytest.mark.parametrize(
    ("answer", "right"), [("a", True), ("\ta ", True), ("a.", False), ("", False), ("a b", False)]
)
def test_exact_forgives_white_space_at_the_ends_only(answer, right):
    assert score.exact(answer, ["a"]) is right


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (item("s1"), "items.jsonl:5: expected each id once"),
        (item("x", "other"), "'section': expected one of joined, single, found 'other'"),
        (item("x", answers=[]), "'answers': expected a list of 1 to 64"),
        (item("x", answers=["a", 3]), "'answers': expected text"),
        (
            item("x", messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]),
            "the user's",
        ),
        (item("x", more=1), "expected exactly the keys"),
        ("nonsense", "expected one JSON object"),
    ],
)
def test_a_malformed_item_is_named(bad, told):
    with pytest.raises(UntrustedRecipe) as caught:
        suite(items=[*ITEMS, bad])
    assert caught.value.fields["line"] == 5
    assert told in caught.value.message


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('name = "joined"', 'name = "single"', "distinct names"),
        ('name = "joined"', 'name = "all"', "none of them 'all' or 'primary'"),
        ("primary = true", "primary = false", "at least one section with primary = true"),
        ("max_new_tokens", "max_tokens", "did you mean 'max_new_tokens'?"),
    ],
)
def test_a_malformed_head_is_refused(right, wrong, told):
    with pytest.raises(UntrustedRecipe, match=r"suite\.toml") as caught:
        suite(head=HEAD.replace(right, wrong))
    assert told in caught.value.message


def test_an_empty_section_is_refused():
    with pytest.raises(UntrustedRecipe, match="found none in 'joined'"):
        suite(items=ITEMS[:3])


def test_a_prompt_that_leaves_no_room_for_the_answer_is_refused():
    check_room(suite(), [56] * 4, 64)
    with pytest.raises(UntrustedRecipe, match=r"'s2' .* has 57 tokens") as caught:
        check_room(suite(), [56, 57, 56, 56], 64)
    assert caught.value.fields["room"] == 56


def test_batches_hold_prompts_of_like_length():
    assert list(batches([3, 9, 3, 7, 1], 2)) == [[1, 3], [0, 2], [4]]
