"""The log on real files and threads."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from holdfast.audit import checkpoint, event, segment, verify
from holdfast.errors import Conflict, NotFound, NotRecorded, UntrustedInput, UsageRefused, VerificationFailed

APPENDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from holdfast.audit.event import Actor, Draft
from holdfast.audit.log import Log
from holdfast.audit.signer import LogSigner
signer = LogSigner.from_bytes(bytes.fromhex(sys.argv[2]))
log = Log.open(Path(sys.argv[1]), origin="holdfast.example/test/0", signer=signer, segment_bytes=8192,
               clock=lambda: (datetime.now(UTC), "host"), checkpoint_every=16)
waiting = []
for number in range(10**9):
    told = {"reason": "role.missing", "route": "/v1/events", "uid": number, "person": None}
    waiting.append(log.submit(Draft("access.denied", Actor("a", 1, "operator"), params=told)))
    if len(waiting) == 8:
        for future in waiting:
            receipt = future.result()
            print(receipt.seq, receipt.leaf, flush=True)
        waiting = []
"""


def test_what_was_acknowledged_is_there_after_reopening(tmp_path, open_log, draft, keys):
    log = open_log(tmp_path / "log", segment_bytes=2_000)
    receipts = [log.append(draft(number)) for number in range(40)]
    root = log.root
    log.close()
    assert len(verify.segments(tmp_path / "log")) > 3
    again = open_log(tmp_path / "log", segment_bytes=2_000)
    assert again.torn is None
    assert (again.size, again.root) == (40, root)
    for receipt, body, found in zip(receipts, again.read(0, 40), again.events(), strict=True):
        assert receipt.leaf == "sha256:" + verify.leaf_hash(body).hex()
        assert (found.seq, found.time, found.params["uid"]) == (receipt.seq, receipt.time, receipt.seq)
    assert again.append(draft(40)).seq == 40
    verdict = verify.verify_log(tmp_path / "log", keys)
    assert verdict.ok
    assert [note.seq for note in verdict.notes] == [40]


def test_sixteen_threads_get_every_number_once(tmp_path, open_log, draft, keys):
    sizes = []
    log = open_log(tmp_path / "log", on_synced=sizes.append, checkpoint_every=50)
    receipts, lock = [], threading.Lock()

    def produce():
        for number in range(25):
            receipt = log.append(draft(number))
            with lock:
                receipts.append(receipt)

    threads = [threading.Thread(target=produce) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sorted(receipt.seq for receipt in receipts) == list(range(400))
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 400
    verdict = verify.verify_log(tmp_path / "log", keys)
    assert (verdict.ok, verdict.size, verdict.signed, verdict.notes) == (True, 400, 400, [])


def test_receipts_can_be_checked_with_the_keys_alone(tmp_path, open_log, draft, keys):
    log = open_log(tmp_path / "log", segment_bytes=4_000)
    futures = [log.submit(draft(number)) for number in range(600)]
    futures[-1].result()
    for seq in (0, 255, 256, 599):
        data = log.prove(seq)
        assert verify.verify_proof(data, keys).ok
        assert verify.verify_proof(data, keys, b"".join(log.read(seq, seq + 1))).ok
    with pytest.raises(NotFound):
        log.prove(600)
    with pytest.raises(NotFound):
        log.event(-1)


def test_checkpoints_extend_one_another(tmp_path, open_log, draft, keys):
    log = open_log(tmp_path / "log")
    assert checkpoint.parse(log.checkpoint(), keys).size == 0
    log.append(draft(0))
    first = log.checkpoint()
    assert log.checkpoint() == first
    assert (tmp_path / "log" / "checkpoint").read_bytes() == first
    log.append(draft(1))
    second = checkpoint.parse(log.checkpoint(), keys)
    assert (second.size, second.root) == (2, log.root)


def test_an_act_ends_once_and_only_if_it_began(tmp_path, open_log, draft):
    log = open_log(tmp_path / "log")
    intent = log.append(draft(0, "train.run"))
    other = log.append(draft(1, "eval.run"))
    assert [each.seq for each in log.unfinished()] == [0, 1]
    for wrong in (None, other.seq, 99):
        with pytest.raises(Conflict):
            log.submit(draft(2, "train.run.done", cause=wrong))
    assert [each.seq for each in log.unfinished()] == [0, 1]
    log.append(draft(3, "eval.run.cancelled", cause=other.seq))
    log.close()
    again = open_log(tmp_path / "log")
    assert [each.action for each in again.unfinished()] == ["train.run"]
    again.append(draft(3, "train.run.failed", cause=intent.seq))
    with pytest.raises(Conflict):
        again.submit(draft(4, "train.run.done", cause=intent.seq))
    assert again.unfinished() == []


def test_unregistered_and_malformed_drafts_leave_no_trace(tmp_path, open_log, draft):
    log = open_log(tmp_path / "log")
    for bad in (draft(0, "made.up"), draft(2**60), draft("x" * (verify.MAX_EVENT + 1))):
        with pytest.raises(UntrustedInput):
            log.submit(bad)
    assert log.append(draft(1)).seq == 0
    with pytest.raises(UsageRefused):
        open_log(tmp_path / "other", origin="with space")


def test_a_closed_log_takes_nothing(tmp_path, open_log, draft):
    log = open_log(tmp_path / "log")
    log.close()
    with pytest.raises(NotRecorded):
        log.append(draft(0))
    log.close()


class FailingDisk(segment.HostDisk):
    """Fails at the n-th operation that changes something, and counts what is still tried afterwards."""

    def __init__(self, fail_at):
        self.fail_at, self.count, self.handle_syncs_after = fail_at, 0, 0

    def _step(self, *, sync=False):
        if self.count > self.fail_at and sync:
            self.handle_syncs_after += 1
        self.count += 1
        if self.count - 1 == self.fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path):
        self._step()
        return super().create(path)

    def write(self, handle, data, offset=0):
        half = len(data) // 2
        try:
            self._step()
        except OSError:
            super().write(handle, data[:half], offset)
            raise
        super().write(handle, data, offset)

    def truncate(self, handle, size):
        self._step()
        super().truncate(handle, size)

    def sync(self, handle):
        self._step(sync=True)
        super().sync(handle)

    def rename(self, source, target):
        self._step()
        super().rename(source, target)

    def sync_folder(self, folder):
        self._step()
        super().sync_folder(folder)


