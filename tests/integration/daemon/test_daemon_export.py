"""Exports of evidence, from an auditor's request to a folder that verifies by itself."""

from __future__ import annotations

import asyncio
import csv
import json
import threading

import pytest

from holdfast import hashing
from holdfast.audit import complete, export, verify
from holdfast.client import copies
from holdfast.daemon import evidence
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import HoldfastError, NotFound, NotPermitted, UntrustedRequest


def quiet(step: str, done: int, total: int) -> None:
    """Take progress and say nothing."""


async def fetched(daemon, out, **body):
    async with daemon.session("aude") as client:
        job = (await client.call("POST", "/v1/audit/exports", body))["job"]
        result = await client.finish(job)
        await copies.save(client, job, out, quiet)
        return job, result


def keys_of(daemon):
    return verify.parse_keys((daemon.place.home.log / "log.pub").read_bytes())


async def test_the_whole_log_is_exported_with_its_own_account(daemon, tmp_path):
    job, result = await fetched(daemon, tmp_path / "out")
    keys = keys_of(daemon)
    verdict = complete.verify_log(tmp_path / "out", keys)
    assert (verdict.problems, verdict.size, verdict.signed, result["size"]) == ([], job + 1, job + 1, job + 1)
    receipt = (tmp_path / "out" / export.RECEIPT).read_bytes()
    assert verify.verify_proof(receipt, keys).ok
    done = daemon.events("audit.export.done")[0]
    assert (done.cause, done.params["first"], done.params["root"]) == (job, 0, verdict.root)
    for name, digest in done.params["files"].items():
        assert hashing.sha512((tmp_path / "out" / name).read_bytes()) == digest
    assert set(done.params["files"]) == {"checkpoint", "log.pub", "README.txt", "verify.py", "complete.py"}
    daemon.at_rest()


async def test_rows_that_fit_a_filter_are_all_there(daemon, tmp_path):
    async with daemon.session("aude"):
        pass
    wanted = {"action": "session.opened", "person": "aude", "since": "2020-01-01T00:00:00.000000Z"}
    formats = ["jsonl", "csv", "parquet"]
    job, result = await fetched(daemon, tmp_path / "out", first=1, filter=wanted, formats=formats)
    found = daemon.events("session.opened")
    expected = [event.seq for event in found if event.seq <= job]
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_bytes().splitlines()]
    assert [row["seq"] for row in rows] == expected
    with (tmp_path / "out" / "rows.csv").open(newline="") as file:
        assert [int(row["seq"]) for row in csv.DictReader(file)] == expected
    assert result["rows"] == len(expected) >= 2
    done = daemon.events("audit.export.done")[0]
    for name in ("rows.jsonl", "rows.csv", "rows.parquet", "filter.json", "archived"):
        assert hashing.sha512((tmp_path / "out" / name).read_bytes()) == done.params["files"][name]
    asked = daemon.events("audit.export")[0]
    assert (asked.params["filter"], asked.params["formats"], done.params["rows"]) == (
        wanted,
        formats,
        len(expected),
    )
    keys = keys_of(daemon)
    assert complete.verify_log(tmp_path / "out", keys).problems == []
    lines = (tmp_path / "out" / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "out" / "rows.jsonl").write_bytes(b"".join(lines[1:]))
    assert complete.verify_log(tmp_path / "out", keys).problems[0].seq == expected[0]


async def test_rows_that_can_be_compared_come_with_those_that_can_not(daemon, tmp_path):
    _, result = await fetched(daemon, tmp_path / "out", formats=["parquet"])
    assert {"rows.parquet", "rows.jsonl"} < {path.name for path in (tmp_path / "out").iterdir()}
    assert complete.verify_log(tmp_path / "out", keys_of(daemon)).problems == []
    assert set(daemon.events("audit.export.done")[0].params["files"]) >= {"rows.parquet", "rows.jsonl"}
    assert result["rows"] == len((tmp_path / "out" / "rows.jsonl").read_bytes().splitlines())


