"""The power is cut after every write, sync and rename, on a disk that keeps only what was synced."""

from __future__ import annotations

import shutil

import pytest

from holdfast.audit import verify
from holdfast.audit.space import Thresholds
from holdfast.errors import HoldfastError

from .platter import QuickDisk, RecordingDisk, cuts, lay, snapshot

OPTIONS = {"segment_bytes": 900, "checkpoint_every": 4}
WITNESS = "witness/0a1b2c3d"


class Promise:
    """What the log said it has up to a step: events, checkpoints and kept files, which may have a successor already."""

    def __init__(self, trace, index):
        marks = trace[:index]
        self.acked = [mark[1:] for mark in marks if mark[0] == "ack"]
        self.handed = max((mark[1] for mark in marks if mark[0] == "handed"), default=0)
        self.kept = {mark[1]: {mark[2]} for mark in marks if mark[0] == "kept"}
        for mark in trace[index:]:
            if mark[0] == "kept" and mark[1] in self.kept:
                self.kept[mark[1]].add(mark[2])

    def broken_by(self, image, folder, open_log, keys):
        """Say what a crash image breaks, or None."""
        lay(image, folder)
        try:
            stored = verify.parse_note(image["log/checkpoint"]).size if "log/checkpoint" in image else 0
            log = open_log(folder / "log", disk=QuickDisk(), **OPTIONS)
        except (HoldfastError, verify.Refused, OSError) as error:
            return f"it does not open: {error}"
        if self.handed > stored:
            return f"the checkpoint of {self.handed} events was lost"
        leaves = ["sha256:" + leaf.hex() for leaf in log.leaves(0, log.size)]
        if any(seq >= len(leaves) or leaves[seq] != leaf for seq, leaf in self.acked):
            return "an acknowledged event was lost"
        for name, allowed in self.kept.items():
            path = folder / "log" / name
            if not path.exists() or path.read_bytes() not in allowed:
                return f"{name} was lost"
        live = [verify.leaf_hash(body) for body in log.read(log.first, log.size)]
        if ["sha256:" + leaf.hex() for leaf in live] != leaves[log.first :]:
            return "an event that is here is not in its place"
        if log.size > log.first and not verify.verify_proof(log.prove(log.first), keys).ok:
            return "an event that is here can't be proven"
        log.close()
        if any(int(path.stem) < log.first for path in verify.segments(folder / "log")):
            return "a forgotten segment is still there"
        verdict = verify.verify_log(folder / "log", keys)
        return None if verdict.ok else str(verdict)


def find_violation(life, folder, open_log, keys, ignored=None):
    disk, before = life
    for number, (index, image) in enumerate(cuts(disk.trace, before, ignored)):
        place = folder / str(number)
        if found := Promise(disk.trace, index).broken_by(image, place, open_log, keys):
            return found
        shutil.rmtree(place)
    return None


def append(log, disk, draft):
    receipt = log.append(draft)
    disk.trace.append(("ack", receipt.seq, receipt.leaf))


def work(root, open_log, draft, numbers, disk):
    """Groups of events over several segments, with checkpoints by themselves and on demand, then a clean end."""
    log = open_log(root / "log", disk=disk, **OPTIONS)
    for number in numbers:
        append(log, disk, draft(number))
        if number % 5 == 2:
            log.checkpoint()
            disk.trace.append(("handed", log.size, None))
    log.close()
    disk.trace.append(("handed", log.size, None))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def first_life(root, open_log, draft):
    disk = RecordingDisk(root)
    work(root, open_log, draft, range(7), disk)
    return disk


@pytest.fixture
def lives(root, open_log, draft, first_life):
    """The first life, and one in which small files are kept and the first segments forgotten, twice."""
    before = snapshot(root)
    disk = RecordingDisk(root)
    log = open_log(root / "log", disk=disk, **OPTIONS)
    for seq, leaf in enumerate(log.leaves(0, log.size)):
        disk.trace.append(("ack", seq, "sha256:" + leaf.hex()))
    for data in (log.sign_at(3), log.sign_at(5)):
        log.keep(WITNESS, data)
        disk.trace.append(("kept", WITNESS, data))
    log.keep(f"{2:020}.snapshot", b"state")
    disk.trace.append(("kept", f"{2:020}.snapshot", b"state"))
    for _ in range(2):
        bounds = log.boundaries()
        log.forget(bounds[1])
        append(log, disk, draft(7))
    log.close()
    return (first_life, {}), (disk, before)


def test_no_cut_loses_what_was_acknowledged(tmp_path, open_log, keys, first_life):
    assert find_violation((first_life, {}), tmp_path / "cuts", open_log, keys) is None


def test_no_cut_while_keeping_or_forgetting_loses_anything(tmp_path, open_log, keys, lives):
    assert find_violation(lives[1], tmp_path / "cuts", open_log, keys) is None


def test_deleting_any_one_sync_is_noticed(tmp_path, open_log, keys, lives):
    sites = set().union(*(disk.sites() for disk, _ in lives))
    assert len(sites) == 7, sites
    for number, site in enumerate(sorted(sites)):
        lost = [
            find_violation(life, tmp_path / f"{number}-{index}", open_log, keys, ignored=site)
            for index, life in enumerate(lives)
            if site in life[0].sites()
        ]
        assert any(lost), site


def test_no_cut_during_opening_loses_what_was_acknowledged(tmp_path, open_log, draft, keys, first_life):
    """An unfinished write at the end is repaired on opening, and the power fails during the repair."""
    last_group = max(
        n for n, step in enumerate(first_life.trace) if step[0] == "write" and b'{"action"' in step[2][0]
    )
    marks = [step for step in first_life.trace[: last_group + 1] if step[0] == "ack"]
    torn = next(
        image for index, image in cuts(first_life.trace, {}) if index == last_group + 1 and _is_torn(image)
    )
    root = tmp_path / "again"
    lay(torn, root)
    disk = RecordingDisk(root)
    disk.trace.extend(marks)
    work(root, open_log, draft, range(7, 10), disk)
    assert any(path.suffix == ".torn" for path in (root / "log").iterdir())
    assert find_violation((disk, torn), tmp_path / "cuts", open_log, keys) is None


def _is_torn(image):
    last = max(name for name in image if name.endswith(".seg"))
    data = image[last]
    return any(record.torn for record in verify.records(data, data.index(b"\n\n") + 2))


def test_no_cut_around_the_reserve_loses_anything(tmp_path, open_log, draft, keys, root):
    """The disk fills, the reserve is given up and made again; cuts fall everywhere between."""
    disk, free = RecordingDisk(root), [10_000]
    disk.free = lambda _folder: free[0]
    space = Thresholds(low=3_000, reserve=2_000)
    log = open_log(root / "log", disk=disk, space=space, **OPTIONS)
    append(log, disk, draft(0, "train.run"))
    free[0] = 1_000
    append(log, disk, draft(1, "train.run.failed", cause=0))
    free[0] = 10_000
    append(log, disk, draft(2))
    log.close()
    assert [step[0] for step in disk.trace if step[1] == "log/reserve"] == ["create", "unlink", "create"]
    assert find_violation((disk, {}), tmp_path / "cuts", open_log, keys) is None
