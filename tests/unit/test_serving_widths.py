"""Steps: sequences whose numbers follow one another, none too short, none too long."""

from __future__ import annotations

import pytest

from holdfast.serving.widths import Widths, steps


@pytest.mark.parametrize(
    ("sequences", "widths", "expected"),
    [
        ([], Widths(2, 4), []),
        ([0], Widths(1, 1), [[0]]),
        ([0, 1, 2], Widths(1, 1), [[0], [1], [2]]),
        ([0], Widths(2, 4), [[0, 1]]),
        ([3], Widths(2, 4), [[3, 4]]),
        ([0, 2], Widths(2, 4), [[0, 1, 2]]),
        ([0, 2], Widths(1, 4), [[0], [2]]),
        ([0, 3], Widths(2, 4), [[0, 1], [3, 4]]),
        ([0, 1, 2, 3, 4], Widths(2, 4), [[0, 1, 2, 3], [4, 5]]),
        ([0, 1, 2, 3, 5], Widths(2, 4), [[0, 1, 2, 3], [5, 6]]),
        ([0, 2, 4], Widths(2, 2), [[0, 1], [2, 3], [4, 5]]),
        ([0, 1, 3, 4], Widths(2, 8), [[0, 1], [3, 4]]),
    ],
)
def test_steps(sequences, widths, expected):
    assert steps(sequences, widths) == expected
