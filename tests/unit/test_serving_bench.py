"""The arithmetic of the serving bench, and how it reads answers: what its ratios rest on."""

from __future__ import annotations

import itertools
import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts.bench_serving import told
from scripts.serving_bench import figures, generated, workload
from scripts.serving_bench.client import BenchError, Raw, Target, read
from scripts.serving_bench.figures import Measurement, Reply

TIMES = st.floats(0.001, 1000.0)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@given(st.lists(TIMES, min_size=1, max_size=300), st.floats(0.001, 1.0))
def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(values, share):
    found = figures.percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values)
    below = [value for value in values if value < found]
    assert not below or sum(value <= max(below) for value in values) < share * len(values)


def test_percentiles_of_a_hundred_and_of_one():
    assert figures.percentile(range(1, 101), 0.99) == 99
    assert figures.percentile(range(1, 1001), 0.5) == 500
    assert figures.percentile([7.0], 0.99) == 7.0


def test_a_measurement_counts_from_the_first_question_to_the_last_end():
    replies = [
        Reply(asked=10.0, arrived=(10.5, 10.6, 10.9), ended=11.0, tokens=30),
        Reply(asked=10.2, arrived=(11.2, 11.3), ended=14.0, tokens=50),
    ]
    found = figures.measure(replies)
    assert found.rate == pytest.approx(80 / 4.0)
    assert found.first == pytest.approx(0.75)
    assert found.gap == pytest.approx(0.1)
    assert found.long_gap == pytest.approx(0.3)


def test_gaps_lie_within_an_answer_never_between_two():
    replies = [Reply(start, (start, start + 1), start + 1, 2) for start in (0.0, 50.0)]
    assert figures.measure(replies).long_gap == pytest.approx(1.0)


def test_ratios_are_taken_within_a_round():
    """A machine that is ten times slower in one round moves both sides, and no ratio."""
    speeds = [1.0, 0.1, 1.0, 1.0, 1.0]
    rival = [Measurement(100 * speed, 1 / speed, 0.1 / speed, 0.2 / speed) for speed in speeds]
    ours = [Measurement(120 * speed, 0.5 / speed, 0.1 / speed, 0.22 / speed) for speed in speeds]
    found = figures.compare(ours, rival)
    assert (found.rate, found.first, found.long_gap) == pytest.approx((1.2, 0.5, 1.1))


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=9))
def test_the_median_of_ratios_counts(pairs):
    ours, rival = ([Measurement(one, one, one, one) for one in side] for side in zip(*pairs, strict=True))
    found = figures.compare(ours, rival)
    assert found.rate == statistics.median(mine / other for mine, other in pairs)


def test_rounds_that_do_not_pair_up_are_refused():
    one = Measurement(1, 1, 1, 1)
    with pytest.raises(ValueError, match="longer"):
        figures.compare([one], [one, one])


def test_the_summary_says_every_rate_and_the_worst_times():
    found = figures.summary(
        {"1": figures.Ratios(1.04449, 0.7, 1.1), "mixed_adapters": figures.Ratios(2.5, 0.9, 0.8)}
    )
    assert found == {
        "ratio": {"1": 1.044, "mixed_adapters": 2.5},
        "ttft_ratio": 0.9,
        "itl_p99_ratio": 1.1,
    }


def event(text="", usage=None):
    document = {"choices": [{"index": 0, "text": text}]} | (
        {} if usage is None else {"usage": {"completion_tokens": usage}}
    )
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


BODY = (
    chunk(event("one"))
    + chunk(event("two") + event("three"))
    + chunk(event())
    + chunk(event(usage=3) + b"data: [DONE]\n\n")
)


@given(st.sets(st.integers(1, len(HEAD + BODY) - 1), max_size=20))
def test_an_answer_cut_anywhere_says_the_same(cuts):
    whole = HEAD + BODY + b"0\r\n\r\n"
    bounds = [0, *sorted(cuts), len(whole)]
    pieces = [whole[start:end] for start, end in itertools.pairwise(bounds)]
    found = read(Raw(0.0, [float(end) for end in bounds[1:]], pieces))
    assert found.tokens == 3
    assert len(found.arrived) == 3
    assert list(found.arrived) == sorted(found.arrived)
    ends = [
        len(HEAD) + len(chunk(event("one"))),
        len(HEAD) + len(chunk(event("one")) + chunk(event("two") + event("three"))),
    ]
    for arrived, end in zip(found.arrived, [ends[0], ends[1], ends[1]], strict=True):
        # It came with the piece in which its chunk ends, up to the chunk's own last line end.
        assert arrived in bounds
        assert arrived >= end - 2


def test_what_is_no_answer_is_no_figure():
    refusal = b"HTTP/1.1 429 Too Many\r\ncontent-length: 2\r\n\r\n{}"
    with pytest.raises(BenchError, match="429"):
        read(Raw(0.0, [1.0], [refusal]))
    with pytest.raises(BenchError, match="-1 tokens"):
        read(Raw(0.0, [1.0], [HEAD + chunk(event("one")) + chunk(event("two")) + b"0\r\n\r\n"]))
    broken = b'data: {"error": {"message": "engine died"}}\n\n'
    with pytest.raises(BenchError, match="engine died"):
        read(Raw(0.0, [1.0], [HEAD + chunk(event("one")) + chunk(broken) + b"0\r\n\r\n"]))


def test_questions_are_the_same_for_a_seed_and_never_share_a_beginning():
    setting, words = workload.SETTINGS[3], workload.Vocabulary(260, 32_768, (0, 1))
    first = workload.questions(setting, words, 2, 5)
    assert first == workload.questions(setting, words, 2, 5)
    prompts = [one["prompt"] for mine in first + workload.questions(setting, words, 2, 6) for one in mine]
    assert len({tuple(prompt[:4]) for prompt in prompts}) == len(prompts) == 64
    assert all(
        len(prompt) == workload.PROMPT and min(prompt) >= 260 and max(prompt) < 32_768 for prompt in prompts
    )
    assert first[0][0]["logit_bias"] == {"0": -100.0, "1": -100.0}


def test_every_setting_is_measured_for_about_as_long():
    assert {one.name: one.each(10) for one in workload.SETTINGS} == {
        "1": 7,
        "4": 4,
        "8": 3,
        "16": 2,
        "mixed_adapters": 2,
    }
    assert [one.each(0.01) for one in workload.SETTINGS] == [1] * 5


def test_the_generated_vocabulary_is_what_its_merges_make():
    tokens, merges = generated.vocabulary()
    assert len(tokens) == len(set(tokens)) == generated.SHAPE.vocabulary
    known = set(tokens[: len(tokens) - len(merges)])
    for token, merge in zip(tokens[-len(merges) :], merges, strict=True):
        left, right = merge.split(" ")
        assert {left, right} <= known
        assert left + right == token
        known.add(token)


def test_the_generated_model_is_large_enough_and_quantized_all_through():
    assert generated.SHAPE.weights() >= 300_000_000
    assert all(columns % 256 == 0 for _, columns in generated.SHAPE.matrices().values())


def test_a_request_says_how_long_it_is_and_who_asks():
    data = Target("127.0.0.1", 80, "secret").request("/v1/completions", {"prompt": [1]})
    head, _, body = data.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b"authorization: Bearer secret" in head
    assert b"authorization" not in Target("127.0.0.1", 80).request("/", {})


def test_a_line_of_a_table():
    assert "16" in told("16", "holdfast", Measurement(300.04, 1.5, 0.05, 0.06))
    assert "300.0 tokens/s" in told("16", "holdfast", Measurement(300.04, 1.5, 0.05, 0.06))
