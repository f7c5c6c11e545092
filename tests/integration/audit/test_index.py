"""The index equals the log, or is built again and says why."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys

import duckdb
import pytest
from tests.integration.audit.logbook import Book, subject

from holdfast.audit import verify
from holdfast.audit.event import Actor
from holdfast.errors import VerificationFailed, WorkerFailed
from holdfast.governance.labels import Label
from holdfast.index import database, ingest
from holdfast.index.database import DATABASE
from holdfast.index.ingest import Index

ALICE = Actor("alice", 1000, "operator", "s")
EVE = Actor("eve", 1002, "auditor", "t")
LABEL = Label("restricted", frozenset({"tax"}), frozenset({"site", "backup"}))

pytestmark = pytest.mark.usefixtures("book")


@pytest.fixture
def book(tmp_path):
    book = Book()
    book.act("train.run", {"steps": 5}, {"loss": 0.5}, who=ALICE, subject=subject("recipe", "1"), label=LABEL)
    book.add(
        "access.denied",
        {"reason": 'ü",\\"params":{}', "route": "/v1"},
        who=Actor("mallory", 1001, "operator"),
    )
    book.add("eval.run", {}, who=ALICE)
    for number in range(32):
        book.add(
            "audit.read", {"what": "sql", "request": {"number": number, "seq": 1e21, "small": 1e-7}}, who=EVE
        )
    book.save(tmp_path / "log")
    return book


@pytest.fixture
def open_index(tmp_path):
    (tmp_path / "index").mkdir()
    opened = []

    def one():
        while opened:
            opened.pop().close()
        opened.append(Index(tmp_path / "log", tmp_path / "index"))
        return opened[-1]

    yield one
    for index in opened:
        index.close()


def rows(index, text):
    return index.connection.cursor().execute(text).fetchall()


def filled(open_index, size):
    index = open_index()
    index.ingest(size)
    return index


def contents(index):
    """Everything that the index says: all rows of all tables and views, and how they are made."""
    names = [
        name
        for (name,) in rows(
            index,
            "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views() WHERE NOT internal",
        )
    ]
    told = {name: sorted(map(repr, rows(index, f"FROM {name}"))) for name in names}
    return told, database._catalogue(index.connection)


KNOWN = {}


def fresh(tmp_path, size):
    """What an index says that was built from nothing; the same log is asked once."""
    log = verify.verify_log(tmp_path / "log", [])
    known = (
        log.origin,
        log.root,
        size,
        (tmp_path / "log" / "archived").exists() and verify.begin(tmp_path / "log").size,
    )
    if known not in KNOWN:
        folder = tmp_path / "fresh"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        index = Index(tmp_path / "log", folder)
        try:
            index.ingest(size)
            KNOWN[known] = contents(index)
        finally:
            index.close()
    return KNOWN[known]


def test_every_event_is_a_typed_row(tmp_path, open_index, book):
    index = filled(open_index, 36)
    assert index.built.reason == ingest.NONE
    stored = rows(
        index,
        "SELECT seq, action, person, cause, leaf, params, strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ'), source_name, source_run, "
        "source_count FROM events ORDER BY seq",
    )
    assert len(stored) == len(book.bodies) == 36
    for row, body in zip(stored, book.bodies, strict=True):
        event = json.loads(body)
        assert row[:4] == (event["seq"], event["action"], event["actor"]["person"], event["cause"])
        assert row[4] == "sha256:" + verify.leaf_hash(body).hex()
        assert f',"params":{row[5]},"seq":'.encode() in body  # the very bytes
        assert row[6] == event["time"]
        assert dict(zip(("name", "run", "count"), row[7:], strict=True)) == event["source"]
    assert rows(
        index,
        "SELECT act, phase, level, compartments, zones, uid FROM events WHERE seq IN (0, 2) ORDER BY seq",
    ) == [
        ("train.run", "intent", "restricted", ["tax"], ["backup", "site"], 1000),
        (None, "fact", None, None, None, 1001),
    ]
    root = verify.verify_log(tmp_path / "log", []).root
    assert rows(index, "SELECT * FROM head") == [(book.origin, 0, 36, root)]


def test_every_table_view_and_column_is_documented(open_index):
    index = open_index()
    assert rows(index, "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL") == []
    assert rows(index, "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL") == []
    assert (
        rows(
            index,
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL",
        )
        == []
    )
    assert len(rows(index, "SELECT 1 FROM duckdb_columns() WHERE NOT internal")) > 200


def test_it_reads_no_further_than_it_was_told_and_goes_on_later(tmp_path, open_index):
    index = open_index()
    for size in (0, 3, 3, 20):
        index.ingest(size)
        assert rows(index, "SELECT count(*) FROM events") == [(size,)]
    again = open_index()
    again.ingest(25)
    assert (again.size, again.built) == (25, None)
    again.ingest(36)
    assert contents(again) == fresh(tmp_path, 36)


def flip(path, seed):
    data = bytearray(path.read_bytes())
    at = random.Random(seed).randrange(len(data))  # noqa: S311 - which bit is flipped is no secret
    data[at] ^= 1 << (seed % 8)
    path.write_bytes(data)


def damage(path, how):
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "emptied":
        os.truncate(path, 0)
    elif how == "overwritten":
        path.write_bytes(b"not a database" * 1_000)
    else:
        with duckdb.connect(str(path)) as connection:
            connection.execute(how)


CELLS = (
    "UPDATE events SET person = 'nobody' WHERE seq = 2",
    "UPDATE events SET zones = ['elsewhere'] WHERE seq = 0",
    "UPDATE events SET params = '{\"loss\":0.4}' WHERE seq = 1",
    "UPDATE events SET source_count = 7 WHERE seq = 3",
    "UPDATE events SET uid = NULL WHERE seq = 0",
    "DELETE FROM events WHERE seq = 2",
    "DELETE FROM events WHERE seq = 35",
    "DELETE FROM events WHERE seq = 35; UPDATE head SET size = 35",
    "INSERT INTO events SELECT * REPLACE (36 AS seq) FROM events WHERE seq = 35",
    "INSERT INTO events SELECT * FROM events WHERE seq = 35; DELETE FROM events WHERE seq = 3",
    "UPDATE head SET root = 'ff'",
    "UPDATE head SET size = 7",
    "UPDATE head SET first = 1",
    "DELETE FROM events WHERE seq < 3; UPDATE head SET first = 3",
    "UPDATE head SET origin = 'another'",
    "INSERT INTO head SELECT * FROM head",
    "DELETE FROM head",
    "UPDATE event_types SET meaning = 'Nothing.' WHERE action = 'access.denied'",
    "DELETE FROM event_types WHERE action = 'access.denied'",
)
LAYOUTS = (
    "DROP VIEW acts",
    "DROP TABLE events CASCADE",
    "CREATE OR REPLACE VIEW denials AS SELECT * FROM denials_all WHERE person != 'mallory'",
    "DROP VIEW denials; CREATE VIEW denials AS SELECT * REPLACE ('alice' AS person) FROM events WHERE action = 'access.denied'",
    "CREATE TABLE hidden AS SELECT * FROM events; DROP TABLE events; CREATE VIEW events AS SELECT * FROM hidden WHERE seq != 2",
    "CREATE MACRO lower(x) AS 'alice'",
    "CREATE MACRO count_if(x) AS TABLE SELECT 0",
    "CREATE VIEW more AS SELECT 1",
    "CREATE TYPE mood AS ENUM ('a')",
    "CREATE SCHEMA other",
    "CREATE SEQUENCE other",
    "CREATE INDEX other ON events (seq)",
    "ALTER TABLE events ADD COLUMN more INTEGER",
    "COMMENT ON COLUMN events.person IS 'Who did not do it.'",
    "COMMENT ON VIEW denials IS NULL",
)


@pytest.mark.parametrize("how", ["truncated", "emptied", "overwritten", *CELLS, *LAYOUTS])
def test_a_database_that_was_touched_is_built_again_and_the_reason_told(tmp_path, open_index, how):
    filled(open_index, 36).close()
    path = tmp_path / "index" / DATABASE
    if "denials_all" in how:
        damage(path, "ALTER VIEW denials RENAME TO denials_all")
    damage(path, how)
    index = filled(open_index, 36)
    assert index.built is not None
    assert (index.built.events, index.built.reason != ingest.NONE) == (36, True)
    assert contents(index) == fresh(tmp_path, 36)
    again = filled(open_index, 36)
    assert again.built is None


def test_a_database_that_is_gone_is_made(tmp_path, open_index):
    filled(open_index, 36).close()
    damage(tmp_path / "index" / DATABASE, "deleted")
    index = filled(open_index, 36)
    assert index.built.reason == ingest.NONE
    assert contents(index) == fresh(tmp_path, 36)


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_of_the_database_never_changes_an_answer(tmp_path, open_index, seed):
    filled(open_index, 36).close()
    flip(tmp_path / "index" / DATABASE, seed)
    assert contents(filled(open_index, 36)) == fresh(tmp_path, 36)


CRASH = """
import os, sys
from pathlib import Path
from holdfast.index.ingest import Index
index = Index(Path(sys.argv[1]), Path(sys.argv[2]))
for size in (9, 20, 36):
    index.ingest(size)
