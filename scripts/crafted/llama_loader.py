"""llama.cpp's own loader in a child process, asked about one file after another; it may die of one and is then started again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Self, cast

CHILD = Path(__file__).with_name("llama_child.py")


class Loader:
    """A context manager."""

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def takes(self, path: Path) -> bool:
        """Tell whether llama.cpp loads a file."""
        self._asked.write(f"{path}\n")
        self._asked.flush()
        answer = self._told.readline()
        if not answer:  # it aborted
            self._stop()
            self._start()
        return answer == "yes\n"

    def _start(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},  # else a debugger writes where the answers are
        )
        self._asked, self._told = cast("IO[str]", self._child.stdin), cast("IO[str]", self._child.stdout)
        self._told.readline()  # it says when it is ready

    def _stop(self) -> None:
        with self._child:
            self._child.kill()
