"""Imports that are interrupted: by a person, a signal, the medium or the disk; what is read again, and what is left."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from tests.integration.media import crafted
from tests.integration.media.crafted import PIECE

from holdfast.errors import Conflict, NoSpace, OperationFailed, UntrustedBundle
from holdfast.formats import chunking
from holdfast.media import copy, importer
from holdfast.media.journal import NAME, Journal
from holdfast.store import disk
from holdfast.store.files import Store

CHUNKS = 40
TOTAL = CHUNKS * PIECE


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(chunking, "PIECE", PIECE)
    monkeypatch.setattr(copy, "BATCH", 3 * PIECE)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def stage(tmp_path):
    return tmp_path / "quarantine" / "stage"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "PIECE", PIECE)
        files = {"one": crafted.random_files(a=30 * PIECE), "two": crafted.random_files(b=10 * PIECE)}
        return crafted.medium_of(tmp_path_factory.mktemp("whole") / "medium", files)


@pytest.fixture
def medium(whole, tmp_path):
    folder = Path(shutil.copytree(whole.folders[0], tmp_path / "medium"))
    return crafted.Crafted(whole.root, whole.manifest, [folder])


@pytest.fixture
def start(medium, store, stage, tmp_path):
    """Start an import in a process of its own, which waits once so many bytes are copied."""
    (tmp_path / "root.json").write_bytes(medium.root)
    processes = []

    def begin(stop):
        words = [tmp_path / "root.json", medium.folders[0], store.root, stage, stop]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.media.crafted", *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def safe(stage, medium):
    journal = Journal(stage, crafted.hashing.sha512(medium.manifest.encode()), CHUNKS, disk.HOST)
    journal.close()
    return len(journal.safe)


@pytest.mark.parametrize("after", [PIECE, 12 * PIECE, 33 * PIECE])
def test_a_killed_import_goes_on_without_reading_again_what_is_safe(start, medium, store, stage, after):
    process = start(after)
    assert process.stdout.readline() == b"waiting\n"
    process.kill()
    process.wait()
    done = safe(stage, medium)
    assert after // PIECE - 3 * 3 <= done < CHUNKS
    assert int(start(0).communicate()[0]) == TOTAL - done * PIECE
    assert safe(stage, medium) == CHUNKS
    crafted.adopted(medium, store, stage)


def test_two_imports_of_one_medium_at_once_are_refused(start, medium, store, stage):
    process = start(PIECE)
    assert process.stdout.readline() == b"waiting\n"
    with pytest.raises(Conflict) as caught:
        crafted.imported(medium, store, stage)
    assert caught.value.key == "media.importing"
    with pytest.raises(Conflict):
        importer.discard(stage)
    assert int(process.communicate(b"\n" * CHUNKS)[0].split()[-1]) == TOTAL
    crafted.adopted(medium, store, stage)


def interrupting(after, error):
    def progress(step, done, _):
        if step == "copying" and done >= after:
            raise error

    return progress


def test_ctrl_c_is_heard_and_the_import_goes_on_later(medium, store, stage):
    with pytest.raises(KeyboardInterrupt):
        crafted.imported(medium, store, stage, progress=interrupting(20 * PIECE, KeyboardInterrupt()))
    done = safe(stage, medium)
    assert 0 < done < CHUNKS
    assert store.artefacts() == ()
    assert crafted.imported(medium, store, stage).copied == TOTAL - done * PIECE
    crafted.adopted(medium, store, stage)


def test_a_cancelled_import_says_so_and_goes_on_later(medium, store, stage):
    asked = iter(range(15))
    with pytest.raises(OperationFailed) as caught:
        crafted.imported(medium, store, stage, cancelled=lambda: next(asked, None) is None)
    assert caught.value.key == "media.cancelled"
    crafted.adopted(medium, store, stage)


def test_a_medium_that_is_pulled_out_can_be_put_back(medium, store, stage, tmp_path):
    place = medium.folders[0] / "chunks"

    def pull(_, done, __):
        if done >= 20 * PIECE and place.exists():
            place.rename(tmp_path / "pulled")

    with pytest.raises(UntrustedBundle) as caught:
        crafted.imported(medium, store, stage, progress=pull)
    assert caught.value.key == "media.missing"
    done = safe(stage, medium)
    assert done > 0
    (tmp_path / "pulled").rename(place)
    assert crafted.imported(medium, store, stage).copied == TOTAL - done * PIECE
    crafted.adopted(medium, store, stage)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODEV, errno.ESTALE])
def test_a_medium_that_can_not_be_read_is_said_so(medium, store, stage, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", fail)
        with pytest.raises(UntrustedBundle) as caught:
            crafted.imported(medium, store, stage)
    assert caught.value.key == "media.unreadable"
    assert os.strerror(number) in caught.value.message
    crafted.adopted(medium, store, stage)


@pytest.mark.parametrize("harm", [b"", b"x" * PIECE, b"x" * (PIECE + 1)])
def test_a_chunk_that_changes_meanwhile_is_refused_and_mended(medium, store, stage, harm):
    last = medium.chunk(medium.manifest.entries[1].chunks["b.bin"][-1].digest)
    right = last.read_bytes()

    def swap(*_):
        if last.read_bytes() == right:
            last.write_bytes(harm)

    with pytest.raises(UntrustedBundle) as caught:
        crafted.imported(medium, store, stage, progress=swap)
    assert caught.value.key == "media.changed"
    last.write_bytes(right)
    crafted.adopted(medium, store, stage)


class Failing(disk.HostDisk):
    """A disk on which one step fails from its ``after``-th time on."""

    def __init__(self, step, after, number):
        self.left, self.step, self.number = after, step, number

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "step"):
            self.left -= 1
            if self.left < 0:
                raise OSError(self.number, os.strerror(self.number))
        return object.__getattribute__(self, name)


STEPS = ["make_folder", "create", "open", "allocate", "write", "sync", "rename", "sync_folder"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("step", "after"), itertools.product(STEPS, [0, 1, 4, 20]))
def test_a_disk_that_fails_is_said_so_and_the_import_goes_on_later(medium, store, step, after, number):
    stage = store.root.parent / "quarantine" / "stage"
    store.disk = Failing(step, after, number)
    failed = None
    try:
        crafted.imported(medium, store, stage)
    except OperationFailed as error:
        failed = error
    # Only the first is taken in every import: there is one rename, and there are few folders.
    assert failed is not None or after > 0
    assert failed is None or isinstance(failed, NoSpace) is (number == errno.ENOSPC)
    store.disk = disk.HOST
    assert store.artefacts() == ()
    crafted.adopted(medium, store, stage)


usage = namedtuple("usage", "total used free")  # noqa: PYI024 - the shape of shutil's own


def test_too_little_space_is_told_before_anything_is_copied(medium, store, stage, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10))
    with pytest.raises(NoSpace) as caught:
        crafted.imported(medium, store, stage)
    assert caught.value.exit_code == 7
    assert caught.value.fields["free"] == 10
    assert caught.value.fields["needed"] == TOTAL + disk.RESERVE
    assert [path.name for path in stage.iterdir()] == [NAME]


def test_only_what_is_still_missing_needs_space(medium, store, stage, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        crafted.imported(medium, store, stage, progress=interrupting(20 * PIECE, KeyboardInterrupt()))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, disk.RESERVE))
    assert crafted.imported(medium, store, stage).missing == ()


def test_there_is_one_copy_beyond_the_medium(medium, store, stage):
    taken = crafted.imported(medium, store, stage)
    for record in medium.records:
        staged = taken.folders[record.digest]
        kept = store.adopt(staged, record)
        for file in record.files:
            assert (staged / file.path).samefile(kept / file.path)


def test_a_lost_file_is_copied_again(medium, store, stage):
    taken = crafted.imported(medium, store, stage)
    first, second = (taken.folders[record.digest] for record in medium.records)
    (first / "a.bin").unlink()
    os.truncate(second / "b.bin", 5)
    with pytest.raises(KeyboardInterrupt):
        crafted.imported(medium, store, stage, progress=interrupting(0, KeyboardInterrupt()))
    assert safe(stage, medium) < 10  # and what was claimed of the lost files is not believed later
    crafted.adopted(medium, store, stage)


def numbers(tmp_path, manifest, count=100):
    journal = Journal(tmp_path, manifest, count, disk.HOST)
    journal.close()
    return journal.safe


def test_a_journal_forgets_what_is_torn_or_foreign_and_invents_nothing(tmp_path):
    manifest, other = (crafted.hashing.sha512(name) for name in (b"one", b"other"))
    journal = Journal(tmp_path, manifest, 100, disk.HOST)
    journal.append([3, 1, 4])
    journal.append([15, 92])
    journal.close()
    data = (tmp_path / NAME).read_bytes()
    everything = {1, 3, 4, 15, 92}
    assert numbers(tmp_path, manifest) == everything
    for length in range(len(data)):
        (tmp_path / NAME).write_bytes(data[:length])
        assert numbers(tmp_path, manifest) <= everything
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        (tmp_path / NAME).write_bytes(flipped)
        assert numbers(tmp_path, manifest) < everything
    (tmp_path / NAME).write_bytes(data)
    assert numbers(tmp_path, manifest, 20) == {1, 3, 4, 15}
    (tmp_path / NAME).write_bytes(data)
    assert numbers(tmp_path, other) == set()
    assert numbers(tmp_path, manifest) == set()


def test_a_journal_goes_on_after_a_torn_record(tmp_path):
    manifest = crafted.hashing.sha512(b"one")
    journal = Journal(tmp_path, manifest, 100, disk.HOST)
    journal.append([1, 2, 3])
    journal.close()
    os.truncate(tmp_path / NAME, (tmp_path / NAME).stat().st_size - 3)
    again = Journal(tmp_path, manifest, 100, disk.HOST)
    again.append([7])
    again.forget({1, 9})
    again.close()
    assert again.safe == {2, 7}
    assert numbers(tmp_path, manifest) == {2, 7}
