"""The witness's judgement: what extends what was seen, and nothing else, is accepted."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.witness.toylog import NOW, OTHER, ToyLog

from holdfast.audit import verify, witness
from holdfast.audit.witness import Seen
from holdfast.errors import Conflict, HoldfastError, VerificationFailed

SIZES = 18  # of the exhaustive test: every size, every fork, every size seen
BIG = ToyLog(700)


def judged(log, seen, *, old=None, signed=NOW, seen_signed=NOW - 60, size=None):
    request = witness.parse(log.request(seen if old is None else old, size, time=signed))
    note, told = witness.check_signatures(request, verify.parse_keys(log.keys), scanned=False)
    assert told == signed
    found = Seen(seen, BIG.root(seen), seen_signed, NOW - 30) if seen else None
    witness.judge(request, note, told, found)


def refused(*arguments, **options):
    with pytest.raises(HoldfastError) as caught:
        judged(*arguments, **options)
    return caught.value


def test_an_honest_log_is_accepted_at_every_size_and_a_fork_refused_at_every_place():
    lives = {parted: ToyLog(SIZES, parted) for parted in range(SIZES + 1)}
    for seen in range(1, SIZES + 1):
        for size in range(seen, SIZES + 1):
            for parted, log in lives.items():
                request = witness.Request(seen, log.proof(seen, size), b"")
                note = verify.Note(b"", log.origin, size, log.root(size), ())
                same = Seen(seen, BIG.root(seen), NOW - 60, NOW - 30)
                if parted >= seen:
                    witness.judge(request, note, NOW, same)
                    continue
                with pytest.raises(VerificationFailed) as caught:
                    witness.judge(request, note, NOW, same)
                assert caught.value.key == ("witness.forked" if size == seen else "witness.rewritten")


@given(st.data())
def test_no_other_proof_makes_a_fork_fit(data):
    size = data.draw(st.integers(2, BIG.size))
    seen = data.draw(st.integers(1, size - 1))
    forked = ToyLog(size, data.draw(st.integers(0, seen - 1)))
    path = [*data.draw(st.sampled_from([forked.proof(seen), BIG.proof(seen, size)]))]
    match data.draw(st.sampled_from(["as it is", "swap", "drop", "double", "root"])):
        case "swap" if len(path) > 1:
            at = data.draw(st.integers(0, len(path) - 2))
            path[at], path[at + 1] = path[at + 1], path[at]
        case "drop" if path:
            path.pop(data.draw(st.integers(0, len(path) - 1)))
        case "double" if path:
            path.append(path[-1])
        case "root":
            path[:0] = [BIG.root(seen)]
    note = verify.Note(b"", forked.origin, size, forked.root(), ())
    with pytest.raises(VerificationFailed):
        witness.judge(
            witness.Request(seen, tuple(path), b""), note, NOW, Seen(seen, BIG.root(seen), NOW, NOW)
        )


@given(st.integers(1, BIG.size), st.integers(1, BIG.size))
def test_a_smaller_log_is_a_roll_back_and_an_older_request_a_replay(one, other):
    size, seen = sorted((one, other))
    if size == seen:
        judged(BIG, seen, size=size)
        return
    error = refused(BIG, seen, old=0, size=size)
    assert error.key == "witness.rolled-back"
    assert (error.fields["size"], error.fields["seen"]) == (size, seen)
    assert str(size) in error.message
    assert str(seen) in error.message
    assert f"{seen - size} events are gone" in error.message
    error = refused(BIG, seen, old=0, size=size, signed=NOW - 61)
    assert error.key == "witness.replayed"
    assert error.exit_code == 3


def test_the_same_head_again_is_cosigned_again_whatever_it_proves_from():
    judged(BIG, 500, size=500)
    judged(BIG, 500, old=300, size=500)
    judged(BIG, 500, old=0, size=500)


def test_a_proof_from_another_size_than_the_one_seen_says_what_both_say():
    error = refused(BIG, 400, old=300)
    assert isinstance(error, Conflict)
    assert (error.key, error.fields["old"], error.fields["seen"]) == ("witness.old-size", 300, 400)
    assert "not brought back" in error.message
    assert "--old 400" in error.remedy
    error = refused(BIG, 300, old=400)
    assert "not the device" in error.message
    error = refused(BIG, 0, old=400)
    assert "says none" in error.message
    judged(BIG, 0)


def test_another_key_a_missing_and_a_wrong_signature_are_named():
    keys = verify.parse_keys(BIG.keys)
    resigned = witness.parse(ToyLog(700, signer=OTHER).request(0))
    with pytest.raises(VerificationFailed) as caught:
        witness.check_signatures(resigned, keys, scanned=False)
    assert caught.value.key == "witness.other-key"
    text, _, tail = BIG.checkpoint().partition(b"\n\n")
    first, second = tail.splitlines(keepends=True)
    forged = ToyLog(700, 0).checkpoint().partition(b"\n\n")[2].splitlines(keepends=True)
    for lines in ((first,), (second,), (forged[0], second), (first, forged[1]), (first, second, forged[0])):
        request = witness.parse(b"old 0\n\n" + text + b"\n\n" + b"".join(lines))
        with pytest.raises(VerificationFailed) as caught:
            witness.check_signatures(request, keys, scanned=False)
        assert caught.value.key == "witness.signature"
    scanned = witness.parse(b"old 0\n\n" + witness.compact(BIG.checkpoint()))
    note, signed = witness.check_signatures(scanned, keys, scanned=True)
    assert (note.size, signed) == (700, None)
    without = witness.parse(b"old 0\n\n" + text + b"\n\n" + second)
    with pytest.raises(VerificationFailed):
        witness.check_signatures(without, keys, scanned=True)


def test_a_time_that_nobody_signed_counts_for_nothing():
    """A line under the key's id and another name, or beside a scanned signature, states no time."""
    keys = verify.parse_keys(BIG.keys)
    later = ToyLog(700).checkpoint(time=NOW + 10**9).partition(b"\n\n")[2].splitlines()[1].decode()
    foreign = later.replace(BIG.origin, "elsewhere.example").encode() + b"\n"
    request = witness.parse(b"old 0\n\n" + BIG.checkpoint() + foreign)
    assert witness.check_signatures(request, keys, scanned=False)[1] == NOW
    request = witness.parse(b"old 0\n\n" + BIG.checkpoint())
    assert witness.check_signatures(request, keys, scanned=True)[1] is None


