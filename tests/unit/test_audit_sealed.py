"""Sealing, unsealing and erasing payloads."""

from __future__ import annotations

import os

import pytest

from holdfast.audit.commitment import subject_id
from holdfast.audit.sealed import MAX_PAYLOAD, SealedStore
from holdfast.errors import NotFound, UntrustedRequest, VerificationFailed

CANARY = b"canary-5f2c: the prompt nobody may find"
ANN, BOB = subject_id("tenant", "ann"), subject_id("tenant", "bob")


@pytest.fixture
def store(tmp_path):
    return SealedStore(tmp_path / "keys", tmp_path / "sealed")


def test_sealed_data_comes_back_and_lies_nowhere_in_clear(store, tmp_path):
    commitment = store.seal(ANN, CANARY)
    assert store.unseal(ANN, commitment) == CANARY
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        assert CANARY not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600


def test_equal_data_has_unequal_commitments(store):
    assert store.seal(ANN, CANARY) != store.seal(ANN, CANARY)


def test_erasing_one_subject_leaves_the_others(store):
    first, second, other = store.seal(ANN, b"1"), store.seal(ANN, b"2"), store.seal(BOB, b"3")
    store.erase(ANN)
    for commitment in (first, second):
        with pytest.raises(NotFound):
            store.unseal(ANN, commitment)
    assert store.unseal(BOB, other) == b"3"
    store.erase(ANN)
    again = store.seal(ANN, b"4")
    assert store.unseal(ANN, again) == b"4"
    with pytest.raises(VerificationFailed):
        store.unseal(ANN, first)


def test_a_payload_is_bound_to_its_subject_and_its_commitment(store, tmp_path):
    first, second = store.seal(ANN, b"1"), store.seal(ANN, b"2")
    folder = tmp_path / "sealed" / ANN
    a, b = (folder / each.removeprefix("sha256:") for each in (first, second))
    b.write_bytes(a.read_bytes())
    with pytest.raises(VerificationFailed):
        store.unseal(ANN, second)
    raw = bytearray(a.read_bytes())
    raw[-1] ^= 1
    a.write_bytes(raw)
    with pytest.raises(VerificationFailed):
        store.unseal(ANN, first)
    (tmp_path / "keys" / ANN).write_bytes(b"short")
    with pytest.raises(VerificationFailed):
        store.seal(ANN, b"x")


@pytest.mark.parametrize("subject", ["../../etc", "", "A" * 64, "a" * 63])
def test_names_from_outside_never_become_paths(store, subject):
    with pytest.raises(UntrustedRequest):
        store.seal(subject, b"x")
    with pytest.raises(UntrustedRequest):
        store.erase(subject)
    known = store.seal(ANN, b"x")
    with pytest.raises(UntrustedRequest):
        store.unseal(ANN, f"{known}/../{subject}")


def test_a_payload_has_a_bound(store):
    with pytest.raises(UntrustedRequest):
        store.seal(ANN, os.urandom(1) * (MAX_PAYLOAD + 1))
