"""Revocations with a real daemon: what they reach, that they stop what is served, and what two people may lift for a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests import recorded
from tests.integration.daemon import late
from tests.integration.serving.crafted import write_model

from holdfast.artefact import Kind
from holdfast.audit.event import Actor
from holdfast.client import operations, training
from holdfast.daemon import admissible, intake, revocations
from holdfast.daemon.serve import deaths
from holdfast.errors import Conflict, HoldfastError
from holdfast.media import trusthome
from holdfast.trust import revocation

OLGA = Actor(person="olga", uid=0, role="operator", session="s")
REASON = "Its tokens leak patients' names."
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


@pytest.fixture(scope="session")
def gguf(tmp_path_factory):
    from holdfast.gguf.quantize import quantize

    folder = tmp_path_factory.mktemp("gguf")
    write_model(folder / "f16.gguf")
    quantize(folder / "f16.gguf", folder / "q8_0.gguf", "q8_0", 1)
    return folder / "q8_0.gguf"


@pytest.fixture(scope="session")
def news(press, media):
    """A medium that revokes the base of the first one, and one that revokes the suite too and says what to use instead."""

    class News:
        def __init__(self):
            brought = {one.kind: one for one in late_artefacts(media.first)}
            self.base, self.suite = brought[Kind.BASE], brought[Kind.SUITE]
            self.tokenizer = brought[Kind.TOKENIZER]
            self.first = late.revoke(press, "news1", media.first, self.base, reason=REASON)
            unknown = "sha512:" + "5" * 128
            self.second = late.revoke(
                press, "news2", self.first, self.suite, reason="It is unfair.", instead=unknown
            )
            self.unknown = unknown

    return News()


def late_artefacts(medium):
    from holdfast.media import claims

    return [one.artefact for one in claims.of_medium(medium).manifest.entries]


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


async def admit(daemon, medium, name):
    await daemon.admit(await daemon.take_in(daemon.place.insert(medium, name)))


async def convert(daemon, source):
    """Put a model's GGUF on the record, as a conversion would."""
    base, tokenizer = daemon.state.resolve("tiny", Kind.BASE), daemon.state.resolve("tiny", Kind.TOKENIZER)
    found = await intake.adopt(
        daemon.services,
        Kind.GGUF,
        "tiny",
        "1",
        {"q8_0.gguf": source},
        label=base.label,
        parents=(base.digest, tokenizer.digest),
        meta={"base": base.digest, "quantization": "q8_0", "part": "model"},
    )
    async with daemon.services.recorder.act(OLGA, "model.quantize", recorded.sample("model.quantize")) as act:
        act.outcome = recorded.sample("model.quantize.done", artefacts=[found.to_json()])
    return found


async def lift(daemon, subject, days=2):
    async with daemon.session("alice") as client:
        body = {"kind": "revoked", "subject": subject, "days": days, "reason": "No other model is here."}
        request = (await client.call("POST", "/v1/exceptions", body))["request"]
    async with daemon.session("bob") as client:
        await operations.grant_exception(client, daemon.place.pairs["bob"], request)


async def serve(daemon):
    async with daemon.session("olga") as client:
        body = {"model": "tiny", "quantization": "q8_0"}
        job = (await client.call("POST", "/v1/serving/start", body))["job"]
        return await client.finish(job)


async def application(daemon, address):
    async with daemon.session("olga") as client:
        body = {"tenant": "clinic", "level": "internal"}
        secret = (await client.call("POST", "/v1/serving/keys", body))["secret"]
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=120)


def later(daemon, **passed):
    """Move the daemon's clock."""
    daemon.services.now = lambda: datetime.now(UTC) + timedelta(**passed)


async def refused(daemon, method, route, body):
    """Ask for something; the call or its job must be refused."""
    async with daemon.session("olga") as client:
        with pytest.raises(HoldfastError) as caught:
            await client.finish((await client.call(method, route, body))["job"])
    return caught.value


async def test_a_medium_of_revocations_alone_reaches_what_is_here_and_what_was_made_of_it(daemon, news, gguf):
    product = await convert(daemon, gguf)
    before = daemon.state.generation().artefacts
    await admit(daemon, news.first, "news")
    assert daemon.state.generation().artefacts == before
    assert daemon.state.revocations.keys() == {news.base.digest}
    recorded = {event.subject.digest: event for event in daemon.events("artefact.revoked")}
    assert recorded.keys() == {news.base.digest, product.digest}
    assert recorded[product.digest].params["revoked"] == news.base.digest
    assert recorded[product.digest].params["reason"] == REASON
    assert recorded[product.digest].params["bundle"] == "news news1"
    facts = next(iter(reversed(daemon.state.imports.values()))).facts["revocations"]
    assert facts["new"][0]["digest"] == news.base.digest
    assert set(facts["concerned"]) == {"base tiny@1", "gguf tiny@1"}
    async with daemon.session("olga") as client:
        shown = (await client.call("GET", f"/v1/artefacts/{product.digest}"))["artefact"]["revoked"]
        other = (await client.call("GET", f"/v1/artefacts/{news.tokenizer.digest}"))["artefact"]
    assert (shown["digest"], shown["reason"], shown["excepted"]) == (news.base.digest, REASON, False)
    assert other["revoked"] is None
    assert trusthome.load(daemon.place.home.trust).revocations is not None


