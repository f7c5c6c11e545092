"""Files of JSON Lines that a run writes, one line for each step it tells of.

Invariants: steps only rise; a run that goes on from a checkpoint first drops the lines after it; what a killed process left
as half a line is dropped too; a file that is replaced is either the old or the new. Telemetry has times in it and is no
part of what a run determines; the state hashes are.
"""

from __future__ import annotations

import json
import os
from io import FileIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json

TELEMETRY = "telemetry.jsonl"
STATES = "states.jsonl"
MAX_LINE = 4096  # bytes of one line; ours have a few hundred


class StepLines:
    """A file of lines.

    Args:
        path: The file; made when it is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None

    def open(self, step: int, source: Path | None = None) -> None:
        """Open the file with the lines up to a step.

        Args:
            step: The step that the run goes on from; 0 for a new run.
            source: Where those lines are; left out, in the file itself.
        """
        kept = [line for line in _lines(source or self.path) if _step(line) <= step] if step else []
        draft = self.path.with_name(self.path.name + ".partial")
        with draft.open("wb") as file:
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.path)
        self._file = FileIO(self.path, "ab")

    def write(self, figures: dict[str, Json]) -> None:
        """Append one line.

        Args:
            figures: Names and figures, with ``step``.
        """
        line = memoryview(json.dumps(figures, separators=(",", ":"), allow_nan=False).encode() + b"\n")
        while line and self._file is not None:
            line = line[self._file.write(line) :]

    def sync(self) -> None:
        """Bring the file to disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing if it is not open."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        return [line for line in file if line.endswith(b"\n") and len(line) <= MAX_LINE]


def _step(line: bytes) -> float:
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
    return step if isinstance(step, int) else float("inf")
