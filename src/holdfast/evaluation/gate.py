"""The gate: whether a customised model may be released, and why.

A rule is judged on one section of one suite, answered by the base and by what was made of it. ``minimum`` asks that the score
seen is good enough. ``improvement`` asks that the gain seen is large enough, and that chance does not explain it (exact p at
most alpha). ``non_inferiority`` asks that the loss is smaller than the margin even at its one-sided upper bound at level
1 - alpha, so that a suite too small to show it does not pass. Every rule must hold, so the chance that a model passes which
should not is at most the alpha of the rule that should have stopped it; no correction for their number is needed (Berger,
Technometrics 24 (1982) 295-300).

Invariants: a verdict is a function of the rules and the results alone; every rule is judged and told; shares, gains and
p-values are compared in exact arithmetic, so that a figure exactly at its bound holds. No I/O.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import paired, record, statistics
from holdfast.evaluation.record import BITS, SHARE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.canonical import Json
    from holdfast.evaluation.paired import Pair
    from holdfast.training.spec import GateRule

NAMED = 5  # items named in a reason; the stored verdict has all of them
SMALL_P = Fraction(1, 1000)  # below it a p-value is told as such


def judge(
    rules: Sequence[GateRule],
    before: Mapping[str, Json],
    after: Mapping[str, Json],
    suites: Mapping[str, str],
) -> dict[str, Json]:
    """Judge a customised model against the model it came from.

    Args:
        rules: The recipe's gate.
        before: What ``score.result`` gave for each suite, by name, of the base.
        after: The same of the customised model.
        suites: Digest of each suite that was answered, by name.

    Returns:
        ``go``, ``suites`` (their digests), ``reasons`` (a sentence per rule) and ``rules`` (the figures behind each
        sentence).

    Raises:
        UntrustedRecipe: If a rule names a suite or a section that was not evaluated, or asks what can't be.
        UntrustedInput: If a result is malformed.
    """
    judged: list[dict[str, Json]] = []
    for rule in rules:
        if not all(rule.suite in known for known in (before, after, suites)):
            raise UntrustedRecipe(
                "gate.suite",
                f"The gate names suite {rule.suite!r}, which was not evaluated.",
                remedy=f"Evaluate it, or name one of: {', '.join(sorted(after))}.",
            )
        results = (record.read(before[rule.suite]), record.read(after[rule.suite]))
        judged.append({"suite": rule.suite, "digest": suites[rule.suite], **_judged(rule, *results)})
    return {
        "go": all(bool(one["holds"]) for one in judged),
        "suites": dict(suites),
        "reasons": [one["reason"] for one in judged],
        "rules": list(judged),
    }


def _judged(rule: GateRule, before: record.Result, after: record.Result) -> dict[str, Json]:
    seen = paired.pair(before, after, rule.section)
    value, alpha = Fraction(str(rule.value)), Fraction(str(rule.alpha))
    if seen.unit == SHARE and value > 1:
        raise UntrustedRecipe(
            "gate.value",
            f"The gate asks for {rule.value} of section {rule.section!r} of suite {rule.suite!r}, which is a share.",
            remedy="Give a value from 0 to 1.",
        )
    figures = paired.figures(seen, alpha) | {
        "rule": rule.rule,
        "value": rule.value,
        "margin": None,
        "bound": None,
    }
    if rule.rule == "minimum":
        holds, told = _minimum(seen, value, alpha, figures)
    elif rule.rule == "improvement":
        holds, told = _improvement(seen, value, alpha)
    else:
        holds, told = _non_inferiority(seen, value, alpha, figures)
    reason = f"{'Holds' if holds else 'Fails'}: {rule.suite} ({rule.section}) {told}; {_seen(seen, alpha)}"
    return figures | {"holds": holds, "reason": reason}


def _minimum(seen: Pair, value: Fraction, alpha: Fraction, figures: dict[str, Json]) -> tuple[bool, str]:
    if seen.unit == BITS:
        return seen.after <= value, f"needs {_number(seen.after)} {BITS}, at most {_number(value)} is asked"
    right = int(seen.after * seen.items)
    sure = statistics.clopper_pearson(right, seen.items, float(alpha))
    figures["score_interval"] = {"low": sure.low, "high": sure.high, "level": paired.rounded(1 - alpha)}
    interval = f"{_percent(1 - alpha)} interval {sure.low:.3f} to {sure.high:.3f}"
    return (
        seen.after >= value,
        f"scores {_number(seen.after)} ({interval}), at least {_number(value)} is asked",
    )


def _improvement(seen: Pair, value: Fraction, alpha: Fraction) -> tuple[bool, str]:
    told = f"{_moved(seen)}, a gain of at least {_number(value)} is asked"
    if seen.net <= 0:
        return False, told
    sure = seen.p <= alpha
    told += f"; chance {'does not explain' if sure else 'may explain'} it ({_p(seen.p)}"
    return sure and seen.gain >= value, f"{told})" if sure else f"{told}, at most {float(alpha):g} is asked)"


def _non_inferiority(
    seen: Pair, margin: Fraction, alpha: Fraction, figures: dict[str, Json]
) -> tuple[bool, str]:
    bound = _bound(seen, alpha)
    figures["margin"], figures["bound"] = (
        paired.rounded(margin),
        None if bound is None else paired.rounded(bound),
    )
    told = _moved(seen)
    if bound is None:
        return (
            False,
            f"{told}; margin {_number(margin)}: not shown to be non-inferior, {seen.items} items are too few",
        )
    least = "at least" if bound < 0 else "loses at most" if seen.gain >= 0 else "at most"
    shown = abs(Fraction(math.ceil(bound * 1000), 1000))  # rounded up, so that it never looks better
    told += f", {least} {_number(shown)} with {_percent(1 - alpha)} confidence; margin {_number(margin)}"
    if bound <= margin and -seen.gain <= margin:
        return True, f"{told}: non-inferior"
    if -seen.gain <= margin:
        return False, f"{told}: not shown to be non-inferior, the suite is too small to tell"
    return False, f"{told}: not non-inferior, the loss seen is beyond the margin"


def _bound(seen: Pair, alpha: Fraction) -> Fraction | None:
    """Give the one-sided upper bound of the loss at level 1 - alpha: an end of the two-sided interval at 1 - 2 alpha."""
    interval = seen.interval(2 * alpha)
    return None if interval is None else -Fraction(str(interval.low))


def _seen(seen: Pair, alpha: Fraction) -> str:
    told = (
        f"{_number(seen.before)} before, {_number(seen.after)} after, of {seen.items} items "
        f"{len(seen.fixed)} fixed and {len(seen.broken)} broken"
    )
    if seen.broken:
        told += f" ({', '.join(seen.broken[:NAMED])}{', …' if len(seen.broken) > NAMED else ''})"
    told += f": {seen.verdict(alpha)}, {_p(seen.p)}."
    effect = seen.effect(alpha)
    if effect.at_best is None:
        return f"{told} So few items can show no change at all."
    told += f" It can show a net change of {_items(effect.at_best, seen.items)} at best"
    if effect.observed is not None:
        told += (
            f", of {_items(effect.observed, seen.items)} where {len(seen.fixed) + len(seen.broken)} change"
        )
    return told + "."


def _moved(seen: Pair) -> str:
    if not seen.gain:
        return "stays the same"
    unit = "" if seen.unit == SHARE else f" {BITS}"
    return f"{'gains' if seen.gain > 0 else 'loses'} {_number(abs(seen.gain))}{unit}"


def _items(count: int, of: int) -> str:
    return f"{count} items ({_number(Fraction(count, of))})"


def _number(value: Fraction) -> str:
    return f"{float(value):.3f}"


def _percent(level: Fraction) -> str:
    return f"{float(100 * level):g} %"


def _p(value: Fraction) -> str:
    return "p < 0.001" if value < SMALL_P else f"p = {float(value):.3f}"
