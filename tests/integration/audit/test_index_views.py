"""What auditors ask: the views over a log that is written event by event."""

from __future__ import annotations

import pytest
from tests.integration.audit.logbook import Book, artefact, digest, subject

from holdfast.audit.event import Actor
from holdfast.governance.labels import Label
from holdfast.index import library, query
from holdfast.index.ingest import Index

ALICE, BOB, EVE = (
    Actor("alice", 1000, "administrator", "s1"),
    Actor("bob", 1001, "administrator", "s2"),
    Actor("eve", 1002, "auditor", "s3"),
)
OLGA = Actor("olga", 1003, "operator", "s4")
APP = Actor("treasury/key1", None, "application")
LABEL = Label("restricted", frozenset({"tax"}), frozenset({"site"}))
LIFE, SERVE = ("daemon", "ab" * 8), ("serve", "cd" * 8)


def story():
    """The life of a site: a medium, a data set, a run, answers, refusals, losses."""
    book, at = Book(), {}
    book.add(
        "site.founded",
        {
            "site": "Test",
            "people": [{"name": "alice", "roles": ["administrator"], "uids": [1000], "fingerprint": "AA"}],
        },
        source=LIFE,
    )
    at["started"] = book.add(
        "daemon.started",
        {"version": "1", "boot": "b1", "heartbeat": 60, "previous": "none", "reconciled": [], "torn": None},
        source=LIFE,
    )
    book.add("session.opened", {}, who=ALICE, source=LIFE)
    at["import"] = book.add("bundle.import", {"path": "/media/a"}, who=ALICE, source=LIFE)
    for record in (artefact("base", "tiny", "1"), artefact("dataset", "words", "2")):
        book.add(
            "artefact.listed",
            {"artefact": record, "bytes": 20, "files": 2, "origins": {}, "part": 1, "parts": 1},
            who=ALICE,
            cause=at["import"],
            source=LIFE,
        )
    book.add(
        "artefact.listed",
        {
            "artefact": {"digest": digest("1"), "kind": "base", "files": []},
            "bytes": 20,
            "files": 2,
            "origins": {},
            "part": 2,
            "parts": 2,
        },
        who=ALICE,
        cause=at["import"],
        source=LIFE,
    )
    book.add(
        "bundle.import.done",
        {
            "name": "tiny",
            "version": "7",
            "publisher": "Works",
            "manifest": digest("a"),
            "bytes": 40,
            "missing": [],
            "artefacts": 2,
        },
        who=ALICE,
        cause=at["import"],
        source=LIFE,
    )
    at["admit"], at["admitted"] = book.act(
        "bundle.admit",
        {"request": at["import"], "requester": "alice"},
        {"request": at["import"], "generation": 1, "requester": "alice"},
        who=BOB,
        source=LIFE,
    )
    book.act("dataset.prepare", {}, {"artefacts": [artefact("dataset", "fees", "3")]}, who=OLGA, source=LIFE)
    run, adapter = artefact("run", "lesson", "4", "1", "3"), artefact("adapter", "lesson", "5", "4", "1")
    at["run"], at["trained"] = book.act(
        "train.run",
        {"resumes": None},
        {
            "run": digest("4"),
            "adapter": digest("5"),
            "steps": 4,
            "tokens": 99,
            "final_loss": 0.5,
            "artefacts": [run, adapter],
        },
        who=OLGA,
        subject=subject("recipe", "9"),
        label=LABEL,
        source=LIFE,
    )
    book.add(
        "gate.decided",
        {
            "run": digest("4"),
            "adapter": digest("5"),
            "evaluation": digest("8"),
            "suites": {"quiz": digest("a")},
            "go": True,
            "reasons": ["quiz: 0.9"],
            "judged": [
                {
                    "on": engine,
                    "suite": "quiz",
                    "section": "all",
                    "rule": "minimum",
                    "holds": True,
                    "verdict": "better",
                }
                for engine in ("transformers", "q8_0")
            ],
        },
        who=OLGA,
        cause=at["run"],
        source=LIFE,
    )
    book.act(
        "model.quantize",
        {},
        {"artefacts": [artefact("gguf", "tiny-q8", "6", "1"), artefact("gguf", "lesson-q8", "7", "5")]},
        who=OLGA,
        source=LIFE,
    )
    released = {
        "alias": "letters",
        "kind": "adapter",
        "product": digest("5"),
        "run": digest("4"),
        "lora": digest("7"),
        "decided": at["run"],
    }
    at["release"] = book.add("release.proposed", {"release": released}, who=OLGA, source=LIFE)
    at["refused"] = book.add("release.proposed", {"release": released}, who=OLGA, source=LIFE)
    book.add("release.refused", {"request": at["refused"], "reason": "Twice."}, who=ALICE, source=LIFE)
    done = {"request": at["release"], "alias": "letters", "product": digest("5"), "switched": True}
    at["approved"], _ = book.act("release.approve", {"requester": "olga"}, done, who=ALICE, source=LIFE)
    back = {
        "alias": "letters",
        "to": at["release"],
        "product": digest("5"),
        "switched": False,
        "reason": "Worse.",
    }
    book.act("release.rollback", {}, back, who=OLGA, source=LIFE)
    book.act(
        "store.gc",
        {"artefacts": [digest("2")], "generations": []},
        {"spared": [], "freed": 0},
        who=ALICE,
        source=LIFE,
    )
    asked = {
        "tenant": "treasury",
        "key": "key1",
        "model": "tiny:lesson",
        "model_digest": digest("6"),
        "adapter_digest": digest("7"),
        "prompt_tokens": 12,
        "commitments": {"prompt": "sha256:p"},
        "sealed_for": "sub",
    }
    at["answer"] = book.add("answer", asked, who=APP, subject=subject("gguf", "6"), label=LABEL, source=SERVE)
    book.add(
        "answer.done",
        {
            "completion_tokens": 5,
            "finish_reason": "stop",
            "milliseconds": 9,
            "commitments": {"answer": "sha256:a"},
        },
        who=APP,
        subject=subject("gguf", "6"),
        label=LABEL,
        cause=at["answer"],
        source=SERVE,
    )
    book.add(
        "access.denied",
        {"reason": "role.missing", "route": "/v1/x", "uid": 1009, "person": "mallory"},
        source=LIFE,
    )
    book.add(
        "access.refused",
        {
            "count": 400,
            "seconds": 1.0,
            "reasons": {"session.refused": 399, "peer.worker": 1},
            "uids": {"1009": 400},
            "person": None,
        },
        source=LIFE,
    )
    book.add(
        "worker.denied",
        {
            "worker": "train",
            "job": 3,
            "syscall": "connect",
            "family": "AF_INET",
            "destination": "192.0.2.1:80",
            "count": 2,
        },
        source=LIFE,
    )
    at["export"], _ = book.act(
        "audit.result",
        {"sql": "SELECT 1", "saved": None, "parameters": {}, "formats": ["csv"], "limit": 1},
        {"rows": 1, "files": {"rows.csv": digest("c")}},
        who=EVE,
        source=LIFE,
    )
    book.add("audit.checkpoint", {}, who=EVE, source=LIFE)
    book.add(
        "sealed.asked",
        {"request": {"kind": "unseal", "answer": at["answer"], "subject": "sub", "reason": "complaint"}},
        who=EVE,
        source=LIFE,
    )
    book.add("audit.witness.added", {"name": "court", "keys": ["k"]}, who=ALICE, source=LIFE)
    book.add(
        "audit.cosigned",
        {
            "witness": "court",
            "origin": book.origin,
            "size": 20,
            "root": "ff",
            "time": "2026-01-01T00:00:00Z",
            "note": "n",
        },
        who=EVE,
        source=LIFE,
    )
    at["beat"] = book.add(
        "daemon.heartbeat", {"uptime_s": 60.0, "free": 10, "size": 30, "root": "ff"}, source=LIFE, after=20
    )
    at["late"] = book.add(
        "daemon.heartbeat", {"uptime_s": 300.0, "free": 10, "size": 31, "root": "ff"}, source=LIFE, after=200
    )
    at["gap"] = book.add("audit.read", {"what": "sql", "request": {}}, who=EVE, source=LIFE, count=60)
    at["back"] = book.add(
        "clock.stepped", {"seconds": -5.0, "before": "x", "after": "y"}, source=LIFE, after=-5
    )
    second = ("daemon", "ef" * 8)
    at["again"] = book.add(
        "daemon.started",
        {
            "version": "1",
            "boot": "b1",
            "heartbeat": 60,
            "previous": "unexplained",
            "reconciled": [3],
            "torn": None,
        },
        source=second,
    )
    book.add("daemon.stopped", {}, source=second)
    return book, at


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    (folder / "index").mkdir()
    book, at = story()
    book.save(folder / "log")
    index = Index(folder / "log", folder / "index")
    index.ingest(len(book.bodies))

    def ask(text, **given):
        cursor = index.connection.cursor()
        try:
            return query.sql(cursor, text, {name: str(value) for name, value in given.items()}, limit=1000)[
                "rows"
            ]
        finally:
            cursor.close()

    yield ask, at
    index.close()


