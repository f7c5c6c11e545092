"""How workers begin, talk and end: with a result, with each kind of error, by request, by force, with their daemon."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys

import psutil
import pytest

from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.exits import describe_exit
from holdfast.confine.peers import descends_from
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.confine.worker import LOG_TAIL, Stream
from holdfast.errors import NoSpace, UntrustedInput, UntrustedRecipe, WorkerFailed, from_dict

SMALL = Limits(
    memory_bytes=2**29, cpu_seconds=60, file_bytes=2**22, open_files=256, processes=310, scratch_bytes=2**20
)


@pytest.fixture
def launcher(tmp_path):
    return EmbeddedLauncher(tmp_path / "home")


async def _start(launcher, act, output=None, limits=SMALL, **order):
    spec = WorkerSpec("rehearse", {}, output, {}, limits)
    return await launcher.launch(spec, {"act": act, **order}, lambda denial: pytest.fail(str(denial)))


async def _finish(worker):
    found = []
    while (message := await worker.receive()) is not None:
        found.append(message)
    return found, await worker.wait()


async def test_requests_are_answered_until_the_worker_is_cancelled(launcher):
    worker = await _start(launcher, "answer")
    assert "progress" in await worker.receive()
    for number in range(3):
        await worker.send({"id": number, "request": {"text": "x" * 100_000}})
        assert await worker.receive() == {"id": number, "reply": {"text": "x" * 100_000}}
    await worker.cancel()
    found, code = await _finish(worker)
    assert (found, code) == ([{"result": {"answered": 3, "cancelled": True}}], 0)
    await worker.cancel()
    worker.kill()
    with pytest.raises(WorkerFailed):
        await worker.send({"id": 4, "request": {}})


@pytest.mark.parametrize("sent", [0, 1])  # the walls' plan, the order
async def test_nothing_is_left_of_a_worker_whose_launch_is_cancelled_twice(launcher, monkeypatch, sent):
    there, calls, tidied = asyncio.Event(), [], []
    send, finish = Stream.send, Stream.finish

    async def waits(stream, frame):
        calls.append(frame)
        if len(calls) <= sent:
            return await send(stream, frame)
        there.set()
        return await asyncio.get_running_loop().create_future()

    async def finished(stream):
        await finish(stream)
        tidied.append(stream)

    monkeypatch.setattr(Stream, "send", waits)
    monkeypatch.setattr(Stream, "finish", finished)
    launching = asyncio.create_task(_start(launcher, "answer"))
    async with asyncio.timeout(60):
        await there.wait()
        launched = psutil.Process().children()
        for _ in range(2):
            launching.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await launching
        while any(process.is_running() for process in launched) or not tidied:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)
    assert launched


async def test_a_receive_that_was_given_up_loses_nothing(launcher):
    worker = await _start(launcher, "answer")
    await worker.receive()
    waiting = asyncio.create_task(worker.receive())
    await asyncio.sleep(0)
    waiting.cancel()
    await worker.send({"id": 1, "request": {}})
    assert await worker.receive() == {"id": 1, "reply": {}}
    await worker.cancel()
    await _finish(worker)


async def test_what_was_sent_before_the_end_can_be_received_after_it(launcher):
    worker = await _start(launcher, "babble", lines=5000)
    assert await worker.wait() == 0
    assert [await worker.receive() for _ in range(3)] == [{"metric": {"step": 5000}}, {"result": {}}, None]
    assert len(worker.log_tail) == LOG_TAIL
    assert worker.log_tail.endswith("line 4999 of the worker's own output\n")


async def test_our_own_errors_arrive_as_they_were_raised(launcher):
    found, code = await _finish(await _start(launcher, "refuse"))
    error = from_dict(found[-1]["error"])
    assert code == 1
    assert type(error) is UntrustedRecipe
    assert (error.key, error.fields) == ("rehearse.refused", {"line": 7})


async def test_a_librarys_fault_becomes_ours_and_is_in_the_log(launcher):
    worker = await _start(launcher, "crash")
    found, code = await _finish(worker)
    error = from_dict(found[-1]["error"])
    assert code == 1
    assert (type(error), error.key) == (WorkerFailed, "worker.crashed")
    assert error.fields["exception"] == "ZeroDivisionError"
    assert "_crash" in error.message
    assert "a library's own fault" in worker.log_tail


async def test_a_kind_that_does_not_exist_is_an_error_of_the_worker(launcher):
    worker = await launcher.launch(WorkerSpec("absent", limits=SMALL), {}, print)
    found, code = await _finish(worker)
    assert (code, found[-1]["error"]["fields"]["exception"]) == (1, "ModuleNotFoundError")


async def test_an_abort_is_told_from_an_exit_and_leaves_a_trace(launcher):
    worker = await _start(launcher, "abort")
    found, code = await _finish(worker)
    assert (found, code) == ([], -signal.SIGABRT)
    assert "Fatal Python error: Aborted" in worker.log_tail
    assert "SIGABRT" in describe_exit(code).message


@pytest.mark.parametrize(
    ("act", "key"), [("exhaust-memory", "worker.memory"), ("exhaust-file", "worker.file-limit")]
)
async def test_a_limit_that_is_hit_is_named(launcher, tmp_path, act, key):
    found, code = await _finish(await _start(launcher, act, tmp_path))
    error = from_dict(found[-1]["error"])
    assert (type(error), error.key, code) == (NoSpace, key, 1)


async def test_processor_time_is_limited(launcher):
    limits = Limits(memory_bytes=2**29, cpu_seconds=1, scratch_bytes=2**20)
    found, code = await _finish(await _start(launcher, "exhaust-time", limits=limits))
    assert (found, describe_exit(code).key) == ([], "worker.cpu-limit")


def _tree(pid):
    """Descriptors that become readable when the processes of a worker's tree have ended."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return {one.pid: os.pidfd_open(one.pid) for one in processes}


