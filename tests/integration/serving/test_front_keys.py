"""What a key may do at the front: its scopes, its models, and how much of it; what is refused leaves no act."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.serving.stack import BODY, CHAT, CONTEXT, LABEL, make_settings

from holdfast.errors import OperationFailed, UntrustedRequest
from holdfast.serving import keys, link
from holdfast.serving.quota import DAY, Quota

pytestmark = pytest.mark.usefixtures("noon")

PATHS = {"/v1/models", CHAT, "/v1/completions", "/v1/embeddings", "/tokenize", "/detokenize"}


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as found:
        yield found


def minted(*models, **options):
    return keys.mint("courts", models or ["*"], LABEL, **options)


def post(front, key, **change):
    with front.http(key.secret) as client:
        return client.post(CHAT, json=BODY | change)


def refused(reply, status, code):
    """Check a refusal; gives the seconds after which to come again, if it says so."""
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["code"] == code
    return int(reply.headers.get("retry-after", 0))


def test_a_key_for_metrics_reads_metrics_and_nothing_else(new_front):
    key, other = minted(scopes=["metrics"]), minted()
    front = new_front(more_keys=[key.key, other.key])
    with front.http(key.secret) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/v1/models").status_code == 403
        assert {client.post(path, json={}).status_code for path in PATHS - {"/v1/models"}} == {403}
    with front.http(other.secret) as client:
        assert client.get("/metrics").status_code == 403
    assert front.recorder.acts == []


def test_a_base_with_a_star_opens_its_adapters_and_not_the_base(new_front, new_puppet):
    key = minted("base:*")
    front = new_front(more_keys=[key.key])
    new_puppet(front, by_itself=1)
    with front.http(key.secret) as client:
        listed = {one["id"] for one in client.get("/v1/models").json()["data"]}
    assert "base:one" in listed
    assert (
        not {"base", "base:two"} & listed
    )  # the base is not meant, the other adapter's label is not covered
    assert post(front, key, model="base").status_code == 404
    assert post(front, key, model="base:two").status_code == 404
    assert post(front, key, model="base:one").status_code == 200
    assert [act.params["model"] for act in front.recorder.acts] == ["base:one", "base:one"]


def test_more_requests_than_a_minute_may_hold_are_told_when_to_come_again(new_front, new_puppet):
    key = minted(quota=Quota(requests_per_minute=2))
    front = new_front(more_keys=[key.key])
    new_puppet(front, by_itself=1)
    begun = time.monotonic()
    assert [post(front, key).status_code for _ in range(2)] == [200, 200]
    wait = refused(post(front, key), 429, "rate_limit_exceeded")
    assert 60 - (time.monotonic() - begun) <= wait <= 60
    assert front.recorder.actions == ["answer", "answer.done"] * 2
    with front.http() as client:  # another key has its own
        assert client.post(CHAT, json=BODY).status_code == 200


def test_a_day_of_tokens_is_never_exceeded_and_a_refused_request_is_not_recorded(new_front, new_puppet, pool):
    key = minted(quota=Quota(tokens_per_day=24))
    front = new_front(more_keys=[key.key])
    puppet = new_puppet(front)
    first = pool.submit(post, front, key)  # 3 of the prompt, at most 8 of the answer
    one = puppet.next()
    puppet.accept(one)
    second = pool.submit(post, front, key)
    two = puppet.next()
    puppet.accept(two)
    third = pool.submit(post, front, key)
    three = puppet.next()
    puppet.accept(three)  # 22 are counted or set aside
    assert refused(third.result(60), 429, "rate_limit_exceeded") == 1
    assert puppet.next(link.Cancel).id == three.id
    puppet.done(three, cancelled=True)
    for asked, reply in ((one, first), (two, second)):
        puppet.words(asked, 8)
        puppet.done(asked, 8)
        assert reply.result(60).status_code == 200
    assert front.recorder.actions.count("answer") == 2
    small = pool.submit(post, front, key, max_tokens=1)
    puppet.accept(asked := puppet.next(), 1)
    puppet.words(asked)
    puppet.done(asked)
    assert small.result(60).status_code == 200
    assert refused(post(front, key, max_tokens=1), 429, "insufficient_quota") == DAY // 2  # 24 are used
    assert front.call(front.vault.quotas.tokens, key.key.id) == 24


@pytest.mark.parametrize(("lacking", "status"), [(0, 200), (1, 429)])
def test_what_the_context_leaves_to_each_answer_is_set_aside(new_front, new_puppet, pool, lacking, status):
    needed = 400 + 2 * (CONTEXT - 400) + 300 + 2 * (CONTEXT - 300)
    key = minted(quota=Quota(tokens_per_day=needed - lacking))
    front = new_front(make_settings(new_tokens=CONTEXT), more_keys=[key.key])
    puppet = new_puppet(front)

    def complete():
        with front.http(key.secret) as client:
            body = {"model": "base", "prompt": ["a", "b"], "max_tokens": CONTEXT, "n": 2}
            return client.post("/v1/completions", json=body)

    reply = pool.submit(complete)
    for prompt in (400, 300):
        puppet.accept(asked := puppet.next(), prompt)
        if not lacking:
            puppet.done(asked, 1)
    assert reply.result(60).status_code == status


def test_what_was_said_counts_however_the_answer_ended(new_front, new_puppet, pool):
    key = minted(quota=Quota(tokens_per_day=100))
    front = new_front(more_keys=[key.key])
    puppet = new_puppet(front)
    reply = pool.submit(post, front, key)
    puppet.accept(asked := puppet.next())
    puppet.words(asked, 5)
    puppet.say(link.Failed(asked.id, OperationFailed("serve.deadline", "Late.", remedy="Wait.")))
    assert reply.result(60).status_code == 503
    assert front.call(front.vault.quotas.tokens, key.key.id) == 8
    assert front.recorder.acts[1].params["completion_tokens"] == 5


def test_what_was_used_before_the_front_began_counts(new_front, new_puppet):
    key = minted(quota=Quota(tokens_per_day=100))
    front = new_front(more_keys=[key.key])
    new_puppet(front, by_itself=1)
    today = dt.date(1970, 1, 1) + dt.timedelta(days=20_000)  # see ``noon``
    front.call(front.vault.quotas.seed, today.isoformat(), {key.key.id: 100})
    refused(post(front, key), 429, "insufficient_quota")
    assert front.recorder.acts == []


def test_only_so_many_requests_run_at_once(new_front, new_puppet, pool):
    key = minted(quota=Quota(parallel=1))
    front = new_front(more_keys=[key.key])
    puppet = new_puppet(front)
    first = pool.submit(post, front, key)
    asked = puppet.next()
    assert refused(post(front, key), 429, "rate_limit_exceeded") == 1
    puppet.answer(asked, "Good day")
    assert first.result(60).status_code == 200
    refusal = UntrustedRequest("serve.prompt-length", "Too long.", remedy="Send less.")
    for _ in range(2):  # neither does one that its engine refuses stay under way
        second = pool.submit(post, front, key)
        puppet.say(link.Failed(puppet.next().id, refusal))
        assert second.result(60).status_code == 400
    third = pool.submit(post, front, key)
    puppet.answer(puppet.next(), "Good day")
    assert third.result(60).status_code == 200


def test_a_revoked_key_opens_nothing_at_once_and_what_it_asked_before_is_answered(
    new_front, new_puppet, pool
):
    key = minted()
    front = new_front(more_keys=[key.key])
    puppet = new_puppet(front)
    before = pool.submit(post, front, key)
    asked = puppet.next()
    front.vault.ring = keys.KeyRing([front.key])
    refused(post(front, key), 401, "invalid_api_key")
    puppet.answer(asked, "Good day")
    assert before.result(60).status_code == 200


def test_what_a_revoked_key_is_being_answered_ends(new_front, new_puppet, pool):
    gone, stays = minted(), minted()
    front = new_front(more_keys=[gone.key, stays.key])
    puppet = new_puppet(front)
    replies = [pool.submit(post, front, one, stream=True) for one in (gone, stays)]
    asked = [puppet.next(), puppet.next()]
    for one in asked:
        puppet.accept(one)
        puppet.words(one)
    front.until(lambda: front.recorder.actions == ["answer"] * 2)
    front.call(front.house.keys, keys.KeyRing([front.key, stays.key]))
    refused = replies[0].result(60)
    assert "[DONE]" not in refused.text
    assert "invalid_api_key" in refused.text
    for one in asked:
        puppet.done(one)
    assert "[DONE]" in replies[1].result(60).text
    front.until(lambda: len(front.recorder.acts) == 4)
    ended = {(act.action, act.key) for act in front.recorder.acts[2:]}
    assert ended == {("answer.failed", gone.key.id), ("answer.done", stays.key.id)}
    assert post(front, gone).status_code == 401
