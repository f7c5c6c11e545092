"""The disk fails or is full at every call, one by one; space runs out and comes back."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.audit import segment, verify
from holdfast.audit.space import Level, Thresholds
from holdfast.errors import Conflict, HoldfastError, NoSpace, NotFound, NotRecorded, UsageRefused

SPACE = Thresholds(low=3_000, reserve=2_000)
OPTIONS = {"segment_bytes": 900, "checkpoint_every": 3}


class FailingDisk(segment.HostDisk):
    """Fails at the n-th call; writes half of what it was given then. Counts the syncs tried on a file that failed one."""

    def __init__(self, fail_at, number):
        self.fail_at, self.number, self.count = fail_at, number, 0
        self.failed_syncs, self.retried = set(), 0

    def _step(self):
        self.count += 1
        if self.count - 1 == self.fail_at:
            raise OSError(self.number, os.strerror(self.number))

    def make_folder(self, path):
        self._step()
        super().make_folder(path)

    def create(self, path):
        self._step()
        handle = super().create(path)
        self.failed_syncs.discard(handle)
        return handle

    def open(self, path):
        self._step()
        handle = super().open(path)
        self.failed_syncs.discard(handle)
        return handle

    def write(self, handle, data, offset=0):
        try:
            self._step()
        except OSError:
            super().write(handle, data[: len(data) // 2], offset)
            raise
        super().write(handle, data, offset)

    def truncate(self, handle, size):
        self._step()
        super().truncate(handle, size)

    def sync(self, handle):
        self.retried += handle in self.failed_syncs
        try:
            self._step()
        except OSError:
            self.failed_syncs.add(handle)
            raise
        super().sync(handle)

    def sync_folder(self, folder):
        self._step()
        super().sync_folder(folder)

    def close(self, handle):
        try:
            self._step()
        finally:
            super().close(handle)

    def rename(self, source, target):
        self._step()
        super().rename(source, target)

    def unlink(self, path):
        self._step()
        super().unlink(path)

    def free(self, folder):
        self._step()
        return 2**20 + super().free(folder)

    def reserve(self, path, size):
        self._step()
        super().reserve(path, size)


class Life:
    """A log's life on a disk that fails somewhere: what it was told, and what it was refused."""

    def __init__(self, open_log, folder, disk, draft):
        self.acked, self.refused, self.log = [], 0, None
        self._draft = draft
        try:
            self.log = open_log(folder, disk=disk, space=SPACE, **OPTIONS)
        except HoldfastError:
            self.refused += 1

    def _try(self, work, *given):
        try:
            return work(*given)
        except HoldfastError:
            self.refused += 1
            return None

    def append(self, numbers):
        for number in numbers:
            if receipt := self._try(self.log.append, self._draft(number)):
                self.acked.append(receipt)

    def live(self):
        if self.log is None:
            return
        self.append(range(7))
        self._try(self.log.checkpoint)
        self._try(self.log.keep, f"{3:020}.snapshot", b"state")
        self._try(self.log.forget, self.log.boundaries()[1] if len(self.log.boundaries()) > 1 else 0)
        self.append(range(7, 10))


def check(log, acked, keys, folder):
    leaves = ["sha256:" + leaf.hex() for leaf in log.leaves(0, log.size)]
    assert [leaves[receipt.seq] for receipt in acked] == [receipt.leaf for receipt in acked]
    assert len({receipt.seq for receipt in acked}) == len(acked)
    counts = {}
    for event in log.events():
        source = event.source
        assert source.count == counts.get(source.run, source.count if log.first else 0)
        counts[source.run] = source.count + 1
    log.close()
    assert verify.verify_log(folder, keys).ok


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_each_call_that_fails_ends_in_a_refusal_and_loses_nothing(tmp_path, open_log, draft, keys, number):
    """After each, the log is opened anew; after a full disk it also goes on by itself."""
    steps, recovered = 0, 0
    while True:
        folder, disk = tmp_path / str(steps), FailingDisk(steps, number)
        life = Life(open_log, folder, disk, draft)
        life.live()
        done = disk.count <= disk.fail_at
        log = life.log
        if log is not None and log.failure is not None:
            with pytest.raises(NotRecorded):
                log.checkpoint()
            with pytest.raises(NotRecorded):
                log.append(draft(0))
            assert log.recover() is (number != errno.EIO)
            if number != errno.EIO:
                recovered += 1
                before = log.size
                assert log.append(draft(50)).seq == before
                life.acked.append(log.append(draft(51)))
                assert log.failure is None
                check(log, life.acked, keys, folder)
        if log is not None:
            with suppress(HoldfastError, OSError):
                log.close()
        assert disk.retried == 0
        again = open_log(folder, **OPTIONS)
        size = again.size
        life.acked.append(again.append(draft(99)))
        assert life.acked[-1].seq == size
        check(again, life.acked, keys, folder)
        if done:
            break
        steps += 1
    assert steps > 60
    assert recovered > (10 if number != errno.EIO else -1)


