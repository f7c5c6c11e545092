"""Snapshots: folding on from one gives what folding everything gives, wherever it was taken; malformed ones are refused."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import recorded
from tests.property import test_safeguards_fold as safeguards
from tests.property import test_state_fold as main

from holdfast import canonical, hashing
from holdfast.artefact import Kind
from holdfast.audit import actions
from holdfast.audit.event import Event, Source, Subject
from holdfast.errors import HoldfastError, UntrustedInput, VerificationFailed
from holdfast.governance import exceptions, snapshot
from holdfast.governance.people import Person, Role
from holdfast.governance.records import Called, Generation
from holdfast.governance.state import State

DEEP = 70
DIGEST = hashing.sha512(b"x")


def resumed(events, cut):
    state = snapshot.decode(snapshot.encode(main.fold(events[:cut])))
    for event in events[cut:]:
        state.apply(event)
    return state


@given(main.histories())
def test_folding_goes_on_from_a_snapshot_at_every_cut(history):
    events, _ = history
    whole = main.fold(events)
    for cut in range(len(events) + 1):
        state = resumed(events, cut)
        assert state == whole
        assert state.size == len(events)
        assert list(state.acts) == list(whole.acts)  # the order of events is part of what is known
        assert snapshot.encode(state) == snapshot.encode(whole)


@given(safeguards.STEPS)
def test_exceptions_revocations_and_inventories_go_on_from_a_snapshot(steps):
    events = [*safeguards.events(steps)]
    for cut in range(len(events) + 1):
        assert resumed(events, cut) == main.fold(events)


def full():
    """Fill a state with one of everything."""
    state = State()
    state.site, state.zones, state.size = "Hafen ⚓", ("site", "öst"), 7
    state.floor = datetime(2026, 3, 1, 12, 30, 1, 5, tzinfo=UTC)
    state.people["alice"] = Person("alice", (Role.AUDITOR,), (1000, 1001), {"keys": []}, "ab")
    names = {("base", "tiny"): Called("sha512:x", "1", ""), ("suite", "quiz"): Called("sha512:y", "2", "c")}
    state.generations.append(Generation(1, names, 3, 6))
    state.revoked |= {"b", "a", "c"}
    asked = exceptions.Request(exceptions.Kind.FLOOR, "2026-03-01T12:00:00Z", state.floor, "Because.")
    state.exceptions[4] = exceptions.Exemption(4, "alice", asked, granted=state.floor)
    found = main.artefact(5, 3)
    state.artefacts[found.digest] = found
    state.gates["run"] = {"go": True, "reasons": [], "score": 0.25, "none": None, "great": 1e300}
    return state


def test_everything_that_a_state_can_hold_comes_back_as_it_was():
    state = full()
    data = snapshot.encode(state)
    again = snapshot.decode(data)
    assert again == state
    assert isinstance(again.people["alice"].roles[0], Role)
    assert isinstance(again.exceptions[4].asked.kind, exceptions.Kind)
    (found,) = again.artefacts.values()
    assert isinstance(found.kind, Kind)
    assert found.digest in again.artefacts
    again.revoked.add("d")
    assert again != state
    assert canonical.decode(data, limit=len(data), what="it") == json.loads(data)


@st.composite
def anything(draw):
    """Make events of any registered actions with any parameters that the registry takes."""
    events = []
    for seq in range(draw(st.integers(1, 12))):
        name = draw(st.sampled_from(sorted(actions.REGISTRY)))
        given = (
            recorded.values(actions.REGISTRY[name].params)
            if draw(st.booleans())
            else st.just(recorded.sample(name))
        )
        told = draw(given)
        if name == "clock.stepped":
            told["seconds"] %= 10**10  # no clock knows more years
        events.append(
            Event(
                action=name,
                actor=main.ALICE,
                subject=Subject("base", DIGEST),
                label=main.LABEL,
                params=told,
                cause=draw(st.none() | st.integers(0, seq)),
                seq=seq,
                time="2026-03-01T12:00:00.000000Z",
                clock=draw(st.sampled_from(["trusted", "host"])),
                source=Source("daemon", "0" * 16, seq),
            )
        )
    return events


def folded(state, events):
    for event in events:
        with suppress(HoldfastError):  # parameters of the right types need not make sense
            state.apply(event)
    return state


@given(anything())
def test_whatever_room_of_the_fold_takes_an_event_keeps_what_a_snapshot_holds(events):
    whole = folded(State(), events)
    for cut in range(len(events) + 1):
        state = snapshot.decode(snapshot.encode(folded(State(), events[:cut])))
        assert folded(state, events[cut:]) == whole


def changed(path, value):
    """Give the bytes of the state above with one place of its JSON replaced."""
    document = json.loads(snapshot.encode(full()))
    here = document["state"]
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    return canonical.encode(document)


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (["unknown"], 1, "other attributes"),
        (["size"], "7", "size is not of its type"),
        (["size"], True, "size is not of its type"),
        (["zones"], ["l", "site"], "zones is not of its type"),
        (["zones"], {}, "without a type"),
        (["zones"], [], "without a type"),
        (["zones"], ["x"], "unknown type"),
        (["zones"], [["t"]], "unknown type"),
        (["people"], ["d", "alice"], "malformed"),
        (["people"], ["d", ["l"], 1], "malformed"),
        (["people"], ["d", 1, 1, True, 1], "names a key twice"),
        (["people", 2, 1], "artefact.Artefact", "has other fields"),
        (["people", 2, 1], "governance.people.GRANTS", "unknown"),
        (["people", 2, 1], "governance.people.Role", "unknown"),
        (["people", 2, 1], "governance.state.State", "unknown"),
        (["people", 2, 1], "subprocess.Popen", "unknown"),
        (["people", 2, 1], "artefact.dataclass", "unknown"),
        (["people", 2, 1], 7, "unknown type"),
        (["people", 2, 2], 7, "has other fields"),
        (["people", 2, 3], ["t", "auditor"], "has other fields"),
        (["people", 2, 4], ["t", True], "has other fields"),
        (["people", 2, 5], ["d", 1, 2], "has other fields"),
        (["people", 2, 5], ["d", "x", ["s"]], "has other fields"),
        (["people", 2, 3, 1, 2], "king", "is no governance.people.Role"),
        (["people", 2, 3, 1], ["e", "governance.people.Person", "x"], "unknown"),
        (["people", 2, 3, 1], ["e", "governance.people.Role"], "unknown type"),
        (["floor", 1], "yesterday", "no moment"),
        (["floor", 1], "2026-03-01T12:30:01.000005Z", "one form"),
        (["floor"], ["m", 1], "unknown type"),
        (["revoked"], ["s", "b", "a", "c"], "one form"),
        (["revoked"], ["s", "a", "a"], "one form"),
        (["revoked"], ["s", ["l"]], "no set can hold"),
        (["generations", 1, 3, 1], ["t", "base"], "has other fields"),
    ],
)
def test_a_malformed_snapshot_is_refused(path, value, why):
    with pytest.raises(VerificationFailed) as caught:
        snapshot.decode(changed(path, value))
    assert caught.value.key == "state.snapshot"
    assert why in caught.value.message


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers(0, 9) | st.text(max_size=3), st.lists).map(
        lambda value: canonical.encode({"schema": snapshot.SCHEMA, "state": {"site": value}})
    )
)
def test_any_other_bytes_are_refused(data):
    with pytest.raises(VerificationFailed):
        snapshot.decode(data)


@given(st.data())
def test_any_byte_that_is_changed_gives_a_refusal_or_another_state(data):
    bytes_ = bytearray(snapshot.encode(full()))
    at = data.draw(st.integers(0, len(bytes_) - 1))
    bytes_[at] = data.draw(st.integers(32, 126).filter(lambda one: one != bytes_[at]))
    try:
        found = snapshot.decode(bytes(bytes_))
    except VerificationFailed:
        return
    assert found != full()
    assert snapshot.encode(found) == bytes(bytes_)


def test_what_is_nested_too_deep_is_told_before_anything_relies_on_it():
    state, deep = State(), []
    for _ in range(DEEP):
        deep = [deep]
    state.gates["run"] = {"deep": deep}
    with pytest.raises(UntrustedInput) as caught:
        snapshot.encode(state)
    assert caught.value.key == "state.depth"


def test_the_deepest_that_can_be_written_can_be_read():
    state, deep = State(), []
    for _ in range(snapshot.MAX_DEPTH - 3):
        deep = [deep]
    state.gates["run"] = {"deep": deep}
    assert snapshot.decode(snapshot.encode(state)) == state
    state.gates["run"] = {"deep": [deep]}
    with pytest.raises(UntrustedInput):
        snapshot.encode(state)


def test_what_is_no_data_is_a_mistake_of_ours():
    @dataclass
    class Stranger:
        name: str

    for stranger in (object(), Stranger("x"), b"bytes", {"x": len}):
        state = State()
        state.gates["run"] = {"x": stranger}
        with pytest.raises(TypeError):
            snapshot.encode(state)
