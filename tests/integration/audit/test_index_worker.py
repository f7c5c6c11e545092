"""The index worker as the daemon speaks to it: frames over a socketpair."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from tests.integration.audit.logbook import Book

from holdfast import frames
from holdfast.audit import verify
from holdfast.audit.event import Actor
from holdfast.index import results
from holdfast.index.database import DATABASE
from holdfast.workers import index as worker
from holdfast.workers.channel import Channel

ALICE = Actor("alice", 1000, "operator", "s")

pytestmark = pytest.mark.usefixtures("book")


class Daemon:
    """The daemon's end of a worker that runs in a thread."""

    def __init__(self, log, out):
        self.sock, theirs = socket.socketpair()
        self.results, self.unasked = [], []
        self.number = 0

        def body():
            channel = Channel(theirs)
            self.results.append(worker.main(channel, channel.order()))

        self.thread = threading.Thread(target=body)
        self.thread.start()
        self.theirs = theirs
        frames.send(self.sock, {"order": {"log": str(log), "out": str(out)}})

    def send(self, op, **fields):
        self.number += 1
        frames.send(self.sock, {"id": self.number, "request": {"op": op, **fields}})
        return self.number

    def receive(self, number):
        while True:
            answer = frames.receive(self.sock)
            if answer.get("id") == number and "progress" not in answer:
                return answer.get("reply") or answer["error"]
            self.unasked.append(answer)

    def ask(self, op, **fields):
        return self.receive(self.send(op, **fields))

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


@pytest.fixture
def book(tmp_path):
    book = Book()
    for number in range(30):
        book.add("access.denied", {"reason": f"r{number}", "route": "/v1", "uid": number}, who=ALICE)
    book.save(tmp_path / "log")
    return book


def test_a_query_sees_what_was_told_before_it(daemon):
    end = daemon()
    for size in (10, 20, 30):
        assert end.ask("synced", size=size) == {"told": size}
        assert end.ask("sql", sql="SELECT count(*) FROM events")["rows"] == [[size]]
    page = end.ask("page", before=None, limit=2, filter={"person": "alice"})
    assert [event["seq"] for event in page["events"]] == [29, 28]
    assert "r29" in page["events"][0]["sentence"]
    assert end.ask("page", before=28, limit=1)["next"] == 27
    state = end.ask("status")
    assert (state["first"], state["size"], state["told"], state["fault"]) == (0, 30, 30, None)
    assert end.end() == {"size": 30}


def test_it_reads_only_what_it_was_told(daemon):
    end = daemon()
    end.ask("synced", size=4)
    assert end.ask("sql", sql="SELECT max(seq) FROM events")["rows"] == [[3]]


def test_an_index_that_is_behind_does_not_answer(daemon, monkeypatch):
    monkeypatch.setattr(worker, "CATCH_UP", 0.05)
    monkeypatch.setattr(worker.Index, "ingest", lambda _index, _size: None)
    end = daemon()
    end.ask("synced", size=30)
    assert end.ask("sql", sql="SELECT 1")["key"] == "index.behind"


def test_rebuild_and_compare_say_what_they_found(tmp_path, daemon):
    end = daemon()
    end.ask("synced", size=30)
    done = end.ask("rebuild")
    assert (done["size"], done["events"], done["differed"], done["reason"]) == (
        30,
        30,
        None,
        "a person asked for it",
    )
    assert done["seconds"] > 0
    found = end.ask("compare")
    assert (found["differed"], found["size"]) == (None, 30)
    assert end.unasked == []
    end.end()
    with duckdb.connect(str(tmp_path / "out" / DATABASE)) as connection:
        connection.execute("DELETE FROM events WHERE seq = 3; UPDATE head SET size = 29")
    end = daemon()
    end.ask("synced", size=30)
    assert end.ask("sql", sql="SELECT count(*) FROM events")["rows"] == [[30]]
    assert [one["rebuilt"]["events"] for one in end.unasked] == [30]
    assert "one row for each event" in end.unasked[0]["rebuilt"]["reason"]


