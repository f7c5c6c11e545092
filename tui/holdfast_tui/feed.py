"""What is known of one job, folded from its numbered stream.

Invariants: entries are taken once and in order, whatever connection brought them; memory stays bounded however long a run is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast import errors
from holdfast.parts import record
from holdfast_tui.reading import bytes_told, number, seconds_told, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.errors import HoldfastError

MAX_POINTS = 20_000  # of one loss curve; at more, every second one is dropped, which no terminal can show
BYTES = ("verifying", "copying", "checking", "hashing")  # steps that are counted in bytes
SPACING = 0.5  # seconds between two samples of a rate; a stream that is caught up on arrives at once
SAMPLES = 10  # of a rate: the speed of the last few seconds, not of the whole


@dataclass
class Feed:
    """One job as it is seen here.

    Args:
        job: Its number.
        title: What it does, for the line of activity.
        last: Number of the last entry taken.
        step: What is being done.
        done: Units done.
        total: Units in all; 0 if unknown.
        points: Step and loss.
        steps: Steps of the whole run; 0 if it is none.
        figures: The last metric.
        result: What it ended with.
        error: Why it failed.
        note: The last note.
        clock: Seconds that only grow.
        samples: When how many units of this step were done.
    """

    job: int
    title: str
    last: int = 0
    step: str = ""
    done: int = 0
    total: int = 0
    points: list[tuple[int, float]] = field(default_factory=list)
    steps: int = 0
    figures: dict[str, Json] = field(default_factory=dict)
    result: dict[str, Json] | None = None
    error: HoldfastError | None = None
    note: str = ""
    clock: Callable[[], float] = time.monotonic
    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.result is not None or self.error is not None

    def take(self, entry: dict[str, Json]) -> None:
        """Fold one entry in; one that was taken before changes nothing.

        Args:
            entry: An entry of the stream.
        """
        at = number(entry.get("n"))
        if at <= self.last:
            return
        self.last = at
        kind = entry.get("kind")
        if kind == "progress":
            self._advance(str(entry.get("step")), number(entry.get("done")), number(entry.get("total")))
        elif kind == "metric":
            self._metric(entry)
        elif kind == "note":
            self.note = str(entry.get("text"))
        elif kind == "result":
            self.result = record(entry.get("result"))
        elif kind == "error":
            self.error = errors.from_dict(record(entry.get("error")))

    def _advance(self, step: str, done: int, total: int) -> None:
        if step != self.step or done < self.done:
            self.samples.clear()
        self.step, self.done, self.total = step, done, total
        now = self.clock()
        if not self.samples or now - self.samples[-1][0] >= SPACING:
            self.samples = [*self.samples[1 - SAMPLES :], (now, done)]
        elif len(self.samples) == 1:
            self.samples[0] = self.samples[0][0], done

    def rate(self) -> float | None:
        """Tell how fast the step goes.

        Returns:
            Units per second over the last few seconds; None if it is not known yet.
        """
        (begun, before), now = (self.samples or [(0.0, 0)])[0], self.clock()
        if not self.samples or now - begun < 2 * SPACING or self.done <= before:
            return None
        return (self.done - before) / (now - begun)

    def _metric(self, entry: dict[str, Json]) -> None:
        loss, step = entry.get("loss"), number(entry.get("step"))
        if not isinstance(loss, int | float):
            return
        self.figures = entry
        self.steps = number(entry.get("steps"))
        self.step, self.done, self.total = f"step {step}", step, self.steps
        self.points.append((step, float(loss)))
        if len(self.points) > MAX_POINTS:
            del self.points[1:-1:2]

    def line(self) -> str:
        """Describe how far it is, in one line.

        Returns:
            For people.
        """
        return f"{self.title}: {self.progress()}"

    def progress(self) -> str:
        """Describe how far it is, without its title.

        Returns:
            For people.
        """
        if self.error is not None:
            return self.error.message
        if self.result is not None:
            return "done"
        parts = [self.step or "starting"]
        counted = self.step in BYTES and self.total > 1
        if counted:
            parts.append(f"{bytes_told(self.done)} of {bytes_told(self.total)}")
        if self.total > 1:
            parts.append(f"{100 * self.done // self.total} %")
        rate = self.rate() if counted else None
        if rate is not None:
            parts.append(f"{bytes_told(round(rate))}/s")
        if "eta_s" in self.figures:
            parts.append(f"{told(self.figures.get('tokens_per_second'))} tokens/s")
            parts.append(f"{seconds_told(self.figures['eta_s'])} left")
        return " · ".join(parts)
