"""Whoever dawdles, floods or crowds: memory stays bounded, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

import pytest
from tests.integration.serving.alone import Alone
from tests.integration.serving.certificates import write_certificate
from tests.integration.serving.stack import BODY, CHAT

from holdfast.serving import keys
from holdfast.serving.front.listener import Bounds
from holdfast.serving.front.protocol import Patience

MIB = 2**20


@pytest.fixture
def alone():
    with contextlib.ExitStack() as opened:

        def start(**options):
            running = Alone(**options)
            opened.callback(running.close)
            return running

        yield start


@pytest.fixture
def many(descriptors):  # noqa: ARG001 - raised for as long as the connections are open
    """Opens as many connections as are wanted, and closes them."""
    with contextlib.ExitStack() as opened:

        def connect(front, count, say=b"", **options):
            found = [opened.enter_context(front.raw(**options)) for _ in range(count)]
            for each in found:
                if say:
                    each.sendall(say)
            return found

        yield connect


@pytest.fixture
def certificate(tmp_path):
    """A key and its own certificate in one file."""
    write_certificate(tmp_path, "server")
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "server.key").read_bytes() + (tmp_path / "server.pem").read_bytes())
    return both


def served(front, body=BODY):
    with front.http() as client:
        return client.post(CHAT, json=body).status_code == 200


def ended(sock):
    """Whether the other end has closed; waits for it."""
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    return True


def test_a_thousand_connections_cost_little_and_others_are_served(alone, many):
    front = alone(queue=1024, head=120.0)
    front.moved(by_itself=3)
    assert served(front)
    before = front.rss
    kept = many(
        front,
        500,
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + front.text.encode() + b"\r\n\r\n",
    )
    many(front, 500, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
    for each in kept:
        assert each.recv(20).startswith(b"HTTP/1.1 200")
    assert served(front)
    assert front.metric("holdfast_connections") >= 1000
    assert front.rss - before < 64 * MIB
    asking = many(front, 200, front.request(BODY | {"stream": True}))
    for each in asking:
        assert each.recv(20).startswith(b"HTTP/1.1 200")
    assert front.rss - before < 64 * MIB


def test_more_connections_than_allowed_are_closed_at_once_and_counted(new_front, many):
    front = new_front(tcp=True, bounds=Bounds(connections=20, address=10, patience=Patience(head=120.0)))
    held = many(front, 10)
    front.until(lambda: front.server.connections == 10)
    assert all(ended(each) for each in many(front, 5))
    held.pop().close()
    front.until(lambda: front.server.connections == 9)
    with front.http() as client:
        assert client.get("/v1/models").status_code == 200
    front.until(lambda: any(facts["reasons"].get("serve.connections") for _, facts in front.recorder.facts))


def waiting(front):
    """Count the connections without a whole head, and those whose body nobody wants."""
    there = front.server.server_state.connections
    unwanted = sum(each._unwanted for each in there)
    return sum(each._since_head is not None for each in there) - unwanted, unwanted


def test_whoever_sends_no_whole_head_is_cut_off_however_slowly_he_goes_on(new_front, many, new_puppet):
    front = new_front(tcp=True, bounds=Bounds(patience=Patience(head=20.0, linger=20.0)))
    new_puppet(front, by_itself=2)
    silent = many(front, 5)
    trickling = many(front, 5, b"POST / HTTP/1.1\r\n")
    unwanted = many(front, 5, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.05):
            for each in (*trickling, *unwanted):
                with contextlib.suppress(OSError):
                    each.sendall(b"x: y\r\n")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert served(front)
        front.until(lambda: front.call(waiting, front) == (10, 5))
        front.let_pass(25.0)
        assert all(ended(each) for each in (*silent, *trickling, *unwanted))
    finally:
        stop.set()
        thread.join()
    assert served(front)
    front.until(lambda: any(facts["reasons"].get("serve.head-slow") for _, facts in front.recorder.facts))


def test_a_kept_connection_may_rest_and_then_ask_again(new_front, monkeypatch):
    front = new_front(tcp=True, bounds=Bounds(patience=Patience(head=10.0, linger=10.0)))
    with front.http() as client:
        assert client.post("/v1/nothing", content=b"a body that nobody reads").status_code == 404
        (connection,) = front.server.server_state.connections
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        judged, overdue = [], connection.overdue
        monkeypatch.setattr(connection, "overdue", lambda now: judged.append(overdue(now)) or judged[-1])
        front.let_pass(15.0)  # longer than a head may take
        front.until(lambda: judged)
        assert client.get("/v1/models").status_code == 200
        assert front.server.server_state.connections == {connection}
    assert [path for path, _, _ in front.recorder.requests] == ["other", "/v1/models"]


def test_answers_that_nobody_reads_are_bounded_and_recorded_as_cancelled(alone, many):
    """Eight readers that never read, of answers that are 80 MiB together, and a reader who does."""
    front = alone(stall=1.5, parallel=16)
    puppet = front.moved(by_itself=160)
    assert served(front)
    before, most = front.rss, 0
    puppet._word = "x" * 65536
    lazy = many(front, 8, front.request(BODY | {"stream": True}), receive_buffer=4096)
    end = time.monotonic() + 120
    while front.metric('holdfast_answers_total{end="cancelled",model="base"}') < len(lazy):
        most = max(most, front.rss - before)
        assert time.monotonic() < end, "the readers were not given up"
        threading.Event().wait(0.05)
    assert most < 160 * MIB
    assert all(ended(each) for each in lazy)
    puppet._word = ""
    assert served(front)


@pytest.mark.parametrize("announced", [True, False])
def test_a_flood_of_a_million_tokens_is_refused_without_being_held(alone, announced):
    front = alone()
    front.moved(by_itself=2)
    assert served(front)
    before = front.rss
    flood = b'{"model": "base", "prompt": [' + b"17," * 1_000_000
    head = "content-length: 3000000" if announced else "transfer-encoding: chunked"

    def pour():
        with front.raw() as raw, contextlib.suppress(OSError):
            raw.sendall(
                f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {front.text}\r\n{head}\r\n\r\n".encode()
            )
            for at in range(0, len(flood), 60_000):
                part = flood[at : at + 60_000]
                raw.sendall(part if announced else b"%x\r\n%s\r\n" % (len(part), part))

    pouring = [threading.Thread(target=pour) for _ in range(16)]
    for each in pouring:
        each.start()
    assert served(front)
    for each in pouring:
        each.join()
    assert front.rss - before < 64 * MIB
    front.until(lambda: front.metric('holdfast_responses_total{status="413"}') == 16)


def test_bodies_that_are_arriving_hold_only_so_much_together(new_front, new_puppet, monkeypatch):
    monkeypatch.setattr("holdfast.serving.front.body.MAX_ARRIVING", 100_000)
    front = new_front()
    new_puppet(front, by_itself=2)
    part = b" " * 40_000
    with front.raw() as one, front.raw() as two, front.http() as client:
        for each in (one, two):
            each.sendall(
                f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {front.text}\r\ncontent-length: 50000\r\n\r\n".encode()
                + part
            )
        front.until(lambda: front.house.bodies.held == 80_000)
        refused = client.post(CHAT, content=b" " * 40_000)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert served(front)
    front.until(lambda: front.house.bodies.held == 0)


def test_whoever_never_shakes_hands_is_cut_off_and_counted_as_a_connection(
    new_front, many, monkeypatch, certificate
):
    monkeypatch.setattr("holdfast.serving.front.listener.HANDSHAKE_SECONDS", 60.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    front = new_front(tcp=True, tls=context, bounds=Bounds(connections=6, address=5))
    silent = many(front, 5)
    front.until(lambda: front.server.connections == 5)
    assert all(ended(each) for each in many(front, 1))
    assert front.server.connections == 5
    front.let_pass(60.0)
    assert all(ended(each) for each in silent)
    trusting = ssl.create_default_context(cafile=certificate)
    with trusting.wrap_socket(front.raw(), server_hostname="localhost") as known:
        known.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        assert known.recv(12) == b"HTTP/1.1 401"


def test_heads_are_bounded_in_bytes_and_lines(front):
    for many_headers in (
        b"x: " + b"y" * 20_000 + b"\r\n",
        b"x: y\r\n" * 100,
    ):
        with front.raw() as raw:
            raw.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n" + many_headers + b"\r\n")
            assert raw.recv(12) in {b"HTTP/1.1 431", b"HTTP/1.1 400"}


def test_a_full_queue_and_a_share_that_is_used_up_say_when_to_come_again(front, puppet):
    with contextlib.ExitStack() as opened:
        asking = [opened.enter_context(front.raw()) for _ in range(4)]
        for each in asking:
            each.sendall(front.request(BODY))
        held = [puppet.next() for _ in asking]
        with front.http() as client, front.http(front.cleared_text) as other:
            refused = client.post(CHAT, json=BODY)
            assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
            assert int(refused.headers["retry-after"]) >= 1
            waiting = threading.Thread(target=other.post, args=(CHAT,), kwargs={"json": BODY})
            waiting.start()
            fifth = puppet.next()  # another tenant finds a place
            assert fifth.tenant == "ministry"
            for each in (*held, fifth):
                puppet.answer(each, "yes")
            waiting.join()
        for each in asking:
            assert each.recv(12) == b"HTTP/1.1 200"


def test_a_tenant_that_is_alone_may_take_every_place(front, puppet):
    front.vault.ring = keys.KeyRing([front.key])
    with contextlib.ExitStack() as opened:
        asking = [opened.enter_context(front.raw()) for _ in range(6)]
        for each in asking:
            each.sendall(front.request(BODY))
        for held in [puppet.next() for _ in asking]:
            puppet.answer(held, "yes")
        for each in asking:
            assert each.recv(12) == b"HTTP/1.1 200"


def test_a_socket_that_says_no_http_is_counted(front):
    with front.raw() as raw:
        raw.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert raw.recv(12) == b"HTTP/1.1 400"
        raw.shutdown(socket.SHUT_WR)
    front.until(lambda: any(facts["reasons"].get("serve.malformed") for _, facts in front.recorder.facts))
