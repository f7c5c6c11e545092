"""Answers have OpenAI's form, exactly, and what is kept of a request is enough to ask it again."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import canonical
from holdfast.errors import (
    NoSpace,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    NotRecorded,
    UntrustedBundle,
    UntrustedRequest,
    WorkerFailed,
    from_dict,
)
from holdfast.serving import link
from holdfast.serving.api import forms, reading, refusals, requests, responses, stream, tokenprobs
from holdfast.serving.api.generation import Wanted
from holdfast.serving.front import faults
from holdfast.serving.front.question import Text, Usage
from holdfast.serving.linkwriter import pack

EURO = "€".encode()


def prob(octets, logprob, top=(), offset=0):
    text = bytes(octets).decode(errors="replace")
    return link.Logprob(7, text, tuple(octets), logprob, tuple(top), offset)


def other(octets, logprob):
    return link.Alternative(8, bytes(octets).decode(errors="replace"), tuple(octets), logprob)


@given(st.text(min_size=1), st.sampled_from([{}, {"usage": None}]))
@pytest.mark.parametrize("form", [forms.ChatForm, forms.TextForm])
def test_a_chunk_that_is_written_once_is_what_each_would_be(form, text, without):
    made = form('base:"ä', 12, 1_700_000_000, probed=False)
    chunk = stream.Chunk(lambda said: made.piece(Text(3, said)) | without)
    assert chunk.event(text) == stream.event(made.piece(Text(3, text)) | without)


def test_log_probabilities_of_a_chat_name_the_bytes_of_what_is_no_text():
    made = tokenprobs.chat([prob(EURO[:2], -0.5, [other(EURO[:2], -0.5), other(b"a", -1.0)])])
    assert made == {
        "content": [
            {
                "token": "bytes:\\xe2\\x82",
                "logprob": -0.5,
                "bytes": [0xE2, 0x82],
                "top_logprobs": [
                    {"token": "bytes:\\xe2\\x82", "logprob": -0.5, "bytes": [0xE2, 0x82]},
                    {"token": "a", "logprob": -1.0, "bytes": [0x61]},
                ],
            }
        ],
        "refusal": None,
    }
    responses.ChatLogprobs.model_validate(made)


def test_log_probabilities_of_a_completion_hold_the_token_itself_and_none_for_the_first_of_a_prompt():
    made = tokenprobs.completion(
        [
            prob(b"A", None, offset=0),
            prob(b"b", -2.0, [other(b"c", -0.1)], offset=1),
            prob(EURO[:1], -3.0, [other(b"\xff", -0.2), other(b"\xff", -9.0)], offset=2),
        ]
    )
    assert made == {
        "tokens": ["A", "b", "bytes:\\xe2"],
        "token_logprobs": [None, -2.0, -3.0],
        "top_logprobs": [None, {"c": -0.1, "b": -2.0}, {"bytes:\\xff": -0.2, "bytes:\\xe2": -3.0}],
        "text_offset": [0, 1, 2],
    }
    responses.CompletionLogprobs.model_validate(made)


@pytest.mark.parametrize(
    ("form", "chunk"),
    [(forms.ChatForm, responses.ChatCompletionChunk), (forms.TextForm, responses.CompletionChunk)],
)
@pytest.mark.parametrize("probed", [True, False])
def test_chunks_are_of_their_class(form, chunk, probed):
    made = form("base", 7, 1, probed=probed)
    pieces = [
        made.piece(Text(1, "x", (prob(b"x", -1.0),) if probed else ())),
        made.piece(Text(0, "", (prob(b"x", -1.0),) if probed else ())),
        made.last(1, "stop"),
        made.counts() | {"usage": forms.usage(Usage(1, 0, 2))},
    ]
    for piece in pieces:
        chunk.model_validate(piece)
    assert [bool(piece["choices"] and piece["choices"][0]["logprobs"]) for piece in pieces] == [
        probed,
        probed,
        False,
        False,
    ]
    assert {piece["id"] for piece in pieces} == {f"{form.prefix}-7"}


def test_vectors_are_numbers_or_base64_and_what_are_no_numbers_is_our_fault():
    vector = base64.b64encode(struct.pack("<2f", 0.5, -1.25)).decode()
    assert forms.embeddings("base", [vector], numbers=True)["data"][0]["embedding"] == [0.5, -1.25]
    assert forms.embeddings("base", [vector], numbers=False)["data"][0]["embedding"] == vector
    with pytest.raises(WorkerFailed):
        forms.embeddings("base", [base64.b64encode(struct.pack("<f", float("nan"))).decode()], numbers=True)


def wanted(kind=requests.CompletionRequest, most=100, **change):
    given = {"model": "base", "prompt": "a"} if kind is requests.CompletionRequest else {
        "model": "base", "messages": [{"role": "user", "content": "a"}]
    }  # fmt: skip
    return Wanted(reading.read(kind, json.dumps(given | change).encode(), 10_000), most)


def asks(one):
    return one.asks([link.Words("a")], "lane", "tenant", logprobs=None, echo=False)[0]


def test_every_setting_reaches_the_engine_and_the_record():
    one = wanted(
        temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=-0.3, logit_bias={"5": -100, "6": 1.5}, seed=-1, stop=["x"], n=3, max_tokens=9, user="u",
    )  # fmt: skip
    ask = asks(one)
    assert ask.sampling == link.Sampling(0.5, 0.9, 7, 0.1, 1.1, 0.2, -0.3, {5: -100, 6: 1.5}, 2**64 - 1)
    assert (ask.most, ask.choices, ask.stops, ask.grammar) == (9, 3, ("x",), None)
    kept = json.loads(one.document("base", {"prompt": "a"}))
    assert kept == {
        "prompt": "a", "model": "base", "max_tokens": 9, "n": 3, "temperature": 0.5, "top_p": 0.9, "top_k": 7,
        "min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": -0.3,
        "logit_bias": {"5": -100, "6": 1.5}, "seed": -1, "stop": ["x"], "grammar": None, "user": "u",
    }  # fmt: skip


def test_a_seed_is_drawn_and_kept_where_none_is_given():
    one, two = wanted(), wanted()
    seeds = [json.loads(each.document("base", {}))["seed"] for each in (one, two)]
    assert [asks(each).sampling.seed for each in (one, two)] == seeds
    assert seeds[0] != seeds[1]
    assert all(0 <= seed <= canonical.MAX_SAFE_INTEGER for seed in seeds)


def test_a_schema_is_kept_in_its_own_order():
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"const": "ä"}}}
    one = wanted(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})
    source = '{"type":"object","properties":{"b":{"type":"string"},"a":{"const":"ä"}}}'
    assert asks(one).grammar == link.Grammar(link.GrammarKind.JSON_SCHEMA, source)
    assert json.loads(one.document("base", {}))["grammar"] == {"kind": "json_schema", "source": source}
    assert asks(wanted(response_format={"type": "json_object"})).grammar == link.Grammar(
        link.GrammarKind.JSON
    )
    assert asks(wanted(response_format={"type": "text"})).grammar is None
    assert asks(wanted(grammar="root ::= x")).grammar == link.Grammar(link.GrammarKind.GBNF, "root ::= x")
    assert asks(wanted(regex="[a-c]+")).grammar == link.Grammar(link.GrammarKind.REGEX, "[a-c]+")


def test_more_tokens_than_allowed_are_refused_with_the_numbers():
    with pytest.raises(UntrustedRequest, match=r"101 tokens .* 100 are allowed"):
        wanted(max_tokens=101)


def test_without_a_number_a_continuation_has_sixteen_tokens_or_what_is_allowed_and_a_chat_as_many():
    assert [asks(wanted(most=most)).most for most in (100, 8)] == [16, 8]
    assert asks(wanted(requests.ChatRequest)).most is None


def test_what_is_asked_crosses_the_link():
    from holdfast.serving.linkreader import parse_request

    for change in ({"repetition_penalty": 0.01}, {"stop": ["x" * 256] * 16}, {"n": 8, "seed": -(2**53) + 1}):
        ask = asks(wanted(**change))
        assert parse_request(pack(ask)[4:]) == ask


REMEDY = "Do."
ERRORS = [
    (NotAuthenticated("a", "b", remedy=REMEDY), 401, "authentication_error", "invalid_api_key"),
    (NotPermitted("a", "b", remedy=REMEDY, code="insufficient_scope"), 403, "permission_error", "insufficient_scope"),
    (NotFound("a.b", "b", remedy=REMEDY), 404, "not_found_error", "a.b"),
    (faults.Withdrawn("a", "b", remedy=REMEDY, code="model_revoked"), 410, "invalid_request_error", "model_revoked"),
    (faults.TooLarge("a", "b", remedy=REMEDY), 413, "invalid_request_error", "a"),
    (faults.TooSlow("a", "b", remedy=REMEDY), 408, "timeout_error", "a"),
    (faults.Busy("a", "b", remedy=REMEDY, retry_after=7), 429, "rate_limit_error", "busy"),
    (faults.Unavailable("a", "b", remedy=REMEDY, retry_after=2.5), 503, "server_error", "unavailable"),
    (faults.Late("serve.deadline", "b", remedy=REMEDY), 503, "server_error", "deadline_exceeded"),
    (WorkerFailed("serve.deadline", "/secret", remedy=REMEDY), 503, "server_error", "deadline_exceeded"),
    (WorkerFailed("serve.stopped", "/secret", remedy=REMEDY), 503, "server_error", "unavailable"),
    (NoSpace("a", "/secret", remedy=REMEDY), 503, "server_error", "no_memory"),
    (NotRecorded("a", "/secret", remedy=REMEDY), 503, "server_error", "not_recorded"),
    (WorkerFailed("a", "/secret", remedy=REMEDY), 500, "server_error", "internal_error"),
    (UntrustedBundle("a", "/secret", remedy=REMEDY), 500, "server_error", "internal_error"),
    (from_dict({"type": "Locked", "key": "x", "message": "/secret"}), 500, "server_error", "internal_error"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "kind", "code"), ERRORS)
def test_errors_have_openais_form_and_no_internal_detail(error, status, kind, code):
    reply = refusals.response(error)
    told = json.loads(reply.body)
    responses.Error.model_validate(told)
    assert (reply.status_code, told["error"]["type"], told["error"]["code"]) == (status, kind, code)
    assert "secret" not in reply.body.decode()
    assert ("retry-after" in reply.headers) == (status in {429, 503})
    if "retry_after" in error.fields:
        assert reply.headers["retry-after"] == str(int(error.fields["retry_after"]))
