"""Exported evidence is verified by its own two files on a machine with nothing else of ours, and every change to it is named."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import py_compile
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cryptography
import pytest
from tests import recorded

from holdfast.audit import checkpoint, complete, cosignature, export, segment, verify
from holdfast.audit.event import Actor, Draft, Source, prepare
from holdfast.audit.log import Log
from holdfast.audit.signer import LogSigner
from holdfast.errors import Conflict, NotFound, OperationFailed

ORIGIN, WITNESS = "holdfast.example/evidence/0", "witness.example/aude"
SIGNER, NEWER = LogSigner.generate(), LogSigner.generate()
COSIGNER = cosignature.Cosigner.from_secret(WITNESS, bytes(range(64)))
START, STOP, FIRST = 20, 52, 0
RUNNER = """\
import sys
sys.path.append(sys.argv[1])
try:
    import holdfast
except ImportError:
    import runpy
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    sys.exit("holdfast can be imported")
"""


def fill(folder, events=60):
    """A log of several segments: who founded it, then a daemon that denies, trains and stops."""
    clock = (datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=number) for number in itertools.count())
    log = Log.open(
        folder, origin=ORIGIN, signer=SIGNER, clock=lambda: (next(clock), "host"), segment_bytes=6_000
    )
    keys = SIGNER.public(ORIGIN).decode().splitlines()
    system, alice, bob = (Actor(name, None, "service") for name in ("holdfastd", "alice", "bob"))
    log.append(Draft("site.founded", system, params=recorded.sample("site.founded", log_keys=keys)))
    log.append(Draft("daemon.started", system, params=recorded.sample("daemon.started", heartbeat=60)))
    intent = log.append(Draft("train.run", alice, params=recorded.sample("train.run")))
    for number in range(log.size, events - 2):
        who = alice if number % 3 else bob
        log.append(Draft("access.denied", who, params=recorded.sample("access.denied", uid=number)))
    log.append(Draft("train.run.done", alice, params=recorded.sample("train.run.done"), cause=intent.seq))
    log.append(Draft("daemon.stopped", system, params=recorded.sample("daemon.stopped")))
    if events > STOP:
        note = verify.parse_note(log.sign_at(STOP - 2))
        log.keep("witness/0a0b0c0d", log.sign_at(STOP - 2) + COSIGNER.cosign(note, time=1_767_400_000))
    return log


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log and two exports of it: a part with rows of one person, and the whole."""
    base = tmp_path_factory.mktemp("evidence")
    log = fill(base / "log")
    for name, span in (("part", (START, STOP)), ("whole", (FIRST, log.size))):
        export.write_evidence(log, base / "log", base / name, *span)
        (base / name / "filter.json").write_bytes(
            export.encode_filter(
                {"person": "bob", "action": "access.denied", "since": "2026-01-02T00:00:25.000000Z"}
            )
        )
        export.write_rows(base / name, base / name, complete.LISTED, lambda _: None)
    (base / "log.pub").write_bytes(SIGNER.public(ORIGIN))
    (base / "witness.pub").write_bytes(cosignature.write_keys(COSIGNER.keys))
    libraries, site = base / "libraries", Path(cryptography.__file__).parents[1]
    libraries.mkdir()
    for name in ("cryptography", "cffi", "pycparser", *(path.name for path in site.glob("_cffi_backend*"))):
        (libraries / name).symlink_to(site / name)
    yield base
    log.close()


@pytest.fixture
def part(made, tmp_path):
    return Path(shutil.copytree(made / "part", tmp_path / "part"))


def alone(made, folder, *words, script="complete.py", code=3):
    """Run an exported file by itself, isolated, with the package cryptography and what it needs alone."""
    command = [
        sys.executable,
        "-I",
        "-S",
        "-W",
        "error",
        "-c",
        RUNNER,
        str(made / "libraries"),
        str(folder / script),
    ]
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, ""), done
    return done.stdout


