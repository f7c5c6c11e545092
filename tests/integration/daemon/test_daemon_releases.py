"""Releases with a real daemon: proposed, approved by another person, served under an alias that switches, rolled back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.daemon import late
from tests.integration.daemon.releasing import (
    OLGA,
    application,
    approve,
    gguf,
    propose,
    serve,
    train,
    train_whole,
)

from holdfast.artefact import Kind
from holdfast.client import operations
from holdfast.daemon.serve import deployment
from holdfast.daemon.serve.engine import Engine
from holdfast.errors import Conflict, HoldfastError, NotFound, NotPermitted, VerificationFailed, WorkerFailed
from holdfast.governance import approvals
from holdfast.governance.releases import Standing
from holdfast.keys import person

pytestmark = pytest.mark.model
__all__ = ["gguf"]

CHAT = "/v1/chat/completions"
BODY = {
    "model": "lesson",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 24,
    "temperature": 0,
}


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


async def refused(daemon, who, method, route, body=None):
    """Ask for something that must be refused, at once or by its job."""

    async def ask(client):
        await client.finish((await client.call(method, route, body))["job"])

    async with daemon.session(who) as client:
        with pytest.raises(HoldfastError) as caught:
            await ask(client)
    return caught.value


async def rollback(daemon, who="olga", **body):
    async with daemon.session(who) as client:
        asked = {"alias": "lesson", "reason": "It answers worse.", **body}
        return await client.finish((await client.call("POST", "/v1/releases/rollback", asked))["job"])


async def idle(daemon):
    """Wait until nothing runs any more that is not served."""
    async with asyncio.timeout(120):
        while daemon.services.serving.deployment.retiring:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)


def lanes(daemon):
    """Digests of the adapters that engines have, whatever is served."""
    return {
        lane.digest
        for seat in daemon.services.serving.deployment.pool.seats.values()
        for lane in seat.lanes.values()
    }


def standings(daemon):
    return {one.request: one.standing for one in daemon.state.releases.proposals.values()}


async def test_from_the_proposal_to_the_served_alias_a_second_release_and_the_way_back(daemon, gguf):
    first = await train(daemon, gguf, "lesson", 1)
    one = await propose(daemon, first)
    assert (one["alias"], one["standing"], one["product"]) == ("lesson", "open", first.adapter.digest)
    assert one["gguf"] == {"q8_0": first.weights.digest}
    assert one["lora"] == first.lora.digest
    assert {entry["kind"] for entry in one["lineage"]} >= {
        "adapter",
        "run",
        "recipe",
        "dataset",
        "base",
        "evaluation",
    }
    # Nothing of that base is served yet: the alias is there when it is.
    assert (await approve(daemon, one))["switched"] is False
    started = await serve(daemon)
    assert [(model["id"], model["release"]) for model in started["models"]] == [
        ("lesson", one["request"]),
        ("tiny", None),
    ]
    async with await application(daemon, started["address"]) as client:
        listed = {model["id"]: model["holdfast"] for model in (await client.get("/v1/models")).json()["data"]}
        assert listed["lesson"]["adapter_digest"] == first.lora.digest
        assert listed["lesson"]["release"] == one["request"]
        before = await client.post(CHAT, json=BODY)
        assert before.status_code == 200, before.text
        assert before.headers["x-holdfast-adapter-digest"] == first.lora.digest
        assert before.headers["x-holdfast-release"] == str(one["request"])
        plain = (await client.post(CHAT, json=BODY | {"model": "tiny"})).json()["choices"][0]["message"]

        second = await train(daemon, gguf, "lesson", 2)
        two = await propose(daemon, second)
        # An answer that is under way when the alias switches is given to its end by what it was asked of.
        async with client.stream("POST", CHAT, json=BODY | {"max_tokens": 400, "stream": True}) as stream:
            pieces = stream.aiter_lines()
            await anext(pieces)
            assert (await approve(daemon, two))["switched"] is True
            after = await client.post(CHAT, json=BODY)
            last = [line async for line in pieces if line]
        assert stream.headers["x-holdfast-adapter-digest"] == first.lora.digest
        assert last[-1] == "data: [DONE]"
        assert after.headers["x-holdfast-adapter-digest"] == second.lora.digest
        texts = [reply.json()["choices"][0]["message"] for reply in (before, after)]
        assert texts[0] != texts[1] != plain
        assert standings(daemon) == {one["request"]: Standing.SUPERSEDED, two["request"]: Standing.IN_FORCE}

        assert (await rollback(daemon))["switched"] is True
        again = await client.post(CHAT, json=BODY)
        assert again.headers["x-holdfast-adapter-digest"] == first.lora.digest
        assert again.json()["choices"][0]["message"] == texts[0]
    assert standings(daemon) == {one["request"]: Standing.IN_FORCE, two["request"]: Standing.ROLLED_BACK}
    # Every answer names what was behind the alias then; the address never changed.
    asked = [event.params for event in daemon.events("answer") if event.params["model"] == "lesson"]
    assert [params["adapter_digest"] for params in asked] == [
        first.lora.digest,
        first.lora.digest,
        second.lora.digest,
        first.lora.digest,
    ]
    assert [params["release"] for params in asked] == [
        one["request"],
        one["request"],
        two["request"],
        one["request"],
    ]
    ended = {
        event.cause: event.action
        for event in daemon.services.log.events()
        if event.action.startswith("answer.")
    }
    assert set(ended.values()) == {"answer.done"}
    approval = daemon.events("release.approve")[1].params["approval"]["statement"]
    assert (approval["requester"], approval["digest"], approval["request"]) == (
        "olga",
        two["digest"],
        two["request"],
    )
    await idle(daemon)
    assert lanes(daemon) == {first.lora.digest}
    daemon.at_rest()


async def test_no_application_sees_that_an_alias_switches(daemon, gguf):
    runs = [await train(daemon, gguf, "lesson", seed) for seed in (1, 2)]
    await approve(daemon, await propose(daemon, runs[0]))
    address = (await serve(daemon))["address"]
    over, seen = asyncio.Event(), []

    async def hammer(client, *, anew):
        """Ask again and again, over a connection that is kept or over a new one each time."""
        headers = {"connection": "close"} if anew else {}
        while not over.is_set():
            reply = await client.post(CHAT, json=BODY | {"max_tokens": 2}, headers=headers)
            seen.append((reply.status_code, reply.headers.get("x-holdfast-adapter-digest")))

    async with await application(daemon, address) as client:
        asking = [asyncio.create_task(hammer(client, anew=bool(at % 2))) for at in range(4)]
        await approve(daemon, await propose(daemon, runs[1]))
        await rollback(daemon)
        over.set()
        await asyncio.gather(*asking)
    assert {status for status, _ in seen} == {200}
    assert {digest for _, digest in seen} == {run.lora.digest for run in runs}


async def test_what_is_served_changes_once_the_record_says_so(daemon, gguf, monkeypatch):
    one = await propose(daemon, await train(daemon, gguf, "lesson", 1))
    await approve(daemon, one)
    await serve(daemon)
    two = await propose(daemon, await train(daemon, gguf, "lesson", 2))
    takes, seen = deployment.Deployment.take_over, []

    async def take_over(*arguments):
        seen.append(daemon.state.releases.in_force("lesson").request)
        await takes(*arguments)

    monkeypatch.setattr(deployment.Deployment, "take_over", take_over)
    await approve(daemon, two)
    await rollback(daemon)
    assert seen == [two["request"], one["request"]]


async def test_who_may_decide_and_on_what(daemon, gguf):
    run = await train(daemon, gguf, "lesson", 1)
    assert (await refused(daemon, "alice", "POST", "/v1/releases", {"run": run.name})).exit_code == 4
    assert (await refused(daemon, "aude", "POST", "/v1/releases", {"run": run.name})).exit_code == 4
    one = await propose(daemon, run)
    route = f"/v1/releases/{one['request']}"
    other = await train(daemon, gguf, "other", 2)
    two = await propose(daemon, other)
    pairs = daemon.place.pairs

    def signed(pair, **changes):
        expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
        statement = approvals.parse({**one["approval"], "expires": expires, **changes})
        return {
            "statement": statement.to_json(),
            "signatures": list(person.sign(pair, approvals.DOMAIN, statement.payload())),
        }

    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat(timespec="seconds")
    long = (datetime.now(UTC) + timedelta(days=8)).isoformat(timespec="seconds")
    for body, key in (
        (signed(pairs["bob"], digest=two["digest"]), "approval.other-request"),
        (signed(pairs["bob"], request=two["request"]), "approval.other-request"),
        (signed(pairs["bob"], site="Elsewhere"), "approval.other-request"),
        (signed(pairs["bob"], requester="alice"), "approval.other-request"),
        (signed(pairs["bob"], action="bundle.admit"), "approval.other-request"),
        (signed(pairs["bob"], expires=past), "approval.expired"),
        (signed(pairs["bob"], expires=long), "approval.too-long"),
    ):
        found = await refused(daemon, "bob", "POST", f"{route}/approve", body)
        assert (found.key, type(found), found.exit_code) == (key, NotPermitted, 4)
    assert isinstance(
        await refused(daemon, "bob", "POST", f"{route}/approve", signed(pairs["alice"])), NotPermitted
    )
    assert (
        await refused(daemon, "olga", "POST", f"{route}/approve", signed(pairs["olga"]))
    ).key == "role.missing"
    # Two names with one key are one person, whatever their roles.
    bob, olga = daemon.state.people["bob"], daemon.state.people["olga"]
    daemon.state.people["olga"] = type(olga)("olga", olga.roles, olga.uids, bob.key, bob.fingerprint)
    assert (
        await refused(daemon, "bob", "POST", f"{route}/approve", signed(pairs["bob"]))
    ).key == "approval.same-key"
    daemon.state.people["olga"] = olga
    # An operator takes back their own proposal, and nobody else's.
    otto = person.generate("otto")
    daemon.state.people["otto"] = type(olga)("otto", olga.roles, olga.uids, otto.public.to_json(), "x")
    body = {"reason": "Not yet."}
    async with daemon.visitor() as client:
        await client.login(otto)
        with pytest.raises(NotPermitted) as caught:
            await client.call("POST", f"{route}/refuse", body)
    assert caught.value.key == "release.not-yours"
    assert not daemon.events("release.approve")
    async with daemon.session("olga") as client:
        assert (await client.call("POST", f"{route}/refuse", body))["standing"] == "refused"
    decided = await refused(daemon, "bob", "POST", f"{route}/approve", signed(pairs["bob"]))
    assert (decided.key, decided.exit_code) == ("release.decided", 6)
    assert isinstance(await refused(daemon, "bob", "GET", "/v1/releases/9999"), NotFound)
    async with daemon.session("alice") as client:
        assert (await client.call("POST", f"/v1/releases/{two['request']}/refuse", body))[
            "decided_by"
        ] == "alice"


async def test_only_what_the_gate_let_through_unchanged_is_released(daemon, gguf):
    no = await train(daemon, gguf, "poor", 3, go=False)
    found = await refused(daemon, "olga", "POST", "/v1/releases", {"run": no.name})
    assert (found.key, found.exit_code) == ("release.no-go", 6)
    assert "lost 0.3" in found.message
    run = await train(daemon, gguf, "lesson", 1)
    for alias, key in (("tiny", "release.alias-taken"), ("a b", "release.form"), ("x" * 65, "release.form")):
        assert (
            await refused(daemon, "olga", "POST", "/v1/releases", {"run": run.name, "alias": alias})
        ).key == key
    one = await propose(daemon, run)
    assert (await refused(daemon, "olga", "POST", "/v1/releases", {"run": run.name})).key == "release.open"
    # The gate is decided anew, even with the same words: what bob looked at is no longer what there is.
    await run.judge(daemon, go=True)
    with pytest.raises(Conflict, match="decided"):
        await approve(daemon, one)
    await run.judge(daemon, go=False)
    with pytest.raises(Conflict) as caught:
        await approve(daemon, one)
    assert caught.value.key == "release.no-go"
    assert standings(daemon) == {one["request"]: Standing.OPEN}
    assert [event.params["error"] for event in daemon.events("release.approve.failed")] == [
        "release.changed",
        "release.no-go",
    ]
    async with daemon.session("alice") as client:
        await client.call("POST", f"/v1/releases/{one['request']}/refuse", {"reason": "Judge it again."})
    await run.judge(daemon, go=True)
    two = await propose(daemon, run)
    # A file of it was changed on disk meanwhile.
    file = daemon.services.store.folder(run.lora.digest) / "adapter.gguf"
    whole = file.read_bytes()
    file.unlink()  # another name of the same file must not change
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(VerificationFailed):
        await approve(daemon, two)
    file.write_bytes(whole)
    assert (await approve(daemon, two))["standing"] == "in force"
    assert (
        await refused(daemon, "olga", "POST", "/v1/releases", {"run": run.name})
    ).key == "release.in-force"


async def test_the_client_signs_nothing_but_what_it_was_shown(daemon, gguf):
    one = await propose(daemon, await train(daemon, gguf, "lesson", 1))
    async with daemon.session("bob") as client:
        real = client.call

        async def lying(method, route, body=None, **query):
            shown = await real(method, route, body, **query)
            return {**shown, "product": "sha512:" + "0" * 128} if method == "GET" else shown

        client.call = lying
        with pytest.raises(VerificationFailed):
            await operations.approve_release(client, daemon.place.pairs["bob"], one["request"])
    assert not daemon.events("release.approve")


async def test_a_release_that_does_not_start_leaves_what_is_served(daemon, gguf, monkeypatch):
    first = await train(daemon, gguf, "lesson", 1)
    await approve(daemon, await propose(daemon, first))
    address = (await serve(daemon))["address"]
    two = await propose(daemon, await train(daemon, gguf, "lesson", 2))

    async def broken(*_arguments):
        raise WorkerFailed("serve.attach", "No memory.", remedy="Add some.")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "attach", broken)
        with pytest.raises(WorkerFailed):
            await approve(daemon, two)
    assert standings(daemon)[two["request"]] is Standing.OPEN
    assert lanes(daemon) == {first.lora.digest}
    async with await application(daemon, address) as client:
        reply = await client.post(CHAT, json=BODY)
        assert reply.headers["x-holdfast-adapter-digest"] == first.lora.digest
        assert (await approve(daemon, two))["switched"] is True


async def test_an_engine_that_dies_during_a_switch_comes_back_with_what_was_served(daemon, gguf, monkeypatch):
    first = await train(daemon, gguf, "lesson", 1)
    await approve(daemon, await propose(daemon, first))
    address = (await serve(daemon))["address"]
    second = await train(daemon, gguf, "lesson", 2)
    two = await propose(daemon, second)
    real = Engine.attach

    async def dying(engine, lane):
        engine.kill()
        await engine.over()
        await real(engine, lane)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "attach", dying)
        with pytest.raises(WorkerFailed):
            await approve(daemon, two)
    async with await application(daemon, address) as client:
        reply = await client.post(CHAT, json=BODY)  # waits for the next engine
        assert reply.headers["x-holdfast-adapter-digest"] == first.lora.digest
        assert (await approve(daemon, two))["switched"] is True
        reply = await client.post(CHAT, json=BODY)
        assert reply.headers["x-holdfast-adapter-digest"] == second.lora.digest
    assert [event.params["deaths"] for event in daemon.events("serve.engine.died")] == [1]


async def test_what_is_revoked_is_neither_released_nor_rolled_back_to_nor_served(daemon, gguf, press, media):
    first = await train(daemon, gguf, "lesson", 1)
    one = await propose(daemon, first)
    await approve(daemon, one)
    two = await propose(daemon, await train(daemon, gguf, "lesson", 2))
    await approve(daemon, two)
    three = await propose(daemon, await train(daemon, gguf, "third", 3))
    for body in ({"to": two["request"]}, {"to": three["request"]}, {"alias": "third"}, {"alias": "x"}):
        asked = {"alias": "lesson", "reason": "?", **body}
        assert isinstance(await refused(daemon, "olga", "POST", "/v1/releases/rollback", asked), NotFound)
    assert (await refused(daemon, "aude", "POST", "/v1/releases/rollback", asked)).exit_code == 4
    revoking = late.revoke(press, "oops", media.first, first.adapter, reason="It leaks.")
    await daemon.admit(await daemon.take_in(daemon.place.insert(revoking, "oops")))
    found = await refused(
        daemon, "olga", "POST", "/v1/releases/rollback", {"alias": "lesson", "reason": "Worse."}
    )
    assert (found.key, found.exit_code) == ("artefact.revoked", 6)
    assert not daemon.events("release.rollback")
    async with daemon.session("aude") as client:
        listed = {entry["request"]: entry for entry in (await client.call("GET", "/v1/releases"))["releases"]}
    assert "It leaks." in listed[one["request"]]["hindrance"]
    assert listed[two["request"]]["hindrance"] is None
    assert json.dumps(listed)


async def test_what_is_still_answered_with_a_revoked_adapter_ends_though_its_alias_means_another_by_now(
    daemon, gguf, press, media
):
    first = await train(daemon, gguf, "lesson", 1)
    await approve(daemon, await propose(daemon, first))
    address = (await serve(daemon))["address"]
    two = await propose(daemon, await train(daemon, gguf, "lesson", 2))
    revoking = late.revoke(press, "oops-again", media.first, first.adapter, reason="It leaks.")
    request = await daemon.take_in(daemon.place.insert(revoking, "oops-again"))
    endless = {"model": BODY["model"], "prompt": ["Hello"] * 8, "n": 8}  # seconds on the fastest machines
    endless |= {"max_tokens": 450, "stream": True, "temperature": 2.0}
    async with (
        await application(daemon, address) as client,
        client.stream("POST", "/v1/completions", json=endless) as stream,
    ):
        pieces = stream.aiter_lines()
        await anext(pieces)
        await approve(daemon, two)
        assert lanes(daemon) >= {first.lora.digest}
        await daemon.admit(request)
        assert first.lora.digest not in lanes(daemon)
        told = [line async for line in pieces if line]
        assert "It leaks." in told[-1]
        assert (await client.post(CHAT, json=BODY)).status_code == 200


async def test_nothing_is_rolled_back_to_what_its_gate_says_no_to_by_now(daemon, gguf):
    first = await train(daemon, gguf, "lesson", 1)
    one = await propose(daemon, first)
    await approve(daemon, one)
    await approve(daemon, await propose(daemon, await train(daemon, gguf, "lesson", 2)))
    asked = {"alias": "lesson", "reason": "It answers worse."}
    await first.judge(daemon, go=False)
    found = await refused(daemon, "olga", "POST", "/v1/releases/rollback", asked)
    assert (found.key, found.exit_code) == ("release.no-go", 6)
    await first.judge(daemon, go=True)
    assert (await rollback(daemon))["request"] == one["request"]


async def test_it_all_comes_back_from_the_log(stocked, gguf):
    async with stocked.open() as daemon:
        run = await train(daemon, gguf, "lesson", 1)
        await approve(daemon, await propose(daemon, run))
        before = daemon.state.releases.aliases
    async with stocked.open() as daemon:
        assert daemon.state.releases.aliases == before
        started = await serve(daemon)
        assert [model["id"] for model in started["models"]] == ["lesson", "tiny"]


async def test_a_whole_model_is_served_in_the_form_that_was_judged(daemon, gguf):
    run = await train(daemon, gguf, "lesson", 1)
    await approve(daemon, await propose(daemon, run))
    address = (await serve(daemon))["address"]  # the base as q8_0
    whole = await train_whole(daemon, gguf, "letters")
    one = await propose(daemon, whole)
    assert (one["kind"], one["lora"], one["gguf"]) == ("model", None, {"f16": whole.weights.digest})
    assert (await approve(daemon, one))["switched"] is True
    async with await application(daemon, address) as client:
        listed = {model["id"]: model["holdfast"] for model in (await client.get("/v1/models")).json()["data"]}
        assert [*listed] == ["lesson", "letters", "tiny"]
        assert (listed["letters"]["digest"], listed["letters"]["adapter_digest"]) == (
            whole.weights.digest,
            None,
        )
        reply = await client.post(CHAT, json=BODY | {"model": "letters"})
        assert reply.headers["x-holdfast-model-digest"] == whole.weights.digest
        for name in ("release-1", f".release-{one['request']}", "tiny:lesson"):
            assert (await client.post(CHAT, json=BODY | {"model": name})).status_code == 404


async def test_an_alias_that_can_not_be_served_is_left_out_and_said(daemon, gguf):
    run = await train(daemon, gguf, "lesson", 1)
    await approve(daemon, await propose(daemon, run))
    file = daemon.services.store.folder(run.lora.digest) / "adapter.gguf"
    whole = file.read_bytes()
    file.unlink()  # another name of the same file must not change
    file.write_bytes(whole[:-1])
    started = await serve(daemon)
    assert [model["id"] for model in started["models"]] == ["tiny"]
    async with daemon.session("olga") as client:
        left = (await client.call("GET", "/v1/serving"))["left_out"]
    assert left.keys() == {"lesson"}
    assert "adapter.gguf" in left["lesson"]


def test_the_command_line_from_the_proposal_to_the_rollback(stocked, gguf):
    async def prepare():
        async with stocked.open() as daemon:
            return [(await train(daemon, gguf, "lesson", seed)).run.digest for seed in (1, 2)]

    first, second = asyncio.run(prepare())
    stocked.run("up")
    out, _ = stocked.call("release", "list", who="aude")
    assert "Propose a run with `holdfast release propose RUN`." in out
    assert stocked.refused("release", "propose", first, who="alice", code=4)["key"] == "role.missing"
    one = stocked.told("release", "propose", first, who="olga")["request"]
    assert stocked.refused("release", "approve", str(one), who="olga", code=4)["key"] == "role.missing"
    out, _ = stocked.call("release", "approve", str(one), who="bob")
    assert "No server of that base runs; the next one serves it as lesson." in out
    out, _ = stocked.call("release", "propose", second, "--alias", "lesson", who="olga")
    assert "An administrator approves it with" in out
    two = stocked.told("release", "list", who="aude")["releases"][0]["request"]
    assert stocked.told("release", "approve", str(two), who="bob")["standing"] == "in force"
    assert "in force" in stocked.refused("release", "approve", str(two), who="bob", code=6)["message"]
    asked = ("release", "rollback", "lesson", "--reason", "It answers worse.")
    assert stocked.refused(*asked, "--to", "3", who="olga", code=1)["key"] == "release.no-earlier"
    out, _ = stocked.call(*asked, who="olga")
    assert f"release     {one}: lesson, in force" in out
    out, _ = stocked.call("release", "list", who="aude")
    assert [line.split()[1:4] for line in out.splitlines()[1:]] == [
        ["lesson", "rolled", "back"],
        ["lesson", "in", "force"],
    ]
    assert max(map(len, out.splitlines())) <= 80
    out, _ = stocked.call("release", "show", str(two), who="aude")
    for text in (
        "reason      It answers worse.",
        "lesson@1",
        "quiz/all: 0.9 on q8_0",
        "dataset     ",
        "decided     bob",
    ):
        assert text in out
    assert max(map(len, out.splitlines())) <= 80


async def test_of_two_proposals_at_once_for_one_alias_one_is_refused(daemon, gguf):
    runs = [await train(daemon, gguf, "lesson", seed) for seed in (1, 2)]
    ended = await asyncio.gather(
        *(propose(daemon, run, alias="same") for run in runs), return_exceptions=True
    )
    assert [one.key for one in ended if isinstance(one, HoldfastError)] == ["release.open"]
    assert len(daemon.state.releases.proposals) == 1


async def test_of_two_approvals_at_once_one_is_refused(daemon, gguf):
    one = await propose(daemon, await train(daemon, gguf, "lesson", 1))
    ended = await asyncio.gather(approve(daemon, one), approve(daemon, one), return_exceptions=True)
    assert [found.key for found in ended if isinstance(found, HoldfastError)] == ["release.decided"]
    assert len(daemon.events("release.approve")) == len(daemon.events("release.approve.done")) == 1


async def test_a_whole_model_is_no_way_around_the_gate_nor_around_an_alias(daemon, gguf):
    """One person could serve under an alias's name what nobody judged: a model that a run of that name made."""
    whole = await train_whole(daemon, gguf, "letters")
    asked = {"model": whole.adapter.digest, "quantization": "f16"}
    await whole.judge(daemon, go=False)
    found = await refused(daemon, "olga", "POST", "/v1/serving/start", asked)
    assert (found.key, found.exit_code) == ("serve.gate", 6)
    await whole.judge(daemon, go=True)
    lesson = await train(daemon, gguf, "lesson", 1)
    await approve(daemon, await propose(daemon, lesson, alias="letters"))
    found = await refused(daemon, "olga", "POST", "/v1/serving/start", asked)
    assert (found.key, found.exit_code) == ("serve.alias", 6)


async def test_a_base_that_came_in_meanwhile_keeps_its_name(daemon, gguf):
    lesson = await train(daemon, gguf, "lesson", 1)
    one = await propose(daemon, lesson, alias="later")
    base = daemon.state.resolve("tiny", Kind.BASE)
    other = dataclasses.replace(base, name="later", files=base.files[:1])
    await daemon.services.recorder.fact(OLGA, "recipe.added", {"artefacts": [other.to_json()]})
    with pytest.raises(Conflict) as caught:
        await approve(daemon, one)
    assert caught.value.key == "release.alias-taken"
    assert standings(daemon) == {one["request"]: Standing.OPEN}
