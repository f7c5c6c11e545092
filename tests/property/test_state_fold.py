"""For any order of decisions: the fold is a function of the events, and only admitted generations are ever active."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.audit import actions
from holdfast.audit.actions import Phase
from holdfast.audit.event import Actor, Event, Source
from holdfast.governance import listing
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


def artefact(number, files=1):
    refs = tuple(
        FileRef(f"f{at:03}", number, hashing.sha512(f"{number}.{at}".encode())) for at in range(files)
    )
    return Artefact(Kind.BASE, f"base{number % 3}", str(number), refs, LABEL)


def brought(number):
    """Give what an import brings: an artefact that needs one event, and one that needs several."""
    return artefact(number), artefact(number + 1000, 30)


def params(act, ending, number):
    """Give an outcome what its fold reads."""
    if ending != "done":
        return {}
    return {
        "bundle.import": {
            "manifest": "m",
            "artefacts": 2,
            "listing": listing.digest_of(one.digest for one in brought(number)),
        },
        "bundle.admit": {"request": number, "generation": number + 1, "artefacts": 2, "root": {}},
        "bundle.rollback": {"generation": 1 + number // 2},
        "bundle.reject": {"request": number},
        "train.run": {"run": f"run{number}", "artefacts": [artefact(number).to_json()]},
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
                source=Source("daemon", "0" * 16, seq),
            )
        )
        return seq

    for _ in range(draw(st.integers(0, 25))):
        if open_acts and draw(st.booleans()):
            act, seq = open_acts.pop(draw(st.integers(0, len(open_acts) - 1)))
            ending = draw(ENDINGS)
            if act == "bundle.import":
                told = [one for found in brought(seq) for one in listing.divide(found, {"x": "y"})]
                for one in told[: draw(st.integers(0, len(told)))]:
                    say(listing.LISTED, one, seq)
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


@given(histories(), st.data())
def test_it_is_a_function_of_the_events_wherever_it_is_taken_up(history, data):
    events, _ = history
    cut = data.draw(st.integers(0, len(events)))
    state = fold(events[:cut])
    for event in events[cut:]:
        state.apply(event)
    assert state == fold(events)
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


@given(histories())
def test_what_an_import_brings_is_what_was_listed_whole_or_nothing(history):
    events, running = history
    state = fold(events)
    for request, found in state.imports.items():
        told = [event.params for event in events if (event.action, event.cause) == (listing.LISTED, request)]
        heads = [one for one in told if one["part"] == 1]
        if request in running:
            assert found.artefacts == ()
            assert state.listed.get(request, []) == told
        elif events[found.events[-1]].action == "bundle.import.done" and len(told) == 3:
            assert found.artefacts == brought(request)
            assert found.state == "waiting"
        elif found.state not in ("admitted", "rejected", "discarded"):
            assert found.artefacts == ()
            assert found.state in ("failed", "cancelled", "interrupted")
        assert len(found.events) == 1 + len(heads) + (request not in running) + 2 * (
            found.decided_by is not None
        )
    assert state.listed.keys() <= running
    for one in state.artefacts.values():
        assert one.made_by in {e.seq for e in events if e.action in ("bundle.admit.done", "train.run.done")}
