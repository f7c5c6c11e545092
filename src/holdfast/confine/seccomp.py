"""Installing the filter, and answering the calls that it hands over.

Source: ``seccomp(2)``, ``seccomp_unotify(2)``. Invariants: every notified call is answered EPERM, whatever it was and
whatever went wrong while it was being read; an address is read from the caller's memory only to be written down, never
to decide, so that a caller who changes it meanwhile gains nothing; a notification is checked to be alive after reading.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.confine import bpf, kernel
from holdfast.confine.syscalls import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Callable

_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER = 8
_NOTIF_RECV = 0xC0502100
_NOTIF_SEND = 0xC0182101
_NOTIF_ID_VALID = 0x40082102
_NOTIF = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, then struct seccomp_data
_ANSWER = struct.Struct("=QqiI")  # id, value, error, flags

MAX_ADDRESS = 128  # bytes; sizeof(struct sockaddr_storage)
_TYPES = {1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket"}


@dataclass(frozen=True)
class Attempt:
    """A call that was handed over and refused.

    Args:
        syscall: Its name.
        family: The address family, or the empty text.
        destination: The address or the kind of socket, as text.
        pid: The calling thread, as numbered where this is read.
        command: Its name.
    """

    syscall: str
    family: str
    destination: str
    pid: int
    command: str


def install(*, listening: bool) -> int | None:
    """Put this thread, and all it starts, under the filter. Needs ``no_new_privs``.

    Args:
        listening: See ``bpf.program``.

    Returns:
        The descriptor on which refused attempts are reported, or None where the kernel can't report them.

    Raises:
        OSError: If no filter can be installed at all.
    """
    arch = kernel.ARCHITECTURE
    if arch is None:
        raise OSError(errno.ENOSYS, "no filter is written for this processor architecture")
    try:
        return _set_filter(
            bpf.assemble(bpf.program(arch, recorded=True, listening=listening)), _FLAG_NEW_LISTENER
        )
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EBUSY}:  # an old kernel; a listener further out
            raise
    _set_filter(bpf.assemble(bpf.program(arch, recorded=False, listening=listening)), 0)
    return None


def install_only(program: list[bpf.Instruction]) -> None:
    """Put this thread, and all it starts, under one more filter. Needs ``no_new_privs``.

    Args:
        program: What ``bpf.only`` gave.

    Raises:
        OSError: If it can't be installed.
    """
    _set_filter(bpf.assemble(program), 0)


def _set_filter(program: bytes, flags: int) -> int:
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    return kernel.syscall("seccomp", _SET_MODE_FILTER, flags, header)


def refuse_next(listener: int, record: Callable[[Attempt], None]) -> None:
    """Take one notification, record it, then refuse the call.

    Args:
        listener: What ``install`` gave, readable.
        record: Called before the caller learns of the refusal, unless it ended meanwhile.
    """
    notification = bytearray(_NOTIF.size)
    try:
        fcntl.ioctl(listener, _NOTIF_RECV, notification)
        identity, pid, _, number, _, _, *arguments = _NOTIF.unpack(notification)
        attempt = _describe(pid, number, arguments)
        fcntl.ioctl(listener, _NOTIF_ID_VALID, struct.pack("=Q", identity))
        record(attempt)
        fcntl.ioctl(listener, _NOTIF_SEND, bytearray(_ANSWER.pack(identity, 0, -errno.EPERM, 0)))
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.EINTR}:  # the caller ended; the worker is being ended
            raise


def _describe(pid: int, number: int, arguments: list[int]) -> Attempt:
    numbers = kernel.ARCHITECTURE.numbers if kernel.ARCHITECTURE else ARCHITECTURES["x86_64"].numbers
    name = next((one for one, value in numbers.items() if value == number), str(number))
    family = destination = ""
    if name == "socket":
        family = family_name(arguments[0] & 0xFFFF)
        destination = _TYPES.get(arguments[1] & bpf.SOCK_TYPE_MASK, "other") + " socket"
    elif name in {"connect", "bind"}:
        family, destination = _address(pid, arguments[1], arguments[2])
    elif name == "sendto":
        family, destination = _address(pid, arguments[4], arguments[5])
    return Attempt(name, family, destination, pid, _command(pid))


def _address(pid: int, pointer: int, length: int) -> tuple[str, str]:
    try:
        return address_text(kernel.read_memory(pid, pointer, min(length & 0xFFFFFFFF, MAX_ADDRESS)))
    except OSError:
        return "", "an address that can't be read"


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:  # noqa: PTH123 - pathlib is not loaded in the supervisor
            return file.read(64).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def family_name(number: int) -> str:
    """Name an address family.

    Args:
        number: The kernel's number.

    Returns:
        ``AF_INET`` and the like.
    """
    try:
        return socket.AddressFamily(number).name
    except ValueError:
        return f"AF_{number}"


def address_text(raw: bytes) -> tuple[str, str]:
    """Write a socket address down.

    Args:
        raw: A ``struct sockaddr`` from an untrusted process, at most ``MAX_ADDRESS`` bytes.

    Returns:
        The family's name and the address as printable text.
    """
    if len(raw) < 2:  # noqa: PLR2004 - the family's own size
        return "", "no address"
    number = int.from_bytes(raw[:2], "little")
    family = family_name(number)
    port = int.from_bytes(raw[2:4], "big")
    if number == socket.AF_INET and len(raw) >= 8:  # noqa: PLR2004 - family, port, address
        return family, f"{ipaddress.IPv4Address(raw[4:8])}:{port}"
    if number == socket.AF_INET6 and len(raw) >= 24:  # noqa: PLR2004 - family, port, flow, address
        return family, f"[{ipaddress.IPv6Address(raw[8:24])}]:{port}"
    if number == socket.AF_UNIX:
        path = raw[2:]
        name = b"@" + path[1:].rstrip(b"\0") if path[:1] == b"\0" else path.split(b"\0", 1)[0]
        return family, name.decode("ascii", "backslashreplace").encode("unicode_escape").decode()
    return family, raw[2:].hex()
