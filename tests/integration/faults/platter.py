"""A disk that writes down what is done to it, and what a power cut would leave of that.

``Recorder`` does everything for real, without the waiting. ``Platter`` replays its trace on a model of a file system that promises
no more than POSIX: a file's bytes are on disk once the file was synced; a name is once its folder was; names that were not
synced may each be there or not, in any order, except that one name's changes keep theirs and a rename is one step. What is not
synced may be missing, half there, zeros, or all there.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import holdfast
from holdfast.store import disk

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = str(Path(holdfast.__file__).parent)
FEW = 6  # images of one kind at one cut; where there could be more, a sample is taken


class QuickDisk(disk.HostDisk):
    """The real files without the waiting."""

    def sync(self, handle):
        pass

    def sync_folder(self, folder):
        folder.stat()  # there must be one


QUICK = QuickDisk()


def site() -> str:
    """Name the line that asked for a sync, with the helpers of the disk's module between."""
    frame, lines = sys._getframe(2), []
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(SOURCE):
            place = f"{Path(path).name}:{frame.f_code.co_name}"
            if not lines or not lines[-1].startswith(f"{place}:"):
                lines.append(f"{place}:{frame.f_lineno}")
            if not path.endswith("/store/disk.py"):
                break
        frame = frame.f_back
    return " < ".join(lines) or "copy.py:_sync:threads"  # that it hands the sync to


class Recorder(QuickDisk):
    """Does everything, one operation at a time, and writes it down: operation, then its arguments."""

    def __init__(self) -> None:
        self.trace: list[tuple] = []
        self._lock = threading.RLock()
        self._files: dict[int, int] = {}  # which file of the model an inode is
        self._count = itertools.count(1)

    def know(self, path: Path) -> int:
        """Give a file that is there a number."""
        return self._files.setdefault(path.stat().st_ino, next(self._count))

    def note(self, *what) -> None:
        """Write down something that happened elsewhere: an event that the log keeps, a promise that was made."""
        with self._lock:
            self.trace.append(("note", *what))

    def sites(self) -> dict[str, int]:
        """Give every line that asked for a sync, and where in the trace it first did."""
        found: dict[str, int] = {}
        for number, step in enumerate(self.trace):
            if step[0] in ("sync", "sync_folder"):
                found.setdefault(step[2], number)
        return found

    def _of(self, handle: int) -> int:
        return self._files[os.fstat(handle).st_ino]

    def make_folder(self, path):
        with self._lock:
            new = not path.is_dir()
            super().make_folder(path)
            if new:
                self.trace.append(("make_folder", path))

    def create(self, path, mode):
        with self._lock:
            handle = super().create(path, mode)
            number = self._files[os.fstat(handle).st_ino] = next(self._count)
            self.trace.append(("create", path, number, mode))
            return handle

    def allocate(self, handle, size):
        with self._lock:
            os.ftruncate(handle, size)
            self.trace.append(("allocate", self._of(handle), size))

    def write(self, handle, data, offset):
        with self._lock:
            super().write(handle, data, offset)
            self.trace.append(("write", self._of(handle), offset, bytes(data)))

    def protect(self, handle):
        with self._lock:
            super().protect(handle)
            self.trace.append(("protect", self._of(handle)))

    def sync(self, handle):
        with self._lock:
            self.trace.append(("sync", self._of(handle), site()))

    def link(self, source, target):
        with self._lock:
            super().link(source, target)
            self.trace.append(("link", source, target))

    def rename(self, source, target):
        with self._lock:
            super().rename(source, target)
            self.trace.append(("rename", source, target))

    def unlink(self, path):
        with self._lock:
            super().unlink(path)
            self.trace.append(("unlink", path))

    def remove_folder(self, path):
        with self._lock:
            super().remove_folder(path)
            self.trace.append(("remove_folder", path))

    def sync_folder(self, folder):
        with self._lock:
            super().sync_folder(folder)
            self.trace.append(("sync_folder", folder, site()))


