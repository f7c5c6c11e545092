"""Workers try what they must not be able to do: every attempt is refused, and those to speak are recorded."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import rfc8785

import holdfast
from holdfast.confine import landlock
from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.errors import OperationFailed, WorkerFailed
from holdfast.workers.probe import ATTEMPTS

SMALL = Limits(memory_bytes=2**30, file_bytes=2**20, open_files=256, processes=310, scratch_bytes=2**20)


async def _run(launcher, spec, order):
    denials = []
    worker = await launcher.launch(spec, order, denials.append)
    found = []
    while (message := await worker.receive()) is not None:
        found.append(message)
    code = await worker.wait()
    return found, code, denials


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def control(home):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(home / "control.sock"))
        sock.listen()
        sock.setblocking(False)
        yield sock


@pytest.fixture
def passed():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


async def test_every_attempt_is_refused_and_reaches_nobody(home, control, passed, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    spec = WorkerSpec("probe", {"probe": tmp_path}, output, {"listen": passed.fileno()}, SMALL)
    order = {"home": str(home), "socket": str(home / "control.sock"), "attempts": [*ATTEMPTS]}
    found, code, denials = await _run(EmbeddedLauncher(home), spec, order)
    assert code == 0
    outcomes = found[-1]["result"]
    assert {name: one for name, one in outcomes.items() if one["outcome"] != "refused"} == {}
    assert set(outcomes) == set(ATTEMPTS)
    with pytest.raises(BlockingIOError):
        control.accept()
    assert list(output.iterdir()) == []
    recorded = {(one.syscall, one.family, one.destination) for one in denials}
    assert recorded == {
        ("socket", "AF_INET", "stream socket"),
        ("socket", "AF_INET", "datagram socket"),
        ("socket", "AF_INET6", "stream socket"),
        ("socket", "AF_NETLINK", "raw socket"),
        ("socket", "AF_UNIX", "stream socket"),
        ("socket", "AF_UNIX", "seqpacket socket"),
        ("connect", "AF_UNIX", str(home / "control.sock")),
        ("sendto", "AF_UNIX", str(home / "control.sock")),
        ("sendmsg", "", ""),
    }
    assert all(one.pid > 0 and one.command for one in denials)


async def test_a_socket_that_lies_in_an_input_is_not_reached_either(home, control):
    spec = WorkerSpec("probe", {"probe": home}, None, {}, SMALL)
    order = {"socket": "/in/probe/control.sock", "attempts": ["unix", "connect-pair", "send-to"]}
    found, code, denials = await _run(EmbeddedLauncher(home), spec, order)
    assert code == 0
    assert {one["detail"] for one in found[-1]["result"].values()} == {"EPERM"}
    with pytest.raises(BlockingIOError):
        control.accept()
    assert ("connect", "/in/probe/control.sock") in {(one.syscall, one.destination) for one in denials}


async def test_a_worker_sees_what_it_was_given_and_nothing_else(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFAST_SECRET", "of the daemon")
    folder, file, output = tmp_path / "folder", tmp_path / "file", tmp_path / "out"
    folder.mkdir()
    output.mkdir()
    file.write_text("contents", encoding="utf-8")
    first, second = socket.socketpair()
    number = second.fileno()
    with first, second:
        spec = WorkerSpec("rehearse", {"folder": folder, "file": file}, output, {"audit": number}, SMALL, 2)
        found, code, denials = await _run(EmbeddedLauncher(home), spec, {"act": "describe", "n": 1})
    assert (code, denials) == (0, [])
    seen = found[-1]["result"]
    assert seen["order"] == {"act": "describe", "n": 1, "fds": {"audit": number}}
    assert seen["inputs"] == {"folder": True, "file": "contents"}
    assert (output / "left").read_text(encoding="utf-8") == "by the worker"
    assert (output / "left").stat().st_uid == os.geteuid()
    assert (seen["pid"], seen["processes"]) == (2, 2)
    assert (int(seen["capabilities"], 16), seen["seccomp"]) == (0, "2")
    assert len(seen["descriptors"]) == 6  # 0, 1, 2, the channel, the passed one, the folder being listed
    environment = seen["environment"]
    assert "HOLDFAST_SECRET" not in environment
    assert environment["OMP_NUM_THREADS"] == "2"
    assert (environment["PYTHONHASHSEED"], environment["HF_HUB_OFFLINE"]) == ("0", "1")
    assert not {"home", "var", "run", "opt", "mnt", "srv"} & (
        set(seen["root"]) - {Path(sys.prefix).parts[1], Path(holdfast.__file__).parts[1]}
    )


async def test_a_worker_with_a_device_gains_it_and_what_cuda_insists_on_and_nothing_else(
    home, passed, tmp_path
):
    output = tmp_path / "out"
    output.mkdir()
    spec = WorkerSpec(
        "probe", {"probe": tmp_path}, output, {"listen": passed.fileno()}, SMALL, devices=("ptmx",)
    )
    order = {"home": str(home), "socket": str(home / "control.sock"), "attempts": [*ATTEMPTS]}
    found, code, denials = await _run(EmbeddedLauncher(home), spec, order)
    assert code == 0
    reached = {name for name, one in found[-1]["result"].items() if one["outcome"] != "refused"}
    assert reached == {"listen", "thread-name"}
    assert ("connect", "AF_UNIX", str(home / "control.sock")) in {
        (one.syscall, one.family, one.destination) for one in denials
    }


STANDARD = {"fd", "full", "null", "random", "shm", "urandom", "zero"}
ENTROPY = 0x80045200  # RNDGETENTCNT, which anybody may ask


async def test_devices_are_seen_and_controlled_only_where_they_are_given(home):
    order = {"act": "devices", "control": {"random": ENTROPY}}
    for given, control in [((), "EACCES"), (("ptmx", "random"), "controlled")]:
        spec = WorkerSpec("rehearse", limits=SMALL, devices=given)
        found, code, _ = await _run(EmbeddedLauncher(home), spec, order)
        assert code == 0
        seen = found[-1]["result"]
        assert set(seen["nodes"]) == STANDARD | set(given)
        if landlock.abi() >= 5:  # the first that knows the right
            assert seen["controlled"] == {"random": control}


async def test_a_device_outside_of_the_folder_of_devices_cannot_be_named(home):
    with pytest.raises(WorkerFailed) as caught:
        await EmbeddedLauncher(home).launch(WorkerSpec("probe", devices=("../etc",)), {}, print)
    assert caught.value.key == "confine.name"


def test_what_this_host_can_enforce_is_on(home):
    walls = EmbeddedLauncher(home).walls()
    for name in ("user_namespace", "network_namespace", "process_namespace", "private_root", "seccomp"):
        assert walls[name] is True, walls
    assert walls["landlock"] == (f"ABI {landlock.abi()}" if landlock.abi() else False)
    assert walls["attempts_recorded"] is True  # every kernel since 5.0
    assert walls["egress_sink"] is False  # stated, not hidden


def test_a_home_among_the_packages_is_refused():
    with pytest.raises(OperationFailed) as caught:
        EmbeddedLauncher(Path(sys.prefix) / "home")
    assert caught.value.key == "confine.home-visible"


AS_SOMEBODY = """
import asyncio, json, os, sys
from pathlib import Path
from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.confine.spec import Limits, WorkerSpec

