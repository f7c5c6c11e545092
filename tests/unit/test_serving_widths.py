"""Steps: sequences whose numbers follow one another, none too short, none too long."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.serving.engine.widths import Widths, measure, steps


@pytest.mark.parametrize(
    ("sequences", "widths", "expected"),
    [
        ([], Widths(2, 4), []),
        ([0], Widths(1, 1), [[0]]),
        ([0, 1, 2], Widths(1, 1), [[0], [1], [2]]),
        ([0], Widths(2, 4), [[0, 1]]),
        ([3], Widths(2, 4), [[3, 4]]),
        ([0, 2], Widths(2, 4), [[0, 1, 2]]),
        ([0, 2], Widths(1, 4), [[0, 1, 2]]),
        ([0, 3], Widths(2, 4), [[0, 1, 2, 3]]),
        ([0, 4], Widths(2, 8), [[0, 1], [4, 5]]),
        ([0, 3], Widths(1, 3), [[0], [3]]),
        ([0, 1, 2, 3, 4], Widths(2, 4), [[0, 1, 2, 3], [4, 5]]),
        ([0, 1, 2, 3, 5], Widths(2, 4), [[0, 1, 2, 3], [5, 6]]),
        ([0, 2, 4], Widths(2, 2), [[0, 1], [2, 3], [4, 5]]),
        ([0, 1, 2, 5, 9], Widths(1, 4), [[0, 1, 2], [5], [9]]),
        ([0, 1, 3, 4], Widths(2, 8), [[0, 1, 2, 3, 4]]),
    ],
)
def test_steps(sequences, widths, expected):
    assert steps(sequences, widths) == expected


def test_with_an_adapter_no_step_has_a_single_row_where_there_are_pairs():
    assert Widths(1, 8).with_adapter() == Widths(2, 8)
    assert Widths(1, 1).with_adapter() == Widths(1, 1)


class Fake:
    """A context that computes so many rows of a step otherwise than others."""

    sequences, length, threads = 8, 1, 2  # too short for chunks

    def __init__(self, odd):
        self.odd = odd

    def compute(self, rows):
        return [np.array([row.token, len(rows) in self.odd], np.float32) for row in rows]

    def trim(self, sequence, length):
        assert (sequence <= self.sequences, length) == (True, 0)

    def single(self, *, alone):
        self.alone = alone


class Timed(Fake):
    """One that says how long a step of a single row takes, by all threads and by one; one thread may compute otherwise."""

    def __init__(self, together, alone, odd=()):
        super().__init__(())
        self.now, self.alone = 0.0, False
        self.lasting, self.odd_alone = {False: together, True: alone}, odd

    def compute(self, rows):
        self.now += self.lasting[self.alone]
        found = super().compute(rows)
        return [row + len(self.odd_alone) for row in found] if self.alone and len(rows) == 1 else found


@pytest.mark.parametrize(
    ("context", "alone"),
    [
        (Timed(1.0, 1.4), True),
        (Timed(1.0, 0.5), True),
        (Timed(1.0, 1.6), False),
        (Timed(1.0, 1.0, odd=(1,)), False),
    ],
)
def test_one_thread_computes_single_rows_where_all_are_hardly_faster_and_its_scores_are_the_same(
    monkeypatch, context, alone
):
    monkeypatch.setattr("time.perf_counter", lambda: context.now)
    assert measure(context, 100).alone is alone
    assert context.alone is alone


@pytest.mark.parametrize(("odd", "threads"), [({1}, 2), ((), 1)])
def test_where_there_are_pairs_at_least_or_one_thread_nothing_is_timed(odd, threads):
    fake = Fake(odd)
    fake.threads = threads
    assert not measure(fake, 100).alone
    assert not hasattr(fake, "alone")


@pytest.mark.parametrize(
    ("odd", "widths"),
    [
        ({}, Widths(1, 8)),
        ({1}, Widths(2, 8)),
        ({4}, Widths(1, 2)),
        ({1, 8}, Widths(2, 4)),
    ],
)
def test_only_counts_of_rows_that_gave_the_same_scores_are_used(odd, widths):
    found = measure(Fake(odd), 100)
    assert (found.least, found.most) == (widths.least, widths.most)
