"""The official ``openai`` client, unchanged, gets answers with receipts."""

from __future__ import annotations

import openai
import pytest

pytestmark = pytest.mark.model

QUESTION = [{"role": "user", "content": "What is the fee?"}]


def test_an_answer_has_its_receipts_label_and_digest(server):
    with server.openai() as client:
        raw = client.chat.completions.with_raw_response.create(
            model="base", messages=QUESTION, temperature=0, max_tokens=12
        )
    answer = raw.parse()
    intent, outcome = server.recorder.acts
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    assert answer.usage.prompt_tokens == len(b"What is the fee?") + 3 - 1  # one merge, three special tokens
    assert answer.model_extra["holdfast"] == {
        "request_seq": 0,
        "answer_seq": 1,
        "answer_leaf": f"sha256:{2:064d}",
    }
    assert raw.headers["x-holdfast-request-receipt"] == "0"
    assert raw.headers["x-holdfast-label"] == "INTERNAL @site"
    assert raw.headers["x-holdfast-model-digest"] == "sha512:" + "1" * 128
    assert (intent.action, intent.cause, intent.tenant, intent.key) == (
        "answer",
        None,
        "tax-office",
        server.key.id,
    )
    assert intent.params["prompt_tokens"] == answer.usage.prompt_tokens
    assert (outcome.action, outcome.cause) == ("answer.done", 0)
    assert outcome.params["completion_tokens"] == 12
    assert outcome.payloads["answer"].decode() == answer.choices[0].message.content
    assert b"What is the fee?" in intent.payloads["prompt"]


def test_a_stream_gives_the_same_text_and_ends_with_counts_and_receipts(server):
    with server.openai() as client:
        whole = client.chat.completions.create(model="base", messages=QUESTION, temperature=0, max_tokens=20)
        chunks = list(
            client.chat.completions.create(
                model="base", messages=QUESTION, temperature=0, max_tokens=20, stream=True,
                stream_options={"include_usage": True},
            )
        )  # fmt: skip
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].model_extra["holdfast"]["request_seq"] == 2
    assert chunks[-1].model_extra["holdfast"]["answer_seq"] == 3


def test_without_counts_the_last_chunk_has_the_receipts(server):
    with server.openai() as client:
        chunks = list(
            client.chat.completions.create(model="base", messages=QUESTION, max_tokens=3, seed=1, stream=True)
        )
    assert chunks[-1].choices[0].finish_reason == "length"
    assert chunks[-1].model_extra["holdfast"]["answer_seq"] == 1


def test_completions_whole_and_streamed(server):
    with server.openai() as client:
        whole = client.completions.create(model="base", prompt="The fee", temperature=0)
        streamed = client.completions.create(model="base", prompt="The fee", temperature=0, stream=True)
        assert "".join(chunk.choices[0].text for chunk in streamed) == whole.choices[0].text
    assert whole.usage.completion_tokens == 16
    assert whole.object == "text_completion"


def test_models_are_those_that_the_key_opens(server):
    with server.openai() as client:
        assert [model.id for model in client.models.list()] == ["base", "base:one"]
        assert (
            client.models.retrieve("base:one").model_extra["holdfast"]["adapter_digest"]
            == "sha512:" + "2" * 128
        )
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("base:two")
    with server.openai(server.cleared_text) as client:
        assert [model.id for model in client.models.list()] == ["base", "base:one", "base:two"]


def test_a_stop_string_ends_an_answer_and_is_not_in_it(server):
    with server.openai() as client:
        full = client.chat.completions.create(model="base", messages=QUESTION, temperature=0, max_tokens=40)
        text = full.choices[0].message.content
        stop = text[10:12]
        cut = client.chat.completions.create(
            model="base", messages=QUESTION, temperature=0, max_tokens=40, stop=[stop]
        )
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_a_seed_repeats_an_answer_and_without_one_answers_vary(server):
    def content(client, **options):
        reply = client.chat.completions.create(model="base", messages=QUESTION, max_tokens=24, **options)
        return reply.choices[0].message.content

    with server.openai() as client:
        assert content(client, seed=5, top_p=0.9) == content(client, seed=5, top_p=0.9)
        assert content(client, seed=-5) == content(client, seed=-5)
        assert content(client) != content(client)


@pytest.mark.parametrize("key", ["wrong", "hf-00000000-" + "0" * 64])
def test_a_wrong_key_gets_no_detail(server, key):
    with server.openai(key) as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.body == {
        "message": "Authentication failed.",
        "type": "authentication_error",
        "param": None,
        "code": "invalid_api_key",
    }


def test_a_long_prompt_is_refused_with_the_numbers(server):
    with server.openai() as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="base", messages=[{"role": "user", "content": "x" * 600}])
    assert caught.value.code == "context_length_exceeded"
    assert "603" in caught.value.message
    assert "400" in caught.value.message
    assert "512" in caught.value.message
    assert server.recorder.acts == []


def test_an_unsupported_parameter_is_refused_by_name(server):
    with server.openai() as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="base", messages=QUESTION, logit_bias={"1": 1})
    assert (caught.value.param, caught.value.code) == ("logit_bias", "unsupported_parameter")