def test_the_files_of_an_export_go_together_whatever_is_installed(tmp_path):
    shutil.copy(complete.__file__, tmp_path / "complete.py")
    (tmp_path / "verify.py").write_text("raise SystemExit(7)\n")
    command = [
        sys.executable,
        "-I",
        str(tmp_path / "complete.py"),
        str(tmp_path),
    ]  # holdfast is installed here
    assert subprocess.run(command, check=False).returncode == 7
    shutil.copy(verify.__file__, tmp_path / "verify.py")  # true, but not alone
    for name in ("json.py", "cryptography.py", "holdfast.py"):
        (tmp_path / name).write_text("raise SystemExit(8)\n")
    (tmp_path / "planted.py").write_text("raise SystemExit(9)\n")
    compiled = Path(importlib.util.cache_from_source(str(tmp_path / "verify.py")))
    py_compile.compile(
        str(tmp_path / "planted.py"),
        str(compiled),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    done = subprocess.run([*command, "--help"], check=False, capture_output=True)
    assert done.returncode == 0


def test_evidence_holds_on_a_machine_with_nothing_else_of_ours(made):
    for name, size in (("part", STOP), ("whole", 60)):
        folder = made / name
        for one in export.CODE:
            assert (folder / one).read_bytes() == Path(verify.__file__).with_name(one).read_bytes()
        words = (folder, "--key", made / "log.pub", "--witness", made / "witness.pub", "--strict", "--json")
        told = json.loads(alone(made, folder, *words, code=0))
        assert (told["ok"], told["size"], told["signed"], told["problems"], told["gaps"]) == (
            True,
            size,
            size,
            [],
            [],
        )
        assert any(
            f"{WITNESS} cosigned {STOP - 2} events at 2026-01-03" in note["text"] for note in told["notes"]
        )
        assert "verified" in alone(made, folder, folder, script="verify.py", code=0)
    assert len(Path(verify.__file__).read_text(encoding="utf-8").splitlines()) <= 500
    assert "holdfast." not in Path(verify.__file__).read_text(encoding="utf-8").replace("Holdfast", "")


def test_a_receipt_is_verified_by_the_one_file(made, tmp_path):
    log = fill(tmp_path / "log", events=8)
    proof, receipt, words = log.prove(4), tmp_path / "receipt.tlog-proof", ("--key", made / "log.pub")
    log.close()
    receipt.write_bytes(proof)
    assert "verified" in alone(made, made / "part", receipt, *words, script="verify.py", code=0)
    lines = proof.split(b"\n")
    for at, bad in (
        (1, lines[1].replace(b"a", b"b", 1)),
        (2, b"index 5"),
        (3, lines[4]),
        (0, b"c2sp.org/tlog-proof@v2"),
    ):
        receipt.write_bytes(b"\n".join([*lines[:at], bad, *lines[at + 1 :]]))
        assert alone(made, made / "part", receipt, *words, script="verify.py").startswith("PROBLEM: ")


def bodies(folder):
    return [
        one.body for path in verify.segments(folder) for one in verify.records(*verify.read_segment(path)[2:])
    ]


def rewrite(folder, stored):
    """Write the events anew, as somebody would who knows the format but has no key."""
    for path in verify.segments(folder):
        path.unlink()
    data = segment.header(ORIGIN, START) + b"".join(
        segment.record(one, verify.leaf_hash(one), 0) for one in stored
    )
    (folder / segment.name(START)).write_bytes(data)


def renumbered(stored, start):
    """Give the events numbers that fit their places."""
    return [
        one.replace(
            b'"seq":%d,"source"' % int(verify.LAYOUT.fullmatch(one)["seq"]), b'"seq":%d,"source"' % number
        )
        for number, one in enumerate(stored, start)
    ]


def flip(folder):
    path = verify.segments(folder)[1]
    _, first, data, offset = verify.read_segment(path)
    end = list(verify.records(data, offset))[1].end
    path.write_bytes(data[: end - 3] + bytes([data[end - 3] ^ 4]) + data[end - 2 :])
    return first + 1, "do not have the hash"


def events(change, bad, reason):
    def tamper(folder):
        stored = bodies(folder)
        rewrite(folder, change(stored))
        return START + bad, reason

    return tamper


def signed_anew(folder):
    note = verify.parse_note((folder / "checkpoint").read_bytes())
    (folder / "checkpoint").write_bytes(checkpoint.make(ORIGIN, note.size, note.root, NEWER, time=1))
    return None, "has no Ed25519 signature"


def segment_removed(folder):
    path = verify.segments(folder)[1]
    path.unlink()
    return int(path.stem), "missing or doubled"


def segment_doubled(folder):
    first, second, third = map(int, (path.stem for path in verify.segments(folder)[:3]))
    data = (folder / segment.name(first)).read_bytes()
    again = data.replace(b"\n%d\n" % first, b"\n%d\n" % (second + 1), 1)
    (folder / segment.name(second + 1)).write_bytes(again)
    return third, f"event {second + 1} follows"


def peaks_changed(folder):
    archived = json.loads((folder / "archived").read_bytes())
    archived["peaks"][0] = "00" * 32
    (folder / "archived").write_text(json.dumps(archived))
    return 0, "the root is not that of"


def other_log(folder):
    tree, other = verify.begin(folder), LogSigner.generate()
    (folder / "checkpoint").write_bytes(
        checkpoint.make("holdfast.example/other/0", 52, tree.root(), other, time=1)
    )
    return None, "the checkpoint of holdfast.example/other/0 has no"


def older_head(folder):
    log = Log.open(
        folder.parent / "log", origin=ORIGIN, signer=SIGNER, clock=lambda: (datetime.now(UTC), "host")
    )
    (folder / "checkpoint").write_bytes(log.sign_at(40))
    log.close()
    return 40, "the checkpoint is an older one"


def rows(change, name="rows.jsonl"):
    def tamper(folder):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        bad = change(lines)
        (folder / name).write_bytes(b"".join(lines))
        return bad, name

    return tamper


def hidden(lines):
    return int(verify.LAYOUT.fullmatch(lines.pop(2).strip())["seq"])


def added(lines):
    lines.append(lines[-1])
    return STOP


def changed(lines):
    seq = int(verify.LAYOUT.fullmatch(lines[1].strip())["seq"])
    lines[1] = lines[1].replace(b"bob", b"rob")
    return seq


def csv_hidden(lines):
    return int(lines.pop(1).split(b'"')[1])


TAMPERS = {
    "byte flipped": flip,
    "line deleted": events(lambda stored: stored[:3] + stored[4:], 3, "stands in its place"),
    "reordered": events(
        lambda stored: [*stored[:2], stored[3], stored[2], *stored[4:]], 2, "stands in its place"
    ),
    "duplicated": events(lambda stored: [*stored[:5], stored[4], *stored[5:]], 5, "stands in its place"),
    "inserted": events(
        lambda stored: [*stored[:6], stored[5].replace(b"alice", b"mallo"), *stored[6:]],
        6,
        "stands in its place",
    ),
    "truncated": events(lambda stored: stored[:8], 8, "the log ends before this event"),
    "edited and hashed anew": events(
        lambda stored: [*stored[:4], stored[4].replace(b'"uid":null', b'"uid":1'), *stored[5:]],
        -START,
        "the root is not",
    ),
    "deleted and numbered anew": events(
        lambda stored: renumbered(stored[:4] + stored[5:], START), -START, "the root is not"
    ),
    "segment removed": segment_removed,
    "segment doubled": segment_doubled,
    "archived peaks changed": peaks_changed,
    "checkpoint of another log": other_log,
    "signed anew with a newer key": signed_anew,
    "row hidden": rows(hidden),
    "row added": rows(added),
    "row changed": rows(changed),
    "row hidden in CSV": rows(csv_hidden, "rows.csv"),
}


@pytest.mark.parametrize("name", TAMPERS)
def test_every_tampering_is_named_by_the_exported_files_alone(made, part, name):
    bad, reason = TAMPERS[name](part)
    script = "complete.py" if name.startswith("row") else "verify.py"
    told = json.loads(alone(made, part, part, "--key", made / "log.pub", "--json", script=script))
    first = told["problems"][0]
    assert (first["seq"], reason in first["text"]) == (bad, True), told["problems"]


def test_a_head_of_an_older_time_is_named_by_what_a_witness_saw(made, part):
    shutil.copytree(made / "log", part.parent / "log")
    bad, reason = older_head(part)
    told = alone(made, part, part, "--key", made / "log.pub", script="verify.py")
    assert f"PROBLEM: event {bad}: witness/0a0b0c0d covers {STOP - 2} events: {reason}" in told
    shutil.rmtree(part / "witness")
    alone(made, part, part, "--key", made / "log.pub", script="verify.py", code=0)
    assert "are not signed yet" in alone(made, part, part, "--key", made / "log.pub", "--strict")
    told = alone(made, part, part, "--key", made / "log.pub", "--witness", made / "witness.pub")
    assert f"there is no valid cosignature by {WITNESS} that covers what is here" in told


def test_a_whole_log_signed_anew_contradicts_its_own_first_event(made, tmp_path):
    whole = Path(shutil.copytree(made / "whole", tmp_path / "whole"))
    shutil.rmtree(whole / "witness")
    signed_anew(whole)
    (whole / "log.pub").write_bytes(NEWER.public(ORIGIN))
    told = alone(made, whole, whole, script="verify.py")
    assert told.startswith("PROBLEM: event 0: it names other keys of this log")


def test_a_cosignature_that_was_changed_is_named(made, part):
    path = part / "witness" / "0a0b0c0d"
    data = path.read_bytes()
    other = cosignature.Cosigner.from_secret(WITNESS, bytes(64))
    note = verify.parse_note(data)
    lines = data.split(b"\n\n")[1].splitlines(keepends=True)
    path.write_bytes(note.text + b"\n" + b"".join(lines[:2]) + other.cosign(note, time=5))
    told = alone(made, part, part, "--key", made / "log.pub", "--witness", made / "witness.pub")
    assert told.startswith("PROBLEM: witness/0a0b0c0d: ")


# --- silences


def chain(*changes):
    """Silences of made-up events: (seconds, action, run, count, params)."""
    found = complete.Silences(whole=True)
    for seq, (seconds, action, run, count, params) in enumerate(changes):
        draft = Draft(action, Actor("holdfastd", None, "service"), params=params)
        moment = (datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=seconds)).strftime(
            "%Y-%m-%dT%H:%M:%S.%fZ"
        )
        source = Source("serve" if run > 8 else "daemon", f"{run:016x}", count)
        found.take(seq, verify.LAYOUT.fullmatch(prepare(draft).stamp(seq, moment, "host", source)))
    return found.found


