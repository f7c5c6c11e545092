"""Which acts of a producer are under way, and which lost their outcome to a full disk."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from scripts.threadproducer import ThreadProducer
from tests import recorded

from holdfast.audit import segment
from holdfast.audit.channel import ProducerServer
from holdfast.audit.event import Actor, Draft
from holdfast.audit.sealed import SealedStore
from holdfast.errors import Conflict, NotRecorded

APP = Actor("key-1", None, "application")


class FullDisk(segment.HostDisk):
    """A disk that is full while it is told so."""

    full = False

    def write(self, handle, data, offset=0):
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(handle, data, offset)


@pytest.fixture
def connected(tmp_path, open_log):
    """A log on a disk that can be full, and both ends of a producer."""
    disk = FullDisk()
    log = open_log(tmp_path / "log", disk=disk)
    ours, theirs = socket.socketpair()
    server = ProducerServer(ours, log, "serve", SealedStore(tmp_path / "keys", tmp_path / "sealed"))
    server.start()
    yield log, disk, server, ThreadProducer(theirs)
    server.stop()
    theirs.close()


def asked():
    return Draft("answer", APP, params=recorded.sample("answer"))


def answered(cause):
    return Draft("answer.done", APP, params=recorded.sample("answer.done"), cause=cause)


def test_an_outcome_that_the_log_could_not_take_is_told_once(connected):
    """Acts are under way from their receipt until their outcome is handed in."""
    log, disk, server, producer = connected
    first, second = (producer.append(asked()) for _ in range(2))
    assert (server.live, server.take_lost()) == ({first.seq, second.seq}, set())
    producer.append(answered(first.seq))
    assert (server.live, server.take_lost()) == ({second.seq}, set())
    disk.full = True
    with pytest.raises(NotRecorded):
        producer.append(answered(second.seq))
    assert (server.live, server.take_lost(), server.take_lost()) == (set(), {second.seq}, set())
    disk.full = False
    assert log.recover()
    assert [event.seq for event in log.unfinished()] == [second.seq]
    third = producer.append(asked())
    assert server.live == {third.seq}
    counts = [event.source.count for event in log.events()]
    assert counts == [*range(len(counts))]


def test_a_producer_cannot_claim_that_an_act_of_others_lost_its_outcome(connected):
    log, _, server, producer = connected
    alice = Actor("alice", 1000, "auditor", "s")
    act = log.append(Draft("audit.rebuild", alice, params=recorded.sample("audit.rebuild")))
    with pytest.raises(Conflict):
        producer.append(answered(act.seq))
    assert (server.live, server.take_lost()) == (set(), set())