def test_a_log_that_recovered_can_fail_again_anywhere(tmp_path, open_log, draft, keys):
    """The disk fills during an append, and fails again at each call of the recovery."""
    steps = 0
    while True:
        folder, disk = tmp_path / str(steps), FailingDisk(-1, errno.EDQUOT)
        life = Life(open_log, folder, disk, draft)
        life.append(range(4))
        disk.fail_at = disk.count + 1  # the write of the next group: the look at the space comes before
        life.append([4])
        assert life.log.failure is not None
        begun = disk.count
        disk.fail_at = begun + steps
        first = life.log.recover()
        done = disk.count <= disk.fail_at
        disk.fail_at = -1
        assert life.log.recover()
        assert first or not done
        life.append(range(5, 8))
        assert len(life.acked) == 7
        assert disk.retried == 0
        check(life.log, life.acked, keys, folder)
        if done:
            break
        steps += 1
    assert steps > 5


class FullDisk(segment.HostDisk):
    """Has as many bytes free as the test says."""

    def __init__(self, free):
        self.left = free

    def free(self, folder):
        super().free(folder)
        return self.left


def test_acts_stop_at_the_reserve_and_what_is_under_way_still_ends(tmp_path, open_log, draft, keys):
    told, disk = [], FullDisk(10_000)
    log = open_log(
        tmp_path / "log", disk=disk, space=SPACE, on_space=lambda level, free: told.append((level, free))
    )
    reserve = tmp_path / "log" / "reserve"
    assert (log.space, reserve.stat().st_size) == (Level.AMPLE, 2_000)
    assert reserve.stat().st_blocks * 512 >= 2_000
    act = log.append(draft(0, "train.run"))
    disk.left = 2_900
    log.append(draft(1))
    disk.left = 1_999
    for refused in (draft(2), draft(3, "train.run")):
        with pytest.raises(NoSpace) as caught:
            log.append(refused)
        assert (caught.value.key, caught.value.exit_code) == ("audit.reserve", 7)
    assert not reserve.exists()
    disk.left += 2_000  # what the reserve gave up
    essential = log.append(draft(4, "audit.space.stopped"))
    ended = log.append(draft(5, "train.run.failed", cause=act.seq))
    assert (essential.seq, ended.seq) == (2, 3)
    disk.left = 4_240  # less than the reserve and the margin beside it
    assert log.check_space() is Level.STOPPED
    disk.left = 4_250
    assert log.check_space() is Level.LOW
    assert reserve.stat().st_size == 2_000
    disk.left = 3_374
    log.append(draft(6))
    assert log.check_space() is Level.LOW
    disk.left = 3_375
    assert log.check_space() is Level.AMPLE
    assert told == [(Level.LOW, 2_900), (Level.STOPPED, 1_999), (Level.LOW, 4_250), (Level.AMPLE, 3_375)]
    assert [event.source.count for event in log.events()] == list(range(5))
    log.close()
    assert verify.verify_log(tmp_path / "log", keys).ok


def test_a_restart_knows_that_the_log_had_stopped(tmp_path, open_log, draft):
    disk = FullDisk(10_000)
    log = open_log(tmp_path / "log", disk=disk, space=SPACE)
    disk.left = 1_000
    assert log.check_space() is Level.STOPPED
    disk.left = 3_000
    log.close()
    again = open_log(tmp_path / "log", disk=disk, space=SPACE)
    assert again.space is Level.STOPPED
    with pytest.raises(NoSpace):
        again.append(draft(0))
    again.append(draft(1, "daemon.stopped"))
    disk.left = 10_000
    assert again.append(draft(2)).seq == 1
    assert again.space is Level.AMPLE


