"""Requests over plain HTTP: what is refused, in what words, what is counted, and how answers come."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from tests.integration.serving.stack import BODY, CHAT, Puppet, make_settings

from holdfast.serving import link, spec
from holdfast.serving.api import exchange, responses
from holdfast.serving.api.routes import ROUTES

POSTS = [path for path, (method, _) in ROUTES.items() if method == "POST"]
TEXT = "/v1/completions"


@pytest.fixture
def speaking(front, new_puppet):
    """A front whose engine answers two words to everything."""
    new_puppet(front, by_itself=2)
    return front


PATHS = ["/v1/models", CHAT, TEXT, "/", "/docs", "/metrics", "/health", "/health/", "/v1/x"]
HEADERS = [None, "", "Bearer", "Basic abc", "Bearer hf-1-2", "Bearer " + "x" * 2000]


def test_every_path_needs_a_key(front):
    with front.http() as client:
        client.headers.pop("authorization")
        for path, header, method in itertools.product(PATHS, HEADERS, ("GET", "POST")):
            headers = {} if header is None else {"authorization": header}
            reply = client.request(method, path, headers=headers)
            assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer"), (path, header)
            assert reply.json()["error"] == {
                "message": "No valid key was presented. Send one as `Authorization: Bearer hf-...`.",
                "type": "authentication_error",
                "param": None,
                "code": "invalid_api_key",
            }


def test_health_needs_none_where_the_site_says_so_and_tells_whether_answers_are_computed(
    new_front, new_puppet
):
    front = new_front(make_settings(access={"open_health": True}))
    with front.http() as client:
        client.headers.pop("authorization")
        reply = client.get("/health")
        assert (reply.status_code, reply.json()) == (503, {"status": "unavailable"})
        new_puppet(front)
        reply = client.get("/health")
        assert (reply.status_code, reply.json()) == (200, {"status": "ok"})
        assert client.get("/metrics").status_code == 401


def test_unknown_models_and_those_above_the_clearance_look_the_same(front):
    names = ["nothing", "base:two", "base:", "BASE", "..base", "base:one@2"]
    with front.http() as client:
        replies = [client.post(CHAT, json=BODY | {"model": name}) for name in names]
        replies += [client.get(f"/v1/models/{name}") for name in names]
    told = [client_error(reply) | {"message": ""} for reply in replies]
    assert [reply.status_code for reply in replies] == [404] * 12
    assert told == [told[0] | {"code": "model_not_found", "type": "not_found_error"}] * 12


def client_error(reply):
    return reply.json()["error"]


def test_ids_hold_colons_and_at_signs_however_they_are_written(front):
    with front.http() as client:
        for name in ("base:one@1", "base%3Aone%401"):
            assert client.get(f"/v1/models/{name}").json()["id"] == "base:one@1"


def test_malformed_bodies_are_refused(front):
    bodies = [b"", b"{", b"[]", b"\xff\xfe", b'{"model": 1}', b'{"a": ' * 100, b"null"]
    with front.http() as client:
        for path, body in itertools.product(POSTS, bodies):
            reply = client.post(path, content=body)
            assert (reply.status_code, client_error(reply)["type"]) == (400, "invalid_request_error"), body
    assert front.recorder.acts == []


def test_a_body_that_announces_too_much_is_refused_at_once(front):
    with front.raw() as raw:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {front.text}\r\ncontent-length: 99999999\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_announces_nothing_is_cut_off_at_the_limit(front):
    def endless():
        for _ in range(3):
            yield b"x" * 30_000

    with front.http() as client:
        assert client.post(CHAT, content=endless()).status_code == 413


def test_unknown_paths_and_methods_have_openais_errors(front):
    with front.http(front.cleared_text) as client:
        assert client_error(client.get("/v1/nothing"))["code"] == "not_found"
        for path, (method, _) in ROUTES.items():
            reply = client.request("DELETE", path.replace("{model}", "base"))
            assert (reply.status_code, client_error(reply)["code"]) == (405, "method_not_allowed")
            assert method in reply.headers["allow"]


def test_more_new_tokens_than_allowed_are_refused_with_the_numbers(front):
    with front.http() as client:
        reply = client.post(CHAT, json=BODY | {"max_tokens": 257})
    assert reply.status_code == 400
    assert "257" in client_error(reply)["message"]
    assert "256" in client_error(reply)["message"]


def test_the_openapi_document_and_metrics_are_given_in_their_types(front, new_puppet):
    new_puppet(front, by_itself=2)
    with front.http(front.cleared_text) as client:
        assert client.get("/openapi.json").json()["openapi"] == "3.1.0"
        assert client.post(CHAT, json=BODY).status_code == 200
        reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'holdfast_answers_total{end="done",model="base"} 1.0' in reply.text


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_if_the_outcome_cannot_be_recorded_the_answer_is_withheld_or_left_unfinished(speaking, path):
    speaking.recorder.refuse = {"answer.done"}
    body = BODY if path == CHAT else {"model": "base", "prompt": "x"}
    with speaking.http() as client:
        whole = client.post(path, json=body)
        assert (whole.status_code, client_error(whole)["code"]) == (503, "not_recorded")
        assert int(whole.headers["retry-after"]) >= 1
        streamed = client.post(path, json=body | {"stream": True}).text
    assert '"not_recorded"' in streamed
    assert "[DONE]" not in streamed
    assert '"finish_reason":"stop"' not in streamed
    assert "secret" not in streamed


def events(text):
    return [
        json.loads(line.removeprefix("data: "))
        for line in text.split("\n\n")
        if line and "[DONE]" not in line
    ]


def test_choices_of_a_stream_are_told_apart_and_end_only_with_the_record(front, puppet):
    release = front.recorder.held("answer.done")
    body = BODY | {"n": 2, "stream": True, "logprobs": True, "stream_options": {"include_usage": True}}
    with ThreadPoolExecutor(1) as pool, front.http() as client:
        reply = pool.submit(client.post, CHAT, json=body)
        asked = puppet.next()
        assert (asked.choices, asked.logprobs) == (2, 0)
        puppet.accept(asked)
        half = [
            link.Logprob(7, "?", tuple(octets), -0.5, (), at) for at, octets in enumerate((b"\xc3", b"\xa4"))
        ]
        puppet.say(
            link.Events((link.Piece(asked.id, 1, "", (half[0],)), link.Piece(asked.id, 1, "ä", (half[1],))))
        )
        puppet.say(link.Events((link.Piece(asked.id, 0, "x"),)))
        puppet.done(asked, 3)
        front.until(lambda: front.recorder.actions == ["answer"])
        release.set_result(None)
        found = events(reply.result(60).text)
    for one in found:
        responses.ChatCompletionChunk.model_validate(one)
    shown = [
        (one["choices"][0]["index"], one["choices"][0]["delta"], one["choices"][0]["finish_reason"])
        for one in found[:-1]
    ]
    role = {"role": "assistant", "content": ""}
    assert shown == [
        (0, role, None), (1, role, None), (1, {}, None), (1, {"content": "ä"}, None), (0, {"content": "x"}, None),
        (0, {}, "stop"), (1, {}, "stop"),
    ]  # fmt: skip
    assert [one["choices"][0]["logprobs"]["content"][0]["token"] for one in found[2:4]] == [
        "bytes:\\xc3",
        "bytes:\\xa4",
    ]
    assert [one["usage"] for one in found[:-1]] == [None] * 7
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}
    assert found[-1]["holdfast"]["answer_seq"] == 1


def test_an_engine_that_dies_during_a_stream_is_an_error_of_openais_client(front):
    dying = Puppet(front)

    def read():
        with front.openai() as client:
            for _chunk in client.chat.completions.create(**BODY, stream=True):
                pass

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        asked = dying.next()
        dying.accept(asked)
        dying.words(asked)
        front.until(lambda: front.recorder.actions == ["answer"])
        dying.close()
        with pytest.raises(openai.APIError) as caught:
            reading.result(60)
    assert caught.value.code == "unavailable"
    assert front.recorder.actions == ["answer", "answer.failed"]


def test_an_answer_with_too_many_log_probabilities_is_given_as_a_stream_only(front, puppet, monkeypatch):
    monkeypatch.setattr(exchange, "MAX_HELD", 5)
    other = link.Alternative(8, "b", (98,), -1.0)
    body = {"model": "base", "prompt": "x", "logprobs": 1, "max_tokens": 3}

    def answer(asked, most):
        puppet.accept(asked)
        for at in range(most):
            probs = (link.Logprob(7, "a", (97,), -0.5, (other,), at),)
            puppet.say(link.Events((link.Piece(asked.id, 0, "a", probs),)))

    with ThreadPoolExecutor(1) as pool, front.http() as client:
        whole = pool.submit(client.post, TEXT, json=body)
        asked = puppet.next()
        answer(asked, 3)
        assert puppet.next(link.Cancel).id == asked.id
        puppet.done(asked, 3, cancelled=True)
        reply = whole.result(60)
        assert (reply.status_code, client_error(reply)["code"]) == (400, "answer_too_large")
        front.until(lambda: front.recorder.actions == ["answer", "answer.cancelled"])
        streamed = pool.submit(client.post, TEXT, json=body | {"stream": True})
        asked = puppet.next()
        answer(asked, 3)
        puppet.done(asked, 3)
        found = events(streamed.result(60).text)
    assert [one["choices"][0]["logprobs"]["top_logprobs"] for one in found[:-1]] == [
        [{"b": -1.0, "a": -0.5}]
    ] * 3


def test_prompts_and_choices_are_indexed_in_order(front, puppet):
    body = {"model": "base", "prompt": [[1, 2], [3]], "n": 2, "echo": True, "max_tokens": 1, "user": "u"}
    with ThreadPoolExecutor(1) as pool, front.http() as client:
        reply = pool.submit(client.post, TEXT, json=body)
        asks = [puppet.next(), puppet.next()]
        assert [ask.prompt for ask in asks] == [link.Tokens((1, 2)), link.Tokens((3,))]
        for ask in asks:
            puppet.accept(ask, len(ask.prompt.tokens))
        for ask in reversed(asks):
            for choice in (1, 0):
                puppet.say(link.Events((link.Piece(ask.id, choice, f"{ask.prompt.tokens[0]}.{choice}"),)))
        for ask in asks:
            puppet.done(ask, 2)
        found = reply.result(60).json()
    assert [(one["index"], one["text"]) for one in found["choices"]] == [
        (0, "1.0"),
        (1, "1.1"),
        (2, "3.0"),
        (3, "3.1"),
    ]
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] + 4
    document = json.loads(front.recorder.acts[0].payloads["prompt"])
    assert (document["prompt"], document["echo"], document["n"]) == ([[1, 2], [3]], True, 2)


def test_tokens_without_a_model_are_those_of_the_only_one(new_front, new_puppet):
    front = new_front(make_settings())
    puppet = new_puppet(front)
    with ThreadPoolExecutor(1) as pool, front.http() as client:
        reply = pool.submit(client.post, "/tokenize", json={"content": "é", "add_special": True})
        asked = puppet.next(link.Tokenize)
        assert (asked.prompt, asked.special, asked.begin) == (link.Words("é"), True, True)
        puppet.say(link.Tokenized(asked.id, (1, 2)))
        assert reply.result(60).json()["tokens"] == [1, 2]
        reply = pool.submit(client.post, "/detokenize", json={"tokens": [1, 2]})
        asked = puppet.next(link.Detokenize)
        puppet.say(link.Detokenized(asked.id, "é"))
        assert reply.result(60).json()["content"] == "é"
        settings = make_settings()
        other = settings.models[0].model_copy(
            update={"id": "other", "engine": "engine-other", "adapters": ()}
        )
        both = spec.Settings(models=(*settings.models, other), limits=settings.limits)
        front.call(front.house.settings, both, {})
    with front.http(front.cleared_text) as client:
        reply = client.post("/tokenize", json={"content": "é"})
    assert (reply.status_code, client_error(reply)["code"]) == (400, "missing_required_parameter")


def test_vectors_that_are_no_numbers_are_our_fault(front, puppet):
    body = {"model": "base", "input": ["x", [1]]}
    with ThreadPoolExecutor(1) as pool, front.http() as client:
        assert client.post("/v1/embeddings", json=body).status_code == 400
        reply = pool.submit(client.post, "/v1/embeddings", json=body | {"input": "x"})
        asked = puppet.next(link.Embed)
        assert asked.inputs == (link.Words("x"),)
        puppet.accept(asked)
        puppet.say(link.Embedded(asked.id, ("AADAfw==",), 1))
        assert client_error(reply.result(60)) == {
            "message": "The request could not be answered.",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }


def test_openais_client_comes_again_when_the_log_or_the_queue_has_room(new_front, new_puppet):
    front = new_front(make_settings(parallel=1, queue=0))
    puppet = new_puppet(front)
    statuses = []
    note = front.house.metrics.response
    front.house.metrics.response = lambda status: (statuses.append(status), note(status))
    with ThreadPoolExecutor(2) as pool, front.openai() as client:
        patient = client.with_options(max_retries=60, timeout=60)  # it comes each second, until there is room
        front.recorder.refuse = {"answer"}
        reply = pool.submit(patient.chat.completions.create, **BODY)
        puppet.accept(puppet.next())
        front.until(lambda: statuses == [503])
        front.recorder.refuse = set()
        puppet.done(puppet.next(link.Cancel), 0, cancelled=True)
        puppet.answer(puppet.next(), "after 503")
        assert reply.result(60).choices[0].message.content == "after 503"
        first = pool.submit(patient.chat.completions.create, **BODY)
        asked = puppet.next()
        statuses.clear()
        second = pool.submit(patient.chat.completions.create, **BODY)
        front.until(lambda: statuses)
        puppet.answer(asked, "first")
        puppet.answer(puppet.next(), "after 429")
        assert first.result(60).choices[0].message.content == "first"
        assert second.result(60).choices[0].message.content == "after 429"
        assert (statuses[0], set(statuses), statuses.count(200)) == (429, {429, 200}, 2)


def counted(front):
    """Stop counting, and give what was counted: events, reasons, keys."""
    front.call(front.house.refused.close)
    reasons, keys = Counter(), Counter()
    for action, params in front.recorder.facts:
        assert action == "serve.refused"
        assert params["count"] == sum(params["reasons"].values())
        reasons.update(params["reasons"])
        keys.update(params["keys"])
    return len(front.recorder.facts), reasons, keys


def test_who_knocks_hundreds_of_times_without_a_key_is_counted_in_a_few_events(front):
    begun = time.monotonic()
    with front.http("hf-nobody") as client:
        for number in range(300):
            client.request("POST" if number % 2 else "GET", "/v1/models", content=b"{" * number)
    number, reasons, keys = counted(front)
    assert reasons == {"serve.key-unknown": 300}
    assert keys == {}
    assert number <= 3 + (time.monotonic() - begun)  # one a second, the first at once, the last on stopping
    assert front.recorder.acts == []


def test_what_a_key_is_refused_is_on_the_record_and_what_only_watches_is_counted(front):
    with front.http() as client:
        for name in ("nothing", "base:two"):
            assert client.post(CHAT, json=BODY | {"model": name}).status_code == 404
        assert client.get("/v1/nothing").status_code == 404
        assert client.get("/metrics").status_code == 403
        assert client.post(CHAT, json={"model": 7}).status_code == 400
        assert client.get(CHAT).status_code == 405
    assert front.recorder.requests == [
        (CHAT, 404, "serve.model-unknown"),
        (CHAT, 404, "serve.model-unknown"),
        ("other", 404, "serve.route-unknown"),
        (CHAT, 400, "serve.invalid-value"),
        (CHAT, 405, "serve.method"),
    ]
    _, reasons, keys = counted(front)
    assert reasons == {"serve.scope": 1}
    assert keys == {front.key.id: 1}


def test_while_the_log_takes_nothing_counts_wait(speaking):
    with speaking.http() as client, speaking.http("hf-nobody") as stranger:
        speaking.loop.call_soon_threadsafe(lambda: speaking.house.pause(paused=True))
        for _ in range(3):
            reply = client.post(CHAT, json=BODY)
            assert (reply.status_code, client_error(reply)["code"]) == (503, "not_recorded")
            assert stranger.get("/v1/models").status_code == 401
        assert client.get("/health").status_code == 200
        assert (speaking.recorder.acts, speaking.recorder.facts) == ([], [])
        speaking.loop.call_soon_threadsafe(lambda: speaking.house.pause(paused=False))
        assert client.post(CHAT, json=BODY).status_code == 200
    assert speaking.recorder.actions == ["answer", "answer.done"]
    assert counted(speaking)[1] == {"serve.key-unknown": 3, "serve.paused": 3}