@pytest.mark.parametrize(
    ("signed", "seen", "now", "why"),
    [
        (NOW, None, NOW - witness.MAX_AHEAD - 1, "the log signed at"),
        (NOW, None, NOW + witness.MAX_AGE + 1, "more than 90 days"),
        (NOW, NOW + 5, NOW + 4, "cosigned at"),
        (None, NOW + 5, NOW, "cosigned at"),
        (2**63, None, NOW, "second 9223372036854775808"),
    ],
)
def test_a_clock_that_is_far_off_is_named(signed, seen, now, why):
    found = None if seen is None else Seen(1, bytes(32), NOW, seen)
    with pytest.raises(VerificationFailed, match=why) as caught:
        witness.check_clock(signed, found, now)
    assert caught.value.key == "witness.clock"
    witness.check_clock(NOW, None, NOW - witness.MAX_AHEAD)
    witness.check_clock(NOW, Seen(1, bytes(32), NOW, NOW), NOW + witness.MAX_AGE)
    witness.check_clock(None, None, 0)


def accepted(data: bytes) -> bytes | None:
    """Read a request and write it again; None if it is refused as it must be."""
    try:
        return witness.parse(data).encode()
    except HoldfastError as error:
        return None if (error.key, error.exit_code) == ("witness.request", 3) else b"another refusal"


