"""The conversion behind the walls: no network, no home, read-only inputs, and nothing refused on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.spec import WorkerSpec

pytestmark = pytest.mark.model

STARTER = Path(__file__).parents[2] / "bundles" / "starter"


async def test_the_starter_base_is_converted_without_reaching_out(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    out.mkdir()
    lines = (STARTER / "suites" / "general" / "items.jsonl").read_text(encoding="utf-8").splitlines()
    order = {
        "task": "base",
        "model": "/in/base",
        "probe": [json.loads(line)["messages"][0]["content"] for line in lines[:40]],
        "out": "/out",
    }
    spec = WorkerSpec("convert", {"base": STARTER / "base"}, out)
    worker = await EmbeddedLauncher(home).launch(spec, order, lambda denial: pytest.fail(str(denial)))
    received = []
    while (message := await worker.receive()) is not None:
        received.append(message)
    assert await worker.wait() == 0, worker.log_tail
    assert [message["progress"]["done"] for message in received[:-1]] == [0, 1, 2]
    result = received[-1]["result"]
    assert result["fidelity"]["token_ids_equal"] is True
    assert result["files"] == {path.name: path.stat().st_size for path in out.iterdir()}
    assert set(result["files"]) == {"f16.gguf"}