def test_acts_sessions_and_people(told):
    ask, at = told
    assert ask(
        "SELECT person, outcome, outcome_seq, level, seconds, result->>'steps' FROM acts WHERE act = 'train.run'"
    ) == [["olga", "done", at["trained"], "restricted", 1.0, "4"]]
    assert ask(
        "SELECT session, person, uid, roles, opened IS NOT NULL, closed FROM sessions WHERE session = 's1'"
    ) == [["s1", "alice", 1000, ["administrator"], True, None]]
    assert ask("SELECT person, roles, uids FROM people") == [["alice", ["administrator"], [1000]]]
    rows = ask(
        "SELECT action, subject_kind, meaning != '' FROM deeds WHERE person = 'olga' AND subject_kind IS NOT NULL ORDER BY seq"
    )
    assert rows == [["train.run", "recipe", True], ["train.run.done", "recipe", True]]


def test_which_data_is_in_which_model(told):
    ask, _ = told
    assert ask("SELECT kind, name, here, bytes, files, zones FROM artefacts ORDER BY digest") == [
        ["base", "tiny", False, 20, 2, ["site"]],
        ["dataset", "words", False, 20, 2, ["site"]],
        ["dataset", "fees", True, 20, 2, ["site"]],
        ["run", "lesson", True, 20, 2, ["site"]],
        ["adapter", "lesson", True, 20, 2, ["site"]],
        ["gguf", "tiny-q8", True, 20, 2, ["site"]],
        ["gguf", "lesson-q8", True, 20, 2, ["site"]],
    ]
    assert ask("SELECT model_kind, model_name, dataset_name, distance FROM model_data ORDER BY distance") == [
        ["adapter", "lesson", "fees", 2],
        ["gguf", "lesson-q8", "fees", 3],
    ]
    assert ask(
        "SELECT ancestor_kind, distance FROM lineage WHERE digest = $d ORDER BY distance, ancestor_kind",
        d=digest("7"),
    ) == [
        ["adapter", 1],
        ["base", 2],
        ["run", 2],
        ["dataset", 3],
    ]
    assert ask("SELECT recipe, run, adapter, steps, tokens, final_loss FROM runs") == [
        [digest("9"), digest("4"), digest("5"), 4, 99, 0.5]
    ]
    assert ask("SELECT go, reasons, adapter, model FROM gates") == [[True, ["quiz: 0.9"], digest("5"), None]]
    assert ask("SELECT * EXCLUDE (seq, time) FROM gate_rules ORDER BY engine") == [
        [digest("4"), engine, "quiz", digest("a"), "all", "minimum", True, "better"]
        for engine in ("q8_0", "transformers")
    ]


