"""The entry of a worker's process: builds the walls from the inside, then runs the worker.

Three processes, because each wall has its own place:

    supervisor   started by the daemon; enters a new user namespace, starts ``init``, then only refuses and records
      └ init     first process of a new process namespace; builds the view; when it ends, everything beneath ends
          └ worker   limits, no capabilities, Landlock, seccomp; then ``holdfast.workers.<kind>``

Order of operations: setup frame → user and process namespaces → (init) mount, network, IPC, UTS namespaces and the root
→ (worker) limits, capabilities, Landlock, seccomp → its listener goes to the supervisor → ``up`` to the daemon → order.
Invariants: the worker's code is not imported before the last wall is up; a wall that is required and can't be built ends
everything with a ``failed`` frame that says which. Nothing is executed after the first process, so nothing outside can
be picked up on the way. Heavy modules are not imported here: this is on the path of every worker's start.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
from typing import TYPE_CHECKING, NoReturn, TypedDict

from holdfast import frames
from holdfast.confine import cores, kernel, landlock, root, seccomp, supervise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

_MAX_REPORT = 4096  # bytes of the one message from the worker to its supervisor
_SIGNALLED = 128  # exit codes from here on say which signal ended the worker, as shells do
_GRACE_SECONDS = 5  # between the soft limit on processor time, which can be reported, and the hard one


class Setup(TypedDict):
    """What the daemon says about a worker before it is started.

    Args:
        kind: The module under ``holdfast.workers``.
        parent: The daemon's process.
        system: Paths of the interpreter and its packages.
        inputs: Names and paths.
        output: A path or None.
        fds: Descriptors to keep.
        devices: Names in ``/dev``, besides the standard ones.
        limits: ``spec.Limits.plain()``.
    """

    kind: str
    parent: int
    system: list[str]
    inputs: dict[str, str]
    output: str | None
    fds: list[int]
    devices: list[str]
    limits: dict[str, int | None]


class _WallError(Exception):
    """A required wall could not be built."""


def main(control: int, channel: int) -> NoReturn:
    """Be the supervisor of one worker.

    Args:
        control: Descriptor of the supervisor's stream to the daemon.
        channel: Descriptor of the worker's stream to the daemon.
    """
    daemon = socket.socket(fileno=control)
    message = frames.receive(daemon)
    if message is None:
        os._exit(1)
    setup: Setup = message["setup"]  # type: ignore[assignment]  # the daemon's own words, over an inherited socket
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        kernel.die_with_parent(setup["parent"])
        with _wall("empty core dumps"):
            cores.empty()
        with _wall("user and process namespaces"):
            _enter_user_namespace()
    except _WallError as missing:
        frames.send(daemon, {"failed": str(missing)})
        os._exit(1)
    init = os.fork()
    if init == 0:
        daemon.close()
        ours.close()
        _init(setup, theirs, channel)
    supervise.end_on_request(init)
    for descriptor in (theirs.detach(), channel, *setup["fds"]):
        os.close(descriptor)
    kernel.drop_capabilities()
    report, listeners, _, _ = socket.recv_fds(ours, _MAX_REPORT, 1)
    ours.close()
    lost: dict[str, Json] = {"failed": "the worker ended while its walls were built"}
    frames.send(daemon, json.loads(report) if report else lost)
    supervise.until_end(init, daemon, listeners[0] if listeners else None)
    supervise.leave_as(init, _SIGNALLED)


@contextlib.contextmanager
def _wall(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _WallError(f"{name}: {error.strerror or error}") from error


def _enter_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    with contextlib.suppress(PermissionError):  # only the superuser may, and only the superuser gains by it
        os.setgroups([])
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{root.WORKER_UID} {uid} 1"),
        ("gid_map", f"{root.WORKER_UID} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not loaded yet
            file.write(text)


def _init(setup: Setup, report: socket.socket, channel: int) -> NoReturn:
    """Build the view, start the worker, end as it ended. Never returns, so that no caller runs twice."""
    try:
        kernel.die_with_parent(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        limits = setup["limits"]
        with _wall("network, IPC, host name and mount namespaces"):
            kernel.unshare(
                kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
                | kernel.CLONE_NEWCGROUP
            )  # fmt: skip
            socket.sethostname("worker")
        with _wall("private root"):
            view = root.View(
                system=setup["system"], inputs=setup["inputs"], output=setup["output"],
                scratch_bytes=limits["scratch_bytes"] or 0, processes=limits["processes"] or 0,
                devices=setup["devices"],
            )  # fmt: skip
            bounded = root.enter(view)
        worker = os.fork()
        if worker == 0:
            _worker(setup, report, channel, bounded=bounded)
        report.close()
        _keep_only({0, 1, 2})
        kernel.drop_capabilities()
        os._exit(supervise.reap_until(worker, _SIGNALLED))
    except _WallError as missing:
        _give_up(report, str(missing))


def _worker(setup: Setup, report: socket.socket, channel: int, *, bounded: bool) -> NoReturn:
    """Raise the last walls around this process, say so, and become the worker."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        _keep_only({0, 1, 2, report.fileno(), channel, *setup["fds"]})
        with _wall("resource limits"):
            _limit(setup["limits"])
        if setup["devices"]:
            with _wall("names of threads"):
                root.allow_thread_names()
        with _wall("capabilities"):
            kernel.drop_capabilities()
        with _wall("Landlock"):
            abi = landlock.restrict(setup["devices"])
        with _wall("seccomp"):
            listener = seccomp.install(listening=bool(setup["devices"]))
    except _WallError as missing:
        _give_up(report, str(missing))
    walls: dict[str, Json] = {
        "landlock": abi,
        "attempts_recorded": listener is not None,
        "processes_bounded": bounded,
    }
    socket.send_fds(report, [json.dumps({"up": walls}).encode()], [] if listener is None else [listener])
    report.close()
    if listener is not None:
        os.close(listener)
    from holdfast.confine import body

    body.run(setup["kind"], channel)


def _give_up(report: socket.socket, why: str) -> NoReturn:
    report.send(json.dumps({"failed": why}).encode()[:_MAX_REPORT])
    os._exit(1)


def _keep_only(kept: set[int]) -> None:
    last = -1
    for descriptor in [*sorted(kept), os.sysconf("SC_OPEN_MAX")]:
        if descriptor > last + 1:  # an empty range would close everything
            os.closerange(last + 1, descriptor)
        last = descriptor


def _limit(limits: dict[str, int | None]) -> None:
    wanted = {
        resource.RLIMIT_DATA: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: limits["processes"],
        resource.RLIMIT_CORE: cores.LIMIT,
    }
    for kind, most in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = hard if most is None else most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))
    seconds = limits["cpu_seconds"]
    if seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + _GRACE_SECONDS))
