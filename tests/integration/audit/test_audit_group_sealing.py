"""Requests that come together: sealed together, recorded in their order, each answered for itself, whatever the disk says."""

from __future__ import annotations

import base64
import errno
import itertools
import os
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests import recorded
from tests.integration.faults import platter
from tests.integration.faults.platter import QUICK, Platter, QuickDisk, Recorder

from holdfast import frames
from holdfast.audit import channel, sealed
from holdfast.audit.channel import ProducerServer
from holdfast.audit.event import Actor, Draft
from holdfast.audit.sealed import MAX_PAYLOAD, SealedStore
from holdfast.audit.syncing import SYNCERS
from holdfast.errors import NoSpace

APP = Actor("key-1", None, "application")
ANN = {"tenant": "tenant", "subject": "ann"}
NOW = datetime(2026, 3, 9, tzinfo=UTC)


class Broken(QuickDisk):
    """Fails at one step, for files or folders that the test names."""

    def __init__(self):
        self.step, self.wanted, self.seen = "", lambda _count: False, 0
        self.counting = threading.Lock()  # files are closed by several threads

    def fail(self, step, wanted):
        """Fail at a step wherever its count since now, from 0, is wanted."""
        self.step, self.wanted, self.seen = step, wanted, 0

    def meet(self, step):
        if step == self.step:
            with self.counting:
                count, self.seen = self.seen, self.seen + 1
            if self.wanted(count):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def write(self, handle, data, offset):
        self.meet("write")
        super().write(handle, data, offset)

    def sync_folder(self, folder):
        self.meet("sync_folder")
        super().sync_folder(folder)

    def close(self, handle):
        super().close(handle)
        self.meet("close")


class Worker:
    """A producer's end, written by hand: what is sent in one piece is read in one piece."""

    def __init__(self, root, log, on):
        self.store = SealedStore(root / "keys" / "subjects", root / "sealed", lambda: NOW, on)
        ours, self.end = socket.socketpair()
        self.server, self.count = ProducerServer(ours, log, "serve", self.store), 0
        self.server.start()

    def send(self, *requests):
        """Send requests in one piece; gives what each is answered, by its number."""
        data = b""
        for one in requests:
            data += frames.pack({"id": self.count, **one})
            self.count += 1
        assert len(data) <= channel._READ
        self.end.sendall(data)
        found = [frames.receive(self.end) for _ in requests]
        assert sorted(one["id"] for one in found) == [*range(self.count - len(requests), self.count)]
        return {one["id"]: one for one in found}

    def close(self):
        self.server.stop()
        self.end.close()


def asked(number, payload=None, owner=ANN, **fields):
    params = recorded.sample("answer", prompt_tokens=number)
    payloads = {} if payload is None else {"prompt": base64.b64encode(payload).decode()}
    draft = Draft("answer", APP, params=params).to_json()
    return {"draft": draft, "payloads": payloads, "owner": owner if payloads else None, **fields}


def handles():
    return [one for one in map(_target, Path("/proc/self/fd").iterdir()) if "/sealed/" in one]


def _target(link):
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


@pytest.fixture
def broken():
    return Broken()


@pytest.fixture
def log(tmp_path, open_log):
    return open_log(tmp_path / "log")


@pytest.fixture
def connect(log):
    made = []

    def one(root, on):
        made.append(Worker(root, log, on))
        return made[-1]

    yield one
    for worker in made:
        worker.close()
    assert handles() == []


@pytest.fixture
def worker(tmp_path, connect, broken):
    return connect(tmp_path, broken)


@pytest.fixture
def failing(broken, monkeypatch):
    """Have the sync of payloads fail whose data was written so-manieth; the syncing threads may come in any order."""

    def fail(*which):
        order, numbers, lock = {}, itertools.count(), threading.Lock()

        def create(path, mode):
            handle = QuickDisk.create(broken, path, mode)
            if "sealed" in path.parts:
                with lock:
                    order[handle] = next(numbers)
            return handle

        def sync(handle):
            with lock:
                number = order.pop(handle, None)
            if number in which:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(broken, "create", create, raising=False)
        monkeypatch.setattr(broken, "sync", sync, raising=False)

    return fail


def told(log):
    """Give what stands in the log of the worker: number, action, and which request or why not."""
    return [
        (event.source.count, event.action, event.params.get("prompt_tokens", event.params.get("reason")))
        for event in log.events()
        if event.source.name == "serve"
    ]


