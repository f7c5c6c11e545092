"""The seccomp filter as a classic BPF program: bytes made from tables, testable without a kernel.

Source: ``linux/seccomp.h``, ``linux/filter.h``; McCanne and Jacobson, "The BSD Packet Filter", 1993. Order of decisions:

1. another architecture or calling convention: the process is killed, because its numbers mean other calls;
2. calls that nobody needs: EPERM;
3. ``clone3``: ENOSYS, because its flags lie in memory where a filter can't look, and C libraries then use ``clone``;
   ``clone`` with a namespace flag: EPERM;
4. ``socketpair`` other than AF_UNIX streams: EPERM, because a datagram socket can be sent anywhere with ``sendmsg``;
5. ``socket``, ``connect``, ``bind``, ``sendto`` with an address, and any send with ``MSG_FASTOPEN`` (which connects a
   listening socket that was shut down): handed to the supervisor, which refuses and records, or EPERM without one.
   Who may listen can make AF_UNIX packet sockets and bind: nothing leaves a packet socket that is not connected;
6. everything else is allowed. An allowlist would break numerical libraries at every release.

``only`` writes the other kind, an allowlist, for processes that run nothing but an interpreter. No I/O.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.confine.syscalls import RECORDED, REFUSED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.confine.syscalls import Architecture

KILL_PROCESS = 0x80000000
USER_NOTIF = 0x7FC00000
ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
REFUSE = _ERRNO | errno.EPERM
ABSENT = _ERRNO | errno.ENOSYS
PRETEND = _ERRNO  # no error: the call seems to succeed, and does nothing

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (linux/sched.h).
NAMESPACE_FLAGS = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
MSG_FASTOPEN = 0x20000000
AF_UNIX = 1
SOCK_STREAM = 1
SOCK_SEQPACKET = 5
SOCK_TYPE_MASK = 0xF

_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data, bytes
_INSTRUCTION = struct.Struct("=HBBI")  # code, jump if true, jump if false, constant


@dataclass(frozen=True)
class Instruction:
    """One instruction of the filter machine.

    Args:
        code: The operation.
        true: Instructions to skip when a comparison holds.
        false: Instructions to skip when it does not.
        constant: The operand.
    """

    code: int
    true: int
    false: int
    constant: int


def program(arch: Architecture, *, recorded: bool, listening: bool) -> list[Instruction]:
    """Write the filter.

    Args:
        arch: Whose call numbers.
        recorded: Whether a supervisor listens; without one attempts are refused but not recorded.
        listening: Whether the process may make AF_UNIX packet sockets and bind them, as CUDA does when it starts.

    Returns:
        The instructions in order.
    """
    outside = USER_NOTIF if recorded else REFUSE
    code = [
        _load(_ARCH_AT),
        Instruction(_EQUAL, 1, 0, arch.audit),
        _end(KILL_PROCESS),
        _load(_NUMBER_AT),
    ]
    if arch.foreign_from is not None:
        code += [Instruction(_AT_LEAST, 0, 1, arch.foreign_from), _end(KILL_PROCESS)]
    if listening:
        code += _when(arch.numbers["socket"], _unix_of_type(SOCK_SEQPACKET, outside))
        code += _when(arch.numbers["bind"], [_end(ALLOW)])
    for names, verdict in ((REFUSED, REFUSE), (("clone3",), ABSENT), (RECORDED, outside)):
        for name in names:
            if name in arch.numbers:
                code += _when(arch.numbers[name], [_end(verdict)])
    flagged = {"clone": (0, NAMESPACE_FLAGS, REFUSE), "sendmsg": (2, MSG_FASTOPEN, outside),
               "sendmmsg": (3, MSG_FASTOPEN, outside)}  # fmt: skip
    for name, (argument, bits, verdict) in flagged.items():
        code += _when(arch.numbers[name], [*_if_any_bit(argument, bits, verdict), _end(ALLOW)])
    addressed = [_load(_argument(4)), Instruction(_EQUAL, 1, 0, 0), _end(outside)]
    addressed += [_load(_argument(4) + 4), Instruction(_EQUAL, 1, 0, 0), _end(outside)]
    code += _when(arch.numbers["sendto"], [*_if_any_bit(3, MSG_FASTOPEN, outside), *addressed, _end(ALLOW)])
    stream_pair = _unix_of_type(SOCK_STREAM, REFUSE)
    return [*code, *_when(arch.numbers["socketpair"], stream_pair), _end(ALLOW)]


def only(
    arch: Architecture,
    allowed: Sequence[int],
    *,
    pretended: Sequence[int],
    chosen: Mapping[int, Sequence[int]],
) -> list[Instruction]:
    """Write a filter that refuses with EPERM whatever is not named.

    Args:
        arch: Whose call numbers.
        allowed: Calls that are made.
        pretended: Calls that return success and do nothing.
        chosen: Calls that are made if the low half of their second argument is one of these.

    Returns:
        The instructions in order.
    """
    code = [_load(_ARCH_AT), Instruction(_EQUAL, 1, 0, arch.audit), _end(KILL_PROCESS), _load(_NUMBER_AT)]
    for number in allowed:
        code += _when(number, [_end(ALLOW)])
    for number in pretended:
        code += _when(number, [_end(PRETEND)])
    for number, values in chosen.items():
        body = [_load(_argument(1))]
        for value in values:
            body += _when(value, [_end(ALLOW)])
        code += _when(number, [*body, _end(REFUSE)])
    return [*code, _end(REFUSE)]


def assemble(instructions: list[Instruction]) -> bytes:
    """Give the program as the kernel reads it.

    Args:
        instructions: What ``program`` gave.

    Returns:
        An array of ``struct sock_filter``.
    """
    return b"".join(_INSTRUCTION.pack(one.code, one.true, one.false, one.constant) for one in instructions)


def _argument(index: int) -> int:
    """Give the offset of an argument's low half; both architectures are little-endian."""
    return _ARGUMENTS_AT + 8 * index


def _unix_of_type(kind: int, otherwise: int) -> list[Instruction]:
    return [
        _load(_argument(0)),
        Instruction(_EQUAL, 1, 0, AF_UNIX),
        _end(otherwise),
        _load(_argument(1)),
        Instruction(_AND, 0, 0, SOCK_TYPE_MASK),
        Instruction(_EQUAL, 1, 0, kind),
        _end(otherwise),
        _end(ALLOW),
    ]


def _load(offset: int) -> Instruction:
    return Instruction(_LOAD, 0, 0, offset)


def _end(verdict: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, verdict)


def _when(number: int, body: list[Instruction]) -> list[Instruction]:
    """Run a body, which always ends in a verdict, if the call has this number."""
    return [Instruction(_EQUAL, 0, len(body), number), *body]


def _if_any_bit(argument: int, bits: int, verdict: int) -> list[Instruction]:
    return [_load(_argument(argument)), Instruction(_ANY_BIT, 0, 1, bits), _end(verdict)]
