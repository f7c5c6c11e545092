"""The index equals the log, or is built again."""

from __future__ import annotations

import json

import duckdb
import pytest

from holdfast.audit import verify
from holdfast.audit.event import Actor, Draft, Subject
from holdfast.errors import VerificationFailed
from holdfast.governance.labels import Label
from holdfast.index import ingest
from holdfast.index.ingest import DATABASE, Index

MODEL = Subject("gguf", "sha512:" + "1a" * 64)
APP = Actor("key-1", None, "application")


@pytest.fixture
def log(tmp_path, open_log):
    log = open_log(tmp_path / "log", segment_bytes=2_000)
    label = Label("restricted", frozenset({"tax"}), frozenset({"site", "backup"}))
    run = log.append(Draft("train.run", Actor("alice", 1000, "operator", "s"), MODEL, label, {"steps": 5}))
    log.append(Draft("access.denied", Actor("mallory", 1001, "operator"), params={"why": "ü"}))
    log.append(
        Draft("train.run.done", Actor("alice", 1000, "operator", "s"), MODEL, label, {"loss": 0.5}, run.seq)
    )
    asked = log.append(Draft("answer", APP, MODEL, params={"model": "base:fees"}))
    log.append(Draft("answer.done", APP, MODEL, params={"tokens": 9}, cause=asked.seq))
    log.append(Draft("eval.run", Actor("alice", 1000, "operator", "s")))
    for number in range(30):
        log.append(Draft("audit.read", Actor("eve", 1002, "auditor"), params={"number": number}))
    return log


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


def filled(open_index, log):
    index = open_index()
    index.ingest(log.size)
    return index


def assert_equal(index, log):
    stored = rows(
        index,
        "SELECT seq, action, person, cause, leaf, params, strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ') FROM events ORDER BY seq",
    )
    assert len(stored) == log.size
    for row, event, body in zip(stored, log.events(), log.read(0, log.size), strict=True):
        assert row[:4] == (event.seq, event.action, event.actor.person, event.cause)
        assert row[4] == "sha256:" + verify.leaf_hash(body).hex()
        assert json.loads(row[5]) == event.params
        assert row[6] == event.time
    assert rows(index, "SELECT size, root, origin FROM head") == [(log.size, log.root.hex(), log.origin)]


def test_every_event_is_a_typed_row(open_index, log):
    index = filled(open_index, log)
    assert index.rebuilt is None
    assert_equal(index, log)
    assert rows(
        index,
        "SELECT act, phase, level, compartments, zones, uid FROM events WHERE seq IN (0, 1) ORDER BY seq",
    ) == [
        ("train.run", "intent", "restricted", ["tax"], ["backup", "site"], 1000),
        (None, "fact", None, None, None, 1001),
    ]
    assert rows(index, "SELECT params->>'why' FROM denials") == [("ü",)]


def test_views_answer_what_auditors_ask(open_index, log):
    index = filled(open_index, log)
    assert rows(
        index,
        "SELECT act, outcome, outcome_seq, asked->>'steps', result->>'loss' FROM acts WHERE act != 'answer' ORDER BY seq",
    ) == [
        ("train.run", "done", 2, "5", "0.5"),
        ("eval.run", "open", None, None, None),
    ]
    assert rows(index, "SELECT application, outcome, model, subject_digest FROM answers") == [
        ("key-1", "done", "base:fees", MODEL.digest)
    ]
    assert rows(index, "SELECT kind, first_seq, last_seq, events FROM artefacts") == [("gguf", 0, 4, 4)]


def test_every_table_view_and_column_is_documented(open_index):
    index = open_index()
    assert rows(index, "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL") == []
    assert rows(index, "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL") == []
    missing = (
        "SELECT column_name FROM duckdb_columns() WHERE table_name IN ('events', 'head') AND comment IS NULL"
    )
    assert rows(index, missing) == []


def test_it_reads_no_further_than_it_was_told_and_goes_on_later(open_index, log, draft):
    index = open_index()
    for size in (0, 3, 3, 20):
        index.ingest(size)
        assert rows(index, "SELECT count(*) FROM events") == [(size,)]
    again = open_index()
    again.ingest(25)
    assert (again.size, again.rebuilt) == (25, None)
    log.append(draft(0))
    again.ingest(log.size)
    assert_equal(again, log)


def damage(path, how):
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "overwritten":
        path.write_bytes(b"not a database" * 1_000)
    else:
        with duckdb.connect(str(path)) as connection:
            connection.execute(how)


@pytest.mark.parametrize(
    "how",
    [
        "deleted",
        "truncated",
        "overwritten",
        "UPDATE events SET person = 'nobody' WHERE seq = 1",
        "DELETE FROM events WHERE seq = 1",
        "DELETE FROM events WHERE seq = 35",
        "INSERT INTO events SELECT * REPLACE (36 AS seq) FROM events WHERE seq = 35",
        "UPDATE head SET root = 'ff'",
        "UPDATE head SET size = 7",
        "DELETE FROM head",
        "DROP VIEW acts; DROP TABLE events",
    ],
)
def test_a_damaged_index_is_built_again(tmp_path, open_index, log, how):
    filled(open_index, log).close()
    damage(tmp_path / "index" / DATABASE, how)
    index = filled(open_index, log)
    assert (index.rebuilt is None) == (how == "deleted")
    assert_equal(index, log)
    assert len(rows(index, "SELECT * FROM acts")) == 3


def test_an_index_of_another_log_or_of_a_later_one_is_built_again(tmp_path, open_index, open_log, log, draft):
    filled(open_index, log).close()
    log.close()
    (tmp_path / "log").rename(tmp_path / "old")
    shorter = open_log(tmp_path / "log")
    shorter.append(draft(0))
    index = filled(open_index, shorter)
    assert "held 36 events" in index.rebuilt
    assert_equal(index, shorter)
    for number in range(1, 40):
        shorter.append(draft(number))
    index.close()
    index = filled(open_index, shorter)
    assert index.rebuilt is None
    assert_equal(index, shorter)


def test_batches_and_segments_meet_anywhere(open_index, log, monkeypatch):
    monkeypatch.setattr(ingest, "BATCH", 7)
    assert_equal(filled(open_index, log), log)


def test_a_person_can_have_it_built_again(open_index, log):
    index = filled(open_index, log)
    index.rebuild("asked for", log.size)
    assert index.rebuilt == "asked for"
    assert_equal(index, log)


def test_a_damaged_segment_stops_the_index_at_the_right_event(tmp_path, open_index, log):
    index = open_index()
    index.ingest(2)
    path = verify.segments(tmp_path / "log")[-1]
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"number":29', b'"number":28'))
    with pytest.raises(VerificationFailed) as caught:
        index.ingest(log.size)
    assert caught.value.fields["seq"] == 35
    path.write_bytes(data)
    index.ingest(log.size)
    assert_equal(index, log)
