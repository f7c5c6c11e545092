"""Exact tests and intervals, against scipy and against published examples."""

from __future__ import annotations

from fractions import Fraction

import pytest
import scipy.stats

from holdfast.evaluation import statistics
from holdfast.evaluation.statistics import Interval

FIVE = Fraction(1, 20)


@pytest.mark.parametrize(
    ("up", "down"), [(0, 0), (1, 0), (5, 0), (0, 6), (2, 7), (10, 10), (40, 20), (130, 171)]
)
def test_mcnemar_is_the_exact_binomial_test(up, down):
    p = statistics.mcnemar(up, down)
    assert isinstance(p, Fraction)
    if up + down:
        assert float(p) == pytest.approx(scipy.stats.binomtest(up, up + down).pvalue, rel=1e-12)
    else:
        assert p == 1


def test_mcnemar_of_a_published_example():
    # Airway hyper-responsiveness before and after a transplantation, 1 and 7 discordant of 21 (Bentur et al., 2009), as
    # worked in Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13 (2013) 91: the exact conditional p is 0.070.
    assert statistics.mcnemar(1, 7) == Fraction(9, 128)


def test_an_exact_p_is_below_its_limit_by_no_rounding():
    assert statistics.mcnemar(6, 0) == Fraction(1, 32)
    assert statistics.mcnemar(2000, 0) == Fraction(2, 2**2000)  # far beyond binary64


def test_the_sign_test_passes_over_what_did_not_change():
    changes = [Fraction(one) for one in (1, 3, 0, 0, 2, -1, 5, 4, 0)]
    assert statistics.sign_test(changes) == statistics.mcnemar(5, 1) == Fraction(14, 64)


@pytest.mark.parametrize(
    ("counts", "alpha", "low", "high"),
    [
        ((44, 0, 1), 0.10, -0.096, 0.037),  # Tango 1998, two ways to disinfect contact lenses
        ((21, 1, 7), 0.05, -0.517, -0.026),  # Bentur et al. 2009, in Fagerland, Lydersen and Laake 2014
        ((618, 28, 25), 0.10, -0.0148, 0.0247),  # R, PropCIs::scoreci.mp(25, 28, 618, 0.90)
    ],
)
def test_tango_gives_published_intervals(counts, alpha, low, high):
    found = statistics.tango(*counts, alpha)
    digits = 4 if counts[0] == 618 else 3
    assert (round(found.low, digits), round(found.high, digits)) == (low, high)
    assert found.level == 1 - alpha


@pytest.mark.parametrize("items", [1, 5, 50, 20_000])
def test_tango_has_a_width_where_nothing_changed(items):
    found = statistics.tango(items, 0, 0, 0.05)
    z = scipy.stats.norm.ppf(0.975)
    assert found.high == pytest.approx(z**2 / (items + z**2), abs=2e-9)
    assert found.low == -found.high


@pytest.mark.parametrize("items", [1, 10, 400])
def test_tango_stays_within_what_is_possible_where_all_changed(items):
    z = scipy.stats.norm.ppf(0.975)
    found = statistics.tango(items, items, 0, 0.05)
    assert found.high == 1.0
    assert found.low == pytest.approx((items - z**2) / (items + z**2), abs=2e-9)
    assert statistics.tango(items, 0, items, 0.05) == Interval(-1.0, -found.low, 0.95)


@pytest.mark.parametrize(
    ("right", "items"),
    [(0, 1), (1, 1), (0, 10), (10, 10), (3, 7), (177, 186), (372, 380), (1, 20_000), (9000, 20_000)],
)
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.4])
def test_clopper_pearson_agrees_with_scipy(right, items, alpha):
    found = statistics.clopper_pearson(right, items, alpha)
    known = scipy.stats.binomtest(right, items).proportion_ci(1 - alpha, "exact")
    assert found.low == pytest.approx(known.low, abs=3e-9)
    assert found.high == pytest.approx(known.high, abs=3e-9)


def test_the_smallest_effect_at_best_and_as_it_came():
    # Five items all changing one way give p = 2/32 = 0.0625; six give 0.03125.
    assert statistics.smallest_effect(380, 0, FIVE).at_best == 6
    assert statistics.smallest_effect(5, 0, FIVE).at_best is None
    assert statistics.smallest_effect(380, 9, FIVE).observed == 7  # 8 and 1: p = 0.039; 7 and 2: p = 0.18
    assert statistics.smallest_effect(380, 5, FIVE).observed is None
    assert statistics.smallest_effect(380, 9, Fraction(1, 100)).at_best == 8
    assert statistics.smallest_effect(380, 0, Fraction(1, 16)).at_best == 5  # p is exactly the limit


@pytest.mark.parametrize("both", [*range(40), 101, 250])
@pytest.mark.parametrize("alpha", [FIVE, Fraction(1, 3), Fraction(1, 1000)])
def test_the_least_significant_split_is_the_least(both, alpha):
    splits = [both - 2 * fewer for fewer in range((both + 1) // 2)]
    fitting = [net for net in splits if statistics.mcnemar((both + net) // 2, (both - net) // 2) <= alpha]
    assert statistics.significant(both, alpha) == min(fitting, default=None)


def test_the_median_s_interval_has_the_order_statistics_of_the_binomial():
    # Of ten values the second least and the second greatest: 2 * P(at most 1 of 10) = 0.0215, and of 2 it is 0.109.
    changes = [Fraction(one, 10) for one in (3, 1, 9, 4, 7, 2, 6, 8, 5, 10)]
    assert statistics.median_interval(changes, FIVE) == (Fraction(2, 10), Fraction(55, 100), Fraction(9, 10))
    assert statistics.median_interval(changes[:5], FIVE) == (None, Fraction(4, 10), None)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: statistics.mcnemar(-1, 2),
        lambda: statistics.tango(0, 0, 0, 0.05),
        lambda: statistics.tango(5, 3, 3, 0.05),
        lambda: statistics.tango(5, 1, 1, 1.0),
        lambda: statistics.clopper_pearson(6, 5, 0.05),
        lambda: statistics.smallest_effect(3, 4, FIVE),
        lambda: statistics.smallest_effect(3, 2, Fraction(0)),
        lambda: statistics.median_interval([], FIVE),
    ],
)
def test_counts_that_can_not_be_are_refused(wrong):
    with pytest.raises(ValueError):
        wrong()


@pytest.mark.parametrize(("items", "margin"), [(100, 0.05), (186, 0.05), (380, 0.04), (380, 0.02)])
@pytest.mark.parametrize("fixed", [0.0, 0.005, 0.05])
def test_a_model_at_the_margin_passes_about_as_seldom_as_alpha_says(items, margin, fixed):
    """Sum, over all outcomes, the probability that the bound of a loss of exactly the margin is within the margin."""
    broken, passing = fixed + margin, 0.0
    for down in range(items + 1):
        chance = scipy.stats.binom.pmf(down, items, broken)
        if chance < 1e-9:
            continue
        # More items fixed can only lower the bound: find the fewest that pass.
        low, high = 0, items - down + 1
        while low < high:
            up = (low + high) // 2
            passes = up > items - down or -statistics.tango(items, up, down, 0.1).low <= margin
            low, high = (low, up) if passes else (up + 1, high)
        share = fixed / (1 - broken)  # of the items that are not broken
        passing += chance * scipy.stats.binom.sf(low - 1, items - down, share)
    assert 0.025 < passing < 0.055
