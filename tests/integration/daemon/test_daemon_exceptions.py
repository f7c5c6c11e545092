"""Exceptions with a real daemon: who asks, who grants, what they lift, and that the log keeps them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.daemon import late

from holdfast import hashing
from holdfast.artefact import Kind
from holdfast.client import operations
from holdfast.errors import (
    Conflict,
    NotFound,
    NotPermitted,
    OperationFailed,
    UntrustedBundle,
    UntrustedRequest,
)
from holdfast.media import trusthome

DIGEST = hashing.sha512(b"timestamp.json")
BODY = {"kind": "expired", "subject": DIGEST, "days": 3, "reason": "The ship is late."}


async def ask(daemon, who="alice", **changes):
    async with daemon.session(who) as client:
        return await client.call("POST", "/v1/exceptions", BODY | changes)


async def grant(daemon, request, who="bob"):
    async with daemon.session(who) as client:
        return await operations.grant_exception(client, daemon.place.pairs[who], request)


async def send(daemon, request, body, who="bob"):
    async with daemon.session(who) as client:
        return await client.call("POST", f"/v1/exceptions/{request}/grant", body)


async def refused(daemon, request, body, who="bob"):
    with pytest.raises(NotPermitted) as caught:
        await send(daemon, request, body, who)
    assert daemon.state.exceptions[request].granted is None
    assert not daemon.events("exception.grant.done")
    return caught.value.key


def later(daemon, **passed):
    """Move the daemon's clock."""
    daemon.services.now = lambda: datetime.now(UTC) + timedelta(**passed)


async def test_one_asks_another_grants_and_everybody_sees_it(daemon):
    asked = await ask(daemon)
    assert (asked["standing"], asked["requester"], asked["kind"]) == ("open", "alice", "expired")
    found = await grant(daemon, asked["request"])
    assert (found["standing"], found["decided_by"], found["approval"]) == ("in force", "bob", None)
    async with daemon.session("aude") as client:
        listed = (await client.call("GET", "/v1/exceptions"))["exceptions"]
    assert [(one["request"], one["standing"]) for one in listed] == [(asked["request"], "in force")]
    asked_event, intent = daemon.events("exception.asked")[0], daemon.events("exception.grant")[0]
    assert asked_event.params["exception"]["reason"] == "The ship is late."
    assert intent.params["approval"]["statement"]["digest"] == asked_event.subject.digest
    assert (asked_event.actor.person, intent.actor.person) == ("alice", "bob")
    async with daemon.visitor() as client:
        assert (await client.call("GET", "/v1/status"))["exceptions"] == {"open": 0, "in_force": 1}


async def test_nobody_grants_their_own_request(daemon):
    request = (await ask(daemon))["request"]
    with pytest.raises(NotPermitted) as caught:
        await grant(daemon, request, "alice")
    assert caught.value.key == "approval.own-request"
    assert daemon.state.exceptions[request].granted is None


@pytest.mark.parametrize("who", ["olga", "aude"])
async def test_no_other_role_asks_grants_or_refuses(daemon, who):
    request = (await ask(daemon))["request"]
    with pytest.raises(NotPermitted):
        await ask(daemon, who, subject=hashing.sha512(b"other"))
    with pytest.raises(NotPermitted):
        await grant(daemon, request, who)
    async with daemon.session(who) as client:
        with pytest.raises(NotPermitted) as caught:
            await client.call("POST", f"/v1/exceptions/{request}/refuse", {"reason": "no"})
    assert caught.value.key == "role.missing"
    assert len(daemon.state.exceptions) == 1


async def test_a_signature_is_for_one_request_at_one_site_and_not_for_long(daemon, signed):
    request = (await ask(daemon))["request"]
    other = (await ask(daemon, subject=hashing.sha512(b"other")))["request"]
    async with daemon.session("bob") as client:
        shown = await client.call("GET", f"/v1/exceptions/{request}")
        another = await client.call("GET", f"/v1/exceptions/{other}")
    for change in (
        {"request": other},
        {"digest": DIGEST},
        {"digest": another["approval"]["digest"]},
        {"site": "Elsewhere"},
        {"action": "bundle.admit"},
        {"requester": "olga"},
    ):
        body = signed(shown, "bob", **change)
        assert await refused(daemon, request, body) == "approval.other-request"
    assert await refused(daemon, request, signed(another, "bob")) == "approval.other-request"
    assert await refused(daemon, request, signed(shown, "bob", hours=-1)) == "approval.expired"
    assert await refused(daemon, request, signed(shown, "bob", hours=200)) == "approval.too-long"
    assert await refused(daemon, request, signed(shown, "alice")) == "keys.signature"


