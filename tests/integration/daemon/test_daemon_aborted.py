"""Streams that break off, with a real daemon: each is on the record as what it was, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import json
import socket
from urllib.parse import urlsplit

import pytest
from tests.integration.daemon.releasing import application, gguf, serve, train

pytestmark = pytest.mark.model
__all__ = ["gguf"]

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SHORT = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 4,
    "temperature": 0,
}
MANY = 64  # answers of 450 tokens each: as many as find a place at once, so that they take long
LONG = {
    "model": "tiny",
    "prompt": ["Hello"] * (MANY // 8),
    "n": 8,
    "max_tokens": 450,
    "temperature": 1.0,
    "stream": True,
}


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


async def test_streams_that_break_off_are_recorded_as_cancelled_with_what_they_took(daemon, gguf):
    await train(daemon, gguf, "lesson", 1)
    address = (await serve(daemon))["address"]
    async with await application(daemon, address) as client:
        # A client that closes in the middle of a stream, and one in the middle of several choices.
        one_each = {"prompt": ["Hello"] * (MANY // 4), "n": 1}
        for count, body in enumerate((LONG | one_each, LONG), 1):
            async with client.stream("POST", TEXT, json=body) as stream:
                assert stream.status_code == 200
                await anext(stream.aiter_lines())
            await daemon.until("answer.cancelled", count)  # and its place is free
        # One that goes before it has heard anything: its socket is closed once the intent is on the record.
        where = urlsplit(address)
        data = json.dumps(LONG | {"stream": False}).encode()
        with socket.create_connection((where.hostname, where.port)) as raw:
            head = (
                f"POST {TEXT} HTTP/1.1\r\nhost: x\r\nauthorization: {client.headers['authorization']}\r\n"
                f"content-length: {len(data)}\r\n\r\n"
            )
            await asyncio.to_thread(raw.sendall, head.encode() + data)
            await daemon.until("answer", 3)
        cancelled = await daemon.until("answer.cancelled", 3)
        assert (await client.post(CHAT, json=SHORT)).status_code == 200
    begun = {event.seq for event in daemon.events("answer")}
    assert len({event.cause for event in cancelled} & begun) == 3
    for event in cancelled:
        assert event.params["finish_reason"] == "cancelled"
        assert event.params["processor_ms"] > 0
        assert event.params["tenant"] == "clinic"
        assert 0 <= event.params["completion_tokens"] < MANY * 450
    assert len(daemon.events("answer.done")) == 1
    async with daemon.session("olga") as client:
        await client.call("POST", "/v1/serving/stop")
    daemon.at_rest()
