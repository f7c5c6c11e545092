"""Scorers: one module per metric, each a pure function from an answer to a verdict.

Invariants: an answer is anything that a model may write, so no scorer ever raises on one, and none takes longer than its
stated bound; a verdict is a function of the answer, the item and the section's options alone. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What a scorer says of an answer.

    Args:
        correct: Whether it counts as right.
        told: Why not, in a few words, where that is not plain from answer and item; else empty.
    """

    correct: bool
    told: str = ""
