"""The engine over its link: what it accepts and refuses, ends and forgets, and how much memory it takes."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.serving.stack import DIGESTS, make_settings
from tests.integration.serving.talk import BUDGET, Heard, Talk, ask, note

from holdfast import frames
from holdfast.errors import NoSpace, UntrustedRequest, WorkerFailed
from holdfast.serving import link
from holdfast.serving.engine import memory, outbox
from holdfast.serving.engine.host import SPARE
from holdfast.serving.engine.lanes import Lanes
from holdfast.serving.engine.llama import Context
from holdfast.serving.engine.prefix import CHUNK
from holdfast.serving.engine.threads import Threads
from holdfast.workers import engine as worker
from holdfast.workers.channel import Channel

pytestmark = pytest.mark.model

LONG = "The fee is due. " * 18
MIB = 2**20
NO_END = dict.fromkeys(range(256, 262), -100.0)  # the tokens that are no bytes


@pytest.fixture
def talk(models):
    """Starts engines and closes them."""
    started = []

    def start(**given):
        started.append(Talk(models, **({"queue": 64, "lanes": ()} | given)))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def engine(models):
    running = Talk(models, queue=64)
    yield running
    running.close()


def test_what_it_measured_holds_for_the_next_one_only_where_all_is_the_same(talk):
    found = talk().host.measured
    assert talk().host.measured == found
    changes = ({"parallel": 3}, {"threads": 2}, {"spec": {"context": 256}}, {"spec": {"kv": "q8_0"}})
    others = {talk(**change).host.measured.key for change in (*changes, {"spec": {"digest": DIGESTS["one"]}})}
    assert len(others | {found.key}) == len(changes) + 2
    told = replace(found, chunks=not found.chunks)
    assert talk(kept=told).host.measured == told  # it was not measured anew
    assert talk(kept=replace(found, key=min(others))).host.measured == found
    assert talk(kept=replace(found, sample=found.key)).host.measured == found


def test_the_lone_last_row_of_a_long_prompt_is_computed_by_all_threads(talk, monkeypatch):
    spec, tokens = {"context": 1024}, tuple(5 + at * 7 % 200 for at in range(5 * 128 + 1))
    found = talk(threads=2, spec=spec).host.measured
    engine = talk(threads=2, spec=spec, kept=replace(found, alone=True), prompt_tokens=1024)
    assert engine.host.measured.alone  # it was not measured anew
    chosen, attach = [], Threads.attach

    def seen(threads, context, *, alone=False):
        chosen.append(alone)
        attach(threads, context, alone=alone)

    monkeypatch.setattr(Threads, "attach", seen)
    assert engine.one("Hello", most=8).done
    assert chosen == []
    assert engine.one(tokens, most=4).done
    assert chosen == [False, True]


def test_texts_that_come_quickly_go_as_one_but_not_behind_a_prompt(talk, monkeypatch):
    engine = talk()
    given = {"most": 60, "sampling": link.Sampling(temperature=0.0, logit_bias=NO_END)}
    alone = engine.one("Hello", **given)
    monkeypatch.setattr(outbox, "PACE", 1e9)
    frames, held = [], []
    send, compute = engine.host._outbox._send, Context.compute
    monkeypatch.setattr(engine.host._outbox, "_send", lambda frame: (frames.append(frame), send(frame)))

    def seen(context, rows):
        if len(rows) > 2:  # a chunk of a prompt; two at most are answered
            held.append(list(engine.host._outbox._waiting))
        return compute(context, rows)

    monkeypatch.setattr(Context, "compute", seen)
    first, second = ask("Hello", **given), ask("The end", tenant="b", **given)
    with engine.midway(first):
        engine.say(second)
        engine.posted(1)
    found = engine.collect(first, second)
    assert found[0].answer == alone.answer
    assert found[0].done.completion_tokens == 60
    assert held == [[], []]
    assert 2 < len(frames) < 20


def test_it_says_what_it_is(engine):
    assert engine.up == link.Up(DIGESTS["base"], 262, 512, chat=True, embeds=0)
    status = engine.host.status()
    assert status["lanes"] == ["", "one", "two"]
    memory = status["memory"]
    assert memory["total"] == memory["weights"] + memory["cache"] + memory["compute"]


def test_a_prompt_comes_as_messages_text_or_tokens(engine):
    tokens = engine.all(link.Tokenize(10**6, link.Words("the end"), special=True, begin=True))[0].reply.tokens
    text = engine.all(link.Detokenize(10**6 + 1, tokens))[0].reply.text
    assert text == "the end"
    by_text, by_tokens = engine.all(ask("the end"), ask(tokens))
    assert by_text.answer == by_tokens.answer
    messages = link.Chat(({"role": "user", "content": "the end"},))
    chat = engine.one(messages)
    written = engine.one("<|user|>the end<|end|><|assistant|>")
    assert chat.answer == written.answer
    assert chat.accepted == chat.done.prompt_tokens == written.accepted


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"prompt": ""}, "empty_prompt"),
        ({"prompt": "x" * 401}, "context_length_exceeded"),
        ({"prompt": "x", "most": 257}, "invalid_value"),
        ({"prompt": (262,)}, None),
        ({"prompt": "x", "lane": "nobody's"}, "model_not_found"),
        ({"prompt": "x", "grammar": link.Grammar(link.GrammarKind.GBNF, "root ::= (")}, "invalid_grammar"),
        ({"prompt": "x", "sampling": link.Sampling(logit_bias={999: 1.0})}, None),
    ],
)
def test_a_request_that_cannot_be_is_refused_alone(engine, given, code):
    company = ask("Hello")
    refused, answered = engine.all(ask(**given), company)
    assert isinstance(refused.failed, UntrustedRequest)
    assert code is None or refused.failed.fields["code"] == code
    assert answered.done.completion_tokens == 12


def test_embeddings_are_refused_by_a_model_that_gives_none(engine):
    heard = engine.all(link.Embed(10**6 + 2, "a", (link.Words("x"),)))[0]
    assert heard.failed.fields["code"] == "no_embeddings"


def test_an_echoed_prompt_comes_first_with_its_log_probabilities(engine):
    prompt = "the fee " * 30
    heard = engine.one(prompt, echo=True, logprobs=2, most=3, choices=2)
    plain = engine.one(prompt, logprobs=2, most=3)
    for choice in (0, 1):
        entries = heard.logprobs[choice]
        assert heard.texts[choice].startswith(prompt)
        assert len(entries) == heard.accepted + 3
        assert entries[0].logprob is None
        assert all(len(entry.top) == 2 and entry.logprob < 0 for entry in entries[1:])
        assert "".join(entry.text for entry in entries[:-3]) == prompt
        assert all(prompt[entry.offset :].startswith(entry.text) for entry in entries[:-3])
        assert [entry.token for entry in entries[-3:]] == [entry.token for entry in plain.logprobs[0]]
    scored = engine.one(prompt, echo=True, logprobs=0, most=0)
    assert [entry.logprob for entry in scored.logprobs[0]] == [
        entry.logprob for entry in heard.logprobs[0][:-3]
    ]
    assert scored.endings == {0: link.Ending.LENGTH}
    assert engine.one(prompt, echo=True, most=3).texts[0] == heard.texts[0]


def test_a_cancelled_request_ends_and_the_others_go_on(engine):
    long, other = ask("Hello", most=250, choices=3), ask("Bye", most=20, tenant="b")
    with engine.midway(long):
        engine.say(other, link.Cancel(long.id), link.Cancel(10**9))
        engine.posted(3)
    cancelled, whole = engine.collect(long, other)
    assert cancelled.done.cancelled
    assert 0 < cancelled.done.completion_tokens < 3 * 250
    assert whole.done.completion_tokens == 20
    assert engine.host.status()["active"] == 0


def test_what_is_given_up_before_it_was_tokenized_is_not_computed(pooled, monkeypatch):
    with contextlib.closing(Talk(pooled, lanes=())) as running:
        batch = link.Embed(1, "a", (link.Words("The fee is due. "),))
        tokenize = running.host._embeddings.ask

        def late(request, tell):
            end = time.monotonic() + 60
            while request.id in running.host._known:
                assert time.monotonic() < end
                threading.Event().wait(0.005)
            return tokenize(request, tell)

        monkeypatch.setattr(running.host._embeddings, "ask", late)
        running.say(batch, link.Cancel(batch.id))
        (heard,) = running.collect(batch)
        assert heard.failed.key == "serve.cancelled"


@pytest.mark.parametrize("most", [None, 256])
def test_an_answer_ends_with_the_context(engine, most):
    heard = engine.one("r" * 390, most=most, sampling=link.Sampling(temperature=0.0, logit_bias=NO_END))
    assert heard.endings == {0: link.Ending.LENGTH}
    assert heard.accepted + heard.done.completion_tokens == 512


def test_the_tokens_of_a_stop_string_have_no_log_probabilities(engine):
    letters = {"logprobs": 0, "grammar": link.Grammar(link.GrammarKind.REGEX, "[a-z]{12}")}
    text = engine.one("Hello", **letters).texts[0]
    stop = text[5:8]
    heard = engine.one("Hello", stops=(stop,), **letters)
    left = text[: text.find(stop)]
    assert heard.texts.get(0, "") == left
    assert "".join(one.text for one in heard.logprobs.get(0, [])) == left


def test_what_takes_too_long_fails(engine):
    late, other = engine.all(ask("Hello", most=250, seconds=0.0), ask("Hello"))
    assert late.failed.key == "serve.deadline"
    assert other.done


def test_an_answer_under_way_ends_with_its_time(engine):
    asked = ask("Hello", most=250)
    with engine.midway(asked) as known:
        known.received -= asked.seconds  # so long did a step take
        known.deadline -= asked.seconds
    late = engine.collect(asked)[0]
    assert late.failed.key == "serve.deadline"
    assert late.took.prompt_tokens == late.accepted
    assert 0 < late.took.completion_tokens < 250
    assert late.took.processor_ms > 0
    assert late.took.milliseconds >= late.took.first_ms >= asked.seconds * 1000


def test_too_many_requests_are_refused_and_the_rest_answered(talk):
    engine, gate = talk(queue=0, parallel=1), threading.Event()
    engine.host._post(lambda: gate.wait(60))  # nothing ends meanwhile
    requests = [ask("Hello", most=2) for _ in range(200)]
    heard = {request.id: Heard() for request in requests}
    engine.say(*requests)
    while sum(one.failed is not None for one in heard.values()) < 200 - SPARE - 1:
        note(heard, engine.hear())
    gate.set()
    while not all(one.ended for one in heard.values()):
        note(heard, engine.hear())
    assert {one.failed.key for one in heard.values() if one.failed} == {"serve.busy"}
    assert sum(one.done is not None for one in heard.values()) == SPARE + 1


def test_bytes_that_are_no_message_end_the_engine(models):
    engine = Talk(models, lanes=())
    engine.sock.sendall(frames.pack({"op": "generate", "id": 1}))
    with pytest.raises(EOFError):
        engine.hear()
    engine.close()
    assert isinstance(engine.fault, WorkerFailed)
    assert engine.fault.key == "serve.link"


# What one tenant's prompt leaves in memory.


def places(needle):
    """Where in this process's memory some bytes are, but for the object given and the room they are read into."""
    room = bytearray(16 * MIB)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    own = [range(start, start + len(room)), range(id(needle), id(needle) + len(needle) + 64)]
    found = []
    with (
        Path("/proc/self/maps").open(encoding="ascii") as maps,
        Path("/proc/self/mem").open("rb", buffering=0) as memory,
    ):
        spans = [line.split()[:2] for line in maps if "[v" not in line]
        for span, mode in spans:
            begin, end = (int(number, 16) for number in span.split("-"))
            for at in range(begin, end, len(room) - len(needle)) if mode.startswith("rw") else ():
                view = memoryview(room)[: min(len(room), end - at)]
                with contextlib.suppress(OSError):
                    count = os.preadv(memory.fileno(), [view], at)
                    place = room.find(needle, 0, count)
                    while place >= 0:
                        if not any(at + place in one for one in own):
                            found.append(at + place)
                        place = room.find(needle, place + 1, count)
                view.release()
    return found


