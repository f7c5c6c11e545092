"""Sealed payloads with a real daemon: opened by two persons and once, erased, shredded by age; proofs stay valid."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from scripts.threadproducer import ThreadProducer

from holdfast import hashing
from holdfast.audit import verify
from holdfast.audit.channel import ProducerServer
from holdfast.audit.event import Actor, Draft
from holdfast.audit.producer import Owner
from holdfast.client import operations
from holdfast.daemon import heartbeat, process, sealings
from holdfast.errors import (
    Conflict,
    NotFound,
    NotPermitted,
    OperationFailed,
    UntrustedRequest,
    VerificationFailed,
)
from holdfast.governance.people import Role

APP = Actor("tax-office/key-1", None, "application")
MODEL = hashing.sha512(b"tiny")
ASKED = {"kind": "chat", "model_digest": MODEL, "adapter_digest": None}
ENDED = {
    "completion_tokens": 2,
    "cached_tokens": 0,
    "milliseconds": 3,
    "first_ms": 1,
    "processor_ms": 4,
    "finish_reason": "stop",
}
REASON = "A complaint was made about this answer."


@contextmanager
def serving(daemon):
    """The daemon's end of a front's channel to the log, and the front's."""
    ours, theirs = socket.socketpair()
    server = ProducerServer(ours, daemon.services.log, "serve", daemon.services.sealed)
    server.start()
    try:
        yield ThreadProducer(theirs)
    finally:
        server.stop()
        theirs.close()


def answered(daemon, prompt=b"What is the fee?", answer=b"Nine.", *, tenant="tax-office", user="ann"):
    """Have an application answered, as far as the record goes; gives the request's sequence number."""
    owner = Owner(tenant, user)
    with serving(daemon) as producer:
        facts = {"model": "tiny", "tenant": tenant}
        begun = ASKED | {"key": "key-1", "prompt_tokens": 5}
        intent = producer.append(Draft("answer", APP, params=facts | begun), {"prompt": prompt}, owner)
        if answer is not None:
            done = Draft("answer.done", APP, params=facts | ENDED, cause=intent.seq)
            producer.append(done, {"answer": answer}, owner)
    return intent.seq


@pytest.fixture
def seq(daemon):
    return answered(daemon)


async def call(daemon, who, method, route, body=None):
    async with daemon.session(who) as client:
        return await client.call(method, route, body)


async def ask(daemon, seq, who="aude"):
    return await call(daemon, who, "POST", "/v1/sealed/unseal", {"answer": seq, "reason": REASON})


async def grant(daemon, request, who="bob"):
    async with daemon.session(who) as client:
        return await operations.grant_sealed(client, daemon.place.pairs[who], request)


async def open_texts(daemon, request, who="aude"):
    found = await call(daemon, who, "POST", f"/v1/sealed/{request}/open")
    return {one["class"]: one["text"] for one in found["texts"]}


async def erase(daemon, tenant="tax-office", subject="ann"):
    body = {"tenant": tenant, "subject": subject, "reason": "Asked for erasure."}
    request = (await call(daemon, "alice", "POST", "/v1/sealed/erase", body))["request"]
    return await grant(daemon, request)


async def keep(daemon, name, days):
    body = {"class": name, "days": days, "reason": "The retention schedule."}
    request = (await call(daemon, "alice", "POST", "/v1/sealed/retention", body))["request"]
    return await grant(daemon, request)


def later(daemon, **passed):
    daemon.services.now = lambda: datetime.now(UTC) + timedelta(**passed)