@given(st.data())
def test_requests_round_and_changed_ones_are_refused_or_say_the_same(data):
    new = data.draw(st.integers(1, BIG.size))
    old = data.draw(st.integers(0, new))
    encoded = BIG.request(old, new)
    request = witness.parse(encoded)
    assert request.encode() == encoded
    assert (request.old, request.proof, witness.origin_of(request)) == (old, BIG.proof(old, new), BIG.origin)
    spoiled = bytearray(encoded)
    spoiled[data.draw(st.integers(0, encoded.index(b"\n\n") + 2))] ^= 1 << data.draw(st.integers(0, 7))
    assert accepted(bytes(spoiled)) in {bytes(spoiled), None}


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_is_handed_in_only_our_errors_come(data):
    for text in (data, b"old 0\n\n" + data, b"old 1\n" + data + b"\n\n" + BIG.checkpoint(3)):
        assert accepted(text) in {text, None}


def test_requests_are_bounded_and_have_no_proof_where_none_is_due():
    line = base64.b64encode(bytes(32)) + b"\n"
    for wrong in (
        b"old 0\n" + line + b"\n" + BIG.checkpoint(),
        b"old 700\n" + line + b"\n" + BIG.checkpoint(),
        b"old 701\n\n" + BIG.checkpoint(),
        b"old 1\n" + line * 64 + b"\n" + BIG.checkpoint(),
        b"old 1\n" + line[:-3] + b"\n\n" + BIG.checkpoint(),
        b"old 01\n\n" + BIG.checkpoint(),
        b"old -1\n\n" + BIG.checkpoint(),
        b"old 0\n" + BIG.checkpoint(),
        b"old 0\n\n" + b"x" * witness.MAX_REQUEST,
        b"",
    ):
        with pytest.raises(VerificationFailed) as caught:
            witness.parse(wrong)
        assert caught.value.key == "witness.request"


def test_a_log_of_no_events_has_one_root():
    empty = witness.parse(ToyLog(0).request(0))
    note = verify.parse_note(empty.checkpoint)
    witness.judge(empty, note, NOW, None)
    liar = verify.Note(b"", note.origin, 0, bytes(32), ())
    with pytest.raises(VerificationFailed):
        witness.judge(empty, liar, NOW, None)
    witness.judge(
        witness.parse(ToyLog(3).request(0)),
        verify.parse_note(ToyLog(3).checkpoint()),
        NOW,
        Seen(0, note.root, NOW, NOW),
    )


@given(st.data())
def test_a_restored_log_continues_the_old_one_and_its_losses_are_counted(data):
    heads = sorted(data.draw(st.sets(st.integers(1, 60), min_size=1, max_size=4)))
    restored = data.draw(st.integers(1, 70))
    parted = data.draw(st.integers(0, restored))
    base, missing = witness.base(heads, restored), max(0, heads[-1] - restored)
    new = ToyLog(restored + 5, parted, origin="holdfast.example/toy/1", signer=OTHER)
    request = witness.parse(new.request(base))
    note = verify.parse_note(request.checkpoint)
    found = Seen(base, BIG.root(base), NOW, NOW) if base else None
    told = {"last": heads[-1], "restored": restored}
    if base == 0 or parted < base:
        with pytest.raises(VerificationFailed) as caught:
            witness.judge_successor(request, note, found, **told, lost=missing)
        assert caught.value.key == "witness.not-successor"
        return
    witness.judge_successor(request, note, found, **told, lost=missing)
    with pytest.raises(VerificationFailed) as caught:
        witness.judge_successor(request, note, found, **told, lost=missing + 1)
    assert (caught.value.key, caught.value.fields["lost"]) == ("witness.lost", missing)
    with pytest.raises(Conflict):
        witness.judge_successor(witness.parse(new.request(base + 1)), note, found, **told, lost=missing)
