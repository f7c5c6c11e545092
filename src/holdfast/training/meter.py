"""What a run has used: time, processor time, energy of a GPU; over all the processes that it took.

Invariants: a run that goes on from a checkpoint counts on from what that checkpoint knew, so work that was lost with a
killed process is not in the sums.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

MILLI = 1000  # NVML gives millijoules


class Meter:
    """Counts from when it is made.

    Args:
        device: ``cpu`` or ``cuda``.
        before: What ``notes`` gave in the process that the run goes on from; empty for a new run.
        watts: What a core draws at this site, to estimate energy by; None if nobody said.
    """

    def __init__(self, device: str, before: Mapping[str, Json], watts: float | None = None) -> None:
        self._watts = watts
        self._gpu = _Gpu() if device == "cuda" else None
        self._before = {name: _number(before.get(name)) for name in ("seconds", "cpu_seconds", "gpu_joules")}
        self._seconds = time.monotonic()
        self._processor = time.process_time()
        self._joules = self._gpu_joules()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before["seconds"] + time.monotonic() - self._seconds

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds so far, over all threads."""
        return self._before["cpu_seconds"] + time.process_time() - self._processor

    @property
    def gpu_joules(self) -> float | None:
        """Joules of the GPU so far; None without one."""
        return self._before["gpu_joules"] + self._gpu_joules() - self._joules if self._gpu else None

    @property
    def joules_estimated(self) -> float | None:
        """Joules so far, by processor time and what a core draws, and those of the GPU; None if nobody said what one draws."""
        return None if self._watts is None else self.cpu_seconds * self._watts + (self.gpu_joules or 0.0)

    def notes(self) -> dict[str, Json]:
        """Give the three figures so far, as a checkpoint keeps them.

        Returns:
            ``seconds``, ``cpu_seconds`` and ``gpu_joules`` (None without a GPU).
        """
        joules = self.gpu_joules
        return {
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "gpu_joules": None if joules is None else round(joules, 3),
        }

    def spent(self, notes: Mapping[str, Json]) -> dict[str, Json]:
        """Give what this process alone had used when the notes were taken.

        Args:
            notes: What ``notes`` gave.

        Returns:
            The same three figures, without what the processes before it used.
        """
        return {
            name: None if notes[name] is None else round(_number(notes[name]) - before, 3)
            for name, before in self._before.items()
        }

    def _gpu_joules(self) -> float:
        return float(self._gpu.energy()) / MILLI if self._gpu else 0.0


class _Gpu:
    """The first GPU's counter of energy, as its driver has it."""

    def __init__(self) -> None:
        import pynvml  # type: ignore[import-untyped]  # it has no type hints

        pynvml.nvmlInit()
        self._read = pynvml.nvmlDeviceGetTotalEnergyConsumption
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)

    def energy(self) -> int:
        """Give the millijoules since the driver was loaded."""
        return int(self._read(self._handle))


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
