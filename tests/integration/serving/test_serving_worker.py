"""Front and engine behind their walls, with a real log: answers, links, an engine that is killed, TLS, a graceful end."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
import ssl
from collections import Counter

import httpx
import pytest
from tests.integration.serving.certificates import read_pem, write_certificate
from tests.integration.serving.stack import BODY, CHAT, ENGINE, LABEL

from holdfast.audit import event, reconcile
from holdfast.audit.channel import ProducerServer
from holdfast.audit.event import Actor
from holdfast.audit.log import Log
from holdfast.audit.sealed import SealedStore
from holdfast.audit.signer import LogSigner
from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.errors import from_dict
from holdfast.serving import keys

pytestmark = pytest.mark.model


class Worker:
    """A worker, and what it is asked and says."""

    def __init__(self, worker):
        self.worker = worker
        self._asked = 0

    async def until_ready(self):
        while "progress" not in (message := await self.worker.receive()):
            assert message is not None, self.worker.log_tail
            assert "error" not in message, message
        assert message["progress"]["step"] == "ready"

    async def ask(self, op, **fields):
        self._asked += 1
        await self.worker.send({"id": self._asked, "request": {"op": op, **fields}})
        message = await self.worker.receive()
        assert message["id"] == self._asked
        return message.get("reply") or from_dict(message["error"])

    async def last(self):
        last = None
        while (message := await self.worker.receive()) is not None:
            last = message
        return last, await self.worker.wait()

    async def end(self):
        await self.worker.cancel()
        return await self.last()


class Site:
    """A log, a listening socket, a front, and engines."""

    def __init__(self, folder, settings, models):
        self.folder = folder
        self.log = Log.open(
            folder / "log",
            origin="holdfast.example/test/0",
            signer=LogSigner.generate(),
            clock=lambda: (dt.datetime.now(dt.UTC), "host"),
        )
        self.sealed = SealedStore(folder / "sealed-keys", folder / "sealed")
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listening.getsockname()[1]
        minted = keys.mint("tax-office", [keys.ANY], LABEL)
        self.secret, self.key = minted.secret, minted.key
        self.launcher = EmbeddedLauncher(folder / "home")
        self.models = models
        self.settings = json.loads(settings.model_dump_json())
        self.settings["models"][0]["path"] = "/in/models/base.gguf"
        self.settings["models"][0]["adapters"] = []
        self.denied = []
        self.files = []

    async def front(self, **order):
        ours, theirs = socket.socketpair()
        self.links, links = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.producer = ProducerServer(ours, self.log, "serve", self.sealed)
        self.producer.start()
        fds = {"listen": self.listening.fileno(), "audit": theirs.fileno(), "links": links.fileno()}
        told = {"settings": self.settings, "withdrawn": {}, "keys": [self.key.to_json()], **order}
        spec = WorkerSpec("serve", {}, fds=fds, limits=Limits(memory_bytes=2**30))
        worker = await self.launcher.launch(spec, told, self.denied.append)
        theirs.close()
        links.close()
        return Worker(worker)

    async def opened(self, **options):
        front = await self.front(**options)
        await front.until_ready()
        assert await front.ask("open") == {"open": True}
        return front

    async def engine(self):
        engine, link = await self.started()
        self.hand(link)
        return engine

    async def started(self):
        """Start an engine; gives it, and the front's end of its link."""
        ours, theirs = socket.socketpair()
        kept, files = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.files.append(kept)
        told = {
            "model": self.settings["models"][0],
            "limits": self.settings["limits"],
            "threads": 1,
            "memory_bytes": 2**31,
        }
        fds = {"link": theirs.fileno(), "files": files.fileno()}
        spec = WorkerSpec("engine", {"models": self.models}, fds=fds, limits=Limits(memory_bytes=2**32))
        engine = Worker(await self.launcher.launch(spec, told, self.denied.append))
        theirs.close()
        files.close()
        self.files.append(ours)
        await engine.until_ready()
        return engine, ours

    def hand(self, link):
        """Hand the front an engine's link."""
        with link:
            socket.send_fds(self.links, [json.dumps({"engine": ENGINE}).encode()], [link.fileno()])

    def client(self, tls=None):
        return httpx.AsyncClient(
            base_url=f"{'https' if tls else 'http'}://localhost:{self.port}",
            headers={"authorization": f"Bearer {self.secret}"},
            verify=tls or False,
            timeout=60,
        )

    def events(self):
        return [event.parse(stored) for stored in self.log.read(0, self.log.size)]

    @property
    def actions(self):
        return [found.action for found in self.events()]

    def close(self):
        self.producer.stop()
        self.listening.close()
        for one in (self.links, *self.files):
            one.close()
        self.log.close()


@pytest.fixture
def site(tmp_path, settings, models):
    found = Site(tmp_path, settings, models)
    yield found
    found.close()


