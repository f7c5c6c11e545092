"""The ``openai`` client of the current and of the previous major version, each unchanged and in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.serving.stack import BODY, CHAT, Puppet, make_settings

pytestmark = pytest.mark.model

HERE = Path(__file__).parent
PREVIOUS = Path(sys.prefix) / "openai-2"


@pytest.mark.parametrize(("path", "major"), [(None, "3"), (PREVIOUS, "2")])
def test_a_client_as_it_comes_gets_everything(pooled, tmp_path, path, major, new_stack):
    server = new_stack(make_settings(pooled / "base.gguf"), pooled, tmp_path)
    environment = os.environ | ({} if path is None else {"PYTHONPATH": str(path)})
    done = subprocess.run(
        [sys.executable, str(HERE / "openai_use.py"), server.path, server.text],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["version"].split(".")[0] == major
    assert told["models"] == ["base", "base:one", "base:one@1"]
    assert told["dimensions"] > 0
    chat = told["chat"]
    assert (chat["label"], chat["finish"]) == ("INTERNAL @site", "length")
    acts = server.recorder.acts
    assert chat["receipt"] == str(chat["holdfast"]["request_seq"])
    for receipts in (chat["holdfast"], chat["streamed"]):
        assert acts[receipts["request_seq"]].action == "answer"
        assert acts[receipts["answer_seq"]].cause == receipts["request_seq"]
    assert {name: fields[:2] for name, fields in told["errors"].items()} == {
        "key": ["AuthenticationError", "invalid_api_key"],
        "model": ["NotFoundError", "model_not_found"],
        "retrieve": ["NotFoundError", "model_not_found"],
        "tools": ["BadRequestError", "unsupported_parameter"],
        "long": ["BadRequestError", "context_length_exceeded"],
        "grammar": ["BadRequestError", "invalid_grammar"],
        "many": ["BadRequestError", "invalid_value"],
        "size": ["APIStatusError", "serve.body-size"],
        "path": ["NotFoundError", "not_found"],
    }
    assert told["errors"]["tools"][2:] == ["tools", "invalid_request_error"]
    assert told["errors"]["grammar"][2:] == ["grammar", "invalid_request_error"]
    intents = [seq for seq, act in enumerate(acts) if act.cause is None]
    assert sorted(act.cause for act in acts if act.cause is not None) == intents


@pytest.fixture
def opened():
    """Closed after the test, whatever came of it."""
    with contextlib.ExitStack() as stack:
        yield stack


def test_a_client_as_it_comes_waits_as_it_is_told_and_tries_again(new_front, new_puppet, opened):
    """Both versions at once: a crowd first (429), then an engine that dies with their questions (503)."""
    front = new_front(make_settings(parallel=4, queue=2))
    with contextlib.closing(Puppet(front)) as puppet:  # it dies at the end of the block
        crowd = [front.cleared_text] * 4 + [front.text]  # the sixth place is for another tenant
        held = []
        for key in crowd:
            opened.enter_context(front.raw()).sendall(front.request(BODY, key=key))
            held.append(puppet.next())
        http = opened.enter_context(front.http(front.cleared_text))
        refused = http.post(CHAT, json=BODY)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        command = [sys.executable, str(HERE / "openai_use.py"), front.path, front.text, "ask"]
        asking = [
            opened.enter_context(
                subprocess.Popen(
                    command, env=os.environ | more, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for more in ({}, {"PYTHONPATH": str(PREVIOUS)})
        ]
        for one in asking:
            opened.callback(one.kill)  # before it is waited for
        assert [one.stdout.readline() for one in asking] == [
            "ready\n"
        ] * 2  # who comes first waits a second only

        def responses(status):
            start = f'holdfast_responses_total{{status="{status}"}}'
            lines = http.get("/metrics").text.splitlines()
            return sum(float(line.split()[-1]) for line in lines if line.startswith(start))

        def ask():
            for one in asking:
                one.stdin.write("\n")
                one.stdin.flush()

        release = front.recorder.held("serve.request.failed")  # nobody is told that he is refused before
        ask()
        front.until(lambda: front.call(lambda: len(front.house.visits._tasks)) == 2)
        for request in held:
            puppet.answer(request, "for the crowd")
        front.until(lambda: front.call(lambda: front.house.places.held) == 0)
        release.set_result(None)
        front.until(lambda: responses(429) == 3)
        for _ in asking:
            puppet.answer(puppet.next(), "at last")
        told = [json.loads(one.stdout.readline()) for one in asking]
        assert [(one["major"], one["text"], one["retries"]) for one in told] == [
            (3, "at last", 1),
            (2, "at last", 1),
        ]
        assert all(one["seconds"] >= 1 for one in told)
        ask()
        for _ in asking:
            puppet.accept(puppet.next())
    front.until(lambda: responses(503) == 2)
    new_puppet(front, by_itself=2)
    told = [json.loads(one.stdout.readline()) for one in asking]
    assert all((one["text"], one["retries"]) == ("w0 w1 ", 1) and one["seconds"] >= 5 for one in told)
    for one in asking:
        one.stdin.close()
    assert [one.wait(60) for one in asking] == [0, 0]
