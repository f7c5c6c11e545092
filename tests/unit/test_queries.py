"""Saved queries: their text, their typed parameters, and the fold of those that auditors keep."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audit.event import Actor, Event, Source
from holdfast.errors import Conflict, NotFound, UsageRefused
from holdfast.governance import queries, snapshot
from holdfast.governance.queries import SavedQueries
from holdfast.governance.state import State

TEXT = """\
-- What somebody did,
-- the newest first.
-- $who text: Whose deeds.
-- $n integer = 7: How many.
SELECT $who, $n
"""


def event(seq, action, **params):
    return Event(
        action=action,
        actor=Actor("eve", 1, "auditor"),
        params=params,
        seq=seq,
        time="2026-01-01T00:00:00.000000Z",
        clock="host",
        source=Source("daemon", "0" * 16, seq),
    )


def test_a_text_says_what_it_answers_and_what_may_be_set():
    found = queries.parse("deeds-of", TEXT)
    assert found.about == "What somebody did, the newest first."
    assert [(one.name, one.type, one.default, one.about) for one in found.parameters] == [
        ("who", "text", None, "Whose deeds."),
        ("n", "integer", "7", "How many."),
    ]
    assert queries.parse("x", "SELECT 1", "Nothing.").parameters == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Deeds", TEXT),
        ("", TEXT),
        ("a" * 49, TEXT),
        ("x/../y", TEXT),
        ("x", "SELECT 1"),
        ("x", "-- About.\n-- $n integer\nSELECT 1"),
        ("x", "-- About.\n-- $n count: N.\nSELECT 1"),
        ("x", "-- About.\n-- $N integer: N.\nSELECT 1"),
        ("x", "-- About.\n-- $n integer = seven: N.\nSELECT 1"),
        ("x", "-- About.\n-- $n integer: N.\n-- $n text: N.\nSELECT 1"),
        ("x", "-- About.\n" + "".join(f"-- $n{number} text: N.\n" for number in range(33))),
        ("x", "-- " + "a" * 501),
        ("x", "-- About.\n" + "x" * queries.MAX_SQL),
        ("x", "-- A\x1b[2Jbout."),
    ],
)
def test_what_is_not_in_form_is_refused(name, text):
    with pytest.raises(UsageRefused):
        queries.parse(name, text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", "' OR 1=1 --", "' OR 1=1 --"),
        ("integer", "-12", -12),
        ("number", "1e3", 1000.0),
        ("time", "2026-01-02", datetime.fromisoformat("2026-01-02")),
        ("time", "2026-01-02T03:00:00+02:00", datetime.fromisoformat("2026-01-02T01:00:00")),
        ("flag", "true", True),
        ("flag", "false", False),
    ],
)
def test_values_are_typed(kind, text, value):
    assert queries.bind(f"-- $v {kind}: V.\nSELECT $v", {"v": text}) == {"v": value}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "1.5"),
        ("integer", "1; DROP"),
        ("integer", "9007199254740992"),
        ("integer", "٣"),
        ("number", "nan"),
        ("number", "inf"),
        ("number", "x"),
        ("time", "yesterday"),
        ("time", "0001-01-01T00:00:00+14:00"),
        ("flag", "yes"),
        ("text", "x" * 1001),
    ],
)
def test_values_of_another_type_are_refused(kind, text):
    with pytest.raises(UsageRefused):
        queries.bind(f"-- $v {kind}: V.\nSELECT $v", {"v": text})


def test_what_is_declared_must_be_set_and_nothing_else_may_be():
    assert queries.bind(TEXT, {"who": "alice"}) == {"who": "alice", "n": 7}
    for values in ({}, {"who": "a", "more": "b"}):
        with pytest.raises(UsageRefused):
            queries.bind(TEXT, values)
    assert queries.bind("SELECT $a", {"a": "1"}) == {"a": "1"}  # a text where nothing is declared


@given(st.text(), st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3))
def test_any_text_is_read_or_refused(text, values):
    for head in ("", "-- ", "-- About.\n-- $", "-- $v time = "):
        try:
            queries.bind(head + text, values)
            queries.parse("x", head + text)
        except UsageRefused:
            pass


def test_what_is_saved_is_kept_until_it_is_removed():
    fold = SavedQueries()
    fold.apply(event(3, "audit.query.saved", name="deeds-of", sql=TEXT, about="Deeds."))
    found = fold.find("deeds-of")
    assert (found.sql, found.about, found.saved_by, found.seq) == (TEXT, "Deeds.", "eve", 3)
    assert found.to_json()["parameters"][0]["name"] == "who"
    with pytest.raises(Conflict):
        fold.require_room("deeds-of")
    fold.require_room("another")
    fold.apply(event(4, "audit.query.saved", name="No Name", sql=TEXT, about="Deeds."))
    fold.apply(event(5, "audit.query.removed", name="unknown"))
    fold.apply(event(6, "train.run", name="deeds-of"))
    assert list(fold.saved) == ["deeds-of"]
    fold.apply(event(7, "audit.query.removed", name="deeds-of"))
    with pytest.raises(NotFound):
        fold.find("deeds-of")


def test_a_site_keeps_a_bounded_number():
    fold = SavedQueries()
    for number in range(queries.MAX_SAVED):
        fold.apply(event(number, "audit.query.saved", name=f"q{number}", sql=TEXT, about="Deeds."))
    with pytest.raises(Conflict):
        fold.require_room("one-more")


def test_what_is_saved_outlives_a_snapshot():
    state = State()
    state.apply(event(3, "audit.query.saved", name="deeds-of", sql=TEXT, about="Deeds."))
    again = snapshot.decode(snapshot.encode(state))
    assert again.queries.find("deeds-of") == state.queries.find("deeds-of")