async def test_the_main_path_behind_walls_and_an_answer_in_flight_when_serving_stops(site):
    front = await site.opened()
    engine = await site.engine()
    async with site.client() as client:
        reply = await client.post(CHAT, json=BODY | {"user": "citizen 7"})
        assert reply.status_code == 200, reply.text
        receipts = reply.json()["holdfast"]
        assert {"active": 0, "queued": 0, "served": 1}.items() <= (await front.ask("status")).items()
        assert (await engine.ask("status"))["served"] == 1
        tokens = await client.post("/tokenize", json={"model": "base", "content": "Hello"})
        assert tokens.json()["tokens"], tokens.text
        assert await front.ask("pause", paused=True) == {"paused": True}
        assert (await client.post(CHAT, json=BODY)).status_code == 503
        assert await front.ask("pause", paused=False) == {"paused": False}
        assert await front.ask("forget", tenant=None) == {"forgotten": True}
        assert await front.ask("idle", lanes=[[ENGINE, "gone"]]) == {"busy": []}
        assert (await front.ask("nonsense")).key == "serve.operation"
        assert (await front.ask("keys", keys=[{}])).key == "serve.key"
        assert await front.ask("keys", keys=[]) == {"keys": 0}
        assert (await client.post(CHAT, json=BODY)).status_code == 401
        assert await front.ask("keys", keys=[site.key.to_json()]) == {"keys": 1}
        async with client.stream("POST", CHAT, json=BODY | {"stream": True, "max_tokens": 100}) as stream:
            parts = stream.aiter_raw()
            await anext(parts)
            await front.worker.cancel()
            rest = b"".join([part async for part in parts])
        assert rest.endswith(b"data: [DONE]\n\n")
    last, code = await front.last()
    assert (last, code, site.denied) == ({"result": {"served": 3}}, 0, [])
    last, code = await engine.last()  # its link ended with the front
    assert (last, code) == ({"result": {"served": last["result"]["served"]}}, 0)
    for worker in (front.worker, engine.worker):
        assert "Hello" not in worker.log_tail
        assert "Traceback" not in worker.log_tail
    events = [found for found in site.events() if found.action != "serve.refused"]
    counted = [found.params["reasons"] for found in site.events() if found.action == "serve.refused"]
    assert sum(map(Counter, counted), Counter()) == {"serve.key-unknown": 1, "serve.paused": 1}
    assert [found.action for found in events] == ["answer", "answer.done"] * 3
    assert [done.cause for done in events[1::2]] == [begun.seq for begun in events[::2]]
    assert [found.params["kind"] for found in events[::2]] == ["chat", "tokenize", "chat"]
    assert (receipts["request_seq"], receipts["answer_seq"]) == (0, 1)
    assert events[0].actor.person == f"tax-office/{site.key.id}"
    sealed_for = events[0].params["sealed_for"]
    prompt = json.loads(site.sealed.unseal(sealed_for, "prompt", events[0].params["commitments"]["prompt"]))
    assert (prompt["messages"][0]["content"], prompt["user"]) == ("Hello", "citizen 7")
    answer = site.sealed.unseal(sealed_for, "answer", events[1].params["commitments"]["answer"]).decode()
    assert answer == reply.json()["choices"][0]["message"]["content"]


