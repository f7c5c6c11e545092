"""Exceptions: what may be asked, for how long, and when one counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast import hashing
from holdfast.audit.event import Actor, Event, Source
from holdfast.errors import UntrustedRequest
from holdfast.governance import exceptions
from holdfast.governance.exceptions import CLOCK_SLACK, MAX_DAYS, Exemption, Kind, Standing
from holdfast.governance.state import State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIGEST = hashing.sha512(b"timestamp.json")
MICRO = timedelta(microseconds=1)


def document(**changes):
    return {
        "schema": exceptions.SCHEMA,
        "kind": "expired",
        "subject": DIGEST,
        "until": "2026-03-08T12:00:00Z",
        "reason": "The ship with the new medium is late.",
    } | changes


def granted(kind="expired", **changes):
    subject = {"floor": "2027-01-01T00:00:00Z"}.get(kind, DIGEST)
    asked = exceptions.parse(document(kind=kind, subject=subject))
    return Exemption(7, "alice", asked, granted=NOW, decided_by="bob", **changes)


@pytest.mark.parametrize("kind", ["expired", "revoked"])
def test_a_document_is_read_as_it_was_written(kind):
    found = exceptions.parse(document(kind=kind))
    assert found.to_json() == document(kind=kind)
    assert found.digest == exceptions.parse(found.to_json()).digest
    assert found.digest != exceptions.parse(document(kind=kind, reason="Another one.")).digest
    assert found.floor is None


def test_a_floor_is_a_moment():
    found = exceptions.parse(document(kind="floor", subject="2031-01-01T00:00:00Z"))
    assert found.floor == datetime(2031, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": "holdfast.exception/2"},
        {"kind": "signature"},
        {"kind": "floor"},  # its subject is no moment
        {"subject": "2031-01-01T00:00:00Z"},
        {"subject": "sha512:12"},
        {"until": "2026-03-08T12:00:00+01:00"},
        {"until": "2026-03-08 12:00:00Z"},
        {"until": "26-03-08T12:00:00Z"},
        {"until": "2026-3-8T12:00:00Z"},
        {"until": ""},
        {"until": 5},
        {"reason": ""},
        {"reason": "   "},
        {"reason": "x" * (exceptions.MAX_REASON + 1)},
        {"reason": "two\nlines"},
        {"reason": None},
        {"more": "fields"},
    ],
)
def test_any_other_document_is_refused(wrong):
    with pytest.raises(UntrustedRequest) as caught:
        exceptions.parse(document(**wrong))
    assert caught.value.key == "exception.form"


@pytest.mark.parametrize("value", [None, [], "text", 5, {}, document() | {"kind": ["expired"]}])
def test_what_is_no_document_is_refused(value):
    with pytest.raises(UntrustedRequest):
        exceptions.parse(value)


@pytest.mark.parametrize(
    ("until", "fits"),
    [
        (NOW, False),
        (NOW - timedelta(seconds=1), False),
        (NOW + timedelta(seconds=1), True),
        (NOW + timedelta(days=MAX_DAYS), True),
        (NOW + timedelta(days=MAX_DAYS, seconds=1), False),
    ],
)
def test_none_lasts_longer_than_the_bound(until, fits):
    found = exceptions.parse(document(until=exceptions.write_time(until)))
    if fits:
        found.check_box(NOW)
    else:
        with pytest.raises(UntrustedRequest) as caught:
            found.check_box(NOW)
        assert caught.value.key == "exception.until"


def test_it_counts_from_its_grant_to_its_end_and_not_at_its_end():
    found = granted()
    for moment, standing in (
        (NOW, Standing.IN_FORCE),
        (found.asked.until - MICRO, Standing.IN_FORCE),
        (found.asked.until, Standing.ENDED),
        (found.asked.until + timedelta(days=400), Standing.ENDED),
    ):
        assert found.standing(moment) is standing


def test_a_clock_that_was_set_back_ends_it_and_a_corrected_one_does_not():
    found = granted()
    assert found.standing(NOW - CLOCK_SLACK) is Standing.IN_FORCE
    assert found.standing(NOW - CLOCK_SLACK - MICRO) is Standing.ENDED


def test_a_floor_acts_once():
    assert granted("floor").standing(NOW) is Standing.ENDED


def test_what_was_not_granted_in_its_time_lapses_and_what_was_refused_stays_refused():
    waiting = Exemption(7, "alice", exceptions.parse(document()))
    assert waiting.standing(NOW) is Standing.OPEN
    assert waiting.standing(waiting.asked.until) is Standing.LAPSED
    refused = Exemption(7, "alice", waiting.asked, decided_by="bob", refusal="no")
    assert {refused.standing(NOW), refused.standing(waiting.asked.until)} == {Standing.REFUSED}


def test_it_is_described_with_everything_that_was_asked():
    told = granted().to_json(NOW)
    assert told["standing"] == "in force"
    assert (told["requester"], told["decided_by"], told["granted"]) == (
        "alice",
        "bob",
        "2026-03-01T12:00:00Z",
    )
    assert {name: told[name] for name in document() if name != "schema"} == {
        name: value for name, value in document().items() if name != "schema"
    }
    assert Kind(told["kind"]) is Kind.EXPIRED


def test_the_time_floor_ends_an_exception_but_does_not_hide_that_the_clock_was_set_back():
    found = granted()
    back = NOW - timedelta(days=365)
    assert found.standing(NOW, clock=back) is Standing.ENDED
    assert found.standing(found.asked.until, clock=NOW) is Standing.ENDED
    assert found.standing(NOW + timedelta(days=1), clock=NOW) is Standing.IN_FORCE


class Account:
    """A log in which people ask and grant, each event at a time of its own."""

    def __init__(self):
        self.state = State()

    def say(self, when, action, params, cause=None):
        seq = self.state.size
        actor = Actor(person="alice", uid=1, role="administrator", session="s")
        time = when.isoformat(timespec="microseconds").replace("+00:00", "Z")
        self.state.apply(
            Event(
                action=action,
                actor=actor,
                subject=None,
                label=None,
                params=params,
                cause=cause,
                seq=seq,
                time=time,
                clock="host",
                source=Source("daemon", "0" * 16, seq),
            )
        )
        return seq

    def lift(self, when, **changes):
        request = self.say(when, "exception.asked", {"exception": document(**changes)})
        act = self.say(when, "exception.grant", {"request": request})
        self.say(when, "exception.grant.done", {"request": request}, act)
        return request


def test_what_the_log_saw_end_does_not_begin_again_when_the_clock_is_set_back():
    account = Account()
    account.lift(NOW)
    assert account.state.excepted(Kind.EXPIRED, NOW) == {DIGEST}
    account.say(NOW + timedelta(days=6), "daemon.started", {})
    assert account.state.excepted(Kind.EXPIRED, NOW + timedelta(days=1)) == {DIGEST}
    account.say(NOW + timedelta(days=7), "daemon.started", {})
    assert account.state.excepted(Kind.EXPIRED, NOW + timedelta(days=1)) == frozenset()
    assert account.state.exceptions[0].standing(NOW + timedelta(days=1)) is Standing.ENDED
    account.lift(NOW + timedelta(days=1))  # two people may agree anew
    assert account.state.excepted(Kind.EXPIRED, NOW + timedelta(days=1)) == {DIGEST}


def test_a_floor_that_is_set_back_ends_what_was_granted_above_it():
    """Else what was to last days, by a floor that was years ahead, would last years."""
    account = Account()
    account.lift(NOW, kind="floor", subject="2031-01-01T00:00:00Z")
    account.lift(NOW, until="2031-01-08T00:00:00Z")
    assert account.state.excepted(Kind.EXPIRED, NOW) == {DIGEST}
    account.lift(NOW, kind="floor", subject="2026-02-28T00:00:00Z")
    assert account.state.excepted(Kind.EXPIRED, NOW) == frozenset()
    account.lift(NOW)
    account.lift(NOW, kind="floor", subject="2026-03-01T00:00:00Z")  # forwards, it ends nothing
    assert account.state.excepted(Kind.EXPIRED, NOW) == {DIGEST}
