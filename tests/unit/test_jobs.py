"""Job streams: numbered, resumable, whole after a restart, and never in the way of the job."""

from __future__ import annotations

import asyncio
import json

import pytest

from holdfast.daemon.jobs import Jobs
from holdfast.errors import Conflict, NotFound, UntrustedRecipe


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs")


def work(jobs, number, act):
    async def run(opened):
        job = jobs.open_job(number, "train.run")
        opened.set_result(job)
        return await act(job)

    return jobs.start("train.run", run)


async def read(job, after=0):
    return [entry async for entry in job.follow(after)]


async def three_steps(job):
    for step in range(3):
        await job.emit("metric", step=step)
        await asyncio.sleep(0)
    return {"steps": 3}


async def test_every_reader_gets_every_entry_once_in_order(jobs):
    job = await work(jobs, 7, three_steps)
    readers = [asyncio.create_task(read(job, after)) for after in (0, 0, 2, 4)]
    whole, same, part, nothing = [await reader for reader in readers]
    assert [(entry["n"], entry["kind"]) for entry in whole] == [
        (1, "metric"),
        (2, "metric"),
        (3, "metric"),
        (4, "result"),
    ]
    assert (same, part, nothing) == (whole, whole[2:], [])
    await job.emit("note", text="too late")
    assert await read(job) == whole
    assert jobs.running == []


async def test_a_stream_reads_back_after_a_restart_also_with_a_torn_end(jobs, tmp_path):
    job = await work(jobs, 7, three_steps)
    whole = await read(job)
    stored = tmp_path / "jobs" / "7" / "stream.jsonl"
    assert await read(Jobs(tmp_path / "jobs").get(7)) == whole
    data = stored.read_bytes()
    for cut in (len(data) - 1, len(data) - 20, data.index(b"\n") + 5, 3, 0):
        stored.write_bytes(data[:cut])
        again = await read(Jobs(tmp_path / "jobs").get(7))
        assert again[:-1] == whole[: len(again) - 1]
        assert again == whole or again[-1]["error"]["key"] == "job.interrupted"
        assert [entry["n"] for entry in again] == [*range(1, len(again) + 1)]


async def test_errors_end_the_stream_ours_as_they_are_and_others_as_broken(jobs, caplog):
    async def refuse(_):
        raise UntrustedRecipe("recipe.form", "Line 3.", remedy="Correct it.")

    async def crash(_):
        raise ZeroDivisionError("oh")

    refused, broken = await work(jobs, 1, refuse), await work(jobs, 2, crash)
    assert (await read(refused))[-1]["error"]["key"] == "recipe.form"
    last = (await read(broken))[-1]["error"]
    assert (last["key"], last["type"]) == ("job.internal", "OperationFailed")
    assert "ZeroDivisionError" in caplog.text


async def test_what_fails_before_its_intent_is_the_callers_error_and_no_job(jobs):
    async def refused(_):
        raise Conflict("x.y", "Taken.", remedy="Wait.")

    with pytest.raises(Conflict):
        await jobs.start("train.run", refused)
    with pytest.raises(NotFound):
        jobs.get(1)


async def test_stopping_interrupts_and_lets_nothing_begin(jobs):
    async def wait(_):
        await asyncio.Event().wait()

    job = await work(jobs, 7, wait)
    reader = asyncio.create_task(read(job))
    assert jobs.running == [job]
    await jobs.stop()
    assert (await reader)[-1]["error"]["key"] == "job.interrupted"
    with pytest.raises(Conflict) as caught:
        await work(jobs, 8, wait)
    assert caught.value.key == "daemon.stopping"


async def test_a_disk_that_is_full_loses_the_stored_stream_and_nothing_else(jobs, monkeypatch, tmp_path):
    import os

    from holdfast.daemon import jobs as module

    async def fill(job):
        await job.emit("metric", step=1)
        real = os.write
        monkeypatch.setattr(module.os, "write", lambda fd, data: real(fd, data[:5]))
        return await three_steps(job)

    job = await work(jobs, 7, fill)
    entries = await read(job)
    monkeypatch.undo()
    assert [entry["n"] for entry in entries] == [1, 2, 3, 4, 5]
    again = await read(Jobs(tmp_path / "jobs").get(7))
    assert again[0] == entries[0]
    assert again[-1]["error"]["key"] == "job.interrupted"
    lines = (tmp_path / "jobs" / "7" / "stream.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == entries[0]
    assert len(lines) == 2


async def test_cancelling_says_who_and_not_twice(jobs):
    async def wait(job):
        await job.cancelling.wait()
        return {"by": job.cancelled_by}

    job = await work(jobs, 7, wait)
    jobs.cancel(7, "olga")
    assert (await read(job))[-1]["result"] == {"by": "olga"}
    with pytest.raises(Conflict):
        jobs.cancel(7, "olga")
    with pytest.raises(NotFound):
        jobs.cancel(8, "olga")


@pytest.mark.parametrize("steps", [40, 100, 1000])
async def test_a_long_stream_stays_short_and_readers_miss_no_word(jobs, tmp_path, monkeypatch, steps):
    from holdfast.daemon import jobs as module

    monkeypatch.setattr(module, "MAX_ENTRIES", 32)

    async def many(job):
        for step in range(steps):
            await job.emit("metric", step=step)
            if step in (5, steps // 2):
                await job.emit("note", text=str(step))
            await asyncio.sleep(0)
        return {"steps": steps}

    job = await work(jobs, 7, many)
    early, whole = asyncio.create_task(read(job, 0)), await read(job)
    assert len(job.entries) <= 33
    assert [entry["text"] for entry in job.entries if entry["kind"] == "note"] == ["5", str(steps // 2)]
    assert job.entries[-1]["n"] == steps + 3
    numbers = [entry["n"] for entry in await early]
    assert numbers == sorted(set(numbers))
    assert whole[-1]["result"] == {"steps": steps}
    stored = Jobs(tmp_path / "jobs").get(7)
    assert stored.entries == job.entries
    assert (await read(stored, after=steps))[-1] == whole[-1]
    assert [entry.name for entry in (tmp_path / "jobs" / "7").iterdir()] == ["stream.jsonl"]


async def test_a_disk_that_is_full_when_a_stream_is_thinned_loses_only_what_is_stored(jobs, monkeypatch):
    from pathlib import Path

    from holdfast.daemon import jobs as module

    monkeypatch.setattr(module, "MAX_ENTRIES", 8)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    async def many(job):
        monkeypatch.setattr(Path, "write_text", full)
        for step in range(30):
            await job.emit("metric", step=step)
        return {"steps": 30}

    job = await work(jobs, 7, many)
    assert (await read(job))[-1]["result"] == {"steps": 30}
