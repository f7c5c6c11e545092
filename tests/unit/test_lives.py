"""How the daemon's last life ended, as the log tells it."""

from __future__ import annotations

import itertools

import pytest
from tests import recorded

from holdfast.audit.event import Actor, Event, Source
from holdfast.governance import snapshot
from holdfast.governance.state import State

DAEMON = Actor("holdfastd", None, "service")
BOOTED = "2026-01-01T00:00:00.000000Z"


@pytest.fixture
def tell():
    """Fold events into a state, one after the other."""
    state, numbers = State(), itertools.count()

    def one(action, *, source=("daemon", 0), **params):
        seq = next(numbers)
        name, count = source
        given = recorded.sample(action, **params)
        state.apply(
            Event(
                action,
                DAEMON,
                params=given,
                seq=seq,
                time=f"2026-01-01T00:{seq:02}:00.000000Z",
                clock="host",
                source=Source(name, "0" * 16, count),
            )
        )
        return state.lives

    return one


def test_a_life_without_a_stop_is_unexplained_until_it_is_followed_by_one(tell):
    assert State().lives.previous == "none"
    assert tell("trust.pinned").previous == "none"
    assert tell("daemon.started", boot="a", booted=BOOTED).previous == "unexplained"
    assert tell("daemon.stopped").previous == "stopped"
    assert tell("session.closed").previous == "stopped"
    assert tell("daemon.started", boot="a", booted=BOOTED).previous == "unexplained"
    assert tell("daemon.started", boot="b", booted=BOOTED).previous == "unexplained"
    assert tell("home.restored").previous == "none"


def test_a_start_tells_how_the_life_before_it_ended(tell):
    assert State().lives.before == "none"
    assert tell("daemon.started", previous="stopped").before == "stopped"
    assert tell("daemon.stopped").before == "stopped"
    assert tell("daemon.started", previous="unexplained").before == "unexplained"


def test_steps_of_the_clock_are_added_up_since_the_last_start(tell):
    lives = tell("daemon.started", boot="a", booted=BOOTED)
    tell("clock.stepped", seconds=-1.25)
    tell("clock.stepped", seconds=3600)
    assert (lives.boot, lives.booted, lives.shift) == ("a", BOOTED, 3_598_750)
    tell("daemon.started", boot="a", booted="2026-01-01T01:00:00.000000Z")
    assert (lives.booted, lives.shift) == ("2026-01-01T01:00:00.000000Z", 0)
    assert lives.last == "2026-01-01T00:03:00.000000Z"


def test_the_space_is_what_was_told_last_also_by_an_earlier_life(tell):
    assert tell("daemon.started").space == "ample"
    assert tell("audit.space.low").space == "low"
    assert tell("audit.space.stopped").space == "stopped"
    assert tell("daemon.started").space == "stopped"
    assert tell("audit.space.recovered").space == "ample"


def test_counts_are_of_this_life_and_of_each_producers_latest_run(tell):
    lives = tell("serve.refused", source=("serve", 7))
    assert lives.counts == {"serve": 8}
    tell("daemon.started", source=("daemon", 0), boot="a", booted=BOOTED)
    assert lives.counts == {"daemon": 1}
    tell("serve.refused", source=("serve", 0))
    tell("serve.refused", source=("serve", 1))
    tell("daemon.stopped", source=("daemon", 1))
    assert lives.counts == {"daemon": 2, "serve": 2}
    tell("serve.refused", source=("serve", 0))  # of a new run
    assert lives.counts == {"daemon": 2, "serve": 1}


def test_a_snapshot_keeps_them(tell):
    tell("daemon.started", boot="a", booted=BOOTED)
    lives = tell("clock.stepped", seconds=2)
    state = State()
    vars(state.lives).update(vars(lives))
    assert snapshot.decode(snapshot.encode(state)) == state
