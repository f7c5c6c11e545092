"""Choosing tokens: greedy without randomness, seeded with it, moved by bias and penalties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UntrustedRequest, WorkerFailed
from holdfast.serving.engine.sampling import Sampler
from holdfast.serving.link import Sampling


def scores(*values):
    return np.array(values, np.float32)


def draws(row, count, *, choice=0, prompt=(), **settings):
    sampler = Sampler(Sampling(**settings), choice=choice, prompt=prompt, size=len(row))
    return [sampler.choose(row).token for _ in range(count)]


VALUES = st.lists(st.integers(-3, 3).map(float), min_size=4, max_size=4)


@given(
    VALUES,
    st.dictionaries(st.integers(0, 3), st.sampled_from([-100.0, -1.0, -1e-9, 0.0, 1.0, 2.5]), max_size=4),
)
def test_the_highest_biased_score_is_taken_and_the_lowest_id_among_equals(row, bias):
    moved = scores(*row)
    for token, more in bias.items():
        moved[token] += np.float32(more)
    expected = int(np.flatnonzero(moved == moved.max())[0])
    assert draws(scores(*row), 2, temperature=0, logit_bias=bias) == [expected] * 2


@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_temperature_zero_takes_the_highest_and_the_lowest_id_among_equals(temperature):
    assert draws(scores(1, 5, 5, 2), 3, temperature=temperature) == [1, 1, 1]


def test_a_seed_repeats_and_another_differs_and_so_do_choices():
    row = np.zeros(1000, np.float32)
    one = draws(row, 20, top_p=0.9, seed=7)
    assert one == draws(row, 20, top_p=0.9, seed=7)
    assert one != draws(row, 20, top_p=0.9, seed=8)
    assert one != draws(row, 20, top_p=0.9, seed=7, choice=1)
    assert draws(row, 5, seed=2**64 - 1) == draws(row, 5, seed=2**64 - 1)


def test_a_choice_is_not_the_next_seed():
    row = np.zeros(1000, np.float32)
    assert draws(row, 10, seed=7, choice=1) != draws(row, 10, seed=8)


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.999999}, {"top_k": 3}, {"min_p": 0.01}])
def test_frequencies_follow_the_probabilities(settings):
    row = np.log(np.array([0.5, 0.3, 0.2, 1e-9], np.float32))
    counts = np.bincount(draws(row, 20_000, seed=3, **settings), minlength=4) / 20_000
    assert np.abs(counts - [0.5, 0.3, 0.2, 0]).max() < 0.015


def test_frequencies_are_right_across_the_blocks_of_a_large_vocabulary():
    row = np.full(5000, -20, np.float32)
    places = [0, 255, 256, 2600, 4999]
    row[places] = np.log(np.array([0.1, 0.2, 0.3, 0.25, 0.15], np.float32))
    counts = np.bincount(draws(row, 20_000, seed=5), minlength=5000) / 20_000
    assert np.abs(counts[places] - [0.1, 0.2, 0.3, 0.25, 0.15]).max() < 0.015
    assert counts.sum() - counts[places].sum() < 0.001


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass():
    row = np.log(np.array([0.2, 0.5, 0.3], np.float32))
    assert set(draws(row, 500, top_p=0.49)) == {1}
    assert set(draws(row, 500, top_p=0.6)) == {1, 2}
    assert set(draws(row, 50, top_p=0.01)) == {1}


def test_top_k_keeps_the_lowest_ids_among_equals():
    assert set(draws(scores(0, 1, 1, 1, 1), 200, top_k=2)) == {1, 2}
    assert set(draws(scores(0, 1, 1, 3, 1), 500, top_k=3, temperature=5.0)) == {1, 2, 3}


def test_min_p_is_relative_to_the_best():
    row = np.log(np.array([0.5, 0.26, 0.24], np.float32))
    assert set(draws(row, 500, min_p=0.5)) == {0, 1}
    assert set(draws(row, 50, min_p=1.0)) == {0}


def test_temperature_sharpens_and_flattens():
    row = scores(0, 1)
    cold = sum(draws(row, 2000, temperature=0.2, seed=5))
    warm = sum(draws(row, 2000, temperature=2.0, seed=5))
    assert cold > 1950
    assert 1000 < warm < 1400


@pytest.mark.parametrize("settings", [{}, {"top_k": 2}, {"top_p": 0.9}, {"min_p": 0.1}])
def test_extreme_scores_do_not_overflow(settings):
    assert draws(scores(-1e30, 3e38, -np.inf), 5, temperature=0.01, **settings) == [1] * 5
    assert draws(scores(-3e38, 3e38, -np.inf), 5, temperature=100.0, **settings) == [1] * 5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {}, {"logit_bias": {0: 1.0}}])
def test_scores_that_are_not_numbers_are_a_fault(bad, settings):
    with pytest.raises(WorkerFailed) as caught:
        draws(scores(1, bad, 2), 1, **settings)
    assert caught.value.key == "serve.scores"


def test_a_bias_moves_a_token_and_leaves_the_scores_alone():
    row = scores(1, 2, 3)
    assert draws(row, 2, temperature=0.0, logit_bias={0: 2.5}) == [0, 0]
    assert draws(row, 2, temperature=0.0, logit_bias={2: -100.0}) == [1, 1]
    assert row.tolist() == [1, 2, 3]


@pytest.mark.parametrize("token", [3, 2**31 - 1])
def test_a_bias_for_a_token_that_there_is_not_is_refused(token):
    with pytest.raises(UntrustedRequest, match="0 to 2"):
        draws(scores(1, 2, 3), 1, logit_bias={token: 1.0})


def test_the_presence_penalty_is_taken_once_and_the_frequency_penalty_each_time():
    assert draws(scores(3, 2.1, 0), 4, temperature=0.0, presence_penalty=1.0) == [0, 1, 0, 0]
    assert draws(scores(3, 2.1, 0), 5, temperature=0.0, frequency_penalty=0.5) == [0, 0, 1, 0, 1]
    # What the prompt holds does not count for these two.
    assert draws(scores(3, 2.1, 0), 1, temperature=0.0, presence_penalty=1.0, prompt=[0, 0]) == [0]


def test_the_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_negative():
    assert draws(scores(3, 2, 1), 3, temperature=0.0, repetition_penalty=2.0) == [0, 1, 0]
    assert draws(scores(3, 2, 1), 1, temperature=0.0, repetition_penalty=4.0, prompt=[0, 1]) == [2]
    assert draws(scores(-1, -1.5), 2, temperature=0.0, repetition_penalty=2.0) == [0, 1]


def test_a_long_answer_is_counted_to_its_end():
    row = np.zeros(300, np.float32)
    assert draws(row, 300, temperature=0.0, frequency_penalty=1.0) == list(range(300))


def test_log_probabilities_are_the_models_own_whatever_moves_the_scores():
    row = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    settings = Sampling(temperature=0.0, logit_bias={1: 5.0}, repetition_penalty=3.0)
    sampler = Sampler(settings, choice=0, prompt=[0], size=3, logprobs=2)
    chosen = sampler.choose(row)
    assert chosen.token == 1
    assert chosen.ranked.logprob == pytest.approx(np.log(0.3))
    assert chosen.ranked.top == ((0, pytest.approx(np.log(0.5))), (1, pytest.approx(np.log(0.3))))
