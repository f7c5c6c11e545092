"""An auditor at the command line: what is refused, with which number, and what is left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from holdfast.client import copies, results
from holdfast.errors import HoldfastError, NotFound


def test_wrong_words_are_refused_with_their_number(stocked, tmp_path):
    stocked.run("up")

    def asked(code, *words):
        return stocked.refused("audit", *words, who="aude", code=code)["key"]

    assert asked(2, "log", "--since", "yesterday") == "export.time"
    assert asked(1, "log", "--action", "bundle.admitt") == "audit.action"
    assert asked(2, "log", "--who", "\udcff") == "request.text"
    assert (
        asked(2, "export", "--from", "10", "--until", "5", "--out", str(tmp_path / "out")) == "export.range"
    )
    found = stocked.told("audit", "log", "--since", "2020-01-01", "--action", "bundle.admit", who="aude")
    assert {one["action"] for one in found["events"]} <= {"bundle.admit", "bundle.admit.done"}
    assert found["events"]
    stocked.call("audit", "log", "--before", "-5", who="aude", code=2)
    shown, _ = stocked.call("audit", "prove", "1", "--out", str(tmp_path / "1.tlog-proof"), who="aude")
    assert "written" in shown
    assert asked(1, "verify", str(tmp_path / "1.tlog-proof")) == "audit.keys"
    assert asked(1, "verify", str(stocked.home.log), "--witness", str(tmp_path / "none")) == "audit.keys"
    keys = str(stocked.home.log / "log.pub")
    stocked.call("audit", "verify", str(tmp_path / "1.tlog-proof"), "--keys", keys)
    _, told = stocked.call(
        "audit", "queries", "save", "x", "SELECT $who AS who", "--about", "X", who="aude", code=1
    )
    assert "declares" in told


async def test_a_copy_that_could_not_be_written_leaves_nothing(daemon, tmp_path, monkeypatch):
    async with daemon.session("aude") as client:
        job = (await client.call("POST", "/v1/audit/exports", {}))["job"]
        await client.finish(job)
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(10, 10, 0))
        with pytest.raises(HoldfastError) as caught:
            await copies.save(client, job, tmp_path / "out", lambda *_: None)
        assert caught.value.exit_code == 7
    assert [*tmp_path.glob("out*")] == []


async def test_a_result_that_could_not_be_written_leaves_nothing(daemon, tmp_path, monkeypatch):
    async with daemon.session("aude") as client:
        asked = {"sql": "SELECT 1 AS one", "formats": ["csv"], "parameters": {}}
        job = (await client.call("POST", "/v1/audit/results", asked))["job"]
        await client.finish(job)

        def full(*_words):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "rename", full)
        with pytest.raises(HoldfastError) as caught:
            await results.save(client, job, tmp_path / "out")
        assert caught.value.exit_code == 7
    assert [*tmp_path.glob("out*")] == []


async def test_results_of_an_earlier_run_hold_no_space(founded):
    async with founded.open() as daemon, daemon.session("aude") as client:
        asked = {"sql": "SELECT 1 AS one", "formats": ["csv"], "parameters": {}}
        job = (await client.call("POST", "/v1/audit/results", asked))["job"]
        await client.finish(job)
        assert (await client.call("GET", f"/v1/audit/results/{job}"))["files"]
        assert [*founded.home.jobs.glob("*/result/rows.csv")]
    async with founded.open() as daemon, daemon.session("aude") as client:
        assert [*founded.home.jobs.glob("*/result")] == []
        with pytest.raises(NotFound):
            await client.call("GET", f"/v1/audit/results/{job}")
