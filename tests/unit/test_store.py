"""The store: what it keeps, and what it leaves when something goes wrong."""

from __future__ import annotations

import os
import stat

import pytest

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.errors import Conflict, NotFound, VerificationFailed
from holdfast.governance.labels import Label
from holdfast.store import disk, hashfile
from holdfast.store.files import Store
from holdfast.store.generations import Generations

LABEL = Label("public", frozenset(), frozenset({"site"}))


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


@pytest.mark.parametrize("failing", ["link", "rename"])
def test_an_adoption_that_fails_leaves_no_artefact(store, monkeypatch, failing):
    folder, record = stage(store, "one", a="x", b="y")

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        if failing == "link":
            patch.setattr(os, "link", fail)
        else:
            patch.setattr(os, "rename", fail)
        with pytest.raises(OSError, match="Input/output"):
            store.adopt(folder, record)
    assert not store.has(record.digest)
    store.adopt(folder, record)
    store.verify(record)


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


def test_a_switch_that_fails_leaves_the_old_generation(store, monkeypatch):
    generations = Generations(store)
    record = adopted(store, "one", a="x")
    first = generations.activate(generations.create("one 1", (record.digest,)).number)
    following = generations.create("one 2", (record.digest,))

    def fail(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            generations.activate(following.number)
    assert generations.active() == first


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
