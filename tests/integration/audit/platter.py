"""A disk that keeps only what was synced, and what a power cut can leave of it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from holdfast.audit import segment

SECTOR = 512  # bytes that a disk writes whole, or not at all
PICKS = (  # which of a file's new sectors reached the disk, by their number and how many there are
    lambda number, _: number % 2 == 0,
    lambda number, _: number % 2 == 1,
    lambda number, _: number == 0,
    lambda number, _: number > 0,
    lambda number, count: number == count - 1,
    lambda number, count: number < count - 1,
)
MARKS = frozenset({"ack", "handed", "kept"})  # steps of a trace that are promises, not operations


class QuickDisk(segment.HostDisk):
    """The real files without the waiting, for looking at crash images."""

    def sync(self, handle):
        pass

    def sync_folder(self, folder):
        pass


class RecordingDisk(QuickDisk):
    """Does everything beneath a folder, and writes down what was done, and from which line syncs came."""

    def __init__(self, root):
        self.trace = []
        self._root = root
        self._files = {}

    def _name(self, path):
        return str(path.relative_to(self._root))

    def _site(self):
        frame = sys._getframe(2)
        return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{frame.f_lineno}"

    def make_folder(self, path):
        if not path.is_dir():
            path.mkdir(mode=0o700)
            self.trace.append(("folder", self._name(path), None))
        # The call stands for its own sync: an implementation that left it out would be another disk.
        self.trace.append(("sync_folder", self._name(path.parent), "HostDisk.make_folder"))

    def create(self, path):
        handle = super().create(path)
        self._files[handle] = ("made", len(self.trace))
        self.trace.append(("create", self._name(path), self._files[handle]))
        return handle

    def open(self, path):
        handle = super().open(path)
        self._files[handle] = ("found", self._name(path), len(self.trace))
        self.trace.append(("open", self._name(path), self._files[handle]))
        return handle

    def write(self, handle, data, offset=0):
        super().write(handle, data, offset)
        self.trace.append(("write", self._files[handle], (data, offset)))

    def truncate(self, handle, size):
        super().truncate(handle, size)
        self.trace.append(("truncate", self._files[handle], size))

    def sync(self, handle):
        self.trace.append(("sync", self._files[handle], self._site()))

    def rename(self, source, target):
        super().rename(source, target)
        self.trace.append(("rename", self._name(source), self._name(target)))

    def unlink(self, path):
        super().unlink(path)
        self.trace.append(("unlink", self._name(path), None))

    def reserve(self, path, size):
        super().reserve(path, size)  # which creates it
        self.trace.append(("write", self.trace[-1][2], (bytes(size), 0)))

    def sync_folder(self, folder):
        self.trace.append(("sync_folder", self._name(folder), self._site()))

    def sites(self):
        return {step[2] for step in self.trace if step[0].startswith("sync")}


class Platter:
    """What is in memory and what is on disk after a part of a trace. Names are paths beneath the root."""

    def __init__(self, before):
        self.names = {name: ("old", name) for name in before}
        self.kept_names = dict(self.names)
        self.data = {("old", name): data for name, data in before.items()}
        self.kept = dict(self.data)
        self.folders = {_folder(name) for name in before} | {"."}
        self.kept_folders = set(self.folders)

    def apply(self, step, ignored):
        kind, first, second = step
        if kind == "folder":
            self.folders.add(first)
        elif kind == "create":
            self.names[first] = second
            self.data[second] = self.kept[second] = b""
        elif kind == "open":
            old = self.names[first]
            self.data[second], self.kept[second] = self.data[old], self.kept[old]
            self.names = {name: second if file == old else file for name, file in self.names.items()}
            self.kept_names = {
                name: second if file == old else file for name, file in self.kept_names.items()
            }
        elif kind == "write":
            self.data[first] = _written(self.data[first], *second)
        elif kind == "truncate":
            self.data[first] = self.data[first][:second]
        elif kind == "rename":
            self.names[second] = self.names.pop(first)
        elif kind == "unlink":
            del self.names[first]
        elif kind == "sync" and second != ignored:
            self.kept[first] = self.data[first]
        elif kind == "sync_folder" and second != ignored:
            self._keep_names(first)

    def _keep_names(self, folder):
        self.kept_names = {name: file for name, file in self.kept_names.items() if _folder(name) != folder}
        self.kept_names |= {name: file for name, file in self.names.items() if _folder(name) == folder}
        self.kept_folders |= {name for name in self.folders if _folder(name) == folder}

    def images(self):
        """The files that a cut can leave: nothing unsynced, everything, some sectors, names without content, content only."""
        kept_names = {name: file for name, file in self.kept_names.items() if self._reachable(name)}
        parts = [
            {file: part(self.kept[file], data) for file, data in self.data.items()}
            for part in (_begun, _grown, *(partial(_sectors, pick) for pick in PICKS))
        ]
        for names, data in (
            (kept_names, self.kept),
            (self.names, self.data),
            (self.names, self.kept),
            (kept_names, self.data),
            *((self.names, part) for part in parts),
        ):
            yield {name: data[file] for name, file in names.items()}

    def _reachable(self, name):
        parents = [str(parent) for parent in Path(name).parents]
        return all(parent in self.kept_folders for parent in parents)


def _written(data, more, offset):
    return data[:offset].ljust(offset, b"\0") + more + data[offset + len(more) :]


def _changed(kept, data):
    """Where two contents begin and cease to differ, the shorter one filled with zeros."""
    size = max(len(kept), len(data))
    kept, data = kept.ljust(size, b"\0"), data.ljust(size, b"\0")
    places = [place for place in range(size) if kept[place] != data[place]]
    return (places[0], places[-1] + 1) if places else (0, 0)


def _begun(kept, data):
    """The first half of what is new; a file that grew ends there."""
    begin, end = _changed(kept, data)
    half = (begin + end) // 2
    return data[:half] + kept[half:]


def _grown(kept, data):
    """The new size, without what was written."""
    return kept[: len(data)].ljust(len(data), b"\0")


def _sectors(pick, kept, data):
    """Some of the new sectors, at the larger size."""
    size = max(len(kept), len(data))
    begin, end = _changed(kept, data)
    kept, data = kept.ljust(size, b"\0"), data.ljust(size, b"\0")
    new = [place for place in range(0, size, SECTOR) if begin < place + SECTOR and place < end]
    taken = {place for number, place in enumerate(new) if pick(number, len(new))}
    return b"".join(
        (data if place in taken else kept)[place : place + SECTOR] for place in range(0, size, SECTOR)
    )


def _folder(name):
    return str(Path(name).parent)


def lay(image, folder):
    """Write an image's files down."""
    for name, data in image.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def snapshot(folder):
    """Read a folder's files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cuts(trace, before, ignored=None):
    """Give each image that a cut can leave, with the index of the step before which it is cut; each once."""
    platter, seen = Platter(before), set()
    for index, step in enumerate([*trace, ("end", None, None)]):
        marks = sum(each[0] in MARKS for each in trace[:index])
        for image in platter.images():
            key = (tuple(sorted(image.items())), marks)
            if key not in seen:
                seen.add(key)
                yield index, image
        if step[0] not in MARKS:
            platter.apply(step, ignored)
