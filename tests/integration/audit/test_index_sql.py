"""People's SQL: one SELECT, inside the walls, within the limits."""

from __future__ import annotations

import json
import threading

import pytest
from tests.integration.audit.logbook import Book

from holdfast.audit.event import Actor
from holdfast.errors import UntrustedRequest, UsageRefused
from holdfast.index import describe, library, query
from holdfast.index.ingest import Index


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sql")
    (folder / "index").mkdir()
    alice, bob = Actor("alice", 1000, "operator", "s"), Actor("bob", 1001, "auditor")
    book = Book()
    book.act("bundle.import", {"path": "x'y"}, {}, who=alice)
    for number in range(18):
        book.add("audit.read", {"what": "sql", "request": {"number": number}}, who=bob)
    book.save(folder / "log")
    index = Index(folder / "log", folder / "index")
    index.ingest(20)
    yield index
    index.close()


@pytest.fixture
def cursor(index):
    cursor = index.connection.cursor()
    yield cursor
    assert cursor.execute("SELECT count(*) FROM events").fetchall() == [(20,)]
    cursor.close()


def ask(cursor, text, limit=100, seconds=60.0, **given):
    return query.sql(cursor, text, given, limit=limit, seconds=seconds)


def test_a_select_gives_typed_columns_and_plain_rows(cursor):
    answer = ask(
        cursor,
        "SELECT seq, time, params->>'path' AS text, 1.5::DECIMAL(4,2), 2::HUGEINT ** 70, [seq], {'a': seq}, 'x'::BLOB FROM events ORDER BY seq",
    )
    assert answer["columns"][:3] == [
        {"name": "seq", "type": "BIGINT"},
        {"name": "time", "type": "TIMESTAMP"},
        {"name": "text", "type": "VARCHAR"},
    ]
    assert answer["rows"][0][0] == 0
    assert answer["rows"][0][2:4] == ["x'y", "1.50"]
    assert answer["rows"][0][5:] == [[0], {"a": 0}, "78"]
    assert (len(answer["rows"]), answer["truncated"]) == (20, False)
    json.dumps(answer, allow_nan=False)


@pytest.mark.parametrize(
    "text",
    [
        "WITH x AS (SELECT 1 AS a) SELECT * FROM x",
        "DESCRIBE events",
        "SUMMARIZE events",
        "SHOW TABLES",
        "FROM range(3)",
        "SELECT unnest([1, 2]); -- done",
        "SELECT * FROM json_each('{\"a\": 1}')",
        "SELECT count(*) FROM acts UNION ALL SELECT count(*) FROM denials",
        "SELECT 'nan'::DOUBLE, 'inf'::DOUBLE, INTERVAL 1 DAY, uuid(), DATE '2026-01-01'",
    ],
)
def test_useful_selects_pass(cursor, text):
    json.dumps(ask(cursor, text), allow_nan=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "nonsense",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE events",
        "ATTACH '/tmp/x.db' AS x",
        "COPY events TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "EXPORT DATABASE '/tmp/x'",
        "PRAGMA database_list",
        "SET memory_limit = '1TB'",
        "CALL pragma_version()",
        "INSTALL httpfs",
        "LOAD httpfs",
        "EXPLAIN ANALYZE SELECT 1",
        "DELETE FROM events",
        "UPDATE events SET person = 'x'",
        "DROP TABLE events",
        "CREATE TABLE x (a INT)",
        "BEGIN TRANSACTION",
        "COMMIT",
        "CHECKPOINT",
        "PREPARE x AS SELECT 1",
        "WITH d AS (DELETE FROM events RETURNING *) SELECT * FROM d",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_parquet('/x')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT (SELECT count(*) FROM glob('/*'))",
        "WITH x AS (FROM sniff_csv('/etc/passwd')) FROM x",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('events')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM arrow_scan(1::POINTER, 2::POINTER, 3::POINTER)",
        "SELECT * FROM pandas_scan(1::POINTER)",
        "SELECT * FROM json_execute_serialized_sql('{}')",
        "SELECT * FROM force_checkpoint()",
        "SELECT getenv('HOME')",
        "SELECT * FROM missing",
        "SELECT 1 + ",
        "SELECT 'a'::INTEGER",
        "SELECT $1",
        "SELECT ?",
        "SELECT $name",
        pytest.param("SELECT '" + "x" * 17_000 + "'", id="too long"),
    ],
)
def test_everything_else_is_refused_and_says_why(cursor, text):
    with pytest.raises(UntrustedRequest) as caught:
        ask(cursor, text)
    assert caught.value.key.startswith(("index.sql-", "query."))
    assert ask(cursor, "SELECT 1")["rows"] == [[1]]


# Many seconds of work.
COUNTING = "SELECT count(*) FROM range(1000000) a, range(5000) b WHERE hash(a.range, b.range) = 3"


def test_a_long_statement_is_stopped(cursor):
    with pytest.raises(UntrustedRequest) as caught:
        ask(cursor, COUNTING, seconds=0.2)
    assert caught.value.key == "index.sql-time"


class Late:
    """A cursor that runs a statement only when its time is over already."""

    def __init__(self, cursor):
        self._cursor, self._over = cursor, threading.Event()

    def __getattr__(self, name):
        return getattr(self._cursor, name)

    def interrupt(self):
        self._cursor.interrupt()
        self._over.set()

    def execute(self, text, *given):
        if "range" in text:
            assert self._over.wait(60)
        return self._cursor.execute(text, *given)


def test_a_statement_that_began_after_its_time_is_stopped_too(cursor):
    late = Late(cursor)
    bound = query.check(cursor, COUNTING, {})
    with pytest.raises(UntrustedRequest) as caught, query.answering(late, COUNTING, bound, 0.01) as answer:
        answer.take(1)
    assert caught.value.key == "index.sql-time"
    assert ask(cursor, "SELECT 1")["rows"] == [[1]]


