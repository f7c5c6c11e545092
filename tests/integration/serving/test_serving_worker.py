"""The serve worker behind its walls, with a real log: ready, answers, keys replaced, status, graceful end."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime

import httpx
import pytest

from holdfast.audit import event
from holdfast.audit.channel import ProducerServer
from holdfast.audit.log import Log
from holdfast.audit.sealed import SealedStore
from holdfast.audit.signer import LogSigner
from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.errors import from_dict
from holdfast.governance.labels import Label
from holdfast.serving import keys

pytestmark = pytest.mark.model

CLEARANCE = Label("internal", frozenset(), frozenset({"site"}))
BODY = {
    "model": "base",
    "messages": [{"role": "user", "content": "Hello"}],
    "temperature": 0,
    "max_tokens": 12,
}
CHAT = "/v1/chat/completions"


class Site:
    """A log, a socket and the worker between them."""

    def __init__(self, folder, settings, models):
        self.log = Log.open(
            folder / "log",
            origin="holdfast.example/test/0",
            signer=LogSigner.generate(),
            clock=lambda: (datetime.now(UTC), "host"),
        )
        self.sealed = SealedStore(folder / "sealed-keys", folder / "sealed")
        self.path = str(folder / "serve.sock")
        self.secret, self.key = keys.mint("tax-office", [keys.ANY], CLEARANCE)
        self.launcher = EmbeddedLauncher(folder / "home")
        self.models = models
        self.settings = json.loads(settings.model_dump_json())
        for name, part in [("base", self.settings["models"][0])] + [
            (adapter["id"], adapter) for adapter in self.settings["models"][0]["adapters"]
        ]:
            part["path"] = f"/in/models/{name}.gguf"

    async def start(self, **order):
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        ours, theirs = socket.socketpair()
        self.producer = ProducerServer(ours, self.log, "serve", self.sealed)
        self.producer.start()
        self.denied = []
        worker = await self.launcher.launch(
            WorkerSpec(
                "serve",
                {"models": self.models},
                fds={"listen": self.listening.fileno(), "audit": theirs.fileno()},
                limits=Limits(memory_bytes=2**31),
            ),
            {"settings": self.settings, "keys": [self.key.to_json()], "threads": 1, **order},
            self.denied.append,
        )
        theirs.close()
        return worker

    def client(self):
        transport = httpx.AsyncHTTPTransport(uds=self.path)
        headers = {"authorization": f"Bearer {self.secret}"}
        return httpx.AsyncClient(
            transport=transport, base_url="http://holdfast", headers=headers, timeout=120
        )

    def events(self):
        return [event.parse(stored) for stored in self.log.read(0, self.log.size)]

    def close(self):
        self.producer.stop()
        self.listening.close()
        self.log.close()


@pytest.fixture
def site(tmp_path, settings, models):
    found = Site(tmp_path, settings, models)
    yield found
    found.close()


async def until_ready(worker):
    while "progress" not in (message := await worker.receive()) or message["progress"]["step"] != "ready":
        assert message is not None
        assert "error" not in message, message
    await worker.send({"id": 0, "request": {"op": "open"}})
    assert await worker.receive() == {"id": 0, "reply": {"open": True}}


async def end(worker):
    await worker.cancel()
    last = None
    while (message := await worker.receive()) is not None:
        last = message
    return last, await worker.wait()


async def test_the_main_path_behind_walls(site):
    worker = await site.start()
    await until_ready(worker)
    async with site.client() as client:
        reply = await client.post(CHAT, json=BODY | {"user": "citizen 7"})
        assert reply.status_code == 200, reply.text
        receipts = reply.json()["holdfast"]
        async with client.stream("POST", CHAT, json=BODY | {"stream": True, "model": "base:one"}) as stream:
            assert stream.headers["x-holdfast-request-receipt"] == "2"
            assert (await stream.aread()).endswith(b"data: [DONE]\n\n")
        await worker.send({"id": 1, "request": {"op": "status"}})
        status = (await worker.receive())["reply"]
        assert (status["active"], status["queued"], status["served"]) == (0, 0, 2)
        assert status["tokens_per_second"] > 0
        await worker.send({"id": 2, "request": {"op": "keys", "keys": []}})
        assert await worker.receive() == {"id": 2, "reply": {"keys": 0}}
        assert (await client.post(CHAT, json=BODY)).status_code == 401
        await worker.send({"id": 3, "request": {"op": "keys", "keys": [{}]}})
        assert (await worker.receive())["error"]["key"] == "serve.key"
        await worker.send({"id": 4, "request": {"op": "nonsense"}})
        assert (await worker.receive())["error"]["key"] == "serve.operation"
    last, code = await end(worker)
    assert (last, code, site.denied) == ({"result": {"served": 2}}, 0, [])
    assert "Hello" not in worker.log_tail
    assert "Traceback" not in worker.log_tail
    *events, refused = site.events()
    assert (refused.action, refused.params["count"]) == ("serve.refused", 1)
    assert [found.action for found in events] == ["answer", "answer.done"] * 2
    assert [found.cause for found in events] == [None, 0, None, 2]
    assert receipts["request_seq"] == 0
    assert receipts["answer_seq"] == 1
    assert events[0].actor.person == f"tax-office/{site.key.id}"
    assert events[2].params["adapter_digest"].startswith("sha512:2")
    sealed_for = events[0].params["sealed_for"]
    prompt = json.loads(site.sealed.unseal(sealed_for, "prompt", events[0].params["commitments"]["prompt"]))
    assert (prompt["messages"][0]["content"], prompt["user"]) == ("Hello", "citizen 7")
    answer = site.sealed.unseal(sealed_for, "answer", events[1].params["commitments"]["answer"]).decode()
    assert answer == reply.json()["choices"][0]["message"]["content"]


async def test_an_answer_in_flight_ends_well_when_serving_stops(site):
    worker = await site.start()
    await until_ready(worker)
    async with (
        site.client() as client,
        client.stream("POST", CHAT, json=BODY | {"stream": True, "max_tokens": 100}) as stream,
    ):
        parts = stream.aiter_raw()
        await anext(parts)
        await worker.cancel()
        rest = b"".join([part async for part in parts])
    assert rest.endswith(b"data: [DONE]\n\n")
    last, code = await end(worker)
    assert (last, code) == ({"result": {"served": 1}}, 0)
    assert [found.action for found in site.events()] == ["answer", "answer.done"]


async def test_when_the_log_is_gone_nothing_is_answered(site):
    worker = await site.start()
    await until_ready(worker)
    await asyncio.to_thread(site.producer.stop)
    async with site.client() as client:
        reply = await client.post(CHAT, json=BODY)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "not_recorded")
    await end(worker)
    assert site.events() == []


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"settings": {}}, "serve.settings"),
        ({"keys": [1]}, "serve.key"),
        ({"settings": "missing"}, "serve.model"),
    ],
)
async def test_an_order_that_cannot_be_served_is_refused_with_the_reason(site, change, key):
    if change.get("settings") == "missing":
        site.settings["models"][0]["path"] = "/in/models/nothing.gguf"
        change = {"settings": site.settings}
    worker = await site.start(**change)
    last, code = await end(worker)
    assert (from_dict(last["error"]).key, code) == (key, 1)


async def test_a_withdrawn_model_ends_what_it_answers_and_says_why_while_others_go_on(site):
    worker = await site.start()
    await until_ready(worker)
    told = {"message": "The model base:one was stopped: it leaks.", "remedy": "Use two instead."}
    async with site.client() as client:
        async with client.stream(
            "POST", CHAT, json=BODY | {"model": "base:one", "stream": True, "max_tokens": 200}
        ) as stream:
            parts = stream.aiter_raw()
            await anext(parts)
            await worker.send({"id": 1, "request": {"op": "withdraw", "models": {"base:one": told}}})
            rest = b"".join([part async for part in parts])
        assert await worker.receive() == {"id": 1, "reply": {"withdrawn": ["base:one"]}}
        last = json.loads(rest.strip().splitlines()[-1].removeprefix(b"data: "))
        wanted = {
            "message": "The model base:one was stopped: it leaks. Use two instead.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_revoked",
        }
        assert last["error"] == wanted
        reply = await client.post(CHAT, json=BODY | {"model": "base:one"})
        assert (reply.status_code, reply.json()["error"]) == (410, wanted)
        listed = (await client.get("/v1/models")).json()["data"]
        assert [one["id"] for one in listed] == ["base"]
        assert (await client.get("/v1/models/base:one")).status_code == 410
        assert (await client.post(CHAT, json=BODY)).status_code == 200
    await end(worker)
    assert [found.action for found in site.events()] == ["answer", "answer.failed", "answer", "answer.done"]
    assert site.events()[1].params["error"] == "serve.revoked"


async def test_refusals_are_counted_by_the_worker_and_the_last_count_is_told_when_it_stops(site):
    worker = await site.start()
    await until_ready(worker)
    async with site.client() as client:
        client.headers["authorization"] = "Bearer hf-nobody"
        for _ in range(300):
            assert (await client.get("/v1/models")).status_code == 401
        client.headers["authorization"] = f"Bearer {site.secret}"
        assert (await client.post(CHAT, json=BODY | {"model": "nothing"})).status_code == 404
    await end(worker)
    counted = [found.params for found in site.events()]
    assert {found.action for found in site.events()} == {"serve.refused"}
    assert {found.source.name for found in site.events()} == {"serve"}
    assert sum(each["count"] for each in counted) == 301
    assert sum(each["reasons"].get("serve.key-unknown", 0) for each in counted) == 300
    assert counted[-1]["keys"] == {site.key.id: 1}
    assert len(counted) < 30


async def test_while_it_is_paused_the_worker_answers_nothing_and_records_nothing(site):
    worker = await site.start()
    await until_ready(worker)
    async with site.client() as client:
        for number, paused in enumerate((True, False)):
            await worker.send({"id": number, "request": {"op": "pause", "paused": paused}})
            assert await worker.receive() == {"id": number, "reply": {"paused": paused}}
            reply = await client.post(CHAT, json=BODY)
            assert reply.status_code == (503 if paused else 200)
            assert len(site.events()) == (0 if paused else 2)
    await end(worker)
