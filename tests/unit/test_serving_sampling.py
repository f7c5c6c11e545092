"""Choosing tokens: greedy without randomness, seeded with it."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.errors import WorkerFailed
from holdfast.serving.sampling import Sampler, Sampling


def scores(*values):
    return np.array(values, np.float32)


def draws(sampling, row, count):
    sampler = Sampler(sampling)
    return [sampler.choose(row) for _ in range(count)]


def test_temperature_zero_takes_the_highest_and_the_lowest_id_among_equals():
    assert draws(Sampling(0.0, 1.0, 1), scores(1, 5, 5, 2), 3) == [1, 1, 1]


def test_a_seed_repeats_and_another_differs():
    row = np.zeros(1000, np.float32)
    one = draws(Sampling(1.0, 0.9, 7), row, 20)
    assert one == draws(Sampling(1.0, 0.9, 7), row, 20)
    assert one != draws(Sampling(1.0, 0.9, 8), row, 20)


@pytest.mark.parametrize("top_p", [1.0, 0.999999])
def test_frequencies_follow_the_probabilities(top_p):
    row = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    counts = np.bincount(draws(Sampling(1.0, top_p, 3), row, 20_000), minlength=3) / 20_000
    assert np.abs(counts - [0.5, 0.3, 0.2]).max() < 0.015


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass():
    row = np.log(np.array([0.2, 0.5, 0.3], np.float32))
    assert set(draws(Sampling(1.0, 0.5, 3), row, 500)) == {1}
    assert set(draws(Sampling(1.0, 0.6, 3), row, 500)) == {1, 2}
    assert set(draws(Sampling(1.0, 0.01, 3), row, 50)) == {1}


def test_temperature_sharpens_and_flattens():
    row = scores(0, 1)
    cold = sum(draws(Sampling(0.2, 1.0, 5), row, 2000))
    warm = sum(draws(Sampling(2.0, 1.0, 5), row, 2000))
    assert cold > 1950
    assert 1000 < warm < 1400


def test_extreme_scores_do_not_overflow():
    assert draws(Sampling(0.01, 1.0, 1), scores(-1e30, 3e38, -np.inf), 5) == [1] * 5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_numbers_are_a_fault(bad):
    with pytest.raises(WorkerFailed):
        Sampler(Sampling(0.0, 1.0, 1)).choose(scores(1, bad, 2))