def test_a_greedy_statement_is_stopped(cursor):
    with pytest.raises(UntrustedRequest) as caught:
        ask(cursor, "SELECT list(repeat('x', 100000) || range) FROM range(1000000)", seconds=60)
    assert caught.value.key == "index.sql-memory"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"SELECT {'(' * 450}1{'+1)' * 450}", "index.sql-too-deep"),
        ("SELECT * FROM (" * 600 + "SELECT 1" + ")" * 600, "index.sql-too-deep"),
        ("SELECT INTERVAL '1000000000 days'", "index.sql-value"),
        ("SELECT INTERVAL '100000000 years'", "index.sql-value"),
    ],
)
def test_what_python_cannot_hold_is_refused_like_anything_else(cursor, text, key):
    with pytest.raises(UntrustedRequest) as caught:
        ask(cursor, text)
    assert caught.value.key == key


def test_rows_and_size_are_limited_and_said_to_be(cursor):
    few = ask(cursor, "SELECT * FROM range(1000000000)", limit=5)
    assert (few["rows"], few["truncated"]) == ([[0], [1], [2], [3], [4]], True)
    most = ask(cursor, "SELECT * FROM range(1000000)", limit=10**9)
    assert (len(most["rows"]), most["truncated"]) == (query.MAX_ROWS, True)
    wide = ask(cursor, "SELECT repeat('x', 60000) FROM range(1000)", limit=1000)
    assert wide["truncated"]
    assert sum(len(row[0]) for row in wide["rows"]) <= query.MAX_ANSWER
    whole = ask(cursor, "SELECT * FROM range(5)", limit=5)
    assert (len(whole["rows"]), whole["truncated"]) == (5, False)


def test_pages_go_back_through_all_events_newest_first(cursor):
    seen, before = [], None
    while True:
        page = query.page(cursor, before=before, limit=7, wanted={})
        seen += [event["seq"] for event in page["events"]]
        before = page["next"]
        if before is None:
            break
    assert seen == list(range(19, -1, -1))


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        ({"action": "bundle.import"}, [1, 0]),
        ({"action": "bundle.import.done"}, [1]),
        ({"person": "alice"}, [1, 0]),
        ({"role": "auditor", "since": "2999-01-01"}, []),
        ({"cause": 0}, [1, 0]),
        ({"phase": "outcome"}, [1]),
        ({"person": "' OR 1=1 --"}, []),
    ],
)
def test_pages_are_filtered(cursor, wanted, seqs):
    page = query.page(cursor, before=None, limit=50, wanted=wanted)
    assert [event["seq"] for event in page["events"]] == seqs
    for event in page["events"]:
        assert event["sentence"]
        assert isinstance(event["params"], dict)


def test_unknown_filters_are_refused(cursor):
    with pytest.raises(UsageRefused):
        query.page(cursor, before=None, limit=1, wanted={"1=1; --": 1})
    with pytest.raises(UntrustedRequest):
        query.page(cursor, before=None, limit=1, wanted={"since": "yesterday"})


def test_an_answer_says_of_which_part_of_which_log_it_is(index, cursor):
    answer = ask(cursor, "SELECT 1")
    assert (answer["origin"], answer["first"], answer["size"]) == ("holdfast.example/book/0", 0, 20)
    assert answer["root"] == index._tree.root().hex()


def test_parameters_are_bound_and_typed(cursor):
    text = "-- $who text: Who.\n-- $from integer = 0: From.\nSELECT count(*) FROM events WHERE person = $who AND seq >= $from"
    assert ask(cursor, text, who="bob")["rows"] == [[18]]
    assert ask(cursor, text, who="bob", **{"from": "10"})["rows"] == [[10]]
    assert ask(cursor, text, who="' OR true --")["rows"] == [[0]]
    assert ask(cursor, "SELECT $a || $b", a="x", b="'y")["rows"] == [["x'y"]]
    timed = "-- $since time: From then on.\nSELECT count(*) FROM events WHERE time >= $since"
    assert ask(cursor, timed, since="2026-01-01T00:00:11Z")["rows"] == [[10]]
    assert ask(cursor, timed, since="2026-01-01T01:00:11+01:00")["rows"] == [[10]]


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("-- $who text: Who.\nSELECT $who", {}),
        ("-- $n integer: N.\nSELECT $n", {"n": "1; DROP TABLE events"}),
        ("-- $n integer: N.\nSELECT $n", {"n": "1", "m": "2"}),
        ("-- $n integer: N.\nSELECT 1", {"n": "1"}),
        ("SELECT $n", {"m": "1"}),
        ("SELECT 1", {"m": "1"}),
    ],
)
def test_parameters_that_do_not_fit_are_refused(cursor, text, given):
    with pytest.raises(UntrustedRequest):
        ask(cursor, text, **given)


@pytest.mark.parametrize("one", library.known(), ids=lambda one: one.name)
def test_every_query_that_comes_along_can_be_run(cursor, one):
    checked = describe.check(cursor, one.sql)
    assert len(checked["columns"]) > 1
    assert one.about.endswith(".")
    assert all(each.about for each in one.parameters)


def test_the_schema_lists_every_table_with_its_comments(cursor):
    listed = describe.schema(cursor)["tables"]
    names = [one["name"] for one in listed]
    assert {"events", "head", "event_types", "acts", "denials", "lineage", "answers", "completeness"} <= set(
        names
    )
    for one in listed:
        assert one["about"]
        assert all(column["about"] and column["type"] for column in one["columns"])