async def test_rows_that_the_index_left_out_are_not_handed_out(daemon, tmp_path, monkeypatch):
    real = evidence.write_result

    async def cut_short(*arguments):
        told = await real(*arguments)
        return {**told, "rows": told["rows"] - 1}

    monkeypatch.setattr(evidence, "write_result", cut_short)
    with pytest.raises(HoldfastError) as caught:
        await fetched(daemon, tmp_path / "out", formats=["parquet"])
    assert caught.value.key == "export.parquet"
    assert [event.params["error"] for event in daemon.events("audit.export.failed")] == ["export.parquet"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"first": 10**9}, NotFound),
        ({"first": 3, "until": 3}, NotFound),
        ({"until": 10**9}, NotFound),
        ({"filter": {"action": "no.such"}}, UntrustedRequest),
        ({"filter": {"since": "yesterday"}}, UntrustedRequest),
        ({"filter": {"colour": "red"}}, UntrustedRequest),
        ({"formats": ["exe"]}, UntrustedRequest),
    ],
)
async def test_what_makes_no_sense_is_refused_before_it_begins(daemon, body, error):
    async with daemon.session("aude") as client:
        with pytest.raises(error):
            await client.call("POST", "/v1/audit/exports", body)
    assert not daemon.events("audit.export")


async def test_only_auditors_export(daemon):
    async with daemon.session("alice") as client:
        with pytest.raises(NotPermitted):
            await client.call("POST", "/v1/audit/exports", {})


async def test_ingest_goes_on_while_rows_are_written(daemon, tmp_path, monkeypatch):
    """No event waits for an export: hundreds are acknowledged while it stands still between two files, and many beside it."""
    begun, acknowledged, put = threading.Event(), threading.Event(), export._put

    def held(path, data):
        begun.set()
        assert acknowledged.wait(120), "events wait for the export"
        put(path, data)

    async def record(count):
        for _ in range(count):
            told = {"what": "events", "request": {}}
            await daemon.services.recorder.fact(DAEMON, "audit.read", told)

    monkeypatch.setattr(export, "_put", held)
    await record(300)
    exporting = asyncio.create_task(fetched(daemon, tmp_path / "out", formats=["jsonl", "csv"]))
    assert await asyncio.to_thread(begun.wait, 120)
    await record(300)
    acknowledged.set()
    while not exporting.done():
        await record(1)
    _, result = await exporting
    assert complete.verify_log(tmp_path / "out", keys_of(daemon)).problems == []
    assert 300 < result["rows"] < 600


def test_the_command_exports_tiles_and_verifies(founded):
    founded.told("up")
    out = founded.folder / "evidence"
    told = founded.told(
        "audit",
        "export",
        "--out",
        str(out),
        "--tiles",
        "--format",
        "csv",
        "--before-time",
        "2999-01-01",
        who="aude",
    )
    assert told["tiles"] == told["size"] == told["rows"]
    assert (out / "tile" / "0" / "000.p" / str(told["size"])).is_file()
    assert json.loads((out / "filter.json").read_bytes()) == {"until": "2999-01-01T00:00:00.000000Z"}
    keys = str(founded.home.log / "log.pub")
    found = founded.told("audit", "verify", str(out), "--keys", keys, "--strict")
    assert (found["verified"], found["problems"], found["gaps"]) == (True, [], [])
    error = founded.refused("audit", "export", "--out", str(out), who="aude", code=6)
    assert error["key"] == "copy.exists"
    rows = (out / "rows.csv").read_bytes().splitlines(keepends=True)
    (out / "rows.csv").write_bytes(b"".join(rows[:3] + rows[4:]))
    spoilt, _ = founded.call("audit", "verify", str(out), "--keys", keys, code=3)
    assert "PROBLEM: event 2: rows.csv has something else" in spoilt
    assert founded.told("audit", "verify", who="aude")["verified"]