async def test_what_is_revoked_is_neither_trained_on_nor_converted_nor_evaluated_nor_served(
    daemon, news, gguf
):
    await convert(daemon, gguf)
    await admit(daemon, news.first, "news")
    for route, body in (
        ("/v1/models/quantize", {"model": "tiny", "types": ["q8_0"]}),
        ("/v1/serving/start", {"model": "tiny"}),
        ("/v1/evaluations", {"suite": "quiz", "model": "tiny"}),
    ):
        error = await refused(daemon, "POST", route, body)
        assert (error.key, error.exit_code) == ("artefact.revoked", 6)
        assert REASON in error.message
        assert "news news1" in error.message
        assert "names nothing to use instead" in error.remedy
    daemon.place.recipe()
    async with daemon.session("olga") as client:
        with pytest.raises(Conflict) as caught:
            await training.start(client, daemon.place.folder / "recipe.toml", "tiny")
    assert caught.value.key == "artefact.revoked"
    assert not daemon.events("train.run")


async def test_what_to_use_instead_is_named_where_it_is_or_by_what_brings_it(daemon, news):
    await admit(daemon, news.second, "news")
    suite = daemon.state.artefacts[news.suite.digest]
    with pytest.raises(Conflict) as caught:
        admissible.usable(daemon.services, suite)
    assert f"Import the medium that brings {news.unknown}" in caught.value.remedy
    known = daemon.state.revocations[news.suite.digest]
    here = type(known)(**{**vars(known), "instead": news.tokenizer.digest})
    assert "Use tokenizer tiny@1" in admissible.instead(daemon.services, here)


async def test_a_served_model_is_stopped_when_it_is_revoked_and_says_why(daemon, news, gguf):
    await convert(daemon, gguf)
    address = (await serve(daemon))["address"]
    async with await application(daemon, address) as client:
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        await admit(daemon, news.first, "news")
        reply = await client.post("/v1/chat/completions", json=CHAT)
        assert reply.status_code == 410
        assert reply.json()["error"]["code"] == "model_revoked"
        assert REASON in reply.json()["error"]["message"]
        assert (await client.get("/v1/models")).json()["data"] == []
    async with daemon.session("olga") as client:
        status = await client.call("GET", "/v1/serving")
        assert status["models"][0]["revoked"]["digest"] == news.base.digest
    async with daemon.visitor() as client:
        told = (await client.call("GET", "/v1/status"))["revoked"]
    assert told == {"listed": 1, "artefacts": 2, "withdrawn": ["tiny"], "excepted": []}
    stop = daemon.events("serve.stop")[0]
    assert (stop.actor.person, stop.params["why"]) == ("holdfastd", "revoked")
    assert stop.params["models"] == {"tiny": news.base.digest}
    assert daemon.events("serve.stop.done")[0].params["told"] is True
    # The reason was on the record before anything was stopped, and a second look finds nothing to do.
    listed = daemon.events("revocation.listed")[0]
    assert listed.seq < stop.seq
    assert listed.params["entries"][0]["reason"] == REASON
    size = daemon.services.log.size
    await revocations.settle(daemon.services)
    assert daemon.services.log.size == size


async def test_two_people_may_lift_it_for_a_time_and_it_ends_by_itself(daemon, news, gguf, monkeypatch):
    product = await convert(daemon, gguf)
    await admit(daemon, news.first, "news")
    assert (await refused(daemon, "POST", "/v1/serving/start", {"model": "tiny"})).key == "artefact.revoked"
    await lift(daemon, product.digest)
    # The exception is for the quantized model; the base itself stays revoked, and serving needs both.
    assert (await refused(daemon, "POST", "/v1/serving/start", {"model": "tiny"})).key == "artefact.revoked"
    await lift(daemon, news.base.digest)
    address = (await serve(daemon))["address"]
    async with await application(daemon, address) as client:
        await revocations.enforce(daemon.services)
        assert revocations.summary(daemon.services)["excepted"] == ["tiny"]
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        later(daemon, days=2, seconds=5)
        told, stopped, looks = daemon.services.serving.withdraw, asyncio.Event(), []

        async def withdraw(services):
            looks.append(services)
            if len(looks) == 1:
                raise RuntimeError("a mistake of ours must not end the watch")
            await told(services)
            stopped.set()

        monkeypatch.setattr(daemon.services.serving, "withdraw", withdraw)
        watching = asyncio.create_task(revocations.watch(daemon.services, every=0.01))
        async with asyncio.timeout(120):
            await stopped.wait()
        watching.cancel()
        reply = await client.post("/v1/chat/completions", json=CHAT)
        assert (reply.status_code, reply.json()["error"]["code"]) == (410, "model_revoked")
    assert (await refused(daemon, "POST", "/v1/serving/start", {"model": "tiny"})).key == "artefact.revoked"


