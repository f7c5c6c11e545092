"""What the bits of a model's scores depend on: the weights and how they are computed, the program, the processor.

Named as one digest, so that what was measured once is used again only where nothing of it changed. It is complete rather than short:
whatever changes without need costs a measurement, whatever is missing could cost equality. Part of it are the model and how it
is opened (its digest, context, types of the cache, mapping), the sequences of a context and the threads that share a step; the files
of llama.cpp that this process has loaded, the processor's variant among them, with the system's libraries beneath them; what llama.cpp
found the processor to have, and what the kernel says of every processor; the kernel; the environment variables that these libraries
read; and the files of Holdfast that make contexts and measure.

Source: ``proc_pid_maps(5)``, ``proc_cpuinfo(5)``, ``uname(2)``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import canonical, hashing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from holdfast.canonical import Json
    from holdfast.serving.spec import ModelSpec

MAPS, PROCESSORS = Path("/proc/self/maps"), Path("/proc/cpuinfo")
LIBRARIES = (
    "libllama",
    "libggml",
    "libgomp",
    "libgcc_s",
    "libstdc++",
    "libm.",
    "libm-",
    "libmvec",
    "libc.",
    "libc-",
)
VARIABLES = ("GGML_", "LLAMA_", "OMP_", "GOMP_", "KMP_", "GLIBC_TUNABLES", "LD_")
MODULES = (
    "holdfast.gguf.llama",
    "holdfast.serving.engine.llama",
    "holdfast.serving.engine.prefix",
    "holdfast.serving.engine.threads",
    "holdfast.serving.engine.widths",
)
# Of a processor, what tells it from its equals or changes while it runs.
_OWN = frozenset(
    {"processor", "cpu MHz", "core id", "apicid", "initial apicid", "physical id", "bogomips", "BogoMIPS"}
)


def key(spec: ModelSpec, parallel: int, threads: int, llama: ModuleType) -> str | None:
    """Name what scores depend on, in this process.

    Args:
        spec: The model.
        parallel: Sequences of a context.
        threads: Threads that compute.
        llama: The bindings; libraries must be loaded.

    Returns:
        ``sha256:`` and 64 hexadecimal digits; None if part of it can't be read, as a library that was replaced since it was loaded.
    """
    try:
        libraries = _digests(_loaded(MAPS.read_text(encoding="utf-8", errors="replace")))
        kinds = processors(PROCESSORS.read_text(encoding="utf-8", errors="replace"))
        program = _digests(str(sys.modules[name].__file__) for name in MODULES)
    except OSError:
        return None
    system = os.uname()
    given: dict[str, Json] = {
        "model": spec.digest,
        "context": spec.context,
        "kv": spec.kv,
        "mmap": spec.mmap,
        "mlock": spec.mlock,
        "parallel": parallel,
        "threads": threads,
        "libraries": [*libraries],
        "features": llama.llama_print_system_info().decode("utf-8", "replace"),
        "processors": [*kinds],
        "kernel": [system.release, system.version, system.machine],
        "environment": {
            ascii(name): ascii(value) for name, value in os.environ.items() if name.startswith(VARIABLES)
        },
        "program": [*program],
    }
    return hashing.sha256(canonical.encode(given))


def processors(text: str) -> list[str]:
    """Tell the kinds of processors of this machine.

    Args:
        text: ``/proc/cpuinfo``.

    Returns:
        One text for each kind, sorted, without what differs between equals.
    """
    kinds = set()
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.partition(":")[0].strip() not in _OWN]
        kinds.add("\n".join(lines))
    return sorted(kinds - {""})


def _loaded(maps: str) -> list[str]:
    """List the libraries of this process that compute, or that those rest on; by path."""
    paths = {line[line.index("/") :] for line in maps.splitlines() if "/" in line}
    return sorted(path for path in paths if Path(path).name.startswith(LIBRARIES))


def _digests(paths: Iterable[str]) -> list[str]:
    found = []
    for path in paths:
        with open(path, "rb") as file:  # noqa: PTH123 - as the kernel named it
            found.append(f"{Path(path).name} {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return found