async def test_an_auditor_opens_once_what_another_person_granted(daemon, seq):
    asked = await ask(daemon, seq)
    assert (asked["standing"], asked["requester"], asked["answer"]) == ("open", "aude", seq)
    granted = await grant(daemon, asked["request"])
    assert (granted["standing"], granted["decided_by"], granted["approval"]) == ("granted", "bob", None)
    with pytest.raises(NotPermitted):
        await open_texts(daemon, asked["request"], "bob")
    assert await open_texts(daemon, asked["request"]) == {"prompt": "What is the fee?", "answer": "Nine."}
    with pytest.raises(Conflict) as caught:
        await open_texts(daemon, asked["request"])
    assert caught.value.fields["standing"] == "done"
    with pytest.raises(Conflict):
        await grant(daemon, asked["request"])
    told = [one.action for one in daemon.services.log.events() if one.action.startswith("sealed.")]
    assert told == ["sealed.asked", "sealed.granted", "sealed.unseal", "sealed.unseal.done"]
    assert daemon.events("sealed.asked")[0].params["request"]["reason"] == REASON
    statement = daemon.events("sealed.granted")[0].params["approval"]["statement"]
    assert statement["digest"] == daemon.events("sealed.asked")[0].subject.digest
    assert daemon.events("sealed.unseal.done")[0].params == {"opened": ["prompt", "answer"], "gone": {}}
    assert daemon.events("access.denied")
    for stored in daemon.services.log.read(0, daemon.services.log.size):
        assert b"What is the fee" not in stored


@pytest.mark.parametrize("stolen", ["prompt", "answer"])
async def test_an_answer_that_names_anothers_commitment_opens_nothing(daemon, seq, stolen):
    intent = daemon.services.log.event(seq)
    done = daemon.events("answer.done")[0]
    theirs = {"sealed_for": intent.params["sealed_for"]}
    facts = {"model": "tiny", "tenant": "other", **theirs}
    begun = ASKED | {"key": "key-2", "prompt_tokens": 1}
    fresh = {"prompt": hashing.sha256(b"of nobody")}
    named = intent.params["commitments"] if stolen == "prompt" else fresh
    with serving(daemon) as producer:
        forged = producer.append(Draft("answer", APP, params=facts | begun | {"commitments": named}))
        params = facts | ENDED | {"commitments": done.params["commitments"]}
        producer.append(Draft("answer.done", APP, params=params, cause=forged.seq))
    with pytest.raises(UntrustedRequest) as caught:
        await ask(daemon, forged.seq)
    assert caught.value.key == "sealed.not-own"
    request = (await ask(daemon, seq))["request"]
    await grant(daemon, request)
    assert await open_texts(daemon, request) == {"prompt": "What is the fee?", "answer": "Nine."}


async def test_nobody_opens_what_was_not_granted_or_grants_their_own(daemon, seq):
    request = (await ask(daemon, seq))["request"]
    with pytest.raises(Conflict):
        await open_texts(daemon, request)
    with pytest.raises(NotPermitted) as caught:
        await grant(daemon, request, "aude")
    assert caught.value.key == "approval.own-request"
    with pytest.raises(NotPermitted):
        await grant(daemon, request, "olga")
    assert not daemon.events("sealed.granted")
    assert not daemon.events("sealed.unseal")


async def test_nobody_is_handed_what_another_auditor_was_granted(founded, monkeypatch):
    """One who may ask, and even the one who granted it, is not the one who asked."""
    async with founded.open() as daemon:
        request = (await ask(daemon, answered(daemon)))["request"]
        await grant(daemon, request)
        bob = daemon.state.people["bob"]
        monkeypatch.setitem(daemon.state.people, "bob", replace(bob, roles=(*bob.roles, Role.AUDITOR)))
        with pytest.raises(NotPermitted) as caught:
            await open_texts(daemon, request, "bob")
        assert caught.value.key == "sealed.requester"
        assert not daemon.events("sealed.unseal")
        assert set(await open_texts(daemon, request)) == {"prompt", "answer"}


@pytest.mark.parametrize("who", ["alice", "olga"])
async def test_only_auditors_ask_for_texts(daemon, seq, who):
    with pytest.raises(NotPermitted) as caught:
        await ask(daemon, seq, who)
    assert caught.value.key == "role.missing"


