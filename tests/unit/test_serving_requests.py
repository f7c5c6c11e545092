"""Requests: what is unknown, unsupported or out of bounds is refused by its name."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.canonical import MAX_SAFE_INTEGER
from holdfast.errors import UntrustedRequest
from holdfast.serving.api import parameters, reading, requests

CHAT = {"model": "base", "messages": [{"role": "user", "content": "Hello"}]}
TEXT = {"model": "base", "prompt": "Hello"}
LIMIT = 1_000_000
KINDS = {
    requests.ChatRequest: CHAT,
    requests.CompletionRequest: TEXT,
    requests.EmbeddingRequest: {"model": "base", "input": "Hello"},
    requests.TokenizeRequest: {"content": "Hello"},
    requests.DetokenizeRequest: {"tokens": [1]},
}


def read(kind=requests.ChatRequest, **change):
    return reading.read(kind, json.dumps(KINDS[kind] | change).encode(), LIMIT)


def refused(kind=requests.ChatRequest, **change):
    with pytest.raises(UntrustedRequest) as caught:
        read(kind, **change)
    return caught.value.fields["param"], caught.value.fields["code"]


def test_a_plain_request_passes():
    asked = read()
    assert (asked.messages[0].turn, asked.stops, asked.streams, asked.most, asked.choices) == (
        {"role": "user", "content": "Hello"},
        (),
        False,
        None,
        1,
    )


def test_text_parts_are_joined_and_developers_are_systems():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = read(messages=[{"role": "developer", "content": parts}], stop=["x", "y"])
    assert (asked.messages[0].turn, asked.stops) == ({"role": "system", "content": "ab"}, ("x", "y"))


def test_a_message_as_openais_client_gives_it_back_passes():
    back = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": None, "audio": None,
            "function_call": None, "tool_calls": None}  # fmt: skip
    assert read(messages=[*CHAT["messages"], back]).messages[1].turn == {"role": "assistant", "content": "Hi"}


@pytest.mark.parametrize("kind", KINDS)
def test_null_is_taken_for_every_parameter_that_need_not_be_there_and_changes_nothing(kind):
    optional = {name for name, field in kind.model_fields.items() if not field.is_required()}
    assert read(kind, **dict.fromkeys(optional - set(KINDS[kind]))) == read(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_of_an_unsupported_parameter_is_refused_by_its_name(kind):
    names = [name for name, field in kind.model_fields.items() if field.annotation is type(None)]
    for name in [*names, "nonsense"]:
        for value in (1, False, "", [], {}, "none"):
            assert refused(kind, **{name: value}) == (name, "unsupported_parameter")


def test_tools_functions_and_the_rest_are_among_them():
    chat = {
        name for name, field in requests.ChatRequest.model_fields.items() if field.annotation is type(None)
    }
    assert {"tools", "functions", "modalities", "audio", "store", "service_tier"} <= chat
    assert refused(requests.CompletionRequest, best_of=1) == ("best_of", "unsupported_parameter")
    assert refused(requests.CompletionRequest, suffix="x") == ("suffix", "unsupported_parameter")
    assert refused(requests.EmbeddingRequest, dimensions=8) == ("dimensions", "unsupported_parameter")


IMAGE = [{"type": "image_url", "image_url": {"url": "http://x"}}]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 1.1}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": -2.1}, "presence_penalty"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"n": 0}, "n"),
        ({"n": parameters.MAX_CHOICES + 1}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**20 + 1}, "max_tokens"),
        ({"max_tokens": 3, "max_completion_tokens": 3}, "max_tokens"),
        ({"seed": 1.5}, "seed"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": "a" * 257}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"007": 1}}, "logit_bias"),
        ({"logit_bias": {"7": 100.5}}, "logit_bias"),
        ({"logit_bias": {str(token): 0 for token in range(1025)}}, "logit_bias"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user", "content": IMAGE}]}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"logprobs": 1}, "logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.json_schema"),
        ({"response_format": {"type": "text"}, "grammar": 'root ::= "a"'}, "grammar"),
        ({"regex": "a+", "grammar": 'root ::= "a"'}, "grammar"),
        ({"regex": "a+", "response_format": {"type": "json_object"}}, "regex"),
        ({"regex": "a" * (parameters.MAX_REGEX + 1)}, "regex"),
        ({"grammar": ""}, "grammar"),
        ({"grammar": "x" * (parameters.MAX_GRAMMAR + 1)}, "grammar"),
        ({"model": None}, "model"),
        ({"model": "x" * 391}, "model"),
        ({"user": "x" * 129}, "user"),
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused(change, param):
    assert refused(**change)[0] == param


@pytest.mark.parametrize(
    "prompt", [None, 7, [], [[]], ["a", 1], [1, "a"], [-1], [1.5], [True], [{}], ["a"] * 65]
)
def test_a_prompt_that_is_none_is_refused(prompt):
    assert refused(requests.CompletionRequest, prompt=prompt)[0] == "prompt"


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a", ""], ["a", ""]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_prompts_are_texts_or_token_ids_one_or_several(prompt, prompts):
    assert read(requests.CompletionRequest, prompt=prompt).prompts == prompts


def test_a_prompt_alone_may_be_scored_but_not_left_alone():
    assert read(requests.CompletionRequest, max_tokens=0, echo=True).most == 0
    assert refused(requests.CompletionRequest, max_tokens=0)[0] == "max_tokens"


def test_tokenizing_takes_a_text_or_messages_and_not_both():
    kind = requests.TokenizeRequest
    assert refused(kind, messages=CHAT["messages"])[0] == "content"
    assert refused(kind, content=None)[0] == "content"
    assert refused(kind, content=None, messages=CHAT["messages"], add_special=True)[0] == "add_special"
    assert refused(kind, content=None, messages=CHAT["messages"], parse_special=True)[0] == "parse_special"
    assert refused(kind, with_pieces=True)[0] == "with_pieces"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"\xff", b'{"model": "a", "model": "b"}', b'{"seed": NaN}', b"[" * 5000, b'"x"',
        b'{"seed": 9007199254740992}', b'{"model": "\\ud800"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_request_is_refused(kind, body):
    with pytest.raises(UntrustedRequest):
        reading.read(kind, body, LIMIT)


def test_a_missing_parameter_is_named():
    with pytest.raises(UntrustedRequest) as caught:
        reading.read(requests.ChatRequest, b'{"model": "base"}', LIMIT)
    assert caught.value.fields == {"param": "messages", "code": "missing_required_parameter"}


def test_a_whole_number_may_be_written_with_a_point():
    asked = read(max_tokens=3.0, seed=-7.0, n=2.0, temperature=1.0)
    assert (asked.max_tokens, asked.seed, asked.n, asked.temperature) == (3, -7, 2, 1.0)
    assert read(requests.DetokenizeRequest, tokens=[1.0, 2]).tokens == [1, 2]
    assert refused(max_tokens=3.5) == ("max_tokens", "invalid_value")


def test_a_long_wrong_list_costs_no_more_than_its_first_item():
    wrong = {"model": "a", "prompt": [{}] * 200_000}
    with pytest.raises(UntrustedRequest) as caught:
        reading.read(requests.CompletionRequest, json.dumps(wrong).encode(), LIMIT)
    assert len(caught.value.__cause__.errors()) < 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_no_value_of_any_parameter_raises_anything_but_a_refusal(kind, data):
    names = st.sampled_from([*kind.model_fields, "nonsense"])
    change = data.draw(st.dictionaries(names, JSON, max_size=3))
    body = json.dumps(KINDS[kind] | change).encode()
    with contextlib.suppress(UntrustedRequest):
        assert isinstance(reading.read(kind, body, LIMIT), kind)
