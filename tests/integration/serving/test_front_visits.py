"""Every authenticated request leaves one pair of events, and nothing is said before it is on the record."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.serving.stack import BODY, CHAT, ENGINE, LABEL, make_settings

from holdfast.errors import OperationFailed, UntrustedRequest
from holdfast.serving import keys, link, quota
from holdfast.serving.front import house, life, server
from holdfast.serving.front.faults import Unavailable
from holdfast.serving.quota import Quota

pytestmark = pytest.mark.usefixtures("noon")

MARK = "Zq9-prompt-of-a-citizen"  # what a client writes, wherever it may
MODELS, MODEL, DOCUMENT, OTHER = "/v1/models", "/v1/models/{model}", "/openapi.json", "other"
EMBED, TOKENIZE = "/v1/embeddings", "/tokenize"


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as found:
        yield found


def send(front, method="POST", path=CHAT, body=BODY, key=None, **options):
    with front.http(key) as client:
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        return client.request(method, path, content=None if method == "GET" else body, **options)


def reasons(front):
    front.call(front.house.refused.close)
    found = {}
    for _, params in front.recorder.facts:
        for reason, count in params["reasons"].items():
            found[reason] = found.get(reason, 0) + count
    return found


@pytest.mark.parametrize(
    ("asked", "route", "status"),
    [
        (("GET", MODELS), MODELS, 200),
        (("HEAD", MODELS), MODELS, 200),
        (("GET", "/v1/models/base:one@1"), MODEL, 200),
        (("GET", DOCUMENT), DOCUMENT, 200),
    ],
)
def test_what_no_model_is_asked_leaves_a_pair_too(front, asked, route, status):
    assert send(front, *asked).status_code == status
    assert front.recorder.requests == [(route, status, None)]
    begun, ended = front.recorder.visits
    assert {begun.params["method"], ended.params["method"]} == {asked[0]}
    assert (begun.tenant, begun.key, begun.digest, begun.payloads) == ("tax-office", front.key.id, None, {})


@pytest.mark.parametrize(
    ("asked", "route", "status", "error"),
    [
        (("POST", f"/{MARK}"), OTHER, 404, "serve.route-unknown"),
        ((MARK.upper(), "/v1/nothing"), OTHER, 404, "serve.route-unknown"),
        (("DELETE", CHAT), CHAT, 405, "serve.method"),
        ((MARK.upper(), CHAT), CHAT, 405, "serve.method"),
        (("POST", f"{CHAT}?{MARK}=1"), CHAT, 400, "serve.unsupported-parameter"),
        (("GET", f"{MODELS}?{MARK}"), MODELS, 400, "serve.unsupported-parameter"),
        (("GET", f"/v1/models/{MARK}"), MODEL, 404, "serve.model-unknown"),
        (("POST", CHAT, MARK.encode()), CHAT, 400, "json.syntax"),
        (("POST", CHAT, b"[]"), CHAT, 400, "serve.invalid-type"),
        (("POST", CHAT, BODY | {MARK: 1}), CHAT, 400, "serve.unsupported-parameter"),
        (("POST", CHAT, {"model": "base"}), CHAT, 400, "serve.missing-required-parameter"),
        (("POST", CHAT, BODY | {"temperature": MARK}), CHAT, 400, "serve.invalid-value"),
        (("POST", CHAT, BODY | {"grammar": MARK, "regex": MARK}), CHAT, 400, "serve.invalid-value"),
        (("POST", CHAT, b" " * 70_000), CHAT, 413, "serve.body-size"),
        (("POST", CHAT, BODY | {"model": MARK}), CHAT, 404, "serve.model-unknown"),
        (("POST", CHAT, BODY | {"model": "base:two"}), CHAT, 404, "serve.model-unknown"),
        (("POST", TOKENIZE, {"model": "base:two", "content": MARK}), TOKENIZE, 404, "serve.model-unknown"),
        (("POST", CHAT, BODY | {"n": 8}), CHAT, 400, "serve.batch-size"),
        (("POST", EMBED, {"model": "base", "input": []}), EMBED, 400, "serve.invalid-value"),
    ],
)
def test_what_is_refused_leaves_a_pair_without_a_word_of_the_clients(front, asked, route, status, error):
    reply = send(front, *asked)
    assert reply.status_code == status, reply.text
    assert front.recorder.requests == [(route, status, error)]
    assert front.recorder.acts == []
    written = repr(front.recorder.visits)
    assert MARK not in written
    assert MARK.upper() not in written
    assert reasons(front) == {}


def test_a_deadline_that_is_none_and_a_scope_that_is_not_the_keys_leave_pairs(new_front):
    watcher = keys.mint("monitoring", [keys.ANY], LABEL, [keys.METRICS])
    front = new_front(more_keys=[watcher.key])
    assert send(front, headers={"x-request-timeout": MARK}).status_code == 400
    assert send(front, key=watcher.secret).status_code == 403
    assert send(front, "GET", "/nowhere", key=watcher.secret).status_code == 404
    assert [error for _, _, error in front.recorder.requests] == [
        "serve.deadline-malformed",
        "serve.scope",
        "serve.route-unknown",
    ]
    assert [act.tenant for act in front.recorder.visits] == ["tax-office"] * 2 + ["monitoring"] * 4


def test_what_watches_and_who_has_no_key_leave_no_pair(front):
    assert send(front, "GET", "/health").status_code == 503
    assert send(front, "GET", "/metrics", key=front.cleared_text).status_code == 200
    assert send(front, "GET", "/metrics").status_code == 403
    assert send(front, "POST", "/health").status_code == 405
    for path in (MODELS, CHAT, "/nowhere"):
        assert send(front, path=path, key="hf-nobody").status_code == 401
    twice = [("content-length", "2"), ("transfer-encoding", "chunked")]
    with front.raw() as raw:
        head = "".join(f"{name}: {value}\r\n" for name, value in twice)
        raw.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {front.text}\r\n{head}\r\n".encode()
        )
        assert raw.recv(65536).split()[1] == b"400"
    assert (front.recorder.acts, front.recorder.visits) == ([], [])
    assert reasons(front) == {
        "serve.scope": 1,
        "serve.method": 1,
        "serve.key-unknown": 3,
        "serve.two-lengths": 1,
    }


def test_a_model_that_is_withdrawn_and_an_engine_that_is_out_leave_pairs(front):
    told = house.withdrawn({"base": {"message": "It leaks.", "remedy": "Use another."}})
    front.call(front.house.withdraw, told, {})
    assert send(front).status_code == 410
    front.call(front.house.settings, front.settings, {})
    why = Unavailable("serve.engine-out", "It died.", remedy="Wait.", retry_after=60)
    front.call(front.house.engine, ENGINE, why, {})
    assert send(front).status_code == 503
    assert front.recorder.requests == [(CHAT, 410, "serve.revoked"), (CHAT, 503, "serve.engine-out")]


def test_an_engine_that_is_away_or_dies_before_the_intent_leaves_a_pair(front, new_puppet, pool, monkeypatch):
    monkeypatch.setattr(life, "ENGINE_SECONDS", 0.05)
    assert send(front).status_code == 503
    puppet = new_puppet(front)
    reply = pool.submit(send, front)
    puppet.next()
    puppet._sock.shutdown(socket.SHUT_RDWR)
    assert reply.result(60).status_code == 503
    assert [error for _, _, error in front.recorder.requests] == ["serve.engine-away", "serve.engine-died"]


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (("POST", CHAT, BODY), link.Generate),
        (("POST", EMBED, {"model": "base", "input": MARK}), link.Embed),
        (("POST", TOKENIZE, {"model": "base", "content": MARK}), link.Tokenize),
    ],
)
def test_what_an_engine_refuses_leaves_a_pair(front, puppet, pool, asked, kind):
    reply = pool.submit(send, front, *asked)
    why = UntrustedRequest("serve.prompt-length", MARK, remedy=MARK, param=MARK)
    puppet.say(link.Failed(puppet.next(kind).id, why))
    assert reply.result(60).status_code == 400
    assert front.recorder.requests == [(asked[1], 400, "serve.prompt-length")]
    assert front.recorder.acts == []
    assert MARK not in repr(front.recorder.visits)


def test_what_has_an_answers_pair_has_no_other(front, puppet, pool):
    done = pool.submit(send, front)
    puppet.answer(puppet.next(), "Good day")
    assert done.result(60).status_code == 200
    failed = pool.submit(send, front)
    puppet.accept(asked := puppet.next())
    puppet.say(link.Failed(asked.id, OperationFailed("serve.deadline", "Late.", remedy="Wait.")))
    assert failed.result(60).status_code == 503
    with front.raw() as raw:
        raw.sendall(front.request(BODY))
        puppet.accept(asked := puppet.next())
        front.until(lambda: len(front.recorder.acts) == 5)
    assert puppet.next(link.Cancel).id == asked.id
    puppet.done(asked, 0, cancelled=True)
    front.until(lambda: len(front.recorder.acts) == 6)
    front.call(front.house.visits.close)
    assert front.recorder.actions[1::2] == ["answer.done", "answer.failed", "answer.cancelled"]
    assert front.recorder.visits == []


def test_who_goes_before_anything_is_decided_leaves_a_pair_and_while_the_intent_syncs_an_answers(
    front, puppet
):
    with front.raw() as raw:
        raw.sendall(front.request(BODY))
        first = puppet.next()
    assert puppet.next(link.Cancel).id == first.id
    front.until(lambda: len(front.recorder.visits) == 2)
    with front.raw() as raw:  # half a body
        raw.sendall(front.request(BODY)[:-9])
    front.until(lambda: len(front.recorder.visits) == 4)
    assert front.recorder.requests == [(CHAT, 499, "serve.gone")] * 2
    release = front.recorder.held("answer")
    with front.raw() as raw:
        raw.sendall(front.request(BODY))
        puppet.accept(second := puppet.next())
        front.until(lambda: front.house.desk.active == 1)
    front.until(lambda: front.call(lambda: len(front.house.visits._tasks)) == 1)  # it waits for the verdict
    release.set_result(None)
    assert puppet.next(link.Cancel).id == second.id
    puppet.done(second, 0, cancelled=True)
    front.until(lambda: front.recorder.actions == ["answer", "answer.cancelled"])
    front.call(front.house.visits.close)
    assert len(front.recorder.visits) == 4


@pytest.mark.parametrize("held", ["serve.request", "serve.request.failed", "serve.request.done"])
def test_nothing_is_said_before_both_events_are_on_the_record(front, held):
    release = front.recorder.held(held)
    recorded = 0 if held == "serve.request" else 1
    path = b"/v1/nothing" if held.endswith("failed") else MODELS.encode()
    with front.raw() as raw:
        head = b" HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + front.text.encode() + b"\r\n\r\n"
        raw.sendall(b"GET " + path + head)
        front.until(lambda: front.call(lambda: len(front.house.visits._tasks)) == 1)
        front.until(lambda: len(front.recorder.visits) == recorded)
        raw.settimeout(0.2)
        with pytest.raises(TimeoutError):
            raw.recv(1)
        assert len(front.recorder.visits) == recorded
        raw.settimeout(60)
        release.set_result(None)
        assert raw.recv(65536).startswith(b"HTTP/1.1 404" if held.endswith("failed") else b"HTTP/1.1 200")
    assert len(front.recorder.requests) == 1


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        (("GET", MODELS), "serve.request"),
        (("GET", MODELS), "serve.request.done"),
        (("POST", CHAT, {"model": 7}), "serve.request"),
        (("POST", CHAT, {"model": 7}), "serve.request.failed"),
    ],
)
def test_what_the_log_does_not_take_is_not_said(front, asked, refused):
    front.recorder.refuse = {refused}
    reply = send(front, *asked)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_recorded")
    assert "base" not in reply.text
    assert "secret" not in reply.text
    assert reply.headers["retry-after"]
    assert reasons(front) == {"audit.test": 1}
    front.recorder.refuse = set()
    front.recorder.visits.clear()
    assert send(front, *asked).status_code != 503
    assert len(front.recorder.requests) == 1


def test_while_the_log_takes_nothing_nothing_is_said_or_tried(front):
    front.call(lambda: front.house.pause(paused=True))
    for asked in (("GET", MODELS), ("GET", "/nowhere"), ("POST", CHAT, b"{"), ("POST", CHAT)):
        reply = send(front, *asked)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_recorded")
    front.call(lambda: front.house.pause(paused=False))
    assert front.recorder.visits == []
    assert reasons(front) == {"serve.paused": 4}
    assert send(front, "GET", MODELS).status_code == 200


def test_a_key_that_sends_only_nonsense_runs_into_its_quota(new_front, new_puppet):
    minted = keys.mint("courts", [keys.ANY], LABEL, quota=Quota(requests_per_minute=4))
    front = new_front(more_keys=[minted.key])
    new_puppet(front, by_itself=1)
    assert send(front, body=b"nonsense", key=minted.secret).status_code == 400
    assert send(front, "GET", MODELS, key=minted.secret).status_code == 200
    assert send(front, key=minted.secret).status_code == 200
    assert send(front, "GET", "/nowhere", key=minted.secret).status_code == 404
    for asked in (("GET", "/nowhere"), ("GET", MODELS), ("POST", CHAT, b"nonsense"), ("POST", CHAT)):
        reply = send(front, *asked, key=minted.secret)
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert len(front.recorder.requests) == 3
    assert front.recorder.actions == ["answer", "answer.done"]
    assert reasons(front) == {"serve.quota-requests": 4}
    assert send(front, "GET", MODELS).status_code == 200  # of another key


def test_a_request_is_counted_once_whoever_refuses_it(new_front, new_puppet, pool):
    minted = keys.mint("courts", [keys.ANY], LABEL, quota=Quota(requests_per_minute=3, tokens_per_day=1000))
    front = new_front(make_settings(parallel=1, queue=1), more_keys=[minted.key])
    puppet = new_puppet(front)
    refused = pool.submit(send, front, key=minted.secret)
    puppet.say(link.Failed(puppet.next().id, UntrustedRequest("serve.grammar", "No.", remedy="Other.")))
    assert refused.result(60).status_code == 400
    answered = pool.submit(send, front, key=minted.secret)
    puppet.answer(puppet.next(), "Good day")
    assert answered.result(60).status_code == 200
    others = [pool.submit(send, front, key=one) for one in (front.text, front.cleared_text)]
    asked = [puppet.next(), puppet.next()]
    assert send(front, key=minted.secret).json()["error"]["code"] == "busy"
    assert front.call(front.vault.quotas.tokens, minted.key.id) == 4  # three of the prompt, one of the answer
    assert send(front, key=minted.secret).json()["error"]["code"] == "rate_limit_exceeded"
    for one in asked:
        puppet.answer(one, "Good day")
    assert {one.result(60).status_code for one in others} == {200}
    assert [error for _, _, error in front.recorder.requests] == ["serve.grammar", "serve.busy"]


def test_over_another_quota_than_that_of_requests_leaves_a_pair(new_front, new_puppet, pool):
    minted = keys.mint("courts", [keys.ANY], LABEL, quota=Quota(parallel=1, tokens_per_day=20))
    front = new_front(more_keys=[minted.key])
    puppet = new_puppet(front)
    first = pool.submit(send, front, key=minted.secret)
    puppet.accept(asked := puppet.next())
    front.until(lambda: front.recorder.actions == ["answer"])
    assert send(front, key=minted.secret).status_code == 429
    puppet.words(asked, 8)
    puppet.done(asked, 8)
    assert first.result(60).status_code == 200
    second = pool.submit(send, front, key=minted.secret)
    puppet.accept(puppet.next())
    assert second.result(60).status_code == 429
    errors = [error for _, _, error in front.recorder.requests]
    assert errors == ["serve.quota-parallel", "serve.quota-tokens"]


def test_a_key_without_a_quota_floods_the_log_with_a_bounded_number(new_front, new_puppet, pool, monkeypatch):
    monkeypatch.setattr(quota, "MAX_UNASKED", 5)
    front = new_front()
    puppet = new_puppet(front)
    for _ in range(4):
        assert send(front, body=b"nonsense").status_code == 400
    refused = pool.submit(send, front)  # what only the engine refuses is bounded with the rest
    puppet.say(link.Failed(puppet.next().id, UntrustedRequest("serve.grammar", "No.", remedy="Other.")))
    assert refused.result(60).status_code == 400
    for asked in (("POST", CHAT, b"nonsense"), ("GET", MODELS)):
        reply = send(front, *asked)
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert len(front.recorder.requests) == 5
    answered = pool.submit(send, front)  # what is no nonsense goes on
    puppet.answer(puppet.next(), "Good day")
    assert answered.result(60).status_code == 200
    assert send(front, "GET", MODELS, key=front.cleared_text).status_code == 200
    assert reasons(front) == {"serve.unasked": 2}


@settings(max_examples=60)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "TRACE", "BREW"]),
    path=st.sampled_from(
        [MODELS, CHAT, EMBED, TOKENIZE, DOCUMENT, "/v1/models/x", "//", "/v1/models/", "/%00"]
    ),
    query=st.sampled_from(["", "?a", "?a=b&c"]),
    body=st.binary(max_size=40) | st.sampled_from([json.dumps(BODY).encode(), b"{}", b'{"model": "base"}']),
)
def test_whatever_is_asked_leaves_exactly_one_pair(front, method, path, query, body):
    front.house.vault.quotas._taken.clear()
    front.house.engines._out[ENGINE] = Unavailable(
        "serve.engine-out", "It died.", remedy="Wait.", retry_after=60
    )
    before = len(front.recorder.requests)
    with front.http() as client:
        reply = client.request(method, path + query, content=body)
    (pair,) = front.recorder.requests[before:]
    assert pair[1] == reply.status_code
    assert front.recorder.acts == []


def test_what_is_cut_off_by_the_end_of_serving_leaves_a_pair(new_front, new_puppet, monkeypatch):
    monkeypatch.setattr(server, "GRACE_SECONDS", 0.2)
    front = new_front()
    puppet = new_puppet(front)
    with front.raw() as half, front.raw() as waiting:
        half.sendall(front.request(BODY)[:-9])
        waiting.sendall(front.request(BODY))
        puppet.next()
        front.until(lambda: front.call(lambda: len(front.server.server_state.tasks)) == 2)
        front.close()
    assert front.recorder.requests == [(CHAT, 503, "serve.stopped")] * 2
    assert front.recorder.acts == []