def test_what_came_together_is_written_before_any_of_it_is_synced(tmp_path, connect):
    disk = Recorder()
    disk.know(tmp_path)
    worker = connect(tmp_path, disk)
    worker.send(asked(0, b"first"))
    begin = len(disk.trace)
    answers = worker.send(*(asked(1 + n, b"%d" % n) for n in range(12)))
    assert [answers[n]["receipt"]["seq"] for n in range(1, 13)] == [*range(1, 13)]
    steps = [step[0] for step in disk.trace[begin:]]
    assert steps == ["create", "write"] * 12 + ["sync"] * 12 + ["sync_folder"]


@pytest.mark.parametrize("which", [(0,), (4,), (9,), (2, 3, 7), tuple(range(10))])
def test_only_what_the_disk_did_not_take_is_refused(log, worker, failing, which):
    failing(*which)
    answers = worker.send(*(asked(n, b"%d" % n) for n in range(10)))
    for number in range(10):
        if number in which:
            assert answers[number]["error"]["type"] == "NotRecorded"
            assert answers[number]["error"]["key"] == "sealed.write-failed"
        else:
            assert "receipt" in answers[number]
    worker.send(asked(10))
    lost = {n: (n, "audit.refused", "sealed.write-failed") for n in which}
    assert told(log) == [lost.get(n, (n, "answer", n)) for n in range(11)]


def test_of_two_payloads_of_one_event_either_loses_it(worker, failing):
    failing(1, 2)
    both = {"prompt": base64.b64encode(b"p").decode(), "answer": base64.b64encode(b"a").decode()}
    answers = worker.send(
        asked(0, b"x", payloads=both), asked(1, b"x", payloads=both), asked(2, b"x", payloads=both)
    )
    assert [("receipt" in answers[n]) for n in range(3)] == [False, False, True]


def test_a_folder_that_is_not_synced_loses_what_lies_in_it_alone(log, worker, broken):
    worker.send(asked(0, b"x", payloads={"prompt": "AA==", "answer": "AA=="}))
    answer = {"payload": b"x", "payloads": {"answer": "AA=="}}
    broken.fail("sync_folder", lambda count: count == 0)
    answers = worker.send(asked(1, b"x"), asked(2), asked(3, **answer), asked(4, b"x"))
    assert [n for n in range(1, 5) if "error" in answers[n]] == [1, 4]
    worker.send(asked(5))
    assert [one[1:] for one in told(log)] == [
        ("answer", 0),
        ("audit.refused", "sealed.write-failed"),
        ("answer", 2),
        ("answer", 3),
        ("audit.refused", "sealed.write-failed"),
        ("answer", 5),
    ]


@pytest.mark.parametrize("step", ["close", "write"])
def test_a_disk_that_fails_at_any_step_costs_one_request_and_not_the_worker(log, worker, broken, step):
    worker.send(asked(0, b"x"))
    broken.fail(step, lambda count: count == 1)
    answers = worker.send(*(asked(n, b"x") for n in range(1, 5)))
    refused = [n for n in answers if "error" in answers[n]]
    assert len(refused) == 1
    assert answers[refused[0]]["error"]["type"] == "NotRecorded"
    assert "receipt" in worker.send(asked(5))[5]
    assert [one[0] for one in told(log)] == [*range(6)]


def test_what_has_no_payload_keeps_its_place_between_what_has(log, worker):
    worker.send(*(asked(n, b"x" if n % 2 else None) for n in range(20)))
    assert told(log) == [(n, "answer", n) for n in range(20)]


