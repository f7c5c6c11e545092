from __future__ import annotations

import json

import pytest

from holdfast.dataset import messages, prepared
from holdfast.dataset.forms import Completion, Conversation, Passage, Preference, Row, content_of
from holdfast.dataset.messages import Message
from holdfast.errors import UntrustedRecipe


def refused(value: object, form: str = "messages") -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(ValueError) as caught:
        content_of(messages.load_object(text), form)
    return str(caught.value)


def talk(*turns: tuple[str, str], **more: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b"{", "expected one JSON object, column 2"),
        ([], "expected one JSON object, found list"),
        (b'{"messages": [], "messages": []}', "expected each key once"),
        ({"messages": [], "text": "x"}, "expected the keys 'messages', found 'text'"),
        ({"id": "x"}, "key 'messages' is missing"),
        ({"messages": []}, "expected a list of 1 to 256 messages"),
        ({"messages": ["x"]}, "message 1: expected an object with exactly 'role' and 'content'"),
        (talk(("user", "q")), "expected the last message to be the assistant's"),
        (talk(("assistant", "a")), "message 1: expected role 'user', found 'assistant'"),
        (talk(("system", "s"), ("assistant", "a")), "message 2: expected role 'user'"),
        (talk(("user", "q"), ("user", "q"), ("assistant", "a")), "message 2: expected role 'assistant'"),
        (talk(("user", "q"), ("tool", "a")), "message 2: expected role system, user, assistant"),
        (talk(("user", " "), ("assistant", "a")), "expected text that is not blank"),
        (talk(("user", "q\0"), ("assistant", "a")), "found a NUL character"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "half a surrogate pair"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"messages": "\xff"}', "expected UTF-8 text, found byte 0xff"),
        (b'{"messages": ' + b"9" * 5000 + b"}", "limit"),
    ],
)
def test_a_conversation_is_read_strictly(bad, told):
    assert told in refused(bad)


@pytest.mark.parametrize(
    ("form", "bad", "told"),
    [
        ("completion", {"prompt": "p"}, "'completion' is missing"),
        ("completion", {"prompt": "p", "completion": 5}, "'completion': expected text, found int"),
        ("text", {"text": ""}, "not blank"),
        ("text", {"text": "x", "url": "y"}, "found 'url'"),
        ("preference", {"prompt": "p", "chosen": "a", "rejected": "a"}, "found the same one"),
        ("preference", {"prompt": talk(("user", "q"), ("assistant", "a"))["messages"], "chosen": "a", "rejected": "b"}, "to be the user's"),
    ],
)  # fmt: skip
def test_the_other_forms_are_read_strictly(form, bad, told):
    assert told in refused(bad, form)


def test_a_row_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr("holdfast.dataset.forms.MAX_CHARACTERS", 3)
    assert "4 characters and 3 are allowed" in refused({"text": "four"}, "text")


CONTENTS = [
    Conversation((Message("user", "q"), Message("assistant", "a"))),
    Completion("p", "c"),
    Passage("t\n"),
    Preference("p", "a", "b"),
    Preference((Message("system", "s"), Message("user", "q")), "a", "b"),
]


@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_written_is_read_again(content):
    rows = [Row("d.jsonl:7", content), Row("e/f.md:1", content)]
    data = b"".join(row.line() for row in rows)
    assert prepared.read(data, form=content.form, file="rows.jsonl") == rows
    assert rows[0].digest == rows[1].digest


@pytest.mark.parametrize(
    ("data", "line", "told"),
    [
        (b"", 1, "no row"),
        (b'{"at": "a:1", "text": "x"}', 1, "has no end"),
        (b'{"at": "a:1", "text": "x"}\n{"text": "x"}\n', 2, "'at': expected text"),
        (b'{"at": "%s", "text": "x"}\n' % (b"a" * 321), 1, "'at': expected at most 320"),
        (b'{"at": "a:1", "prompt": "x"}\n', 1, "'text' is missing"),
        (b"\n", 1, "expected one JSON object"),
    ],
)
def test_prepared_rows_of_another_kind_are_refused(data, line, told):
    with pytest.raises(UntrustedRecipe) as caught:
        prepared.read(data, form="text", file="rows.jsonl")
    assert caught.value.key == "dataset.prepared"
    assert caught.value.fields["line"] == line
    assert told in caught.value.message


def test_prepared_files_are_bounded(monkeypatch):
    data = b'{"at": "a:1", "text": "x"}\n' * 3
    for name, bound in (("MAX_FILE", 10), ("MAX_ROWS", 2), ("MAX_LINE", 5)):
        with monkeypatch.context() as patch:
            patch.setattr(prepared, name, bound)
            with pytest.raises(UntrustedRecipe):
                prepared.read(data, form="text", file="rows.jsonl")


def test_a_record_that_states_no_form_is_refused():
    assert prepared.form_of("text", name="d") == "text"
    with pytest.raises(UntrustedRecipe, match="expected one of messages"):
        prepared.form_of(None, name="d")
