"""What applications ask, and what they are answered, lies nowhere in clear: a real daemon, a real model, and every file searched."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import signal
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from tests.integration.daemon import seeking
from tests.integration.serving.crafted import write_model

from holdfast.artefact import Kind
from holdfast.audit.event import Actor
from holdfast.daemon import intake

pytestmark = pytest.mark.model

OLGA = Actor(person="olga", uid=0, role="operator", session="s")
SHARED = Path("/dev/shm")  # noqa: S108 - searched, not used
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
NO_END = {"0": -100}  # a bias that keeps answers from ending early: the crafted model's end token
PATIENCE = 120  # seconds, on a busy machine
MANY = 8  # prompts, with as many answers to each: thousands of tokens, which take seconds on the fastest machines


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    from holdfast.gguf.quantize import quantize

    folder = tmp_path_factory.mktemp("gguf")
    write_model(folder / "f16.gguf")
    quantize(folder / "f16.gguf", folder / "q8_0.gguf", "q8_0", 1)
    return folder / "q8_0.gguf"


def put_model(place, source):
    """Put a model's GGUF on the record, as a conversion would."""

    async def work():
        async with place.open() as daemon:
            base = daemon.state.resolve("tiny", Kind.BASE)
            tokenizer = daemon.state.resolve("tiny", Kind.TOKENIZER)
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
            asked = {"base": base.digest, "adapter": None, "quantizations": ["q8_0"]}
            async with daemon.services.recorder.act(OLGA, "model.quantize", asked) as act:
                act.outcome = {"fidelity": {}, "artefacts": [found.to_json()]}

    asyncio.run(work())


class Application:
    """Somebody who asks, and knows what must lie nowhere: a mark in every text that is sent, and what was answered."""

    def __init__(self, place):
        self.place = place
        self.token = secrets.token_hex(12)
        self.mark = f'Zürich "{self.token}" \\ß'  # with characters that JSON may escape
        self.texts = [self.token, self.mark]
        self.client = httpx.Client()
        self.last = 0
        self.key = place.told(
            "serve", "keys", "create", "--tenant", "tax-office", "--level", "internal", who="olga"
        )["secret"]
        self.serve()

    def serve(self):
        found = self.place.told("serve", "start", "--model", "tiny", "--type", "q8_0", who="olga")
        self.client.close()
        self.client = httpx.Client(
            base_url=found["address"], headers={"authorization": f"Bearer {self.key}"}, timeout=PATIENCE
        )

    def secret(self):
        return self.mark + secrets.token_hex(4)

    def chat(self, **more):
        turns = [{"role": "system", "content": self.secret()}, {"role": "user", "content": self.secret()}]
        asked = {"model": "tiny", "messages": turns, "max_tokens": 24, "logit_bias": NO_END}
        return asked | {"user": self.secret()} | more

    def answered(self, text):
        """Remember an answer; the model talks nonsense, which is as distinctive."""
        assert len(text) >= 16
        if len(self.texts) < 5:
            self.texts.append(text[:40])

    def ask_in_every_way(self):
        reply = self.client.post(CHAT, json=self.chat())
        assert reply.status_code == 200, reply.text
        self.last = reply.json()["holdfast"]["request_seq"]
        self.answered(reply.json()["choices"][0]["message"]["content"])
        asked = {"model": "tiny", "prompt": self.secret(), "max_tokens": 24, "logit_bias": NO_END}
        reply = self.client.post(TEXT, json=asked)
        self.answered(reply.json()["choices"][0]["text"])
        with self.client.stream("POST", CHAT, json=self.chat(stream=True)) as stream:
            lines = [line[6:] for line in stream.iter_lines() if line.startswith("data: {")]
        deltas = [one["delta"] for line in lines for one in json.loads(line)["choices"]]
        self.answered("".join(delta.get("content", "") for delta in deltas))
        refused = [
            self.client.post(CHAT, json=self.chat(model=self.secret())),
            self.client.post(CHAT, json=self.chat(**{self.secret(): 1})),
            self.client.post(CHAT, json=self.chat(max_tokens=self.secret())),
            self.client.post(CHAT, json=self.chat(messages=[{"role": self.secret(), "content": "x"}])),
            self.client.post(TEXT, json={"model": "tiny", "prompt": self.secret() * 400}),
            self.client.post(CHAT, content=f'{{"messages": "{self.secret()}'.encode()),
            self.client.post(CHAT, content=self.secret().encode("utf-16")),
            self.client.post(
                CHAT, json=self.chat(), headers={"authorization": f"Bearer {secrets.token_hex(8)}"}
            ),
            self.client.get(f"/v1/models/{self.secret()}"),
        ]
        assert {reply.status_code for reply in refused} <= {400, 401, 404, 422}, refused

    def crash(self, part, number):
        """Have a worker die by a signal while it answers; it comes back by itself."""
        self.until(lambda: part in self.workers())
        supervisor, worker = self.workers()[part]
        prompts = [self.secret() for _ in range(MANY)]
        asked = {"model": "tiny", "prompt": prompts, "n": MANY, "max_tokens": 300, "logit_bias": NO_END}
        with self.client.stream("POST", TEXT, json=asked | {"stream": True}) as stream:
            assert stream.status_code == 200
            pieces = stream.iter_lines()
            assert next(pieces).startswith("data: {")
            forbids_cores(worker.pid)
            worker.send_signal(number)
            with suppress(httpx.HTTPError):
                assert "data: [DONE]" not in list(pieces)
        self.until(lambda: self.workers().get(part, (supervisor, None))[0] != supervisor)
        self.until(self.answers)

    def answers(self):
        with suppress(httpx.HTTPError):  # a connection that was kept to a front that is gone
            return self.client.post(CHAT, json=self.chat()).status_code == 200
        return False

    def workers(self):
        """Find what runs: each part's supervisor, and the innermost process beneath it. What begins or ends is left out."""
        found = self.place.told("serve", "status", who="olga")
        pids = {"front": found["front"]["pid"], "engine": found["engines"][0]["pid"]}
        inner = {part: (pid, innermost(pid)) for part, pid in pids.items() if pid is not None}
        return {part: (pid, worker) for part, (pid, worker) in inner.items() if worker is not None}

    @staticmethod
    def until(condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.05)

    def open_the_last(self):
        """Have an auditor open an answer, granted by an administrator."""
        words = ("--reason", "A complaint was made.")
        asked = self.place.told("sealed", "ask", str(self.last), *words, who="aude")
        number = str(asked["request"])
        assert self.place.told("sealed", "show", number, who="olga")["standing"] == "open"
        assert self.place.told("sealed", "grant", number, who="bob")["standing"] == "granted"
        out, _ = self.place.call("sealed", "open", number, who="aude")
        assert self.token in out
        assert self.texts[2] in out or "\\" in out  # what a terminal would obey is written out
        self.place.refused("sealed", "open", number, who="aude", code=6)
        assert number in self.place.call("sealed", "list", who="aude")[0]


