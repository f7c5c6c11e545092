"""The index worker as the daemon speaks to it: frames over a socketpair."""

from __future__ import annotations

import socket
import threading

import pytest

from holdfast import frames
from holdfast.audit import verify
from holdfast.workers import index as worker
from holdfast.workers.channel import Channel


class Daemon:
    """The daemon's end of a worker that runs in a thread."""

    def __init__(self, log, out):
        self.sock, theirs = socket.socketpair()
        self.results = []
        self.number = 0

        def body():
            channel = Channel(theirs)
            self.results.append(worker.main(channel, channel.order()))

        self.thread = threading.Thread(target=body)
        self.thread.start()
        self.theirs = theirs
        frames.send(self.sock, {"order": {"log": str(log), "out": str(out)}})

    def ask(self, op, **fields):
        self.number += 1
        frames.send(self.sock, {"id": self.number, "request": {"op": op, **fields}})
        answer = frames.receive(self.sock)
        assert answer["id"] == self.number
        return answer.get("reply") or answer["error"]

    def end(self):
        self.sock.close()
        self.thread.join()
        self.theirs.close()
        return self.results[-1]


@pytest.fixture
def daemon(tmp_path):
    (tmp_path / "out").mkdir()
    started = []

    def start():
        started.append(Daemon(tmp_path / "log", tmp_path / "out"))
        return started[-1]

    yield start
    for one in started:
        if one.thread.is_alive():
            one.end()


def test_a_query_sees_what_was_told_before_it(tmp_path, open_log, draft, daemon):
    log, end = open_log(tmp_path / "log"), daemon()
    for number in range(30):
        log.append(draft(number))
        if number % 10 == 9:
            assert end.ask("synced", size=log.size) == {"told": number + 1}
            assert end.ask("sql", sql="SELECT count(*) FROM events")["rows"] == [[number + 1]]
    page = end.ask("page", before=None, limit=2, filter={"person": "alice"})
    assert [event["seq"] for event in page["events"]] == [29, 28]
    assert end.ask("page", before=28, limit=1)["next"] == 27
    assert end.ask("status") == {"size": 30, "told": 30, "rebuilt": None, "fault": None}
    assert end.end() == {"size": 30}


def test_it_reads_only_what_it_was_told(tmp_path, open_log, draft, daemon):
    log, end = open_log(tmp_path / "log"), daemon()
    for number in range(10):
        log.append(draft(number))
    end.ask("synced", size=4)
    assert end.ask("sql", sql="SELECT max(seq) FROM events")["rows"] == [[3]]


def test_rebuild_says_what_it_did(tmp_path, open_log, draft, daemon):
    log, end = open_log(tmp_path / "log"), daemon()
    log.append(draft(0))
    end.ask("synced", size=1)
    assert end.ask("rebuild") == {"size": 1, "told": 1, "rebuilt": "a person asked for it", "fault": None}


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"op": "drop"}, "UsageRefused"),
        ({}, "UsageRefused"),
        ({"op": "synced", "size": -1}, "UsageRefused"),
        ({"op": "synced", "size": "9"}, "UsageRefused"),
        ({"op": "page", "limit": "x"}, "UsageRefused"),
        ({"op": "page", "filter": [1]}, "UsageRefused"),
        ({"op": "page", "before": True}, "UsageRefused"),
        ({"op": "sql", "sql": "DROP TABLE events"}, "UntrustedRequest"),
        ({"op": "sql"}, "UntrustedRequest"),
    ],
)
def test_bad_requests_are_answered_and_the_worker_lives(tmp_path, open_log, daemon, request_, kind):
    open_log(tmp_path / "log")
    end = daemon()
    frames.send(end.sock, {"id": 0, "request": request_})
    answer = frames.receive(end.sock)
    assert (answer["id"], answer["error"]["type"]) == (0, kind)
    assert end.ask("status")["size"] == 0


def test_a_damaged_log_is_said_to_those_who_ask(tmp_path, open_log, draft, daemon):
    log, end = open_log(tmp_path / "log"), daemon()
    for number in range(3):
        log.append(draft(number))
    path = verify.segments(tmp_path / "log")[0]
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":7'))
    end.ask("synced", size=3)
    error = end.ask("sql", sql="SELECT 1")
    assert (error["type"], error["fields"]) == ("VerificationFailed", {"seq": 1})
    assert "Event 1" in end.ask("status")["fault"]