@dataclass(eq=False)
class File:
    """A file: its bytes and permissions in memory and on disk."""

    number: int
    data: bytes = b""
    mode: int = 0o600
    kept: bytes = b""
    kept_mode: int = 0o600

    @property
    def dirty(self) -> bool:
        return (self.data, self.mode) != (self.kept, self.kept_mode)

    def seen(self, how: str) -> tuple[bytes, int]:
        """Give what a cut leaves of it: ``kept``, ``live``, ``half`` or ``zeros``."""
        if how == "kept":
            return self.kept, self.kept_mode
        if how == "live":
            return self.data, self.mode
        rest = len(self.kept)
        if how == "zeros":
            return self.kept[: len(self.data)].ljust(len(self.data), b"\0"), self.mode
        if self.data.startswith(self.kept):
            return self.data[: rest + (len(self.data) - rest) // 2], self.mode
        middle = len(self.data) // 2
        return self.data[:middle] + self.kept[middle : len(self.data)].ljust(
            len(self.data) - middle, b"\0"
        ), self.mode


@dataclass(eq=False)
class Folder:
    """A folder: its names in memory and on disk."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    kept: dict[str, File | Folder] = field(default_factory=dict)


@dataclass(eq=False)
class Change:
    """One step that changes names, and is on disk wholly or not at all."""

    parts: tuple[tuple[Folder, str, File | Folder | None], ...]

    def needs(self, other: Change) -> bool:
        return any(mine[:2] == theirs[:2] for mine in self.parts for theirs in other.parts)


Image = dict[
    str, tuple[int, bytes, int] | None
]  # by path: number, bytes and mode of a file; None for a folder


class Platter:
    """What is in memory and what is on disk after a part of a trace; begins with a folder as it lies there, synced."""

    def __init__(self, root: Path, image: Image) -> None:
        self.root = root
        self.top = Folder()
        self._files: dict[int, File] = {}
        self._waiting: list[Change] = []
        for path, what in sorted(image.items()):
            if what is None:
                node: File | Folder = Folder()
            else:
                node = self._files.setdefault(what[0], File(what[0], what[1], what[2], what[1], what[2]))
            folder, name = self._place(root / path)
            folder.names[name] = folder.kept[name] = node

    def apply(self, step: tuple, ignored: str | None = None) -> None:
        """Do one step; syncs of the ignored site do nothing."""
        getattr(self, f"_{step[0]}")(*step[1:], **({"ignored": ignored} if "sync" in step[0] else {}))

    def images(self, seed: int = 0) -> Iterator[Image]:
        """Give what a power cut can leave now, the harshest first."""
        yield self._image((), "kept")
        changes, dirty = self._waiting, [one for one in self._files.values() if one.dirty]
        for chosen, how in (
            (changes, "live"),
            (changes, "kept"),
            ((), "live"),
            (changes, "half"),
            (changes, "zeros"),
        ):
            yield self._image(chosen, how)
        pick = random.Random(seed)  # noqa: S311 - a sample that is the same each time
        for change in pick.sample(changes, min(FEW, len(changes))):
            yield self._image(self._closure([change]), "kept")
            lost: list[Change] = []
            for one in changes:
                if one is change or any(one.needs(other) for other in lost):
                    lost.append(one)
            yield self._image([one for one in changes if one not in lost], "live")
        for file in pick.sample(dirty, min(FEW, len(dirty))):
            yield self._image(changes, "kept", live=file)
            yield self._image(changes, "live", kept=file)

    def _closure(self, wanted: list[Change]) -> list[Change]:
        found = set(wanted)
        for change in reversed(self._waiting):
            if change not in found:
                later = self._waiting[self._waiting.index(change) + 1 :]
                if any(one in found and one.needs(change) for one in later):
                    found.add(change)
        return [one for one in self._waiting if one in found]

    def _image(self, changes, how: str, live: File | None = None, kept: File | None = None) -> Image:
        names: dict[Folder, dict[str, File | Folder]] = {}
        for change in changes:
            for folder, name, node in change.parts:
                held = names.setdefault(folder, dict(folder.kept))
                held.pop(name, None)
                if node is not None:
                    held[name] = node
        found: Image = {}

        def walk(folder: Folder, prefix: str) -> None:
            for name, node in names.get(folder, folder.kept).items():
                if isinstance(node, Folder):
                    found[prefix + name] = None
                    walk(node, f"{prefix}{name}/")
                else:
                    mine = "live" if node is live else "kept" if node is kept else how
                    found[prefix + name] = (node.number, *node.seen(mine))

        walk(self.top, "")
        return found

    def _place(self, path: Path) -> tuple[Folder, str]:
        *folders, name = path.relative_to(self.root).parts
        folder = self.top
        for part in folders:
            inner = folder.names[part]
            assert isinstance(inner, Folder)
            folder = inner
        return folder, name

    def _at(self, path: Path) -> File | Folder:
        if path == self.root:
            return self.top
        folder, name = self._place(path)
        return folder.names[name]

    def _change(self, *parts: tuple[Path, File | Folder | None]) -> None:
        placed = []
        for path, node in parts:
            folder, name = self._place(path)
            placed.append((folder, name, node))
            folder.names.pop(name, None)
            if node is not None:
                folder.names[name] = node
        self._waiting.append(Change(tuple(placed)))

    def _note(self, *what) -> None:
        pass

    def _make_folder(self, path: Path) -> None:
        self._change((path, Folder()))

    def _create(self, path: Path, number: int, mode: int) -> None:
        self._files[number] = File(number, mode=mode, kept_mode=mode)
        self._change((path, self._files[number]))

    def _allocate(self, number: int, size: int) -> None:
        file = self._files[number]
        file.data = file.data[:size].ljust(size, b"\0")

    def _write(self, number: int, offset: int, data: bytes) -> None:
        file = self._files[number]
        file.data = file.data[:offset].ljust(offset, b"\0") + data + file.data[offset + len(data) :]

    def _protect(self, number: int) -> None:
        self._files[number].mode = disk.READ_ONLY

    def _link(self, source: Path, target: Path) -> None:
        self._change((target, self._at(source)))

    def _rename(self, source: Path, target: Path) -> None:
        node = self._at(source)
        self._change((source, None), (target, node))

    def _unlink(self, path: Path) -> None:
        self._change((path, None))

    _remove_folder = _unlink

    def _sync(self, number: int, asked_by: str, *, ignored: str | None) -> None:
        if asked_by != ignored:
            file = self._files[number]
            file.kept, file.kept_mode = file.data, file.mode

    def _sync_folder(self, path: Path, asked_by: str, *, ignored: str | None) -> None:
        if asked_by == ignored:
            return
        folder = self._at(path)
        for change in self._closure([one for one in self._waiting if any(p[0] is folder for p in one.parts)]):
            for place, name, node in change.parts:
                place.kept.pop(name, None)
                if node is not None:
                    place.kept[name] = node
            self._waiting.remove(change)


def snapshot(root: Path, recorder: Recorder) -> Image:
    """Read a folder as it lies there."""
    found: Image = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        facts = path.lstat()
        found[name] = (
            None if path.is_dir() else (recorder.know(path), path.read_bytes(), facts.st_mode & 0o777)
        )
    return found


def lay_down(image: Image, root: Path) -> None:
    """Write an image into a folder that is not there."""
    root.mkdir()
    written: dict[int, Path] = {}
    for name, what in sorted(image.items()):
        path = root / name
        if what is None:
            path.mkdir()
        elif what[0] in written:
            os.link(written[what[0]], path)
        else:
            path.write_bytes(what[1])
            path.chmod(what[2])
            written[what[0]] = path


def key(image: Image) -> int:
    """Tell images apart."""
    return hash(frozenset(image.items()))
