"""The front on a real socket, in a thread of its own, with a recorder in memory; engines are attached by the tests.

Two sorts of engine: ``Puppet`` is moved by the test, word by word, and may say anything; ``running`` is the real one, in a thread.
"""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

import httpx
import httpx2
import openai
import pytest

from holdfast.errors import NotRecorded
from holdfast.governance.labels import Label
from holdfast.serving import keys, link, linkreader, spec
from holdfast.serving.front.house import House
from holdfast.serving.front.listener import Bounds
from holdfast.serving.front.server import Server
from holdfast.serving.linkwriter import pack

LABEL = Label("internal", frozenset(), frozenset({"site"}))
SECRET = Label("secret", frozenset(), frozenset({"site"}))
DIGESTS = {name: "sha512:" + digit * 128 for name, digit in (("base", "1"), ("one", "2"), ("two", "3"))}
CONTEXT = 512
ENGINE = "engine-base"
CHAT = "/v1/chat/completions"
VISITS = 10**6  # sequence number of the first event of a request that no model is asked
BODY = {
    "model": "base",
    "messages": [{"role": "user", "content": "Hello"}],
    "temperature": 0,
    "max_tokens": 8,
}
UP = link.Up(DIGESTS["base"], 262, CONTEXT, chat=True, embeds=0)


def make_settings(path="/in/base.gguf", access=None, adapters=("one", "two"), **limits):
    """The model ``base`` with two adapters, of which ``two`` is secret."""
    labels = {"one": LABEL, "two": SECRET}
    found = tuple(
        spec.AdapterSpec(id=name, version="1", digest=DIGESTS[name], label=labels[name].to_json())
        for name in adapters
    )
    model = spec.ModelSpec(
        id="base",
        engine=ENGINE,
        path=str(path),
        digest=DIGESTS["base"],
        label=LABEL.to_json(),
        context=CONTEXT,
        adapters=found,
    )
    chosen = {
        "prompt_tokens": 400,
        "new_tokens": 256,
        "parallel": 4,
        "queue": 2,
        "body_bytes": 65536,
    } | limits
    return spec.Settings(models=(model,), limits=spec.Limits(**chosen), access=spec.Access(**(access or {})))


@dataclass(frozen=True)
class Kept:
    """What the recorder below gives as a receipt."""

    seq: int
    leaf: str


class MemoryRecorder:
    """Keeps acts, those of answers apart from the rest; can be told to refuse an action, or to hold it back until released."""

    def __init__(self):
        self.acts = []
        self.visits = []  # what no model was asked
        self.facts = []
        self.refuse = set()
        self.hold = {}

    async def record(self, act):
        if act.action in self.hold:
            await asyncio.wrap_future(self.hold[act.action])
        if act.action in self.refuse:
            raise NotRecorded("audit.test", "/secret/path is full", remedy="None.")
        if act.action.startswith("serve.request"):
            self.visits.append(act)
            return Kept(VISITS + len(self.visits) - 1, "")
        self.acts.append(act)
        return Kept(len(self.acts) - 1, f"sha256:{len(self.acts):064d}")

    async def fact(self, action, params):
        self.facts.append((action, params))
        return Kept(len(self.facts) - 1, "")

    def held(self, action):
        self.hold[action] = Future()
        return self.hold[action]

    @property
    def requests(self):
        """What came of the requests that no model was asked: each a pair, in any order."""
        begun, ended = {}, []
        for seq, act in enumerate(self.visits, VISITS):
            if act.cause is None:
                assert act.action == "serve.request"
                begun[seq] = act
            else:
                asked = begun.pop(act.cause)
                assert asked.params.items() <= act.params.items()
                ended.append((act.params["route"], act.params["status"], act.params.get("error")))
                assert act.action == f"serve.request.{'failed' if 'error' in act.params else 'done'}"
        assert not begun
        return ended

    @property
    def actions(self):
        return [act.action for act in self.acts]


