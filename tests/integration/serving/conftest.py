"""A tiny random model with a byte vocabulary and two adapters, and the server around it on a Unix socket."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

import httpx
import httpx2
import openai
import pytest
import uvicorn
from tests.integration.serving.crafted import CONTEXT, write_adapter, write_model

from holdfast.errors import NotRecorded
from holdfast.governance.labels import Label
from holdfast.serving import keys, spec
from holdfast.serving.answer import Desk
from holdfast.serving.engine import Engine
from holdfast.serving.gate import Vault
from holdfast.serving.openai import Endpoint
from holdfast.serving.refused import Refused, counting_protocol
from holdfast.serving.template import ChatTemplate

LABEL = Label("internal", frozenset(), frozenset({"site"}))
SECRET = Label("secret", frozenset(), frozenset({"site"}))
DIGESTS = {name: "sha512:" + digit * 128 for name, digit in (("base", "1"), ("one", "2"), ("two", "3"))}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder with base.gguf (Q8_0), one.gguf and two.gguf."""
    from holdfast.gguf.quantize import quantize

    folder = tmp_path_factory.mktemp("gguf")
    write_model(folder / "f16.gguf")
    quantize(folder / "f16.gguf", folder / "base.gguf", "q8_0", 1)
    write_adapter(folder / "one.gguf", 1)
    write_adapter(folder / "two.gguf", 2)
    return folder


@pytest.fixture(scope="session")
def settings(models):
    return make_settings(models)


def make_settings(models, **limits):
    adapters = tuple(
        spec.AdapterSpec(
            id=name, path=str(models / f"{name}.gguf"), digest=DIGESTS[name], label=label.to_json()
        )
        for name, label in (("one", LABEL), ("two", SECRET))
    )
    model = spec.ModelSpec(
        id="base",
        path=str(models / "base.gguf"),
        digest=DIGESTS["base"],
        label=LABEL.to_json(),
        context=CONTEXT,
        adapters=adapters,
    )
    chosen = {
        "prompt_tokens": 400,
        "new_tokens": 256,
        "parallel": 4,
        "queue": 2,
        "body_bytes": 65536,
    } | limits
    return spec.Settings(models=(model,), limits=spec.Limits(**chosen))


@dataclass(frozen=True)
class Kept:
    """What the recorder below gives as a receipt."""

    seq: int
    leaf: str


class MemoryRecorder:
    """Keeps acts; can be told to refuse an action, or to hold it back until released."""

    def __init__(self):
        self.acts = []
        self.facts = []
        self.refuse = set()
        self.hold = {}

    async def record(self, act):
        if act.action in self.hold:
            await asyncio.wrap_future(self.hold[act.action])
        if act.action in self.refuse:
            raise NotRecorded("audit.test", "/secret/path is full", remedy="None.")
        self.acts.append(act)
        return Kept(len(self.acts) - 1, f"sha256:{len(self.acts):064d}")

    async def fact(self, action, params):
        self.facts.append((action, params))
        return Kept(len(self.facts) - 1, "")

    def held(self, action):
        self.hold[action] = Future()
        return self.hold[action]


class Server:
    """The endpoint on a Unix socket, in a thread of its own."""

    def __init__(self, settings, folder):
        self.path = str(folder / "serve.sock")
        self.recorder = MemoryRecorder()
        self.text, self.key = keys.mint("tax-office", ["base", "base:one", "base:two"], LABEL)
        self.cleared_text, self.cleared = keys.mint("ministry", [keys.ANY], SECRET)
        self.vault = Vault(keys.KeyRing([self.key, self.cleared]))
        self.engine = Engine(settings, 1)
        weights = self.engine.weights["base"]
        templates = {"base": ChatTemplate(weights.template(), weights.special_texts())}
        self.desk = Desk(self.engine, self.recorder)
        self.refused = Refused(self.recorder.fact, time.monotonic)
        self.endpoint = Endpoint(settings, self.engine, self.desk, templates, time.time, refused=self.refused)
        config = uvicorn.Config(
            self.endpoint.app(self.vault),
            lifespan="off",
            log_config=None,
            ws="none",
            timeout_graceful_shutdown=5,
            http=counting_protocol(self.refused),
        )
        self._uvicorn = uvicorn.Server(config)
        self._ready = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.engine.start(lambda: None)
        self._thread.start()
        self._ready.wait()

    async def _run(self):
        self.loop = asyncio.get_running_loop()
        self._ready.set()
        await self._uvicorn.serve(sockets=[self._socket])
        await asyncio.to_thread(self.engine.stop)
        await self.desk.drain()
        await self.refused.close()

    def close(self):
        self._uvicorn.should_exit = True
        self._thread.join()
        self.engine.close()

    def openai(self, key=None):
        transport = httpx2.HTTPTransport(uds=self.path)
        client = httpx2.Client(transport=transport)
        return openai.OpenAI(
            api_key=key or self.text, base_url="http://holdfast/v1", http_client=client, max_retries=0
        )

    def http(self, key=None):
        transport = httpx.HTTPTransport(uds=self.path)
        headers = {"authorization": f"Bearer {key or self.text}"}
        return httpx.Client(transport=transport, base_url="http://holdfast", headers=headers, timeout=60)

    def until(self, condition):
        """Wait for something that another thread brings about."""
        end = time.monotonic() + 60
        while not condition():
            if time.monotonic() > end:
                pytest.fail("it did not happen within a minute")
            threading.Event().wait(0.005)


@pytest.fixture
def server(settings, tmp_path):
    running = Server(settings, tmp_path)
    yield running
    running.close()


@pytest.fixture
def new_server():
    """Starts servers; the test closes them."""

    def start(settings, folder):
        folder.mkdir(exist_ok=True)
        (folder / "serve.sock").unlink(missing_ok=True)
        return Server(settings, folder)

    return start
