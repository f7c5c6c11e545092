"""Sealing, unsealing, erasing and shredding payloads."""

from __future__ import annotations

import os
import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from holdfast.audit.sealed import MAX_PAYLOAD, SealedStore
from holdfast.errors import NotFound, UntrustedRequest, VerificationFailed

CANARY = b"canary-5f2c: the prompt nobody may find"
DAY = timedelta(days=1)


class Clock:
    """A clock that the test moves."""

    def __init__(self):
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reopen(tmp_path, clock):
    return lambda: SealedStore(tmp_path / "keys", tmp_path / "sealed", clock)


@pytest.fixture
def store(reopen):
    return reopen()


@pytest.fixture
def ann(store):
    return store.subject_id("tenant", "ann")


@pytest.fixture
def bob(store):
    return store.subject_id("tenant", "bob")


def gone(store, subject, name, committed):
    with pytest.raises(NotFound):
        store.unseal(subject, name, committed)
    return True


def test_sealed_data_comes_back_and_lies_nowhere_in_clear(store, ann, tmp_path):
    committed = store.seal(ann, "prompt", CANARY)
    assert store.unseal(ann, "prompt", committed) == CANARY
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4  # the pseudonyms' secret, two keys and the payload
    for path in files:
        assert CANARY not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    for path in tmp_path.rglob("*"):
        assert "ann" not in path.name


def test_equal_data_has_unequal_commitments(store, ann):
    assert store.seal(ann, "prompt", CANARY) != store.seal(ann, "prompt", CANARY)


def test_a_pseudonym_tells_tenants_and_sites_apart_and_lasts(store, reopen, ann, tmp_path):
    assert ann == reopen().subject_id("tenant", "ann")
    named = {
        store.subject_id(*who) for who in (("tenant", "ann"), ("other", "ann"), ("tena", "ntann"), ("", ""))
    }
    assert len(named) == 4
    assert SealedStore(tmp_path / "k", tmp_path / "s").subject_id("tenant", "ann") != ann


def test_one_tenants_subject_named_as_anothers_is_another(store, ann):
    twin = store.subject_id("other", "ann")
    mine, theirs = store.seal(ann, "prompt", b"mine"), store.seal(twin, "prompt", b"theirs")
    assert gone(store, twin, "prompt", mine)
    store.erase(twin, 1)
    assert store.unseal(ann, "prompt", mine) == b"mine"
    assert gone(store, twin, "prompt", theirs)