def test_a_failed_operation_is_never_retried_and_loses_nothing(tmp_path, open_log, draft, keys):
    steps = 0
    while True:
        folder, disk = tmp_path / str(steps), FailingDisk(steps)
        options = {"disk": disk, "segment_bytes": 900, "checkpoint_every": 3}
        acked, refused = [], 0
        try:
            log = open_log(folder, **options)
        except NotRecorded:
            log = None
        for number in range(7 if log else 0):
            try:
                acked.append(log.append(draft(number)))
            except NotRecorded:
                refused += 1
        done = log is not None and refused == 0 and disk.count <= disk.fail_at
        if log is not None:
            if refused:
                assert disk.handle_syncs_after == 0
                with pytest.raises(NotRecorded):
                    log.checkpoint()
            with suppress(NotRecorded):  # the last operations are those of the closing checkpoint
                log.close()
        again = open_log(folder)
        leaves = ["sha256:" + verify.leaf_hash(body).hex() for body in again.read(0, again.size)]
        assert [leaves[receipt.seq] for receipt in acked] == [receipt.leaf for receipt in acked]
        assert again.append(draft(99)).seq == len(leaves)
        again.close()
        assert verify.verify_log(folder, keys).ok
        if done:
            break
        steps += 1
    assert steps > 20


