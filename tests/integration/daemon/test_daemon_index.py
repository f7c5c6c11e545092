"""The index through the daemon: queries and results on the record, tampering noticed, recording never held up."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import duckdb
import psutil
import pytest

from holdfast import hashing
from holdfast.audit import verify
from holdfast.cli import offlineindex
from holdfast.client import results as fetched
from holdfast.daemon import evidence
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import (
    Conflict,
    NoSpace,
    NotFound,
    NotPermitted,
    UntrustedRequest,
    UsageRefused,
    VerificationFailed,
)

COUNT = "SELECT count(*) FROM events"
MINE = """\
-- How often somebody read the log.
-- $who text: Who.
-- $since time = 2000-01-01: From then on.
SELECT person, count(*) AS reads FROM events WHERE action = 'audit.read' AND person = $who AND time >= $since GROUP BY person
"""


async def sql(client, text=None, **more):
    body = {"parameters": more.pop("parameters", {}), **({"sql": text} if text else {}), **more}
    return await client.call("POST", "/v1/audit/sql", body)


async def result(client, folder, **body):
    """Have a result written and fetch it."""
    job = (await client.call("POST", "/v1/audit/results", {"formats": ["csv", "jsonl", "parquet"], **body}))[
        "job"
    ]
    told = await client.finish(job)
    await fetched.save(client, job, folder)
    return job, told


async def test_questions_are_answered_and_recorded_with_their_values(daemon):
    async with daemon.session("aude") as client:
        answer = await sql(
            client, "SELECT $a AS a, count(*) > 3 AS many FROM events", parameters={"a": "x'y"}
        )
        assert answer["rows"] == [["x'y", True]]
        assert answer["size"] == daemon.services.log.size
        assert answer["root"] == daemon.services.log.root.hex()
        names = {one["name"] for one in (await client.call("GET", "/v1/audit/schema"))["tables"]}
        assert {"events", "acts", "lineage", "completeness"} <= names
        with pytest.raises(UntrustedRequest):
            await sql(client, "DROP TABLE events")
        page = await client.call("GET", "/v1/audit/events", kind="exception", limit=5)
        assert page["events"] == []
        page = await client.call("GET", "/v1/audit/events", action="session.opened", role="auditor", limit=5)
        assert [one["person"] for one in page["events"]] == ["aude"]
        assert "aude" in page["events"][0]["sentence"]
        page = await client.call("GET", "/v1/audit/events", cause=0, limit=5)
        assert [one["seq"] for one in page["events"]][-1] == 0
    asked = [
        event.params["request"] for event in daemon.events("audit.read") if event.params["what"] == "sql"
    ]
    assert asked[0] == {
        "op": "sql",
        "sql": "SELECT $a AS a, count(*) > 3 AS many FROM events",
        "given": {"a": "x'y"},
        "limit": 1000,
    }
    async with daemon.session("olga") as client:
        for method, route, body in (
            ("POST", "/v1/audit/sql", {"sql": "SELECT 1"}),
            ("POST", "/v1/audit/results", {"sql": "SELECT 1", "formats": ["csv"]}),
            ("POST", "/v1/audit/queries", {"name": "mine", "sql": MINE}),
            ("DELETE", "/v1/audit/queries/mine", None),
            ("GET", "/v1/audit/schema", None),
        ):
            with pytest.raises(NotPermitted):
                await client.call(method, route, body)


async def test_queries_are_saved_run_and_removed_on_the_record(founded):
    async with founded.open() as daemon, daemon.session("aude") as client:
        saved = await client.call("POST", "/v1/audit/queries", {"name": "reads-of", "sql": MINE})
        assert (saved["about"], saved["saved_by"]) == ("How often somebody read the log.", "aude")
        assert [one["name"] for one in saved["columns"]] == ["person", "reads"]
        for name in ("reads-of", "acts-of"):
            with pytest.raises(Conflict):
                await client.call("POST", "/v1/audit/queries", {"name": name, "sql": MINE})
        for text in (
            "-- About.\nDROP TABLE events",
            "-- About.\nSELECT * FROM nowhere",
            "SELECT 1",
            "-- A.\n-- $x what: X.\nSELECT $x",
        ):
            with pytest.raises((UntrustedRequest, UsageRefused)):
                await client.call("POST", "/v1/audit/queries", {"name": "bad", "sql": text})
    async with founded.open() as daemon, daemon.session("aude") as client:
        answer = await sql(client, saved="reads-of", parameters={"who": "aude"})
        assert answer["rows"][0][0] == "aude"
        assert (await sql(client, saved="people-activity"))["rows"]
        with pytest.raises(UsageRefused):
            await sql(client, saved="reads-of")
        listed = (await client.call("GET", "/v1/audit/queries"))["queries"]
        assert {"reads-of", "acts-of", "data-in-model"} <= {one["name"] for one in listed}
        await client.call("DELETE", "/v1/audit/queries/reads-of")
        with pytest.raises(NotFound):
            await client.call("DELETE", "/v1/audit/queries/reads-of")
        with pytest.raises(NotFound):
            await sql(client, saved="reads-of", parameters={"who": "aude"})
        assert [event.params["name"] for event in daemon.events("audit.query.saved")] == ["reads-of"]
        assert [event.params for event in daemon.events("audit.query.removed")] == [{"name": "reads-of"}]


async def test_a_result_is_tied_to_the_log_and_can_be_asked_again_elsewhere(founded, tmp_path):
    out, home = tmp_path / "out", founded.home
    async with founded.open() as daemon, daemon.session("aude") as client:
        text = "-- $n integer: N.\nSELECT seq, time, person, action, params FROM events WHERE seq >= $n ORDER BY seq"
        job, told = await result(client, out, sql=text, parameters={"n": "2"})
        with pytest.raises(Conflict):
            fetched.require_new(out)
    assert {one.name for one in out.iterdir()} == {
        "rows.csv",
        "rows.jsonl",
        "rows.parquet",
        "query.json",
        "receipt.tlog-proof",
        "log.pub",
    }
    stated = json.loads((out / "query.json").read_bytes())
    assert (stated["asked"], stated["parameters"], stated["rows"], stated["size"]) == (
        job,
        {"n": "2"},
        told["rows"],
        told["size"],
    )
    assert len((out / "rows.jsonl").read_text().splitlines()) == told["rows"] == told["size"] - 2
    known = verify.parse_keys((home.log / "log.pub").read_bytes())
    receipt = (out / "receipt.tlog-proof").read_bytes()
    assert verify.verify_proof(receipt, known).ok
    assert hashing.sha512((out / "query.json").read_bytes()) == told["document"]
    # Elsewhere: the evidence, and the result.
    copy = Path(shutil.copytree(home.log, tmp_path / "evidence"))
    found = await offlineindex.compare(copy, home.log / "log.pub", out)
    assert (found["problems"], found["rows"]) == ([], told["rows"])
    answer = await offlineindex.ask(copy, None, {"op": "sql", "sql": COUNT})
    assert answer["rows"] == [[answer["size"]]]
    lines = (out / "rows.csv").read_bytes().splitlines(keepends=True)
    (out / "rows.csv").write_bytes(b"".join(lines[:3] + lines[4:]))
    assert any("rows.csv" in one for one in (await offlineindex.compare(copy, None, out))["problems"])
    (out / "rows.csv").write_bytes(b"".join(lines))
    fewer = {**stated, "rows": stated["rows"] - 1}
    (out / "query.json").write_text(json.dumps(fewer))
    problems = (await offlineindex.compare(copy, None, out))["problems"]
    assert any("receipt" in one for one in problems)
    assert any(one.startswith("rows:") for one in problems)


async def test_evidence_that_does_not_match_is_not_asked(founded, tmp_path):
    async with founded.open() as daemon:
        log = daemon.services.log
    copy = Path(shutil.copytree(founded.home.log, tmp_path / "evidence"))
    path = verify.segments(copy)[0]
    path.write_bytes(path.read_bytes().replace(b"holdfastd", b"holdfastx", 1))
    with pytest.raises(VerificationFailed) as caught:
        await offlineindex.ask(copy, None, {"op": "sql", "sql": COUNT})
    assert "event" in caught.value.message
    with pytest.raises(NotFound):
        await offlineindex.ask(tmp_path / "nowhere", None, {"op": "sql", "sql": COUNT})
    assert log.size > 0


async def test_an_index_that_was_touched_is_built_again_and_put_on_the_record(founded):
    async with founded.open() as daemon, daemon.session("aude") as client:
        await sql(client, COUNT)
        verified = await client.call("POST", "/v1/audit/verify")
        assert (verified["verified"], verified["index"]["differed"]) == (True, None)
        assert {"problems", "gaps", "notes"} <= set(verified)
    with duckdb.connect(str(founded.home.index / "index.duckdb")) as connection:
        connection.execute("UPDATE events SET person = 'nobody' WHERE seq = 0")
    async with founded.open() as daemon, daemon.session("aude") as client:
        assert (await sql(client, "SELECT person FROM events WHERE seq = 0"))["rows"] == [["holdfastd"]]
        told = (await daemon.until("audit.index.rebuilt"))[0]
        assert told.params["reason"] == "the row of event 0 is not what the log says"
        done = await client.call("POST", "/v1/audit/rebuild")
        assert (done["differed"], done["reason"]) == (None, "a person asked for it")
        assert done["events"] == done["size"]
        assert daemon.events("audit.rebuild.done")[0].params == done


OPENED: list[
    Path
] = []  # what this process opened, once a test watches; an audit hook can't be taken out again


def note_opened(event, given):
    if event == "open" and isinstance(given[0], str | bytes | os.PathLike):
        OPENED.append(Path(os.fsdecode(given[0])))


async def test_the_daemon_itself_never_opens_the_index(daemon, tmp_path):
    """Whoever closes the file of a database that its own process has open loses the lock of it."""
    async with daemon.session("aude") as client, daemon.session("alice") as administrator:
        await sql(client, COUNT)
        sys.addaudithook(note_opened)
        OPENED.clear()
        await administrator.finish((await administrator.call("POST", "/v1/audit/backup", {}))["job"])
        await client.finish((await client.call("POST", "/v1/audit/exports", {"formats": ["csv"]}))["job"])
        await client.call("POST", "/v1/audit/verify")
        await result(client, tmp_path / "result", sql=COUNT)
        await client.call("POST", "/v1/audit/rebuild")
        opened = list(OPENED)
    index = daemon.place.home.index / "index.duckdb"
    assert index.is_file()
    assert daemon.place.home.log / "checkpoint.new" in opened  # it does see what is opened
    assert not [path for path in opened if path.name.startswith(index.name)]


async def test_a_log_without_space_for_what_became_of_the_index_stops_nothing_else(founded, monkeypatch):
    async def full(*_arguments, **_named):
        raise NoSpace("audit.reserve", "Full.", remedy="Free some.")

    async with founded.open() as daemon:
        with monkeypatch.context() as patch:
            patch.setattr(daemon.services.recorder, "fact", full)
            daemon.services.index._record(daemon.services, {"reason": "it was gone"})
            await daemon.services.index.shut_down()
    async with founded.open() as daemon:
        assert len(daemon.events("daemon.stopped")) == 1


async def test_a_filter_over_a_range_is_written_for_an_export(daemon):
    async with daemon.session("aude") as client:
        await sql(client, COUNT)
    target = daemon.place.home.jobs / "rows.parquet"
    told = await evidence.write_result(
        daemon.services, {"person": "aude"}, 1, daemon.services.log.size, target
    )
    assert told["bytes"] == target.stat().st_size
    assert told["digest"] == hashing.sha512(target.read_bytes())
    assert told["rows"] == sum(event.actor.person == "aude" for event in daemon.services.log.events())
    assert [one.name for one in target.parent.iterdir() if one.name.startswith(".")] == []
    assert [one.name for one in daemon.place.home.index.iterdir() if one.is_dir()] == []


def tree(pid):
    """The index worker: the supervisor's descendants."""
    return [one for parent in [psutil.Process(pid)] for one in (parent, *parent.children(recursive=True))]