async def main():
    out = Path(sys.argv[1])
    launcher, denials = EmbeddedLauncher(out / "home"), []
    limits = Limits(memory_bytes=2**30, file_bytes=2**20, processes=310)
    worker = await launcher.launch(WorkerSpec("probe", {"probe": out}, out, {}, limits), {}, denials.append)
    while (message := await worker.receive()) is not None:
        last = message
    code = await worker.wait()
    reached = [name for name, one in last["result"].items() if one["outcome"] != "refused"]
    print(json.dumps([os.geteuid(), code, reached, len(denials) > 0]))

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests already run as an ordinary user")
def test_the_walls_hold_for_an_ordinary_user_too():
    somebody = 65534
    with tempfile.TemporaryDirectory() as name:
        shared = Path(name)
        output = shared / "out"
        output.mkdir()
        for package in (holdfast, rfc8785):
            source = Path(package.__file__).parent
            shutil.copytree(source, shared / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        (shared / "main.py").write_text(AS_SOMEBODY, encoding="utf-8")
        for path in (shared, *shared.rglob("*")):
            path.chmod(0o755)
        try:
            os.chown(output, somebody, somebody)
        except OSError:
            pytest.skip("this user namespace has no other user")
        ended = None
        for python in (sys.executable, "/usr/bin/python3"):
            try:
                ended = subprocess.run(
                    [python, "main.py", str(output)],
                    user=somebody, group=somebody, extra_groups=[], cwd=shared, env={"PYTHONPATH": str(shared)},
                    capture_output=True, check=False, timeout=120,
                )  # fmt: skip
                break
            except PermissionError:  # the interpreter lies in a folder that only root may enter
                continue
        if ended is None:
            pytest.skip("no interpreter here may be used by an ordinary user")
        assert ended.stdout.decode().strip() == f"[{somebody}, 0, [], true]", ended.stderr.decode()
