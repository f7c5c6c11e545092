"""Try the installed wheels on quantized models, in a child process.

A build may load f16 and still die on every quantized model (a wrong AMX library does), so f16 alone proves nothing. The
child generates a random Llama model, quantizes it to Q8_0 and Q4_K_M and decodes with each; a signal that kills it is
seen here as a failure.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CHILD = Path(__file__).with_name("smoke_child.py")
SOURCE = Path(__file__).parents[2] / "src"
TIME_LIMIT = 300  # seconds; it takes about 2 on an idle machine


class SmokeError(Exception):
    """The wheels cannot run quantized models on this machine."""


def run(say: Callable[[str], None]) -> None:
    """Run the smoke test.

    Args:
        say: Receives lines for people.

    Raises:
        SmokeError: If the child fails or is killed.
    """
    command = [sys.executable, str(CHILD), str(SOURCE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIME_LIMIT)
    if done.returncode != 0:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}"
        message = f"{done.stderr}\nllama.cpp cannot run quantized models on this machine ({how})"
        raise SmokeError(message)
    say(f"llama.cpp runs quantized models here: {done.stdout.strip()}")
