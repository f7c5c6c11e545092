"""Whoever has a key, or none, and speaks HTTP to do harm: one request is one request, and says nothing that is not its own."""

from __future__ import annotations

import json

import pytest
from tests.integration.serving.stack import BODY, CHAT, SECRET

from holdfast.serving import keys

NEXT = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"


def said(front, data):
    """Send bytes; give all that comes back until the front closes."""
    with front.raw() as raw:
        raw.sendall(data)
        found = b""
        while part := raw.recv(65536):
            found += part
        return found


def head(front, *lines, method="POST", path="/tokenize", version="1.1"):
    told = (f"{method} {path} HTTP/{version}", "host: x", f"authorization: Bearer {front.text}", *lines)
    return "".join(f"{line}\r\n" for line in told).encode() + b"\r\n"


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        (("content-length: 5", "transfer-encoding: chunked"), "1.1"),
        (("transfer-encoding: chunked", "content-length: 5"), "1.1"),
        (("Transfer-Encoding: Chunked", "CONTENT-LENGTH: 5"), "1.1"),
        (("transfer-encoding: chunked",), "1.0"),
        (("transfer-encoding: xchunked",), "1.1"),
        (("transfer-encoding: chunked, identity",), "1.1"),
        (("transfer-encoding: chunked", "transfer-encoding: chunked"), "1.1"),
        (("content-length: 5", "content-length: 6"), "1.1"),
        (("content-length: +5",), "1.1"),
        (("content-length : 5",), "1.1"),
        (("host: y", "content-length: 5"), "1.1"),
    ],
)
def test_a_body_that_ends_in_two_places_is_refused_and_what_follows_is_not_read(front, lines, version):
    found = said(front, head(front, *lines, version=version) + b"0\r\n\r\n" + NEXT)
    assert found.startswith(b"HTTP/1.1 400")
    assert found.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("authorization: Bearer {text}", "authorization: Bearer {text}"),
        ("authorization: Bearer hf-00000000-00", "authorization: Bearer {text}"),
        ("authorization: Bearer {text}, Bearer {text}",),
        ("authorization: Basic {text}",),
        ("authorization: {text}",),
        ("authorization: Bearer {text}\u0131",),
        ("proxy-authorization: Bearer {text}", "x-api-key: {text}", "cookie: key={text}"),
        ("authorization: Bearer " + "x" * 600 + "{text}",),
    ],
)
def test_a_key_is_presented_once_and_in_one_way(front, lines):
    told = "".join(f"{line}\r\n" for line in lines).format(text=front.text).encode()
    found = said(front, b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + told + b"\r\n")
    assert found.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400"))
    assert front.text.encode() not in found


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics/", 404),
        ("GET", "//metrics", 404),
        ("GET", "/%6detrics", 403),
        ("GET", "/metrics%00", 404),
        ("GET", "/v1/models/../../metrics", 404),
        ("GET", "/v1/models/%2e%2e/%2e%2e/metrics", 404),
        ("GET", "/v1/models/..%2f..%2fmetrics", 404),
        ("GET", "http://x/metrics", 404),
        ("HEAD", "/metrics", 403),
        ("OPTIONS", "/metrics", 403),
        ("OPTIONS", "*", 404),
        ("CONNECT", "x:80", 404),
        ("TRACE", "/v1/models", 405),
        ("DELETE", "/v1/models/base", 405),
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/models/%ff%fe", 404),
        ("GET", "/v1/models/" + "a" * 5000, 404),
    ],
)
def test_a_path_leads_where_it_says_or_nowhere(front, method, path, status):
    found = said(front, head(front, "connection: close", method=method, path=path))
    assert found.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"TRACE" not in found
    assert front.text.encode() not in found
    nobody = said(front, f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    assert nobody.startswith(b"HTTP/1.1 401")  # whatever the path, nothing is learnt without a key


@pytest.mark.parametrize("to", ["websocket", "h2c"])
def test_an_upgrade_is_not_made_and_the_request_answered_as_it_is(front, to):
    wanted = (
        "connection: Upgrade, close",
        f"upgrade: {to}",
        "sec-websocket-key: x",
        "sec-websocket-version: 13",
    )
    found = said(front, head(front, *wanted, method="GET", path="/v1/models"))
    assert found.startswith(b"HTTP/1.1 200")
    assert found.count(b"HTTP/1.1 ") == 1


def test_a_model_that_the_key_does_not_open_reads_as_one_that_is_not_there(front):
    """Also one that only another tenant's key opens: in every way to ask for it."""
    with front.http() as client:
        for path, body in (
            (CHAT, BODY),
            ("/v1/completions", {"prompt": "x"}),
            ("/v1/embeddings", {"input": "x"}),
            ("/tokenize", {"content": "x"}),
            ("/detokenize", {"tokens": [1]}),
        ):
            hidden, missing = (
                client.post(path, json={**body, "model": f"base:{name}"}) for name in ("two", "six")
            )
            assert (hidden.status_code, hidden.text) == (404, missing.text.replace("base:six", "base:two"))
            assert {*hidden.headers} == {*missing.headers}
        hidden, missing = (client.get(f"/v1/models/base:{name}") for name in ("two", "six"))
        assert (hidden.status_code, hidden.text) == (404, missing.text.replace("base:six", "base:two"))


def test_a_tenant_of_any_letters_does_not_break_the_record_or_the_figures(new_front, new_puppet):
    minted = keys.mint("büro-Ж'\"{}", [keys.ANY], SECRET, keys.SCOPES)
    front = new_front(more_keys=[minted.key])
    new_puppet(front, by_itself=1)
    with front.http(minted.secret) as client:
        assert client.post(CHAT, json=BODY).status_code == 200
        assert client.get("/metrics").text.isascii()
    assert {act.tenant for act in front.recorder.acts} == {minted.key.tenant}
    json.dumps([act.params for act in front.recorder.acts])