async def test_a_forged_or_expired_grant_counts_for_nothing(daemon, seq, signed):
    request = (await ask(daemon, seq))["request"]
    other = (await ask(daemon, answered(daemon)))["request"]
    shown = await call(daemon, "bob", "GET", f"/v1/sealed/{request}")
    another = await call(daemon, "bob", "GET", f"/v1/sealed/{other}")

    async def refused(body):
        with pytest.raises(NotPermitted) as caught:
            await call(daemon, "bob", "POST", f"/v1/sealed/{request}/grant", body)
        return caught.value.key

    for change in (
        {"request": other},
        {"digest": another["approval"]["digest"]},
        {"site": "Elsewhere"},
        {"action": "sealed.erase"},
        {"requester": "olga"},
    ):
        assert await refused(signed(shown, "bob", **change)) == "approval.other-request"
    assert await refused(signed(another, "bob")) == "approval.other-request"
    assert await refused(signed(shown, "bob", hours=-1)) == "approval.expired"
    assert await refused(signed(shown, "alice")) == "keys.signature"
    body = signed(shown, "bob")
    body["signatures"] = body["signatures"][:1]
    assert await refused(body) == "keys.signature-form"
    assert daemon.state.sealings.requests[request].decided_by is None


async def test_a_grant_lapses(daemon, seq):
    request = (await ask(daemon, seq))["request"]
    await grant(daemon, request)
    later(daemon, hours=2)
    assert (await call(daemon, "aude", "GET", f"/v1/sealed/{request}"))["standing"] == "lapsed"
    with pytest.raises(Conflict) as caught:
        await open_texts(daemon, request)
    assert caught.value.fields["standing"] == "lapsed"


async def test_a_refused_request_stays_refused(daemon, seq):
    request = (await ask(daemon, seq))["request"]
    found = await call(daemon, "alice", "POST", f"/v1/sealed/{request}/refuse", {"reason": "Not needed."})
    assert (found["standing"], found["refusal"]) == ("refused", "Not needed.")
    for act in (grant(daemon, request), open_texts(daemon, request)):
        with pytest.raises(Conflict):
            await act


async def test_only_answers_can_be_asked_for(daemon, seq):
    for wrong in (0, seq + 1):
        with pytest.raises(UntrustedRequest):
            await ask(daemon, wrong)
    with pytest.raises(NotFound):
        await ask(daemon, 10_000)


async def test_an_answer_that_never_ended_gives_its_prompt(daemon):
    request = (await ask(daemon, answered(daemon, answer=None)))["request"]
    await grant(daemon, request)
    assert await open_texts(daemon, request) == {"prompt": "What is the fee?"}


async def test_a_payload_that_was_changed_is_not_handed_out(daemon, seq):
    request = (await ask(daemon, seq))["request"]
    await grant(daemon, request)
    for path in daemon.place.home.sealed.rglob("*.0.*"):
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
    with pytest.raises(VerificationFailed):
        await open_texts(daemon, request)
    assert daemon.events("sealed.unseal.failed")[0].params["error"] == "sealed.damaged"
    with pytest.raises(Conflict):
        await open_texts(daemon, request)


async def test_a_daemon_that_shows_one_request_and_wants_another_signed_gets_no_signature(daemon, seq):
    request = (await ask(daemon, seq))["request"]
    async with daemon.session("bob") as client:
        real = client.call

        async def lying(method, route, *more):
            found = await real(method, route, *more)
            return found | {"reason": "Something harmless."} if method == "GET" else found

        client.call = lying
        with pytest.raises(VerificationFailed) as caught:
            await operations.grant_sealed(client, daemon.place.pairs["bob"], request)
    assert caught.value.key == "approval.other"


