"""Laws of the gate's statistics: symmetry, monotony, and agreement of tests with their intervals."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as some

from holdfast.evaluation import statistics

ALPHAS = some.sampled_from([Fraction(1, 100), Fraction(1, 20), Fraction(1, 10), Fraction(2, 5)])
COUNTS = some.integers(0, 60)
PAIRS = some.tuples(COUNTS, COUNTS, COUNTS).filter(sum)  # up, down, unchanged


@given(COUNTS, COUNTS)
def test_p_is_the_same_both_ways_and_falls_as_the_split_grows(up, down):
    p = statistics.mcnemar(up, down)
    assert p == statistics.mcnemar(down, up)
    assert 0 < p <= 1
    if up >= down:
        assert statistics.mcnemar(up + 1, down) <= p or up == down
        assert p == 1 if up == down else p <= 1


@given(PAIRS, ALPHAS)
def test_tango_mirrors_holds_what_was_seen_and_stays_within_bounds(counts, alpha):
    up, down, still = counts
    items = up + down + still
    found, mirrored = (
        statistics.tango(items, up, down, float(alpha)),
        statistics.tango(items, down, up, float(alpha)),
    )
    assert math.isclose(found.low, -mirrored.high, abs_tol=3e-9)
    assert -1 <= found.low <= (up - down) / items <= found.high <= 1


@given(PAIRS, ALPHAS)
def test_tango_widens_with_the_level_and_moves_with_the_items(counts, alpha):
    up, down, still = counts
    items = up + down + still
    found = statistics.tango(items, up, down, float(alpha))
    wider = statistics.tango(items, up, down, float(alpha) / 2)
    assert wider.low <= found.low <= found.high <= wider.high
    if still:  # one more item fixed can only raise both ends
        more = statistics.tango(items, up + 1, down, float(alpha))
        assert more.low >= found.low - 3e-9
        assert more.high >= found.high - 3e-9


@given(PAIRS)
def test_tango_s_ends_are_where_its_own_test_turns(counts):
    up, down, still = counts
    items = up + down + still
    found = statistics.tango(items, up, down, 0.1)
    quantile = 1.6448536269514722
    for end, sign in ((found.low, 1), (found.high, -1)):
        if abs(end) < 1:
            assert sign * statistics._score(items, up, down, end + sign * 1e-6) <= quantile + 1e-9
            assert sign * statistics._score(items, up, down, end - sign * 1e-6) >= quantile - 1e-3


@given(some.integers(0, 300), some.integers(0, 300), ALPHAS)
def test_clopper_pearson_mirrors_and_holds_what_was_seen(right, wrong, alpha):
    items = right + wrong
    if not items:
        return
    found = statistics.clopper_pearson(right, items, float(alpha))
    mirrored = statistics.clopper_pearson(wrong, items, float(alpha))
    assert found.low <= right / items <= found.high
    assert math.isclose(found.low, 1 - mirrored.high, abs_tol=3e-9)


@given(COUNTS, COUNTS, ALPHAS)
def test_the_smallest_effect_is_significant_and_one_less_is_not(items, both, alpha):
    both = min(items, both)
    found = statistics.smallest_effect(items, both, alpha)
    if found.at_best is None:
        assert statistics.mcnemar(items, 0) > alpha
    else:
        assert statistics.mcnemar(found.at_best, 0) <= alpha < statistics.mcnemar(found.at_best - 1, 0)
    if found.observed is not None:
        more = (both + found.observed) // 2
        assert statistics.mcnemar(more, both - more) <= alpha
        assert found.observed == 2 - both % 2 or statistics.mcnemar(more - 1, both - more + 1) > alpha


@given(some.lists(some.fractions(-3, 3, max_denominator=20), min_size=1, max_size=40), ALPHAS)
def test_the_median_s_interval_is_the_sign_test_turned_round(changes, alpha):
    low, middle, high = statistics.median_interval(changes, alpha)
    if low is None or high is None:
        assert statistics.mcnemar(len(changes), 0) > alpha
        return
    assert low <= middle <= high
    tiny = Fraction(1, 10**6)
    for beyond in (low - tiny, high + tiny):
        assert statistics.sign_test([one - beyond for one in changes]) <= alpha
