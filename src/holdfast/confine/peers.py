"""Whether a process belongs to a worker, so that the daemon refuses it as a client.

Order of operations: follow parents from the process up to the first process of the machine. Invariant: fails closed. What
can't be shown to lie outside counts as inside: a process that has gone, one that can't be seen from here, and a chain in
which a parent is younger than its child, because then its number was given to another process meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PARENT, _STARTED = 1, 19  # fields of /proc/PID/stat after the command's name (proc(5): 4 and 22)
_MAX_DEPTH = 1024  # generations; deeper trees are made to tire whoever follows them


def descends_from(pid: int, ancestors: Iterable[int]) -> bool:
    """Say whether a process is one of these, or was started beneath one of them.

    Args:
        pid: The process, as the daemon numbers it (``SO_PEERCRED``); 0 for one that can't be seen.
        ancestors: The workers' processes (``Worker.pid``).

    Returns:
        True if it is, or if that can't be excluded.
    """
    wanted = set(ancestors)
    child_started = None
    for _ in range(_MAX_DEPTH):
        if pid in wanted:
            return True
        facts = _facts(pid)
        if facts is None:
            return True
        parent, started = facts
        if child_started is not None and started > child_started:
            return True
        if parent == 0:  # the first process, or one that a container's host put here
            return False
        pid, child_started = parent, started
    return True


def _facts(pid: int) -> tuple[int, int] | None:
    """Give the parent and the start time (clock ticks since boot) of a process."""
    if pid <= 0:
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rsplit(")", 1)[-1].split()  # a command's name may hold blanks and brackets
    return int(fields[_PARENT]), int(fields[_STARTED])
