"""Bad input and faults over plain HTTP: what is refused, in what words, and what is on the record afterwards."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter

import pytest

pytestmark = pytest.mark.model

BODY = {
    "model": "base",
    "messages": [{"role": "user", "content": "Hello"}],
    "temperature": 0,
    "max_tokens": 8,
}
CHAT = "/v1/chat/completions"


def actions(server):
    return [act.action for act in server.recorder.acts]


@pytest.mark.parametrize(
    "path", ["/v1/models", CHAT, "/v1/completions", "/", "/docs", "/metrics", "/health/", "/v1/nothing"]
)
@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer hf-1-2", "Bearer " + "x" * 2000])
def test_every_path_but_health_needs_a_key(server, path, header):
    with server.http() as client:
        client.headers.pop("authorization")
        headers = {} if header is None else {"authorization": header}
        for method in ("GET", "POST"):
            reply = client.request(method, path, headers=headers)
            assert reply.status_code == 401
            assert reply.json()["error"]["message"] == "Authentication failed."


def test_health_needs_none(server):
    with server.http() as client:
        client.headers.pop("authorization")
        assert client.get("/health").json() == {"status": "ok"}


def test_a_revoked_key_is_refused_once_the_keys_are_replaced(server):
    from holdfast.serving.keys import KeyRing

    with server.http() as client:
        assert client.get("/v1/models").status_code == 200
        server.vault.ring = KeyRing([server.key.revoke()])
        assert client.get("/v1/models").status_code == 401


@pytest.mark.parametrize("name", ["nothing", "base:two", "base:", "BASE", "../base"])
def test_unknown_models_and_those_above_the_clearance_look_the_same(server, name):
    with server.http() as client:
        reply = client.post(CHAT, json=BODY | {"model": name})
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "model_not_found"
    assert (
        reply.json()["error"]["message"].replace(repr(name), "X").startswith("The model X does not exist, or")
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"model": 1}', b'{"a": ' * 100])
def test_malformed_bodies_are_refused(server, body):
    with server.http() as client:
        reply = client.post(CHAT, content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_body_that_announces_too_much_is_refused_at_once(server):
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(server.path)
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.text}\r\ncontent-length: 99999999\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_announces_nothing_is_cut_off_at_the_limit(server):
    def endless():
        for _ in range(3):
            yield b"x" * 30_000

    with server.http() as client:
        assert client.post(CHAT, content=endless()).status_code == 413


def test_unknown_paths_and_methods_have_openai_errors(server):
    with server.http() as client:
        assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
        reply = client.get(CHAT)
    assert (reply.status_code, reply.json()["error"]["type"]) == (405, "invalid_request_error")


def test_an_empty_prompt_is_refused(server):
    with server.http() as client:
        reply = client.post("/v1/completions", json={"model": "base", "prompt": ""})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "empty_prompt")


def test_more_new_tokens_than_allowed_are_refused_with_the_numbers(server):
    with server.http() as client:
        reply = client.post(CHAT, json=BODY | {"max_tokens": 257})
    assert reply.status_code == 400
    assert "257" in reply.json()["error"]["message"]
    assert "256" in reply.json()["error"]["message"]


def test_if_the_intent_cannot_be_recorded_there_is_no_answer(server):
    server.recorder.refuse = {"answer"}
    with server.http() as client:
        for body in (BODY, BODY | {"stream": True}):
            reply = client.post(CHAT, json=body)
            assert reply.status_code == 503
            assert reply.json()["error"]["code"] == "not_recorded"
            assert "secret" not in reply.text
        assert server.engine.status()["queued"] == 0
        server.recorder.refuse = set()
        assert client.post(CHAT, json=BODY).status_code == 200
    assert actions(server) == ["answer", "answer.done"]


def test_if_the_outcome_cannot_be_recorded_the_answer_is_withheld_or_left_unfinished(server):
    server.recorder.refuse = {"answer.done"}
    with server.http() as client:
        assert client.post(CHAT, json=BODY).status_code == 503
        streamed = client.post(CHAT, json=BODY | {"stream": True}).text
    assert '"not_recorded"' in streamed
    assert "[DONE]" not in streamed
    assert 'finish_reason":"length' not in streamed


def test_no_byte_leaves_before_the_intent_is_acked(server):
    release = server.recorder.held("answer")
    head = json.dumps(BODY | {"stream": True}).encode()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(server.path)
        raw.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.text}\r\n"
            f"content-length: {len(head)}\r\n\r\n".encode()
            + head
        )
        server.until(lambda: server.engine.status()["queued"] == 1)
        raw.settimeout(0.3)
        with pytest.raises(TimeoutError):
            raw.recv(1)
        assert server.engine.status()["active"] == 0
        release.set_result(None)
        raw.settimeout(60)
        data = b""
        while b"[DONE]" not in data:
            data += raw.recv(65536)
    assert data.startswith(b"HTTP/1.1 200 ")
    assert b"x-holdfast-request-receipt: 0" in data
    assert actions(server) == ["answer", "answer.done"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_place_and_is_recorded(server, stream):
    head = json.dumps(BODY | {"stream": stream, "max_tokens": 256}).encode()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(server.path)
        raw.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.text}\r\n"
            f"content-length: {len(head)}\r\n\r\n".encode()
            + head
        )
        server.until(lambda: server.engine.status()["active"] == 1)
    server.until(lambda: len(server.recorder.acts) == 2)
    intent, outcome = server.recorder.acts
    assert (outcome.action, outcome.cause, outcome.params["finish_reason"]) == (
        "answer.cancelled",
        0,
        "cancelled",
    )
    assert outcome.params["completion_tokens"] < 256
    assert intent.action == "answer"
    status = server.engine.status()
    assert (status["active"], status["queued"]) == (0, 0)


def test_when_the_queue_is_full_the_next_is_told_when_to_come_again(server):
    release = server.recorder.held("answer")
    body = json.dumps(BODY).encode()
    request = (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.text}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
    waiting = []
    for _ in range(6):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(server.path)
        raw.sendall(request)
        waiting.append(raw)
    server.until(lambda: server.engine.status()["queued"] == 6)
    with server.http() as client:
        reply = client.post(CHAT, json=BODY)
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.json()["error"]["type"] == "rate_limit_error"
        other = client.get("/v1/models")
        assert other.status_code == 200
        release.set_result(None)
        for raw in waiting:
            assert raw.recv(20).startswith(b"HTTP/1.1 200")
            raw.close()
        assert client.post(CHAT, json=BODY).status_code == 200


def test_a_stopped_engine_is_seen_in_health_and_answers_fail_on_the_record(server):
    server.engine.stop()
    with server.http() as client:
        assert client.get("/health").status_code == 503
        reply = client.post(CHAT, json=BODY)
    assert reply.status_code == 500
    assert reply.json()["error"]["message"] == "The request could not be answered."
    assert actions(server) == ["answer", "answer.failed"]


def refused(server):
    """Stop counting, and give what was counted: events, reasons, keys."""
    import asyncio

    asyncio.run_coroutine_threadsafe(server.refused.close(), server.loop).result()
    reasons, keys = Counter(), Counter()
    for action, params in server.recorder.facts:
        assert action == "serve.refused"
        assert params["count"] == sum(params["reasons"].values())
        reasons.update(params["reasons"])
        keys.update(params["keys"])
    return len(server.recorder.facts), reasons, keys


def test_who_knocks_a_thousand_times_without_a_key_is_counted_in_a_few_events(server):
    begun = time.monotonic()
    with server.http("hf-nobody") as client:
        for number in range(1000):
            client.request("POST" if number % 2 else "GET", "/v1/models", content=b"{" * number)
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(server.path)
            raw.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            assert b"400" in raw.recv(100)
    events, reasons, keys = refused(server)
    assert reasons == {"serve.key-unknown": 1000, "serve.malformed": 5}
    assert keys == {}
    assert events <= 3 + (time.monotonic() - begun)  # one a second, the first at once, the last on stopping
    assert server.recorder.acts == []


def test_what_is_not_there_for_a_key_is_counted_with_the_key_and_wrong_words_are_not(server):
    with server.http() as client:
        for name in ("nothing", "base:two"):
            assert client.post(CHAT, json=BODY | {"model": name}).status_code == 404
        assert client.get("/v1/nothing").status_code == 404
        assert client.post(CHAT, json={"model": 7}).status_code == 400
        assert client.get(CHAT).status_code == 405
    with server.http() as client:
        client.headers.pop("authorization")
        assert client.post("/health").status_code == 405
    _, reasons, keys = refused(server)
    assert reasons == {"serve.model-unknown": 2, "serve.route-unknown": 1, "serve.method": 1}
    assert keys == {server.key.id: 3}


def test_while_the_log_takes_nothing_new_questions_are_turned_away_and_counts_wait(server):
    with server.http() as client, server.http("hf-nobody") as stranger:
        server.loop.call_soon_threadsafe(server.endpoint.pause, True)
        for _ in range(3):
            reply = client.post(CHAT, json=BODY)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_recorded")
            assert stranger.get("/v1/models").status_code == 401
        assert client.get("/health").status_code == 200
        assert (server.recorder.acts, server.recorder.facts) == ([], [])
        server.loop.call_soon_threadsafe(server.endpoint.pause, False)
        assert client.post(CHAT, json=BODY).status_code == 200
    assert actions(server) == ["answer", "answer.done"]
    assert refused(server)[1] == {"serve.key-unknown": 3}
