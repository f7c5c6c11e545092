"""Imports in words: what a person reads before they decide, and what to do next; whatever the daemon answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_tui import incoming
from holdfast_tui.feed import Feed
from holdfast_tui.reading import DIALOG, ranges

from .brought import ADAPTER, IMPORTS, bundle, shown

FIELDS = (
    *("request", "state", "requester", "decided_by", "reason", "name", "version", "publisher", "manifest"),
    *(
        "holders",
        "role",
        "bytes",
        "message",
        "volume",
        "present",
        "missing",
        "findings",
        "resumable",
        "facts",
    ),
    *(
        "parts",
        "medium",
        "number",
        "count",
        "delta",
        "revocations",
        "new",
        "concerned",
        "artefacts",
        "expired",
    ),
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["collecting", "failed", "waiting", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=8),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(FIELDS), PLAIN), st.booleans())
def test_an_answer_of_another_shape_breaks_nothing(answer, newest):
    assert incoming.standing(answer, newest=newest)
    assert incoming.next_step(answer, "alice", None, newest=newest)
    incoming.collecting([answer, answer])
    for lines in (incoming.described(answer, {}), incoming.to_sign(answer, {})):
        assert all(isinstance(line, str) for line in lines)


def test_of_several_volumes_the_newest_request_says_what_is_missing():
    assert incoming.collecting(IMPORTS) == {50}
    rows = {one["request"]: one for one in IMPORTS}
    assert incoming.standing(rows[50], newest=True) == "collecting 2/7"
    assert incoming.standing(rows[49], newest=False) == "volume 1 of 7"
    told = incoming.next_step(rows[50], "alice", None, newest=True)
    assert told == "In: 1-2. Missing: 3-7. Insert volume 3 of 7, then press i. d gives it up."


@pytest.mark.parametrize(
    ("found", "standing", "said"),
    [
        (bundle(1, "waiting", "1"), "waiting", "d takes it back"),
        (bundle(1, "waiting", "1", requester="bob"), "waiting", "a shows what you would sign"),
        (bundle(1, "failed", "1", message="It is damaged."), "failed", "#1 It is damaged."),
        (bundle(1, "failed", "1", message="Gone.", resumable=True), "resumable", "i goes on with it"),
        (bundle(1, "interrupted", "1", resumable=True), "resumable", "The import was interrupted."),
        (bundle(1, "failed", "1", findings=[{"key": "x"}]), "refused", "1 finding. Enter"),
        (bundle(1, "admitted", "1", "bob"), "admitted", "was admitted by bob. Enter shows it; e writes"),
        (bundle(1, "rejected", "1", "bob", reason="no"), "rejected", "was rejected by bob: no."),
        (bundle(1, "running", "1"), "running", "is being read"),
        (
            bundle(1, "running", "1", volume={"number": 3, "count": 7}),
            "running",
            "#1 volume 3 of 7 is being read",
        ),
    ],
)
def test_every_state_says_what_to_do_next(found, standing, said):
    assert incoming.standing(found, newest=False) == standing
    assert said in incoming.next_step(found, "alice", None, newest=False)


def test_a_running_import_says_how_far_it_is():
    feed = Feed(1, "import #1")
    feed.take({"n": 1, "kind": "progress", "step": "copying", "done": 10**9, "total": 4 * 10**9})
    said = incoming.next_step(bundle(1, "running", "1"), "alice", feed, newest=False)
    assert said == "#1 copying · 1.0 GB of 4.0 GB · 25 %"


def test_who_signs_reads_everything_that_matters():
    text = "\n".join(incoming.to_sign(shown(IMPORTS[0]), {ADAPTER: "adapter intake@1.1.0"}))
    for part in (
        "signed by    paul, petra",
        "role         health (delegated), collection health",
        "version 3, b7c2",
        "EXPIRED on 2026-02-20 00:00; let in by a granted exception",
        "serial WX-4471, mounted read-only, udf",
        "builds on    what is here of an unknown artefact",
        "leak names of patients.",
        "Use base starter@1.1.0 instead.",
        "STOPS BEING USABLE HERE: base starter@1.0.0",
        "sha512:5e5e",
    ):
        assert part in text
    assert all(len(line) <= DIALOG for line in text.splitlines()[:-1])


@pytest.mark.parametrize(
    ("medium", "said"),
    [
        ({"read_only": False}, "WRITABLE"),
        ({"read_only": False, "device_read_only": True}, "read-only by the device"),
        ({"read_only": None}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_medium_that_could_be_written_is_called_so(medium, said):
    assert said in incoming.writing(medium)


def test_every_finding_is_told_with_file_key_and_sentence():
    text = " ".join(" ".join(incoming.described(shown(IMPORTS[1]), {})).split())
    assert "14 findings" in text
    for one in IMPORTS[1]["findings"]:
        assert f"- {one['file']} ({one['key']}) {one['sentence']}" in text


@given(st.sets(st.integers(1, 40)))
def test_ranges_name_every_number_once(found):
    told = ranges(sorted(found))
    if "..." not in told and found:
        named = set()
        for part in told.split(", "):
            first, _, last = part.partition("-")
            named |= set(range(int(first), int(last or first) + 1))
        assert named == found
