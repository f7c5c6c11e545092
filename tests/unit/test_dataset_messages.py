from __future__ import annotations

import json

import pytest

from holdfast.dataset import messages, profile
from holdfast.errors import UntrustedRecipe

GOOD = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}'


def refused(text: str | bytes) -> UntrustedRecipe:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(UntrustedRecipe) as caught:
        messages.read_rows(data, file="d.jsonl")
    assert caught.value.key == "dataset.row"
    return caught.value


def row(*turns: tuple[str, str], **more: object) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns], **more})


def test_rows_keep_their_line_numbers():
    rows = messages.read_rows(f"\n{GOOD}\r\n\n{GOOD}".encode(), file="d.jsonl")
    assert [one.line for one in rows] == [2, 4]
    assert rows[0].to_json() == [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("{", "expected one JSON object, column 2"),
        ("[]", "expected one JSON object, found list"),
        ('{"messages": [], "messages": []}', "expected each key once"),
        ('{"text": "x"}', "expected the keys 'messages' and 'id', found 'text'"),
        ('{"id": "x"}', "key 'messages' is missing"),
        ('{"messages": []}', "expected a list of 1 to 256 messages"),
        ('{"messages": ["x"]}', "message 1: expected an object with exactly 'role' and 'content'"),
        (row(("user", "q")), "expected the last message to be the assistant's"),
        (row(("assistant", "a")), "message 1: expected role 'user', found 'assistant'"),
        (row(("system", "s"), ("assistant", "a")), "message 2: expected role 'user'"),
        (row(("user", "q"), ("user", "q"), ("assistant", "a")), "message 2: expected role 'assistant'"),
        (row(("user", "q"), ("tool", "a")), "message 2: expected role system, user, assistant"),
        (row(("user", " "), ("assistant", "a")), "expected text that is not blank"),
        (row(("user", "q"), ("assistant", "a"), id=5), "'id': expected text"),
        (row(("user", "q"), ("assistant", "a"), id="x" * 65), "'id': expected at most 64"),
        ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "half a surrogate pair"),
        ("[" * 200_000, "nested too deeply"),
        (b'{"messages": "\xff"}', "expected UTF-8 text, found byte 0xff"),
        (b"x" * (messages.MAX_ROW + 1), f"{messages.MAX_ROW} are allowed"),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_taken(bad, told):
    bad = bad if isinstance(bad, bytes) else bad.encode()
    error = refused(GOOD.encode() + b"\n" + bad + b"\n" + GOOD.encode())
    assert error.fields["line"] == 2
    assert error.message.startswith("d.jsonl:2: ")
    assert told in error.message


def test_every_malformed_line_is_told_up_to_a_bound():
    error = refused("x\n" * 100)
    assert len(error.fields["mistakes"]) == messages.MAX_MISTAKES


@pytest.mark.parametrize("empty", [b"", b"\n\n"])
def test_a_file_without_examples_is_refused(empty):
    assert "no example" in refused(empty).message


def test_too_many_rows_are_refused(monkeypatch):
    monkeypatch.setattr(messages, "MAX_ROWS", 3)
    assert "more than 3 examples" in refused("\n".join([GOOD] * 9)).message


def test_a_file_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(messages, "MAX_FILE", 10)
    assert "10 are allowed" in refused(GOOD).message


def test_a_profile_counts_duplicates_and_contradictions():
    lines = [
        row(("user", q), ("assistant", a))
        for q, a in (("q", "a"), ("q", "a"), ("q", "b"), ("long", "answer"))
    ]
    seen = profile.of_rows(messages.read_rows("\n".join(lines).encode(), file="d.jsonl"))
    assert seen == profile.Profile(
        rows=4,
        messages=8,
        characters=16,
        median_characters=2,
        longest_characters=10,
        duplicates=1,
        contradictions=1,
    )