def keys_of(engine, sequence=0):
    """Some bytes of the keys and values that a sequence of the bare model holds."""
    context = next(iter(engine.host._lanes))._context
    state = context._state(sequence)
    half = len(state) // 2
    needle = state[half : half + 64].tobytes()
    state.fill(0)
    return needle


@pytest.mark.parametrize("how", ["another tenant", "forgotten", "unused", "freed"])
def test_what_a_tenant_leaves_is_overwritten_and_not_only_forgotten(talk, how):
    engine = talk(parallel=1 if how == "another tenant" else 4)
    engine.one(LONG)
    needle = keys_of(engine)
    assert len(set(needle)) > 8
    assert places(needle)
    match how:
        case "another tenant":
            assert engine.one("Hello", tenant="b").done.cached_tokens == 0
        case "forgotten":
            engine.host.forget("b")
            assert places(needle)
            engine.say(link.Forget("a"))
            engine.host.status()
        case "unused":
            engine.host._do(lambda: engine.host._lanes.tidy(1e12))
        case "freed":
            engine.host._do(lambda: engine.host._lanes.close(WorkerFailed("t.t", "T.", remedy="T.")))
    assert places(needle) == []


def test_what_is_forgotten_while_it_is_in_use_goes_with_its_end(talk):
    engine = talk()
    busy = ask(LONG, most=200)
    engine.say(busy)
    engine.collect(busy, until=lambda heard: heard.texts)
    engine.host.forget(None)
    engine.collect(busy)
    assert engine.one(LONG).done.cached_tokens == 0
    assert engine.one(LONG).done.cached_tokens == 2 * CHUNK