async def test_a_signature_is_used_once(daemon, signed):
    request = (await ask(daemon))["request"]
    async with daemon.session("bob") as client:
        body = signed(await client.call("GET", f"/v1/exceptions/{request}"), "bob")
    await send(daemon, request, body)
    with pytest.raises(Conflict) as caught:
        await send(daemon, request, body)
    assert caught.value.key == "exception.decided"
    again = (await ask(daemon))["request"]  # the same, asked for again
    assert await refused_later(daemon, again, body) == "approval.other-request"


async def refused_later(daemon, request, body):
    with pytest.raises(NotPermitted) as caught:
        await send(daemon, request, body)
    return caught.value.key


async def test_what_was_refused_is_not_granted(daemon):
    request = (await ask(daemon))["request"]
    async with daemon.session("bob") as client:
        found = await client.call("POST", f"/v1/exceptions/{request}/refuse", {"reason": "wait"})
    assert (found["standing"], found["refusal"]) == ("refused", "wait")
    with pytest.raises(Conflict) as caught:
        await grant(daemon, request)
    assert caught.value.key == "bundle.not-waiting"


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"days": None}, "request.form"),
        ({"days": 31}, "request.form"),
        ({"until": "2026-03-01T12:00:00Z"}, "request.form"),
        ({"kind": "signature"}, "request.form"),
        ({"subject": "tiny"}, "exception.form"),
        ({"reason": "two\nlines"}, "exception.form"),
        ({"days": None, "until": "2020-01-01T00:00:00Z"}, "exception.until"),
        ({"days": None, "until": "2999-01-01T00:00:00Z"}, "exception.until"),
        ({"days": None, "until": "tomorrow"}, "exception.form"),
        ({"kind": "floor", "subject": "0001-01-01T00:00:00Z"}, "exception.floor"),
        ({"kind": "floor", "subject": "9999-12-31T00:00:00Z"}, "exception.floor"),
        ({"kind": "revoked", "subject": DIGEST}, "exception.not-revoked"),
        ({"kind": "revoked", "subject": "nothing"}, "artefact.unknown"),
    ],
)
async def test_what_can_t_be_excepted_is_not_asked_for(daemon, wrong, key):
    with pytest.raises(UntrustedRequest) as caught:
        await ask(daemon, **wrong)
    assert caught.value.key == key
    assert not daemon.state.exceptions


async def test_the_same_is_asked_for_once_at_a_time(daemon):
    request = (await ask(daemon))["request"]
    with pytest.raises(Conflict) as caught:
        await ask(daemon, "bob")
    assert (caught.value.key, caught.value.fields["request"]) == ("exception.open", request)
    with pytest.raises(NotFound):
        await grant(daemon, 9999)


async def test_one_that_nobody_granted_in_its_time_lapses(daemon):
    request = (await ask(daemon))["request"]
    later(daemon, days=4)
    with pytest.raises(Conflict):
        await grant(daemon, request)
    async with daemon.session("bob") as client:
        assert (await client.call("GET", f"/v1/exceptions/{request}"))["standing"] == "lapsed"


async def test_an_expired_medium_comes_in_only_under_an_exception_and_only_for_its_time(
    stocked, press, media
):
    medium = late.revoke(
        press, "expired", media.first, *_bases(stocked, media), reason="It leaks.", age=60, days=30
    )
    path = stocked.insert(medium, "expired")
    async with stocked.open() as daemon:
        with pytest.raises(UntrustedBundle) as caught:
            await daemon.take_in(path)
        assert caught.value.key == "trust.expired"
        subject = caught.value.fields["medium"]
        assert subject in caught.value.remedy
        asked = await ask(daemon, subject=subject)
        with pytest.raises(UntrustedBundle):  # asked for is not granted
            await daemon.take_in(path)
        await grant(daemon, asked["request"])
    async with stocked.open() as daemon:  # the log keeps it
        later(daemon, days=4)
        with pytest.raises(UntrustedBundle):
            await daemon.take_in(path)
        later(daemon, days=-2)  # a clock that was set back does not bring it back
        with pytest.raises(UntrustedBundle):
            await daemon.take_in(path)
        later(daemon, days=2)
        request = await daemon.take_in(path)
        assert daemon.state.imports[request].state == "waiting"
        assert daemon.state.imports[request].facts["expired"] is True