BEAT = {"heartbeat": 60}


@pytest.mark.parametrize(
    ("events", "gaps"),
    [
        ([(0, "daemon.started", 1, 0, BEAT), (125, "daemon.heartbeat", 1, 1, {})], []),
        (
            [(0, "daemon.started", 1, 0, BEAT), (126, "daemon.heartbeat", 1, 1, {})],
            [(1, "heartbeats are missing")],
        ),
        ([(0, "daemon.started", 1, 1, BEAT)], [(0, "counts 0 to 0 of the daemon's run")]),
        (
            [(0, "daemon.started", 1, 0, {}), (1, "daemon.heartbeat", 1, 3, {})],
            [(1, "counts 1 to 2 of the daemon")],
        ),
        ([(0, "daemon.started", 1, 0, {}), (1, "daemon.heartbeat", 1, 0, {})], [(1, "comes again or late")]),
        ([(0, "daemon.started", 1, 0, {}), (9, "daemon.started", 2, 0, {})], [(1, "unexplained restart")]),
        (
            [
                (0, "daemon.started", 1, 0, BEAT),
                (1, "daemon.stopped", 1, 1, {}),
                (999, "daemon.started", 2, 0, BEAT),
                (1000, "answer", 9, 0, {}),
                (1001, "answer", 9, 2, {}),
            ],
            [(4, "counts 1 to 1 of the serve's run")],
        ),
        ([(5, "daemon.started", 1, 0, {}), (4, "daemon.heartbeat", 1, 1, {})], [(1, "the clock went back")]),
        (
            [(5, "daemon.started", 1, 0, {}), (6, "clock.stepped", 1, 1, {"seconds": -9})],
            [(1, "moved by -9 s")],
        ),
    ],
)
def test_silences_are_named(events, gaps):
    found = chain(*events)
    assert [seq for seq, _ in found] == [seq for seq, _ in gaps]
    assert all(part in text for (_, text), (_, part) in zip(found, gaps, strict=True))


