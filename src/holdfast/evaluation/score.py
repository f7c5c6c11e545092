"""Scoring: from generated answers to a result record.

Invariants: a result is a function of suite and answers alone, as plain data with integer counts, so that equal answers give
equal bytes; items keep the suite's order, so that two results of one suite pair up. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.evaluation.spec import ALL, PRIMARY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json
    from holdfast.evaluation.spec import Item, Suite

SCHEMA = "holdfast.result/1"
DIGITS = 6  # decimal places of a score, which is for people; the counts are exact


@dataclass(frozen=True)
class Outcome:
    """What became of one item.

    Args:
        item: The question.
        answer: What was generated.
        correct: Whether it counts as right.
    """

    item: Item
    answer: str
    correct: bool

    def to_json(self) -> dict[str, Json]:
        """Give the outcome as plain data, for the file of outcomes.

        Returns:
            ``id``, ``section``, ``answer``, ``expected`` and ``correct``.
        """
        return {
            "id": self.item.id,
            "section": self.item.section,
            "answer": self.answer,
            "expected": list(self.item.answers),
            "correct": self.correct,
        }


def exact(answer: str, expected: Sequence[str]) -> bool:
    """Tell whether an answer is one of the expected, white space at the ends aside.

    Args:
        answer: What was generated.
        expected: The texts that count as right.

    Returns:
        True if it is right.
    """
    return answer.strip() in {one.strip() for one in expected}


def outcomes(suite: Suite, answers: Sequence[str]) -> list[Outcome]:
    """Judge every answer.

    Args:
        suite: The suite.
        answers: One per item, in the suite's order.

    Returns:
        One outcome per item.
    """
    return [
        Outcome(item, answer, exact(answer, item.answers))
        for item, answer in zip(suite.items, answers, strict=True)
    ]


def result(suite: Suite, judged: Sequence[Outcome]) -> dict[str, Json]:
    """Sum up a suite.

    Args:
        suite: The suite.
        judged: What ``outcomes`` gave.

    Returns:
        ``suite`` (name and version), ``score`` (the headline: all primary sections together), ``sections`` (``all``,
        ``primary`` and each section: items, correct, score), ``ids`` and ``outcomes`` (one ``0`` or ``1`` per item).
    """
    primary = {one.name for one in suite.spec.section if one.primary}
    members = {ALL: list(judged), PRIMARY: [one for one in judged if one.item.section in primary]}
    for section in suite.spec.section:
        members[section.name] = [one for one in judged if one.item.section == section.name]
    sections = {name: _count(of) for name, of in members.items()}
    return {
        "schema": SCHEMA,
        "suite": {"name": suite.spec.name, "version": suite.spec.version},
        "score": sections[PRIMARY]["score"],
        "sections": {name: {**one} for name, one in sections.items()},
        "primary": [*sorted(primary)],
        "ids": [one.item.id for one in judged],
        "of": [one.item.section for one in judged],
        "outcomes": "".join("1" if one.correct else "0" for one in judged),
    }


def _count(judged: Sequence[Outcome]) -> dict[str, int | float]:
    correct = sum(one.correct for one in judged)
    return {"items": len(judged), "correct": correct, "score": round(correct / len(judged), DIGITS)}
