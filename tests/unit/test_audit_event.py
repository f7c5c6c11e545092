"""What an event may be, and what its bytes are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from holdfast import canonical
from holdfast.audit import actions, event, reconcile
from holdfast.audit.commitment import commit, subject_id
from holdfast.audit.event import Actor, Draft, Event, Source, Subject
from holdfast.audit.verify import MAX_EVENT
from holdfast.errors import UntrustedInput, UntrustedRequest, VerificationFailed
from holdfast.governance.labels import Label

ALICE = Actor("alice", 1000, "operator", "session-1")
FULL = Draft(
    "train.run.done",
    ALICE,
    Subject("adapter", "sha512:" + "ab" * 64),
    Label("restricted", frozenset({'a"b', "{x}"}), frozenset({"site"})),
    {"loss": 0.25, "text": 'a"\n\\ü😀', "nested": {"b": [1, None, True], "a": {}}},
    7,
)
TIME = "2026-01-02T03:04:05.000006Z"
SOURCE = Source("serve", "0123456789abcdef", 3)


def stored(draft: Draft, seq: int = 8) -> bytes:
    return event.prepare(draft).stamp(seq, TIME, "host", SOURCE)


def test_bytes_are_rfc_8785_and_read_back_equal():
    data = stored(FULL)
    found = event.parse(data)
    assert data == canonical.encode(found.to_json())
    assert found == Event(**vars(FULL), seq=8, time=TIME, clock="host", source=SOURCE)


def test_time_is_utc_with_microseconds():
    moment = datetime(2026, 1, 2, 5, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    assert event.timestamp(moment) == TIME
    assert event.timestamp(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000000Z"


@pytest.mark.parametrize(
    "draft",
    [
        Draft("Train.run", ALICE),
        Draft("train.run\n", ALICE),
        Draft("train.run", Actor("", 1, "operator")),
        Draft("train.run", Actor("a\x00", 1, "operator")),
        Draft("train.run", Actor("x" * 257, 1, "operator")),
        Draft("train.run", Actor("alice", -1, "operator")),
        Draft("train.run", Actor("alice", True, "operator")),
        Draft("train.run", ALICE, Subject("Adapter", "sha512:" + "0" * 128)),
        Draft("train.run", ALICE, Subject("adapter", "sha512:0")),
        Draft("train.run", ALICE, cause=-1),
        Draft("train.run", ALICE, params={"x": 2**60}),
        Draft("train.run", ALICE, params={"x": float("nan")}),
        Draft("train.run", ALICE, params={"x": "\ud800"}),
        Draft("train.run", ALICE, params={"x": "y" * MAX_EVENT}),
    ],
)
def test_malformed_drafts_are_refused_before_they_have_a_number(draft):
    with pytest.raises(UntrustedInput):
        event.prepare(draft)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seq":8', b'"seq":08'),
        (b'"seq":8', b'"seq":8.0'),
        (b'"clock":"host"', b'"clock":"mine"'),
        (b"03:04:05", b"33:04:05"),
        (b'"uid":1000', b'"uid":1000,"x":1'),
        (b'"loss":0.25', b'"loss":0.250'),
        (b'"loss":0.25', b'"loss":0.25,"loss":0.25'),
        (b'{"action"', b' {"action"'),
        (b'"level":"restricted"', b'"level":"open"'),
        (b'"a":{}', b'"a": {}'),
    ],
)
def test_any_other_bytes_of_the_same_event_are_refused(old, new):
    data = stored(FULL)
    assert data.count(old) == 1
    with pytest.raises(VerificationFailed):
        event.parse(data.replace(old, new))


def test_a_draft_survives_the_way_through_json():
    assert event.parse_draft(json.loads(json.dumps(FULL.to_json()))) == FULL


@pytest.mark.parametrize("missing", ["action", "actor", "subject", "label", "params", "cause"])
def test_a_draft_without_a_field_is_refused(missing):
    value = FULL.to_json()
    del value[missing]
    with pytest.raises(UntrustedRequest):
        event.parse_draft(value)


@pytest.mark.parametrize("name", ["", "train", "train.run.begun", "answer.done.done", "site.founded.done"])
def test_unregistered_actions_are_refused(name):
    with pytest.raises(UntrustedRequest) as caught:
        actions.get(name)
    assert caught.value.key == "audit.action"


def test_acts_without_outcome_are_found_and_ended():
    def at(seq: int, action: str, cause: int | None = None) -> Event:
        return Event(
            action,
            ALICE,
            FULL.subject,
            FULL.label,
            {},
            cause,
            seq=seq,
            time=TIME,
            clock="host",
            source=SOURCE,
        )

    events = [
        at(0, "train.run"),
        at(1, "eval.run"),
        at(2, "eval.run.done", 1),
        at(3, "daemon.started"),
        at(4, "answer"),
    ]
    left = reconcile.unfinished(events)
    assert [each.seq for each in left] == [0, 4]
    daemon = Actor("holdfastd", None, "system")
    ends = reconcile.interrupted(left, daemon)
    assert [(each.action, each.cause) for each in ends] == [
        ("train.run.interrupted", 0),
        ("answer.interrupted", 4),
    ]
    assert ends[0].subject == FULL.subject
    assert ends[0].label == FULL.label
    closing = [
        Event(**vars(end), seq=5 + n, time=TIME, clock="host", source=SOURCE) for n, end in enumerate(ends)
    ]
    assert reconcile.unfinished([*events, *closing]) == []


def test_commitments_need_the_nonce_and_subjects_need_the_tenant():
    assert commit(b"n" * 32, b"data") != commit(b"m" * 32, b"data")
    assert commit(b"n" * 32, b"data") == commit(b"n" * 32, b"data")
    with pytest.raises(ValueError, match="32 bytes"):
        commit(b"", b"data")
    assert subject_id(b"s" * 32, "ab", "c") != subject_id(b"s" * 32, "a", "bc")
    assert subject_id(b"s" * 32, "ab", "c") != subject_id(b"t" * 32, "ab", "c")
    with pytest.raises(ValueError, match="32 bytes"):
        subject_id(b"", "ab", "c")