async def test_erasing_a_subject_leaves_every_proof_and_every_other_subject(founded):
    async with founded.open() as daemon:
        mine, twin = answered(daemon), answered(daemon, b"Twin?", b"Yes.", tenant="other")
        request, other = (await ask(daemon, mine))["request"], (await ask(daemon, twin))["request"]
        await grant(daemon, request)
        await grant(daemon, other)
        proof = daemon.services.log.prove(mine)
        saved = {path: path.read_bytes() for path in (founded.home.keys / "subjects").rglob("*.0")}
        sealed = {path: path.read_bytes() for path in founded.home.sealed.rglob("*.0.*")}
        found = await erase(daemon)
        assert (found["standing"], found["decided_by"], found["tenant"]) == ("done", "bob", "tax-office")
        assert daemon.events("sealed.erase.done")[0].params == {"keys": 1, "payloads": 2} == found["erased"]
        erased = daemon.events("sealed.erase")[0]
        with pytest.raises(NotFound) as caught:
            await open_texts(daemon, request)
        assert erased.time in caught.value.message
        with pytest.raises(NotFound, match=erased.time):  # nor is anybody asked to grant what can't be opened
            await ask(daemon, mine)
        assert not daemon.events("sealed.unseal")
        assert await open_texts(daemon, other) == {"prompt": "Twin?", "answer": "Yes."}
        again = answered(daemon, b"Later?", b"Later.")
        proofs = [proof, daemon.services.log.prove(mine)]
    keys = verify.parse_keys((founded.home.log / "log.pub").read_bytes())
    assert all(verify.verify_proof(one, keys).ok for one in proofs)
    assert verify.verify_log(founded.home.log, keys).ok
    for path, data in {**saved, **sealed}.items():  # an old copy is put back
        path.write_bytes(data)
    async with founded.open() as daemon:
        with pytest.raises(NotFound):
            await open_texts(daemon, request)
        subject = erased.params["subject"]
        assert {path.name.startswith(subject) for path in saved} == {True, False}
        assert not [path for path in saved if path.exists() and path.name.startswith(subject)]
        later_request = (await ask(daemon, again))["request"]
        await grant(daemon, later_request)
        assert await open_texts(daemon, later_request) == {"prompt": "Later?", "answer": "Later."}


async def test_an_erasure_that_a_crash_cut_short_is_finished_at_the_next_start(founded, monkeypatch):
    async with founded.open() as daemon:
        request = (await ask(daemon, answered(daemon)))["request"]
        await grant(daemon, request)
        monkeypatch.setattr(daemon.services.sealed, "erase", broken)
        with pytest.raises(OperationFailed):
            await erase(daemon)
        assert daemon.events("sealed.erase.failed")
        assert len([*founded.home.sealed.rglob("*.0.*")]) == 2
        assert await standings(daemon, "erase") == ["done"]  # decided, and never to be asked again
    async with founded.open() as daemon:
        assert not [*founded.home.sealed.rglob("*.0.*")]
        assert not [path for path in (founded.home.keys / "subjects").iterdir() if path.name.endswith(".0")]
        with pytest.raises(NotFound):
            await open_texts(daemon, request)


def broken(*_):
    raise OSError("the disk went away")


async def standings(daemon, kind):
    listed = (await call(daemon, "olga", "GET", "/v1/sealed"))["requests"]
    return [one["standing"] for one in listed if one["kind"] == kind]


async def test_what_became_due_while_the_daemon_was_off_is_shredded_at_its_start(founded):
    async with founded.open() as daemon:
        answered(daemon)
        await keep(daemon, "answer", 7)
    for days, left in ((6, 2), (10, 1)):
        async with process.opened(founded.home, lambda days=days: ahead(days)) as services:
            assert len([*founded.home.sealed.rglob("*.0.*")]) == left
            assert [*services.state.sealings.shredded] == (["answer"] if left == 1 else [])


def ahead(days):
    """Read the host's clocks as they will be."""
    found = heartbeat.read_clocks()
    passed = days * 86_400 * 10**9
    return replace(found, wall=found.wall + passed, boot=found.boot + passed, awake=found.awake + passed)


async def test_an_erasure_takes_two_administrators(daemon):
    body = {"tenant": "tax-office", "subject": "ann", "reason": "Asked for erasure."}
    for who in ("aude", "olga"):
        with pytest.raises(NotPermitted):
            await call(daemon, who, "POST", "/v1/sealed/erase", body)
    request = (await call(daemon, "alice", "POST", "/v1/sealed/erase", body))["request"]
    for who in ("alice", "aude"):
        with pytest.raises(NotPermitted):
            await grant(daemon, request, who)
    assert not daemon.events("sealed.erase")
    for wrong in (
        {"tenant": ""},
        {"tenant": "a\nb"},
        {"subject": "x" * 257},
        {"subject": None},
        {"reason": "a\nb"},
    ):
        with pytest.raises(UntrustedRequest):
            await call(daemon, "alice", "POST", "/v1/sealed/erase", body | wrong)
    await grant(daemon, request)
    with pytest.raises(Conflict):
        await grant(daemon, request)
    assert len(daemon.events("sealed.erase")) == 1


