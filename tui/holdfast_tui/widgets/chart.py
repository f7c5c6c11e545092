"""A loss curve in characters.

Dots are braille (two by four to a cell) where the terminal shows them, and ``*`` (one to a cell) on serial and legacy ones.
Invariant: whatever the points, the drawing has exactly the size that was asked for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text
from textual.widget import Widget

if TYPE_CHECKING:
    from collections.abc import Sequence

GUTTER = 8  # columns of the labels on the left
FURNITURE = 2  # lines of the head and of the axis below
BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # Unicode 16, chapter 21.1: rows of the cell


def draw(
    points: Sequence[tuple[int, float]], steps: int, width: int, height: int, *, plain: bool
) -> list[str]:
    """Draw a curve with its axes.

    Args:
        points: Step and loss, in order of steps.
        steps: Steps of the whole run: the right end of the axis.
        width: Columns.
        height: Lines.
        plain: Whether the terminal has no braille.

    Returns:
        ``height`` lines of at most ``width`` columns.
    """
    finite = [(step, loss) for step, loss in points if math.isfinite(loss)]
    columns, lines = width - GUTTER, height - FURNITURE
    if not finite or columns < GUTTER or lines < 1:
        return [""] * height
    low, high = min(loss for _, loss in finite), max(loss for _, loss in finite)
    at = min(finite, key=lambda point: point[1])[0]
    across, down = (1, 1) if plain else (2, 4)
    right = max(steps, finite[-1][0], 2)
    span, rise = columns * across - 1, lines * down - 1
    scaled = [
        (
            min(round((step - 1) / (right - 1) * span), span),
            round((high - loss) / ((high - low) or 1.0) * rise),
        )
        for step, loss in finite
    ]
    grid = _grid(scaled, columns * across, lines * down)
    body = _plain(grid) if plain else _braille(grid, columns, lines)
    labels = {0: _short(high), lines - 1: _short(low)} if lines > 1 else {0: _short(high)}
    wall, corner, floor = ("|", "+", "-") if plain else ("│", "└", "─")
    head = f"loss {finite[-1][1]:.3f}  least {low:.3f} at step {at}"
    end = f" {right}"
    axis = f"{'step 1 ':>{GUTTER - 1}}{corner}{floor * (columns - len(end))}{end}"
    drawn = [f"{labels.get(line, ''):>{GUTTER - 1}}{wall}{text}" for line, text in enumerate(body)]
    return [head[:width], *drawn, axis]


def _short(loss: float) -> str:
    """Write a loss so that it fits the gutter."""
    text = f"{loss:.3f}"
    return text if len(text) < GUTTER else f"{loss:.0e}"


def _grid(scaled: Sequence[tuple[int, int]], width: int, height: int) -> list[list[int]]:
    """Set the dots of a connected curve. Work is bounded by the drawing's size, not by the number of points."""
    grid = [[0] * width for _ in range(height)]
    spans: dict[int, list[int]] = {}  # of each column: first, last, least and greatest row
    for x, y in scaled:
        span = spans.setdefault(x, [y, y, y, y])
        span[1:] = [y, min(span[2], y), max(span[3], y)]
    before: tuple[int, int] | None = None
    for x, (first, last, least, greatest) in spans.items():
        for y in range(least, greatest + 1):
            grid[y][x] = 1
        if before is not None:
            across, up = x - before[0], first - before[1]
            reach = max(abs(across), abs(up))
            for at in range(1, reach):
                grid[before[1] + round(up * at / reach)][before[0] + round(across * at / reach)] = 1
        before = (x, last)
    return grid


def _plain(grid: list[list[int]]) -> list[str]:
    return ["".join("*" if dot else " " for dot in row) for row in grid]


def _braille(grid: list[list[int]], columns: int, lines: int) -> list[str]:
    drawn = []
    for line in range(lines):
        cells = []
        for column in range(columns):
            bits = sum(
                mask
                for row, masks in enumerate(_DOTS)
                for side, mask in enumerate(masks)
                if grid[line * 4 + row][column * 2 + side]
            )
            cells.append(chr(BRAILLE + bits) if bits else " ")
        drawn.append("".join(cells))
    return drawn


class LossChart(Widget):
    """The loss of one run.

    Args:
        plain: Whether the terminal has no braille.
    """

    def __init__(self, *, plain: bool) -> None:
        super().__init__(id="chart")
        self.plain = plain
        self.points: Sequence[tuple[int, float]] = ()
        self.steps = 0

    def show(self, points: Sequence[tuple[int, float]], steps: int) -> None:
        """Show other points.

        Args:
            points: Step and loss.
            steps: Steps of the whole run.
        """
        self.points, self.steps = points, steps
        self.refresh()

    def render(self) -> Text:
        """Draw.

        Returns:
            The chart's lines.
        """
        lines = draw(self.points, self.steps, self.size.width, self.size.height, plain=self.plain)
        return Text("\n".join(lines), no_wrap=True)