def test_a_database_that_is_damaged_under_the_worker_is_built_again_before_it_answers(tmp_path, daemon):
    end = daemon()
    end.ask("synced", size=30)
    end.ask("rebuild")
    end.end()
    path = tmp_path / "out" / DATABASE
    assert not path.with_name(DATABASE + ".wal").exists()
    end = daemon()
    end.ask("status")  # the file is open, and nothing of it was read yet
    data = bytearray(path.read_bytes())
    for at in range(12_288 + 64, len(data), 4_096):
        data[at] ^= 255
    with path.open("r+b") as file:
        file.write(data)
        os.fsync(file.fileno())
    end.ask("synced", size=30)
    assert end.ask("sql", sql="SELECT count(*), count(DISTINCT params) FROM events")["rows"] == [[30, 30]]
    assert end.ask("compare")["differed"] is None


def stated(reply, folder):
    for name, one in reply["files"].items():
        data = (folder / name).read_bytes()
        assert one == {"digest": "sha512:" + hashlib.sha512(data).hexdigest(), "bytes": len(data)}


def test_results_are_the_same_rows_in_every_form(tmp_path, daemon):
    end = daemon()
    end.ask("synced", size=30)
    text = (
        "-- $from integer: From.\n"
        "SELECT seq, time, uid, zones, [seq, 1] AS l, {'a': seq} AS s, params, NULL AS none, 'a\"b,\nc' AS q, seq AS seq, "
        "1.5::DECIMAL(4,2) AS d, INTERVAL 1 DAY AS i, 'x'::BLOB AS b FROM events WHERE seq >= $from ORDER BY seq DESC"
    )
    reply = end.ask("write", folder="abc", sql=text, given={"from": "5"}, formats=["csv", "jsonl", "parquet"])
    folder = tmp_path / "out" / "abc"
    assert (reply["rows"], reply["truncated"], reply["size"], len(reply["columns"])) == (25, False, 30, 13)
    assert reply["root"] == verify.verify_log(tmp_path / "log", []).root
    stated(reply, folder)
    lines = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    table = pq.read_table(folder / "rows.parquet").to_pylist()
    assert [one["seq"] for one in lines] == [one["seq"] for one in table] == list(range(29, 4, -1))
    assert lines[0] | {"params": None} == {
        "seq": 29,
        "time": "2026-01-01T00:00:30",
        "uid": 1000,
        "zones": None,
        "l": [29, 1],
        "s": {"a": 29},
        "params": None,
        "none": None,
        "q": 'a"b,\nc',
        "seq_2": 29,
        "d": "1.50",
        "i": 86400.0,
        "b": "78",
    }
    assert (table[0]["uid"], table[0]["s"], table[0]["time"].isoformat()) == (
        1000,
        '{"a":29}',
        "2026-01-01T00:00:30",
    )
    csv = (folder / "rows.csv").read_bytes()
    assert csv.startswith(b"seq,time,uid,zones,l,s,params,none,q,seq,d,i,b\r\n29,2026-01-01T00:00:30,1000,,")
    assert b'"a""b,\nc"' in csv
    again = end.ask(
        "write", folder="again", sql=text, given={"from": "5"}, formats=["csv", "jsonl", "parquet"]
    )
    assert again["files"] == reply["files"]
    assert [one["progress"] for one in end.unasked] == [{"rows": 25}] * 2


def test_what_a_spreadsheet_would_compute_is_marked(tmp_path, daemon):
    end = daemon()
    end.ask("synced", size=30)
    end.ask(
        "write",
        folder="a",
        sql="SELECT '=1+1' AS a, -5 AS b, '@x' AS c, 'x=1' AS d",
        formats=["csv", "jsonl"],
    )
    assert (tmp_path / "out" / "a" / "rows.csv").read_text() == "a,b,c,d\n'=1+1,-5,'@x,x=1\n"
    assert json.loads((tmp_path / "out" / "a" / "rows.jsonl").read_text())["a"] == "=1+1"


