"""What a worker is given, and who may start one. Records only; nothing is done here.

Invariants: a worker sees the inputs that its specification names, read-only, one output folder, and the descriptors that
were listed; there is nothing else to name, but for device nodes, which only workers that compute on a GPU are given.
Every limit has a unit and a reason.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.confine.worker import Worker


@dataclass(frozen=True)
class Limits:
    """How much a worker may use.

    Args:
        memory_bytes: Private writable memory of each process, in bytes (``RLIMIT_DATA``): mapped weights do not count,
            because the kernel can drop them. Address space is not limited: torch, llama.cpp and CUDA reserve far more than they
            use. What CUDA reserves without access, or shares with its driver, does not count either.
        cpu_seconds: Processor time over all threads, in seconds, or None where the work ends by its own measure.
        file_bytes: The largest file it may write, in bytes: one runaway file must not fill the disk.
        open_files: Descriptors open at once, a count: sharded weights and data sets need hundreds, leaks thousands.
        processes: Processes and threads at once, a count: a fork bomb stays in the worker. Kernels bound the whole tree
            at no fewer than 301.
        scratch_bytes: Size of ``/tmp`` and, apart, of ``/dev/shm``, in bytes: both are memory.
    """

    memory_bytes: int = 8 * 2**30
    cpu_seconds: int | None = None
    file_bytes: int = 64 * 2**30
    open_files: int = 4096
    processes: int = 512
    scratch_bytes: int = 2**30

    def plain(self) -> dict[str, Json]:
        """Give the limits as plain data.

        Returns:
            Field names and values.
        """
        return asdict(self)


@dataclass(frozen=True)
class WorkerSpec:
    """One worker, before it is started.

    Args:
        kind: The module under ``holdfast.workers`` whose ``main`` runs.
        inputs: Names and the files or folders that appear read-only as ``/in/<name>``.
        output: The folder that appears as ``/out``, writable; None for a worker that writes nothing.
        fds: Names and descriptors that are inherited; the order's ``fds`` says their numbers.
        limits: How much it may use.
        threads: Threads of numerical libraries; part of what makes a run reproducible.
        huge_pages: Whether large memory comes in huge pages where the kernel gives them on request: for workers that read
            much of it over and over, as an engine reads its weights for each token.
        devices: Names of nodes in ``/dev`` that are shown besides the standard ones; see ``gpu.nodes``. Who has any may also
            do what CUDA insists on: name its threads, and listen on a packet socket to which nobody can connect.
    """

    kind: str
    inputs: Mapping[str, Path] = field(default_factory=dict)
    output: Path | None = None
    fds: Mapping[str, int] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    threads: int = 1
    huge_pages: bool = False
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Denial:
    """An attempt to reach something outside that was refused.

    Args:
        syscall: The call that was tried, by its kernel name.
        family: The address family (``AF_INET`` …) or, for a call on an open socket without an address, the empty text.
        destination: The address as text, when the call carried one: ``192.0.2.1:80``, ``[::1]:80``, ``/path``,
            ``@abstract``; else what kind of socket was asked for.
        pid: The process or thread, as numbered outside the walls.
        command: The name of that process or thread.
        count: How often this worker has now tried the same; the first few are reported singly, then each tenfold.
    """

    syscall: str
    family: str
    destination: str
    pid: int
    command: str
    count: int


class Launcher(Protocol):
    """Something that starts confined workers."""

    async def launch(
        self, spec: WorkerSpec, order: dict[str, Json], on_denied: Callable[[Denial], None]
    ) -> Worker:
        """Start a worker and hand it its order, once its walls are up.

        Args:
            spec: What it is given.
            order: Plain data for its ``main``; ``fds`` is added.
            on_denied: Called in the event loop for every recorded refusal.

        Returns:
            The running worker.

        Raises:
            WorkerFailed: If the walls can't be built here.
        """
        ...

    def walls(self) -> dict[str, bool | str]:
        """Say what this host can enforce, found by trying.

        Returns:
            The name of each wall, and True, or False, or how far it goes.
        """
        ...
