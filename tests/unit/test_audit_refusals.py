"""Counts of refusals: exact, bounded, and never too often on the record."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from holdfast.audit.counted import Counted
from holdfast.audit.refusals import BURST, LONGEST, MAX_CALLERS, MAX_REASONS, OTHER, Allowance, Pace, Tally
from holdfast.errors import NoSpace, NotRecorded


@given(
    st.lists(st.tuples(st.text(max_size=3), st.none() | st.text(max_size=3)), max_size=300),
    st.integers(0, 300),
)
def test_every_refusal_is_counted_once_whatever_is_put_back(refusals, cut):
    first, second = Tally(), Tally()
    for at, (reason, caller) in enumerate(refusals):
        (first if at < cut else second).add(reason, caller, float(at))
    second.put_back(first)
    assert second.count == sum(second.reasons.values()) == len(refusals)
    assert sum(second.callers.values()) == sum(caller is not None for _, caller in refusals)
    assert len(second.reasons) <= MAX_REASONS
    assert len(second.callers) <= MAX_CALLERS
    if first.count:
        assert second.since == 0.0


def test_what_does_not_fit_is_counted_as_other():
    tally = Tally()
    for number in range(1000):
        tally.add(f"reason {number}", str(number), 0.0)
    assert len(tally.reasons) == MAX_REASONS
    assert tally.reasons[OTHER] == 1000 - (MAX_REASONS - 1)
    assert tally.callers[OTHER] == 1000 - (MAX_CALLERS - 1)


@given(st.lists(st.floats(0.0, 30.0), max_size=400))
def test_two_counts_are_a_second_apart_and_a_lasting_flood_is_told_ever_more_rarely(gaps):
    pace, now, told = Pace(), 0.0, []
    for gap in gaps:
        now += gap
        if pace.wait(now) == 0.0:
            pace.recorded(now)
            told.append(now)
    assert all(after - before > 1.0 - 1e-9 for before, after in pairwise(told))  # but for rounding


def test_a_flood_of_a_day_is_some_thousand_events_and_after_a_quiet_time_the_next_is_told_at_once():
    pace, now, told = Pace(), 0.0, 0
    while now < 86_400:
        now += pace.wait(now)
        pace.recorded(now)
        told += 1
    assert 86_400 / LONGEST <= told < 1_500
    assert pace.wait(now + 2 * LONGEST) == 0.0
    pace.recorded(now + 2 * LONGEST)
    assert pace.wait(now + 2 * LONGEST + 0.25) == 0.75


def test_a_known_caller_has_a_burst_and_then_one_a_second():
    allowance = Allowance()
    assert sum(allowance.take(0.0) for _ in range(10_000)) == BURST
    assert [allowance.take(at) for at in (0.5, 1.0, 1.5, 2.25)] == [False, True, False, True]
    assert sum(allowance.take(10_000.0) for _ in range(100)) == BURST


class Record:
    """Takes counts, or refuses them."""

    def __init__(self):
        self.taken, self.error = [], None

    async def __call__(self, tally, seconds):
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.taken.append((tally.count, seconds))


async def test_what_the_log_does_not_take_goes_with_the_next_count():
    record, now = Record(), [0.0]
    counted = Counted(record, lambda: now[0])
    for error in (NotRecorded("a", "b", remedy="c"), NoSpace("a", "b", remedy="c")):
        record.error = error
        counted.add("why")
        await counted.flush()
    record.error = None
    now[0] = 7.0
    counted.add("why", "1000")
    await counted.close()
    assert record.taken == [(3, 7.0)]
    await counted.close()
    assert len(record.taken) == 1


async def test_a_count_that_is_on_its_way_to_the_log_is_waited_for():
    taken, asked, ready = [], asyncio.Event(), asyncio.Event()

    async def record(tally, _seconds):
        asked.set()
        await ready.wait()
        taken.append(tally.count)

    counted = Counted(record, lambda: 0.0)
    counted.add("why")
    await asked.wait()
    closing = asyncio.create_task(counted.close())
    for _ in range(9):
        counted.add("why")
        await asyncio.sleep(0)
    ready.set()
    await closing
    assert taken == [1, 9]


async def test_while_it_is_paused_nothing_is_handed_in_and_nothing_lost():
    record = Record()
    counted = Counted(record, lambda: 0.0)
    counted.pause(paused=True)
    for _ in range(5):
        counted.add("why")
        await asyncio.sleep(0)
    assert record.taken == []
    counted.pause(paused=False)
    while not record.taken:  # noqa: ASYNC110 - a turn of the loop, no time
        await asyncio.sleep(0)
    assert record.taken == [(5, 0.0)]
    await counted.close()
