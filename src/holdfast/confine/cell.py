"""A last wall within a worker: a process that computes and does nothing else, for programs that nobody has read.

The process enters by itself, after it was forked, and never comes out. Invariants, on top of the worker's own walls: it reads
files beneath the named folders only, and changes none; no other process can be started, signalled, traced or reached; only
the calls of ``ALLOWED`` are made, the others fail with EPERM, but for attempts to speak with somebody, which the worker's
filter refuses and records; sleeping takes no time; random numbers of the kernel are not to be had. Its processor time,
address space and open files are bounded by hard limits.

Order of operations: limits, then Landlock, then the filter, after which nothing can be changed any more. Source of the
numbers: the kernel's ``syscall_64.tbl`` and ``asm-generic/unistd.h``.
"""

from __future__ import annotations

import errno
import resource
from typing import TYPE_CHECKING

from holdfast.confine import bpf, kernel, landlock, seccomp
from holdfast.confine.syscalls import ARCHITECTURES, RECORDED

if TYPE_CHECKING:
    from collections.abc import Sequence

OPEN_FILES = 32  # descriptors, a count: importing a module opens one or two at a time

# What an interpreter does that only computes: memory, files that are open or may be opened, its own signals and clocks.
_ON_X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "mmap": 9, "mprotect": 10,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "readv": 19,
    "writev": 20, "access": 21, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "getpid": 39, "exit": 60,
    "uname": 63, "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "times": 100,
    "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "sigaltstack": 131, "gettid": 186, "time": 201,
    "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "restart_syscall": 219, "clock_gettime": 228,
    "clock_getres": 229, "exit_group": 231, "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269,
    "set_robust_list": 273, "membarrier": 324, "statx": 332, "rseq": 334, "faccessat2": 439,
}  # fmt: skip
_ON_AARCH64 = {
    "getcwd": 17, "dup": 23, "faccessat": 48, "openat": 56, "close": 57, "getdents64": 61, "lseek": 62, "read": 63,
    "write": 64, "readv": 65, "writev": 66, "pread64": 67, "readlinkat": 78, "newfstatat": 79, "fstat": 80, "exit": 93,
    "exit_group": 94, "futex": 98, "set_robust_list": 99, "clock_gettime": 113, "clock_getres": 114, "sched_getaffinity": 123,
    "sched_yield": 124, "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
    "rt_sigreturn": 139, "times": 153, "uname": 160, "getrusage": 165, "gettimeofday": 169, "getpid": 172, "getuid": 174,
    "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216,
    "mmap": 222, "mprotect": 226, "madvise": 233, "membarrier": 283, "statx": 291, "rseq": 293, "faccessat2": 439,
}  # fmt: skip
ALLOWED = {"x86_64": _ON_X86_64, "aarch64": _ON_AARCH64}
PRETENDED = {"x86_64": (35, 230), "aarch64": (101, 115)}  # nanosleep, clock_nanosleep: they succeed at once
# Calls that do many things, of which only these are allowed: fcntl (F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC; others name a
# process that is to be signalled) and ioctl (TCGETS, FIOCLEX).
CHOSEN = {
    "x86_64": {72: (1, 2, 3, 1030), 16: (0x5401, 0x5451)},
    "aarch64": {25: (1, 2, 3, 1030), 29: (0x5401, 0x5451)},
}


def enter(folders: Sequence[str], *, cpu_seconds: int, memory_bytes: int) -> None:
    """Close this process in. Needs ``no_new_privs``, which every worker has.

    Args:
        folders: What may be read; folders that exist.
        cpu_seconds: Processor time from the process's beginning, after which it is killed.
        memory_bytes: Address space that may be taken beyond what is taken.

    Raises:
        OSError: If a wall can't be built here; the process must then end.
    """
    space = _address_space() + memory_bytes
    for kind, most in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (most, most))
    if landlock.restrict_to(folders) == 0:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock")
    seccomp.install_only(program(kernel.MACHINE))


def program(machine: str) -> list[bpf.Instruction]:
    """Write the filter.

    Args:
        machine: The processor architecture, as the kernel names it.

    Returns:
        The instructions in order.

    Raises:
        OSError: If no filter is written for this architecture.
    """
    arch = ARCHITECTURES.get(machine)
    if arch is None:
        raise OSError(errno.ENOSYS, "no filter is written for this processor architecture")
    passed = [*ALLOWED[machine].values(), *(arch.numbers[one] for one in RECORDED)]
    return bpf.only(arch, passed, pretended=PRETENDED[machine], chosen=CHOSEN[machine])


def _address_space() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - one line, read in every forked process
        return int(file.read().split()[0]) * resource.getpagesize()
