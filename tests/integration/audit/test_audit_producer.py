"""Producers in other processes: real socketpairs, real sealing, a real log."""

from __future__ import annotations

import base64
import errno
import json
import socket
import threading
from contextlib import suppress

import pytest
from scripts.threadproducer import ThreadProducer
from tests import recorded

from holdfast import frames
from holdfast.audit import channel, segment, verify
from holdfast.audit.channel import ProducerServer
from holdfast.audit.event import Actor, Draft
from holdfast.audit.producer import MAX_IN_FLIGHT, Owner
from holdfast.audit.sealed import SealedStore
from holdfast.audit.space import Thresholds
from holdfast.errors import Conflict, NoSpace, NotFound, NotPermitted, NotRecorded, UntrustedRequest

APP = Actor("key-1", None, "application")
OWNER = Owner("tenant", "ann")
CANARY = b"canary-91c7 what is the fee?"


class FullDisk(segment.HostDisk):
    """Has as many bytes free as the test says."""

    def __init__(self, free):
        self.left = free

    def free(self, folder):
        super().free(folder)
        return self.left


def asked(**given):
    return Draft("answer", APP, params=recorded.sample("answer", **given))


def answered(cause):
    return Draft("answer.done", APP, params=recorded.sample("answer.done"), cause=cause)


@pytest.fixture
def store(tmp_path):
    return SealedStore(tmp_path / "keys", tmp_path / "sealed")


@pytest.fixture
def connect(store):
    servers, ends = [], []

    def one(log):
        ours, theirs = socket.socketpair()
        server = ProducerServer(ours, log, "serve", store)
        server.start()
        servers.append(server)
        ends.append(theirs)
        return theirs

    one.servers = servers
    yield one
    for server in servers:
        server.stop()
    for end in ends:
        end.close()


def test_sixteen_producers_lose_nothing(tmp_path, open_log, connect, keys):
    log = open_log(tmp_path / "log")
    producers = [ThreadProducer(connect(log)) for _ in range(16)]
    receipts, lock = [], threading.Lock()

    def answer(producer):
        for _ in range(10):
            intent = producer.append(asked())
            done = producer.append(answered(intent.seq))
            assert intent.seq < done.seq
            with lock:
                receipts.extend((intent.seq, done.seq))

    threads = [threading.Thread(target=answer, args=(producer,)) for producer in producers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receipts) == list(range(320))
    assert log.unfinished() == []
    log.close()
    assert verify.verify_log(tmp_path / "log", keys).ok


def test_many_in_flight_from_one_producer(tmp_path, open_log, connect):
    producer = ThreadProducer(connect(open_log(tmp_path / "log")))
    futures = [producer.submit(asked(prompt_tokens=n)) for n in range(3 * MAX_IN_FLIGHT)]
    assert [future.result().seq for future in futures] == list(range(3 * MAX_IN_FLIGHT))


def test_payloads_are_sealed_before_the_receipt_and_never_in_the_log(
    tmp_path, open_log, connect, store, keys
):
    log = open_log(tmp_path / "log")
    producer = ThreadProducer(connect(log))
    receipt = producer.append(asked(model="m"), {"prompt": CANARY}, OWNER)
    params = log.event(receipt.seq).params
    ann = store.subject_id("tenant", "ann")
    assert params["model"] == "m"
    assert params["sealed_for"] == ann
    assert store.unseal(ann, "prompt", params["commitments"]["prompt"]) == CANARY
    log.close()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert CANARY not in path.read_bytes()
            assert base64.b64encode(CANARY)[:20] not in path.read_bytes()
    store.erase(ann, 1)
    with pytest.raises(NotFound):
        store.unseal(ann, "prompt", params["commitments"]["prompt"])
    assert verify.verify_log(tmp_path / "log", keys).ok


@pytest.mark.parametrize(
    "draft",
    [
        Draft("bundle.admit", APP),
        Draft("site.founded", APP),
        Draft("answer", Actor("alice", 1000, "administrator", "s")),
    ],
)
def test_a_worker_that_writes_what_is_not_its_own_is_recorded_and_cut_off(tmp_path, open_log, connect, draft):
    log = open_log(tmp_path / "log")
    producer = ThreadProducer(connect(log))
    with pytest.raises(NotPermitted):
        producer.append(draft)
    with pytest.raises(NotRecorded):
        producer.append(asked())
    log.close()
    denied, refused = open_log(tmp_path / "log").events()
    assert (denied.action, refused.action) == ("worker.denied", "audit.refused")
    assert refused.params == {"action": draft.action, "reason": "audit.producer"}
    assert (denied.source.name, refused.source.name, refused.source.count) == ("daemon", "serve", 0)