BAD = {
    "fields": {"more": 1},
    "owner": {"owner": {"tenant": "t"}},
    "base64": {"payloads": {"prompt": "%"}},
    "class": {"payloads": {"image": "AA=="}},
    "half a name": {"payloads": {"Prompt": "AA=="}},
    "no action": {"draft": {**Draft("answer.begun", APP).to_json()}},
    "parameters": {"draft": {**Draft("answer", APP, params={"kind": 1}).to_json()}},
    "parameters, without payload": {
        "draft": {**Draft("answer", APP, params={"kind": 1}).to_json()},
        "payloads": {},
        "owner": None,
    },
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_malformed_one_stands_where_it_came(log, worker, bad):
    answers = worker.send(asked(0, b"x"), asked(1), asked(2, b"x", **bad), asked(3, b"x"), asked(4))
    assert [n for n in answers if "error" in answers[n]] == [2]
    assert answers[2]["error"]["type"] == "UntrustedRequest"
    counts, actions = zip(*((count, action) for count, action, _ in told(log)), strict=True)
    assert counts == (0, 1, 2, 3, 4)
    assert actions == ("answer", "answer", "audit.refused", "answer", "answer")


def test_outcomes_of_nothing_stand_where_they_came(log, worker):
    done = Draft("answer.done", APP, params=recorded.sample("answer.done"), cause=7).to_json()
    answers = worker.send(asked(0), {"draft": done, "payloads": {}, "owner": None}, asked(2))
    assert answers[1]["error"]["type"] == "Conflict"
    worker.send(asked(3))
    assert [(count, action) for count, action, _ in told(log)] == [
        (0, "answer"),
        (1, "audit.refused"),
        (2, "answer"),
        (3, "answer"),
    ]


def test_what_is_not_a_workers_own_is_denied_after_what_came_before(log, worker):
    alien = {"draft": Draft("site.founded", APP).to_json(), "payloads": {}, "owner": None}
    answers = worker.send(asked(0, b"x"), asked(1), alien)
    assert answers[2]["error"]["type"] == "NotPermitted"
    assert frames.receive(worker.end) is None
    assert [event.action for event in log.events()] == ["answer", "answer", "worker.denied", "audit.refused"]


def test_a_payload_that_is_too_large_is_refused_alone(log, worker):
    large = frames.pack({"id": 0, **asked(0, b"x" * (MAX_PAYLOAD + 1))})
    worker.end.sendall(large + frames.pack({"id": 1, **asked(1, b"x" * MAX_PAYLOAD)}))
    found = {one["id"]: one for one in (frames.receive(worker.end), frames.receive(worker.end))}
    assert found[0]["error"]["key"] == "sealed.too-large"
    assert "receipt" in found[1]
    assert [one[:2] for one in told(log)] == [(0, "audit.refused"), (1, "answer")]


def test_half_a_character_in_an_owner_breaks_the_framing(log, worker):
    """Such a text is no JSON that a frame may hold: the worker is cut off, and what came before stands."""
    data = frames.pack({"id": 0, **asked(0, b"x")})
    body = frames.pack({"id": 1, **asked(1, b"x", owner={"tenant": "t", "subject": "????"})})[4:]
    body = body.replace(b"????", rb"\udc80")
    worker.end.sendall(data + len(body).to_bytes(4, "big") + body)
    assert "receipt" in frames.receive(worker.end)
    assert frames.receive(worker.end) is None
    assert told(log) == [(0, "answer", 0)]


def test_what_came_together_is_synced_together(worker, broken, monkeypatch):
    worker.send(asked(0, b"x"))
    together = threading.Barrier(SYNCERS)
    monkeypatch.setattr(broken, "sync", lambda _handle: together.wait(60), raising=False)
    answers = worker.send(*(asked(n, b"x") for n in range(1, 1 + SYNCERS)))
    assert all("receipt" in one for one in answers.values())


DONE = Draft("answer.done", APP, params=recorded.sample("answer.done"))
ENDS = {
    "write": (DONE, {"answer": "AA=="}),
    "sync_folder": (DONE, {"answer": "AA=="}),
    "class": (DONE, {"image": "AA=="}),
    "parameters": (Draft("answer.done", APP, params={"model": 1}), {"answer": "AA=="}),
}


@pytest.mark.parametrize("how", ENDS)
def test_an_outcome_that_is_not_recorded_is_known_to_be_lost(worker, broken, how):
    draft, payloads = ENDS[how]
    begun = worker.send(asked(0, b"x", payloads={"prompt": "AA==", "answer": "AA=="}), asked(1))
    causes = [begun[n]["receipt"]["seq"] for n in range(2)]
    assert worker.server.live == set(causes)
    broken.fail(how, lambda count: count == 0)
    ends = [
        {"draft": replace(draft, cause=causes[0]).to_json(), "payloads": payloads, "owner": ANN},
        {"draft": replace(DONE, cause=causes[1]).to_json(), "payloads": {}, "owner": None},
    ]
    answers = worker.send(*ends)
    assert ("error" in answers[2], "receipt" in answers[3]) == (True, True)
    assert (worker.server.take_lost(), worker.server.live) == ({causes[0]}, set())
    assert worker.server.take_lost() == set()


def test_where_there_is_no_space_nothing_is_sealed(tmp_path, log, worker, monkeypatch):
    def refuse(_action):
        raise NoSpace("audit.reserve", "The disk is full.", remedy="Free some of it.")

    monkeypatch.setattr(log, "require_space", refuse)
    answers = worker.send(asked(0, b"x"), asked(1))
    assert answers[0]["error"]["type"] == "NoSpace"
    assert "receipt" in answers[1]
    assert not [*tmp_path.rglob("sealed/*/*/*")]


def test_what_is_refused_by_its_second_payload_leaves_no_handle(worker):
    wrong = {"answer": "AA==", "image": "AA=="}
    answers = worker.send(asked(0, b"x", payloads=wrong), asked(1, b"x"))
    assert ("error" in answers[0], "receipt" in answers[1]) == (True, True)
    assert handles() == []


@pytest.mark.parametrize("step", ["write", "close", "sync_folder"])
def test_no_handle_stays_open(worker, broken, step):
    worker.send(asked(0, b"x"))
    for at in range(12):
        broken.fail(step, lambda count, at=at: count >= at)
        worker.send(*(asked(n, b"x", payloads={"prompt": "AA==", "answer": "AA=="}) for n in range(4)))
        assert handles() == []
    broken.fail("", lambda _: False)
    assert "receipt" in worker.send(asked(1, b"x"))[worker.count - 1]


def test_a_power_cut_leaves_no_event_without_its_payloads(tmp_path, log, connect, monkeypatch):
    """Whatever is on the record may be opened, however the power goes between what was written together and its events."""
    root = tmp_path / "home"
    (root / "keys").mkdir(parents=True)
    disk = Recorder()
    before = platter.snapshot(root, disk)
    push = type(log).push

    def noted(self, draft, *rest):
        if draft.params.get("commitments"):
            disk.note("pushed", draft.params["sealed_for"], draft.params["commitments"])
        return push(self, draft, *rest)

    monkeypatch.setattr(type(log), "push", noted)
    worker = connect(root, disk)
    both = {"prompt": base64.b64encode(b"p").decode(), "answer": base64.b64encode(b"a").decode()}
    worker.send(asked(0, b"p"), asked(1, b"p", payloads=both), asked(2))
    worker.send(asked(3, b"p", owner={"tenant": "tenant", "subject": "bob"}), asked(4, b"p", payloads=both))
    model, pushed, known = Platter(root, before), [], set()
    places = iter(range(10**6))
    for number, step in enumerate(disk.trace):
        model.apply(step, None)
        if step[0] == "note":
            pushed.append(step[2:])
        for image in model.images(number):
            state = platter.key(image), len(pushed)
            if state in known or not pushed:
                continue
            known.add(state)
            place = tmp_path / f"cut-{next(places)}"
            platter.lay_down(image, place)
            later = SealedStore(place / "keys" / "subjects", place / "sealed", lambda: NOW, QUICK)
            later.settle({}, {})
            for subject, commitments in pushed:
                for name, committed in commitments.items():
                    assert later.unseal(subject, name, committed) == name[:1].encode()
    assert len(pushed) == 4
    assert known


def test_an_erasure_that_looks_through_a_million_keys_holds_up_nobody(tmp_path, monkeypatch):
    store = SealedStore(tmp_path / "keys", tmp_path / "sealed", lambda: NOW, QUICK)
    ann, bob = (store.subject_id("tenant", name) for name in ("ann", "bob"))
    store.seal(ann, "prompt", b"x")
    looks, on, names = threading.Event(), threading.Event(), sealed._names

    def slow(folder):
        found = names(folder)
        looks.set()
        assert on.wait(60)
        return found

    monkeypatch.setattr(sealed, "_names", slow)
    results = []
    eraser = threading.Thread(target=lambda: results.append(store.erase(ann, 1)))
    eraser.start()
    assert looks.wait(60)
    committed = store.seal(bob, "prompt", b"y")
    again = store.seal(ann, "prompt", b"z")
    on.set()
    eraser.join()
    assert results == [(1, 1)]
    assert store.unseal(bob, "prompt", committed) == b"y"
    assert store.unseal(ann, "prompt", again) == b"z"
    assert [path.name for path in (tmp_path / "keys").glob(f"{ann}.*")] == [f"{ann}.1"]


def test_two_may_erase_one_subject_at_once(tmp_path, monkeypatch):
    store = SealedStore(tmp_path / "keys", tmp_path / "sealed", lambda: NOW, QUICK)
    ann = store.subject_id("tenant", "ann")
    store.seal(ann, "prompt", b"x")
    both, names, results = threading.Barrier(2), sealed._names, []

    def together(folder):
        found = names(folder)
        if folder == tmp_path / "keys":
            both.wait(60)
        return found

    monkeypatch.setattr(sealed, "_names", together)
    erasers = [threading.Thread(target=lambda: results.append(store.erase(ann, 1))) for _ in range(2)]
    for eraser in erasers:
        eraser.start()
    for eraser in erasers:
        eraser.join()
    assert sorted(keys for keys, _ in results) == [0, 1]
    assert not [*(tmp_path / "keys").glob(f"{ann}.*")]
