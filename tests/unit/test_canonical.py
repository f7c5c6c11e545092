"""Strict JSON: what is refused, and the bytes that are given out."""

from __future__ import annotations

import time

import pytest

from holdfast import canonical
from holdfast.errors import UntrustedBundle, UntrustedInput


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({"b": 1, "a": [None, True, False]}, b'{"a":[null,true,false],"b":1}'),
        (
            {"\ufb33": 1, "\U0001f600": 2},
            '{"\U0001f600":2,"\ufb33":1}'.encode(),
        ),  # RFC 8785, 3.2.3: UTF-16 order
        ([1.0, 1e21, 0.002, 1e-7, -0.0], b"[1,1e+21,0.002,1e-7,0]"),
        ("\u20ac$\u000f\nA'B\"\\/", '"\u20ac$\\u000f\\nA\'B\\"\\\\/"'.encode()),
    ],
)
def test_the_bytes_are_those_of_rfc_8785(value, data):
    assert canonical.encode(value) == data


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, -(2**53), 1e17, "\ud800", {"\ud800": 1}]
)
def test_what_canonical_json_cannot_say_is_refused(value):
    with pytest.raises(UntrustedInput) as caught:
        canonical.encode({"a": value})
    assert caught.value.key == "canonical.encode"


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b'{"a":1,"a":2}', "duplicate-key"),
        (b'{"a":NaN}', "constant"),
        (b"[Infinity]", "constant"),
        (b"[9007199254740992]", "integer"),
        (b"[" + b"9" * 5000 + b"]", "integer"),
        (b"[1e400]", "number"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\uDC00":1}', "surrogate"),
        (b"\xff", "encoding"),
        (b"[1", "syntax"),
        (b"", "syntax"),
        (b"[" * 65 + b"]" * 65, "depth"),
        (b"[" * 100_000, "depth"),
        (b" " * 200_000, "too-large"),
    ],
)
def test_what_is_refused_says_why_and_is_of_the_class_asked_for(data, key):
    with pytest.raises(UntrustedBundle) as caught:
        canonical.decode(data, limit=150_000, what="The document", error=UntrustedBundle)
    assert caught.value.key == f"json.{key}"
    assert caught.value.message.startswith("The document is refused")


def test_brackets_in_texts_do_not_count_as_depth():
    text = "[" * 200 + '\\"' + "{" * 200
    assert canonical.decode(b'{"a":"' + text.encode() + b'"}', limit=1000, what="it") == {
        "a": text.replace("\\", "")
    }


def test_many_brackets_beside_each_other_are_not_deep_and_one_level_too_many_is():
    assert canonical.decode(b"[" + b"[]," * 1000 + b"{}]", limit=10_000, what="it") == [[]] * 1000 + [{}]
    deepest = b"[" * canonical.MAX_DEPTH + b"]" * canonical.MAX_DEPTH
    canonical.decode(deepest, limit=1000, what="it")
    with pytest.raises(UntrustedInput, match="deeper than 64"):
        canonical.decode(b"[" * 900 + deepest, limit=2000, what="it")
    with pytest.raises(UntrustedInput, match="deeper than 64"):
        canonical.decode(b"[[]," + deepest + b"]", limit=2000, what="it")


def test_a_flood_of_brackets_is_refused_at_the_first_too_many():
    start = time.process_time()
    with pytest.raises(UntrustedInput) as caught:
        canonical.decode(b"[" * 15_000_000, limit=2**24, what="it")
    assert caught.value.key == "json.depth"
    assert "Holdfast" not in caught.value.remedy  # other programs write JSON too
    assert time.process_time() - start < 2


def test_the_limit_is_in_bytes_and_inclusive():
    assert canonical.decode('"\u20ac"'.encode(), limit=5, what="it") == "\u20ac"
    with pytest.raises(UntrustedInput):
        canonical.decode('"\u20ac"'.encode(), limit=4, what="it")


def test_a_whole_surrogate_pair_is_one_character():
    assert canonical.decode(b'["\\ud83d\\ude00", "\\\\ud800"]', limit=100, what="it") == [
        "\U0001f600",
        "\\ud800",
    ]


def test_a_wide_integer_is_a_float_where_that_is_asked_for_and_bounded():
    assert canonical.decode(b"[1000000000000000019884624838656, 7]", limit=100, what="it", wide=True) == [
        1e30,
        7,
    ]
    with pytest.raises(UntrustedInput) as caught:
        canonical.decode(b"9" * 41, limit=100, what="it", wide=True)
    assert caught.value.key == "json.integer"
