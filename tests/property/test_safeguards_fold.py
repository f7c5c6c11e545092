"""For any order of events: each request is decided once, by whoever came first, and revocations only grow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from holdfast import hashing
from holdfast.audit.event import Actor, Event, Source, Subject
from holdfast.governance import exceptions
from holdfast.governance.exceptions import Kind, Standing
from holdfast.governance.state import State

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DIGESTS = [hashing.sha512(str(number).encode()) for number in range(6)]


@st.composite
def asked(draw):
    kind = draw(st.sampled_from([*Kind]))
    moment = START + timedelta(hours=draw(st.integers(-1000, 1000)))
    subject = exceptions.write_time(moment) if kind is Kind.FLOOR else draw(st.sampled_from(DIGESTS))
    until = exceptions.write_time(START + timedelta(hours=draw(st.integers(1, 100))))
    return {
        "schema": exceptions.SCHEMA,
        "kind": kind.value,
        "subject": subject,
        "until": until,
        "reason": "Because.",
    }


def entry(digest, instead):
    return {
        "digest": digest,
        "kind": "base",
        "name": "tiny",
        "reason": "It leaks.",
        "since": "2026-01-01T00:00:00Z",
        "instead": instead,
    }


NUMBERS = st.integers(0, 20)
ENTRIES = st.lists(
    st.builds(entry, st.sampled_from(DIGESTS), st.none() | st.sampled_from(DIGESTS)), max_size=3
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("exception.asked"), st.builds(lambda one: {"exception": one}, asked())),
        st.tuples(st.just("exception.grant.done"), st.builds(lambda one: {"request": one}, NUMBERS)),
        st.tuples(
            st.just("exception.refused"), st.builds(lambda one: {"request": one, "reason": "no"}, NUMBERS)
        ),
        st.tuples(
            st.just("revocation.listed"),
            st.builds(lambda listed: {"counter": 1, "bundle": "late 3", "entries": listed}, ENTRIES),
        ),
        st.tuples(st.just("artefact.revoked"), st.just({})),
        st.tuples(st.just("request.make.done"), st.just({"statement": DIGESTS[0]})),
        st.tuples(
            st.just("request.grant.done"),
            st.builds(lambda one: {"request": one, "document": DIGESTS[1]}, NUMBERS),
        ),
        st.tuples(
            st.just("request.refused"), st.builds(lambda one: {"request": one, "reason": "no"}, NUMBERS)
        ),
    ),
    max_size=20,
)


def events(steps):
    for seq, (action, params) in enumerate(steps):
        yield Event(
            action=action,
            actor=Actor(person=f"person {seq}", uid=1, role="administrator", session="s"),
            subject=Subject("base", DIGESTS[seq % 6]) if action == "artefact.revoked" else None,
            label=None,
            params=params,
            cause=seq if action.endswith(".done") else None,
            seq=seq,
            time=f"2026-03-01T12:00:{seq:02}.000000Z",
            clock="host",
            source=Source("daemon", "0" * 16, seq),
        )


def fold(steps):
    state = State()
    for event in events(steps):
        state.apply(event)
    return state


@given(STEPS)
def test_the_first_decision_counts_and_none_comes_before_its_request(steps):
    state = fold(steps)
    open_ones, decided, floor = {}, {}, None
    for seq, (action, params) in enumerate(steps):
        if action == "exception.asked":
            open_ones[seq] = params["exception"]
        elif action in ("exception.grant.done", "exception.refused") and params["request"] in open_ones:
            one = open_ones.pop(params["request"])
            decided[params["request"]] = (action.endswith("done"), f"person {seq}")
            if action.endswith("done") and one["kind"] == "floor":
                floor = exceptions.read_time(one["subject"], "floor")
    assert state.exceptions.keys() == open_ones.keys() | decided.keys()
    for request, one in state.exceptions.items():
        if request in open_ones:
            assert (one.granted, one.refusal, one.decided_by) == (None, None, None)
        else:
            granted, who = decided[request]
            assert ((one.granted is not None), one.refusal is None, one.decided_by) == (granted, granted, who)
    assert state.floor == floor


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=8), st.integers(0, 300))
def test_a_trusted_clock_s_times_count_and_others_do_not(times, hours):
    state = State()
    for event, (day, trusted) in zip(events([("daemon.started", {})] * len(times)), times, strict=False):
        moment = (START + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        state.apply(replace(event, time=moment, clock="trusted" if trusted else "host"))
    latest = max((day for day, trusted in times if trusted), default=-1)
    clock = START + timedelta(days=hours)
    assert state.moment(clock) == max(clock, START + timedelta(days=latest) if latest >= 0 else clock)


@given(STEPS, st.integers(0, 200))
def test_what_is_excepted_was_granted_and_is_not_over(steps, hours):
    state, now = fold(steps), START + timedelta(hours=hours)
    for kind in Kind:
        for subject in state.excepted(kind, now):
            assert any(
                one.asked.kind is kind
                and one.asked.subject == subject
                and one.granted is not None
                and now < one.asked.until
                for one in state.exceptions.values()
            )
    assert not state.excepted(Kind.FLOOR, now)
    assert all(one.standing(now) is not Standing.IN_FORCE for one in state.exceptions.values() if one.refusal)


@given(STEPS, st.integers(0, 20))
def test_revocations_only_grow(steps, cut):
    before, after = fold(steps[:cut]), fold(steps)
    assert before.revocations.keys() <= after.revocations.keys()
    assert before.revoked <= after.revoked
    assert all(before.revocation_of(one) is None or after.revocation_of(one) for one in DIGESTS)


@given(STEPS)
def test_an_inventory_is_decided_once(steps):
    state = fold(steps)
    for one in state.inventories.values():
        assert (one.state == "open") == (one.decided_by is None)
        assert (one.document is not None) == (one.state == "granted")
        assert (one.refusal is not None) == (one.state == "refused")
