"""The filter's decisions, by running the program on the machine that it is written for."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.confine import bpf, cell
from holdfast.confine.syscalls import ARCHITECTURES, RECORDED, REFUSED, Architecture

EPERM = 0x00050000 | errno.EPERM
ENOSYS = 0x00050000 | errno.ENOSYS
SPECIAL = {"clone", "clone3", "socketpair", "sendto", "sendmsg", "sendmmsg", *RECORDED, *REFUSED}
BOTH = pytest.mark.parametrize("name", ["x86_64", "aarch64"])


def decide(
    arch: Architecture, number: int, *arguments: int,
    audit: int | None = None, recorded: bool = True, listening: bool = False,
) -> int:  # fmt: skip
    """Interpret the program as the kernel does (classic BPF over struct seccomp_data)."""
    data = (
        number.to_bytes(4, "little")
        + (arch.audit if audit is None else audit).to_bytes(4, "little")
        + bytes(8)
    )
    data += b"".join(one.to_bytes(8, "little") for one in [*arguments, *[0] * (6 - len(arguments))])
    return run(bpf.program(arch, recorded=recorded, listening=listening), data)


def run(program: list[bpf.Instruction], data: bytes) -> int:
    at = accumulator = 0
    while True:
        one = program[at]
        at += 1
        match one.code:
            case 0x20:
                accumulator = int.from_bytes(data[one.constant : one.constant + 4], "little")
            case 0x54:
                accumulator &= one.constant
            case 0x15:
                at += one.true if accumulator == one.constant else one.false
            case 0x35:
                at += one.true if accumulator >= one.constant else one.false
            case 0x45:
                at += one.true if accumulator & one.constant else one.false
            case 0x06:
                return one.constant


@BOTH
def test_refused_calls_are_refused_and_never_handed_over(name):
    arch = ARCHITECTURES[name]
    for call in REFUSED:
        if call in arch.numbers:
            assert decide(arch, arch.numbers[call]) == EPERM, call
    assert decide(arch, arch.numbers["clone3"]) == ENOSYS


@BOTH
@pytest.mark.parametrize("recorded", [True, False])
def test_attempts_to_speak_are_handed_over_or_refused_without_a_supervisor(name, recorded):
    arch = ARCHITECTURES[name]
    wanted = bpf.USER_NOTIF if recorded else EPERM
    fast_open = 0x20000000
    for call, arguments in [
        ("socket", (2, 1, 0)),
        ("connect", (3, 0x7FFF0000, 16)),
        ("bind", (3, 0x7FFF0000, 16)),
        ("sendto", (3, 0, 0, 0, 0x7FFF0000, 16)),
        ("sendto", (3, 0, 0, 0, 0x7FFF_0000_0000, 16)),
        ("sendto", (3, 0, 0, fast_open, 0, 0)),
        ("sendmsg", (3, 0x7FFF0000, fast_open | 0x4000)),
        ("sendmmsg", (3, 0x7FFF0000, 1, fast_open)),
    ]:
        assert decide(arch, arch.numbers[call], *arguments, recorded=recorded) == wanted, (call, arguments)


@BOTH
def test_ordinary_sends_pairs_and_threads_are_allowed(name):
    arch = ARCHITECTURES[name]
    threads = 0x003D0F00  # what pthread_create asks clone for
    for call, arguments in [
        ("sendto", (3, 0x1000, 5, 0x4000, 0, 0)),
        ("sendmsg", (3, 0x1000, 0x4000)),
        ("sendmmsg", (3, 0x1000, 1, 0x4000)),
        ("socketpair", (1, 1 | 0x80000 | 0x800, 0)),
        ("clone", (threads,)),
        ("clone", (17,)),
    ]:
        assert decide(arch, arch.numbers[call], *arguments) == bpf.ALLOW, (call, arguments)


@BOTH
@given(family=st.integers(0, 50), kind=st.integers(0, 15))
def test_only_streams_come_in_pairs(name, family, kind):
    arch = ARCHITECTURES[name]
    expected = bpf.ALLOW if (family, kind) == (1, 1) else EPERM
    assert decide(arch, arch.numbers["socketpair"], family, kind) == expected


@BOTH
@given(family=st.integers(0, 50), kind=st.integers(0, 15), flags=st.sampled_from([0, 0x80000, 0x800]))
def test_who_may_listen_makes_packet_sockets_and_never_connects(name, family, kind, flags):
    arch = ARCHITECTURES[name]
    expected = bpf.ALLOW if (family, kind) == (1, 5) else bpf.USER_NOTIF
    assert decide(arch, arch.numbers["socket"], family, kind | flags, listening=True) == expected
    assert decide(arch, arch.numbers["socket"], family, kind | flags) == bpf.USER_NOTIF
    assert decide(arch, arch.numbers["bind"], 3, 0x1000, 16, listening=True) == bpf.ALLOW
    assert decide(arch, arch.numbers["connect"], 3, 0x1000, 16, listening=True) == bpf.USER_NOTIF
    assert decide(arch, arch.numbers["sendto"], 3, 0, 0, 0, 0x1000, 16, listening=True) == bpf.USER_NOTIF


@BOTH
@given(bit=st.sampled_from([0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]))
def test_no_namespace_is_made_by_clone(name, bit):
    arch = ARCHITECTURES[name]
    assert decide(arch, arch.numbers["clone"], bit | 17) == EPERM


@BOTH
@given(number=st.integers(0, 2**32 - 1), audit=st.integers(0, 2**32 - 1))
def test_another_calling_convention_ends_the_process(name, number, audit):
    arch = ARCHITECTURES[name]
    if audit != arch.audit:
        assert decide(arch, number, audit=audit) == bpf.KILL_PROCESS
    if arch.foreign_from is not None:
        assert decide(arch, arch.foreign_from | number) == bpf.KILL_PROCESS


@BOTH
@given(number=st.integers(0, 1023), arguments=st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_everything_else_is_allowed_whatever_its_arguments(name, number, arguments):
    arch = ARCHITECTURES[name]
    if number not in {arch.numbers[call] for call in SPECIAL if call in arch.numbers}:
        assert decide(arch, number, *arguments) == bpf.ALLOW


@BOTH
def test_the_program_fits_into_the_kernels_bounds(name):
    program = bpf.program(ARCHITECTURES[name], recorded=True, listening=True)
    assert len(program) < 4096
    assert len(bpf.assemble(program)) == 8 * len(program)
    for at, one in enumerate(program):
        assert at + 1 + max(one.true, one.false) < len(program) or one.code == 0x06


@BOTH
def test_a_cell_makes_the_calls_that_are_named_and_no_other(name):
    arch, program = ARCHITECTURES[name], cell.program(name)

    def decided(number: int, second: int = 0, audit: int = arch.audit) -> int:
        return run(program, struct.pack("<IIQQQ4Q", number, audit, 0, 0, second, 0, 0, 0, 0))

    passed = {*cell.ALLOWED[name].values(), *(arch.numbers[one] for one in RECORDED)}
    for number in [*range(600), 0x40000000, 0xFFFFFFFF]:
        if number in cell.PRETENDED[name]:
            assert decided(number) == 0x00050000
        else:
            assert decided(number) == (bpf.ALLOW if number in passed else EPERM), number
        assert decided(number, audit=arch.audit ^ 1) == bpf.KILL_PROCESS
    for number, values in cell.CHOSEN[name].items():
        assert number not in passed
        for second in range(0x8910):
            assert decided(number, second) == (bpf.ALLOW if second in values else EPERM)
    # None of what starts, signals, follows or limits a process, in the tables of the worker's own filter or outside.
    assert not passed & {
        arch.numbers[one] for one in (*REFUSED, "clone", "clone3", "sendto") if one in arch.numbers
    }
