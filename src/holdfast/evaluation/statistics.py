"""What figures of a suite can show: exact tests of paired answers, and intervals for shares and their differences.

Invariants: tests are computed in integers and fractions, so that a p-value exactly at its limit is judged right; intervals
are solved in binary64 to the last bit that matters and then rounded outwards, so that no rounding ever narrows one; nothing
here draws a random number. Words: of *n* items answered twice, *up* were wrong and are right, *down* were right and are
wrong; both together are the discordant ones, and only these tell two models apart. No I/O.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OUTWARD = 10**9  # an interval's ends are rounded outwards to one part in so many
_HALVINGS = 80  # of a bracket no wider than 2: beyond binary64
_FRACTION_STEPS = 100_000  # of the continued fraction; 20,000 items need some hundreds
_CONVERGED = 1e-15
_TINY = 1e-300  # stands for zero where it is divided by


@dataclass(frozen=True)
class Interval:
    """The values that the figures do not speak against.

    Args:
        low: The least of them.
        high: The greatest.
        level: How often such an interval holds the true value.
    """

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Effect:
    """The smallest change that a suite could have shown.

    Args:
        at_best: Items: the least net change that is significant at all, if no other item changed the other way. None if
            even a change of every item would not be.
        observed: Items: the least net change that is significant among as many discordant items as there were. None if no
            split of so few is.
        items: Items of the suite.
    """

    at_best: int | None
    observed: int | None
    items: int


def mcnemar(up: int, down: int) -> Fraction:
    """Test whether two models answer equally well: the exact two-sided test of paired answers.

    If they do, each discordant item is as likely to have changed either way; p is the probability of a split at least as
    uneven as this one. Source: McNemar, Psychometrika 12 (1947) 153-157, in its exact binomial form.

    Args:
        up: Items that were wrong and are right.
        down: Items that were right and are wrong.

    Returns:
        p, exactly; 1 if nothing changed.

    Raises:
        ValueError: If a count is negative.
    """
    _require(up >= 0 and down >= 0, "counts of items can't be negative")
    both, fewer = up + down, min(up, down)
    if up == down:
        return Fraction(1)
    ways = term = 1
    for taken in range(1, fewer + 1):
        term = term * (both - taken + 1) // taken
        ways += term
    return Fraction(2 * ways, 2**both)


def sign_test(changes: Sequence[Fraction]) -> Fraction:
    """Test whether paired values change one way more often than the other; those that do not change tell nothing.

    Source: Arbuthnot 1710; Conover, Practical Nonparametric Statistics, 3rd ed. (1999), section 3.4.

    Args:
        changes: The change of each item, in any unit.

    Returns:
        p, exactly and two-sided.
    """
    return mcnemar(sum(one > 0 for one in changes), sum(one < 0 for one in changes))


def significant(both: int, alpha: Fraction) -> int | None:
    """Find the least uneven split of discordant items that is significant.

    Args:
        both: Discordant items.
        alpha: The limit of p.

    Returns:
        The smallest net change (one way minus the other) with p at most ``alpha``; None if there is none.
    """
    most = alpha.numerator * 2**both // (2 * alpha.denominator)  # ways of one tail that keep p at most alpha
    ways, term, found = 0, 1, None
    for fewer in range((both + 1) // 2):  # less than half
        if fewer:
            term = term * (both - fewer + 1) // fewer
        ways += term
        if ways > most:
            break
        found = both - 2 * fewer
    return found


def smallest_effect(items: int, both: int, alpha: Fraction) -> Effect:
    """Tell what a suite could have shown.

    Args:
        items: Items of the suite.
        both: Items that changed, either way.
        alpha: The limit of p.

    Returns:
        The smallest effects.

    Raises:
        ValueError: If the counts or the limit can't be.
    """
    _require(0 <= both <= items, "no more items can change than there are")
    _require(0 < alpha < 1, "alpha lies between 0 and 1")
    least = 1
    while Fraction(2, 2**least) > alpha:
        least += 1
    return Effect(at_best=least if least <= items else None, observed=significant(both, alpha), items=items)


def tango(items: int, up: int, down: int, alpha: float) -> Interval:
    """Give the score interval of the difference of two paired shares, after minus before.

    It holds every difference d that the score test of "the difference is d" does not reject; unlike Wald's it stays within
    -1 and 1 and has a width where nothing changed: with z the normal quantile it is then ±z²/(n + z²). Source: Tango,
    Statistics in Medicine 17 (1998) 891-908. Each end by itself is a one-sided bound at level 1 - alpha/2.

    Args:
        items: Items, at least one.
        up: Items that were wrong and are right.
        down: Items that were right and are wrong.
        alpha: How often the interval may miss the true difference.

    Returns:
        The interval at level 1 - alpha.

    Raises:
        ValueError: If the counts or the limit can't be.
    """
    _require(
        items > 0 and up >= 0 and down >= 0 and up + down <= items, "these are no counts of paired items"
    )
    _require(0 < alpha < 1, "alpha lies between 0 and 1")
    quantile = -NormalDist().inv_cdf(alpha / 2)
    seen = (up - down) / items
    low = -1.0 if down == items else _edge(lambda d: _score(items, up, down, d) > quantile, -1.0, seen)
    high = 1.0 if up == items else _edge(lambda d: _score(items, up, down, d) < -quantile, 1.0, seen)
    return Interval(_down(low, -1.0), _up(high, 1.0), 1 - alpha)


def clopper_pearson(right: int, items: int, alpha: float) -> Interval:
    """Give the exact interval of a share.

    It holds every share under which so many right answers, or more extreme, are not rarer than alpha/2 on either side; it
    errs towards the wide side, never the narrow. Source: Clopper and Pearson, Biometrika 26 (1934) 404-413.

    Args:
        right: Right answers.
        items: Items, at least one.
        alpha: How often the interval may miss the true share.

    Returns:
        The interval at level 1 - alpha.

    Raises:
        ValueError: If the counts or the limit can't be.
    """
    _require(items > 0 and 0 <= right <= items, "these are no counts of answers")
    _require(0 < alpha < 1, "alpha lies between 0 and 1")
    seen, tail = right / items, alpha / 2
    low, high = 0.0, 1.0
    if right > 0:  # P(at least so many | share) grows with the share
        low = _edge(lambda share: _beta(right, items - right + 1, share) < tail, 0.0, seen)
    if right < items:  # P(at most so many | share) = 1 - P(at least one more | share)
        high = _edge(lambda share: _beta(items - right, right + 1, 1 - share) < tail, 1.0, seen)
    return Interval(_down(low, 0.0), _up(high, 1.0), 1 - alpha)


def median_interval(
    changes: Sequence[Fraction], alpha: Fraction
) -> tuple[Fraction | None, Fraction, Fraction | None]:
    """Give the interval of the median change that the sign test does not speak against.

    Its ends are changes that were seen; it assumes nothing of how they are spread. Source: Thompson, Annals of Mathematical
    Statistics 7 (1936) 122-128. Each end by itself is a one-sided bound at level 1 - alpha/2.

    Args:
        changes: The change of each item, at least one.
        alpha: How often the interval may miss the true median.

    Returns:
        The low end, the median seen and the high end; None for both ends if there are too few items for any bound.

    Raises:
        ValueError: If there are no changes, or the limit can't be.
    """
    _require(bool(changes), "there is no change to judge")
    _require(0 < alpha < 1, "alpha lies between 0 and 1")
    ordered = sorted(changes)
    net = significant(len(ordered), alpha)
    middle = Fraction(median(ordered))
    if net is None:
        return None, middle, None
    beyond = (
        len(ordered) - net
    ) // 2  # so many on one side, and no more, are significant: the next one is the end
    return ordered[beyond], middle, ordered[-1 - beyond]


def _score(items: int, up: int, down: int, difference: float) -> float:
    """Give Tango's statistic of a difference: how many standard errors the one seen lies above it."""
    a = 2 * items
    b = -up - down + (2 * items - up + down) * difference
    c = -down * difference * (1 - difference)
    # The likeliest share of items that changed for the worse, if the difference is this one.
    worse = max(0.0, (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a), -difference)
    spread = items * (2 * worse + difference * (1 - difference))
    distance = up - down - items * difference
    if spread <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(spread)