async def test_an_engine_that_is_killed_costs_what_it_computed_and_the_next_one_takes_over(site):
    site.settings["limits"]["queue"] = 508  # so that one request may take longer than anything here
    long = {"model": "base", "prompt": ["Hello"] * 64, "n": 8, "max_tokens": 256, "temperature": 1}
    front = await site.opened()
    first = await site.engine()
    second, link = await site.started()
    async with site.client() as client:
        async with client.stream("POST", "/v1/completions", json=long | {"stream": True}) as stream:
            parts = stream.aiter_raw()
            await anext(parts)
            first.worker.kill()
            rest = b"".join([part async for part in parts])
        assert "error" in json.loads(rest.strip().splitlines()[-1].removeprefix(b"data: "))
        await first.worker.wait()
        waiting = asyncio.create_task(client.post(CHAT, json=BODY))
        while (await front.ask("status"))["queued"] == 0:
            assert not waiting.done()  # it is on its way
        site.hand(link)
        assert (await waiting).status_code == 200
        told = {"base": {"message": "It leaks.", "remedy": "Use another."}}
        assert await front.ask("withdraw", models=told) == {"withdrawn": ["base"]}
        gone = await client.post(CHAT, json=BODY)
        assert (gone.status_code, gone.json()["error"]["message"]) == (410, "It leaks. Use another.")
        fewer = site.settings | {"models": []}
        assert await front.ask("settings", settings=fewer, withdrawn={}) == {"settings": True}
        assert (await client.post(CHAT, json=BODY)).status_code == 404
        await asyncio.to_thread(site.producer.stop)  # the log is gone
        assert await front.ask("settings", settings=site.settings, withdrawn={}) == {"settings": True}
        refused = await client.post(CHAT, json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_recorded")
    await front.end()
    await second.last()
    found = [one for one in site.events() if one.action.startswith("answer")]
    assert [one.action for one in found] == ["answer", "answer.failed", "answer", "answer.done"]
    assert found[1].params["error"] == "serve.engine-died"


async def test_a_front_that_is_killed_between_two_events_leaves_the_second_to_others(site, monkeypatch):
    push, receipts, recorded = site.log.push, [], asyncio.Event()
    loop = asyncio.get_running_loop()

    def keeping(draft, settle, *rest):
        def told(found):  # it is on disk, and the front does not hear of it
            receipts.append((settle, found))
            loop.call_soon_threadsafe(recorded.set)

        push(draft, told if draft.action == "serve.request" else settle, *rest)

    front = await site.opened()
    monkeypatch.setattr(site.log, "push", keeping)
    async with site.client() as client:
        asking = asyncio.create_task(client.get("/v1/models"))
        await asyncio.wait_for(recorded.wait(), 60)
        assert not asking.done()
        front.worker.kill()
        with pytest.raises(httpx.HTTPError):  # nothing was said
            await asking
    await front.worker.wait()
    ((settle, receipt),) = receipts
    settle(receipt)
    await asyncio.to_thread(site.producer.stop)
    (begun,) = site.log.unfinished()
    assert (begun.action, begun.params["route"]) == ("serve.request", "/v1/models")
    assert site.producer.live == {begun.seq}
    for draft in reconcile.interrupted([begun], Actor("holdfastd", None, "service")):
        await asyncio.to_thread(site.log.append, draft)
    assert site.actions == ["serve.request", "serve.request.interrupted"]
    assert site.log.unfinished() == []


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"settings": {}}, "serve.settings"),
        ({"keys": [1]}, "serve.key"),
        ({"settings": "tls"}, "serve.tls"),
    ],
)
async def test_an_order_that_cannot_be_served_is_refused_with_the_reason(site, change, key):
    if change.get("settings") == "tls":
        site.settings["access"]["tls"] = True
        change = {"settings": site.settings}
    last, code = await (await site.front(**change)).last()
    assert (from_dict(last["error"]).key, code) == (key, 1)


async def test_tls_asks_clients_for_a_certificate_of_the_site_s_authority(site, tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    write_certificate(folder, "server")
    authority = write_certificate(folder, "clients")
    write_certificate(folder, "application", authority)
    write_certificate(folder, "stranger")
    site.settings["access"] |= {"tls": True, "clients": True}
    front = await site.opened(tls=read_pem(folder, clients="clients").plain())
    trusting = ssl.create_default_context(cafile=folder / "server.pem")
    async with site.client(trusting) as client:
        with pytest.raises(httpx.HTTPError):
            await client.get("/v1/models")
    strange = ssl.create_default_context(cafile=folder / "server.pem")
    strange.load_cert_chain(folder / "stranger.pem", folder / "stranger.key")
    async with site.client(strange) as client:
        with pytest.raises(httpx.HTTPError):
            await client.get("/v1/models")
    with pytest.raises(httpx.HTTPError):
        async with site.client() as client:
            await client.get("/v1/models")
    known = ssl.create_default_context(cafile=folder / "server.pem")
    known.load_cert_chain(folder / "application.pem", folder / "application.key")
    async with site.client(known) as client:
        reply = await client.get("/v1/models")
        assert (reply.status_code, [one["id"] for one in reply.json()["data"]]) == (200, ["base"])
        # Another certificate takes over for who connects from now on; who is connected goes on.
        write_certificate(folder, "renewed")
        refused = await front.ask("renew", tls=read_pem(folder, "renewed").plain() | {"key": "none"})
        assert refused.key == "serve.tls"
        assert await front.ask("renew", tls=read_pem(folder, "renewed", clients="clients").plain()) == {
            "renewed": True
        }
        assert (await client.get("/v1/models")).status_code == 200
    async with site.client(known) as client:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await client.get("/v1/models")
    renewed = ssl.create_default_context(cafile=folder / "renewed.pem")
    renewed.load_cert_chain(folder / "application.pem", folder / "application.key")
    async with site.client(renewed) as client:
        assert (await client.get("/v1/models")).status_code == 200
    last, code = await front.end()
    assert (last, code) == ({"result": {"served": 0}}, 0)
    told = [one.params["reasons"] for one in site.events() if one.action == "serve.refused"]
    # Without a certificate, with a stranger's, without TLS, and by who does not accept ours.
    assert sum(reasons.get("serve.handshake", 0) for reasons in told) == 4