def test_bad_requests_are_answered_and_the_connection_lives(tmp_path, open_log, connect):
    log = open_log(tmp_path / "log")
    end = connect(log)
    good = {"draft": asked().to_json(), "payloads": {}, "owner": None}
    owner = {"tenant": "t", "subject": "s"}
    bad = [
        {},
        {**good, "more": 1},
        {**good, "draft": {"action": "answer"}},
        {**good, "payloads": {"prompt": "AA=="}},
        {**good, "payloads": {"prompt": "%%%"}, "owner": owner},
        {**good, "payloads": {"../x": "AA=="}, "owner": owner},
        {**good, "payloads": {f"p{'x' * n}": "" for n in range(5)}, "owner": owner},
        {**good, "payloads": {"prompt": "AA=="}, "owner": {"tenant": "t" * 300, "subject": "s"}},
    ]
    for number, body in enumerate(bad):
        frames.send(end, {"id": number, **body})
        answer = frames.receive(end)
        assert (answer["id"], answer["error"]["type"]) == (number, "UntrustedRequest"), body
    frames.send(end, {"id": len(bad), **good})
    assert frames.receive(end)["receipt"]["seq"] == len(bad)
    # What was refused stands in the log as refused, and the worker's events are counted without a gap.
    assert [event.source.count for event in log.events()] == [*range(len(bad) + 1)]
    assert [event.action for event in log.events()] == [*["audit.refused"] * len(bad), "answer"]


