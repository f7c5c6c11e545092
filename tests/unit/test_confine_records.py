"""What is written down of an attempt, and of an exit."""

from __future__ import annotations

import signal
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import frames
from holdfast.confine import peers
from holdfast.confine.exits import describe_exit
from holdfast.confine.seccomp import MAX_ADDRESS, Attempt, address_text
from holdfast.confine.supervise import MAX_KINDS, Record
from holdfast.errors import NoSpace, WorkerFailed


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            struct.pack("=H", 2) + struct.pack(">H", 80) + bytes([192, 0, 2, 1]) + bytes(8),
            ("AF_INET", "192.0.2.1:80"),
        ),
        (
            struct.pack("=H", 10) + struct.pack(">HI", 443, 0) + bytes(15) + b"\1" + bytes(4),
            ("AF_INET6", "[::1]:443"),
        ),
        (struct.pack("=H", 1) + b"/home/control.sock\0junk", ("AF_UNIX", "/home/control.sock")),
        (struct.pack("=H", 1) + b"\0name", ("AF_UNIX", "@name")),
        (struct.pack("=H", 1) + b"/a\nb\xff", ("AF_UNIX", "/a\\nb\\\\xff")),
        (struct.pack("=H", 16) + b"\1\2", ("AF_NETLINK", "0102")),
        (b"\2", ("", "no address")),
    ],
)
def test_addresses_read_as_people_write_them(raw, expected):
    assert address_text(raw) == expected


@given(st.binary(max_size=MAX_ADDRESS))
def test_any_address_becomes_one_printable_line(raw):
    family, text = address_text(raw)
    assert (family + text).isprintable()
    assert len(text) <= 8 * MAX_ADDRESS


def _reported(attempts: list[Attempt]) -> list[dict[str, object]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        record = Record(theirs)
        for attempt in attempts:
            record(attempt)
        theirs.shutdown(socket.SHUT_WR)
        found = []
        while (message := frames.receive(ours)) is not None:
            found.append(message["denied"])
        return found


def test_repeated_attempts_are_counted_and_reported_ever_more_rarely():
    found = _reported([Attempt("socket", "AF_INET", "stream socket", 7, "python")] * 1500)
    assert [one["count"] for one in found] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 100, 1000]


def test_a_worker_that_invents_addresses_does_not_fill_the_log():
    found = _reported(
        [Attempt("connect", "AF_INET", f"192.0.2.1:{port}", 7, "python") for port in range(1000)]
    )
    assert len({one["destination"] for one in found}) == MAX_KINDS + 1
    assert found[-1]["destination"] == "one of many destinations"
    assert len(found) < MAX_KINDS + 20


@pytest.mark.parametrize(
    ("code", "kind", "key"),
    [
        (3, WorkerFailed, "worker.no-result"),
        (-signal.SIGXCPU, NoSpace, "worker.cpu-limit"),
        (-signal.SIGKILL, WorkerFailed, "worker.killed"),
        (-signal.SIGSYS, WorkerFailed, "worker.foreign-call"),
        (-signal.SIGSEGV, WorkerFailed, "worker.killed"),
        (-77, WorkerFailed, "worker.killed"),
    ],
)
def test_every_exit_is_explained_with_what_to_do(code, kind, key):
    error = describe_exit(code)
    assert type(error) is kind
    assert error.key == key
    assert error.remedy


def test_a_parent_younger_than_its_child_counts_as_inside(monkeypatch):
    table = {
        30: (20, 500),
        20: (1, 900),
        1: (0, 1),
    }  # 20 was given to another process after 30 had lost its parent
    monkeypatch.setattr(peers, "_facts", table.get)
    assert peers.descends_from(30, [99])
    table[20] = (1, 400)
    assert not peers.descends_from(30, [99])
    assert peers.descends_from(30, [20])
    del table[20]
    assert peers.descends_from(30, [99])
