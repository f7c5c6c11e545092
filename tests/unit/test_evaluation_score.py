from __future__ import annotations

import json
import math

import pytest
from tests import suites

from holdfast import canonical
from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import score
from holdfast.evaluation.generate import Words, batches, check_room, cut_pair, cut_text
from holdfast.evaluation.responses import Answer, Cost
from holdfast.evaluation.scorers import Verdict
from holdfast.evaluation.spec import Suite, read_suite

HEAD = suites.head(
    "domain",
    {"single": 'metric = "exact"\nprimary = true', "joined": 'metric = "exact"\nprimary = false'},
)


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
    judged = score.outcomes(suite(), [Answer(text) for text in (" a\n", "b", "A", "no")])
    result = score.result(suite(), judged)
    assert result["score"] == 0.666667
    assert result["sections"] == {
        "all": {"metric": "share", "items": 4, "correct": 2, "score": 0.5},
        "primary": {"metric": "share", "items": 3, "correct": 2, "score": 0.666667},
        "single": {"metric": "exact", "items": 3, "correct": 2, "score": 0.666667},
        "joined": {"metric": "exact", "items": 1, "correct": 0, "score": 0.0},
    }
    assert result["outcomes"] == "1100"
    assert result["values"] == result["bytes"] == {}
    assert canonical.encode(result) == canonical.encode(score.result(suite(), judged))
    assert judged[3].to_json() == {
        "id": "j1",
        "section": "joined",
        "answer": "no",
        "expected": ["a", "b"],
        "correct": False,
        "told": "",
    }


def test_texts_have_values_and_are_summed_up_by_their_bytes():
    head = HEAD.replace('metric = "exact"\nprimary = false', 'metric = "bits_per_byte"\nprimary = false')
    texts = [json.dumps({"id": f"t{size}", "section": "joined", "text": "x" * size}) for size in (8, 24)]
    read = suite(head, [*ITEMS[:3], *texts])
    nats = [-8 * 2 * math.log(2), -24 * 6 * math.log(2)]
    result = score.result(read, score.outcomes(read, [*[Answer("a")] * 3, *[Cost(one) for one in nats]]))
    assert result["outcomes"] == "111--"
    assert result["values"] == {"t8": 2.0, "t24": 6.0}
    assert result["bytes"] == {"t8": 8, "t24": 24}
    # (8 * 2 + 24 * 6) / 32; the headline and the whole count what has a verdict.
    assert result["sections"]["joined"] == {"metric": "bits_per_byte", "items": 2, "bytes": 32, "score": 5.0}
    assert result["sections"]["all"] == {"metric": "share", "items": 3, "correct": 3, "score": 1.0}


def test_a_suite_of_texts_alone_has_bits_for_its_headline():
    head = HEAD[: HEAD.index("[generation]")] + HEAD[HEAD.index("[[section]]") :]
    head = head.replace('"exact"', '"bits_per_byte"')
    rows = [json.dumps({"id": name, "section": name, "text": "üx"}) for name in ("single", "joined")]
    read = suite(head, rows)
    result = score.result(read, score.outcomes(read, [Cost(-3 * math.log(2)), Cost(-6 * math.log(2))]))
    assert result["score"] == 1.0
    assert result["sections"]["all"] == {"metric": "bits_per_byte", "items": 2, "bytes": 6, "score": 1.5}


def test_programs_are_open_until_they_have_been_run():
    head = HEAD.replace('metric = "exact"\nprimary = false', 'metric = "code"\nprimary = false')
    tests = [{"call": "f", "arguments": [], "expected": 1}]
    asked = json.loads(ITEMS[3])
    del asked["answers"]
    read = suite(head, [*ITEMS[:3], json.dumps(asked | {"tests": tests})])
    judged = score.outcomes(read, [Answer("a"), Answer("x"), Answer("b"), Answer("def f(): return 1")])
    assert score.is_open(judged)
    assert score.result(read, judged)["outcomes"] == "101?"
    rows = [one.to_json() for one in judged]
    result, filled = score.completed(read, rows, {"j1": Verdict(correct=False, told="test 1: it raised")})
    assert result["outcomes"] == "1010"
    assert result["sections"]["joined"]["correct"] == 0
    assert filled == [*rows[:3], rows[3] | {"correct": False, "told": "test 1: it raised"}]


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
        (item("x", more=1), "expected exactly the keys answers, id, messages, section"),
        (json.dumps({"id": "x", "section": "single"}), "key 'answers' is missing (metric 'exact')"),
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
        ("[generation]\nmax_new_tokens = 8\n", "", "key 'generation' is missing"),
        (
            '"exact"\nprimary = false',
            '"bits_per_byte"\nprimary = true',
            "primary sections that can be summed up",
        ),
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
    items = suite().items
    check_room(items, [56] * 4, 8, 64)
    with pytest.raises(UntrustedRecipe, match=r"'s2' has 57 tokens") as caught:
        check_room(items, [56, 57, 56, 56], 8, 64)
    assert caught.value.fields["room"] == 56


def test_batches_hold_prompts_of_like_length():
    assert list(batches([3, 9, 3, 7, 1], 2)) == [[1, 3], [0, 2], [4]]


LETTERS = Words(render=str, encode=lambda text: [ord(one) for one in text], begin=0)


def test_white_space_before_a_choice_belongs_to_it():
    assert cut_pair(LETTERS, ("ab ", "c"), 9) == ([97, 98], [32, 99])
    assert cut_pair(LETTERS, ("", "c"), 9) == ([0], [99])
    with pytest.raises(UntrustedRecipe, match="has room for 2"):
        cut_pair(LETTERS, ("ab", "cd"), 2)
    merging = Words(render=str, encode=lambda text: [len(text) // 3], begin=0)
    with pytest.raises(UntrustedRecipe, match="no token of its own"):
        cut_pair(merging, ("abc", "d"), 9)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 8, 9, 11])
def test_a_text_is_predicted_once_from_no_more_than_a_window(size):
    cuts = cut_text(LETTERS, "abcdefghijk"[:size], 4)
    assert [token for _, predicted in cuts for token in predicted] == LETTERS.encode("abcdefghijk"[:size])
    assert all(len(given) + len(predicted) - 1 <= 4 for given, predicted in cuts)
    assert cuts[0][0] == [0]
    # What is given stands before what is predicted; the last window is filled up.
    text = LETTERS.encode("abcdefghijk")
    done = len(cuts[0][1])
    for given, predicted in cuts[1:]:
        assert given == text[done - len(given) : done]
        assert len(given) + len(predicted) - 1 == 4
        done += len(predicted)
