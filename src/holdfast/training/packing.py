"""Several examples to a row: best-fit decreasing bin packing.

Invariants: every example is in exactly one row, whole; no row is longer than the capacity; equal lengths always give
equal rows. Source: Ding et al., "Fewer truncations improve language modeling" (2024, arXiv:2404.10830). No I/O.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Distribute examples over rows.

    Args:
        lengths: Tokens of each example, none longer than the capacity.
        capacity: Tokens of one row.

    Returns:
        For each row the positions of its examples. Rows come in the order of their longest example.
    """
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (tokens left, row), sorted; the first that suffices fits best
    for at in sorted(range(len(lengths)), key=lambda position: (-lengths[position], position)):
        best = bisect.bisect_left(free, (lengths[at], 0))
        if best == len(free):
            rows.append([])
            left, row = capacity, len(rows) - 1
        else:
            left, row = free.pop(best)
        rows[row].append(at)
        if left > lengths[at]:
            bisect.insort(free, (left - lengths[at], row))
    return rows


def one_each(lengths: Sequence[int]) -> list[list[int]]:
    """Give every example a row of its own.

    Args:
        lengths: Tokens of each example.

    Returns:
        One position per row.
    """
    return [[at] for at in range(len(lengths))]
