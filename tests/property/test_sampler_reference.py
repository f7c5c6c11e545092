"""The quick sampler keeps and draws what a plain one does that sorts the whole vocabulary in float64."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.serving.engine.logprobs import LEAST, highest, prompt_ranks, rank
from holdfast.serving.engine.sampling import Sampler
from holdfast.serving.link import Sampling

NEAR = 1e-5  # of the mass: how close a draw may come to a border before either side will do

SETTINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.1, 0.7, 1.0, 1.3, 4.0]),
    top_k=st.sampled_from([0, 1, 2, 7, 40, 300, 5000]),
    top_p=st.sampled_from([1.0, 0.99, 0.9, 0.5, 0.05]),
    min_p=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
    presence_penalty=st.sampled_from([0.0, 1.5, -0.5]),
    frequency_penalty=st.sampled_from([0.0, 0.7]),
    logit_bias=st.dictionaries(st.integers(0, 9), st.sampled_from([-100.0, -1.0, 3.0]), max_size=3),
    seed=st.integers(0, 2**64 - 1),
)


def rows(size, seed, spread, *, ties):
    made = np.random.default_rng(seed).normal(0, spread, size).astype(np.float32)
    return np.round(made) if ties else made


def reference(sampling, row, prompt, answer, draw):
    """Every token that the definition allows for this draw, ``NEAR`` borders on both sides."""
    values = row.astype(np.float64)
    for token, bias in sampling.logit_bias.items():
        values[token] = np.float32(values[token] + bias)
    for token in set(prompt) | set(answer):
        value, count = values[token], answer.count(token)
        if sampling.repetition_penalty != 1:
            value = value / sampling.repetition_penalty if value > 0 else value * sampling.repetition_penalty
        value = value - sampling.frequency_penalty * count - sampling.presence_penalty * (count > 0)
        if count or sampling.repetition_penalty != 1:
            values[token] = np.float32(value)
    if sampling.temperature == 0:
        return {int(np.argmax(values))}
    weights = np.exp((values - values.max()) / sampling.temperature)
    allowed = set()
    for top_p in {
        sampling.top_p,
        min(1.0, sampling.top_p + NEAR),
        sampling.top_p - NEAR * (sampling.top_p < 1),
    }:
        order = np.argsort(-values, kind="stable")
        if sampling.top_k:
            order = order[: sampling.top_k]
        if sampling.top_p < 1:
            mass = np.cumsum(weights[order])
            order = order[: int(np.searchsorted(mass, top_p * mass[-1])) + 1]
        order = np.sort(order[weights[order] >= sampling.min_p])
        mass = np.cumsum(weights[order]) / weights[order].sum()
        for point in (draw - NEAR, draw, draw + NEAR):
            at = min(int(np.searchsorted(mass, min(max(point, 0), 1 - 1e-12), side="right")), len(order) - 1)
            allowed.add(int(order[at]))
    return allowed


@settings(max_examples=300)
@given(
    SETTINGS,
    st.sampled_from([10, 256, 257, 1000, 3000]),
    st.integers(0, 2**32),
    st.sampled_from([0.01, 1.0, 3.0, 9.0]),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=5),
    st.integers(0, 3),
)
def test_every_choice_is_the_plain_samplers(sampling, size, seed, spread, ties, prompt, choice):  # noqa: PLR0917 - as drawn
    sampler = Sampler(sampling, choice=choice, prompt=prompt, size=size)
    random = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(entropy=sampling.seed, spawn_key=(choice,)))
    )
    answer = []
    for step in range(4):
        row = rows(size, seed + step, spread, ties=ties)
        draw = random.random() if sampling.temperature else 0
        before = row.copy()
        token = sampler.choose(row).token
        assert token in reference(sampling, row, prompt, answer, draw)
        assert np.array_equal(row, before)
        answer.append(token)


@given(st.integers(1, 4000), st.integers(0, 2**32), st.booleans(), st.integers(0, 4000))
def test_the_highest_are_those_of_a_stable_sort(size, seed, ties, count):
    row = rows(size, seed, 2.0, ties=ties)
    assert highest(row, count).tolist() == np.argsort(-row, kind="stable")[:count].tolist()


@given(st.integers(2, 500), st.integers(0, 2**32), st.integers(0, 20))
def test_ranks_are_log_softmax(size, seed, top):
    row = rows(size, seed, 5.0, ties=False)
    row[0] = -np.inf
    values = row.astype(np.float64)
    expected = values - (np.log(np.exp(values - values.max()).sum()) + values.max())
    found = prompt_ranks([row, row], [size - 1, 0], top)
    assert abs(found[0].logprob - expected[size - 1]) < 2e-6
    assert found[1].logprob == LEAST
    assert len(found[0].top) == min(top, size)
    assert all(abs(logprob - max(expected[token], LEAST)) < 2e-6 for token, logprob in found[0].top)
    assert rank(row, 1, 0).top == ()
