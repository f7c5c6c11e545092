"""The training worker behind its walls: the same bits and the same name of its software as outside; killed, it goes on."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from tests.integration.training.kit import PATH, Site, changed

from holdfast.confine import embedded
from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.training import software

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model

LONG = changed(batch={"steps": 30})  # more than a worker is ahead of its reader when it is killed


@pytest.fixture
def narrow(monkeypatch):
    """Let a worker go no further ahead of who reads what it says than some messages."""
    pair = embedded._pair

    def made(closing):
        ends = pair(closing)
        for one in ends:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that the kernel gives
        return ends

    monkeypatch.setattr(embedded, "_pair", made)


async def launched(site: Site, home: Path, **more: object):
    """Start a confined worker on a site's order."""
    inputs = {"model": site.base, "data0": site.data}
    spec = WorkerSpec("train", inputs, site.out, limits=Limits(memory_bytes=2**34), threads=1)
    places = {"model": "/in/model", "data": {PATH: "/in/data0"}, "out": "/out"}
    return await EmbeddedLauncher(home).launch(spec, site.order(LONG) | places | more, lambda _: None)


@pytest.mark.usefixtures("narrow")
async def test_a_confined_run_that_is_killed_goes_on_and_repeats(base, data, tmp_path):
    site = Site(base, data, tmp_path / "out")
    home = tmp_path / "home"
    home.mkdir()
    worker = await launched(site, home)
    while (message := await worker.receive()) is not None:
        if message.get("metric", {}).get("step") == 7:
            worker.kill()
            break  # nothing more is read: it has steps left when it ends
    assert await worker.wait() != 0
    worker = await launched(site, home, resume=True)
    result = {}
    while (message := await worker.receive()) is not None:
        assert "error" not in message, message
        result = message.get("result", result)
    assert await worker.wait() == 0
    assert result["finished"], worker.log_tail
    environment = result["manifest"]["environment"]
    assert environment["software"] == software.identity()
    assert result["resumed_from"] >= 4
    made, states = site.product(), site.lines("states.jsonl")
    worker = await launched(
        site,
        home,
        expected={
            "environment": environment,
            "states": [[one["step"], one["hash"]] for one in states],
            "anyway": False,
        },
    )
    while (message := await worker.receive()) is not None:
        result = message.get("result", result)
    await worker.wait()
    assert (result["finished"], result["resumed_from"], result["diverged"]) == (True, 0, None)
    assert site.product() == made