# Memory.


def anonymous():
    """Bytes of memory of this process that are no file's, less what nobody holds any more."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_the_estimate_is_what_the_process_takes(talk):
    spec = {"context": 8192, "mmap": False}
    before = anonymous()
    engine = talk(spec=spec, parallel=7, prompt_tokens=8192, lanes=())
    engine.one("x" * 3000, most=1)
    taken, need = anonymous() - before, engine.host.need
    assert need.cache == 2 * 2 * 256 * 2 * 8192 * 8  # 128 MiB
    assert (
        0.85 < taken / (need.total - memory.FIXED) < 1.1
    )  # what is fixed was there before, and the heap has its own steps


@pytest.mark.parametrize(("mapped", "locked"), [(True, False), (False, False), (True, True)])
def test_weights_are_mapped_read_and_locked_as_the_site_says(talk, models, mapped, locked):
    def mappings():
        return Path("/proc/self/maps").read_text(encoding="ascii").count(str(models / "base.gguf"))

    before = mappings()  # other tests' engines may have it open
    engine = talk(spec={"mmap": mapped, "mlock": locked})
    assert (mappings() > before) is mapped
    status = Path("/proc/self/status").read_text(encoding="ascii")
    assert ("VmLck:\t       0 kB" not in status) is locked
    engine.close()


def test_what_does_not_fit_is_refused_with_the_numbers_before_it_is_opened(models, monkeypatch):
    monkeypatch.setattr("holdfast.serving.engine.host.Weights", None)  # nobody may get so far
    with pytest.raises(NoSpace) as refused:
        Talk(models, budget=57 * MIB)
    assert refused.value.fields["needed_bytes"] > 57 * MIB
    assert 0 < refused.value.fields["longest_context"] < 512


def test_lanes_take_turns_where_memory_does_not_hold_all(talk):
    expected = talk(lanes=("one", "two"))
    need = expected.host.need
    engine = talk(lanes=("one", "two"), budget=need.total + need.context // 2 + 2 * MIB)
    asked = [(lane, f"Question {at}") for at in range(3) for lane in ("", "one", "two")]
    heard = engine.all(*(ask(prompt, lane) for lane, prompt in asked))
    same = expected.all(*(ask(prompt, lane) for lane, prompt in asked))
    assert [one.answer for one in heard] == [one.answer for one in same]
    status = engine.host.status()
    assert status["memory"]["total"] <= need.total + need.context // 2 + 2 * MIB
    engine.host.limit(2 * need.total)
    engine.all(*(ask("x", lane) for lane in ("", "one", "two")))
    assert engine.host.status()["memory"]["cache"] > status["memory"]["cache"]
    engine.host.limit(need.total)
    assert engine.host.status()["memory"]["cache"] == need.cache


def test_an_adapter_beyond_the_budget_is_refused_and_the_engine_goes_on(talk, models):
    engine = talk()
    engine.host.limit(engine.host.need.total)
    with pytest.raises(NoSpace):
        engine.host.attach("one", 1.0, models / "one.gguf")
    assert engine.host.status()["lanes"] == [""]
    assert engine.one("Hello").done


# The worker around it.


class Daemon:
    """The daemon's end of a worker's channel, in this process."""

    def __init__(self, models, budget=BUDGET):
        settings = make_settings(models / "base.gguf", adapters=())
        self.link, link_end = socket.socketpair()
        self.files, files_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock, channel_end = socket.socketpair()
        order = {
            "model": settings.models[0].model_dump(mode="json"),
            "limits": settings.limits.model_dump(mode="json"),
            "threads": 1,
            "memory_bytes": budget,
            "fds": {"link": link_end.detach(), "files": files_end.detach()},
        }
        frames.send(self._sock, {"order": order})
        self.result = None
        self._channel_end = channel_end
        self._thread = threading.Thread(target=self._run, args=(Channel(channel_end),))
        self._thread.start()

    def _run(self, channel):
        self.result = worker.main(channel, channel.order())

    def hear(self):
        return frames.receive(self._sock)

    def ask(self, **request):
        frames.send(self._sock, {"id": 1, "request": request})
        return self.hear()

    def hand(self, path, **changed):
        data = path.read_bytes()
        said = {"lane": "one", "digest": "sha512:" + hashlib.sha512(data).hexdigest(), "size": len(data)}
        with path.open("rb") as file:
            socket.send_fds(self.files, [json.dumps(said | changed).encode()], [file.fileno()])

    def join(self):
        self._thread.join()
        for sock in (self.link, self.files, self._sock, self._channel_end):
            sock.close()
        return self.result


def test_the_worker_serves_attaches_detaches_and_ends_with_its_link(models):
    daemon = Daemon(models)
    ready = daemon.hear()["progress"]
    assert ready["step"] == "ready"
    assert ready["memory"]["total"] > 0
    daemon.hand(models / "one.gguf")
    assert daemon.ask(op="attach", lane="one", scale=1.0)["reply"] == {"attached": "one"}
    for changed, key in (
        ({"digest": "sha512:" + "0" * 128}, "serve.adapter-digest"),
        ({"size": 10}, "serve.adapter-digest"),
        ({"lane": "other"}, "serve.files"),
        ({"size": -1}, "serve.link"),
    ):
        daemon.hand(models / "two.gguf", **{"lane": "two"} | changed)
        assert daemon.ask(op="attach", lane="two", scale=1.0)["error"]["key"] == key
    assert daemon.ask(op="status")["reply"]["lanes"] == ["", "one"]
    assert daemon.ask(op="detach", lane="one")["reply"] == {"detached": "one"}
    assert daemon.ask(op="status")["reply"]["lanes"] == [""]
    assert daemon.ask(op="budget", bytes=BUDGET)["reply"] == {"budget": BUDGET}
    assert daemon.ask(op="forget", tenant=None)["reply"] == {"forgotten": True}
    assert daemon.ask(op="dance")["error"]["key"] == "serve.operation"
    daemon.link.shutdown(socket.SHUT_RDWR)
    assert daemon.join() == {"served": 0}


def test_the_worker_ends_when_it_is_cancelled(models):
    daemon = Daemon(models)
    daemon.hear()
    frames.send(daemon._sock, {"cancel": True})
    assert daemon.join() == {"served": 0}


def test_the_worker_answers_a_ping_during_a_step_and_says_how_long_it_lasts(models, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(Lanes, "forget", lambda _self, _tenant: gate.wait(60))
    daemon = Daemon(models)
    daemon.hear()
    steps = [daemon.ask(op="ping")["reply"]["step"]]
    frames.send(daemon._sock, {"id": 2, "request": {"op": "forget", "tenant": None}})
    while steps[-1] < 0.2:
        steps.append(daemon.ask(op="ping")["reply"]["step"])
    gate.set()
    assert daemon.hear() == {"id": 2, "reply": {"forgotten": True}}
    while daemon.ask(op="ping")["reply"]["step"]:
        pass  # it waits again soon
    frames.send(daemon._sock, {"cancel": True})
    daemon.join()
