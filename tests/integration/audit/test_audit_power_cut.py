"""The power is cut after every write, sync and rename, on a disk that keeps only what was synced."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from holdfast.audit import segment, verify
from holdfast.errors import HoldfastError


class QuickDisk(segment.HostDisk):
    """The real files without the waiting, for looking at crash images."""

    def sync(self, handle):
        pass

    def sync_folder(self, folder):
        pass


class RecordingDisk(QuickDisk):
    """Does everything, and writes down what was done, and from which line syncs came."""

    def __init__(self):
        self.trace = []
        self._files = {}

    def _site(self):
        frame = sys._getframe(2)
        return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{frame.f_lineno}"

    def make_folder(self, path):
        self._folder = path
        super().make_folder(path)

    def create(self, path):
        handle = super().create(path)
        self._files[handle] = ("made", len(self.trace))
        self.trace.append(("create", path.name, self._files[handle]))
        return handle

    def open(self, path):
        handle = super().open(path)
        self._files[handle] = ("found", path.name)
        self.trace.append(("open", path.name, self._files[handle]))
        return handle

    def write(self, handle, data):
        super().write(handle, data)
        self.trace.append(("write", self._files[handle], data))

    def sync(self, handle):
        self.trace.append(("sync", self._files[handle], self._site()))

    def rename(self, source, target):
        super().rename(source, target)
        self.trace.append(("rename", source.name, target.name))

    def sync_folder(self, folder):
        kind = "sync_folder" if folder == self._folder else "sync_parent"
        self.trace.append((kind, None, self._site()))

    def sites(self):
        return {step[2] for step in self.trace if step[0].startswith("sync")}


class Platter:
    """What is in memory and what is on disk after a part of a trace."""

    def __init__(self, before):
        self.names = {name: ("old", name) for name in before}
        self.kept_names = dict(self.names)
        self.data = {("old", name): data for name, data in before.items()}
        self.kept = dict(self.data)
        self.folder_kept = bool(before)

    def apply(self, step, ignored):
        kind, first, second = step
        if kind == "create":
            self.names[first] = second
            self.data[second] = self.kept[second] = b""
        elif kind == "open":
            self.data[second] = self.data[self.names[first]]
            self.kept[second] = self.kept[self.names[first]]
            old = self.names[first]
            self.names = {name: second if file == old else file for name, file in self.names.items()}
            self.kept_names = {
                name: second if file == old else file for name, file in self.kept_names.items()
            }
        elif kind == "write":
            self.data[first] += second
        elif kind == "rename":
            self.names[second] = self.names.pop(first)
        elif kind == "sync" and second != ignored:
            self.kept[first] = self.data[first]
        elif kind == "sync_folder" and second != ignored:
            self.kept_names = dict(self.names)
        elif kind == "sync_parent" and second != ignored:
            self.folder_kept = True

    def images(self):
        """The folders that a power cut can leave: nothing unsynced, everything, halves, names without content, content only."""
        half = {
            file: self.kept[file] + data[len(self.kept[file]) :][: (len(data) - len(self.kept[file])) // 2]
            for file, data in self.data.items()
        }
        kept_names = self.kept_names if self.folder_kept else {}
        for names, data in (
            (kept_names, self.kept),
            (self.names, self.data),
            (self.names, half),
            (self.names, self.kept),
            (kept_names, self.data),
        ):
            yield {name: data[file] for name, file in names.items()}


def violation(image, folder, acked, handed, open_log):
    """Say what a crash image breaks: an acknowledged event lost, a checkpoint lost, or a log that does not open."""
    folder.mkdir()
    for name, data in image.items():
        (folder / name).write_bytes(data)
    try:
        stored = verify.parse_note(image["checkpoint"]).size if "checkpoint" in image else 0
        log = open_log(folder, disk=QuickDisk())
    except (HoldfastError, verify.Refused, OSError) as error:
        return f"it does not open: {error}"
    leaves = ["sha256:" + verify.leaf_hash(body).hex() for body in log.read(0, log.size)]
    if handed > stored:
        return f"the checkpoint of {handed} events was lost"
    if any(seq >= len(leaves) or leaves[seq] != leaf for seq, leaf in acked):
        return "an acknowledged event was lost"
    return None


def find_violation(disk, before, folder, open_log, ignored=None):
    platter, acked, handed, seen, count = Platter(before), [], 0, set(), 0
    for step in [*disk.trace, ("end", None, None)]:
        if step[0] == "ack":
            acked.append(step[1:])
        elif step[0] == "handed":
            handed = step[1]
        for image in platter.images():
            key = (tuple(sorted(image.items())), len(acked), handed)
            if key not in seen:
                seen.add(key)
                count += 1
                found = violation(image, folder / f"{count}", acked, handed, open_log)
                if found:
                    return found
        platter.apply(step, ignored)
    return None


def work(folder, open_log, draft, numbers, disk):
    """Groups of events over several segments, with checkpoints by themselves and on demand, then a clean end."""
    log = open_log(folder, disk=disk, segment_bytes=900, checkpoint_every=4)
    for number in numbers:
        done = log.submit(draft(number))
        receipt = done.result()
        disk.trace.append(("ack", receipt.seq, receipt.leaf))
        if number % 5 == 2:
            log.checkpoint()
            disk.trace.append(("handed", log.size, None))
    log.close()
    disk.trace.append(("handed", log.size, None))


@pytest.fixture
def first_life(tmp_path, open_log, draft):
    disk = RecordingDisk()
    work(tmp_path / "first", open_log, draft, range(7), disk)
    return disk


def test_no_cut_loses_what_was_acknowledged(tmp_path, open_log, first_life):
    (tmp_path / "cuts").mkdir()
    assert find_violation(first_life, {}, tmp_path / "cuts", open_log) is None


def test_deleting_any_one_sync_is_noticed(tmp_path, open_log, first_life):
    sites = first_life.sites()
    assert len(sites) == 5, sites
    for number, site in enumerate(sorted(sites)):
        folder = tmp_path / f"without-{number}"
        folder.mkdir()
        assert find_violation(first_life, {}, folder, open_log, ignored=site), site


def test_no_cut_during_recovery_loses_what_was_acknowledged(tmp_path, open_log, draft, first_life):
    platter, acked = Platter({}), []
    last_group = max(
        n for n, step in enumerate(first_life.trace) if step[0] == "write" and b'{"action"' in step[2]
    )
    for step in first_life.trace[: last_group + 1]:
        platter.apply(step, None)
        if step[0] == "ack":
            acked.append(step)
    torn = list(platter.images())[2]
    folder = tmp_path / "second"
    folder.mkdir()
    for name, data in torn.items():
        (folder / name).write_bytes(data)
    disk = RecordingDisk()
    disk.trace.extend(acked)
    work(folder, open_log, draft, range(7, 10), disk)
    assert any(name.endswith(".torn") for name in (path.name for path in folder.iterdir()))
    (tmp_path / "cuts").mkdir()
    assert find_violation(disk, torn, tmp_path / "cuts", open_log) is None
