"""Every kind of tampering is found by the verifier alone, with the right sequence number."""

from __future__ import annotations

import pytest
from tests import recorded

from holdfast.audit import checkpoint, event, segment, verify
from holdfast.audit.event import Actor, Draft

EVENTS = 8


@pytest.fixture
def folder(tmp_path, open_log, draft):
    log = open_log(tmp_path / "log", segment_bytes=825)
    intent = log.append(draft(0, "train.run"))
    for number in range(1, EVENTS - 1):
        log.append(draft(number))
    log.append(draft(EVENTS - 1, "train.run.done", cause=intent.seq))
    log.close()
    return tmp_path / "log"


def layout(path):
    """The first event of a segment, and where each record begins and ends."""
    _, first, data, offset = verify.read_segment(path)
    return first, data, [(record.offset, record.end) for record in verify.records(data, offset)]


def rebuild(folder, bodies):
    """Write a log anew with these event bytes, as somebody would who knows the format but has no key."""
    for path in verify.segments(folder):
        path.unlink()
    data = segment.header("holdfast.example/test/0", 0)
    for body in bodies:
        data += segment.record(body, verify.leaf_hash(body), 0)
    (folder / segment.name(0)).write_bytes(data)


def test_an_untouched_log_verifies(folder, keys):
    verdict = verify.verify_log(folder, keys)
    assert (verdict.ok, verdict.size, verdict.signed, verdict.notes) == (True, EVENTS, EVENTS, [])


def test_a_flipped_bit_anywhere_in_an_event_is_named(folder, keys):
    for path in verify.segments(folder):
        first, data, places = layout(path)
        for number, (start, end) in enumerate(places):
            for at in range(start, end, 5):
                path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
                verdict = verify.verify_log(folder, keys)
                assert verdict.problems[0].seq == first + number, (path.name, at, verdict)
        for at in range(places[0][0]):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert verify.verify_log(folder, keys).problems[0].seq == first
        path.write_bytes(data)


@pytest.mark.parametrize("name", ["checkpoint", "log.pub"])
def test_a_flipped_bit_in_the_signed_files_is_found(folder, name):
    data = (folder / name).read_bytes()
    for at in range(0, len(data), 41):
        (folder / name).write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        assert verify.main([str(folder)]) == 3


@pytest.mark.parametrize(
    ("tamper", "bad"),
    [
        (lambda bodies: bodies[:3] + bodies[4:], 3),  # deleted
        (lambda bodies: [*bodies[:2], bodies[3], bodies[2], *bodies[4:]], 2),  # reordered
        (lambda bodies: [*bodies[:5], bodies[4], *bodies[5:]], 5),  # doubled
        (lambda bodies: bodies[:6], 6),  # cut off
        (
            lambda bodies: [*bodies[:2], bodies[2].replace(b"alice", b"mallo"), *bodies[3:]],
            0,
        ),  # edited, rehashed: only the root tells, so it may be any event
        (lambda bodies: [*bodies[:2], b"{}", *bodies[3:]], 2),
        (lambda bodies: [*bodies[:7], bodies[7].replace(b'"cause":0', b'"cause":1')], 7),
        (lambda bodies: [*bodies[:7], bodies[7].replace(b"run.done", b"replay.done")], 7),
        (lambda bodies: [bodies[0].replace(b"T", b"t"), *bodies[1:]], 0),
    ],
)
def test_rewritten_logs_are_found(folder, keys, tamper, bad):
    bodies = [
        record.body
        for path in verify.segments(folder)
        for record in verify.records(*verify.read_segment(path)[2:])
    ]
    rebuild(folder, bodies)
    assert verify.verify_log(folder, keys).ok
    rebuild(folder, tamper(bodies))
    verdict = verify.verify_log(folder, keys)
    assert verdict.problems[0].seq == bad, verdict
    assert any("root" in problem.text or "ends before" in problem.text for problem in verdict.problems)


def test_a_missing_segment_is_named(folder, keys):
    paths = verify.segments(folder)
    assert len(paths) == 4
    paths[1].unlink()
    assert verify.verify_log(folder, keys).problems[0].seq == int(paths[1].stem)


def test_a_segment_of_another_log_is_found(folder, keys):
    path = verify.segments(folder)[1]
    path.write_bytes(path.read_bytes().replace(b"/test/0", b"/test/1", 1))
    assert verify.verify_log(folder, keys).problems[0].seq == int(path.stem)


def test_a_log_signed_anew_with_another_key_is_found(folder, keys, signer):
    note = verify.parse_note((folder / "checkpoint").read_bytes())
    other = type(signer).generate()
    (folder / "checkpoint").write_bytes(checkpoint.make(note.origin, note.size, note.root, other, time=0))
    (folder / "log.pub").write_bytes(other.public(note.origin))
    assert verify.main([str(folder)]) == 0
    assert not verify.verify_log(folder, keys).ok


def test_events_after_the_checkpoint_are_noted_as_unsigned(folder, keys, draft):
    path = verify.segments(folder)[-1]
    body = event.prepare(draft(8)).stamp(
        8, "2099-01-02T03:04:05.000006Z", "host", event.Source("daemon", "0" * 16, 0)
    )
    path.write_bytes(path.read_bytes() + segment.record(body, verify.leaf_hash(body), 8) + b"\x00\x01")
    verdict = verify.verify_log(folder, keys)
    assert verdict.ok
    assert [note.seq for note in verdict.notes] == [9, 8]


@pytest.mark.parametrize("wrong", [{}, {"size": 2}, {"root": "0" * 64}])
def test_a_restored_log_that_cites_another_head_than_its_own_is_found(tmp_path, open_log, draft, keys, wrong):
    log = open_log(tmp_path / "log")
    for number in range(3):
        log.append(draft(number))
    cited = {"size": log.size, "root": log.root.hex(), "log_keys": [str(key) for key in keys], **wrong}
    params = recorded.sample("home.restored", **cited)
    seq = log.append(Draft("home.restored", Actor("holdfastd", None, "service"), params=params)).seq
    log.close()
    found = verify.verify_log(tmp_path / "log", keys).problems
    assert [one.seq for one in found] == ([seq] if wrong else [])
    assert all("cites another size or root" in one.text for one in found)