async def test_recording_goes_on_while_the_index_stands_still(daemon):
    async with daemon.session("aude") as client:
        await sql(client, COUNT)
        worker = daemon.services.index._worker
        processes = tree(worker.pid)
        assert any(one.nice() > psutil.Process().nice() for one in processes)
        for one in processes:
            one.suspend()
        try:
            waiting = asyncio.create_task(sql(client, COUNT))
            before = daemon.services.log.size
            for number in range(200):
                await daemon.services.recorder.fact(DAEMON, "audit.query.removed", {"name": f"q{number}"})
            assert daemon.services.log.size >= before + 200
            assert not waiting.done()
        finally:
            for one in processes:
                one.resume()
        assert (await waiting)["rows"][0][0] >= before
        assert (await sql(client, COUNT))["rows"][0][0] >= before + 200


async def test_an_index_worker_that_is_killed_is_started_anew_but_not_for_ever(daemon, monkeypatch):
    monkeypatch.setattr(evidence, "DEATH_SECONDS", 3600.0)  # whatever a busy machine takes to start as many
    async with daemon.session("aude") as client:
        for _ in range(evidence.DEATHS):
            assert (await sql(client, COUNT))["rows"]
            index = daemon.services.index
            os.kill(tree(index._worker.pid)[-1].pid, signal.SIGKILL)
            await index._listening
        with pytest.raises(Exception, match="died") as caught:
            await sql(client, COUNT)
        assert caught.value.key == "index.gone"
        index._deaths.clear()
        assert (await sql(client, COUNT))["rows"]


