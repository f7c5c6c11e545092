"""Measure an import: verification, one pass of copy and hash, every byte synced; and of a delta, what is read of the medium.

A base of ``--size`` bytes of random tensors is laid out as a signed medium, and a fine-tune of it that changed one part in twenty
as a delta. Each of five rounds, with a cold cache, copies the medium's chunks plainly and syncs them, hashes them on all cores, and
imports the medium in a process of its own, whose peak memory is taken. Then the delta is imported over the stored base. The last
line is one JSON object: ``import_ratio`` is the median of (the slower of copy and hash) / import; ``delta_read_ratio`` is bytes
read from the delta's medium, metadata and all, over bytes of changed tensors.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.formats import chunking
from holdfast.formats.chunking import Chunk
from holdfast.governance.labels import Label
from holdfast.keys import person
from holdfast.media import importer, layout, verify
from holdfast.media.manifest import Delta, Entry, Manifest, Source
from holdfast.media.read import Medium
from holdfast.store.files import Store
from holdfast.trust import ceremony
from holdfast.trust.workflow import TrustState

GB = 10**9
LAYER = (
    (32 * 2**20,) * 4 + (86 * 2**20,) * 3 + (8192,) * 2
)  # bytes of a layer's tensors in a model of 7 B parameters, bf16
CHANGED = 20  # one tensor in so many, by bytes, differs in the fine-tune
NAME = "model.safetensors"
LABEL = Label("public", frozenset(), frozenset({"site"}))
ROUNDS = 5
STEP = 2**20


def quiet(step: str, done: int, total: int) -> None:
    """Take progress and say nothing."""


class Publisher:
    """Two holders and their root."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.pairs = [person.generate("Ada"), person.generate("Bo")]
        self.root = ceremony.make_root(self.pairs, expires=self.now + timedelta(days=30))

    def sign(self, place: Path, found: Manifest) -> None:
        """Write everything of a medium but its chunks."""
        targets = {layout.MANIFEST: found.encode()}
        expires = self.now + timedelta(days=7)
        release = ceremony.make_release(self.pairs, self.root, targets=targets, expires=expires)
        small = {
            layout.root(1): self.root,
            layout.TIMESTAMP: release.timestamp,
            layout.SNAPSHOT: release.snapshot,
            layout.TARGETS_METADATA: release.roles["targets"],
            layout.target(layout.MANIFEST): targets[layout.MANIFEST],
        }
        for path, data in small.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(data)

    def manifest(self, entry: Entry) -> Manifest:
        """State a manifest of one artefact."""
        return Manifest(entry.artefact.name, "1", "", "bench", self.now, (entry,))


def header(size: int) -> tuple[bytes, list[tuple[int, int]]]:
    """Give the header of a file of about ``size`` bytes, and where each tensor begins and ends after it."""
    table: dict[str, object] = {}
    places: list[tuple[int, int]] = []
    end = 0
    while end < size:
        for length in LAYER:
            if end + length > size and length > STEP:
                length = size - end  # noqa: PLW2901 - the last tensor is what is left
            if length <= 0:
                break
            places.append((end, end + length))
            table[f"t{len(places)}"] = {
                "dtype": "U8",
                "shape": [length],
                "data_offsets": [end, end + length],
            }
            end += length
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text, places