def test_erasing_one_subject_leaves_the_others_and_its_later_self(store, reopen, ann, bob, tmp_path):
    first, second, other = (
        store.seal(ann, "prompt", b"1"),
        store.seal(ann, "answer", b"2"),
        store.seal(bob, "prompt", b"3"),
    )
    old = (tmp_path / "keys" / f"{ann}.0").read_bytes()
    assert store.erase(ann, 1) == (1, 2)
    assert gone(store, ann, "prompt", first)
    assert gone(store, ann, "answer", second)
    assert store.unseal(bob, "prompt", other) == b"3"
    assert store.erase(ann, 1) == (0, 0)
    again = store.seal(ann, "prompt", b"4")
    assert store.unseal(ann, "prompt", again) == b"4"
    assert not any(old in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    later = reopen()
    later.settle({ann: 1}, {})
    assert later.unseal(ann, "prompt", again) == b"4"
    assert store.erase(ann, 2) == (1, 1)
    assert gone(store, ann, "prompt", again)


def test_a_key_that_came_back_is_destroyed_again_at_the_next_start(store, reopen, ann, bob, tmp_path):
    committed, other = store.seal(ann, "prompt", b"1"), store.seal(bob, "prompt", b"2")
    days = tmp_path / "sealed" / "prompt" / "2026-03-01"
    kept = {path: path.read_bytes() for path in [tmp_path / "keys" / f"{ann}.0", *days.iterdir()]}
    store.erase(ann, 1)
    for path, data in kept.items():
        path.write_bytes(data)
    assert store.unseal(ann, "prompt", committed) == b"1"  # so this is what an old copy would bring back
    later = reopen()
    later.settle({ann: 1}, {})
    assert gone(later, ann, "prompt", committed)
    assert {path for path in kept if path.exists()} == {days / next(iter(p.name for p in days.iterdir()))}
    assert later.unseal(bob, "prompt", other) == b"2"


def test_shredding_takes_one_class_of_old_days_and_nothing_else(store, reopen, clock, ann, tmp_path):
    old = {name: store.seal(ann, name, name.encode()) for name in ("prompt", "answer")}
    clock.now += DAY
    new = store.seal(ann, "prompt", b"new")
    assert store.count("prompt", date(2026, 3, 2)) == 1
    assert not store.due("prompt", date(2026, 3, 1))
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert store.shred("prompt", date(2026, 3, 2)) == 1
    assert not store.due("prompt", date(2026, 3, 2))
    assert gone(store, ann, "prompt", old["prompt"])
    assert store.unseal(ann, "answer", old["answer"]) == b"answer"
    assert store.unseal(ann, "prompt", new) == b"new"
    assert store.shred("prompt", date(2026, 3, 2)) == 0
    for path, data in kept.items():  # everything but the keys comes back, as from a backup
        if (tmp_path / "keys") not in path.parents:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    assert gone(store, ann, "prompt", old["prompt"])
    for path, data in kept.items():  # now the keys too
        path.write_bytes(data)
    later = reopen()
    assert later.unseal(ann, "prompt", old["prompt"]) == b"prompt"
    later.settle({}, {"prompt": date(2026, 3, 2)})
    assert gone(later, ann, "prompt", old["prompt"])
    assert later.unseal(ann, "prompt", new) == b"new"


def test_a_payload_is_bound_to_all_that_its_path_says(store, clock, ann, bob, tmp_path):
    first = store.seal(ann, "prompt", b"1")
    digest = first.removeprefix("sha256:")
    store.seal(bob, "prompt", b"2")
    store.seal(ann, "answer", b"3")
    raw = (tmp_path / "sealed" / "prompt" / "2026-03-01" / f"{ann}.0.{digest}").read_bytes()
    clock.now += DAY
    later = store.seal(ann, "prompt", b"4")
    folder = tmp_path / "sealed"
    for path, subject, name, committed in (
        (f"prompt/2026-03-01/{bob}.0.{digest}", bob, "prompt", first),
        (f"answer/2026-03-01/{ann}.0.{digest}", ann, "answer", first),
        (f"prompt/2026-03-02/{ann}.0.{later.removeprefix('sha256:')}", ann, "prompt", later),
    ):
        (folder / path).write_bytes(raw)
        with pytest.raises(VerificationFailed):
            store.unseal(subject, name, committed)
    damaged = bytearray(raw)
    damaged[-1] ^= 1
    (folder / "prompt" / "2026-03-01" / f"{ann}.0.{digest}").write_bytes(damaged)
    with pytest.raises(VerificationFailed):
        store.unseal(ann, "prompt", first)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_damaged_key_seals_nothing(reopen, ann, tmp_path, size):
    reopen().seal(ann, "prompt", b"x")
    (tmp_path / "keys" / f"{ann}.0").write_bytes(bytes(size))
    with pytest.raises(VerificationFailed):
        reopen().seal(ann, "prompt", b"x")
    assert (tmp_path / "keys" / f"{ann}.0").stat().st_size == size


@pytest.mark.parametrize("subject", ["../../etc", "", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_names_from_outside_never_become_paths(store, ann, subject):
    for act in (
        lambda: store.seal(subject, "prompt", b"x"),
        lambda: store.erase(subject, 1),
        lambda: store.seal(ann, subject, b"x"),
        lambda: store.unseal(ann, "prompt", f"sha256:{subject}" if subject != "A" * 64 else "../x"),
    ):
        with pytest.raises((UntrustedRequest, NotFound)):
            act()
    known = store.seal(ann, "prompt", b"x")
    with pytest.raises(UntrustedRequest):
        store.unseal(ann, "prompt", f"{known}/../{subject}")


def test_a_payload_has_a_bound(store, ann):
    store.seal(ann, "prompt", bytes(MAX_PAYLOAD))
    with pytest.raises(UntrustedRequest):
        store.seal(ann, "prompt", os.urandom(1) * (MAX_PAYLOAD + 1))


def test_many_threads_seal_under_one_key(store, ann, tmp_path):
    sealed, lock, start = [], threading.Lock(), threading.Barrier(8)

    def work(number):
        start.wait()
        for at in range(5):
            data = b"%d-%d" % (number, at)
            committed = store.seal(ann, "prompt", data)
            with lock:
                sealed.append((committed, data))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({committed for committed, _ in sealed}) == 40
    assert all(store.unseal(ann, "prompt", committed) == data for committed, data in sealed)
    assert len([*(tmp_path / "keys").glob("*.0")]) == 1