FILLER = """
import json, os, sys
from datetime import UTC, datetime
from pathlib import Path
from holdfast.audit import verify
from holdfast.audit.event import Actor, Draft
from holdfast.audit.log import Log
from holdfast.audit.signer import LogSigner
from holdfast.audit.space import Level, Thresholds
from holdfast.errors import NoSpace, NotRecorded
from tests import recorded
root, folder, signer = Path(sys.argv[1]), Path(sys.argv[1], "log"), LogSigner.generate()
def draft(action, cause=None):
    return Draft(action, Actor("a", 1, "operator"), params=recorded.sample(action), cause=cause)
def opened(reserve=2**20):
    space = Thresholds(low=2**21 if reserve else 0, reserve=reserve)
    return Log.open(folder, origin="holdfast.example/full/0", signer=signer, space=space,
                    clock=lambda: (datetime.now(UTC), "host"))
def fill(left):
    with open(root / "junk", "ab") as junk:
        while (free := os.statvfs(root).f_bavail * 4096) > left:
            try:
                junk.write(bytes(min(free - left, 2**20))); junk.flush()
            except OSError:
                break
log = opened()
act = log.append(draft("train.run"))
fill(0)
try:
    log.append(draft("access.denied")); print("taken on a full disk")
except NoSpace as error:
    assert error.key == "audit.reserve"
assert log.space is Level.STOPPED and not (folder / "reserve").exists()
log.append(draft("audit.space.stopped"))
log.append(draft("train.run.failed", act.seq))
(root / "junk").unlink()
assert log.append(draft("access.denied")).seq == 3 and log.space is Level.AMPLE
log.close()
log, acked = opened(reserve=0), []  # without a reserve the disk fails in the middle of a write
fill(20_000)
try:
    while True:
        acked += [log.append(draft("access.denied"))]
except NotRecorded:
    pass
assert log.failure is not None and acked and not log.recover()
(root / "junk").unlink()
assert log.recover() and log.append(draft("access.denied")).seq > acked[-1].seq
leaves = ["sha256:" + leaf.hex() for leaf in log.leaves(0, log.size)]
assert [leaves[one.seq] for one in acked] == [one.leaf for one in acked]
counts = [event.source.count for event in log.events() if event.seq > 3]
assert counts == list(range(len(counts)))
log.close()
assert verify.verify_log(folder, signer.keys("holdfast.example/full/0")).ok
print("well")
"""


def test_a_disk_that_is_really_full(tmp_path):
    """A small file system in a namespace of its own; where the host allows none, the tests above have to do."""
    script, mount = tmp_path / "fill.py", tmp_path / "mount"
    script.write_text(FILLER)
    mount.mkdir()
    inside = f"mount -t tmpfs -o size=48m none {mount} && exec {sys.executable} {script} {mount}"
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", inside]
    allowed = subprocess.run(
        [*command[:-1], f"mount -t tmpfs none {mount}"], capture_output=True, check=False
    )
    if allowed.returncode:
        pytest.skip(f"no file system can be mounted here: {allowed.stderr.decode().strip()}")
    found = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert (found.returncode, found.stdout) == (0, "well\n"), found.stderr


class StuckDisk(segment.HostDisk):
    """Syncs only while it is let."""

    def __init__(self):
        self.let = threading.Event()
        self.let.set()

    def sync(self, handle):
        self.let.wait()
        super().sync(handle)


def test_a_slow_disk_makes_producers_wait_and_loses_nothing(tmp_path, open_log, draft, monkeypatch):
    monkeypatch.setattr("holdfast.audit.appender.MAX_PENDING", 8)
    disk = StuckDisk()
    log = open_log(tmp_path / "log", disk=disk)
    disk.let.clear()
    futures, blocked = [], threading.Event()

    def produce():
        for number in range(40):
            if number == 39:
                blocked.set()
            futures.append(log.submit(draft(number)))

    thread = threading.Thread(target=produce)
    thread.start()
    thread.join(timeout=0.3)
    assert thread.is_alive()
    assert len(futures) < 39
    assert not blocked.is_set()
    disk.let.set()
    thread.join()
    assert [future.result().seq for future in futures] == list(range(40))


