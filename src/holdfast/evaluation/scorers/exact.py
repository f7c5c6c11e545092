"""Metric ``exact``: an answer is one of the expected texts, white space at the ends aside. Linear in the answer. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.evaluation.scorers import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence


def judge(answer: str, expected: Sequence[str]) -> Verdict:
    """Tell whether an answer is one of the expected.

    Args:
        answer: What was generated.
        expected: The texts that count as right.

    Returns:
        The verdict.
    """
    return Verdict(answer.strip() in {one.strip() for one in expected})
