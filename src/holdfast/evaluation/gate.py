"""The gate: whether a customised model may be released, and why.

Invariants: a verdict is a function of the rules and the results alone; every rule is judged, and the verdict is "go" only if
every one holds; arithmetic is exact, so that a loss of just the allowed size passes. Results before and after pair up
item by item; a reason names how many items were fixed and broken, and which. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation.spec import ALL, PRIMARY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.canonical import Json
    from holdfast.training.spec import GateRule

NAMED = 5  # items named in a reason; the file of outcomes has all of them

Result = dict[str, "Json"]


@dataclass(frozen=True)
class Pair:
    """One section of one suite, before and after.

    Args:
        before: Share of right answers before.
        after: Share of right answers after.
        items: Items in it.
        fixed: Ids of items that were wrong before and are right after.
        broken: Ids of items that were right before and are wrong after.
    """

    before: Fraction
    after: Fraction
    items: int
    fixed: tuple[str, ...]
    broken: tuple[str, ...]


def judge(
    rules: Sequence[GateRule], before: Mapping[str, Result], after: Mapping[str, Result]
) -> dict[str, Json]:
    """Judge a customised model against the model it came from.

    Args:
        rules: The recipe's gate.
        before: Result of each suite, by name, without the adapter.
        after: Result of each suite, by name, with it.

    Returns:
        ``go``, ``reasons`` (a sentence per rule) and ``rules`` (the figures behind each sentence).

    Raises:
        UntrustedRecipe: If a rule names a suite or a section that was not evaluated.
    """
    judged = [_judge(rule, before, after) for rule in rules]
    return {
        "go": all(bool(one["holds"]) for one in judged),
        "reasons": [one["reason"] for one in judged],
        "rules": list(judged),
    }


def pair(before: Result, after: Result, section: str) -> Pair:
    """Compare two results of one suite, item by item.

    Args:
        before: One result.
        after: The other, of the same version of the same suite.
        section: ``all``, ``primary`` or the name of a section.

    Returns:
        The comparison.

    Raises:
        UntrustedRecipe: If the results are not of one suite, or have no such section.
    """
    same = ("suite", "ids", "of", "primary")
    if any(before[name] != after[name] for name in same):
        raise UntrustedRecipe(
            "gate.suites-differ",
            "The results before and after are not of the same suite.",
            remedy="Evaluate both models on one version of the suite.",
        )
    members = cast("list[str]", after["of"])
    wanted = set(members) if section == ALL else {section}
    if section == PRIMARY:
        wanted = set(cast("list[str]", after["primary"]))
    ids = cast("list[str]", after["ids"])
    rows = [
        (name, was == "1", now == "1")
        for name, of, was, now in zip(
            ids, members, str(before["outcomes"]), str(after["outcomes"]), strict=True
        )
        if of in wanted
    ]
    if not rows:
        raise UntrustedRecipe(
            "gate.section",
            f"The gate names section {section!r}, and the suite has {', '.join(sorted(set(members)))}.",
            remedy="Name 'all', 'primary' or a section of the suite in [[gate]].",
        )
    return Pair(
        before=Fraction(sum(was for _, was, _ in rows), len(rows)),
        after=Fraction(sum(now for _, _, now in rows), len(rows)),
        items=len(rows),
        fixed=tuple(name for name, was, now in rows if now and not was),
        broken=tuple(name for name, was, now in rows if was and not now),
    )


def _judge(rule: GateRule, before: Mapping[str, Result], after: Mapping[str, Result]) -> dict[str, Json]:
    if rule.suite not in before or rule.suite not in after:
        raise UntrustedRecipe(
            "gate.suite",
            f"The gate names suite {rule.suite!r}, which was not evaluated.",
            remedy=f"Evaluate it, or name one of: {', '.join(sorted(after))}.",
        )
    seen = pair(before[rule.suite], after[rule.suite], rule.section)
    bound = Fraction(str(rule.value))
    where = f"{rule.suite} ({rule.section})"
    if rule.rule == "minimum":
        holds = seen.after >= bound
        told = f"scores {float(seen.after):.3f}, at least {float(bound):.3f} is asked"
    elif rule.rule == "improvement":
        holds = seen.after - seen.before >= bound
        told = f"rises by {float(seen.after - seen.before):.3f}, at least {float(bound):.3f} is asked"
    else:
        holds = seen.before - seen.after <= bound
        told = f"loses {float(seen.before - seen.after):.3f}, at most {float(bound):.3f} is allowed"
    reason = (
        f"{'Holds' if holds else 'Fails'}: {where} {told}; {float(seen.before):.3f} before, "
        f"{float(seen.after):.3f} after, of {seen.items} items {len(seen.fixed)} fixed and {len(seen.broken)} broken"
    )
    if seen.broken:
        reason += f" ({', '.join(seen.broken[:NAMED])}{', …' if len(seen.broken) > NAMED else ''})"
    return {
        "suite": rule.suite,
        "section": rule.section,
        "rule": rule.rule,
        "value": rule.value,
        "holds": holds,
        "before": round(float(seen.before), 6),
        "after": round(float(seen.after), 6),
        "items": seen.items,
        "fixed": list(seen.fixed),
        "broken": list(seen.broken),
        "reason": reason + ".",
    }