def _edge(rejected: Callable[[float], bool], outside: float, inside: float) -> float:
    """Find where rejection ends, between a point outside and one inside; gives the last point found outside."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if rejected(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _beta(a: int, b: int, x: float) -> float:
    """Give the regularised incomplete beta function: P(at least a successes in a + b - 1 | share x).

    Source: NIST Digital Library of Mathematical Functions, 8.17.5 and 8.17.22; the continued fraction by Lentz's method as
    modified by Thompson and Barnett, J. Comput. Phys. 64 (1986) 490-509.
    """
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # there the fraction of the other tail converges fast
        return 1 - _beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    upper = 1.0
    lower = 1 / _nonzero(1 - (a + b) * x / (a + 1))
    total = lower
    for m in range(1, _FRACTION_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for part in (even, odd):
            lower = 1 / _nonzero(1 + part * lower)
            upper = _nonzero(1 + part / upper)
            total *= lower * upper
        if abs(lower * upper - 1) < _CONVERGED:
            break
    return front * total / a


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _down(value: float, least: float) -> float:
    return max(least, math.floor(value * OUTWARD) / OUTWARD)


def _up(value: float, most: float) -> float:
    return min(most, math.ceil(value * OUTWARD) / OUTWARD)


def _require(holds: bool, why: str) -> None:  # noqa: FBT001 - the condition itself
    if not holds:
        raise ValueError(why)
