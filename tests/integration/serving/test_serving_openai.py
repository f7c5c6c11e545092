"""What a real model answers through the official ``openai`` client: receipts, repeatability, structure, log-probabilities."""

from __future__ import annotations

import json

import jsonschema
import openai
import pytest

pytestmark = pytest.mark.model

QUESTION = [{"role": "user", "content": "What is the fee?"}]


def test_an_answer_has_its_receipts_label_and_digest(server):
    with server.openai() as client:
        raw = client.chat.completions.with_raw_response.create(
            model="base:one", messages=QUESTION, temperature=0, max_tokens=12
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
    assert raw.headers["x-holdfast-adapter-digest"] == "sha512:" + "2" * 128
    assert "x-holdfast-release" not in raw.headers
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


def test_models_are_those_that_the_key_opens(server):
    with server.openai() as client:
        assert [model.id for model in client.models.list()] == ["base", "base:one", "base:one@1"]
        found = client.models.retrieve("base:one").model_extra["holdfast"]
        assert (found["adapter_digest"], found["version"], found["context"]) == (
            "sha512:" + "2" * 128,
            "1",
            512,
        )
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("base:two")
    with server.openai(server.cleared_text) as client:
        assert "base:two" in [model.id for model in client.models.list()]


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


def test_what_is_kept_of_a_request_asked_again_gives_the_same_answer(server):
    chosen = {"top_p": 0.9, "presence_penalty": 0.5, "logit_bias": {"70": 2}, "max_tokens": 24, "n": 2}
    more = {"top_k": 50, "min_p": 0.01, "repetition_penalty": 1.1}

    def contents(client, **options):
        reply = client.chat.completions.create(model="base", **options)
        return [choice.message.content for choice in reply.choices]

    with server.openai() as client:
        first = contents(client, messages=QUESTION, **chosen, extra_body=more)
        kept = json.loads(server.recorder.acts[0].payloads["prompt"])
        del kept["grammar"], kept["user"], kept["model"]
        messages = kept.pop("messages")
        again = contents(client, messages=messages, extra_body=kept)
        other = contents(client, messages=QUESTION, **chosen, extra_body=more)
    assert first == again
    assert first[0] != first[1]
    assert first != other


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_follows_its_schema_or_grammar(server, stream):
    schema = {
        "type": "object",
        "properties": {"paid": {"type": "boolean"}, "code": {"enum": ["A", "B"]}},
        "required": ["paid", "code"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "fee", "schema": schema, "strict": True}}

    def ask(client, **options):
        reply = client.chat.completions.create(
            model="base", messages=QUESTION, seed=3, max_tokens=200, stream=stream, **options
        )
        if stream:
            return "".join(chunk.choices[0].delta.content or "" for chunk in reply)
        return reply.choices[0].message.content

    with server.openai() as client:
        found = json.loads(ask(client, response_format=wanted))
        word = ask(client, extra_body={"grammar": 'root ::= "yes" | "no"'})
    jsonschema.validate(found, schema)
    assert list(found) == ["paid", "code"]
    assert word in {"yes", "no"}


def test_a_scored_prompt_says_what_the_model_would_have_answered(server):
    plain = {"grammar": "root ::= [a-z]+"}

    def ids(client, text):
        return client.post("http://holdfast/tokenize", cast_to=dict, body={"content": text})["tokens"]

    with server.openai() as client:
        answer = client.completions.create(
            model="base", prompt="The fee", temperature=0, max_tokens=8, logprobs=1, extra_body=plain
        )
        own = answer.choices[0].logprobs
        whole = ids(client, "The fee") + [one for token in own.tokens for one in ids(client, token)]
        given = client.completions.create(model="base", prompt=whole, max_tokens=0, echo=True, logprobs=1)
    scored = given.choices[0].logprobs
    assert given.choices[0].text == "The fee" + answer.choices[0].text
    assert scored.tokens[-8:] == own.tokens
    assert scored.token_logprobs[-8:] == pytest.approx(own.token_logprobs, abs=0.05)
    assert scored.text_offset[-8:] == [len("The fee") + offset for offset in own.text_offset]
    assert given.usage.completion_tokens == 0


def test_tokens_make_the_round_trip(server):
    with server.http() as client:
        tokens = client.post("/tokenize", json={"content": "Größe <|end|>"}).json()["tokens"]
        plain = client.post("/tokenize", json={"content": "Größe <|end|>", "parse_special": False}).json()[
            "tokens"
        ]
        assert len(plain) > len(tokens)
        assert client.post("/detokenize", json={"tokens": plain}).json()["content"] == "Größe <|end|>"
        chat = client.post("/tokenize", json={"messages": QUESTION}).json()["tokens"]
        asked = client.post(
            "/v1/chat/completions", json={"model": "base", "messages": QUESTION, "max_tokens": 1}
        )
    assert len(chat) == asked.json()["usage"]["prompt_tokens"]
    assert server.recorder.actions == ["answer", "answer.done"] * 5


def test_a_long_prompt_is_refused_with_the_numbers_and_an_empty_one_too(server):
    with server.openai() as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="base", messages=[{"role": "user", "content": "x" * 600}])
        with pytest.raises(openai.BadRequestError) as empty:
            client.completions.create(model="base", prompt="")
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert "603" in caught.value.message
    assert "400" in caught.value.message
    assert (empty.value.code, empty.value.param) == ("empty_prompt", "prompt")
    assert server.recorder.acts == []


def test_a_model_without_vectors_says_so(server):
    with server.openai() as client, pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="base", input="x")
    assert caught.value.code == "no_embeddings"
