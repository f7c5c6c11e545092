"""Core dumps: a process that forbids them leaves no memory behind, however it dies."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys

import pytest

CANARY = "canary-6b1d-in-memory"
DIE = """
import os, resource
from holdfast.confine import cores, kernel
held = "-".join(["canary", "6b1d", "in", "memory"])
if {forbidden}:
    assert cores.forbid() == []
    assert kernel.libc("prctl", 3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
    assert resource.getrlimit(resource.RLIMIT_CORE) == (cores.LIMIT, cores.LIMIT)
print("dying", flush=True)
os.abort()
"""


def die(folder, *, forbidden):
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    done = subprocess.run(
        [sys.executable, "-c", DIE.format(forbidden=forbidden)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )
    assert (done.returncode, done.stdout) == (-signal.SIGABRT, "dying\n"), done.stderr
    return [path.read_bytes() for path in folder.iterdir()]


def test_a_process_that_forbids_them_leaves_no_core(tmp_path):
    assert die(tmp_path, forbidden=True) == []


def test_one_that_does_not_leaves_its_memory(tmp_path):
    found = die(tmp_path, forbidden=False)
    if not found:
        pytest.skip("this host writes no core files beside the process")
    assert any(CANARY.encode() in data for data in found)


def test_the_filter_passes_on_and_leaves_memory_out_even_where_a_core_is_written(tmp_path):
    code = (
        "import os, subprocess, sys; from holdfast.confine import cores; cores.empty(); "
        "print(subprocess.run([sys.executable, '-c', "
        "\"print(open('/proc/self/coredump_filter').read())\"], capture_output=True, text=True).stdout, flush=True); "
        "held = '-'.join(['canary', '6b1d', 'in', 'memory']); os.abort()"
    )
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )
    assert int(done.stdout, 16) == 0
    assert not any(CANARY.encode() in path.read_bytes() for path in tmp_path.iterdir())
