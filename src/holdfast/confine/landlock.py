"""A second wall around files, held by the process itself: the Landlock rules of a worker.

The mount namespace decides what can be seen; these rules repeat it for what can be done, so that a mistake in one does
not open the other. Invariants: everything visible may be read; only what ``WRITABLE`` names, the devices that were given
and, with them, what ``/proc`` says of the own threads may be changed; only those devices may be controlled; nothing may be
executed; no device, socket or pipe may be made, nor a link in the output; no TCP, no abstract socket, no signal reaches
outside.

Source: the kernel's ``Documentation/userspace-api/landlock.rst``. What an older ABI lacks is left out and reported.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

from holdfast.confine import kernel
from holdfast.confine.root import OWN_THREADS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_MAKE_SYM = 1 << 12
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ABI_1 = (1 << 13) - 1  # with those to execute and to make devices, sockets and pipes, which nobody is given
_ABI_REFER, _ABI_TRUNCATE, _ABI_NETWORK, _ABI_IOCTL, _ABI_SCOPES = 2, 3, 4, 5, 6

_READ = _READ_FILE | _READ_DIR
# An output is read back by the daemon: only plain files and folders can be made in it.
_OUTPUT = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_SCRATCH = _OUTPUT | _MAKE_SYM
_DEVICE = _READ_FILE | _WRITE_FILE
_GIVEN_DEVICE = _DEVICE | _IOCTL_DEV
_THREADS = _READ | _WRITE_FILE | _TRUNCATE
WRITABLE = {
    "/out": _OUTPUT,
    "/tmp": _SCRATCH,  # noqa: S108 - the worker's own
    "/dev/shm": _SCRATCH,  # noqa: S108 - the worker's own
    "/dev/null": _DEVICE,
    "/dev/zero": _DEVICE,
    "/dev/full": _DEVICE,
}

_CREATE_VERSION = 1
_RULE_PATH_BENEATH = 1
_BIND_AND_CONNECT_TCP = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def abi() -> int:
    """Ask which Landlock the kernel has.

    Returns:
        The ABI's number; 0 for none.
    """
    try:
        return kernel.syscall("landlock_create_ruleset", None, 0, _CREATE_VERSION)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP}:
            return 0
        raise


def restrict(devices: Sequence[str]) -> int:
    """Put this thread, and all it starts, under the rules. Needs ``no_new_privs``.

    Args:
        devices: Names in ``/dev`` of what may also be used, besides the standard ones.

    Returns:
        The ABI that is in force; 0 if the kernel has none.
    """
    given = {f"/dev/{name}": _GIVEN_DEVICE for name in devices}
    if devices:
        given[OWN_THREADS] = _THREADS
    return _enforce({"/": _READ} | WRITABLE | given)


def restrict_to(folders: Sequence[str]) -> int:
    """Put this thread, and all it starts, under rules by which it may read beneath some folders, and nothing more.

    Args:
        folders: Folders that exist.

    Returns:
        The ABI that is in force; 0 if the kernel has none.
    """
    return _enforce(dict.fromkeys(folders, _READ))


def _enforce(rights_of: Mapping[str, int]) -> int:
    version = abi()
    if version == 0:
        return 0
    files = _ABI_1
    for since, right in ((_ABI_REFER, _REFER), (_ABI_TRUNCATE, _TRUNCATE), (_ABI_IOCTL, _IOCTL_DEV)):
        if version >= since:
            files |= right
    fields = [files]
    if version >= _ABI_NETWORK:
        fields.append(_BIND_AND_CONNECT_TCP)
    if version >= _ABI_SCOPES:
        fields.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = kernel.syscall("landlock_create_ruleset", attributes, len(attributes), 0)
    try:
        for path, rights in rights_of.items():
            if os.path.exists(path):  # noqa: PTH110 - pathlib is not loaded before the walls are up
                _allow(rules, path, rights & files)
        kernel.syscall("landlock_restrict_self", rules, 0)
    finally:
        os.close(rules)
    return version


def _allow(rules: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, beneath)  # a packed structure: no padding after the descriptor
        kernel.syscall("landlock_add_rule", rules, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(beneath)
