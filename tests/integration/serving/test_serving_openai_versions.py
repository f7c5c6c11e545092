"""The ``openai`` client of the current and of the previous major version, each unchanged and in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.serving.stack import make_settings

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
