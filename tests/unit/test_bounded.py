"""What lists things of unknown number is cut to what one event of the log takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from holdfast import canonical, hashing
from holdfast.artefact import MAX_NAME
from holdfast.audit.event import Actor, Draft, prepare
from holdfast.daemon import answers, bounded, evaluation, housekeeping, process, revocations
from holdfast.governance.people import Person, Role
from holdfast.governance.state import State
from holdfast.keys import person as keys
from holdfast.store.scrub import Damage, Fault
from holdfast.trust import revocation
from holdfast.trust.revocation import MAX_REASON

WHO = Actor(person="\U0001f600" * 256, uid=2**32 - 2, role="administrator", session="s" * 64)
DIGEST = hashing.sha512(b"x")
WIDE = "\U0001f600"


def fits(action, params):
    prepare(Draft(action, WHO, params=params, cause=2**53 - 1))


def test_whole_entries_are_taken_from_the_beginning():
    assert bounded.fitting(["aa", "b", "c"], 9) == ["aa", "b"]
    assert bounded.fitting(["aa", "b", "c"], 4) == []
    assert bounded.fitting([], 0) == []
    assert bounded.fitting(iter([1, 2]), 99) == [1, 2]


def results(suites, sections):
    """Results of every column: in each section one right item and one wrong one."""
    of = [f"{at // 2:02}" for at in range(2 * sections)]
    found = {
        "suite": {"name": "suite", "version": "1"},
        "ids": [str(at) for at in range(2 * sections)],
        "of": of,
        "outcomes": "10" * sections,
        "primary": of[:1],
    }
    return {
        f"{moment}-{column}": {f"suite{at:02}": found for at in range(suites)}
        for moment in ("before", "after")
        for column in ("transformers", "q8_0")
    }


def test_an_outcome_repeats_all_scores_or_those_of_whole_suites_or_none():
    assert len(answers.told(results(2, 5))["before-q8_0"]["suite01"]) == 7
    assert answers.told(results(20, 60))["after-q8_0"]["suite19"] == {"all": 0.5, "primary": 0.5}
    assert answers.told(results(1000, 60)) == {}
    for suites, sections in ((2, 5), (20, 60), (64, 64)):
        fits("eval.run.done", {"scores": answers.told(results(suites, sections))})


def test_reasons_that_there_is_no_room_for_are_counted():
    verdicts = {name: {"reasons": [f"{WIDE * 200} {at}" for at in range(64)]} for name in ("x", "y")}
    told = evaluation._reasons(verdicts)
    assert f"{128 - len(told) + 1} more reasons" in told[-1]
    assert evaluation._reasons({"x": {"reasons": ["one"]}, "y": {"reasons": []}}) == ["x: one"]
    name, rule = "n" * 64, {"rule": "non_inferiority", "holds": False, "verdict": "worse within noise"}
    rules = [{"suite": name, "section": name, "p": 0.5, **rule}] * 64
    judged = evaluation._judged({name: {"rules": rules} for name in ("x" * 12, "y" * 12)})
    assert 64 < len(judged) < 128
    suites = {f"{at:064}": DIGEST for at in range(64)}
    fits("gate.decided", {"reasons": told, "judged": judged, "suites": suites})
    some = evaluation._judged({"x": {"rules": rules[:1]}})
    assert some == [{"on": "x", "suite": name, "section": name, **rule}]


def test_the_faults_of_a_scrub_fit_whatever_the_files_are_called():
    one = Damage(Fault.DAMAGED, DIGEST, WIDE * 240, WIDE * 400, DIGEST, DIGEST)
    told = bounded.fitting([housekeeping._told_of(one)] * housekeeping.MAX_FAULTS, housekeeping.MAX_TOLD)
    assert 10 < len(told) < housekeeping.MAX_FAULTS
    name = WIDE * MAX_NAME
    row = {"artefact": DIGEST, "name": name, "version": name, "medium": f"{name} {name}", "faults": told}
    fits("store.damaged", row)
    digests = [DIGEST] * housekeeping.MAX_COLLECTED
    unnamed = bounded.fitting([one.message] * 40, housekeeping.MAX_UNNAMED)
    fits("store.scrub.done", {"damaged": digests, "unnamed": unnamed})
    numbers = [*range(10**6, 10**6 + housekeeping.MAX_GENERATIONS)]
    fits("store.gc", {"keep": 3, "generations": numbers, "artefacts": digests})


def test_revocations_fit_in_their_batches_and_beside_a_medium():
    name = WIDE * MAX_NAME
    moment = revocation._time("2026-01-01T00:00:00Z")
    one = revocation.Revocation(DIGEST, "tokenizer", name, WIDE * MAX_REASON, DIGEST, moment)
    entries = [revocations._recorded(one).to_json()] * revocations.BATCH
    fits("revocation.listed", {"counter": 2**53 - 1, "bundle": f"{name} {name}", "entries": entries})
    listed = {hashing.sha512(bytes([at])): one for at in range(100)}
    found = revocations.told(SimpleNamespace(state=State()), SimpleNamespace(entries=listed, counter=1))
    assert len(found["new"]) < revocations.SHOWN
    assert found["entries"] == 100


@pytest.mark.parametrize("count", [1, 5, 6, 30])
def test_people_are_named_in_events_that_fit(count):
    public = keys.generate("alice").public
    records = [
        Person(f"p{at:02}", (Role.AUDITOR,), (1,), public.to_json(), public.fingerprint).to_json()
        for at in range(count)
    ]
    first = bounded.fitting(records, process.MAX_PEOPLE)
    assert len(first) == min(count, 5)
    fits("site.founded", {"people": first, "gaps": ["x" * 1000] * 10, "media_roots": ["/" + "x" * 4000]})


def test_a_findings_list_and_an_error_fit_together():
    text = WIDE * 400
    rows = bounded.fitting([{"file": text, "key": "k", "sentence": text}] * 60, 32_000)
    fits("bundle.import.failed", {"findings": rows, "error": "k", "message": WIDE * 4000, "kept": False})
    assert len(canonical.encode(rows)) <= 32_000