def test_the_commands_of_an_auditor(founded, tmp_path):
    founded.told("up")
    text = tmp_path / "mine.sql"
    text.write_text(MINE)
    shown, _ = founded.call("audit", "log", "--limit", "3", "--kind", "nothing", who="aude")
    assert shown.split() == ["seq", "time", "who", "role", "subject", "what"]
    shown, _ = founded.call("audit", "log", "--action", "session.opened", who="aude")
    assert "aude" in shown.splitlines()[1]
    shown, _ = founded.call("audit", "sql", "--schema", who="aude")
    assert "Every event of the audit log, one row each." in shown
    shown, _ = founded.call("audit", "sql", "--schema", "denials", who="aude")
    assert "destination" in shown
    answer = founded.told("audit", "sql", "--file", str(text), "--set", "who=aude", who="aude")
    assert answer["rows"][0][0] == "aude"
    founded.call("audit", "queries", "save", "reads-of", "--file", str(text), who="aude")
    shown, _ = founded.call("audit", "queries", "list", who="aude")
    assert {"reads-of", "answers-of"} <= {line.split()[0] for line in shown.splitlines()}
    shown, _ = founded.call("audit", "queries", "show", "reads-of", who="aude")
    assert "$since" in shown
    assert founded.told("audit", "sql", "--saved", "reads-of", "--set", "who=aude", who="aude")["rows"]
    assert founded.refused("audit", "sql", "--saved", "reads-of", who="aude", code=2)["key"] == "query.form"
    assert (
        founded.refused("audit", "sql", "SELECT 1", "--saved", "x", who="aude", code=2)["key"]
        == "query.usage"
    )
    assert (
        founded.refused("audit", "sql", "SELECT 1", "--compare", "x", who="aude", code=2)["key"]
        == "query.usage"
    )
    assert founded.refused("audit", "sql", "SELECT 1", who="olga", code=4)["key"] == "role.missing"
    out = tmp_path / "result"
    every = "SELECT seq, action, params FROM events ORDER BY seq"
    told = founded.told(
        "audit", "sql", every, "--out", str(out), "--format", "csv", "--format", "parquet", who="aude"
    )
    assert told["rows"] == told["size"]
    assert (
        founded.refused("audit", "sql", every, "--out", str(out), who="aude", code=6)["key"]
        == "result.exists"
    )
    founded.call("audit", "queries", "remove", "reads-of", who="aude")
    shown, _ = founded.call("audit", "rebuild", who="aude")
    assert "Before, it was what the log says." in shown
    shown, _ = founded.call("audit", "verify", who="aude")
    assert "The index is what the log says" in shown
    founded.run("audit", "checkpoint", who="aude")
    # On another machine: the evidence alone.
    copy = shutil.copytree(founded.home.log, tmp_path / "evidence")
    offline = {"--evidence": str(copy), "--keys": str(founded.home.log / "log.pub")}
    words = [word for pair in offline.items() for word in pair]
    found = founded.told("audit", "sql", "SELECT count(*) FROM events", *words)
    assert found["rows"] == [[found["size"]]]
    assert founded.told("audit", "sql", "--schema", *words)["tables"]
    shown, _ = founded.call("audit", "sql", "--compare", str(out), *words)
    assert shown.startswith(f"verified: {told['rows']} rows")
    again = tmp_path / "again"
    assert founded.told("audit", "sql", every, "--out", str(again), *words)["rows"] == found["size"]
    assert (again / "rows.csv").read_bytes().startswith((out / "rows.csv").read_bytes())
    (out / "rows.csv").write_bytes((out / "rows.csv").read_bytes()[:-20])
    shown, _ = founded.call("audit", "sql", "--compare", str(out), *words, code=3)
    assert "rows.csv" in shown


async def test_a_query_that_cannot_be_interrupted_ends_with_its_worker_and_others_go_on(daemon):
    async with daemon.session("aude") as client:
        with pytest.raises(UntrustedRequest) as caught:
            await sql(client, "SELECT levenshtein(repeat('a', 400000), repeat('b', 400000))")
        assert caught.value.key == "index.sql-stuck"
        assert (await sql(client, COUNT))["rows"]
