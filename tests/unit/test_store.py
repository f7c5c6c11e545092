"""The store: what it keeps, and what it leaves when something goes wrong."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.errors import Conflict, NoSpace, NotFound, OperationFailed, VerificationFailed
from holdfast.governance.labels import Label
from holdfast.store import disk, hashfile
from holdfast.store.files import Store
from holdfast.store.generations import Generations
from holdfast.store.scrub import Fault, scrub

LABEL = Label("public", frozenset(), frozenset({"site"}))


def quiet(step, done, total):
    """Take progress and say nothing."""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def stage(store, name, **files):
    folder = store.stage(name)
    for path, text in files.items():
        (folder / f"{path}.txt").write_text(text)
    refs = tuple(hashfile.describe(path).ref for path in sorted(folder.iterdir()))
    return folder, Artefact(Kind.DATASET, name, "1", refs, LABEL)


def adopted(store, name, **files):
    folder, record = stage(store, name, **files)
    store.adopt(folder, record)
    store.discard_stage(folder)
    return record


def test_a_file_digest_is_that_of_its_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(hashfile.chunking, "PIECE", 4)
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    found = hashfile.describe(path)
    parts = [hashing.sha512(part) for part in (b"0123", b"4567", b"89")]
    assert [(c.digest, c.size) for c in found.chunks] == list(zip(parts, (4, 4, 2), strict=True))
    assert found.ref == FileRef("ten", 10, hashing.of_chunks(parts))


def test_an_empty_file_has_no_chunks(tmp_path):
    (tmp_path / "empty").touch()
    assert hashfile.describe(tmp_path / "empty").chunks == ()


def test_a_link_is_not_hashed(tmp_path):
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="link"):
        hashfile.describe(tmp_path / "link")


def test_an_adopted_artefact_is_whole_read_only_and_shares_equal_files(store):
    one = adopted(store, "one", a="same", b="only here")
    two = adopted(store, "two", a="same", c="only there")
    first, second = store.folder(one.digest) / "a.txt", store.folder(two.digest) / "a.txt"
    assert first.read_text() == "same"
    assert first.stat().st_ino == second.stat().st_ino
    assert stat.S_IMODE(first.stat().st_mode) == 0o444
    store.verify(one)
    store.verify(two)
    assert store.sweep() == []


def test_adopting_again_changes_nothing(store):
    record = adopted(store, "one", a="x")
    folder, again = stage(store, "again", a="x")
    assert again.digest == record.digest
    assert store.adopt(folder, again) == store.folder(record.digest)


def test_what_is_not_there_is_said_so(store):
    with pytest.raises(NotFound):
        store.folder("sha512:" + "ab" * 64)
    assert not store.has("sha512:" + "ab" * 64)


def test_a_missing_or_shorter_file_is_not_adopted(store):
    folder, record = stage(store, "one", a="x", b="y")
    (folder / "b.txt").unlink()
    with pytest.raises(VerificationFailed):
        store.adopt(folder, record)
    (folder / "b.txt").write_text("longer")
    with pytest.raises(VerificationFailed):
        store.adopt(folder, record)
    assert not store.has(record.digest)


def test_a_damaged_file_is_named_with_both_digests(store):
    record = adopted(store, "one", a="good", b="other")
    path = store.folder(record.digest) / "a.txt"
    path.chmod(0o600)
    path.write_text("evil")
    with pytest.raises(VerificationFailed) as caught:
        store.verify(record)
    assert caught.value.fields["file"] == "a.txt"
    assert caught.value.fields["recorded"] == record.files[0].digest
    assert caught.value.fields["found"] not in {"", record.files[0].digest}


def test_leftovers_are_swept_at_start_even_when_a_worker_locked_them(store):
    folder = store.stage("left")
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    (folder / "deep").chmod(0o500)
    assert Store(store.root).sweep() == ["left"]
    assert not folder.exists()


def test_two_may_not_stage_under_one_name(store):
    store.stage("job-1")
    with pytest.raises(Conflict):
        store.stage("job-1")


class Broken(disk.HostDisk):
    """A disk that fails at one kind of step."""

    def __init__(self, failing, number=errno.EIO):
        self.failing, self.number = failing, number

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "failing"):
            raise OSError(self.number, os.strerror(self.number))
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("failing", ["protect", "sync", "link", "rename", "sync_folder", "make_folder"])
@pytest.mark.parametrize(("number", "error"), [(errno.EIO, OperationFailed), (errno.ENOSPC, NoSpace)])
def test_an_adoption_that_fails_leaves_no_half_artefact(store, failing, number, error):
    folder, record = stage(store, "one", a="x", b="y")
    store.disk = Broken(failing, number)
    with pytest.raises(error) as caught:
        store.adopt(folder, record)
    assert caught.value.key == ("store.no-space" if error is NoSpace else "store.disk")
    store.disk = disk.HOST
    if store.has(record.digest):
        store.verify(record)
    store.adopt(folder, record)
    store.verify(record)


def test_a_damaged_artefact_is_repaired_from_a_whole_copy_everywhere(store):
    one, two = adopted(store, "one", a="same", b="only here"), adopted(store, "two", a="same")
    path = store.folder(one.digest) / "a.txt"
    path.chmod(0o600)
    path.write_text("evil")
    for record in (one, two):
        with pytest.raises(VerificationFailed):
            store.verify(record)
    folder, again = stage(store, "again", a="same", b="only here")
    assert again.digest == one.digest
    store.discard(one)
    assert not store.has(one.digest)
    store.adopt(folder, one)
    store.discard_stage(folder)
    for record in (one, two):
        store.verify(record)
    assert path.samefile(store.folder(two.digest) / "a.txt")
    assert store.sweep() == []
    assert scrub(store, [one, two], quiet) == []


def test_an_added_file_in_an_artefact_is_told(store):
    record = adopted(store, "one", a="x")
    (store.folder(record.digest) / "deep").mkdir()
    (store.folder(record.digest) / "deep" / ".more").touch()
    with pytest.raises(VerificationFailed) as caught:
        store.verify(record)
    assert caught.value.fields["file"] == "deep/.more"


def test_removal_keeps_what_others_need_and_frees_the_rest(store):
    one, two = adopted(store, "one", a="same", b="only here"), adopted(store, "two", a="same", c="there")
    view = store.root / "view"
    os.link(store.folder(one.digest) / "b.txt", view)
    store.remove(one.digest)
    store.remove(one.digest)
    assert not store.has(one.digest)
    assert store.artefacts() == (two.digest,)
    assert store.release() == 0
    store.verify(two)
    assert view.read_text() == "only here"
    view.unlink()
    assert store.release() == len("only here")
    assert {digest for digest, _ in store.files()} == {file.digest for file in two.files}
    assert store.sweep() == []


@pytest.mark.parametrize("failing", ["rename", "sync_folder", "unlink", "remove_folder"])
def test_a_removal_that_fails_leaves_the_artefact_whole_or_gone(store, failing):
    record = adopted(store, "one", a="x", b="y")
    store.disk = Broken(failing)
    with pytest.raises(OperationFailed):
        store.remove(record.digest)
    store.disk = disk.HOST
    if store.has(record.digest):
        store.verify(record)
    store.sweep()
    store.remove(record.digest)
    assert store.release() == len("xy") or not store.has(record.digest)
    assert list(store.files()) == []


def test_a_scrub_tells_everything_that_is_wrong(store):
    shared, other = adopted(store, "shared", a="same", b="bb"), adopted(store, "other", a="same")
    lost, fine = adopted(store, "lost", c="cc"), adopted(store, "fine", d="dd")
    stranger = adopted(store, "stranger", e="ee")
    assert scrub(store, [shared, other, lost, fine, stranger], quiet) == []
    bad = store.folder(shared.digest) / "a.txt"
    bad.chmod(0o600)
    bad.write_text("evil")
    (store.folder(shared.digest) / "b.txt").unlink()
    store.remove(lost.digest)
    (store.folder(fine.digest) / "extra").touch()
    seen = []
    found = scrub(store, [shared, other, lost, fine], lambda *report: seen.append(report))
    told = {(one.fault, one.artefact, one.path) for one in found if one.harms}
    assert told == {
        (Fault.DAMAGED, shared.digest, "a.txt"),
        (Fault.DAMAGED, shared.digest, "b.txt"),
        (Fault.DAMAGED, other.digest, "a.txt"),
        (Fault.GONE, lost.digest, ""),
        (Fault.ADDED, fine.digest, "extra"),
    }
    unnamed = {one.artefact or one.path for one in found if not one.harms}
    assert unnamed == {
        stranger.digest,
        stranger.files[0].digest.removeprefix("sha512:"),
    }
    assert [one.recorded for one in found if one.artefact == other.digest] == [other.files[0].digest]
    assert seen[-1][0] == "scrubbing"
    assert seen[-1][1] == seen[-1][2] == len("same") + len("bb") + len("dd")  # the shared file was read once


def test_a_scrub_can_be_stopped(store):
    record = adopted(store, "one", a="x")
    with pytest.raises(OperationFailed) as caught:
        scrub(store, [record], quiet, lambda: True)
    assert caught.value.key == "store.scrub-cancelled"


def test_generations_switch_and_switch_back(store):
    generations = Generations(store)
    one, two = adopted(store, "one", a="x"), adopted(store, "two", a="y")
    assert generations.active() is None
    first = generations.activate(generations.create("one 1", (one.digest,)).number)
    second = generations.activate(generations.create("two 1", (one.digest, two.digest)).number)
    assert (first.number, second.number) == (1, 2)
    assert Generations(store).active() == second
    generations.activate(1)
    assert generations.active() == first
    assert generations.list() == (first, second)


def test_a_generation_of_what_is_not_stored_is_refused_and_the_old_one_stays(store):
    generations = Generations(store)
    record = adopted(store, "one", a="x")
    first = generations.activate(generations.create("one 1", (record.digest,)).number)
    with pytest.raises(NotFound):
        generations.create("gone", ("sha512:" + "ab" * 64,))
    with pytest.raises(NotFound):
        generations.activate(7)
    assert generations.active() == first


@pytest.mark.parametrize("failing", ["create", "write", "sync", "rename"])
def test_a_switch_that_fails_leaves_the_old_generation(store, failing):
    generations = Generations(store)
    record = adopted(store, "one", a="x")
    first = generations.activate(generations.create("one 1", (record.digest,)).number)
    following = generations.create("one 2", (record.digest,))
    store.disk = Broken(failing)
    with pytest.raises(OperationFailed):
        generations.activate(following.number)
    assert generations.active() == first
    store.disk = disk.HOST
    assert [path.name for path in store.root.iterdir() if path.name.startswith(".")] == []


def test_a_generation_is_forgotten_unless_it_is_in_force(store):
    generations = Generations(store)
    record = adopted(store, "one", a="x")
    first = generations.activate(generations.create("one 1", (record.digest,)).number)
    second = generations.activate(generations.create("one 2", (record.digest,)).number)
    with pytest.raises(Conflict):
        generations.remove(second.number)
    generations.remove(first.number)
    assert generations.list() == (second,)
    with pytest.raises(NotFound):
        generations.remove(first.number)
    generations.deactivate()
    generations.deactivate()
    assert generations.active() is None


@pytest.mark.parametrize("text", ["", "x", "-1", "9", "1 2"])
def test_a_damaged_pointer_is_told(store, text):
    (store.root / "current").write_text(text)
    with pytest.raises(VerificationFailed):
        Generations(store).active()


def test_a_file_is_created_once_only(tmp_path):
    disk.create_file(tmp_path / "one", b"first")
    with pytest.raises(FileExistsError):
        disk.create_file(tmp_path / "one", b"second")
    assert (tmp_path / "one").read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


def test_a_file_that_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="Input"):
        disk.create_file(tmp_path / "one", b"first", on=Broken("sync"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "key"),
    [
        (errno.ENOENT, "store.place"),
        (errno.ENOTDIR, "store.place"),
        (errno.EACCES, "store.place"),
        (errno.EIO, "store.disk"),
        (errno.EROFS, "store.disk"),  # what a failing disk becomes
        (errno.ENOSPC, "store.no-space"),
    ],
)
def test_a_folder_that_is_not_there_is_not_called_a_broken_disk(number, key):
    told = disk.fault("1.root.json", OSError(number, os.strerror(number)))
    assert told.key == key
    assert ("health" in told.remedy) == (key == "store.disk")
