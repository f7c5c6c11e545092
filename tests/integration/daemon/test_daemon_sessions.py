"""Who may speak on the control socket: a person with their key, as a local user who may come for them, and no worker."""

from __future__ import annotations

import asyncio
import os

import pytest

from holdfast.client.connection import Client
from holdfast.confine.spec import WorkerSpec
from holdfast.errors import NotAuthenticated, NotFound, NotPermitted, UntrustedInput, UntrustedRequest
from holdfast.governance import sessions
from holdfast.keys import person


def answered(daemon, pair, who, challenge, site=None):
    payload = sessions.payload(site=site or daemon.state.site, person=who, challenge=challenge)
    return {
        "person": who,
        "challenge": challenge,
        "signatures": [*person.sign(pair, sessions.DOMAIN, payload)],
    }


async def denied(daemon, call, kind=NotAuthenticated):
    """Await a refusal of somebody without a session, and see that it is counted on the record."""
    before = len(daemon.events("access.refused"))
    with pytest.raises(kind) as caught:
        await call
    await daemon.services.refusals.flush()
    events = daemon.events("access.refused")[before:]
    assert sum(event.params["count"] for event in events) == 1
    assert events[-1].params["reasons"] == {caught.value.key: 1}
    assert events[-1].params["person"] is None
    assert caught.value.exit_code == 4
    return caught.value


async def test_a_session_is_recorded_from_beginning_to_end_with_the_local_user(daemon):
    async with daemon.session("alice") as client:
        assert (client.person, client.roles) == ("alice", ("administrator",))
        assert daemon.services.sessions.open_count == 1
        token = client._token
    opened, closed = daemon.events("session.opened")[0], daemon.events("session.closed")[0]
    assert (opened.actor.person, opened.actor.uid) == ("alice", os.getuid())
    assert opened.actor.session == closed.actor.session
    async with daemon.visitor() as client:
        client._token = token
        await denied(daemon, client.call("GET", "/v1/bundles"))
        client._token = None


async def test_the_wrong_key_a_stranger_and_a_used_challenge_are_all_the_same_refusal(daemon, pairs):
    told = set()
    async with daemon.visitor() as client:

        async def challenge(who):
            return str((await client.call("POST", "/v1/session/challenge", {"person": who}))["challenge"])

        async def refuse(body):
            error = await denied(daemon, client.call("POST", "/v1/session", body))
            told.add((error.key, error.message, error.remedy))

        await refuse(answered(daemon, pairs["bob"], "alice", await challenge("alice")))
        await refuse(answered(daemon, pairs["ada"], "ada", await challenge("ada")))
        await refuse(answered(daemon, pairs["alice"], "alice", await challenge("bob")))
        await refuse(answered(daemon, pairs["alice"], "alice", await challenge("alice"), site="Elsewhere"))
        await refuse(answered(daemon, pairs["alice"], "alice", "0" * 64))
        used = answered(daemon, pairs["alice"], "alice", await challenge("alice"))
        token = str((await client.call("POST", "/v1/session", used))["token"])
        await refuse(used)
        half = answered(daemon, pairs["alice"], "alice", await challenge("alice"))
        await refuse(half | {"signatures": half["signatures"][:1]})
    assert len(told) == 1
    assert len(token) > 30
    assert daemon.services.sessions.open_count == 1


async def test_a_person_comes_only_as_a_local_user_who_may_and_a_session_stays_with_it(place, media):
    place.uids = {"bob": os.getuid() + 1}
    place.found(media.first)
    async with place.open() as daemon:
        async with daemon.visitor() as client:
            await denied(daemon, client.login(place.pairs["bob"]))
        async with daemon.session("alice") as client, daemon.visitor(uid=os.getuid() + 1) as other:
            other._token = client._token
            await denied(daemon, other.call("GET", "/v1/bundles"))
            other._token = None
            assert await client.call("GET", "/v1/bundles")
        assert daemon.events("access.refused")[-1].params["uids"] == {str(os.getuid() + 1): 1}


async def test_without_a_session_there_is_the_status_and_nothing_else(daemon):
    routes = [(route.path, next(iter(route.methods - {"HEAD"}))) for route in daemon.app.routes]
    async with daemon.visitor() as client:
        assert (await client.call("GET", "/v1/status"))["site"] == "Test site"
        for path, method in routes:
            if path not in ("/v1/status", "/v1/session", "/v1/session/challenge"):
                name = path.replace("{", "").replace("}", "")
                await denied(daemon, client.call(method, name))
    assert len(routes) > 30


