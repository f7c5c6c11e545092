"""What counts as a step of the clock, and what does not."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from holdfast.audit import clock
from holdfast.audit.clock import BOUND, SECOND, Reading, Step, Watch

NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) * SECOND
FIRST = Reading(NOON, 500 * SECOND, 400 * SECOND, 1000)


def later(seconds, *, step=0.0, asleep=0.0, blur=1000):
    """Give a reading so long after the first; stepped by so much, and suspended for so long of that."""
    passed, slept = round(seconds * SECOND), round(asleep * SECOND)
    moved = round(step * SECOND)
    return Reading(FIRST.wall + passed + moved, FIRST.boot + passed, FIRST.awake + passed - slept, blur)


def test_time_that_passes_is_no_step_awake_or_suspended():
    watch = Watch(FIRST)
    for seconds in (0, 1, 60, 86_400, 40_000_000):
        assert watch.look(later(seconds)) is None
        assert watch.look(later(seconds, asleep=seconds / 2)) is None
    assert watch.slept(later(90, asleep=30)) == 30.0
    assert watch.slept(later(90, asleep=0.01)) == 0.0
    assert watch.uptime(later(90, asleep=30)) == 90.0


def test_a_step_either_way_is_told_once_with_what_the_clock_should_have_shown():
    watch = Watch(FIRST)
    back = watch.look(later(10, step=-3600))
    assert back is not None
    assert back.params() == {
        "seconds": -3600.0,
        "before": "2026-03-01T12:00:10.000000Z",
        "after": "2026-03-01T11:00:10.000000Z",
    }
    assert watch.look(later(11, step=-3600)) is None
    assert watch.look(later(12, step=-3599)) == Step(SECOND, later(12, step=-3599).wall)
    assert watch.look(later(13)) == Step(3599 * SECOND, later(13).wall)


def test_small_steps_add_up_to_one_that_is_noticed():
    watch, told = Watch(FIRST), []
    for number in range(1, 101):
        step = watch.look(later(number, step=-0.1 * number))
        if step is not None:
            told.append(step.moved)
    assert sum(told) <= -9 * SECOND
    assert all(moved < -BOUND for moved in told)


def test_a_reading_that_took_long_is_given_as_much_room():
    watch = Watch(FIRST)
    assert watch.look(later(5, step=2, blur=3 * SECOND)) is None
    assert watch.look(later(6, step=2)) is not None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_what_is_told_adds_up_to_where_the_clock_stands(steps):
    watch, told = Watch(FIRST), 0
    for number, at in enumerate(steps):
        step = watch.look(later(number, step=at))
        told += step.moved if step else 0
    assert abs(told - round(steps[-1] * SECOND)) <= BOUND + 3000


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=20), st.floats(0, 0.2))
def test_nothing_is_told_within_the_bound(times, wobble):
    watch = Watch(FIRST)
    for number, (_, at) in enumerate(pairwise(sorted(times))):
        assert watch.look(later(at, step=wobble if number % 2 else -wobble)) is None


def test_at_a_start_in_the_same_boot_the_step_is_known_exactly():
    assert clock.since("2026-03-01T12:00:00.000000Z", FIRST.booted, 0, later(100)) is None
    moved = clock.since("2026-03-01T12:00:00.000000Z", FIRST.booted, 0, later(100, step=-7))
    assert moved is not None
    assert moved.moved == -7 * SECOND
    # What the log says already is not said again.
    assert clock.since("2026-03-01T12:00:00.000000Z", FIRST.booted, -7000, later(100, step=-7)) is None
    forward = clock.since("2026-03-01T12:00:00.000000Z", FIRST.booted, 0, later(100, step=90_000))
    assert forward is not None
    assert forward.moved == 90_000 * SECOND


def test_at_a_start_in_another_boot_only_a_clock_before_the_last_event_can_be_seen():
    last = "2026-03-01T12:00:30.000000Z"
    assert clock.since(None, None, 0, FIRST) is None
    assert clock.since(last, None, 0, later(30)) is None
    assert clock.since(last, None, 0, later(10**6)) is None
    behind = clock.since(last, None, 0, later(10))
    assert behind is not None
    assert behind.params() == {
        "seconds": -20.0,
        "before": last,
        "after": "2026-03-01T12:00:10.000000Z",
    }