@pytest.mark.parametrize("rounds", [3])
def test_sigkill_keeps_every_acknowledged_event(tmp_path, open_log, signer, keys, rounds):
    folder, acked = tmp_path / "log", {}
    for _ in range(rounds):
        command = [sys.executable, "-c", APPENDER, str(folder), signer.to_bytes().hex()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(60):
                seq, leaf = process.stdout.readline().split()
                assert int(seq) not in acked
                acked[int(seq)] = leaf
            process.send_signal(signal.SIGKILL)
            for line in process.stdout.read().splitlines():
                if len(parts := line.split()) == 2 and len(parts[1]) == 71:
                    acked[int(parts[0])] = parts[1]
    log = open_log(folder)
    leaves = ["sha256:" + verify.leaf_hash(body).hex() for body in log.read(0, log.size)]
    assert {seq: leaves[seq] for seq in acked} == acked
    log.close()
    assert verify.verify_log(folder, keys).ok


def fill(open_log, draft, folder, count=9, **options):
    log = open_log(folder, **options)
    for number in range(count):
        log.append(draft(number))
    return log


def test_an_unfinished_write_is_cut_off_and_kept(tmp_path, open_log, draft, keys):
    folder = tmp_path / "log"
    fill(open_log, draft, folder).close()
    path = verify.segments(folder)[-1]
    body = event.prepare(draft(9)).stamp(
        9, "2026-01-02T03:04:05.000006Z", "host", event.Source("daemon", "0" * 16, 0)
    )
    whole = segment.record(body, verify.leaf_hash(body), 9)
    for torn in (
        whole[:10],
        whole[:60],
        bytes(100) + b"}",
        whole[:60] + bytes(len(whole) - 60),
        bytes(60) + whole[60:] + bytes(900),
        whole[:200] + bytes(100) + whole[300:] + whole,
    ):
        path.write_bytes(path.read_bytes() + torn)
        log = open_log(folder)
        written = torn.rstrip(b"\0")
        assert (log.size, log.torn.seq, log.torn.size) == (9, 9, len(written))
        assert (folder / log.torn.kept).read_bytes() == written
        log.close()
        assert verify.verify_log(folder, keys).ok


def test_a_torn_segment_header_is_no_loss(tmp_path, open_log, draft, keys):
    folder = tmp_path / "log"
    fill(open_log, draft, folder).close()
    (folder / segment.name(9)).write_bytes(b"holdfast-se")
    log = open_log(folder)
    assert log.append(draft(9)).seq == 9
    log.close()
    assert verify.verify_log(folder, keys).ok


def test_unused_space_at_the_end_is_no_write_and_stands_nowhere_else(tmp_path, open_log, draft, keys):
    """A log that was killed ends with zeros, over which the next events are written; a closed one ends with its last event."""
    folder = tmp_path / "log"
    log = fill(open_log, draft, folder, segment_bytes=8_192)
    path = verify.segments(folder)[0]
    assert path.stat().st_size == 8_192
    log.append(draft(9))
    log.checkpoint()
    data = path.read_bytes()
    assert len(data) == 8_192
    assert verify.verify_log(folder, keys).notes == []
    log.close()
    whole = path.read_bytes()
    assert data == whole + bytes(8_192 - len(whole))
    path.write_bytes(data)
    again = open_log(folder, segment_bytes=8_192)
    assert (again.size, again.torn, path.read_bytes()) == (10, None, whole)
    while len(verify.segments(folder)) == 1:
        again.append(draft(10))
    again.close()
    assert verify.verify_log(folder, keys).ok
    path.write_bytes(path.read_bytes() + bytes(1))
    found = verify.verify_log(folder, keys)
    assert found.problems[0].seq == int(verify.segments(folder)[1].stem)
    with pytest.raises(VerificationFailed, match="goes on behind its last event"):
        open_log(folder)


def test_a_disk_with_little_room_gets_no_zeros(tmp_path, open_log, draft):
    disk = segment.HostDisk()
    disk.free = lambda _folder: 16 * 4_096 - 1
    log = fill(open_log, draft, tmp_path / "log", disk=disk)
    path = verify.segments(tmp_path / "log")[0]
    assert not path.read_bytes().endswith(b"\0")
    disk.free = lambda _folder: 16 * 4_096
    log.append(draft(9))
    assert path.read_bytes().endswith(b"}" + bytes(4_096))
    log.close()
    assert path.read_bytes().endswith(b"}")


def test_damage_to_an_acknowledged_event_is_never_cut_off_as_torn(tmp_path, open_log, draft):
    folder = tmp_path / "log"
    fill(open_log, draft, folder, checkpoint_every=10_000)
    early = (folder / "checkpoint").read_bytes()
    path = verify.segments(folder)[-1]
    data = path.read_bytes()
    place = data.index(b'"uid":4}')
    for at in (place + 6, data.rindex(b'{"action"', 0, place) - 40):
        damaged = tmp_path / f"copy-{at}"
        damaged.mkdir()
        (damaged / "log.pub").write_bytes((folder / "log.pub").read_bytes())
        (damaged / "checkpoint").write_bytes(early)
        (damaged / path.name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(VerificationFailed) as caught:
            open_log(damaged)
        assert (caught.value.key, caught.value.fields["seq"]) == ("audit.damaged", 4)


def test_a_shorter_or_other_log_than_signed_is_refused(tmp_path, open_log, draft):
    folder = tmp_path / "log"
    log = fill(open_log, draft, folder)
    log.checkpoint()
    path = verify.segments(folder)[-1]
    data = path.read_bytes()
    log.close()
    cut = data.rindex(b'{"action"') - verify.HEAD.size
    path.write_bytes(data[:cut])
    with pytest.raises(VerificationFailed, match="has 8 events, but its checkpoint signs 9"):
        open_log(folder)
    body = event.prepare(draft(77)).stamp(
        8, "2026-01-02T03:04:05.000006Z", "host", event.Source("daemon", "0" * 16, 0)
    )
    path.write_bytes(data[:cut] + segment.record(body, verify.leaf_hash(body), 8))
    with pytest.raises(
        VerificationFailed, match=r"its root at 9 events is [0-9a-f]{64}, but .* [0-9a-f]{64}"
    ):
        open_log(folder)
    path.write_bytes(data)
    (folder / "checkpoint").unlink()
    with pytest.raises(NotRecorded):
        open_log(folder)


def test_another_key_can_not_continue_the_log(tmp_path, open_log, draft, signer):
    folder = tmp_path / "log"
    fill(open_log, draft, folder).close()
    with pytest.raises(VerificationFailed, match=r"log\.pub"):
        open_log(folder, signer=type(signer).generate())


def test_a_clock_that_goes_back_is_recorded_as_it_is(tmp_path, open_log, draft, keys):
    moments = [datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC) for second in (0, 7, 7, 3, 3, 3, 3)]
    log = open_log(
        tmp_path / "log", clock=lambda: (moments.pop(0) if len(moments) > 1 else moments[0], "trusted")
    )
    for number in range(3):
        log.append(draft(number))
    log.close()
    assert verify.verify_log(tmp_path / "log", keys).ok
    events = [json.loads(body) for body in open_log(tmp_path / "log").read(0, 3)]
    assert [each["clock"] for each in events] == ["trusted"] * 3
    assert events[2]["time"] < events[1]["time"]
