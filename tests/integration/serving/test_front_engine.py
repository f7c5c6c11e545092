"""The front and a real engine together: streams, a client that goes, company of two keys, and what is left of it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.serving.stack import BODY, CHAT, make_settings

pytestmark = pytest.mark.model

LONG = {  # 131,072 tokens: far more than any machine computes before what must happen in the middle of them
    "model": "base",
    "prompt": ["Hello"] * 64,
    "n": 8,
    "max_tokens": 256,
    "temperature": 1,
    "stream": True,
}


@pytest.fixture
def roomy(new_stack, models, tmp_path):
    """A front and an engine that take as much of one key at once."""
    return new_stack(make_settings(models / "base.gguf", queue=1020), models, tmp_path)


def test_streams_of_several_adapters_and_keys_side_by_side_are_each_a_pair(server):
    def ask(number):
        name = ("base", "base:one", "base:two")[number % 3]
        with server.http(server.cleared_text if number % 2 or name == "base:two" else None) as client:
            body = BODY | {"model": name, "stream": True, "stream_options": {"include_usage": True}}
            with client.stream("POST", CHAT, json=body) as stream:
                assert stream.status_code == 200, stream.read()
                return stream.headers["x-holdfast-request-receipt"], stream.read().decode()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(9)))
    assert all(text.endswith("data: [DONE]\n\n") for _, text in found)
    assert len({receipt for receipt, _ in found}) == 9
    begun = [seq for seq, act in enumerate(server.recorder.acts) if act.action == "answer"]
    ended = [act.cause for act in server.recorder.acts if act.action == "answer.done"]
    assert sorted(ended) == begun
    done = [act for act in server.recorder.acts if act.action == "answer.done"]
    assert all(act.params["completion_tokens"] == 8 and act.params["processor_ms"] > 0 for act in done)
    usages = [json.loads(text.splitlines()[-4].removeprefix("data: "))["usage"] for _, text in found]
    assert all(usage["completion_tokens"] == 8 for usage in usages)
    server.until(lambda: server.status()["active"] == 0)
    assert server.house.places.held == 0


def test_a_client_that_goes_stops_the_engine_and_is_recorded(roomy):
    with roomy.raw() as raw:
        raw.sendall(roomy.request(LONG, "/v1/completions"))
        data = b""
        while data.count(b"data: ") < 3:
            data += raw.recv(65536)
    roomy.until(lambda: "answer.cancelled" in roomy.recorder.actions)
    outcome = roomy.recorder.acts[-1]
    assert outcome.params["completion_tokens"] < 64 * 8 * 256
    roomy.until(lambda: roomy.host.status()["active"] == 0)


def test_an_engine_that_ends_fails_what_it_computes_and_health_says_so(roomy):
    with roomy.raw() as raw, roomy.http() as client:
        raw.sendall(roomy.request(LONG, "/v1/completions"))
        data = b""
        while data.count(b"data: ") < 3:
            data += raw.recv(65536)
        roomy.host.stop()
        roomy.until(lambda: "answer.failed" in roomy.recorder.actions)
        assert client.get("/health").status_code == 503
    assert roomy.recorder.acts[-1].params["error"] in {"serve.engine-died", "serve.stopped"}
