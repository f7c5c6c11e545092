"""The producer on an event loop: against the daemon's real end, and against one that says anything."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests import recorded

from holdfast import frames
from holdfast.audit import channel
from holdfast.audit.channel import ProducerServer
from holdfast.audit.event import Actor, Draft
from holdfast.audit.producer import MAX_IN_FLIGHT, Owner, Producer
from holdfast.audit.sealed import MAX_PAYLOAD, SealedStore
from holdfast.errors import Conflict, HoldfastError, NotRecorded, UntrustedRequest

APP = Actor("key-1", None, "application")
OWNER = Owner("tenant", "ann")
RECEIPT = {"time": recorded.TIME, "leaf": "sha256:" + "0" * 64}


def asked(number=0):
    return Draft("answer", APP, params=recorded.sample("answer", prompt_tokens=number))


class Daemon:
    """The other end, which says what the test has it say; ``producer`` is ours."""

    async def open(self):
        self.sock, theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.producer = await Producer.open(theirs)
        return self

    async def read(self, count):
        """Give the next requests."""
        found, data = [], b""
        while len(found) < count:
            data += await asyncio.get_running_loop().sock_recv(self.sock, 2**16)
            place = 0
            while (one := frames.split(data, place)) is not None:
                body, place = one
                found.append(frames.parse(body))
            data = data[place:]
        assert (len(found), data) == (count, b"")
        return found

    async def say(self, data):
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def answer(self, *numbers):
        said = [frames.pack({"id": n, "receipt": {"seq": 100 + n, **RECEIPT}}) for n in numbers]
        await self.say(b"".join(said))


async def gone(producer):
    while producer._transport is not None:  # noqa: ASYNC110 - it tells nobody but those who wait for answers
        await asyncio.sleep(0)


@pytest.fixture
async def daemon():
    made = await Daemon().open()
    yield made
    made.sock.close()
    await gone(made.producer)


@pytest.fixture
async def real(tmp_path, open_log):
    log = open_log(tmp_path / "log")
    ours, theirs = socket.socketpair()
    server = ProducerServer(ours, log, "serve", SealedStore(tmp_path / "keys", tmp_path / "sealed"))
    server.start()
    producer = await Producer.open(theirs)
    yield log, producer
    await asyncio.to_thread(server.stop)
    await gone(producer)


async def test_what_is_handed_in_in_one_turn_of_the_loop_leaves_in_one_piece(daemon, monkeypatch):
    transport, pieces = daemon.producer._transport, []
    write = transport.write
    monkeypatch.setattr(transport, "write", lambda data: (pieces.append(data), write(data)))
    for first in (0, 4):
        waiting = [asyncio.create_task(daemon.producer.append(asked())) for _ in range(4)]
        numbers = [request["id"] for request in await daemon.read(4)]
        assert numbers == [*range(first, first + 4)]
        await daemon.answer(*numbers)
        assert [receipt.seq for receipt in await asyncio.gather(*waiting)] == [100 + at for at in numbers]
    assert len(pieces) == 2


async def tasks(*coroutines):
    """Begin all, in their order."""
    begun = [asyncio.create_task(one) for one in coroutines]
    await asyncio.sleep(0)
    return begun


async def test_many_at_once_keep_their_order_and_get_each_its_own(real):
    log, producer = real
    count = 3 * MAX_IN_FLIGHT
    receipts = await asyncio.gather(
        *(
            producer.append(asked(n), *(({"prompt": b"%d" % n}, OWNER) if n % 5 == 0 else ()))
            for n in range(count)
        )
    )
    assert [receipt.seq for receipt in receipts] == [*range(count)]
    assert [event.params["prompt_tokens"] for event in log.events()] == [*range(count)]
    assert [event.source.count for event in log.events()] == [*range(count)]


async def test_refusals_come_back_as_what_they_are(real):
    log, producer = real
    with pytest.raises(Conflict):
        await producer.append(Draft("answer.done", APP, params=recorded.sample("answer.done"), cause=0))
    with pytest.raises(UntrustedRequest):
        await producer.append(asked(), {"image": b"x"}, OWNER)
    with pytest.raises(UntrustedRequest):
        await producer.append(asked(), {"prompt": bytes(MAX_PAYLOAD + 1)}, OWNER)
    assert (await producer.append(asked(), {"prompt": bytes(MAX_PAYLOAD)}, OWNER)).seq == log.size - 1


async def test_what_no_frame_can_hold_leaves_the_numbers_whole(real):
    log, producer = real
    for wrong in (asked("\ud800"), asked(2**60), asked(float("nan"))):
        with pytest.raises(HoldfastError):
            await producer.append(wrong)
    with pytest.raises(HoldfastError):
        await producer.append(asked(), {"prompt": bytes(13 * 2**20)}, OWNER)
    for _ in range(2 * MAX_IN_FLIGHT):
        with pytest.raises(HoldfastError):
            await producer.append(asked("\ud800"))
    assert (await producer.append(asked())).seq == 0
    assert [event.source.count for event in log.events()] == [0]


async def test_a_payload_beyond_what_the_daemon_reads_ends_it_and_all_are_told(real):
    log, producer = real
    first = await producer.append(asked())
    begun = await tasks(
        producer.append(asked(), {"prompt": bytes(channel.MAX_REQUEST)}, OWNER), producer.append(asked())
    )
    for one in begun:
        with pytest.raises(NotRecorded) as told:
            await one
        assert told.value.key == "audit.cut-off"
    assert (first.seq, log.size) == (0, 1)


async def test_no_more_are_under_way_than_may_be(daemon):
    begun = await tasks(*(daemon.producer.append(asked(n)) for n in range(MAX_IN_FLIGHT + 3)))
    found = await daemon.read(MAX_IN_FLIGHT)
    assert [one["id"] for one in found] == [*range(MAX_IN_FLIGHT)]
    await daemon.answer(7, 3)
    later = await daemon.read(2)
    assert [one["id"] for one in later] == [MAX_IN_FLIGHT, MAX_IN_FLIGHT + 1]
    assert [one["draft"]["params"]["prompt_tokens"] for one in later] == [MAX_IN_FLIGHT, MAX_IN_FLIGHT + 1]
    assert ((await begun[3]).seq, (await begun[7]).seq) == (103, 107)
    daemon.sock.close()
    left = await asyncio.gather(*begun, return_exceptions=True)
    assert [type(one) for one in left].count(NotRecorded) == MAX_IN_FLIGHT + 1


async def test_who_no_longer_waits_gives_no_place_before_the_answer(daemon):
    begun = await tasks(*(daemon.producer.append(asked(n)) for n in range(MAX_IN_FLIGHT)))
    await daemon.read(MAX_IN_FLIGHT)
    for one in begun[:10]:
        one.cancel()
    await asyncio.wait(begun[:10])
    (later,) = await tasks(daemon.producer.append(asked(999)))
    await asyncio.sleep(0)
    with pytest.raises(BlockingIOError):
        daemon.sock.recv(1)
    await daemon.answer(*range(10))
    assert [one["id"] for one in await daemon.read(1)] == [MAX_IN_FLIGHT]
    await daemon.answer(*range(10, MAX_IN_FLIGHT + 1))
    assert (await later).seq == 100 + MAX_IN_FLIGHT
    assert [(await one).seq for one in begun[10:]] == [*range(110, 100 + MAX_IN_FLIGHT)]
    more = await tasks(*(daemon.producer.append(asked(n)) for n in range(MAX_IN_FLIGHT)))
    await daemon.read(MAX_IN_FLIGHT)  # every place came back, once
    await daemon.answer(*range(MAX_IN_FLIGHT + 1, 2 * MAX_IN_FLIGHT + 1))
    await asyncio.gather(*more)


async def test_who_is_cancelled_before_his_turn_hands_in_nothing(daemon):
    begun = await tasks(*(daemon.producer.append(asked(n)) for n in range(MAX_IN_FLIGHT + 2)))
    begun[MAX_IN_FLIGHT].cancel()
    await daemon.read(MAX_IN_FLIGHT)
    await daemon.answer(0)
    (found,) = await daemon.read(1)
    assert (found["id"], found["draft"]["params"]["prompt_tokens"]) == (MAX_IN_FLIGHT, MAX_IN_FLIGHT + 1)
    await daemon.answer(*range(1, MAX_IN_FLIGHT + 1))
    assert (await begun[-1]).seq == 100 + MAX_IN_FLIGHT
    await asyncio.wait(begun)


async def test_answers_come_in_any_order_and_any_pieces_and_to_strange_numbers(daemon):
    begun = await tasks(*(daemon.producer.append(asked(n)) for n in range(4)))
    await daemon.read(4)
    strange = [9, -1, 2**40, None, "0", 1.5, [], {}]
    data = b"".join(frames.pack({"id": one, "receipt": {"seq": 1, **RECEIPT}}) for one in strange)
    data += b"".join(frames.pack({"id": n, "receipt": {"seq": n, **RECEIPT}}) for n in (2, 0, 3, 0))
    data += frames.pack({"id": 1, "error": {"type": "Nonsense", "key": [], "message": 5}})
    for at in range(0, len(data), 11):
        await daemon.say(data[at : at + 11])
        await asyncio.sleep(0)
    assert [(await begun[n]).seq for n in (0, 2, 3)] == [0, 2, 3]
    with pytest.raises(HoldfastError):
        await begun[1]
    (last,) = await tasks(daemon.producer.append(asked()))
    await daemon.read(1)
    await daemon.answer(4)
    assert (await last).seq == 104


@pytest.mark.parametrize(
    "said",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x01{", b"\x00\x00\x00\x04\xff\xff\xff\xff"],
)
async def test_nonsense_is_the_end_for_all_who_wait_also_where_the_daemon_takes_nothing(daemon, said):
    """What is still to be sent must not keep those waiting who will never be answered."""
    large = {"prompt": bytes(3 * 2**20)}
    begun = await tasks(daemon.producer.append(asked()), daemon.producer.append(asked(), large, OWNER))
    await daemon.answer(0)
    await daemon.say(said)
    assert (await begun[0]).seq == 100
    with pytest.raises(NotRecorded) as told:
        await asyncio.wait_for(begun[1], 30)
    assert told.value.key == "audit.cut-off"
    with pytest.raises(NotRecorded):
        await daemon.producer.append(asked())


@pytest.mark.parametrize("waiting", [1, MAX_IN_FLIGHT, 2 * MAX_IN_FLIGHT])
async def test_a_daemon_that_goes_is_told_to_all(daemon, waiting):
    begun = await tasks(*(daemon.producer.append(asked(n)) for n in range(waiting)))
    gone = await tasks(daemon.producer.append(asked()))
    gone[0].cancel()
    daemon.sock.close()
    for one in begun:
        with pytest.raises(NotRecorded) as told:
            await one
        assert told.value.key == "audit.cut-off"
    for _ in range(2 * MAX_IN_FLIGHT):  # nobody waits for a place either
        with pytest.raises(NotRecorded):
            await asyncio.wait_for(daemon.producer.append(asked()), 30)