def innermost(pid):
    """Find the innermost process beneath a supervisor, if it is there."""
    with suppress(psutil.NoSuchProcess):
        return next((one for one in psutil.Process(pid).children(recursive=True) if not one.children()), None)
    return None


def has_ended(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def forbids_cores(pid):
    limits = Path(f"/proc/{pid}/limits").read_text()
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["1", "1"], line
    assert int(Path(f"/proc/{pid}/coredump_filter").read_text(), 16) == 0


@pytest.fixture
def generous():
    """Allow core files as far as this host does, so that it is the daemon itself that forbids them."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("generous")
def test_no_prompt_and_no_answer_lies_anywhere_in_clear(stocked, gguf, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    put_model(stocked, gguf)
    pid = stocked.told("up")["pid"]
    application = Application(stocked)
    application.ask_in_every_way()
    application.open_the_last()
    for part in ("engine", "front"):
        for number in (signal.SIGABRT, signal.SIGSEGV):
            application.crash(part, number)
    application.ask_in_every_way()
    forbids_cores(pid)
    searched = [stocked.folder, scratch, SHARED]
    assert seeking.seek(searched, application.texts) == {}
    # The daemon dies too, with prompts in its memory.
    application.client.close()
    os.kill(pid, signal.SIGSEGV)
    application.until(lambda: has_ended(pid))
    assert seeking.seek(searched, application.texts) == {}
    assert not [path for path in seeking.files(searched) if path.name.startswith("core")]
    assert len([*stocked.home.sealed.rglob("*.0.*")]) >= 14  # all of it is there, sealed
    # A search that finds nothing must be able to find something.
    planted = {}
    for text in application.texts[1:3]:
        for name, form in seeking.forms(text).items():
            path = stocked.home.jobs / f"planted-{len(planted)}"
            path.write_bytes(secrets.token_bytes(5000) + form + secrets.token_bytes(3))
            planted[str(path)] = name
    found = seeking.seek(searched, application.texts)
    assert found.keys() == planted.keys()
    assert all(name in found[path] for path, name in planted.items())
    for path in planted:
        Path(path).unlink()
    # The index compresses what it holds, so it is asked by its own means; the question itself goes on the record.
    stocked.told("up")
    token = application.token
    halves = f"'%{token[:12]}' || '{token[12:]}%'"
    sql = f"SELECT count(*) FROM events WHERE events::VARCHAR LIKE {halves}"  # noqa: S608 - a text of our own
    count = stocked.told("audit", "sql", sql, who="aude")
    assert count["rows"] == [[0]]
