"""An inventory leaves the site: two people, the appliance's signature, and nothing in it but digests and names."""

from __future__ import annotations

import json

import pytest

from holdfast import hashing
from holdfast.client import operations
from holdfast.daemon import requests
from holdfast.errors import Conflict, NotFound, NotPermitted, VerificationFailed
from holdfast.media import request as documents


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


async def make(daemon, *names, who="alice"):
    async with daemon.session(who) as client:
        job = (await client.call("POST", "/v1/requests", {"artefacts": list(names)}))["job"]
        return await client.finish(job)


async def grant(daemon, request, who="bob"):
    async with daemon.session(who) as client:
        return await operations.let_out(client, daemon.place.pairs[who], request)


async def fetch(daemon, request, who="alice"):
    async with daemon.session(who) as client:
        return await client.download(f"/v1/requests/{request}/document")


async def test_what_leaves_is_signed_by_the_appliance_and_names_what_media_brought(daemon):
    made = await make(daemon)
    granted = await grant(daemon, made["request"])
    data = await fetch(daemon, made["request"])
    assert granted["document"] == hashing.sha512(data)
    found = documents.verify(data)
    assert found.public.fingerprint == daemon.services.appliance.public.fingerprint
    assert found.request.site == "Test site"
    brought = daemon.state.generation().artefacts
    assert {one.digest for one in found.request.artefacts} == set(brought)
    assert str(found.request.label) == "internal @ site" or found.request.label.level == "internal"
    weights = next(one for one in found.request.artefacts if one.kind == "base")
    assert weights.digest == daemon.state.resolve("tiny").digest
    assert found.request.sources.keys() >= {
        chunk.digest for parts in weights.chunks.values() for chunk in parts
    }
    # The log names what left, by the digest of the statement that the second person signed.
    events = {
        name: daemon.events(name)[0] for name in ("request.make.done", "request.grant", "request.fetched")
    }
    statement = events["request.make.done"].params["statement"]
    assert events["request.grant"].params["approval"]["statement"]["digest"] == statement
    assert events["request.fetched"].params["document"] == granted["document"]
    assert events["request.fetched"].label == found.request.label


async def test_nothing_but_names_and_digests_is_in_it(daemon):
    made = await make(daemon, "quiz")
    await grant(daemon, made["request"])
    stated = json.loads(await fetch(daemon, made["request"]))["statement"]
    assert stated.keys() == {"schema", "site", "created", "label", "artefacts"}
    (held,) = stated["artefacts"]
    assert held.keys() == {"kind", "name", "version", "digest", "files"}
    assert all(file.keys() == {"path", "size", "digest", "chunks"} for file in held["files"])


async def test_it_does_not_leave_before_a_second_administrator_lets_it(daemon, signed):
    made = await make(daemon)
    request = made["request"]
    with pytest.raises(Conflict) as caught:
        await fetch(daemon, request)
    assert caught.value.key == "request.not-granted"
    with pytest.raises(NotPermitted) as caught:
        await grant(daemon, request, "alice")
    assert caught.value.key == "approval.own-request"
    for who in ("olga", "aude"):
        with pytest.raises(NotPermitted):
            await grant(daemon, request, who)
        with pytest.raises(NotPermitted):
            await make(daemon, who=who)
    async with daemon.session("bob") as client:
        shown = await client.call("GET", f"/v1/requests/{request}")
        assert {one["name"] for one in shown["held"]} == {"tiny", "quiz"}
        for body in (
            signed(shown, "bob", digest=hashing.sha512(b"another statement")),
            signed(shown, "bob", action="exception.grant"),
            signed(shown, "bob", hours=-1),
        ):
            with pytest.raises(NotPermitted):
                await client.call("POST", f"/v1/requests/{request}/grant", body)
        body = signed(shown, "bob")
        await client.call("POST", f"/v1/requests/{request}/grant", body)
        with pytest.raises(Conflict) as caught:
            await client.call("POST", f"/v1/requests/{request}/grant", body)
    assert caught.value.key == "request.decided"
    for who in ("olga", "aude"):
        with pytest.raises(NotPermitted):
            await fetch(daemon, request, who)
    assert not daemon.events("request.fetched")


async def test_what_was_refused_does_not_leave(daemon):
    request = (await make(daemon))["request"]
    async with daemon.session("bob") as client:
        found = await client.call("POST", f"/v1/requests/{request}/refuse", {"reason": "not to them"})
    assert (found["state"], found["refusal"]) == ("refused", "not to them")
    with pytest.raises(Conflict):
        await grant(daemon, request)
    with pytest.raises(Conflict):
        await fetch(daemon, request)
    with pytest.raises(NotFound):
        await fetch(daemon, 9999)


async def test_what_was_changed_after_it_was_recorded_is_neither_signed_nor_handed_out(daemon):
    request = (await make(daemon))["request"]
    place = daemon.services.jobs.folder(request)
    statement = (place / requests.STATEMENT).read_bytes()
    (place / requests.STATEMENT).chmod(0o600)
    (place / requests.STATEMENT).write_bytes(statement.replace(b"Test site", b"Best site"))
    with pytest.raises(VerificationFailed) as caught:
        await grant(daemon, request)
    assert caught.value.key == "request.changed"
    (place / requests.STATEMENT).write_bytes(statement)
    await grant(daemon, request)
    (place / requests.DOCUMENT).chmod(0o600)
    (place / requests.DOCUMENT).write_bytes((place / requests.DOCUMENT).read_bytes() + b"\n")
    with pytest.raises(VerificationFailed):
        await fetch(daemon, request)
    assert not daemon.events("request.fetched")


async def test_a_damaged_file_is_not_built_upon(daemon):
    base = daemon.state.resolve("tiny")
    weights = daemon.services.store.folder(base.digest) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o600)
    weights.write_bytes(bytes(data))
    with pytest.raises(VerificationFailed) as caught:
        await make(daemon)
    assert caught.value.key == "store.file-damaged"
    assert not daemon.state.inventories


async def test_it_is_known_after_a_restart(stocked):
    async with stocked.open() as daemon:
        request = (await make(daemon))["request"]
        document = (await grant(daemon, request))["document"]
    async with stocked.open() as daemon:
        assert hashing.sha512(await fetch(daemon, request)) == document
        async with daemon.session("aude") as client:
            listed = (await client.call("GET", "/v1/requests"))["requests"]
    assert [(one["request"], one["state"], one["decided_by"]) for one in listed] == [
        (request, "granted", "bob")
    ]


def test_the_commands(stocked, tmp_path):
    stocked.told("up")
    made = stocked.told("media", "request", "make", "--artefact", "quiz", who="alice")
    number, out = str(made["request"]), tmp_path / "site.request"
    assert made["artefacts"] == 1
    words = ("media", "request", "fetch", number, "--out", str(out))
    assert stocked.refused(*words, who="alice", code=6)["key"] == "request.not-granted"
    assert not out.exists()
    assert "quiz" in stocked.call("media", "request", "show", number, who="bob")[0]
    assert "granted" in stocked.call("media", "request", "grant", number, who="bob")[0]
    told = stocked.told(*words, who="alice")
    assert documents.verify(out.read_bytes()).digest == told["digest"]
    assert stocked.refused(*words, who="alice", code=2)["key"] == "request.out"
    assert documents.verify(out.read_bytes()).digest == told["digest"]
    assert "granted" in stocked.call("media", "request", "list", who="aude")[0]
