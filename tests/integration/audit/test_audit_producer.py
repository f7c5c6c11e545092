"""Producers in other processes: real socketpairs, real sealing, a real log."""

from __future__ import annotations

import base64
import json
import socket
import threading

import pytest

from holdfast import frames
from holdfast.audit import verify
from holdfast.audit.commitment import subject_id
from holdfast.audit.event import Actor, Draft
from holdfast.audit.producer import MAX_IN_FLIGHT, Owner, Producer, ProducerServer
from holdfast.audit.sealed import SealedStore
from holdfast.errors import Conflict, NotFound, NotPermitted, NotRecorded, UntrustedRequest

APP = Actor("key-1", None, "application")
OWNER = Owner("tenant", "ann")
CANARY = b"canary-91c7 what is the fee?"


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

    yield one
    for server in servers:
        server.stop()
    for end in ends:
        end.close()


def test_sixteen_producers_lose_nothing(tmp_path, open_log, connect, keys):
    log = open_log(tmp_path / "log")
    producers = [Producer(connect(log)) for _ in range(16)]
    receipts, lock = [], threading.Lock()

    def answer(producer):
        for _ in range(10):
            intent = producer.append(Draft("answer", APP))
            done = producer.append(Draft("answer.done", APP, cause=intent.seq))
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
    producer = Producer(connect(open_log(tmp_path / "log")))
    futures = [producer.submit(Draft("answer", APP, params={"n": n})) for n in range(3 * MAX_IN_FLIGHT)]
    assert [future.result().seq for future in futures] == list(range(3 * MAX_IN_FLIGHT))


def test_payloads_are_sealed_before_the_receipt_and_never_in_the_log(
    tmp_path, open_log, connect, store, keys
):
    log = open_log(tmp_path / "log")
    producer = Producer(connect(log))
    receipt = producer.append(Draft("answer", APP, params={"model": "m"}), {"prompt": CANARY}, OWNER)
    params = log.event(receipt.seq).params
    ann = subject_id("tenant", "ann")
    assert params["model"] == "m"
    assert params["sealed_for"] == ann
    assert store.unseal(ann, params["commitments"]["prompt"]) == CANARY
    log.close()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert CANARY not in path.read_bytes()
            assert base64.b64encode(CANARY)[:20] not in path.read_bytes()
    store.erase(ann)
    with pytest.raises(NotFound):
        store.unseal(ann, params["commitments"]["prompt"])
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
    producer = Producer(connect(log))
    with pytest.raises(NotPermitted):
        producer.append(draft)
    with pytest.raises(NotRecorded):
        producer.append(Draft("answer", APP))
    log.close()
    assert [each.action for each in open_log(tmp_path / "log").events()] == ["worker.denied"]


def test_bad_requests_are_answered_and_the_connection_lives(tmp_path, open_log, connect):
    end = connect(open_log(tmp_path / "log"))
    good = {"draft": Draft("answer", APP).to_json(), "payloads": {}, "owner": None}
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
    frames.send(end, {"id": 99, **good})
    assert frames.receive(end)["receipt"]["seq"] == 0


def test_refusals_come_back_as_the_error_they_are(tmp_path, open_log, connect):
    producer = Producer(connect(open_log(tmp_path / "log")))
    with pytest.raises(Conflict):
        producer.append(Draft("answer.done", APP, cause=0))
    with pytest.raises(UntrustedRequest):
        producer.append(Draft("answer.begun", APP))


def test_the_end_of_the_daemon_is_told_to_all_who_wait():
    ours, theirs = socket.socketpair()
    producer = Producer(theirs)
    future = producer.submit(Draft("answer", APP))
    assert json.loads(ours.recv(65_536)[4:])["draft"]["action"] == "answer"
    ours.close()
    with pytest.raises(NotRecorded):
        future.result()
    with pytest.raises(NotRecorded):
        producer.append(Draft("answer", APP))
    theirs.close()
