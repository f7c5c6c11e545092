"""What applications used and which keys there are, as the index tells it; what an outcome does not say counts as nothing."""

from __future__ import annotations

import pytest
from tests.integration.audit.logbook import Book, digest, subject

from holdfast.audit.event import Actor
from holdfast.index import library, query
from holdfast.index.ingest import Index

OLGA = Actor("olga", 1003, "operator", "s4")
DAY = 86_400.0


def answered(book, tenant, model, prompt, result, *, ending="done", kind="chat", key="0000000a", after=1.0):
    who = Actor(f"{tenant}/{key}", None, "application")
    asked = {
        "tenant": tenant,
        "key": key,
        "model": model,
        "model_digest": digest("6"),
        "adapter_digest": None,
        "kind": kind,
        "prompt_tokens": prompt,
    }
    more = {"who": who, "subject": subject("gguf", "6"), "source": ("serve", "cd" * 8)}
    begun = book.add("answer", asked, after=after, **more)
    if ending:
        book.add(f"answer.{ending}", result, cause=begun, **more)
    return begun


def figures(completion, cached, milliseconds, processor):
    return {
        "completion_tokens": completion,
        "cached_tokens": cached,
        "milliseconds": milliseconds,
        "first_ms": None,
        "processor_ms": processor,
        "finish_reason": "stop",
    }


def story():
    book = Book()
    record = {
        "id": "0000000a",
        "tenant": "tax",
        "models": ["tiny", "tiny:*"],
        "clearance": {"level": "internal", "compartments": [], "zones": ["site"]},
        "scopes": ["inference", "metrics"],
        "quota": {"requests_per_minute": 60, "tokens_per_day": None, "parallel": 2},
    }
    book.add("serve.key.created", {"key": "0000000a", "tenant": "tax", "record": record}, who=OLGA)
    book.add(
        "serve.key.created",
        {"key": "0000000b", "tenant": "law", "record": record | {"id": "0000000b", "quota": {}}},
        who=OLGA,
    )
    book.add("serve.key.revoked", {"key": "0000000b"}, who=OLGA)
    book.add("serve.key.revoked", {"key": "0000000b"}, who=OLGA)
    answered(book, "tax", "tiny", 10, figures(5, 8, 20.5, 3600.0))
    late = {name: one for name, one in figures(4, 1, 9, 900.0).items() if name != "finish_reason"}
    answered(book, "tax", "tiny", 1, late | {"error": "serve.deadline"}, ending="failed")
    answered(book, "tax", "tiny:tax", 2, figures(3, 0, 1, 1800), ending="cancelled", key="0000000c")
    answered(book, "law", "tiny", 4, figures(0, 0, 1, 0.5), kind="embedding", after=DAY)
    answered(book, "law", "tiny", 7, {"reason": "died"}, ending="interrupted")
    answered(book, "law", "tiny", 9, None, ending=None)
    asked = {"tenant": "law", "key": "0000000d", "route": "/v1/models", "method": "GET"}
    more = {"who": Actor("law/0000000d", None, "application"), "source": ("serve", "cd" * 8)}
    for ending, result in (("failed", {"status": 404, "error": "serve.scope"}), ("done", {"status": 200})):
        begun = book.add("serve.request", asked, **more)
        book.add(f"serve.request.{ending}", asked | result, cause=begun, **more)
    return book


def test_what_no_model_was_asked_is_no_usage_and_what_was_refused_is_a_denial(ask):
    assert ask("SELECT count(*) AS n FROM answers")[0]["n"] == 6
    acts = ask("SELECT outcome, person FROM acts WHERE act = 'serve.request' ORDER BY seq")
    assert acts == [{"outcome": ending, "person": "law/0000000d"} for ending in ("failed", "done")]
    (denial,) = ask(library.find("denied").sql)
    assert (denial["action"], denial["person"]) == ("serve.request.failed", "law/0000000d")
    assert (denial["wanted"], denial["reason"], denial["refusals"]) == ("/v1/models", "serve.scope", 1)
    assert {row["act"] for row in ask(library.find("failed-acts").sql)} == {"answer"}


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    folder = tmp_path_factory.mktemp("usage")
    (folder / "index").mkdir()
    book = story()
    book.save(folder / "log")
    index = Index(folder / "log", folder / "index")
    index.ingest(len(book.bodies))

    def asked(text, **given):
        cursor = index.connection.cursor()
        try:
            found = query.sql(cursor, text, given, limit=1000)
        finally:
            cursor.close()
        names = [column["name"] for column in found["columns"]]
        return [dict(zip(names, row, strict=True)) for row in found["rows"]]

    yield asked
    index.close()


def test_no_figure_of_usage_is_ever_null(ask):
    rows = ask("SELECT * EXCLUDE (adapter) FROM usage ORDER BY seq")
    assert [row["outcome"] for row in rows] == [
        "done",
        "failed",
        "cancelled",
        "done",
        "interrupted",
        "open",
    ]
    assert [row for row in rows if None in row.values()] == []
    assert [row["processor_ms"] for row in rows] == [3600.0, 900.0, 1800, 0.5, 0, 0]


def usage(ask, **given):
    return ask(library.find("usage").sql, **given)


def test_usage_is_summed_up_by_day_tenant_and_model(ask):
    rows = usage(ask, watts="20", price="0.36")
    assert [(row["day"], row["tenant"], row["model"], row["requests"], row["answered"]) for row in rows] == [
        ("2026-01-01", "tax", "tiny", 2, 1),
        ("2026-01-01", "tax", "tiny:tax", 1, 0),
        ("2026-01-02", "law", "tiny", 3, 1),
    ]
    first = rows[0]
    assert (first["prompt_tokens"], first["completion_tokens"], first["cached_tokens"]) == (11, 9, 9)
    assert first["joules_estimated"] == pytest.approx(90)  # 3.6 s and, of the one that failed, 0.9 s at 20 W
    assert first["cost_estimated"] == pytest.approx(90 / 3.6e6 * 0.36)
    assert first["key"] is None


@pytest.mark.parametrize(
    ("by", "rows"), [("", 1), ("tenant", 2), ("key", 2), ("key model", 2), ("day", 2), ("ten", 1)]
)
def test_usage_is_summed_up_by_what_is_asked(ask, by, rows):
    found = usage(ask, by=by)
    assert len(found) == rows
    assert sum(row["requests"] for row in found) == 6
    assert sum(row["processor_ms"] for row in found) == 6300.5


@pytest.mark.parametrize(
    ("given", "requests"),
    [
        ({"tenant": "law"}, 3),
        ({"tenant": "nobody"}, 0),
        ({"since": "2026-01-02"}, 3),
        ({"until": "2026-01-02"}, 3),
        ({"since": "2026-01-02", "until": "2026-01-02"}, 0),
    ],
)
def test_usage_is_limited_to_a_tenant_and_a_time(ask, given, requests):
    assert sum(row["requests"] for row in usage(ask, by="tenant", **given)) == requests


def test_keys_are_listed_with_what_they_may_do(ask):
    one, two = ask("SELECT * FROM service_keys ORDER BY seq")
    assert (one["tenant"], one["models"], one["level"]) == ("tax", ["tiny", "tiny:*"], "internal")
    assert (one["scopes"], one["requests_per_minute"]) == (["inference", "metrics"], 60)
    assert (one["tokens_per_day"], one["parallel"], one["revoked"]) == (None, 2, None)
    assert (two["key"], two["requests_per_minute"], two["revoked_by"]) == ("0000000b", None, "olga")