def _bases(_stocked, media):
    from holdfast.media import claims

    return [
        one.artefact
        for one in claims.of_medium(media.first).manifest.entries
        if one.artefact.kind is Kind.BASE
    ]


async def test_two_people_set_the_time_floor_and_the_log_decides_it(stocked):
    async with stocked.open() as daemon:
        before = trusthome.load(stocked.home.trust).floor
        assert before is not None
        assert daemon.state.floor == before
        lower = datetime(2026, 1, 1, tzinfo=UTC)
        asked = await ask(daemon, kind="floor", subject="2026-01-01T00:00:00Z")
        assert trusthome.load(stocked.home.trust).floor == before
        found = await grant(daemon, asked["request"])
        assert found["standing"] == "ended"  # it has acted
        assert trusthome.load(stocked.home.trust).floor == lower == daemon.state.floor
    trusthome.set_floor(stocked.home.trust, datetime(2040, 1, 1, tzinfo=UTC))
    async with stocked.open() as daemon:
        assert trusthome.load(stocked.home.trust).floor == lower == daemon.state.floor
        higher = (datetime.now(UTC) + timedelta(days=500)).replace(microsecond=0)
        asked = await ask(daemon, kind="floor", subject=higher.strftime("%Y-%m-%dT%H:%M:%SZ"))
        await grant(daemon, asked["request"])
        assert trusthome.load(stocked.home.trust).floor == higher
        # The floor is what "now" is at least, for the next exception too.
        asked = await ask(daemon)
        assert asked["until"] > higher.isoformat()


async def test_a_floor_that_was_written_but_not_recorded_is_taken_back(stocked, monkeypatch):
    async with stocked.open() as daemon:
        before = daemon.state.floor
        asked = await ask(daemon, kind="floor", subject="2026-01-01T00:00:00Z")
        write = trusthome.set_floor

        def cut_short(folder, moment):
            write(folder, moment)
            raise OperationFailed("disk.test", "The disk went away.", remedy="None.")

        with monkeypatch.context() as patch:
            patch.setattr(trusthome, "set_floor", cut_short)
            with pytest.raises(OperationFailed):
                await grant(daemon, asked["request"])
        assert daemon.state.exceptions[asked["request"]].granted is None
    assert trusthome.load(stocked.home.trust).floor == datetime(2026, 1, 1, tzinfo=UTC)
    async with stocked.open() as daemon:
        assert trusthome.load(stocked.home.trust).floor == before == daemon.state.floor
        await grant(daemon, asked["request"])  # it is still open
        assert daemon.state.floor == datetime(2026, 1, 1, tzinfo=UTC)


def test_the_commands(stocked):
    stocked.told("up")
    asked = stocked.told(
        "exception", "ask", "expired", DIGEST, "--days", "2", "--reason", "The ship is late.", who="alice"
    )
    assert asked["standing"] == "open"
    number = str(asked["request"])
    assert stocked.refused("exception", "grant", number, who="alice", code=4)["key"] == "approval.own-request"
    out, _ = stocked.call("exception", "grant", number, who="bob")
    assert "in force" in out
    out, _ = stocked.call("exception", "list", who="aude")
    assert "The ship is late." in out
    assert "in force" in out
    asked = stocked.told(
        "exception", "ask", "floor", "2026-01-01T00:00:00Z", "--days", "1", "--reason", "x", who="bob"
    )
    out, _ = stocked.call("exception", "refuse", str(asked["request"]), "--reason", "no need", who="alice")
    assert "refused" in out
    standings = [one["standing"] for one in stocked.told("exception", "list", who="olga")["exceptions"]]
    assert standings == ["refused", "in force"]
    words = ("exception", "ask", "expired", DIGEST, "--reason", "x")
    assert stocked.refused(*words, who="alice", code=2)["key"] == "exception.end"
    assert "exceptions  0 open, 1 in force" in stocked.call("status")[0]
    assert json.loads(stocked.call("status", "--json")[0])["exceptions"] == {"open": 0, "in_force": 1}
