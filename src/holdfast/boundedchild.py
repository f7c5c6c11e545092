"""Reading what is not trusted without a daemon: in a child process, within limits of memory and processor time.

Order of operations: the parent starts a module and writes one JSON document to its standard input; the child reads it, binds
itself, and only then looks at a file; it writes one JSON document to its standard output and ends. Invariants: whatever a file
holds, the parent neither hangs nor grows with it; a parent that goes away takes the child along. No wall but the limits stands
around the child: where a daemon is, workers are confined (``confine``).
"""

from __future__ import annotations

import errno
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.canonical import Json

EXHAUSTED = 77  # the exit code of a child that ran out of memory in an orderly way
LAST_WORDS = 400  # bytes of what a failed child said that are told
START = 60  # seconds by the clock until a child has begun; a tenth of one when idle, a loaded machine may need long …
WAIT = 2  # … and times its processor time that it may take on top
ENVIRONMENT = {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Args:
        answer: What it wrote; None if it came up against a limit.
        code: Its exit code.
        said: The last that it wrote to its standard error.
    """

    answer: bytes | None
    code: int
    said: str


def ask(
    module: str,
    order: Mapping[str, Json],
    *,
    memory: int,
    seconds: int,
    most: int,
    handles: Sequence[int] = (),
) -> Ended:
    """Have a child answer.

    Args:
        module: The module that it runs, which calls ``serve``.
        order: What is asked.
        memory: Bytes of memory that it may take.
        seconds: Processor time that it may take once it has begun.
        most: Bytes that its answer may have.
        handles: Open files that it inherits.

    Returns:
        How it ended.
    """
    document = json.dumps({**order, "memory": memory, "seconds": seconds}).encode()
    # Files take what the child writes: it must not fill this process's memory either.
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as faults:
        child = subprocess.Popen(
            (sys.executable, "-I", "-m", module),
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=faults,
            pass_fds=tuple(handles),
            env=ENVIRONMENT,
            cwd="/",
        )
        try:
            child.communicate(document, timeout=START + WAIT * seconds)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            pass
        finally:
            child.kill()  # nothing if it has ended
            child.wait()
            if child.stdin is not None:
                child.stdin.close()  # nothing unless it did not read its order
        answer.seek(0)
        data = answer.read(most + 1)
        faults.seek(max(0, faults.seek(0, 2) - LAST_WORDS))
        said = faults.read(LAST_WORDS).decode("utf-8", "replace").strip()
    stopped = child.returncode < 0 or child.returncode == EXHAUSTED or len(data) > most
    return Ended(None if stopped else data, child.returncode, said)


def serve(answer: Callable[[dict[str, Json]], Json], *, memory: int, written: int) -> None:
    """Answer, as the child.

    Args:
        answer: Gives the answer to an order, which has neither ``memory`` nor ``seconds`` any more.
        memory: The limit that bounds memory: ``RLIMIT_AS``, or ``RLIMIT_DATA`` where libraries map more than they use.
        written: Bytes of a file that it may write.
    """
    order = json.loads(sys.stdin.buffer.read())
    for limit, most in (
        (memory, order.pop("memory")),
        (resource.RLIMIT_CPU, order.pop("seconds") + math.ceil(time.process_time())),
        (resource.RLIMIT_FSIZE, written),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    try:
        json.dump(answer(order), sys.stdout)
    except MemoryError:
        sys.exit(EXHAUSTED)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            sys.exit(EXHAUSTED)
        raise
