"""The life of an answer, word by word: what is said before the ack, what is recorded, and what happens when something breaks."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.serving.stack import BODY, CHAT, DIGESTS, ENGINE, UP, Puppet

from holdfast.errors import OperationFailed, UntrustedRequest
from holdfast.serving import link
from holdfast.serving.front import life
from holdfast.serving.front.answer import Answer, Held
from holdfast.serving.front.house import withdrawn
from holdfast.serving.front.question import Outcome, Text


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as found:
        yield found


def post(front, body, key=None, **options):
    with front.http(key) as client:
        return client.post(CHAT, json=body, **options)


def streamed(raw):
    """Read a stream to its end."""
    data = b""
    while b"0\r\n\r\n" not in data:
        part = raw.recv(65536)
        if not part:
            break
        data += part
    return data


def silent(raw):
    """Show that nothing is said."""
    raw.settimeout(0.2)
    with pytest.raises(TimeoutError):
        raw.recv(1)
    raw.settimeout(60)


def test_an_answer_and_its_pair(front, puppet, pool):
    reply = pool.submit(post, front, BODY | {"user": "citizen 7"})
    asked = puppet.next()
    assert (asked.lane, asked.tenant, asked.most, asked.choices) == ("", "tax-office", 8, 1)
    assert 1700 < asked.seconds <= 1800
    puppet.answer(asked, "Good day")
    found = reply.result(60)
    assert found.status_code == 200, found.text
    assert found.json()["choices"][0]["message"]["content"] == "Good day"
    assert found.json()["usage"]["prompt_tokens"] == 3
    intent, outcome = front.recorder.acts
    assert (intent.action, intent.params["kind"], intent.params["prompt_tokens"]) == ("answer", "chat", 3)
    assert (intent.user, intent.tenant, intent.key) == ("citizen 7", "tax-office", front.key.id)
    assert (outcome.action, outcome.cause, outcome.payloads["answer"]) == ("answer.done", 0, b"Good day")
    counted = {
        name: outcome.params[name]
        for name in ("completion_tokens", "cached_tokens", "milliseconds", "first_ms", "processor_ms")
    }
    assert list(counted.values()) == [1, 1, 20, 5, 40]
    assert outcome.params["finish_reason"] == "stop"


def test_the_engine_computes_while_the_intent_is_acked_and_nothing_is_said_before(front, puppet):
    release = front.recorder.held("answer")
    with front.raw() as raw:
        raw.sendall(front.request(BODY | {"stream": True}))
        asked = puppet.next()
        puppet.accept(asked)
        puppet.words(asked, 3)
        silent(raw)
        assert puppet.cancelled == []
        release.set_result(None)
        puppet.done(asked, 3)
        data = streamed(raw)
    assert data.startswith(b"HTTP/1.1 200 ")
    assert b"x-holdfast-request-receipt: 0" in data
    assert data.index(b"w0 ") < data.index(b"w1 ") < data.index(b"w2 ") < data.index(b"[DONE]")
    assert front.recorder.actions == ["answer", "answer.done"]


@pytest.mark.parametrize("stream", [True, False])
def test_if_the_log_refuses_the_engine_is_stopped_and_nothing_is_said(front, puppet, pool, stream):
    front.recorder.refuse = {"answer"}
    reply = pool.submit(post, front, BODY | {"stream": stream})
    asked = puppet.next()
    puppet.accept(asked)
    found = reply.result(60)
    assert (found.status_code, found.json()["error"]["code"]) == (503, "not_recorded")
    assert "secret" not in found.text
    assert puppet.next(link.Cancel).id == asked.id
    puppet.words(asked)  # to nobody
    puppet.done(asked, cancelled=True)
    front.until(lambda: front.status()["active"] == 0)
    assert front.recorder.acts == []
    assert front.house.places.held == 0


def test_a_client_that_goes_during_its_stream_is_recorded_as_having_cancelled(front, puppet):
    with front.raw() as raw:
        raw.sendall(front.request(BODY | {"stream": True}))
        asked = puppet.next()
        puppet.accept(asked)
        puppet.words(asked, 2)
        data = b""
        while b"w1 " not in data:
            data += raw.recv(65536)
    assert puppet.next(link.Cancel).id == asked.id
    puppet.done(asked, 2, cancelled=True)
    front.until(lambda: len(front.recorder.acts) == 2)
    outcome = front.recorder.acts[1]
    assert (outcome.action, outcome.params["finish_reason"]) == ("answer.cancelled", "cancelled")
    assert (outcome.params["completion_tokens"], outcome.payloads["answer"]) == (2, b"w0 w1 ")
    front.until(lambda: front.house.places.held == 0)


def test_a_client_that_goes_before_the_ack_gets_a_pair_and_one_that_goes_before_acceptance_none(
    front, puppet
):
    with front.raw() as raw:
        raw.sendall(front.request(BODY))
        first = puppet.next()
    assert puppet.next(link.Cancel).id == first.id
    front.until(lambda: front.house.places.held == 0)
    assert front.recorder.acts == []
    release = front.recorder.held("answer")
    with front.raw() as raw:
        raw.sendall(front.request(BODY))
        second = puppet.next()
        puppet.accept(second)
        front.until(lambda: front.house.desk.active == 1)
    release.set_result(None)
    assert puppet.next(link.Cancel).id == second.id
    puppet.done(second, 0, cancelled=True)
    front.until(lambda: len(front.recorder.acts) == 2)
    assert front.recorder.actions == ["answer", "answer.cancelled"]


def test_a_client_that_goes_while_vectors_are_computed_has_cancelled(front, puppet):
    with front.raw() as raw:
        raw.sendall(front.request({"model": "base", "input": "x"}, "/v1/embeddings"))
        asked = puppet.next(link.Embed)
        puppet.accept(asked)
        front.until(lambda: len(front.recorder.acts) == 1)
    assert puppet.next(link.Cancel).id == asked.id
    puppet.say(link.Failed(asked.id, UntrustedRequest("serve.cancelled", "Cancelled.", remedy="None.")))
    front.until(lambda: front.recorder.actions == ["answer", "answer.cancelled"])


def test_what_an_answer_took_that_failed_counts(front, puppet, pool):
    reply = pool.submit(post, front, BODY | {"n": 2})
    asked = puppet.next()
    puppet.accept(asked)
    puppet.words(asked, 3)
    took = link.Done(asked.id, 3, 2, 5, 700, 60, 81.5)
    puppet.say(link.Failed(asked.id, OperationFailed("serve.deadline", "Late.", remedy="Wait."), took))
    assert reply.result(60).status_code == 503
    _, outcome = front.recorder.acts
    assert (outcome.action, outcome.cause, outcome.params["error"]) == ("answer.failed", 0, "serve.deadline")
    figures = {"completion_tokens": 5, "cached_tokens": 2, "processor_ms": 81.5}
    assert figures.items() <= outcome.params.items()  # five tokens, though three pieces came
    assert "finish_reason" not in outcome.params
    with front.http(front.cleared_text) as client:
        shown = client.get("/metrics").text
    assert 'holdfast_processor_seconds_total{model="base"} 0.0815' in shown
    assert 'holdfast_completion_tokens_total{model="base"} 5.0' in shown


def test_what_the_front_ends_itself_counts_what_its_engine_then_says(front, puppet, pool, monkeypatch):
    monkeypatch.setattr("holdfast.serving.front.life.LAST_SECONDS", 60.0)
    reply = pool.submit(post, front, BODY | {"stream": True})
    asked = puppet.next()
    puppet.accept(asked)
    puppet.words(asked)
    front.until(lambda: front.recorder.actions == ["answer"])
    front.call(front.house.withdraw, withdrawn({"base": {"message": "It leaks.", "remedy": "Use two."}}), {})
    assert puppet.next(link.Cancel).id == asked.id
    puppet.words(asked, 2)  # which nobody reads any more
    puppet.say(link.Events((link.Done(asked.id, 3, 1, 7, 20, 5, 40.5, cancelled=True),)))
    text = reply.result(60).text
    assert "It leaks." in text
    assert "w1" not in text
    _, outcome = front.recorder.acts
    figures = {"error": "serve.revoked", "completion_tokens": 7, "cached_tokens": 1, "processor_ms": 40.5}
    assert (outcome.action, figures.items() <= outcome.params.items()) == ("answer.failed", True)


def embed(front):
    with front.http() as client:
        return client.post("/v1/embeddings", json={"model": "base", "input": "x"})


def test_vectors_that_fail_count_what_they_took(front, puppet, pool):
    reply = pool.submit(embed, front)
    asked = puppet.next(link.Embed)
    puppet.accept(asked)
    why = OperationFailed("serve.compute", "It broke.", remedy="Again.")
    puppet.say(link.Failed(asked.id, why, link.Done(asked.id, 3, 0, 9, 0, 0, 1.25)))
    assert reply.result(60).status_code == 500
    told = front.recorder.acts[-1].params
    assert (told["processor_ms"], told["completion_tokens"]) == (1.25, 0)


def test_processor_time_is_counted_to_fractions_of_vectors_too(front, puppet, pool):
    reply = pool.submit(embed, front)
    asked = puppet.next(link.Embed)
    puppet.accept(asked)
    puppet.say(link.Embedded(asked.id, ("AACAPw==",), 3, 0.25))
    assert reply.result(60).status_code == 200
    assert front.recorder.acts[1].params["processor_ms"] == 0.25
    with front.http(front.cleared_text) as client:
        assert 'holdfast_processor_seconds_total{model="base"} 0.00025' in client.get("/metrics").text


def test_what_an_engine_lacks_is_refused_with_the_reason_and_nothing_else_of_it(front, new_puppet):
    from holdfast.serving.front.faults import Unavailable

    new_puppet(front, by_itself=1)
    why = Unavailable("serve.adapter-out", "It has other bytes.", remedy="Scrub.", retry_after=60)
    front.call(front.house.engine, ENGINE, None, {f"{DIGESTS['one']}@1.0": why})
    found = post(front, BODY | {"model": "base:one"})
    assert (found.status_code, found.headers["retry-after"]) == (503, "60")
    assert "It has other bytes." in found.text
    assert post(front, BODY).status_code == 200
    front.call(front.house.settings, front.settings, {})  # the same table: it lacks it still
    assert post(front, BODY | {"model": "base:one"}).status_code == 503
    front.call(front.house.engine, ENGINE, None, {})
    assert post(front, BODY | {"model": "base:one"}).status_code == 200
    assert front.house.places.held == 0


def test_an_engine_that_does_not_react_to_a_cancel_holds_nobody(front, puppet, monkeypatch):
    monkeypatch.setattr("holdfast.serving.front.life.GRACE_SECONDS", 0.1)
    with front.raw() as raw:
        raw.sendall(front.request(BODY | {"stream": True}))
        asked = puppet.next()
        puppet.accept(asked)
        puppet.words(asked)
        raw.recv(65536)
    front.until(lambda: front.house.places.held == 0)
    assert front.recorder.actions == ["answer", "answer.cancelled"]
    puppet.done(asked)  # too late, to nobody


def test_an_engine_that_dies_costs_only_those_in_flight(front, pool, new_puppet):
    first = Puppet(front)
    whole = pool.submit(post, front, BODY)
    one = first.next()
    first.accept(one)
    with front.raw() as raw:
        raw.sendall(front.request(BODY | {"stream": True}))
        two = first.next()
        first.accept(two)
        first.words(two)
        data = b""
        while b"w0 " not in data:
            data += raw.recv(65536)
        front.until(lambda: len(front.recorder.acts) == 2)
        first.close()
        data += streamed(raw)
    died = whole.result(60)
    assert (died.status_code, died.headers["retry-after"]) == (503, "5")
    last = json.loads(
        [line for line in data.split(b"\n") if line.startswith(b"data: ")][-1].removeprefix(b"data: ")
    )
    assert last["error"]["type"] == "server_error"
    assert b"[DONE]" not in data
    front.until(lambda: len(front.recorder.acts) == 4)
    assert sorted(front.recorder.actions) == ["answer", "answer", "answer.failed", "answer.failed"]
    assert {act.params["error"] for act in front.recorder.acts[2:]} == {"serve.engine-died"}
    waiting = pool.submit(post, front, BODY)  # it waits for the next engine
    front.until(lambda: front.house.desk.active == 1)
    second = new_puppet(front)
    second.answer(second.next(), "again")
    assert waiting.result(60).json()["choices"][0]["message"]["content"] == "again"
    with front.http(front.cleared_text) as client:
        assert 'holdfast_engine_deaths_total{model="base"} 1.0' in client.get("/metrics").text


def test_the_end_of_an_engine_that_was_replaced_takes_nothing_from_the_next(front, pool, new_puppet):
    first = Puppet(front)
    before = pool.submit(post, front, BODY)
    asked = first.next()
    second = new_puppet(front, by_itself=1)
    assert post(front, BODY).status_code == 200
    first.answer(asked, "still")  # what it was asked it may end
    assert before.result(60).status_code == 200
    first.close()
    front.until(lambda: front.call(lambda: len(front.house.engines._all)) == 1)
    assert post(front, BODY).status_code == 200
    with front.http(front.cleared_text) as client:
        assert "holdfast_engine_deaths_total{" not in client.get("/metrics").text
    assert second.asked.empty()


def test_without_an_engine_nobody_waits_for_ever(front, monkeypatch):
    monkeypatch.setattr("holdfast.serving.front.life.ENGINE_SECONDS", 0.1)
    found = post(front, BODY)
    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    with front.http() as client:
        assert client.get("/health").status_code == 503
    assert front.recorder.acts == []


def test_an_engine_that_was_taken_out_is_not_waited_for_until_it_is_expected(front, new_puppet):
    from holdfast.serving.front.faults import Unavailable

    why = Unavailable("serve.engine-out", "It died five times.", remedy="Load it again.", retry_after=60)
    front.call(front.house.engine, ENGINE, why, {})
    found = post(front, BODY)
    assert (found.status_code, found.headers["retry-after"]) == (503, "60")
    front.call(front.house.engine, ENGINE, None, {})
    new_puppet(front, by_itself=2)
    assert post(front, BODY).status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\x00\x00\x02{}",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x0bnot json at",
        UP,
        link.Events((link.Piece(1, 5, "a choice that was not asked for"),)),
        link.Embedded(1, ("AAAAAA==",), 1),
    ],
)
def test_an_engine_that_says_what_nobody_asked_for_is_cut_off_as_if_it_had_died(front, pool, said):
    puppet = Puppet(front)
    reply = pool.submit(post, front, BODY)
    asked = puppet.next()
    assert asked.id == 1
    puppet.accept(asked)
    puppet.say(said)
    assert reply.result(60).status_code == 503
    front.until(lambda: ENGINE not in front.house.engines.up)
    puppet.close()
    front.until(lambda: front.recorder.actions == ["answer", "answer.failed"])


@pytest.mark.parametrize(
    ("bound", "pieces"), [(("MAX_SAID", 10), ["x" * 11]), (("MAX_PIECES", 0), ["x"] * 12)]
)
def test_an_engine_that_says_more_than_an_answer_can_be_is_cut_off(front, pool, monkeypatch, bound, pieces):
    monkeypatch.setattr(f"holdfast.serving.front.said.{bound[0]}", bound[1])
    puppet = Puppet(front)
    reply = pool.submit(post, front, BODY)  # 8 tokens of an answer to 3 of a prompt
    asked = puppet.next()
    puppet.accept(asked)
    puppet.say(link.Events(tuple(link.Piece(asked.id, 0, piece) for piece in pieces[:-1])))
    front.until(lambda: front.recorder.actions == ["answer"])
    assert ENGINE in front.house.engines.up
    puppet.say(link.Events((link.Piece(asked.id, 0, pieces[-1]),)))
    assert reply.result(60).status_code == 503
    front.until(lambda: ENGINE not in front.house.engines.up)
    puppet.close()
    assert front.recorder.actions == ["answer", "answer.failed"]


async def test_an_answer_is_read_once_its_reader_has_come_back_for_more_than_its_last_piece():
    read = asyncio.Event()
    answer = Answer(None, read.set, Held())  # type: ignore[arg-type]  # it is not looked at
    for text in ("a", "b"):
        answer.put(Text(0, text))
    answer.ended = True
    reader = answer.events()
    for _ in range(2):
        await anext(reader)
        assert not read.is_set()
    last = asyncio.ensure_future(anext(reader, None))
    await read.wait()
    answer.put(Outcome(None, None))  # type: ignore[arg-type]  # nor these
    assert await last is None


def test_an_answer_that_its_engine_gave_up_is_no_whole_one(front, puppet, pool):
    reply = pool.submit(post, front, BODY)
    asked = puppet.next()
    puppet.accept(asked)
    puppet.words(asked)
    puppet.done(asked, cancelled=True)
    assert reply.result(60).status_code >= 500
    assert front.recorder.actions == ["answer", "answer.cancelled"]


def test_an_engine_refuses_before_it_accepts_and_nothing_is_recorded(front, puppet, pool):
    reply = pool.submit(post, front, BODY)
    asked = puppet.next()
    puppet.say(
        link.Failed(asked.id, UntrustedRequest("serve.prompt-length", "Too long.", remedy="Send less."))
    )
    found = reply.result(60)
    assert (found.status_code, found.json()["error"]["code"]) == (400, "serve.prompt-length")
    assert (front.recorder.acts, front.house.places.held) == ([], 0)


def test_an_engine_that_fails_after_it_accepted_is_on_the_record(front, puppet, pool):
    reply = pool.submit(post, front, BODY)
    asked = puppet.next()
    puppet.accept(asked)
    puppet.words(asked)
    puppet.say(
        link.Failed(asked.id, UntrustedRequest("serve.grammar", "It ends nowhere.", remedy="Ask for less."))
    )
    assert reply.result(60).status_code == 400
    assert front.recorder.actions == ["answer", "answer.failed"]
    assert front.recorder.acts[1].params["error"] == "serve.grammar"
    assert front.recorder.acts[1].payloads["answer"] == b"w0 "


def test_choices_and_batches_are_one_pair(front, puppet, pool):
    def complete(body):
        with front.http() as client:
            return client.post("/v1/completions", json=body)

    reply = pool.submit(complete, {"model": "base", "prompt": ["a", "b"], "n": 2})
    first, second = puppet.next(), puppet.next()
    puppet.say(link.Accepted(second.id, 4), link.Accepted(first.id, 3))
    puppet.say(
        link.Events(
            (
                link.Piece(second.id, 1, "b1"),
                link.Piece(first.id, 0, "a0"),
                link.Piece(second.id, 0, "b0"),
                link.Piece(first.id, 1, "a1"),
            )
        )
    )
    puppet.done(first, 2, ending=link.Ending.LENGTH)
    puppet.done(second, 2)
    found = reply.result(60).json()
    assert [choice["text"] for choice in found["choices"]] == ["a0", "a1", "b0", "b1"]
    assert found["usage"]["completion_tokens"] == 4
    intent, outcome = front.recorder.acts
    assert (intent.params["prompt_tokens"], intent.params["kind"]) == (7, "completion")
    assert (outcome.params["completion_tokens"], outcome.params["finish_reason"]) == (4, "length")
    assert json.loads(outcome.payloads["answer"]) == ["a0", "a1", "b0", "b1"]


def test_a_refused_prompt_of_a_batch_stops_the_others(front, puppet, pool):
    def complete():
        with front.http() as client:
            return client.post("/v1/completions", json={"model": "base", "prompt": ["a", "b"]})

    reply = pool.submit(complete)
    first, second = puppet.next(), puppet.next()
    puppet.accept(first)
    puppet.words(first)
    puppet.say(link.Failed(second.id, UntrustedRequest("serve.token", "None such.", remedy="Send some.")))
    assert reply.result(60).status_code == 400
    assert puppet.next(link.Cancel).id == first.id
    assert front.recorder.acts == []


def test_tokenizing_is_a_pair_too(front, puppet, pool):
    def tokenize():
        with front.http() as client:
            return client.post("/tokenize", json={"model": "base", "content": "Hello"})

    reply = pool.submit(tokenize)
    asked = puppet.next(link.Tokenize)
    puppet.say(link.Tokenized(asked.id, (5, 6)))
    found = reply.result(60)
    assert found.status_code == 200, found.text
    assert found.json()["tokens"] == [5, 6]
    intent, outcome = front.recorder.acts
    assert (intent.params["kind"], intent.params["prompt_tokens"]) == ("tokenize", 0)
    assert (outcome.action, outcome.params["finish_reason"]) == ("answer.done", None)


def test_the_deadline_of_a_client_reaches_the_engine_and_is_kept_without_it(front, puppet, pool, monkeypatch):
    monkeypatch.setattr(life, "GRACE_SECONDS", 60.0)
    reply = pool.submit(post, front, BODY, headers={"x-request-timeout": "101.5"})
    asked = puppet.next()
    assert 0 < asked.seconds < 101.5  # some of it has passed
    puppet.accept(asked)  # and then nothing
    front.until(lambda: front.recorder.actions == ["answer"])
    front.let_pass(101.5)
    assert not reply.done()  # the engine has a grace
    front.let_pass(60.0)
    assert reply.result(60).status_code in {503, 504}
    assert puppet.next(link.Cancel).id == asked.id
    front.until(lambda: front.recorder.actions == ["answer", "answer.failed"])
    assert front.recorder.acts[1].params["error"] == "serve.deadline"
    assert post(front, BODY, headers={"x-request-timeout": "soon"}).status_code == 400


def test_a_withdrawn_model_ends_what_it_answers(front, puppet, pool):
    reply = pool.submit(post, front, BODY)
    asked = puppet.next()
    puppet.accept(asked)
    front.until(lambda: len(front.recorder.acts) == 1)
    front.call(front.house.withdraw, withdrawn({"base": {"message": "It leaks.", "remedy": "Use two."}}), {})
    found = reply.result(60)
    assert (found.status_code, found.json()["error"]["code"]) == (410, "model_revoked")
    assert "It leaks. Use two." in found.text
    assert puppet.next(link.Cancel).id == asked.id
    front.until(lambda: front.recorder.actions == ["answer", "answer.failed"])
    assert post(front, BODY).status_code == 410
    with front.http() as client:
        assert "base" not in [one["id"] for one in client.get("/v1/models").json()["data"]]


def test_a_revoked_file_ends_what_it_answers_whatever_its_id_means_now(front, puppet, pool):
    from tests.integration.serving.stack import make_settings

    with_one = pool.submit(post, front, BODY | {"model": "base:one"})
    one = puppet.next()
    puppet.accept(one)
    alone = pool.submit(post, front, BODY)
    base = puppet.next()
    puppet.accept(base)
    front.until(lambda: len(front.recorder.acts) == 2)
    front.call(front.house.settings, make_settings(adapters=()), {})
    told = {DIGESTS["one"]: {"message": "It leaks.", "remedy": "Use another."}}
    front.call(front.house.withdraw, {}, withdrawn(told))
    assert with_one.result(60).status_code == 410
    assert puppet.next(link.Cancel).id == one.id
    puppet.answer(base, "fine", accepted=True)
    assert alone.result(60).status_code == 200


def test_a_life_that_breaks_off_leaves_nobody_waiting(front, puppet, pool, monkeypatch):
    def broken(*_):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("holdfast.serving.front.acts.sealable", broken)
    reply = pool.submit(post, front, BODY)
    puppet.answer(puppet.next(), "Good day")
    found = reply.result(60)
    assert (found.status_code, found.json()["error"]["code"]) == (500, "internal_error")
    assert "a fault" not in found.text
    front.until(lambda: front.house.places.held == 0)


def test_settings_are_replaced_while_requests_keep_what_they_have(front, puppet, pool):
    from tests.integration.serving.stack import make_settings

    lane = f"{DIGESTS['one']}@1.0"
    reply = pool.submit(post, front, BODY | {"model": "base:one"})
    asked = puppet.next()
    assert asked.lane == lane
    puppet.accept(asked)
    front.call(front.house.settings, make_settings(adapters=("two",)), {})
    assert front.call(front.house.routing.busy, [(ENGINE, lane)]) == [(ENGINE, lane)]
    assert post(front, BODY | {"model": "base:one"}).status_code == 404
    puppet.answer(asked, "still", accepted=True)
    assert reply.result(60).json()["choices"][0]["message"]["content"] == "still"
    front.until(lambda: front.call(front.house.routing.busy, [(ENGINE, lane)]) == [])


def test_while_the_log_takes_nothing_questions_are_turned_away(front, new_puppet):
    new_puppet(front, by_itself=2)
    front.call(lambda: front.house.pause(paused=True))
    assert post(front, BODY).json()["error"]["code"] == "not_recorded"
    front.call(lambda: front.house.pause(paused=False))
    assert post(front, BODY).status_code == 200


def test_when_serving_ends_what_is_answered_is_recorded_as_cancelled(front, puppet, monkeypatch):
    monkeypatch.setattr(front.server.config, "timeout_graceful_shutdown", 0.2)
    with front.raw() as raw:
        raw.sendall(front.request(BODY | {"stream": True}))
        asked = puppet.next()
        puppet.accept(asked)
        puppet.words(asked)
        raw.recv(65536)
        closing = threading.Thread(target=front.close)
        closing.start()
        assert puppet.next(link.Cancel).id == asked.id
        puppet.done(asked, cancelled=True)
        closing.join()
    assert front.recorder.actions == ["answer", "answer.cancelled"]