def _ended(descriptors, seconds):
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    left = set(descriptors)
    while left and (ready := poll.poll(seconds * 1000)):
        for descriptor, _ in ready:
            poll.unregister(descriptor)
            left.discard(descriptor)
    return not left


async def test_kill_leaves_no_process_and_peers_of_the_tree_are_known(launcher):
    worker = await _start(launcher, "hold")
    assert "progress" in await worker.receive()
    tree = _tree(worker.pid)
    assert len(tree) == 5  # supervisor, first process, worker, its child and grandchild
    assert all(descends_from(pid, [worker.pid]) for pid in tree)
    assert not descends_from(os.getpid(), [worker.pid])
    stranger = await asyncio.create_subprocess_exec("/bin/cat", stdin=subprocess.PIPE)
    assert not descends_from(stranger.pid, [worker.pid])
    await stranger.communicate(b"")
    assert descends_from(stranger.pid, [worker.pid])  # gone: can't be excluded
    assert descends_from(0, [])
    worker.kill()
    found, code = await _finish(worker)
    assert (found, code) == ([], -signal.SIGKILL)
    try:
        assert _ended(tree.values(), 0)  # already: wait() came after them
    finally:
        for descriptor in tree.values():
            os.close(descriptor)


DAEMON = """
import asyncio, sys
from pathlib import Path
from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.spec import WorkerSpec

async def main():
    worker = await EmbeddedLauncher(Path(sys.argv[1])).launch(WorkerSpec("rehearse"), {"act": "hold"}, print)
    await worker.receive()
    print(worker.pid, flush=True)
    await worker.wait()

asyncio.run(main())
"""


def test_workers_end_with_a_daemon_that_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as daemon:
        tree = _tree(int(daemon.stdout.readline()))
        daemon.kill()
    try:
        assert len(tree) == 5
        assert _ended(tree.values(), 120)
    finally:
        for descriptor in tree.values():
            os.close(descriptor)


async def test_what_cannot_be_shown_is_refused_before_anything_runs(launcher, tmp_path):
    with pytest.raises(WorkerFailed) as caught:
        await launcher.launch(WorkerSpec("probe", {"gone": tmp_path / "gone"}), {}, print)
    assert caught.value.key == "confine.walls"
    assert "private root: open_tree" in caught.value.message
    with pytest.raises(WorkerFailed) as caught:
        await launcher.launch(WorkerSpec("probe", {"../etc": tmp_path}), {}, print)
    assert caught.value.key == "confine.name"
    with pytest.raises(UntrustedInput):
        await launcher.launch(WorkerSpec("probe"), {"not": float("nan")}, print)


async def test_a_start_that_is_given_up_leaves_nothing(launcher, monkeypatch):
    before = {one.pid for one in psutil.Process().children()}
    begun = asyncio.Event()
    real = asyncio.create_subprocess_exec

    async def create(*arguments, **named):
        process = await real(*arguments, **named)
        begun.set()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create)
    starting = asyncio.create_task(_start(launcher, "hold"))
    await begun.wait()
    assert {one.pid for one in psutil.Process().children()} - before
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert {one.pid for one in psutil.Process().children()} <= before


@pytest.mark.model
async def test_the_libraries_load_and_compute_inside_the_walls(launcher):
    limits = Limits(memory_bytes=4 * 2**30)
    names = ["duckdb", "pyarrow", "typst", "safetensors", "llama_cpp", "torch", "transformers"]
    spec = WorkerSpec("rehearse", {}, None, {}, limits, threads=2)
    denials = []
    worker = await launcher.launch(spec, {"act": "load", "modules": names}, denials.append)
    found, code = await _finish(worker)
    assert (code, set(found[-1].get("result", {})), denials) == (0, set(names), []), (
        found[-1],
        worker.log_tail,
    )
    found, code = await _finish(await launcher.launch(spec, {"act": "multiply"}, denials.append))
    assert (found[-1], denials) == ({"result": {"corner": 512.0, "threads": 2}}, [])