def write_chunk(place: Path, data: bytes) -> Chunk:
    """Put a chunk onto a medium."""
    chunk = Chunk(hashing.sha512(data), len(data))
    path = place / layout.chunk(chunk.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return chunk


def entry_of(name: str, chunks: list[Chunk], parents: tuple[str, ...] = ()) -> Entry:
    """Make the entry of a base of one file."""
    ref = FileRef(NAME, sum(one.size for one in chunks), hashing.of_chunks(one.digest for one in chunks))
    record = Artefact(Kind.BASE, name, "1", (ref,), LABEL, parents=parents)
    return Entry(record, "Apache-2.0", {NAME: tuple(chunks)})


def lay_out(scratch: Path, size: int) -> int:
    """Write both media; give the bytes of the tensors that the fine-tune changed."""
    publisher = Publisher()
    head, places = header(size)
    total = len(head) + places[-1][1]
    plan = chunking.plan_for(NAME, lambda offset, length: (head[offset:] + bytes(length))[:length], total)
    starts = list(accumulate(plan[:-1], initial=0))
    changed = tensors_to_change(places)
    old: list[Chunk] = []
    new: list[Chunk] = []
    sources: dict[str, tuple[str, int]] = {}
    for start, length in zip(starts, plan, strict=True):
        data = head if start == 0 else os.urandom(length)
        old.append(write_chunk(scratch / "base", data))
        first, last = start - len(head), start - len(head) + length
        if any(begin < last and first < end for begin, end in changed):
            new.append(write_chunk(scratch / "delta", os.urandom(length)))
        else:
            new.append(old[-1])
            sources[old[-1].digest] = (NAME, start)
    base = entry_of("base", old)
    publisher.sign(scratch / "base", publisher.manifest(base))
    digest = base.artefact.digest
    delta = Delta(
        hashing.sha512(b"bench"),
        "bench",
        {one: Source(digest, path, offset) for one, (path, offset) in sources.items()},
    )
    tuned = publisher.manifest(entry_of("tuned", new, (digest,)))
    publisher.sign(scratch / "delta", replace(tuned, delta=delta, origins={digest: "base 1"}))
    (scratch / "delta" / layout.CHUNKS).mkdir(exist_ok=True)
    (scratch / "root.json").write_bytes(publisher.root)
    return sum(end - begin for begin, end in changed)


def tensors_to_change(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Choose whole tensors, evenly spread, of one twentieth of all bytes."""
    wanted, found, taken = places[-1][1] // CHANGED, [], 0
    for begin, end in places[1::3] + places[::3] + places[2::3]:
        if taken + end - begin <= wanted:
            found.append((begin, end))
            taken += end - begin
    return found or [min(places, key=lambda place: place[1] - place[0])]


def chill(*folders: Path) -> None:
    """Write everything back and forget it, so that the next reader reads from the disk."""
    os.sync()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                handle = os.open(path, os.O_RDONLY)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(handle)
    if os.geteuid() == 0:
        try:
            Path("/proc/sys/vm/drop_caches").write_text("3\n")
        except OSError as problem:
            print(f"caches are dropped file by file only: {problem}", file=sys.stderr)


def copied(source: Path, goal: Path) -> float:
    """Copy the chunks plainly, sync them, and give the seconds."""
    begun = time.perf_counter()
    goal.mkdir()
    paths = sorted(path for path in (source / layout.CHUNKS).rglob("*") if path.is_file())
    for path in paths:
        shutil.copyfile(path, goal / path.name)
    for place in (*(goal / path.name for path in paths), goal):
        handle = os.open(place, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    return time.perf_counter() - begun


def hash_file(path: Path) -> None:
    """Hash one file."""
    digest, view = hashlib.sha512(), memoryview(bytearray(STEP))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(view):
            digest.update(view[:count])


def hashed(source: Path) -> float:
    """Hash the chunks on all cores and give the seconds."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(hash_file, (path for path in (source / layout.CHUNKS).rglob("*") if path.is_file())))
    return time.perf_counter() - begun


class Counting(Medium):
    """A medium that counts the bytes of the files that are opened: each is read to its end."""

    opened = 0

    def open(self, path: str) -> int:
        """Open a plain file and count it."""
        handle = super().open(path)
        Counting.opened += os.fstat(handle).st_size
        return handle


def be_importer(scratch: Path, name: str, goal: Path) -> None:
    """Be the process that imports: print seconds, peak memory in MB and bytes of the medium that were opened."""
    verify.Medium = Counting  # type: ignore[attr-defined]  # the bench alone looks into it
    state = TrustState((scratch / "root.json").read_bytes())
    begun = time.perf_counter()
    store = Store(goal / "store")
    verdict = verify.verify_medium(scratch / name, state, datetime.now(UTC), quiet, contents=False)
    taken = importer.take_in(verdict, store, goal / "stage", quiet)
    seconds = time.perf_counter() - begun
    # Not getrusage: there, a process begins with the peak of the one that started it.
    peak = int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024
    for record in verdict.artefacts:
        store.adopt(taken.folders[record.digest], record)
        if name != "base":
            store.verify(record)
    importer.discard(goal / "stage")
    print(json.dumps({"seconds": seconds, "peak": peak, "opened": Counting.opened}))


def imported(scratch: Path, name: str, goal: Path) -> dict[str, float]:
    """Import in a process of its own."""
    words = [sys.executable, __file__, "--child", name, "--scratch", str(scratch), "--goal", str(goal)]
    found: dict[str, float] = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure(scratch: Path, size: int, rounds: int) -> dict[str, float]:
    """Measure everything."""
    print(f"laying out {size / GB:.2f} GB ...", flush=True)
    changed = lay_out(scratch, size)
    ratios, peaks = [], []
    goal = scratch / "goal"
    for number in range(1, rounds + 1):
        chill(scratch / "base")
        copy = copied(scratch / "base", scratch / "copy")
        shutil.rmtree(scratch / "copy")
        chill(scratch / "base")
        digest = hashed(scratch / "base")
        chill(scratch / "base")
        shutil.rmtree(goal, ignore_errors=True)
        goal.mkdir()
        taken = imported(scratch, "base", goal)
        ratios.append(max(copy, digest) / taken["seconds"])
        peaks.append(taken["peak"])
        print(
            f"round {number}: copy {copy:.2f} s, hash {digest:.2f} s, import {taken['seconds']:.2f} s,"
            f" ratio {ratios[-1]:.3f}, peak {taken['peak']:.0f} MB",
            flush=True,
        )
    chill(scratch / "delta", goal)
    delta = imported(scratch, "delta", goal)
    print(
        f"delta: {delta['seconds']:.2f} s, {delta['opened'] / GB:.4f} GB read of the medium for"
        f" {changed / GB:.4f} GB of changed tensors, peak {delta['peak']:.0f} MB"
    )
    return {
        "import_ratio": round(statistics.median(ratios), 3),
        "peak_rss_mb": round(max(*peaks, delta["peak"]), 1),
        "delta_read_ratio": round(delta["opened"] / changed, 4),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2 * GB, help="bytes of the base")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--scratch", type=Path, help="an empty folder on the disk to measure; else a temporary one"
    )
    parser.add_argument("--child", choices=("base", "delta"), help=argparse.SUPPRESS)
    parser.add_argument("--goal", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        be_importer(asked.scratch, asked.child, asked.goal)
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=asked.scratch) as folder:
        print(json.dumps(measure(Path(folder), asked.size, asked.rounds)))


if __name__ == "__main__":
    main()
