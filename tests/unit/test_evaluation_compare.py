from __future__ import annotations

import json

import pytest

from holdfast.errors import UntrustedInput
from holdfast.evaluation import compare


def result(outcomes: str, primary: tuple[str, ...] = ("a",)) -> dict:
    half = len(outcomes) // 2
    return {
        "suite": {"name": "quiz", "version": "1"},
        "primary": list(primary),
        "ids": [f"q{at}" for at in range(len(outcomes))],
        "of": ["a"] * half + ["b"] * (len(outcomes) - half),
        "outcomes": outcomes,
    }


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_every_section_stands_side_by_side():
    found = compare.sections(result("0" * 8), result("1111" + "0000"))
    assert [(one["section"], one["items"], one["before"], one["after"]) for one in found] == [
        ("all", 8, 0.0, 0.5),
        ("primary", 4, 0.0, 1.0),
        ("a", 4, 0.0, 1.0),
        ("b", 4, 0.0, 0.0),
    ]
    assert [one["verdict"] for one in found] == ["same"] * 4  # four of four give p = 1/8
    assert compare.changed(found) == (["q0", "q1", "q2", "q3"], [])


def test_what_says_the_same_twice_is_said_once():
    one = result("0101") | {"of": ["a"] * 4}
    assert [row["section"] for row in compare.sections(one, one)] == ["a"]
    both = result("0101", primary=("a", "b"))
    assert [row["section"] for row in compare.sections(both, both)] == ["all", "a", "b"]


def test_rows_are_picked_by_id():
    data = lines({"id": "x", "n": 1}, {"id": "y", "n": 2}) + b"\n"
    assert compare.rows(data, {"y"}, what="f") == {"y": {"id": "y", "n": 2}}
    assert list(compare.rows(data, what="f")) == ["x", "y"]


@pytest.mark.parametrize(
    "bad", [b"nonsense\n", b"[]\n", lines({"id": 3}), b'{"id": "x", "id": "y"}\n', b"[" * 10_000, b"\xff\n"]
)
def test_a_malformed_row_is_refused_by_its_line(bad):
    with pytest.raises(UntrustedInput, match="Line 2 of f"):
        compare.rows(lines({"id": "x"}) + bad, what="f")


def test_an_example_shows_question_expectation_and_both_answers():
    item = {
        "id": "q",
        "section": "a",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Fee?"}],
    }
    rows = [
        {"id": "q", "answer": "9 crowns", "expected": ["7 crowns"], "correct": False},
        {"id": "q", "answer": "x" * 2000, "expected": ["7 crowns"], "correct": False, "told": "no number"},
    ]
    found = compare.example(item, *rows)
    assert (found["id"], found["section"], found["question"]) == ("q", "a", "Fee?")
    assert found["expected"] == ["7 crowns"]
    assert found["answers"] == ["9 crowns", "x" * compare.MAX_SHOWN + "… [no number]"]
    passage = {"id": "t", "section": "b", "text": "Once."}
    text = compare.example(passage, {"id": "t", "value": 1.25}, {"id": "t", "value": 1.5})
    assert (text["question"], text["expected"]) == ("Once.", [])
    assert text["answers"] == ["1.25 bits per byte", "1.5 bits per byte"]
    half = compare.example(item, {"id": "q", "answer": "\ud800"}, {"id": "q", "answer": None})
    assert half["answers"] == ["?", ""]
    many = compare.example(item, rows[0], rows[0] | {"expected": [str(at) for at in range(60)]})
    assert many["expected"] == ["0", "1", "2", "3", "4", "…"]
