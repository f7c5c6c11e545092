"""Keys, checkpoints and receipts: what verifies, and what a single changed character does."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from holdfast.audit import checkpoint, event, proof, verify
from holdfast.audit.event import Actor, Draft, Source
from holdfast.audit.merkle import Tree
from holdfast.audit.signer import LogSigner
from holdfast.errors import UsageRefused, VerificationFailed

ORIGIN = "holdfast.example/test/0"
SIGNER = LogSigner.generate()
ROOT = hashlib.sha256(b"root").digest()
NOTE = checkpoint.make(ORIGIN, 42, ROOT, SIGNER, time=1_700_000_000)
KEYS = SIGNER.keys(ORIGIN)


def test_keys_survive_their_file_and_their_public_text():
    again = LogSigner.from_bytes(SIGNER.to_bytes())
    assert again.public(ORIGIN) == SIGNER.public(ORIGIN)
    assert verify.parse_keys(SIGNER.public(ORIGIN)) == list(KEYS)
    assert "PrivateKey" not in repr(SIGNER)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"ed25519":"AA==","ml-dsa-44":"AA=="}', SIGNER.to_bytes()[:-4]]
)
def test_a_damaged_key_file_is_refused(data):
    with pytest.raises(VerificationFailed):
        LogSigner.from_bytes(data)


def test_a_checkpoint_is_a_c2sp_note_with_both_signatures():
    text, _, signed = NOTE.decode().rpartition("\n\n")
    assert text == f"{ORIGIN}\n42\n{base64.b64encode(ROOT).decode()}"
    lines = signed.splitlines()
    assert [line.split(" ")[:2] for line in lines] == [["—", ORIGIN]] * 2
    raw = base64.b64decode(lines[1].split(" ")[2])
    public = SIGNER.ml_dsa.public_key().public_bytes_raw()
    assert raw[:4] == hashlib.sha256(ORIGIN.encode() + b"\n\x06" + public).digest()[:4]
    name = bytes([len(ORIGIN)]) + ORIGIN.encode()
    stamp = (1_700_000_000).to_bytes(8, "big")
    message = b"subtree/v1\n\0" + name + stamp + name + bytes(8) + (42).to_bytes(8, "big") + ROOT
    assert raw[4:12] == stamp
    MLDSA44PublicKey.from_public_bytes(public).verify(raw[12:], message)
    found = checkpoint.parse(NOTE, KEYS)
    assert (found.origin, found.size, found.root) == (ORIGIN, 42, ROOT)


def test_every_flipped_byte_of_a_checkpoint_is_refused():
    for at in range(len(NOTE)):
        flipped = NOTE[:at] + bytes([NOTE[at] ^ (1 << at % 8)]) + NOTE[at + 1 :]
        with pytest.raises(VerificationFailed):
            checkpoint.parse(flipped, KEYS)


def test_both_keys_must_have_signed():
    text, blank, signed = NOTE.partition(b"\n\n")
    first, second = signed.splitlines(keepends=True)
    for part in (first, second):
        with pytest.raises(VerificationFailed, match="has no"):
            checkpoint.parse(text + blank + part, KEYS)
    with pytest.raises(VerificationFailed, match="no key"):
        checkpoint.parse(NOTE, [])
    other = LogSigner.generate().keys(ORIGIN)
    with pytest.raises(VerificationFailed, match="has no"):
        checkpoint.parse(NOTE, other)


def test_a_cosignature_by_others_is_ignored_and_kept():
    more = NOTE + "— witness.example/w1 AAAAAAAAAAA=\n".encode()
    assert len(checkpoint.parse(more, KEYS).signatures) == 3


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "x" * 256])
def test_names_that_notes_can_not_carry_are_refused(origin):
    with pytest.raises(UsageRefused):
        checkpoint.check_origin(origin)


def receipt(seq: int, count: int) -> tuple[bytes, bytes]:
    bodies = [
        event.prepare(Draft("daemon.started", Actor("d", None, "system"), params={"n": n})).stamp(
            n, "2026-01-02T03:04:05.000006Z", "host", Source("daemon", "0" * 16, n)
        )
        for n in range(count)
    ]
    leaves = [verify.leaf_hash(body) for body in bodies]
    tree = Tree(lambda start, stop: leaves[start:stop])
    for leaf in leaves:
        tree.append(leaf)
    note = checkpoint.make(ORIGIN, count, tree.root(), SIGNER, time=0)
    return proof.make(seq, bodies[seq], tree.inclusion(seq, count), note), bodies[seq]


@pytest.mark.parametrize(("seq", "count"), [(0, 1), (3, 7), (6, 7), (256, 300)])
def test_a_receipt_verifies_with_the_keys_alone(seq, count):
    data, body = receipt(seq, count)
    assert data.startswith(b"c2sp.org/tlog-proof@v1\nextra ")
    assert verify.verify_proof(data, KEYS).ok
    assert verify.verify_proof(data, KEYS, body).ok


def test_every_flipped_byte_of_a_receipt_is_refused():
    data, _ = receipt(2, 5)
    for at in range(len(data)):
        flipped = data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]
        assert not verify.verify_proof(flipped, KEYS).ok, at


def test_a_receipt_for_another_event_names_the_number():
    data, _ = receipt(2, 5)
    _, other = receipt(3, 5)
    verdict = verify.verify_proof(data, KEYS, other)
    assert [problem.seq for problem in verdict.problems] == [2]
