"""For any order of decisions: the fold is a function of the events, and only admitted generations are ever active."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.audit import actions
from holdfast.audit.actions import Phase
from holdfast.audit.event import Actor, Event
from holdfast.governance.labels import Label
from holdfast.governance.state import State

LABEL = Label("public", frozenset(), frozenset({"site"}))
ENDINGS = st.sampled_from(["done", "failed", "cancelled", "interrupted"])
ACTS = sorted(
    name
    for name, found in actions.REGISTRY.items()
    if found.phase is Phase.INTENT and found.producer == "daemon"
)
ALICE = Actor(person="alice", uid=1, role="administrator", session="s")


def artefact(number):
    ref = FileRef("f", number, hashing.sha512(str(number).encode()))
    return Artefact(Kind.BASE, f"base{number % 3}", str(number), (ref,), LABEL).to_json()


def params(act, ending, number):
    """Give an outcome what its fold reads."""
    if ending != "done":
        return {}
    return {
        "bundle.import": {"manifest": "m", "artefacts": [artefact(number)]},
        "bundle.admit": {
            "request": number,
            "generation": number + 1,
            "artefacts": [artefact(number)],
            "root": {},
        },
        "bundle.rollback": {"generation": 1 + number // 2},
        "bundle.reject": {"request": number},
        "train.run": {"run": f"run{number}", "artefacts": [artefact(number)]},
    }.get(act, {})


@st.composite
def histories(draw):
    """Make acts that begin, overlap and end in any way, some never."""
    events, open_acts = [], []

    def say(action, given, cause=None):
        seq = len(events)
        events.append(
            Event(
                action=action,
                actor=ALICE,
                subject=None,
                label=None,
                params=given,
                cause=cause,
                seq=seq,
                time="2026-03-01T12:00:00.000000Z",
                clock="host",
            )
        )
        return seq

    for _ in range(draw(st.integers(0, 25))):
        if open_acts and draw(st.booleans()):
            act, seq = open_acts.pop(draw(st.integers(0, len(open_acts) - 1)))
            ending = draw(ENDINGS)
            say(f"{act}.{ending}", params(act, ending, seq), seq)
        else:
            act = draw(st.sampled_from(ACTS))
            open_acts.append((act, say(act, {})))
    return events, {seq for _, seq in open_acts}


def fold(events):
    state = State()
    for event in events:
        state.apply(event)
    return state


def seen(state):
    return {name: value for name, value in vars(state).items() if name != "_folds"}


@given(histories(), st.data())
def test_it_is_a_function_of_the_events_wherever_it_is_taken_up(history, data):
    events, _ = history
    cut = data.draw(st.integers(0, len(events)))
    state = fold(events[:cut])
    for event in events[cut:]:
        state.apply(event)
    assert seen(state) == seen(fold(events))
    assert state.size == len(events)


@given(histories())
def test_what_runs_is_what_has_no_outcome(history):
    events, running = history
    state = fold(events)
    assert {seq for seq, act in state.acts.items() if act.state == "running"} == running
    assert len(state.acts) == sum(actions.get(event.action).phase is Phase.INTENT for event in events)


@given(histories())
def test_a_generation_is_active_only_if_it_was_admitted_or_gone_back_to(history):
    events, _ = history
    state = fold(events)
    named = {event.params["generation"] for event in events if "generation" in event.params}
    assert state.active in named | {0}
    assert len(state.generations) == sum(event.action == "bundle.admit.done" for event in events)
