"""Numbers of the system calls that the walls speak about, for the two architectures that Holdfast runs on.

Source: the kernel's ``arch/x86/entry/syscalls/syscall_64.tbl`` and ``include/uapi/asm-generic/unistd.h``. Calls that an
architecture lacks are left out. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# One number on every architecture since Linux 5.1.
_UNIFIED = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443,
    "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446, "open_tree_attr": 467,
}  # fmt: skip
_X86_64 = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "bpf": 321, "perf_event_open": 298,
    "userfaultfd": 323, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308,
    "add_key": 248, "request_key": 249, "keyctl": 250, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175,
    "finit_module": 313, "delete_module": 176, "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163,
    "quotactl": 179, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159, "clock_adjtime": 305,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "fanotify_init": 300, "syslog": 103, "vhangup": 153,
    "iopl": 172, "ioperm": 173, "modify_ldt": 154, "sethostname": 170, "setdomainname": 171, "mknod": 133,
    "mknodat": 259, "uselib": 134, "nfsservctl": 180, "lookup_dcookie": 212, "mq_open": 240, "socket": 41,
    "connect": 42, "bind": 49, "sendto": 44, "sendmsg": 46, "sendmmsg": 307, "socketpair": 53, "clone": 56,
    "seccomp": 317,
}  # fmt: skip
_AARCH64 = {
    "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "bpf": 280, "perf_event_open": 241,
    "userfaultfd": 282, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268,
    "add_key": 217, "request_key": 218, "keyctl": 219, "kexec_load": 104, "kexec_file_load": 294, "init_module": 105,
    "finit_module": 273, "delete_module": 106, "reboot": 142, "swapon": 224, "swapoff": 225, "acct": 89,
    "quotactl": 60, "settimeofday": 170, "clock_settime": 112, "adjtimex": 171, "clock_adjtime": 266,
    "name_to_handle_at": 264, "open_by_handle_at": 265, "fanotify_init": 262, "syslog": 116, "vhangup": 58,
    "sethostname": 161, "setdomainname": 162, "mknodat": 33, "nfsservctl": 42, "lookup_dcookie": 18, "mq_open": 180,
    "socket": 198, "connect": 203, "bind": 200, "sendto": 206, "sendmsg": 211, "sendmmsg": 269, "socketpair": 199,
    "clone": 220, "seccomp": 277,
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """A processor architecture as seccomp sees it.

    Args:
        audit: Its ``AUDIT_ARCH_*`` constant (``linux/audit.h``).
        numbers: Call names and numbers.
        foreign_from: Numbers from here on are another calling convention of the same architecture (x32), or None.
    """

    audit: int
    numbers: Mapping[str, int]
    foreign_from: int | None


ARCHITECTURES: Mapping[str, Architecture] = {
    "x86_64": Architecture(0xC000003E, _UNIFIED | _X86_64, 0x40000000),
    "aarch64": Architecture(0xC00000B7, _UNIFIED | _AARCH64, None),
}

# Refused with EPERM, always: each of them looks into other processes, changes the system's state or opens a way round
# another wall, and no library that workers use needs any.
REFUSED = (
    # other processes and the kernel's insides
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd", "bpf",
    "perf_event_open", "userfaultfd",
    # a second way to make any call, past this filter
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    # mounts, roots, namespaces
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "unshare", "setns",
    # keys, kernel code, machine state, clocks
    "add_key", "request_key", "keyctl", "kexec_load", "kexec_file_load", "init_module", "finit_module",
    "delete_module", "reboot", "swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "settimeofday", "clock_settime",
    "adjtimex", "clock_adjtime", "syslog", "vhangup", "iopl", "ioperm", "modify_ldt", "sethostname", "setdomainname",
    # files by handle or as devices, and old calls kept only for old programs
    "name_to_handle_at", "open_by_handle_at", "fanotify_init", "mknod", "mknodat", "uselib", "nfsservctl",
    "lookup_dcookie", "mq_open",
)  # fmt: skip

# Refused and recorded: each is an attempt to speak with somebody.
RECORDED = ("socket", "connect", "bind")
