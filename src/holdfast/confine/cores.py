"""No memory on disk after a crash: what a process does so that no core dump holds what it had in memory.

Three layers, each of which is enough where it works: the limit on core files is one byte, which writes none and, unlike 0,
gives a program that the host collects dumps with nothing either; the filter of what a dump holds is empty, so that a dump that is made all
the same has registers and no memory; and a process that nobody of its own must look into can't be dumped, or traced by its own
user, at all. The first two pass on to whatever the process starts.

Source: core(5), prctl(2), proc_pid_coredump_filter(5).
"""

from __future__ import annotations

import resource

from holdfast.confine import kernel

LIMIT = 1  # bytes of a core file
_PR_SET_DUMPABLE = 4


def empty() -> None:
    """Leave all memory out of any dump of this process and of those that it starts.

    Raises:
        OSError: If the kernel has no such filter.
    """
    with open("/proc/self/coredump_filter", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not loaded in workers
        file.write("0")


def forbid() -> list[str]:
    """Have no dump made of this process, and none with memory of those that it starts.

    Returns:
        What this host does not do, one sentence each; empty where all of it holds.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (LIMIT, LIMIT))
    missing: list[str] = []
    try:
        empty()
    except OSError as error:
        missing.append(f"Memory can't be left out of core dumps here: {error}.")
    try:
        kernel.libc("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    except OSError as error:
        missing.append(f"Core dumps of the daemon can't be forbidden here: {error}.")
    return missing
