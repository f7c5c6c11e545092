"""An engine that was taken over lies to the front, or floods it: what it says is bounded, and none of it reaches the record."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.integration.serving.stack import BODY, CHAT, CONTEXT, ENGINE, UP, Puppet

import holdfast.serving.engine
from holdfast.errors import NotAuthenticated, NotFound, NotRecorded, OperationFailed
from holdfast.serving import link
from holdfast.serving.front import answer, engines, faults, life, listener
from holdfast.serving.front import said as said_by

PROMPT = "The word is xyzzy"
COMPLETE = {"model": "base", "prompt": "Hello", "max_tokens": 8}


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as found:
        yield found


@pytest.fixture
def liar(front):
    """A puppet that may be cut off."""
    moved = Puppet(front)
    yield moved
    moved.close()


def post(front, body=BODY, path=CHAT, **options):
    with front.http() as client:
        return client.post(path, json=body, **options)


def gone(front):
    front.until(lambda: ENGINE not in front.house.engines.up)
    return True


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        NotFound(PROMPT, "Nowhere.", remedy=""),
        NotFound("serve." + "x" * 300, "Nowhere.", remedy=""),
        NotAuthenticated("serve.token", "Who are you?", remedy=""),
        NotRecorded("serve.fault", "The log is full.", remedy=""),
    ],
)
def test_an_engines_error_writes_nothing_of_its_own_into_the_record(front, puppet, pool, error, accepted):
    reply = pool.submit(post, front)
    asked = puppet.next()
    if accepted:
        puppet.accept(asked)
    puppet.say(link.Failed(asked.id, error))
    assert reply.result(60).status_code == 500
    written = repr((front.recorder.facts, front.recorder.acts))
    assert PROMPT not in written
    assert "xxx" not in written
    assert [act.params["error"] for act in front.recorder.acts[1:]] == ["serve.engine-fault"] * accepted


def test_every_error_that_ends_a_request_in_an_engine_may_be_reported():
    folder = Path(holdfast.serving.engine.__file__).parent
    found = {
        key
        for file in folder.glob("*.py")
        for key in re.findall(r'"(serve\.[a-z-]+)"', file.read_text("utf-8"))
    }
    attaching = {"serve.adapter", "serve.adapter-digest", "serve.files"}
    assert found - attaching == faults.SAID_BY_ENGINES - {"serve.link"}


def test_figures_that_can_not_be_are_not_counted(front, puppet, pool):
    reply = pool.submit(post, front)
    asked = puppet.next()
    puppet.accept(asked)
    puppet.words(asked)
    puppet.say(
        link.Events(
            (
                link.End(asked.id, 0, link.Ending.STOP),
                link.Done(asked.id, 400, 400, 2**26, 10**12, 10**12, 10**12),
            )
        )
    )
    usage = reply.result(60).json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 8)
    told = front.recorder.acts[-1].params
    assert (told["cached_tokens"], told["completion_tokens"]) == (3, 8)
    seconds = 60
    assert max(told["milliseconds"], told["first_ms"]) < seconds * 1000
    assert told["processor_ms"] < seconds * 1000 * os.cpu_count()


def test_neither_are_those_of_what_failed(front, puppet, pool):
    reply = pool.submit(post, front)
    asked = puppet.next()
    puppet.accept(asked)
    puppet.words(asked)
    why = OperationFailed("serve.compute", "It broke.", remedy="Again.")
    puppet.say(link.Failed(asked.id, why, link.Done(asked.id, 400, 400, 2**26, 10**12, 10**12, 10**12)))
    assert reply.result(60).status_code == 500
    told = front.recorder.acts[-1].params
    assert (told["error"], told["cached_tokens"], told["completion_tokens"]) == ("serve.compute", 3, 8)
    seconds = 60
    assert max(told["milliseconds"], told["first_ms"]) < seconds * 1000
    assert told["processor_ms"] < seconds * 1000 * os.cpu_count()


def test_a_prompt_can_not_have_more_tokens_than_the_context(front, liar, pool):
    reply = pool.submit(post, front)
    liar.accept(liar.next(), CONTEXT + 1)
    assert reply.result(60).status_code == 503
    assert gone(front)
    assert front.recorder.acts == []


@pytest.mark.parametrize(
    "said",
    [
        lambda number: link.Accepted(number + 1, 3),
        lambda number: link.Accepted(number, 3),
        lambda number: link.Events((link.Piece(number, 0, ""),) * (said_by.MAX_PIECES + 20)),
        lambda number: link.Tokenized(number + 1, ()),
        lambda number: link.Events((link.End(number, 0, link.Ending.STOP),) * 2),
        lambda number: link.Events((link.End(number, 0, link.Ending.STOP), link.Piece(number, 0, "more"))),
        lambda number: link.Tokenized(number, (1, 2)),
        lambda number: link.Events((link.Piece(number, 0, "x"),) * (said_by.MAX_PIECES + 20)),
    ],
)
def test_what_can_not_follow_cuts_the_link(front, liar, pool, said):
    reply = pool.submit(post, front)
    asked = liar.next()
    liar.accept(asked)
    front.until(lambda: front.recorder.actions == ["answer"])
    liar.say(said(asked.id))
    assert reply.result(60).status_code == 503
    assert gone(front)


@pytest.mark.parametrize("said", [("AAAAAA==",), ("AAAAAA==", "AAAAAAAAAAA="), ()])
def test_vectors_are_as_many_as_inputs_and_as_long_as_each_other(front, liar, pool, said):
    reply = pool.submit(post, front, {"model": "base", "input": ["a", "b"]}, "/v1/embeddings")
    asked = liar.next(link.Embed)
    liar.accept(asked)
    liar.say(link.Embedded(asked.id, said, 3))
    assert reply.result(60).status_code == 503
    assert gone(front)


def test_a_flood_before_the_ack_is_not_held(front, puppet, pool, monkeypatch):
    monkeypatch.setattr(life, "MAX_UNREAD", 2**20)
    held = front.recorder.held("answer")
    reply = pool.submit(post, front)
    asked = puppet.next()
    puppet.accept(asked)
    for _ in range(40):
        puppet.say(link.Events((link.Piece(asked.id, 0, "x" * 2**17),)))
    front.until(lambda: front.house.desk._held.size > 2**20)
    assert front.house.desk._held.size < 2**20 + 2**18
    held.set_result(None)
    assert reply.result(60).status_code == 429
    front.until(lambda: front.house.desk.active == 0)
    front.until(lambda: front.house.desk._held.size == 0)
    assert front.recorder.actions == ["answer", "answer.failed"]


def test_all_answers_together_hold_only_so_much(front, puppet, pool, monkeypatch):
    monkeypatch.setattr(answer, "MAX_HELD", 2 * 2**20)
    greedy = pool.submit(post, front)
    modest = None
    asked = puppet.next()
    puppet.accept(asked)
    for _ in range(12):
        puppet.say(link.Events((link.Piece(asked.id, 0, "x" * 2**17),)))
    front.until(lambda: front.house.desk._held.size > 12 * 2**17)
    modest = pool.submit(post, front)
    other = puppet.next()
    puppet.accept(other)
    puppet.say(link.Events((link.Piece(other.id, 0, "y" * 2**19 + "!"),)))
    puppet.say(link.Events((link.Piece(asked.id, 0, "x" * 2**17),)))
    puppet.done(asked, 1, cancelled=True)
    assert greedy.result(60).status_code == 429
    puppet.done(other)
    assert modest.result(60).status_code == 200
    front.until(lambda: front.house.desk._held.size == 0)


def test_what_is_given_up_and_not_ended_by_the_engine_is_bounded(front, liar, pool, monkeypatch):
    monkeypatch.setattr(engines, "MAX_LEFT", 3)
    hurried = {"x-request-timeout": "0.01"}
    monkeypatch.setattr(life, "GRACE_SECONDS", 0.01)
    left = []
    for _ in range(3):
        reply = pool.submit(
            post, front, {"content": "a " * 1000, "model": "base"}, "/tokenize", headers=hurried
        )
        left.append(liar.next(link.Tokenize))
        assert reply.result(60).status_code == 503
        liar.next(link.Cancel)
    assert post(front).status_code == 429
    liar.say(link.Tokenized(left[0].id, (1,)))
    front.until(lambda: len(front.house.engines.get(ENGINE)._left) == 2)
    reply = pool.submit(post, front)
    liar.answer(liar.next(), "There.")
    assert reply.result(60).status_code == 200
    monkeypatch.setattr(engines, "LEFT_SECONDS", 0.0)
    monkeypatch.setattr(engines, "MAX_LEFT", 2)
    assert post(front).status_code == 429
    assert gone(front)  # it ends nothing: the daemon will start another


def test_replies_to_what_has_ended_cut_the_link_if_there_is_no_end_of_them(front, liar, pool, monkeypatch):
    monkeypatch.setattr(engines, "MAX_STRAYS", 20)
    reply = pool.submit(post, front)
    asked = liar.next()
    liar.answer(asked, "There.")
    assert reply.result(60).status_code == 200
    stray = link.Events((link.Piece(asked.id, 0, "x"),))
    liar.say(*[stray] * 20)
    reply = pool.submit(post, front)
    liar.answer(liar.next(), "Again.")
    assert reply.result(60).status_code == 200
    liar.say(*[stray] * 21)
    assert gone(front)


def test_who_leaves_the_most_unread_goes_first(new_front, new_puppet):
    bounds = listener.Bounds(unsent=2**20)
    front = new_front(tcp=True, bounds=bounds)
    moved = new_puppet(front, by_itself=1, word="x" * 2**22)
    with front.raw(4096) as lazy:
        lazy.sendall(front.request(BODY))
        front.until(lambda: any("serve.reader-slow" in facts["reasons"] for _, facts in front.recorder.facts))
    moved._word = "y"
    assert post(front).status_code == 200


def test_the_model_that_an_engine_says_it_is_does_not_matter(front, pool):
    other = Puppet(front, up=link.Up("sha512:" + "f" * 128, UP.vocabulary, 2**20, chat=True, embeds=0))
    reply = pool.submit(post, front)
    asked = other.next()
    other.answer(asked, "There.")
    found = reply.result(60)
    assert found.headers["x-holdfast-model-digest"] == front.settings.models[0].digest
    other.close()