os._exit(9)
"""


def wal(tmp_path):
    """Let an index die without closing; gives its write-ahead log."""
    done = subprocess.run([sys.executable, "-c", CRASH, tmp_path / "log", tmp_path / "index"], check=False)
    assert done.returncode == 9
    path = tmp_path / "index" / (DATABASE + ".wal")
    assert path.stat().st_size > 1_000
    return path


@pytest.mark.parametrize("how", ["kept", "deleted", "truncated", "emptied", "flipped"])
def test_after_a_crash_the_index_is_the_log_or_is_built_again(tmp_path, open_index, how):
    path = wal(tmp_path)
    expected = fresh(tmp_path, 36)
    if how == "kept":
        index = filled(open_index, 36)
        assert index.built is None
        assert contents(index) == expected
        return
    saved = {one: one.read_bytes() for one in (path, path.with_suffix(""))}
    for seed in range(4 if how == "flipped" else 1):
        for one, data in saved.items():
            one.write_bytes(data)
        if how == "flipped":
            flip(path, seed)
        else:
            damage(path, how)
        index = filled(open_index, 36)
        assert contents(index) == expected
        index.close()


def test_an_older_copy_is_brought_up_to_the_log(tmp_path, open_index):
    filled(open_index, 20).close()
    older = (tmp_path / "index" / DATABASE).read_bytes()
    filled(open_index, 36).close()
    (tmp_path / "index" / DATABASE).write_bytes(older)
    index = open_index()
    index.ingest(36)
    assert contents(index) == fresh(tmp_path, 36)


def test_an_older_copy_under_a_newer_write_ahead_log_is_noticed(tmp_path, open_index):
    filled(open_index, 5).close()
    older = (tmp_path / "index" / DATABASE).read_bytes()
    wal(tmp_path)
    (tmp_path / "index" / DATABASE).write_bytes(older)
    assert contents(filled(open_index, 36)) == fresh(tmp_path, 36)


def test_an_index_of_another_log_or_of_a_later_one_is_built_again(tmp_path, open_index, book):
    filled(open_index, 36).close()
    other = Book()
    other.add("audit.read", {"what": "sql", "request": {}}, who=EVE)
    other.save(tmp_path / "log")
    index = filled(open_index, 1)
    assert "held events up to 36" in index.built.reason
    assert contents(index) == fresh(tmp_path, 1)
    index.close()
    twin = Book("holdfast.example/twin/0")
    twin.bodies = list(book.bodies)
    twin.save(tmp_path / "log")
    index = filled(open_index, 36)
    assert "event 0" in index.built.reason
    index.close()
    book.save(tmp_path / "log")
    index = filled(open_index, 36)
    assert index.built.reason == "it was made from another log"


@pytest.mark.parametrize("bounds", [{"BATCH": 7}, {"BATCH_BYTES": 900}, {"BATCH": 1}])
def test_batches_and_segments_meet_anywhere(tmp_path, open_index, monkeypatch, bounds):
    expected = fresh(tmp_path, 36)
    for name, value in bounds.items():
        monkeypatch.setattr(ingest, name, value)
    assert contents(filled(open_index, 36)) == expected
    again = filled(open_index, 36)
    assert again.built is None


def test_a_person_can_have_it_compared_and_built_again(tmp_path, open_index):
    index = filled(open_index, 36)
    assert index.compare(36) is None
    index.connection.execute("UPDATE events SET person = 'bob' WHERE seq = 4")
    assert index.compare(36) == "the row of event 4 is not what the log says"
    assert contents(index) == fresh(tmp_path, 36)
    assert index.rebuild("asked for", 36).reason == index.built.reason == "asked for"
    assert contents(index) == fresh(tmp_path, 36)


@pytest.mark.parametrize("first", [7, 14, 35])
def test_a_log_whose_beginning_was_archived_is_indexed_from_there(tmp_path, open_index, book, first):
    filled(open_index, 20).close()
    book.save(tmp_path / "log", first=first)
    index = filled(open_index, 36)
    assert rows(index, "SELECT min(seq), max(seq), count(*) FROM events") == [(first, 35, 36 - first)]
    assert contents(index) == fresh(tmp_path, 36)
    assert (index.built is None) == (first <= 20)
    again = filled(open_index, 36)
    assert again.built is None


def test_events_leave_the_index_when_they_are_archived_under_it(tmp_path, open_index, book):
    index = filled(open_index, 30)
    book.save(tmp_path / "log", first=7)
    index.ingest(36)
    assert (index.first, index.built.reason) == (7, ingest.NONE)
    assert contents(index) == fresh(tmp_path, 36)


def test_what_is_archived_while_the_index_is_behind_is_not_waited_for(tmp_path, open_index, book):
    index = filled(open_index, 3)
    book.save(tmp_path / "log", first=14)
    with pytest.raises(WorkerFailed):
        index.ingest(36)
    index.ingest(36)
    assert contents(index) == fresh(tmp_path, 36)


def test_a_false_beginning_is_refused(tmp_path, open_index):
    (tmp_path / "log" / "archived").write_text('{"size": 3, "peaks": []}')
    with pytest.raises(VerificationFailed):
        open_index().ingest(36)


def test_a_damaged_segment_stops_the_index_at_the_right_event(tmp_path, open_index):
    index = open_index()
    index.ingest(2)
    path = verify.segments(tmp_path / "log")[-1]
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"number":31', b'"number":30'))
    with pytest.raises(VerificationFailed) as caught:
        index.ingest(36)
    assert caught.value.fields["seq"] == 35
    path.write_bytes(data)
    index.ingest(36)
    assert contents(index) == fresh(tmp_path, 36)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"nonsense",
        b"\xff\xfe",
        b'{"action":"a","params":{},"seq":0}',
        b'{"params":',
        b'{"action":7,"params":{},"seq":"x"}',
    ],
)
def test_a_signed_record_that_is_no_event_is_refused(tmp_path, open_index, body):
    book = Book()
    book.bodies = [body]
    book.save(tmp_path / "log")
    with pytest.raises(VerificationFailed):
        open_index().ingest(1)


def test_a_database_that_fails_under_a_reader_is_built_again_by_the_next_call(tmp_path, open_index):
    index = filled(open_index, 20)
    index.connection.execute("DROP TABLE events CASCADE")
    with pytest.raises(WorkerFailed) as caught:
        index.ingest(36)
    assert caught.value.key == "index.database"
    index.ingest(36)
    assert "the database failed" in index.built.reason
    assert contents(index) == fresh(tmp_path, 36)
