"""Evidence from a hostile hand: whatever its files hold, there is a verdict; and a filter gives what its words say."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from holdfast import canonical
from holdfast.audit import checkpoint, complete, export, segment, verify
from holdfast.audit.event import Actor, Draft, Source, Subject, prepare
from holdfast.audit.signer import LogSigner

ORIGIN, SIGNER = "holdfast.example/test/0", LogSigner.generate()
PEOPLE = ("alice", '"=1+1', "+é", "bob,\\")
ACTIONS = ("access.denied", "train.run", "train.run.failed", "daemon.started")


def stored(seq, person, action, cause=None):
    draft = Draft(action, Actor(person, seq, "operator"), Subject("base", "sha256:" + "0f" * 32), cause=cause)
    return prepare(draft).stamp(
        seq, f"2026-01-02T03:04:{seq:02}.000006Z", "host", Source("daemon", "0" * 16, seq)
    )


def build(folder, bodies, wanted):
    data, tree = segment.header(ORIGIN, 0), verify.Frontier()
    for body in bodies:
        data += segment.record(body, verify.leaf_hash(body), 0)
        tree.append(verify.leaf_hash(body))
    (folder / segment.name(0)).write_bytes(data)
    (folder / "checkpoint").write_bytes(checkpoint.make(ORIGIN, tree.size, tree.root(), SIGNER, time=1))
    (folder / "filter.json").write_bytes(export.encode_filter(wanted))
    return export.write_rows(folder, folder, complete.LISTED, lambda _: None)


@functools.cache
def whole():
    """The files of one small log."""
    with tempfile.TemporaryDirectory() as name:
        build(
            Path(name),
            [stored(seq, PEOPLE[seq % 4], "access.denied") for seq in range(6)],
            {"role": "operator"},
        )
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


@given(st.sampled_from([*sorted(whole()), "archived", "witness/0a0b0c0d"]), st.data())
def test_there_is_a_verdict_on_whatever_the_files_hold(name, data):
    good = whole().get(name, b'{"peaks":["' + b"00" * 32 + b'"],"size":1}')
    at = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 40))
    spoilt = good[:at] + data.draw(st.binary(max_size=40)) + good[at + cut :]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "witness").mkdir()
        for one, kept in whole().items():
            (folder / one).write_bytes(kept)
        (folder / name).write_bytes(spoilt)
        verdict = complete.verify_log(folder, SIGNER.keys(ORIGIN))
        if verdict.ok:  # what is left of an unfinished write may follow the last event
            left = name.endswith(".seg") and spoilt.startswith(good)
            assert (spoilt == good and name in whole()) or left or _same_filter(name, spoilt)
        else:
            assert spoilt != good or name not in whole()
        assert str(verdict)


def _same_filter(name, data):
    """Other bytes of the filter may say the same."""
    try:
        return name == "filter.json" and complete.parse_filter(data) in ({"role": "operator"}, {})
    except verify.Refused:
        return False


@given(
    st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(ACTIONS)), min_size=1, max_size=8),
    st.fixed_dictionaries(
        {},
        optional={
            "action": st.sampled_from(ACTIONS),
            "person": st.sampled_from(PEOPLE),
            "kind": st.sampled_from(["base", "run"]),
            "since": st.sampled_from([f"2026-01-02T03:04:{seq:02}.000006Z" for seq in range(8)]),
            "until": st.sampled_from([f"2026-01-02T03:04:{seq:02}.000006Z" for seq in range(8)]),
        },
    ),
)
def test_a_filter_gives_the_rows_that_its_words_say(events, wanted):
    bodies = [stored(seq, *one, cause=0 if "failed" in one[1] else None) for seq, one in enumerate(events)]
    expected = []
    for seq, (person, action) in enumerate(events):
        time = f"2026-01-02T03:04:{seq:02}.000006Z"
        acts = {action, action.removesuffix(".failed")}
        if (
            wanted.get("action", action) in acts
            and wanted.get("person", person) == person
            and wanted.get("kind", "base") == "base"
            and wanted.get("since", time) <= time
            and ("until" not in wanted or time < wanted["until"])
        ):
            expected.append(seq)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        told = build(folder, bodies, wanted)
        lines = (folder / "rows.jsonl").read_bytes().splitlines()
        assert [
            canonical.decode(line, limit=2**16, what="row", error=AssertionError)["seq"] for line in lines
        ] == expected
        assert {count for count, _ in told.values()} == {len(expected)}
        cells = (folder / "rows.csv").read_bytes().decode().split("\n")[1:-1]
        assert [int(line.split('"')[1]) for line in cells] == expected
        assert not any(
            cell.startswith(('"=', '"+', '"-', '"@')) for line in cells for cell in line.split(",")
        )
