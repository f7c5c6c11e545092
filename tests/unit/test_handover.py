"""Open descriptors are handed to a worker one by one, and nobody waits for a worker that does not take them."""

from __future__ import annotations

import json
import os
import socket

import pytest

from holdfast.daemon.descriptors import Handover
from holdfast.errors import WorkerFailed


@pytest.fixture
def handover():
    made = Handover()
    yield made
    made.close()


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_each_packet_is_one_object_with_one_open_file(handover, pipe):
    reading, writing = pipe
    for number in range(2):
        handover.give({"engine": f"e{number}"}, writing)
    for number in range(2):
        data, found, _, _ = socket.recv_fds(handover.theirs, 4096, 4)
        assert json.loads(data) == {"engine": f"e{number}"}
        (copy,) = found
        os.write(copy, b"here")
        os.close(copy)
        assert os.read(reading, 4) == b"here"


def test_what_a_worker_writes_back_reaches_nobody(handover):
    with pytest.raises(BrokenPipeError):
        handover.theirs.send(b"{}")


def test_a_worker_that_is_gone_or_does_not_read_is_an_error(handover, pipe):
    def flood():
        for _ in range(100_000):
            handover.give({"engine": "e" * 2000}, pipe[0])

    with pytest.raises(WorkerFailed) as caught:
        flood()
    assert caught.value.key == "worker.handover"
    handover.started()  # the worker had the only other copy, and is gone
    with pytest.raises(WorkerFailed):
        handover.give({"engine": "e1"}, pipe[0])