async def test_a_workers_process_is_refused_on_the_socket_whatever_it_holds(daemon):
    worker = await daemon.services.launcher.launch(
        WorkerSpec("rehearse"), {"act": "answer"}, lambda denial: pytest.fail(str(denial))
    )
    try:
        async with daemon.session("alice") as client, daemon.visitor(pid=worker.pid) as inside:
            inside._token = client._token
            for route in ("/v1/status", "/v1/bundles"):
                error = await denied(daemon, inside.call("GET", route), NotPermitted)
                assert error.key == "peer.worker"
            inside._token = None
    finally:
        worker.kill()
        await worker.wait()


async def test_a_process_that_cannot_be_seen_is_refused_too(daemon):
    async with daemon.visitor(pid=2**22 + 1) as gone:
        await denied(daemon, gone.call("GET", "/v1/status"), NotPermitted)


async def test_what_a_worker_tries_outside_its_walls_is_on_the_record(daemon):
    from holdfast.daemon import workbench

    async with daemon.session("alice") as client:
        refused = asyncio.Event()
        sink = workbench.denial_sink(daemon.services, "probe", None)

        def denied_once(denial):
            sink(denial)
            refused.set()

        worker = await daemon.services.launcher.launch(
            WorkerSpec("probe"),
            {"attempts": ["unix", "tcp"], "socket": str(daemon.place.home.socket)},
            denied_once,
        )
        await worker.wait()
        await refused.wait()
        while not (events := daemon.events("worker.denied")):
            await client.call("GET", "/v1/status")
    assert events[0].params["worker"] == "probe"
    assert daemon.state.denials >= 1


async def test_malformed_requests_are_refused_by_name(daemon):
    async with daemon.session("alice") as client:
        for body, told in (
            (b"", "json.syntax"),
            (b"[", "json.syntax"),
            (b"[]", "request.form"),
            (b'{"path": 7}', "request.form"),
            (b"{}", "request.form"),
            (b'{"path": "/x", "force": true}', "request.form"),
            (b'{"path": "/x", "path": "/y"}', "json.duplicate-key"),
            (b'{"path": NaN}', "json.constant"),
            (b"\xff\xfe", "json.encoding"),
            (b"[" * 4000, "json.depth"),
            (b'{"path": "' + b"x" * 2**22 + b'"}', "json.too-large"),
        ):
            with pytest.raises(UntrustedRequest) as caught:
                await client._send("POST", "/v1/bundles/import", content=body)
            assert caught.value.key == told, body[:40]
        assert not daemon.state.acts


async def test_calls_that_the_contract_does_not_know_are_refused_in_its_form(daemon):
    async with daemon.session("alice") as client:
        for method, route in (("GET", "/v1/nothing"), ("DELETE", "/v1/status"), ("GET", "/")):
            with pytest.raises(NotFound) as caught:
                await client.call(method, route)
            assert caught.value.key == "route.unknown"
        for route in ("/v1/jobs/abc", "/v1/jobs/-1", "/v1/jobs/²", "/v1/jobs/" + "9" * 20):
            with pytest.raises(UntrustedInput):
                await client.call("GET", route)
        for route in ("/v1/jobs/999", "/v1/bundles/999", "/v1/runs/²", "/v1/runs/7", "/v1/artefacts/nothing"):
            with pytest.raises(NotFound):
                await client.call("GET", route)


async def test_an_error_of_our_own_is_told_in_the_contracts_form_and_written_to_the_log(
    daemon, monkeypatch, caplog
):
    monkeypatch.setattr(daemon.services.sessions, "challenge", lambda _: 1 / 0)
    async with daemon.visitor() as client:
        with pytest.raises(Exception, match="ZeroDivisionError") as caught:
            await client.call("POST", "/v1/session/challenge", {"person": "alice"})
        assert caught.value.key == "daemon.internal"
    assert "ZeroDivisionError" in caplog.text


async def test_uploads_belong_to_their_session_and_go_with_it(daemon, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"x" * 3_000_000)
    async with daemon.session("olga") as olga, daemon.session("alice") as alice:
        name = await olga.upload(file)
        assert [entry.stat().st_size for entry in daemon.place.home.uploads.iterdir()] == [3_000_000]
        body = {"recipe": name, "file": "r.toml", "data": {}, "model": "tiny"}
        with pytest.raises(NotPermitted):
            await alice.call("POST", "/v1/runs", body)
    assert not [*daemon.place.home.uploads.iterdir()]


async def test_an_upload_that_breaks_off_leaves_nothing(daemon):
    async def torn():
        yield b"half"
        raise OSError("the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        await daemon.services.uploads.take("s", torn())
    assert not [*daemon.place.home.uploads.iterdir()]


async def test_a_client_knows_no_daemon_where_there_is_none(place):
    from holdfast.errors import DaemonUnreachable

    for _ in range(2):
        with pytest.raises(DaemonUnreachable) as caught:
            async with Client(place.home) as client:
                await client.call("GET", "/v1/status")
        assert caught.value.exit_code == 5
        assert "up" in caught.value.remedy
        place.home.root.mkdir(parents=True, exist_ok=True)