def test_gaps_fail_a_strict_verification_alone(made, tmp_path):
    log = fill(tmp_path / "log", events=10)
    log.close()
    log = Log.open(
        tmp_path / "log",
        origin=ORIGIN,
        signer=SIGNER,
        clock=lambda: (datetime(2026, 1, 1, tzinfo=UTC), "host"),
    )
    log.append(
        Draft("daemon.started", Actor("holdfastd", None, "service"), params=recorded.sample("daemon.started"))
    )
    export.write_evidence(log, tmp_path / "log", tmp_path / "out", 0, log.size)
    log.close()
    told = alone(made, tmp_path / "out", tmp_path / "out", code=0)
    assert "gap: event 10: the clock went back from 2026-01-02" in told
    assert "NOT VERIFIED" in alone(made, tmp_path / "out", tmp_path / "out", "--strict")


# --- what may be in a hostile folder


def test_hostile_folders_are_refused_and_never_hang(part):
    keys = SIGNER.keys(ORIGIN)
    for name in (
        "checkpoint",
        "archived",
        segment.name(START),
        "rows.jsonl",
        "filter.json",
        "witness/0a0b0c0d",
    ):
        kept = (part / name).read_bytes()
        for spoil in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")):
            (part / name).unlink()
            spoil(part / name)
            assert not complete.verify_log(part, keys).ok, name
            (part / name).rmdir() if (part / name).is_dir() else (part / name).unlink()
            (part / name).write_bytes(b"")
        for data in (
            b"",
            b"\xff" * 99,
            b"[" * 60_000,
            b'{"size":true,"peaks":[1]}',
            b'{"size":1.5,"peaks":[]}',
            b"{}",
            b"\n" * 99,
        ):
            (part / name).write_bytes(data)
            assert not complete.verify_log(part, keys).ok, (name, data[:9])
        with (part / name).open("wb") as file:
            file.truncate(2**40)
        assert not complete.verify_log(part, keys).ok, name
        (part / name).write_bytes(kept)
    assert complete.verify_log(part, keys).ok