def test_what_was_released_under_which_name_and_who_decided(told):
    ask, at = told
    assert ask(
        "SELECT seq, requester, alias, product, run, decision, decided_by, reason FROM releases ORDER BY seq"
    ) == [
        [at["release"], "olga", "letters", digest("5"), digest("4"), "approved", "alice", None],
        [at["refused"], "olga", "letters", digest("5"), digest("4"), "refused", "alice", "Twice."],
    ]
    assert ask("SELECT person, alias, change, release, switched, reason FROM alias_changes ORDER BY seq") == [
        ["alice", "letters", "approved", at["release"], True, None],
        ["olga", "letters", "rolled back", at["release"], False, "Worse."],
    ]


def test_which_answers_were_given_by_which_weights(told):
    ask, at = told
    assert ask(
        "SELECT seq, tenant, key, model, weights, adapter, level, compartments, outcome, prompt_tokens, completion_tokens, prompt, answer, sealed_for FROM answers"
    ) == [
        [
            at["answer"],
            "treasury",
            "key1",
            "tiny:lesson",
            digest("6"),
            digest("7"),
            "restricted",
            ["tax"],
            "done",
            12,
            5,
            "sha256:p",
            "sha256:a",
            "sub",
        ]
    ]
    assert ask("SELECT seq, dataset_name FROM answer_data") == [[at["answer"], "fees"]]
    assert ask("SELECT action, request, reason, subject FROM payload_acts") == [
        ["sealed.asked", None, "complaint", "sub"]
    ]