def test_results_are_bounded_and_stream_in_pieces(tmp_path, daemon, monkeypatch):
    monkeypatch.setattr(results, "PIECE", 100)
    monkeypatch.setattr(results, "MAX_ROWS", 1_000)
    end = daemon()
    end.ask("synced", size=30)
    reply = end.ask("write", folder="a", sql="FROM range(1000000000)", formats=["jsonl"], limit=10**9)
    assert (reply["rows"], reply["truncated"]) == (1_000, True)
    assert [one["progress"]["rows"] for one in end.unasked] == list(range(100, 1_001, 100))
    assert len((tmp_path / "out" / "a" / "rows.jsonl").read_text().splitlines()) == 1_000
    assert end.ask("write", folder="b", sql="FROM range(1000)", formats=["csv"])["truncated"] is False
    monkeypatch.setattr(results, "MAX_BYTES", 500)
    assert end.ask("write", folder="c", sql="FROM range(1000)", formats=["csv"])["truncated"] is True
    monkeypatch.setattr(results, "RESERVE", 2**62)
    assert end.ask("write", folder="d", sql="FROM range(10)", formats=["csv"])["key"] == "index.space"


@pytest.mark.parametrize("window", [3, 8, 20_000])
def test_a_filter_over_a_range_is_written_as_parquet(tmp_path, daemon, monkeypatch, window):
    monkeypatch.setattr(results, "WINDOW", window)
    end = daemon()
    end.ask("synced", size=30)
    wanted = {
        "action": "access.denied",
        "person": "alice",
        "since": "2026-01-01T00:00:11Z",
        "until": "2026-01-01T00:00:21Z",
    }
    reply = end.ask("write", folder="f", filter=wanted, start=12, stop=40, formats=["parquet"])
    assert reply["rows"] == 8
    table = pq.read_table(tmp_path / "out" / "f" / "rows.parquet")
    assert table.column("seq").to_pylist() == list(range(12, 20))
    assert (
        end.ask("write", folder="g", filter={"1=1; --": 1}, start=0, stop=1, formats=["csv"])["type"]
        == "UsageRefused"
    )


def test_queries_go_on_while_a_result_is_written(daemon):
    end = daemon()
    end.ask("synced", size=30)
    long = end.send(
        "write",
        folder="a",
        sql="SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a.range, b.range) = 3",
        formats=["csv"],
    )
    assert end.ask("sql", sql="SELECT count(*) FROM events")["rows"] == [[30]]
    assert long not in [one.get("id") for one in end.unasked]
    assert end.end() == {"size": 30}  # the long one is interrupted, and holds nobody up


def test_it_yields_the_processor(daemon):
    end = daemon()
    end.ask("status")
    niceness = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # a thread of something else, which has ended since it was listed
            niceness.append(os.getpriority(os.PRIO_PROCESS, int(task.name)))
    mine = os.getpriority(os.PRIO_PROCESS, 0)  # niceness is the thread's own here; the worker is a process
    assert min(mine + worker.NICENESS, 19) in niceness


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
        ({"op": "sql", "sql": "SELECT 1", "given": [1]}, "UsageRefused"),
        ({"op": "sql", "sql": "SELECT 1", "given": {"a": 1}}, "UsageRefused"),
        ({"op": "sql", "saved": "nothing"}, "NotFound"),
        ({"op": "check", "sql": "SELECT * FROM read_text('/etc/passwd')"}, "UntrustedRequest"),
        ({"op": "write", "folder": "../x", "sql": "SELECT 1", "formats": ["csv"]}, "UsageRefused"),
        ({"op": "write", "folder": "x", "sql": "SELECT 1", "formats": ["exe"]}, "UsageRefused"),
        ({"op": "write", "folder": "x", "sql": "SELECT 1"}, "UsageRefused"),
        ({"op": "write", "folder": "x", "filter": {}, "formats": ["csv"]}, "UsageRefused"),
    ],
)
def test_bad_requests_are_answered_and_the_worker_lives(daemon, request_, kind):
    end = daemon()
    frames.send(end.sock, {"id": 0, "request": request_})
    answer = frames.receive(end.sock)
    assert (answer["id"], answer["error"]["type"]) == (0, kind)
    assert end.ask("status")["told"] == 0


def test_a_damaged_log_is_said_to_those_who_ask(tmp_path, daemon):
    end = daemon()
    path = verify.segments(tmp_path / "log")[0]
    path.write_bytes(path.read_bytes().replace(b'"uid":1}', b'"uid":7}'))
    end.ask("synced", size=3)
    error = end.ask("sql", sql="SELECT 1")
    assert (error["type"], error["fields"]) == ("VerificationFailed", {"seq": 1})
    assert "Event 1" in end.ask("status")["fault"]
