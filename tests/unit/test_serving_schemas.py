"""Requests: what is unknown, unsupported or out of bounds is refused by its name."""

from __future__ import annotations

import json

import pytest

from holdfast.errors import UntrustedRequest
from holdfast.serving import schemas

CHAT = {"model": "base", "messages": [{"role": "user", "content": "Hello"}]}
LIMIT = 10_000


def read(**change):
    return schemas.read(schemas.ChatRequest, json.dumps(CHAT | change).encode(), LIMIT)


def test_a_plain_request_passes():
    asked = read()
    assert (asked.messages[0].text, asked.stops, asked.streams, asked.most) == ("Hello", (), False, None)


def test_text_parts_are_joined_and_both_names_of_the_bound_work():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = read(messages=[{"role": "user", "content": parts}], max_completion_tokens=7, stop=["x", "y"])
    assert (asked.messages[0].text, asked.most, asked.stops) == ("ab", 7, ("x", "y"))


@pytest.mark.parametrize(
    "name",
    ["tools", "logit_bias", "response_format", "frequency_penalty", "logprobs", "metadata", "nonsense"],
)
def test_unsupported_parameters_are_refused_by_name(name):
    with pytest.raises(UntrustedRequest) as caught:
        read(**{name: 1})
    assert caught.value.fields["param"] == name
    assert caught.value.fields["code"] == "unsupported_parameter"


@pytest.mark.parametrize("name", ["echo", "logprobs", "suffix", "best_of"])
def test_completions_refuse_what_they_do_not_support(name):
    with pytest.raises(UntrustedRequest) as caught:
        schemas.read(
            schemas.CompletionRequest, json.dumps({"model": "base", "prompt": "a", name: 1}).encode(), LIMIT
        )
    assert caught.value.fields["param"] == name


def test_half_of_a_surrogate_pair_is_no_text():
    with pytest.raises(UntrustedRequest) as caught:
        read(messages=[{"role": "user", "content": "\ud800"}])
    assert caught.value.key == "json.surrogate"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": 1.5}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"model": None}, "model"),
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused(change, param):
    with pytest.raises(UntrustedRequest) as caught:
        read(**change)
    assert caught.value.fields["param"].split(".")[0] == param


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b'{"model": "a", "model": "b"}', b'{"seed": NaN}', b"[" * 5000, b'"x"'],
)
def test_what_is_no_request_is_refused(body):
    with pytest.raises(UntrustedRequest):
        schemas.read(schemas.ChatRequest, body, LIMIT)


def test_a_missing_parameter_is_named():
    with pytest.raises(UntrustedRequest) as caught:
        schemas.read(schemas.ChatRequest, b'{"model": "base"}', LIMIT)
    assert caught.value.fields == {"param": "messages", "code": "missing_required_parameter"}
