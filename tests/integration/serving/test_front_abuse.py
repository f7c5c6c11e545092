"""An application with a key that does what no library does: every request still leaves one pair, and no word of it gets there."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading

import pytest
from tests.integration.serving.stack import BODY, CHAT

from holdfast.serving import link
from holdfast.serving.front import life, server

MARK = "Zq9-prompt-of-a-citizen"
MODELS = "/v1/models"


def head(front, method="GET", path=MODELS, *lines, version="1.1"):
    told = ["host: x", f"authorization: Bearer {front.text}", *lines]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *told, "", ""]).encode("latin-1")


def read_all(raw):
    """Read until the front closes."""
    data = b""
    while part := raw.recv(65536):
        data += part
    return data


def statuses(data):
    return [int(one) for one in re.findall(rb"HTTP/1\.1 (\d+) ", data) if one != b"100"]


def settled(front):
    """Wait until nobody is being answered and everything is on the record."""
    front.until(lambda: front.server.connections == 0)
    front.until(lambda: front.call(lambda: not front.server.server_state.tasks))
    front.until(lambda: front.house.desk.active == 0)
    front.call(front.house.visits.close)


def test_requests_in_one_piece_are_each_answered_and_recorded(front):
    with front.raw() as raw:
        raw.sendall(head(front) * 39 + head(front, "GET", MODELS, "connection: close"))
        assert statuses(read_all(raw)) == [200] * 40
    assert front.recorder.requests == [(MODELS, 200, None)] * 40


def test_who_sends_much_and_goes_at_once_leaves_whole_pairs(front):
    for count in (1, 7, 40) * 4:
        with front.raw() as raw:
            raw.sendall(head(front) * count)
            raw.shutdown(socket.SHUT_WR)
            read_all(raw)
    settled(front)
    found = front.recorder.requests  # asserts that each that was begun has ended
    assert 12 <= len(found) <= 4 * 48
    assert {one[1:] for one in found} <= {(200, None), (499, "serve.gone")}


STRANGE = [
    ("GET", "/" + "a" * 14_000),
    ("GET", f"/v1/models/{MARK}" + "x" * 14_000),
    ("GET", "/v1/models/%zz%ff%00%"),
    ("GET", "/v1/models/%F0%9F"),
    ("GET", "/%"),
    ("GET", "/v1/models/%ED%A0%80"),
    ("GET", f"/v1/models/..%2f..%2f{MARK}"),
    ("GET", "/v1//models"),
    ("GET", "//v1/models"),
    ("GET", "/v1/models/"),
    ("GET", "/V1/MODELS"),
    ("GET", f"http://elsewhere/{MARK}"),
    ("OPTIONS", "*"),
    ("OPTIONS", MODELS),
    ("HEAD", CHAT),
    ("HEAD", f"/v1/models/{MARK}"),
    ("CONNECT", "elsewhere:443"),
    ("TRACE", MODELS),
    (MARK.replace("-", ""), MODELS),
    ("GET", f"/v1/models/{MARK}?{MARK}={MARK}&%ff"),
    ("GET", f"/v1/models/base#{MARK}"),
]


def test_strange_lines_leave_one_pair_without_a_word_of_theirs(front):
    lines = (f"{MARK}: {MARK}", f"user-agent: {MARK}", f"referer: {MARK}", f"x-request-id: {MARK}")
    for number, (method, path) in enumerate(STRANGE):
        with front.raw() as raw:
            raw.sendall(head(front, method, path, "connection: close", *lines))
            (status,) = statuses(read_all(raw))
        ((_, recorded, _),) = front.recorder.requests[number:]
        assert (recorded, recorded < 500) == (status, True), path
    written = repr(front.recorder.visits)
    assert MARK not in written
    assert MARK.replace("-", "") not in written


HEADERS = [
    ("upgrade: websocket", "connection: upgrade", "sec-websocket-key: eA==", "sec-websocket-version: 13"),
    ("upgrade: h2c", "connection: upgrade, http2-settings", "http2-settings: AAMAAABkAAQAAP__"),
    ("expect: 100-continue",),
    (f"expect: {MARK}",),
    ("te: trailers",),
    ("range: bytes=0-1",),
    ("x-http-method-override: DELETE",),
    ("accept-encoding: gzip",),
]


def test_strange_headers_change_nothing(front):
    for lines in HEADERS:
        with front.raw() as raw:
            raw.sendall(head(front, "GET", MODELS, *lines) + head(front, "GET", MODELS, "connection: close"))
            assert statuses(read_all(raw)) == [200, 200], lines
    assert front.recorder.requests == [(MODELS, 200, None)] * 2 * len(HEADERS)


def test_a_request_that_breaks_off_at_any_byte_leaves_at_most_one_pair(front, new_puppet):
    new_puppet(front, by_itself=3)
    whole = front.request(BODY)
    body = whole.index(b"\r\n\r\n") + 4
    for cut in [*range(0, body, 40), body - 1, body, body + 1, len(whole) - 1, len(whole)]:
        before = len(front.recorder.requests), len(front.recorder.acts)
        with front.raw() as raw:
            raw.sendall(whole[:cut])
            raw.shutdown(socket.SHUT_WR)
            read_all(raw)
        settled(front)
        pairs = front.recorder.requests[before[0] :]
        acts = [act.action for act in front.recorder.acts[before[1] :]]
        if cut < body:
            assert (pairs, acts) == ([], []), cut
        elif cut < len(whole):
            assert (pairs, acts) == ([(CHAT, 499, "serve.gone")], []), cut
        elif acts:
            assert pairs == []
            assert (acts[0], len(acts)) == ("answer", 2)
        else:
            assert pairs == [(CHAT, 499, "serve.gone")]


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_at_any_moment_of_an_answer_leaves_one_pair(front, new_puppet, stream, monkeypatch):
    """The client goes after the engine was asked, accepted, spoke, ended; and between."""
    monkeypatch.setattr(life, "GRACE_SECONDS", 60.0)  # after it the engine would be told to stop once more
    puppet = new_puppet(front)
    steps = [
        lambda _: None,
        puppet.accept,
        lambda asked: puppet.words(asked, 2),
        lambda asked: puppet.done(asked, 2),
    ]
    for moment in range(2 * len(steps)):
        before = len(front.recorder.requests), len(front.recorder.acts)
        raw = front.raw()
        raw.sendall(front.request(BODY | {"stream": stream}))
        asked = puppet.next()
        for step in steps[: 1 + moment // 2]:
            step(asked)
        if moment % 2:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raw.close()
        if moment // 2 < len(steps) - 1:
            assert puppet.next(link.Cancel).id == asked.id
            puppet.done(asked, 2 if moment // 2 >= 2 else 0, cancelled=True)
        settled(front)
        pairs = front.recorder.requests[before[0] :]
        acts = [act.action for act in front.recorder.acts[before[1] :]]
        assert len(pairs) * 2 + len(acts) == 2, (moment, pairs, acts)


@pytest.mark.usefixtures("descriptors")
def test_hundreds_that_say_nothing_keep_nobody_out(front):
    with contextlib.ExitStack() as idle:
        for _ in range(400):
            idle.enter_context(front.raw())
        with front.http() as client:
            assert client.get(MODELS).status_code == 200


def test_a_pair_that_is_being_recorded_outlives_its_request(new_front, monkeypatch):
    monkeypatch.setattr(server, "GRACE_SECONDS", 0.2)
    front = new_front()
    release = front.recorder.held("serve.request")
    with front.raw() as raw:
        raw.sendall(head(front))
        front.until(lambda: len(front.house.visits._tasks) == 1)
        closing = threading.Thread(target=front.close)
        closing.start()
        front.until(lambda: not front.server.server_state.tasks)  # the request was cancelled
        release.set_result(None)
        closing.join()
    assert front.recorder.requests == [(MODELS, 200, None)]


def test_an_answer_whose_intent_the_log_does_not_take_leaves_no_other_pair(front, new_puppet):
    new_puppet(front, by_itself=1)
    front.recorder.refuse = {"answer"}
    with front.http() as client:
        assert client.post(CHAT, json=BODY).status_code == 503
    assert (front.recorder.visits, front.recorder.acts) == ([], [])


def test_what_is_said_instead_leaves_the_connection_in_order(front, caplog):
    front.recorder.refuse = {"serve.request"}
    with front.raw() as raw:
        raw.sendall(head(front) * 3)
        data = b""
        while len(statuses(data)) < 3 or not data.endswith(b"}"):
            data += raw.recv(65536)
        front.recorder.refuse = set()
        raw.sendall(head(front, "GET", MODELS, "connection: close"))
        assert statuses(data + read_all(raw)) == [503, 503, 503, 200]
    assert {one.name for one in caplog.records if one.levelno >= logging.ERROR} == {"holdfast.serving"}