def test_what_was_archived_is_gone_and_everything_else_still_proves(tmp_path, open_log, draft, keys):
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=20_000)
    leaves = []
    for begin in range(0, 900, 30):
        futures = [log.submit(draft(number)) for number in range(begin, begin + 30)]
        leaves += [bytes.fromhex(future.result().leaf[7:]) for future in futures]
    log.checkpoint()
    old = {size: log.sign_at(size) for size in (1, 255, 300, 700, 900)}
    roots = {size: log.root_at(size) for size in old}
    proofs = {(size, 900): log.consistency(size, 900) for size in (1, 255, 300, 700)}
    bounds = log.boundaries()
    for until in (bounds[2], bounds[5], bounds[-2]):
        log.forget(until)
        assert (log.first, log.boundaries()[0]) == (until, until)
        again = open_log(folder, segment_bytes=20_000) if until == bounds[-2] else log
        assert list(again.leaves(0, 900)) == leaves
        assert {size: again.root_at(size) for size in old} == roots
        assert {pair: again.consistency(*pair) for pair in proofs} == proofs
        for seq in (until, 899):
            assert verify.verify_proof(again.prove(seq), keys).ok
        with pytest.raises(NotFound) as caught:
            again.event(until - 1)
        assert caught.value.key == "audit.archived"
        assert verify.verify_note(again.sign_at(255), keys).root == roots[255]
    assert [event.seq for event in again.events()] == list(range(bounds[-2], 900))
    assert verify.verify_log(folder, keys).ok


def test_a_log_forgets_whole_signed_segments_without_open_acts_alone(tmp_path, open_log, draft):
    log = open_log(tmp_path / "log", segment_bytes=900, checkpoint_every=1_000)
    act = log.append(draft(0, "train.run"))
    for number in range(1, 9):
        log.append(draft(number))
    bound = log.boundaries()[1]
    with pytest.raises(Conflict, match="No signed segment"):
        log.forget(bound)
    log.checkpoint()
    with pytest.raises(Conflict, match="No signed segment"):
        log.forget(bound + 1)
    with pytest.raises(Conflict) as caught:
        log.forget(bound)
    assert (caught.value.key, caught.value.fields["acts"]) == ("audit.open-acts", [0])
    log.append(draft(9, "train.run.done", cause=act.seq))
    log.forget(bound)
    log.close()
    again = open_log(tmp_path / "log", segment_bytes=900)
    assert again.first == bound
    with pytest.raises(Conflict):
        again.append(draft(10, "train.run.done", cause=act.seq))


@pytest.mark.parametrize("harm", ["tile", "short", "peak", "size"])
def test_what_stands_for_archived_events_is_checked_on_opening(tmp_path, open_log, draft, harm):
    folder = tmp_path / "log"
    log = open_log(folder, segment_bytes=900)
    for number in range(9):
        log.append(draft(number))
    log.checkpoint()
    log.forget(log.boundaries()[2])
    log.close()
    tile = next(path for path in (folder / "tile").rglob("*") if path.is_file())
    frontier = (folder / "archived").read_bytes()
    if harm == "tile":
        tile.write_bytes(bytes(len(tile.read_bytes())))
    elif harm == "short":
        tile.write_bytes(tile.read_bytes()[1:])
    elif harm == "peak":
        (folder / "archived").write_bytes(frontier.replace(frontier[11:13], b"00", 1))
    else:
        (folder / "archived").write_bytes(b"{}")
    before = {path.name for path in folder.rglob("*.seg")}
    with pytest.raises(HoldfastError) as caught:
        open_log(folder)
    assert caught.value.key == "audit.archived"
    assert {path.name for path in folder.rglob("*.seg")} == before


@pytest.mark.parametrize(
    "name", ["checkpoint", "../x", "witness/../log.pub", "witness/0A1B2C3D", "a.snapshot", ""]
)
def test_a_log_keeps_no_other_files(tmp_path, open_log, name):
    with pytest.raises(UsageRefused):
        open_log(tmp_path / "log").keep(name, b"")
