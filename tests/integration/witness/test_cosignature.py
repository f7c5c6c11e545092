"""Cosignatures, against the specification spelled out by hand."""

from __future__ import annotations

import base64
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.witness.toylog import NOW, ORIGIN, ToyLog

from holdfast.audit import cosignature, verify
from holdfast.audit.cosignature import Cosigner
from holdfast.errors import HoldfastError, VerificationFailed

NAME = "auditor.example/ada"
COSIGNER = Cosigner.from_secret(NAME, bytes(range(64)))
PUBLIC = cosignature.write_keys(COSIGNER.keys)
CHECKPOINT = ToyLog(7).checkpoint()


def flipped(at, bit):
    data = bytearray(PUBLIC)
    data[at] ^= 1 << bit
    return bytes(data)


def cosigned(time=NOW, cosigner=COSIGNER):
    return CHECKPOINT + cosigner.cosign(verify.parse_note(CHECKPOINT), time=time)


def test_the_signatures_are_over_what_c2sp_says_and_carry_the_time():
    text, _, tail = cosigned().partition(b"\n\n")
    found = {}
    for line in tail.decode().splitlines():
        dash, name, encoded = line.split(" ")
        if name == NAME:
            assert dash == "—"
            raw = base64.b64decode(encoded)
            found[raw[:4]] = raw[4:]
    classical, quantum = COSIGNER.keys
    stamp, signature = found[classical.id][:8], found[classical.id][8:]
    assert struct.unpack(">Q", stamp) == (NOW,)
    message = f"cosignature/v1\ntime {NOW}\n".encode() + text + b"\n"
    Ed25519PublicKey.from_public_bytes(classical.public).verify(signature, message)
    stamp, signature = found[quantum.id][:8], found[quantum.id][8:]
    origin, size, root = text.decode().split("\n")
    structure = b"subtree/v1\n\x00" + bytes([len(NAME)]) + NAME.encode() + stamp
    structure += (
        bytes([len(origin)]) + origin.encode() + struct.pack(">QQ", 0, int(size)) + base64.b64decode(root)
    )
    MLDSA44PublicKey.from_public_bytes(quantum.public).verify(signature, structure)
    assert (len(found[classical.id]), len(found[quantum.id])) == (72, 2428)


def test_key_ids_and_vkeys_are_those_of_c2sp():
    import hashlib

    classical, quantum = COSIGNER.keys
    for key, kind in ((classical, 4), (quantum, 6)):
        assert key.id == hashlib.sha256(f"{NAME}\n".encode() + bytes([kind]) + key.public).digest()[:4]
    first, second = PUBLIC.decode().splitlines()
    encoded = base64.b64encode(bytes([4]) + classical.public).decode()
    assert first == f"{NAME}+{classical.id.hex()}+{encoded}"
    assert second.startswith(f"{NAME}+{quantum.id.hex()}+")
    assert cosignature.read_keys(PUBLIC) == COSIGNER.keys
    assert len(cosignature.fingerprint(PUBLIC).split(" ")) == 10


def test_a_cosignature_holds_and_gives_its_time():
    assert cosignature.verify(verify.parse_note(cosigned()), COSIGNER.keys) == NOW


def test_half_a_cosignature_a_doubled_one_and_two_times_do_not_hold():
    head, lines = CHECKPOINT, cosigned()[len(CHECKPOINT) :].splitlines(keepends=True)
    later = cosigned(NOW + 1)[len(CHECKPOINT) :].splitlines(keepends=True)
    for tail in ([lines[0]], [lines[1]], [*lines, lines[0]], [lines[0], later[1]], []):
        with pytest.raises(VerificationFailed) as caught:
            cosignature.verify(verify.parse_note(head + b"".join(tail)), COSIGNER.keys)
        assert caught.value.key == "witness.cosignature"


def test_another_witness_another_head_and_a_changed_bit_do_not_hold():
    other = Cosigner.from_secret(NAME, bytes(64))
    with pytest.raises(VerificationFailed):
        cosignature.verify(verify.parse_note(cosigned(cosigner=other)), COSIGNER.keys)
    lines = cosigned()[len(CHECKPOINT) :]
    with pytest.raises(VerificationFailed):
        cosignature.verify(verify.parse_note(ToyLog(8).checkpoint() + lines), COSIGNER.keys)
    for number, line in enumerate(lines.decode().splitlines()):
        raw = bytearray(base64.b64decode(line.split(" ")[2]))
        raw[6] ^= 1  # in the time, which is signed too
        changed = [*lines.decode().splitlines(keepends=True)]
        changed[number] = f"— {NAME} {base64.b64encode(raw).decode()}\n"
        with pytest.raises(VerificationFailed):
            cosignature.verify(verify.parse_note(CHECKPOINT + "".join(changed).encode()), COSIGNER.keys)


@given(st.binary(max_size=200) | st.builds(flipped, st.integers(0, len(PUBLIC) - 1), st.integers(0, 7)))
def test_key_files_that_were_changed_are_refused_by_name(data):
    with pytest.raises(HoldfastError) as caught:
        cosignature.read_keys(data)
    assert (caught.value.key, caught.value.exit_code) == ("witness.keys", 3)


def test_a_log_key_is_no_witness_key_and_order_and_names_matter():
    first, second = PUBLIC.splitlines(keepends=True)
    other = cosignature.write_keys(Cosigner.from_secret("auditor.example/bo", bytes(range(64))).keys)
    for wrong in (
        ToyLog(1).keys,
        second + first,
        first,
        first + first,
        first + other.splitlines(keepends=True)[1],
        PUBLIC + first,
        PUBLIC.rstrip(b"\n"),
        PUBLIC * 3,
    ):
        with pytest.raises(VerificationFailed) as caught:
            cosignature.read_keys(wrong)
        assert caught.value.key == "witness.keys"


def test_only_the_lines_of_the_keys_asked_for_are_cut_out():
    note = cosigned()
    lines = cosignature.lines_of(note, COSIGNER.keys)
    assert CHECKPOINT + lines == note
    assert ORIGIN.encode() not in lines
    with pytest.raises(VerificationFailed):
        cosignature.lines_of(b"no note", COSIGNER.keys)