async def test_what_is_older_than_its_class_is_kept_is_shredded_and_the_rest_is_not(founded):
    async with founded.open() as daemon:
        seq = answered(daemon)
        listed = await call(daemon, "olga", "GET", "/v1/sealed")
        assert listed["retention"] == {"prompt": None, "answer": None}
        await keep(daemon, "prompt", 30)
        later(daemon, days=29)
        await sealings.retain(daemon.services)
        assert not daemon.events("sealed.shredded")
        later(daemon, days=32)
        await sealings.retain(daemon.services)
        await sealings.retain(daemon.services)
        told = [one.params for one in daemon.events("sealed.shredded")]
        assert [(one["class"], one["count"]) for one in told] == [("prompt", 1)]
        later(daemon)
        request = (await ask(daemon, seq))["request"]
        await grant(daemon, request)
        found = await call(daemon, "aude", "POST", f"/v1/sealed/{request}/open")
        assert [(one["class"], one["text"]) for one in found["texts"]] == [
            ("prompt", None),
            ("answer", "Nine."),
        ]
        assert told[0]["before"] in found["texts"][0]["gone"]
        await keep(daemon, "prompt", None)
        assert daemon.state.sealings.retention == {}
    keys = verify.parse_keys((founded.home.log / "log.pub").read_bytes())
    assert verify.verify_log(founded.home.log, keys).ok
    async with founded.open() as daemon:
        assert daemon.state.sealings.shredded["prompt"].before == told[0]["before"]


async def test_retention_takes_two_administrators(daemon):
    body = {"class": "answer", "days": 7, "reason": "The retention schedule."}
    with pytest.raises(NotPermitted):
        await call(daemon, "aude", "POST", "/v1/sealed/retention", body)
    request = (await call(daemon, "alice", "POST", "/v1/sealed/retention", body))["request"]
    with pytest.raises(NotPermitted):
        await grant(daemon, request, "alice")
    assert daemon.state.sealings.retention == {}
    await grant(daemon, request)
    assert daemon.state.sealings.retention == {"answer": 7}
    for wrong in ({"days": 0}, {"days": 36_501}, {"class": "log"}, {"class": None}, {"days": "7"}):
        with pytest.raises(UntrustedRequest):
            await call(daemon, "alice", "POST", "/v1/sealed/retention", body | wrong)


def test_the_commands(founded):
    founded.run("up")
    why = ("--reason", "The retention schedule.")
    listed, _ = founded.call("sealed", "list", who="olga")
    assert listed == "prompt: kept for good\nanswer: kept for good\n"
    for words in (("--days", "7", "--for-good"), (), ("--days", "0")):
        founded.call("sealed", "retention", "--class", "prompt", *words, *why, who="alice", code=2)
    asked = founded.told("sealed", "retention", "--class", "prompt", "--days", "7", *why, who="alice")
    number = str(asked["request"])
    founded.call("sealed", "grant", number, who="alice", code=4)
    granted, _ = founded.call("sealed", "grant", number, who="bob")
    assert granted.splitlines()[:2] == [f"request     {number}: retention, done", "about       prompt 7 days"]
    other = founded.told("sealed", "erase", "tax-office", "ann", *why, who="bob")
    assert "ann" not in [other["subject"], other["tenant"]]
    refused = founded.told("sealed", "refuse", str(other["request"]), *why, who="alice")
    assert (refused["standing"], refused["refusal"]) == ("refused", why[1])
    founded.call("sealed", "grant", str(other["request"]), who="alice", code=6)
    founded.call("sealed", "ask", "0", *why, who="alice", code=4)
    founded.call("sealed", "ask", "0", *why, who="aude", code=1)
    founded.call("sealed", "show", "0", who="aude", code=1)
    lines = founded.call("sealed", "list", who="olga")[0].splitlines()
    assert lines[0] == "prompt: kept 7 days"
    assert [line.split()[1:3] for line in lines[3:]] == [["refused", "erase"], ["done", "retention"]]
    unknown = founded.told("sealed", "erase", "tax-office", "nobody", *why, who="bob")
    granted, _ = founded.call("sealed", "grant", str(unknown["request"]), who="alice")
    assert "0 payloads by destroying 0 keys\nNothing of this person was here" in granted
