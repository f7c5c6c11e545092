"""Two results of one suite, item by item: what changed, how sure that is, and what could have been seen at all.

Invariants: results are paired only if they are of the same items in the same order; a change is positive where the second
result is the better one, whatever the unit; the four verdicts follow from the direction of the change and its p-value alone,
and never from whether it is welcome. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import statistics
from holdfast.evaluation.record import BITS, RIGHT, SHARE, WRONG

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.evaluation.record import Result
    from holdfast.evaluation.statistics import Effect, Interval

BETTER = "better"
SAME = "same"
NOISE = "worse within noise"
REGRESSION = "regression"
DIGITS = 9  # decimal places of figures that are written down


@dataclass(frozen=True)
class Pair:
    """One section of one suite, under two models.

    Args:
        section: ``all``, ``primary`` or its name.
        unit: ``SHARE`` or ``BITS``.
        items: Items in it.
        before: The first model's score.
        after: The second's.
        fixed: Items that the second does better: right instead of wrong, or fewer bits.
        broken: Items that it does worse.
        changes: The change of each item in bits per byte, positive where the second needs fewer; none for shares.
    """

    section: str
    unit: str
    items: int
    before: Fraction
    after: Fraction
    fixed: tuple[str, ...]
    broken: tuple[str, ...]
    changes: tuple[Fraction, ...] = ()

    @property
    def gain(self) -> Fraction:
        """The change of the score, positive where the second is better."""
        return self.after - self.before if self.unit == SHARE else self.before - self.after

    @property
    def net(self) -> int:
        """Items that the second does better, less those that it does worse."""
        return len(self.fixed) - len(self.broken)

    @cached_property
    def p(self) -> Fraction:
        """Exact two-sided p of the change: McNemar's test of shares, the sign test of values."""
        if self.unit == BITS:
            return statistics.sign_test(self.changes)
        return statistics.mcnemar(len(self.fixed), len(self.broken))

    def verdict(self, alpha: Fraction) -> str:
        """Say what the change is.

        Args:
            alpha: The limit of p.

        Returns:
            ``BETTER`` or ``REGRESSION`` if p is at most alpha; else ``NOISE`` for more items broken than fixed, and ``SAME``.
        """
        if self.p <= alpha:
            return BETTER if self.net > 0 else REGRESSION
        return NOISE if self.net < 0 else SAME

    def interval(self, alpha: Fraction) -> Interval | None:
        """Give the interval of the change, positive where the second is better.

        Args:
            alpha: How often it may miss.

        Returns:
            For shares Tango's, of the difference of the two shares; for values that of the median change of an item. None
            if there are too few values for one.
        """
        if self.unit == SHARE:
            return statistics.tango(self.items, len(self.fixed), len(self.broken), float(alpha))
        low, _, high = statistics.median_interval(self.changes, alpha)
        if low is None or high is None:
            return None
        return statistics.Interval(round(float(low), DIGITS), round(float(high), DIGITS), 1 - float(alpha))

    def effect(self, alpha: Fraction) -> Effect:
        """Tell the smallest change that this section could have shown.

        Args:
            alpha: The limit of p.

        Returns:
            The smallest effects, in items.
        """
        return statistics.smallest_effect(self.items, len(self.fixed) + len(self.broken), alpha)


def pair(before: Result, after: Result, section: str) -> Pair:
    """Compare two results of one suite.

    Args:
        before: One result.
        after: The other, of the same version of the same suite.
        section: ``all``, ``primary`` or the name of a section.

    Returns:
        The comparison.

    Raises:
        UntrustedRecipe: If the results are not of one suite, or have no such section.
    """
    shape = [
        (one.name, one.version, one.primary, one.ids, one.of, set(one.values)) for one in (before, after)
    ]
    if shape[0] != shape[1] or before.sizes != after.sizes:
        raise UntrustedRecipe(
            "gate.suites-differ",
            "The two results are not of the same suite.",
            remedy="Evaluate both models on one version of the suite.",
        )
    places, unit = after.members(section), after.unit(section)
    if not places or unit is None:
        raise UntrustedRecipe(
            "gate.section",
            f"Section {section!r} of suite {after.name!r} can't be judged; the suite has {', '.join(after.sections)}.",
            remedy="Name 'all', 'primary' or a section of the suite in [[gate]].",
        )
    names = [after.ids[at] for at in places]
    if unit == BITS:
        changes = [before.values[one] - after.values[one] for one in names]
        fixed = [one for one, change in zip(names, changes, strict=True) if change > 0]
        broken = [one for one, change in zip(names, changes, strict=True) if change < 0]
    else:
        changes = []
        moved = [
            (one, before.outcomes[at], after.outcomes[at]) for one, at in zip(names, places, strict=True)
        ]
        fixed = [one for one, was, now in moved if (was, now) == (WRONG, RIGHT)]
        broken = [one for one, was, now in moved if (was, now) == (RIGHT, WRONG)]
    return Pair(
        section=section,
        unit=unit,
        items=len(names),
        before=before.score(section),
        after=after.score(section),
        fixed=tuple(fixed),
        broken=tuple(broken),
        changes=tuple(changes),
    )


def figures(found: Pair, alpha: Fraction) -> dict[str, Json]:
    """Write a comparison down.

    Args:
        found: The comparison.
        alpha: The limit of p, and how often intervals may miss.

    Returns:
        ``section``, ``unit``, ``items``, ``before``, ``after``, ``change``, ``p``, ``alpha``, ``interval`` (of the change, or
        None), ``verdict``, ``smallest`` (``at_best`` and ``observed``, each with items and share, or None), ``fixed`` and
        ``broken``.
    """
    seen, effect = found.interval(alpha), found.effect(alpha)
    return {
        "section": found.section,
        "unit": found.unit,
        "items": found.items,
        "before": rounded(found.before),
        "after": rounded(found.after),
        "change": rounded(found.gain),
        "p": float(found.p),
        "alpha": float(alpha),
        "interval": None
        if seen is None
        else {"low": seen.low, "high": seen.high, "level": rounded(1 - alpha)},
        "verdict": found.verdict(alpha),
        "smallest": {
            "at_best": _effect(effect.at_best, found.items),
            "observed": _effect(effect.observed, found.items),
        },
        "fixed": list(found.fixed),
        "broken": list(found.broken),
    }


def rounded(value: Fraction) -> float:
    """Write a figure down.

    Args:
        value: The figure.

    Returns:
        It, to ``DIGITS`` decimal places.
    """
    return round(float(value), DIGITS)


def _effect(items: int | None, of: int) -> dict[str, Json] | None:
    return None if items is None else {"items": items, "share": rounded(Fraction(items, of))}
