"""Frames between the daemon and its workers."""

from __future__ import annotations

import socket
import struct

import pytest

from holdfast import frames
from holdfast.errors import WorkerFailed


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_messages_come_in_order_and_the_end_is_the_end(pair):
    ours, theirs = pair
    sent = [{"n": n, "text": "é" * n} for n in range(50)]
    for message in sent:
        frames.send(ours, message)
    ours.close()
    assert [frames.receive(theirs) for _ in sent] == sent
    assert frames.receive(theirs) is None


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_a_peer_that_closes_inside_a_frame_broke_it(pair, cut):
    ours, theirs = pair
    ours.sendall(frames.pack({"n": 1})[:cut])
    ours.close()
    with pytest.raises(WorkerFailed):
        frames.receive(theirs)


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b'{"a":1,"a":1}', b"\xff"])
def test_what_is_no_object_is_refused(pair, body):
    ours, theirs = pair
    ours.sendall(struct.pack(">I", len(body)) + body)
    with pytest.raises(WorkerFailed):
        frames.receive(theirs)


def test_a_frame_is_bounded_before_it_is_read(pair):
    ours, theirs = pair
    ours.sendall(struct.pack(">I", frames.MAX_FRAME + 1))
    with pytest.raises(WorkerFailed):
        frames.receive(theirs)
    with pytest.raises(WorkerFailed):
        frames.pack({"text": "x" * frames.MAX_FRAME})
