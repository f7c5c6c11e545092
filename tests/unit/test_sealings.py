"""Requests for sealed payloads: what may be asked, where a request stands, and what the fold keeps for good."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import hashing
from holdfast.audit.event import Actor, Event, Source
from holdfast.errors import UntrustedRequest
from holdfast.governance import sealings
from holdfast.governance.sealings import Sealings, Standing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANN = "a" * 64
COMMITTED = {"prompt": hashing.sha256(b"p"), "answer": hashing.sha256(b"a")}
REASON = "A complaint was made."
DOCUMENTS = {
    "unseal": {"subject": ANN, "answer": 7, "commitments": COMMITTED},
    "erase": {"subject": ANN, "tenant": "tax-office"},
    "retention": {"class": "prompt", "days": 30},
}


def document(kind, **changes):
    return {"schema": sealings.SCHEMA, "kind": kind, "reason": REASON, **DOCUMENTS[kind], **changes}


class Record:
    """Events, folded one after the other."""

    def __init__(self):
        self.fold, self.seq, self.now = Sealings(), 0, NOW

    def event(self, action, who="alice", **params):
        stamp = self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        actor, source = Actor(who, 1000, "auditor", "s"), Source(self.seq, "daemon", "0" * 16)
        event = Event(action, actor, params=params, seq=self.seq, time=stamp, clock="host", source=source)
        self.fold.apply(event)
        self.seq += 1
        return event

    def asked(self, kind="unseal", **changes):
        return self.event("sealed.asked", request=document(kind, **changes)).seq

    def granted(self, request, who="bob", hours=1):
        expires = (self.now + timedelta(hours=hours)).isoformat()
        self.event("sealed.granted", who, request=request, approval={"statement": {"expires": expires}})

    def standing(self, request):
        return self.fold.requests[request].standing(self.now)


@pytest.fixture
def record():
    return Record()


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_is_read_as_it_was_written(kind):
    assert sealings.parse(document(kind)).to_json() == document(kind)
    assert sealings.parse(document(kind)).digest != sealings.parse(document(kind, reason="Other.")).digest


def test_a_request_says_when_it_was_asked(record):
    request = record.asked()
    record.now += timedelta(days=1)
    record.granted(request)
    assert record.fold.requests[request].to_json(record.now)["time"] == NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_class_may_be_kept_for_good():
    assert sealings.parse(document("retention", days=None)).days is None


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        document("unseal", schema="holdfast.sealing/2"),
        document("unseal") | {"kind": "read"},
        document("unseal") | {"kind": ["unseal"]},
        document("unseal", reason=""),
        document("unseal", reason="  "),
        document("unseal", reason="two\nlines"),
        document("unseal", reason="x" * 1001),
        document("unseal", subject="ann"),
        document("unseal", subject=None),
        document("unseal", answer=-1),
        document("unseal", answer=True),
        document("unseal", answer=2**53),
        document("unseal", commitments={}),
        document("unseal", commitments={"log": hashing.sha256(b"")}),
        document("unseal", commitments={"prompt": "sha256:"}),
        document("unseal", commitments={"prompt": None}),
        document("unseal", tenant="tax-office"),
        document("erase", tenant=""),
        document("erase", tenant="a\nb"),
        document("erase", tenant="x" * 257),
        document("erase", days=1),
        document("retention", days=0),
        document("retention", days=36_501),
        document("retention", days=1.0),
        document("retention", days="30"),
        document("retention", **{"class": "log"}),
        document("retention", **{"class": None}),
    ],
)
def test_any_other_document_is_refused(wrong):
    with pytest.raises(UntrustedRequest):
        sealings.parse(wrong)


def test_a_grant_is_used_once_and_before_it_ends(record):
    request, late = record.asked(), record.asked()
    assert record.standing(request) is Standing.OPEN
    record.granted(request)
    record.granted(late)
    assert record.standing(request) is Standing.GRANTED
    assert record.fold.requests[request].decided_by == "bob"
    record.event("sealed.unseal", request=request)
    record.now += timedelta(hours=1)
    assert [record.standing(one) for one in (request, late)] == [Standing.DONE, Standing.LAPSED]


def test_the_first_decision_counts(record):
    request, other = record.asked(), record.asked("erase")
    record.event("sealed.refused", "bob", request=request, reason="No.")
    record.granted(request, "carl")
    assert (record.standing(request), record.fold.requests[request].decided_by) == (Standing.REFUSED, "bob")
    assert record.standing(other) is Standing.OPEN


def test_every_erasure_moves_a_subject_to_its_next_key_from_the_intent_on(record):
    for number in (1, 2):
        request = record.asked("erase")
        record.event("sealed.erase", "bob", request=request, subject=ANN)
        assert record.standing(request) is Standing.DONE
        assert record.fold.generations() == {ANN: number}
    first, second = record.fold.erased[ANN]
    assert f"event {first.event}" in record.fold.fate(ANN, "prompt", first.event - 1, first.time)
    assert f"event {second.event}" in record.fold.fate(ANN, "prompt", first.event + 1, first.time)
    assert record.fold.fate(ANN, "prompt", second.event + 1, second.time) is None
    assert record.fold.fate("b" * 64, "prompt", 0, first.time) is None


def test_retention_is_what_was_decided_last(record):
    for days in (30, 7, None):
        request = record.asked("retention", days=days)
        record.event("sealed.retention", "bob", request=request, days=days, **{"class": "prompt"})
        assert record.fold.retention == ({} if days is None else {"prompt": days})
    assert record.fold.due("prompt", NOW) is None


def test_shredded_days_only_grow(record):
    for before in ("2026-02-01", "2026-03-01", "2026-01-01"):
        record.event("sealed.shredded", "holdfastd", before=before, count=1, **{"class": "prompt"})
    assert record.fold.shredded["prompt"].before == "2026-03-01"
    assert "2026-03-01" in record.fold.fate(ANN, "prompt", 0, "2026-02-28T10:00:00.000000Z")
    assert record.fold.fate(ANN, "prompt", 0, "2026-03-01T10:00:00.000000Z") is None
    assert record.fold.fate(ANN, "answer", 0, "2026-02-28T10:00:00.000000Z") is None


@given(
    days=st.integers(1, 36_500),
    now=st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants them naive
    age=st.timedeltas(timedelta(0), timedelta(days=40_000)),
    delay=st.timedeltas(timedelta(0), sealings.STAMP_SLACK),
)
def test_nothing_is_shredded_before_its_time_and_nothing_is_kept_two_days_longer(days, now, age, delay):
    fold = Sealings()
    fold.retention["prompt"] = days
    before = fold.due("prompt", now) or date.min
    stamped = now - age  # its event's time; it was sealed a moment before, on the day of its folder
    shredded = (stamped - delay).date() < before
    assert not shredded or age >= timedelta(days=days)
    assert shredded or age <= timedelta(days=days + 2) + sealings.STAMP_SLACK
