"""The telemetry of one run: a file of JSON Lines, one per step.

Invariants: steps only rise; a run that goes on from a checkpoint first drops the lines after it; what a killed process left
as half a line is dropped too. Telemetry has times in it and is no part of what a run determines.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json

MAX_LINE = 4096  # bytes of one line; ours have a few hundred


class Telemetry:
    """An open file of telemetry.

    Args:
        path: The file; made if it is not there.
        step: The step that the run goes on from; 0 for a new run.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in _lines(path) if _step(line) <= step] if step else []
        self._file: TextIO = path.open("w", encoding="utf-8")
        self._file.writelines(kept)
        self._file.flush()

    def write(self, figures: dict[str, Json]) -> None:
        """Append one line.

        Args:
            figures: Names and figures, with ``step``.
        """
        self._file.write(json.dumps(figures, separators=(",", ":"), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Bring the file to disk and close it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line for line in file if line.endswith("\n") and len(line) <= MAX_LINE]


def _step(line: str) -> float:
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
    return step if isinstance(step, int) else float("inf")
