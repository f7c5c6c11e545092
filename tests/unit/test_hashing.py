"""Digests are texts of one form."""

from __future__ import annotations

import hashlib

import pytest

from holdfast import hashing
from holdfast.errors import UntrustedInput


def test_a_files_digest_is_over_its_chunks_raw_digests_in_order():
    one, two = hashing.sha512(b"one"), hashing.sha512(b"two")
    whole = hashlib.sha512(hashlib.sha512(b"one").digest() + hashlib.sha512(b"two").digest()).hexdigest()
    assert hashing.of_chunks([one, two]) == f"sha512:{whole}"
    assert hashing.of_chunks([two, one]) != f"sha512:{whole}"


def test_a_digest_reads_back():
    digest = hashing.sha512(b"x")
    assert hashing.parse(digest) == digest
    assert hashing.raw(digest) == hashlib.sha512(b"x").digest()
    assert hashing.raw(hashing.sha256(b"x")) == hashlib.sha256(b"x").digest()
    assert hashing.short(digest) in digest


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "sha512:",
        "sha512:" + "0" * 127,
        "sha512:" + "A" * 128,
        "sha512:" + "0" * 128 + "\n",
        "md5:" + "0" * 32,
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(UntrustedInput):
        hashing.parse(text)