class Front:
    """The front on a socket: a Unix one, or TCP."""

    def __init__(self, settings, folder, *, tcp=False, tls=None, bounds=None, more_keys=()):
        self.recorder = MemoryRecorder()
        minted = keys.mint("tax-office", ["base", "base:one", "base:two", "base:one@1"], LABEL)
        cleared = keys.mint("ministry", [keys.ANY], SECRET, keys.SCOPES)
        self.text, self.key = minted.secret, minted.key
        self.cleared_text, self.cleared = cleared.secret, cleared.key
        self.settings = settings
        self._tls = tls
        if tcp:
            self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)
            self.path = None
            self.address = self.listening.getsockname()
        else:
            self.path = str(folder / "serve.sock")
            self.address = self.path
            self.listening = socket.socket(socket.AF_UNIX)
            self.listening.bind(self.path)
            self.listening.listen(512)
        self._bounds = bounds or Bounds()
        self._ring = keys.KeyRing([self.key, self.cleared, *more_keys])
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="front")
        self._thread.start()
        self._ready.wait()

    async def _run(self):
        self.loop = asyncio.get_running_loop()
        clock, self._passed = self.loop.time, 0.0
        self.loop.time = lambda: clock() + self._passed
        self.house = House(self.settings, {}, self._ring, self.recorder, self.recorder.fact)
        self.server = Server(self.house.app(), self.listening, self.house.refused, self._tls, self._bounds)
        serving = asyncio.create_task(self.server.run_when_told())
        await self.server.open()
        self._ready.set()
        await serving
        await self.house.close()

    @property
    def vault(self):
        return self.house.vault

    def call(self, work, *arguments):
        """Do something where the front runs, and wait for it."""

        async def do():
            found = work(*arguments)
            return await found if asyncio.iscoroutine(found) else found

        return asyncio.run_coroutine_threadsafe(do(), self.loop).result(60)

    def let_pass(self, seconds):
        """Let time pass at once, by the clock that the front's patience and deadlines go by."""

        def go_on():
            self._passed += seconds

        self.call(go_on)

    def attach(self, name=ENGINE):
        """Give the other end of an engine's link."""
        ours, theirs = socket.socketpair()
        self.call(self.house.engines.attach, name, theirs)
        return ours

    def close(self):
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.server.end)
            self._thread.join()

    def openai(self, key=None):
        client = httpx2.Client(transport=httpx2.HTTPTransport(uds=self.path))
        return openai.OpenAI(
            api_key=key or self.text, base_url="http://holdfast/v1", http_client=client, max_retries=0
        )

    def http(self, key=None, **options):
        headers = {"authorization": f"Bearer {key or self.text}"}
        if self.path is None:
            base, transport = f"http://127.0.0.1:{self.address[1]}", httpx.HTTPTransport(**options)
        else:
            base, transport = "http://holdfast", httpx.HTTPTransport(uds=self.path)
        return httpx.Client(transport=transport, base_url=base, headers=headers, timeout=60)

    def raw(self, receive_buffer=None):
        """Connect a bare socket."""
        sock = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(60)
        sock.connect(self.address)
        return sock

    def request(self, body, path=CHAT, key=None):
        """Write a request as bytes."""
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key or self.text}\r\ncontent-length: {len(data)}\r\n\r\n"
        return head.encode() + data

    def status(self):
        return self.call(self.house.status)

    def until(self, condition):
        """Wait for something that another thread brings about."""
        end = time.monotonic() + 60
        while not condition():
            if time.monotonic() > end:
                pytest.fail("it did not happen within a minute")
            threading.Event().wait(0.005)


class Puppet:
    """An engine that says what the test makes it say; with ``by_itself``, it answers every request with that many words."""

    def __init__(self, front, name=ENGINE, *, up=UP, by_itself=None, word="", up_seen=True):
        self._sock = front.attach(name)
        self._by_itself, self._word = by_itself, word
        self.asked = queue.SimpleQueue()
        self.cancelled = []
        if up is not None:
            self.say(up)
        if up is not None and up_seen:
            front.until(lambda: name in front.house.engines.up)
        self._thread = threading.Thread(target=self._listen, name="puppet")
        self._thread.start()

    def _listen(self):
        splitter = linkreader.Splitter()
        try:
            while data := self._sock.recv(65536):
                for body in splitter.push(data):
                    self._take(linkreader.parse_request(body))
        except OSError:
            pass
        self.asked.put(None)

    def _take(self, request):
        if isinstance(request, link.Cancel):
            self.cancelled.append(request.id)
        if self._by_itself is None or not isinstance(request, link.Generate):
            self.asked.put(request)
        else:
            self.accept(request)
            self.words(request, self._by_itself)
            self.done(request, self._by_itself)

    def next(self, kind=link.Generate):
        """Wait for the next request."""
        found = self.asked.get(timeout=60)
        assert isinstance(found, kind), found
        return found

    def say(self, *messages):
        for message in messages:
            self._sock.sendall(message if isinstance(message, bytes) else pack(message))

    def accept(self, request, tokens=3):
        self.say(link.Accepted(request.id, tokens))

    def words(self, request, count=1, choice=0):
        for at in range(count):
            self.say(link.Events((link.Piece(request.id, choice, self._word or f"w{at} "),)))

    def done(self, request, tokens=1, *, cancelled=False, ending=link.Ending.STOP):
        ends = () if cancelled else tuple(link.End(request.id, at, ending) for at in range(request.choices))
        count = link.Done(request.id, 3, 1, tokens, 20, 5, 40, cancelled)
        self.say(link.Events((*ends, count)))

    def answer(self, request, *texts, accepted=False):
        """Say a whole answer; ``accepted`` if the request was accepted before."""
        if not accepted:
            self.accept(request)
        for at, text in enumerate(texts):
            self.say(link.Events((link.Piece(request.id, at, text),)))
        self.done(request, len(texts))

    def close(self):
        """Die."""
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._sock.close()
