"""System calls that Python 3.11 has no function for, as functions that raise ``OSError``.

Invariants: nothing here decides anything; a failed call always raises, with the call's name. Constants are those of the
kernel's user-space headers.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct

from holdfast.confine.syscalls import ARCHITECTURES

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MNT_DETACH = 0x2

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 0x1
_OPEN_TREE_CLOEXEC = 0o2000000
_MOVE_MOUNT_F_EMPTY_PATH = 0x4

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63  # width of the kernel's capability sets; those it does not know answer EINVAL

_LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = platform.machine()
ARCHITECTURE = ARCHITECTURES.get(MACHINE)
Argument = int | bytes | ctypes.Array[ctypes.c_char] | None


def libc(name: str, *arguments: Argument) -> int:
    """Call a function of the C library that reports failure as -1.

    Args:
        name: Its name.
        *arguments: Integers (passed as longs), bytes or buffers (passed by address).

    Returns:
        What it returned.

    Raises:
        OSError: If it failed.
    """
    result = getattr(_LIBC, name)(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


def syscall(name: str, *arguments: Argument) -> int:
    """Make a system call by name.

    Args:
        name: A name in ``syscalls``.
        *arguments: As for ``libc``.

    Returns:
        What the kernel returned.

    Raises:
        OSError: If it failed, or if this architecture is not known.
    """
    if ARCHITECTURE is None:
        raise OSError(f"the system calls of {platform.machine()} are not known")
    try:
        return libc("syscall", ARCHITECTURE.numbers[name], *arguments)
    except OSError as error:
        raise OSError(error.errno, f"{name}: {os.strerror(error.errno or 0)}") from error


def unshare(flags: int) -> None:
    """Leave shared namespaces.

    Args:
        flags: ``CLONE_NEW*`` bits.
    """
    libc("unshare", flags)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system, or change how a mount propagates.

    Args:
        source: Name of the source.
        target: Where.
        kind: File system type.
        flags: ``MS_*`` bits.
        options: Options of the file system.
    """
    libc("mount", source.encode(), os.fsencode(target), kind.encode(), flags, options.encode() or None)


def clone_tree(source: str) -> int:
    """Make a private copy of the mount tree at a path, attached nowhere.

    Args:
        source: An existing file or folder.

    Returns:
        Its descriptor.
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    return syscall("open_tree", _AT_FDCWD, os.fsencode(source), flags)


def restrict_tree(tree: int, attributes: int) -> None:
    """Add restrictions to every mount of a tree; none is ever taken away.

    Args:
        tree: A descriptor of ``clone_tree``.
        attributes: ``MOUNT_ATTR_*`` bits.
    """
    _set_attributes(tree, attributes, _AT_EMPTY_PATH | _AT_RECURSIVE)


def allow_writing(tree: int) -> None:
    """Undo ``MOUNT_ATTR_RDONLY`` of a tree; the kernel refuses it for what the host mounted read-only.

    Args:
        tree: A descriptor of ``clone_tree``.
    """
    _set_attributes(tree, 0, _AT_EMPTY_PATH | _AT_RECURSIVE, cleared=MOUNT_ATTR_RDONLY)


def restrict_mount(mounted: int, attributes: int) -> None:
    """Add restrictions to one mount, and not to those beneath it.

    Args:
        mounted: A descriptor of its root.
        attributes: ``MOUNT_ATTR_*`` bits.
    """
    _set_attributes(mounted, attributes, _AT_EMPTY_PATH)


def _set_attributes(descriptor: int, attributes: int, flags: int, *, cleared: int = 0) -> None:
    wanted = struct.pack("=QQQQ", attributes, cleared, 0, 0)
    syscall("mount_setattr", descriptor, b"", flags, wanted, len(wanted))


def attach_tree(tree: int, target: str) -> None:
    """Attach a mount tree.

    Args:
        tree: A descriptor of ``clone_tree``; it is closed.
        target: An existing file or folder of the same kind.
    """
    syscall("move_mount", tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    os.close(tree)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends, however it ends.

    Args:
        parent: The parent's number as seen from here; 0 when it is outside this process namespace.
    """
    libc("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def drop_capabilities() -> None:
    """Give up every capability for good, and every way to gain one by executing a file."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            libc("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
        except OSError:
            break  # past the last one that this kernel knows
    libc("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    libc("capset", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24))
    libc("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def read_memory(pid: int, address: int, count: int) -> bytes:
    """Read another process's memory.

    Args:
        pid: The process.
        address: Where, in its address space.
        count: Bytes.

    Returns:
        The bytes, fewer if the mapping ends.
    """
    buffer = ctypes.create_string_buffer(count)
    ours = struct.pack("=QQ", ctypes.addressof(buffer), count)
    got = syscall("process_vm_readv", pid, ours, 1, struct.pack("=QQ", address, count), 1, 0)
    return buffer.raw[:got]
