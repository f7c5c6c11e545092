"""The file system that a worker sees: built from nothing, so that what is not listed is not there.

    /usr /bin /lib …, the interpreter, its packages       read-only, from the host
    /in/<name>                                            read-only, from the specification
    /out                                                  writable, if there is an output
    /tmp /dev/shm                                         bounded memory
    /dev/{null,zero,full,random,urandom}                  the host's, and the devices of the specification
    /proc                                                 of the worker's own process namespace, read-only, but for the
                                                          names of its threads where it has devices
    /sys/devices/system/{cpu,node}                        read-only: thread counts and memory topology

Order of operations: copy every needed mount tree while the host's view is still there; restrict each; stage an empty
root over ``/tmp``; attach; enter; let go of the host's view. Runs in new user, mount and process namespaces. Only
restrictions are added to trees that are copied from the host, never removed, so that what it mounted read-only stays so.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.confine import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STAGE = "/tmp"  # noqa: S108 - only a place to mount on; every host has it
_SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_TOPOLOGY = ("/sys/devices/system/cpu", "/sys/devices/system/node")
_ROOT_BYTES = 2**20  # the skeleton holds folders and two small files
OWN_THREADS = "/proc/self/task"
WORKER_UID = 1000  # inside; outside it is the daemon's own
_ACCOUNTS = {
    "/etc/passwd": f"worker:x:{WORKER_UID}:{WORKER_UID}::/tmp:/usr/sbin/nologin\n",
    "/etc/group": f"worker:x:{WORKER_UID}:\n",
}
_FEWEST_PIDS = 301  # the kernel accepts no lower bound on the tasks of a process namespace

_READ_ONLY = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
_INPUT = _READ_ONLY | kernel.MOUNT_ATTR_NOEXEC
_OUTPUT = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV | kernel.MOUNT_ATTR_NOEXEC
_DEVICE = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NOEXEC
_NOTHING_SPECIAL = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


@dataclass(frozen=True)
class View:
    """What is shown.

    Args:
        system: Absolute paths of the interpreter and its packages; they keep their places.
        inputs: Names under ``/in`` and what they show.
        output: What ``/out`` shows, or None.
        scratch_bytes: Size of ``/tmp`` and of ``/dev/shm``.
        processes: Tasks that may exist at once.
        devices: Names in ``/dev``, besides the standard ones.
    """

    system: Sequence[str]
    inputs: Mapping[str, str]
    output: str | None
    scratch_bytes: int
    processes: int
    devices: Sequence[str]


@dataclass(frozen=True)
class _Tree:
    descriptor: int
    target: str
    folder: bool


def enter(view: View) -> bool:
    """Build the view and make it the root of this process.

    Args:
        view: What is shown.

    Returns:
        Whether the number of tasks in this process namespace is bounded.

    Raises:
        OSError: If the host does not allow it, or something that is to be shown does not exist.
    """
    kernel.mount("none", "/", "none", kernel.MS_REC | kernel.MS_PRIVATE)
    trees = _copy(view)
    kernel.mount(
        "worker", _STAGE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"size={_ROOT_BYTES},mode=0755"
    )
    for name in ("in", "dev/shm", "proc", "tmp", "etc"):
        os.makedirs(f"{_STAGE}/{name}")  # noqa: PTH103 - pathlib is not loaded before the walls are up
    for folder in ("/tmp", "/dev/shm"):  # noqa: S108 - the worker's own
        kernel.mount(
            "scratch", _STAGE + folder, "tmpfs", _NOTHING_SPECIAL, f"size={view.scratch_bytes},mode=1777"
        )
    for tree in trees:  # after /tmp, because an interpreter may be installed beneath the host's
        _attach(tree)
    for folder in _SYSTEM_FOLDERS:
        if os.path.islink(folder):  # noqa: PTH114 - as above
            os.symlink(os.readlink(folder), _STAGE + folder)  # noqa: PTH211, PTH115 - as above
    for path, text in _ACCOUNTS.items():
        with open(_STAGE + path, "x", encoding="ascii") as file:  # noqa: PTH123 - as above
            file.write(text)
    os.symlink("/proc/self/fd", f"{_STAGE}/dev/fd")  # noqa: PTH211 - as above
    bounded = _processes(view.processes)
    _restrict(_STAGE, kernel.MOUNT_ATTR_RDONLY)
    os.chdir(_STAGE)
    kernel.syscall("pivot_root", b".", b".")  # the old root lies over the new one, and is taken off
    kernel.libc("umount2", b".", kernel.MNT_DETACH)
    os.chdir("/")
    return bounded


def allow_thread_names() -> None:
    """Let the calling process change what ``/proc`` says of its own threads; CUDA does not start where it can't name them.

    Source: ``proc_pid_comm(5)``. There is no smaller part that can be opened before the threads exist.

    Raises:
        OSError: If the host does not allow it.
    """
    tree = kernel.clone_tree(OWN_THREADS)
    kernel.allow_writing(tree)
    kernel.attach_tree(tree, OWN_THREADS)


def _copy(view: View) -> list[_Tree]:
    """Copy mount trees; a path beneath one that is already shown is not shown twice."""
    system: list[str] = []
    candidates = ["/usr", *(one for one in _SYSTEM_FOLDERS if not os.path.islink(one)), *_SYSTEM_FILES,  # noqa: PTH114 - as above
                  *_TOPOLOGY]  # fmt: skip
    present = [one for one in candidates if os.path.exists(one)]  # noqa: PTH110 - as above
    for path in [*present, *sorted(view.system, key=len)]:
        if not any(path == one or path.startswith(one + "/") for one in system):
            system.append(path)
    trees = [_take(path, path, _READ_ONLY) for path in system]
    devices = dict.fromkeys((*_DEVICES, *view.devices))
    trees += [_take(f"/dev/{name}", f"/dev/{name}", _DEVICE) for name in devices]
    trees += [_take(source, f"/in/{name}", _INPUT) for name, source in view.inputs.items()]
    if view.output is not None:
        trees.append(_take(view.output, "/out", _OUTPUT))
    return trees


def _take(source: str, target: str, attributes: int) -> _Tree:
    real = os.path.realpath(source)
    tree = kernel.clone_tree(real)
    kernel.restrict_tree(tree, attributes)
    return _Tree(tree, _STAGE + target, os.path.isdir(real))  # noqa: PTH112 - as above


def _attach(tree: _Tree) -> None:
    if tree.folder:
        os.makedirs(tree.target, exist_ok=True)  # noqa: PTH103 - as above
    else:
        os.makedirs(os.path.dirname(tree.target), exist_ok=True)  # noqa: PTH103, PTH120 - as above
        os.close(os.open(tree.target, os.O_CREAT | os.O_CLOEXEC, 0o600))
    kernel.attach_tree(tree.descriptor, tree.target)


def _processes(most: int) -> bool:
    """Mount the process file system, bound the number of tasks through it, and make it read-only."""
    kernel.mount("proc", f"{_STAGE}/proc", "proc", _NOTHING_SPECIAL)
    try:
        with open(f"{_STAGE}/proc/sys/kernel/pid_max", "w", encoding="ascii") as file:  # noqa: PTH123 - as above
            file.write(str(max(most, _FEWEST_PIDS)))
        bounded = True
    except OSError:  # kernels before 6.14 have one bound for the whole machine
        bounded = False
    for name, value in (
        ("oom_score_adj", "500"),
        ("coredump_filter", "0"),
    ):  # first to go; leave no memory behind
        with open(f"{_STAGE}/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - as above
            file.write(value)
    _restrict(f"{_STAGE}/proc", _READ_ONLY)
    return bounded


def _restrict(path: str, attributes: int) -> None:
    mounted = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kernel.restrict_mount(mounted, attributes)
    finally:
        os.close(mounted)