async def test_serving_starts_anew_in_the_place_of_what_was_withdrawn(daemon, news, gguf):
    await convert(daemon, gguf)
    await serve(daemon)
    await admit(daemon, news.first, "news")
    assert daemon.services.serving.refusing
    await lift(daemon, "tiny")  # the base, which is revoked itself, not its GGUF of the same name
    assert [one.asked.subject for one in daemon.state.exceptions.values()] == [news.base.digest]
    address = (await serve(daemon))["address"]
    async with await application(daemon, address) as client:
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200


async def test_weights_that_are_revoked_are_let_go_of(daemon, news, gguf):
    await convert(daemon, gguf)
    await serve(daemon)
    (seat,) = daemon.services.serving.deployment.pool.seats.values()
    engine = seat.engine
    assert not engine.gone
    await admit(daemon, news.first, "news")
    assert engine.gone
    assert not daemon.services.serving.deployment.pool.seats
    assert not daemon.events("serve.engine.died")


async def test_a_front_that_does_not_listen_is_ended_and_the_next_one_says_why(
    daemon, news, gguf, monkeypatch
):
    monkeypatch.setattr(deaths, "FIRST_PAUSE", 0.01)
    await convert(daemon, gguf)
    address = (await serve(daemon))["address"]

    async def deaf(*_request):
        return {}

    daemon.services.serving.deployment.front.ask = deaf
    await admit(daemon, news.first, "news")
    assert daemon.events("serve.stop.done")[0].params["told"] is False
    await daemon.until("serve.front.restarted")
    async with await application(daemon, address) as client:
        reply = await client.post("/v1/chat/completions", json=CHAT)
        assert (reply.status_code, reply.json()["error"]["code"]) == (410, "model_revoked")
        assert REASON in reply.json()["error"]["message"]


async def test_a_job_that_works_with_it_is_stopped(daemon, news):
    job = daemon.services.jobs.open_job(4711, "train.run")
    other = daemon.services.jobs.open_job(4712, "train.run")
    job.uses, other.uses = frozenset({news.base.digest}), frozenset({news.tokenizer.digest})
    await admit(daemon, news.first, "news")
    assert job.cancelling.is_set()
    assert job.cancelled_by == "holdfastd"
    assert not other.cancelling.is_set()
    for one in (job, other):
        await one.emit("result", result={})


async def test_a_start_makes_good_what_an_interrupted_admission_left(stocked, news, monkeypatch):
    async def died(_services):
        """Stand for a daemon that was killed right after the admission was recorded."""

    async with stocked.open() as daemon:
        with monkeypatch.context() as patch:
            patch.setattr(revocations, "settle", died)
            await admit(daemon, news.first, "news")
        assert not daemon.state.revocations
    async with stocked.open() as daemon:
        assert daemon.state.revocations.keys() == {news.base.digest}
        assert [event.subject.digest for event in daemon.events("artefact.revoked")] == [news.base.digest]
    # Nothing that happens to the trust folder makes it forgotten.
    state = trusthome.load(stocked.home.trust)
    (stocked.home.trust / trusthome.FILE).write_bytes(
        trusthome._encode(type(state)(state.root, state.timestamp, state.snapshot, state.floor))
    )
    async with stocked.open() as daemon:
        assert daemon.state.revocations.keys() == {news.base.digest}
        assert len(daemon.events("revocation.listed")) == 1


async def test_an_older_list_is_not_taken_in(daemon, news):
    await admit(daemon, news.second, "second")
    assert daemon.state.revocations.keys() == {news.base.digest, news.suite.digest}
    with pytest.raises(HoldfastError) as caught:
        await daemon.take_in(daemon.place.insert(news.first, "first"))
    assert caught.value.exit_code == 3
    assert revocation.parse(trusthome.load(daemon.place.home.trust).revocations).counter == 2


async def test_expiry_never_stops_serving(daemon, gguf, media):
    await convert(daemon, gguf)
    address = (await serve(daemon))["address"]
    later(daemon, days=30 * 365)  # beyond the end of every file of metadata, the root's too
    async with await application(daemon, address) as client:
        await revocations.settle(daemon.services)
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        async with daemon.session("olga") as person:
            await person.call("POST", "/v1/serving/stop")
    address = (await serve(daemon))["address"]  # nor does it keep serving from being started
    async with await application(daemon, address) as client:
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
    with pytest.raises(HoldfastError) as caught:
        await daemon.take_in(daemon.place.insert(media.second, "second"))
    assert (caught.value.key, caught.value.exit_code) == ("trust.expired", 3)
    assert "holdfast exception ask expired" in caught.value.remedy


async def test_an_older_trust_state_does_not_bring_an_older_revocation_list_back(daemon, news):
    path = daemon.place.home.trust / trusthome.FILE
    older = path.read_bytes()  # as a backup from before may hold it
    await admit(daemon, news.first, "news1")
    await admit(daemon, news.second, "news2")
    path.write_bytes(older)
    with pytest.raises(HoldfastError) as caught:
        await daemon.take_in(daemon.place.insert(news.first, "again"))
    assert caught.value.key == "trust.revocations-rollback"
    assert caught.value.fields["trusted"] == 2