# --- export


def test_what_is_not_here_is_not_exported(tmp_path):
    log = fill(tmp_path / "log")
    for span in ((0, 0), (5, 5), (5, 61), (60, 61), (-1, 4)):
        with pytest.raises(NotFound):
            export.write_evidence(log, tmp_path / "log", tmp_path / "out", *span)
    assert not (tmp_path / "out").exists()
    log.close()


def test_every_range_of_a_log_is_evidence(tmp_path):
    log = fill(tmp_path / "log", events=24)
    keys = SIGNER.keys(ORIGIN)
    for start in range(0, 24, 3):
        for stop in range(start + 1, 25, 4):
            out = tmp_path / f"{start}-{stop}"
            export.write_evidence(log, tmp_path / "log", out, start, stop)
            verdict = complete.verify_log(out, keys)
            assert (verdict.problems, verdict.gaps, verdict.size, verdict.signed) == ([], [], stop, stop)
            assert verify.begin(out).size == start
            assert bodies(out) == list(log.read(start, stop))
    log.close()


def test_an_export_is_never_written_over(tmp_path):
    log = fill(tmp_path / "log", events=8)
    export.write_evidence(log, tmp_path / "log", tmp_path / "out", 0, 8)
    with pytest.raises((Conflict, OperationFailed, OSError)):
        export.write_evidence(log, tmp_path / "log", tmp_path / "out", 0, 8)
    log.close()


def test_an_export_takes_place_while_events_are_recorded(tmp_path):
    log = fill(tmp_path / "log")
    stop, acked = threading.Event(), []
    actor = Actor("alice", None, "operator")

    def ingest():
        while not stop.is_set():
            acked.append(
                log.append(Draft("access.denied", actor, params=recorded.sample("access.denied"))).seq
            )

    worker = threading.Thread(target=ingest)
    worker.start()
    try:
        for number in range(8):
            size = log.size
            export.write_evidence(log, tmp_path / "log", tmp_path / f"out-{number}", 0, size)
            assert complete.verify_log(tmp_path / f"out-{number}", SIGNER.keys(ORIGIN)).size == size
    finally:
        stop.set()
        worker.join()
        log.close()
    assert acked == list(range(60, 60 + len(acked)))