@pytest.mark.parametrize("number", [1, 7, -1, "0", None, False])
def test_a_worker_that_skips_a_number_is_cut_off(tmp_path, open_log, connect, number):
    log = open_log(tmp_path / "log")
    end = connect(log)
    good = {"draft": asked().to_json(), "payloads": {}, "owner": None}
    frames.send(end, {"id": number, **good})
    assert frames.receive(end)["error"]["key"] == "audit.count"
    assert frames.receive(end) is None
    log.close()
    assert [event.params["reason"] for event in log.events()] == ["audit.count"]


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x01{"])
def test_a_worker_that_breaks_the_framing_is_cut_off(tmp_path, open_log, connect, data):
    end = connect(open_log(tmp_path / "log"))
    end.sendall(data)
    assert frames.receive(end) is None


def test_a_worker_cannot_fill_the_log_with_its_faults(tmp_path, open_log, connect, monkeypatch):
    monkeypatch.setattr(channel, "MAX_FAULTS", 20)
    log = open_log(tmp_path / "log")
    end = connect(log)
    for number in range(20):
        frames.send(end, {"id": number})
        assert frames.receive(end)["error"]["type"] == "UntrustedRequest"
    with suppress(OSError):  # it may be gone already
        frames.send(end, {"id": 20})
    assert frames.receive(end) is None
    assert log.size == 20


def test_a_request_that_is_too_large_is_not_even_read(tmp_path, open_log, connect):
    end = connect(open_log(tmp_path / "log"))
    end.sendall((channel.MAX_REQUEST + 1).to_bytes(4, "big"))
    assert frames.receive(end) is None


def test_requests_arrive_in_any_pieces(tmp_path, open_log, connect):
    end = connect(open_log(tmp_path / "log"))
    good = {"draft": asked().to_json(), "payloads": {}, "owner": None}
    data = b"".join(frames.pack({"id": number, **good}) for number in range(3))
    for at in range(0, len(data), 7):
        end.sendall(data[at : at + 7])
    assert [frames.receive(end)["receipt"]["seq"] for _ in range(3)] == [0, 1, 2]


def test_requests_keep_their_order_around_sealed_payloads(tmp_path, open_log, connect):
    log = open_log(tmp_path / "log")
    producer = ThreadProducer(connect(log))
    futures = [
        producer.submit(asked(prompt_tokens=n), *(({"prompt": CANARY}, OWNER) if n % 3 == 0 else ()))
        for n in range(40)
    ]
    assert [future.result().seq for future in futures] == list(range(40))
    assert [event.params["prompt_tokens"] for event in log.events()] == list(range(40))


def test_threads_and_callbacks_share_one_producer(tmp_path, open_log, connect):
    """Some wait by reading, some by a callback, some in followers' threads: each gets its own answer once."""
    producer = ThreadProducer(connect(open_log(tmp_path / "log")))
    found, lock, told = [], threading.Lock(), threading.Event()

    def note(future):
        with lock:
            found.append(future.result().seq)
            if len(found) == 90:
                told.set()

    def work(how):
        for _ in range(30):
            future = producer.submit(asked())
            if how == "callback":
                future.add_done_callback(note)
            elif how == "timeout":
                future.result(timeout=60)
                note(future)
            else:
                future.result()
                note(future)

    threads = [threading.Thread(target=work, args=(how,)) for how in ("read", "timeout", "callback")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.wait(60)
    assert sorted(found) == list(range(90))


def test_a_slow_reader_holds_up_nobody_else(tmp_path, open_log, connect):
    """A worker that hands in and never reads its answers is not read from beyond its bound; others go on."""
    log = open_log(tmp_path / "log")
    deaf, quick = connect(log), ThreadProducer(connect(log))
    good = {"draft": asked().to_json(), "payloads": {}, "owner": None}
    deaf.settimeout(0.2)
    sent, most = 0, 10_000 * MAX_IN_FLIGHT  # more than any system's buffers of sockets hold
    with suppress(TimeoutError):
        while sent < most:
            deaf.sendall(frames.pack({"id": sent, **good}))
            sent += 1
    assert sent < most
    before = log.size
    assert quick.append(asked()).seq >= before
    deaf.settimeout(None)
    assert [frames.receive(deaf)["id"] for _ in range(sent)] == list(range(sent))


def test_a_worker_that_dies_in_mid_flight_leaves_whole_events_and_others_alone(tmp_path, open_log, connect):
    log = open_log(tmp_path / "log")
    ends = [connect(log) for _ in range(16)]
    producers = [ThreadProducer(end) for end in ends[8:]]
    good = {"draft": asked().to_json(), "payloads": {}, "owner": None}
    for end in ends[:8]:
        for number in range(20):
            end.sendall(frames.pack({"id": number, **good}))
        end.sendall(frames.pack({"id": 20, **good})[:100])
        end.shutdown(socket.SHUT_RDWR)
    receipts = [producer.append(asked()).seq for producer in producers for _ in range(5)]
    for server in connect.servers:
        server.stop()
    assert len(set(receipts)) == 40
    counts = {}
    for event in log.events():
        assert event.source.count == counts.get(event.source.run, 0)
        counts[event.source.run] = event.source.count + 1
    assert [*counts.values()].count(5) >= 8
    assert all(count <= 20 for count in counts.values())


def test_what_the_log_did_not_take_is_told_before_anything_later(tmp_path, open_log, connect):
    """The disk is at its reserve for a while: what is refused meanwhile stands in the log before what follows."""
    disk = FullDisk(10_000)
    log = open_log(tmp_path / "log", disk=disk, space=Thresholds(low=3_000, reserve=2_000))
    producer = ThreadProducer(connect(log))
    intent = producer.append(asked())
    lost = producer.append(asked())
    disk.left = 1_000
    for payloads in ((), ({"prompt": CANARY}, OWNER)):
        with pytest.raises(NoSpace):
            producer.append(asked(), *payloads)
    producer.append(answered(intent.seq))
    with pytest.raises(NoSpace):
        producer.append(asked())
    disk.left = 10_000
    log._fail(OSError(errno.ENOSPC, "full"))
    with pytest.raises(NotRecorded):
        producer.append(answered(lost.seq))
    server = connect.servers[-1]
    assert (server.take_lost(), server.live) == ({lost.seq}, set())
    disk.left = 2**30
    assert log.recover()
    after = producer.append(asked())
    assert server.live == {after.seq}
    told = [
        (event.source.count, event.action, event.params.get("reason"))
        for event in log.events()
        if event.source.name == "serve"
    ]
    assert told == [
        (0, "answer", None),
        (1, "answer", None),
        (2, "audit.refused", "audit.reserve"),
        (3, "audit.refused", "audit.reserve"),
        (4, "answer.done", None),
        (5, "audit.refused", "audit.reserve"),
        (6, "audit.refused", "audit.write-failed"),
        (7, "answer", None),
    ]


def test_refusals_come_back_as_the_error_they_are(tmp_path, open_log, connect):
    producer = ThreadProducer(connect(open_log(tmp_path / "log")))
    with pytest.raises(Conflict):
        producer.append(answered(0))
    with pytest.raises(UntrustedRequest):
        producer.append(Draft("answer.begun", APP))


def test_the_end_of_the_daemon_is_told_to_all_who_wait():
    ours, theirs = socket.socketpair()
    producer = ThreadProducer(theirs)
    future = producer.submit(asked())
    assert json.loads(ours.recv(65_536)[4:])["draft"]["action"] == "answer"
    ours.close()
    with pytest.raises(NotRecorded):
        future.result()
    with pytest.raises(NotRecorded):
        producer.append(asked())
    theirs.close()