def test_what_was_refused(told):
    ask, _ = told
    assert ask(
        "SELECT action, person, uid, worker, wanted, destination, reason, count FROM denials ORDER BY seq"
    ) == [
        ["access.denied", "mallory", 1009, None, "/v1/x", None, "role.missing", 1],
        ["access.refused", None, None, None, None, None, "peer.worker, session.refused", 400],
        ["worker.denied", "holdfastd", None, "train", "connect", "192.0.2.1:80", None, 2],
    ]


def test_what_came_in_and_what_went_out(told):
    ask, at = told
    assert ask(
        "SELECT seq, requester, path, name, version, publisher, missing, outcome, decision, decided_by, generation FROM media_in"
    ) == [[at["import"], "alice", "/media/a", "tiny", "7", "Works", 0, "done", "bundle.admit", "bob", 1]]
    assert ask("SELECT generation, request, requester, person FROM generations") == [
        [1, at["import"], "alice", "bob"]
    ]
    assert ask("SELECT what, person, outcome, files->>'rows.csv' FROM media_out ORDER BY seq") == [
        ["audit.result", "eve", "done", digest("c")],
        ["audit.checkpoint", "eve", "done", None],
    ]


def test_whether_anything_is_missing(told):
    ask, at = told
    assert ask("SELECT seq, ending, previous, reconciled FROM daemon_runs ORDER BY seq") == [
        [at["started"], "unexplained", "none", 0],
        [at["again"], "stopped", "unexplained", 1],
    ]
    assert ask("SELECT seq, expected, missed FROM heartbeats ORDER BY seq") == [
        [at["beat"], 60.0, 0],
        [at["late"], 60.0, 2],
    ]
    assert ask("SELECT seq, name, here, missing > 0 FROM source_gaps") == [[at["gap"], "daemon", 60, True]]
    assert ask("SELECT name, missing > 0 FROM sources ORDER BY name, first_seq") == [
        ["daemon", True],
        ["daemon", False],
        ["serve", False],
    ]
    assert ask("SELECT seq, told, seconds FROM clock_steps ORDER BY told") == [
        [at["back"], "recorded", -5.0],
        [at["back"], "seen", -5.0],
    ]
    assert ask("SELECT witness, added_by, removed_seq, cosignatures, last_size FROM witnesses") == [
        ["court", "alice", None, 1, 20]
    ]
    assert ask("SELECT DISTINCT finding FROM completeness ORDER BY finding") == [
        ["clock step"],
        ["missing events"],
        ["missing heartbeat"],
        ["unexplained end"],
    ]


def test_every_kind_of_event_is_listed_with_its_controls(told):
    ask, _ = told
    assert ask(
        "SELECT count(*) > 50, count(*) FILTER (len(controls) = 0), count(*) FILTER (meaning = '') FROM event_types"
    ) == [[True, 0, 0]]
    assert ask("SELECT phase, act, producer FROM event_types WHERE action = 'answer.done'") == [
        ["outcome", "answer", "serve"]
    ]


VALUES = {
    "person": "olga",
    "digest": digest("6"),
    "model": "lesson-q8",
    "dataset": "fees",
    "tenant": "treasury",
}


@pytest.mark.parametrize("one", library.known(), ids=lambda one: one.name)
def test_every_query_that_comes_along_answers(told, one):
    ask, at = told
    values = VALUES | {"seq": at["answer"]}
    given = {each.name: values[each.name] for each in one.parameters if each.default is None}
    rows = ask(one.sql, **given)
    assert rows or one.name in ("open-acts", "failed-acts")
