"""The fold: what the daemon knows is what the log says, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.audit.event import Actor, Event, Source
from holdfast.errors import NotFound, UntrustedRequest
from holdfast.governance import listing
from holdfast.governance.labels import Label
from holdfast.governance.people import Person, Role
from holdfast.governance.state import State

PUBLIC = Label("public", frozenset(), frozenset({"site"}))
ALICE = Actor(person="alice", uid=1, role="administrator", session="s")
DAEMON = Actor(person="holdfastd", uid=None, role="service", session=None)


def artefact(kind, name, version="1", parents=(), *, label=PUBLIC, data=None):
    ref = FileRef("f", 1, hashing.sha512((data or f"{kind}{name}{version}").encode()))
    return Artefact(kind, name, version, (ref,), label, parents=parents)


class Tape:
    """Feeds a fold."""

    def __init__(self):
        self.state = State()

    def __call__(self, action, params=None, *, cause=None, actor=ALICE):
        seq = self.state.size
        self.state.apply(
            Event(
                action=action,
                actor=actor,
                subject=None,
                label=None,
                params=params or {},
                cause=cause,
                seq=seq,
                time="2026-03-01T12:00:00.000000Z",
                clock="host",
                source=Source("daemon", "0" * 16, seq),
            )
        )
        return seq

    def admit(self, generation, *found):
        request = self.bring(*found)
        admission = self("bundle.admit", {"request": request})
        params = {
            "request": request,
            "generation": generation,
            "artefacts": len(found),
            "root": {"version": 1},
        }
        self("bundle.admit.done", params, cause=admission)
        return request

    def bring(self, *found):
        request = self("bundle.import", {"path": "/m"})
        for one in found:
            for told in listing.divide(one, {}):
                self(listing.LISTED, told, cause=request)
        named = listing.digest_of(one.digest for one in found)
        params = {"manifest": "m", "artefacts": len(found), "listing": named}
        self("bundle.import.done", params, cause=request)
        return request


@pytest.fixture
def tape():
    return Tape()


def test_an_import_goes_from_running_to_waiting_to_decided(tape):
    state, base = tape.state, artefact(Kind.BASE, "tiny")
    assert state.imports[tape("bundle.import", {"path": "/m"})].state == "running"
    request = tape.bring(base)
    assert (state.imports[request].state, state.artefacts) == ("waiting", {})
    assert state.imports[request].artefacts == (base,)
    admission = tape("bundle.admit", {"request": request})
    assert state.imports[request].state == "waiting"
    tape("bundle.admit.failed", {"error": "x"}, cause=admission)
    assert (state.imports[request].state, state.active) == ("waiting", 0)
    rejection = tape("bundle.reject", {"request": request})
    tape("bundle.reject.done", {"request": request, "reason": "no"}, cause=rejection)
    assert (state.imports[request].state, state.imports[request].decided_by) == ("rejected", "alice")
    assert [act.state for act in state.acts.values()] == ["running", "done", "failed", "done"]


@pytest.mark.parametrize("ending", ["failed", "cancelled", "interrupted"])
def test_an_import_that_ended_otherwise_says_how(tape, ending):
    request = tape("bundle.import", {"path": "/m"})
    tape(f"bundle.import.{ending}", {"message": "why"}, cause=request, actor=DAEMON)
    assert tape.state.imports[request].state == ending
    assert tape.state.acts[request].state == ending


def test_what_a_bundle_brought_is_active_with_its_generation_and_products_with_their_parents(tape):
    state = tape.state
    old, new = artefact(Kind.BASE, "tiny", "1"), artefact(Kind.BASE, "tiny", "2")
    tape.admit(1, old)
    tape.admit(2, new)
    run = tape("train.run", {"recipe": "r"})
    data = artefact(Kind.DATASET, "rows")
    preparing = tape("dataset.prepare", {})
    tape("dataset.prepare.done", {"artefacts": [data.to_json()]}, cause=preparing)
    product = artefact(Kind.ADAPTER, "lesson", parents=(new.digest, data.digest))
    gguf = artefact(Kind.GGUF, "lesson", parents=(product.digest,))
    made = artefact(Kind.RUN, "lesson", parents=(new.digest,))
    listed = [product.to_json(), made.to_json(), gguf.to_json()]
    tape("train.run.done", {"run": made.digest, "adapter": product.digest, "artefacts": listed}, cause=run)
    assert state.runs == {made.digest: run}
    assert [state.is_active(one.digest) for one in (old, new, data, product, gguf)] == [
        False,
        True,
        True,
        True,
        True,
    ]
    back = tape("bundle.rollback", {"from": 2, "to": 1})
    assert state.active == 2
    tape("bundle.rollback.done", {"generation": 1, "from": 2}, cause=back)
    assert [state.is_active(one.digest) for one in (old, new, data, product, gguf)] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert not state.is_active("sha512:" + "0" * 128)
    assert [one.digest for one in state.lineage(gguf.digest)] == [
        one.digest for one in (gguf, product, new, data)
    ]


def test_names_find_the_newest_active_and_digits_exactly_one(tape):
    state = tape.state
    one, two = artefact(Kind.BASE, "tiny", "1"), artefact(Kind.BASE, "tiny", "2")
    tape.admit(1, one)
    tape.admit(2, two)
    assert state.resolve("tiny").digest == two.digest
    assert state.resolve("tiny@2", Kind.BASE).digest == two.digest
    assert state.resolve(one.digest).digest == one.digest
    assert state.resolve(one.digest[7:20]).digest == one.digest
    for name in ("tiny@1", "other", one.digest[7:12], "", "@", "sha512:"):
        with pytest.raises(NotFound):
            state.resolve(name)
    for kinds, command in (
        ((Kind.SUITE,), "model list --kind suite"),
        ((Kind.RUN,), "train list"),
        ((Kind.DATASET,), "dataset list"),
        ((Kind.BASE, Kind.MERGED), "model list"),
        ((), "model list"),
    ):
        with pytest.raises(NotFound) as caught:
            state.resolve("nothing", *kinds)
        assert f"`holdfast {command}`" in caught.value.remedy
    with pytest.raises(NotFound):
        state.resolve("tiny", Kind.SUITE)
    state.artefacts[two.digest] = replace(
        two, files=one.files, kind=Kind.BASE
    )  # as if its digits were the same
    with pytest.raises(UntrustedRequest):
        state.resolve(one.digest[7:20])


def test_what_is_recorded_again_keeps_the_tighter_label(tape):
    secret = Label("secret", frozenset({"water"}), frozenset({"site"}))
    tape.admit(1, artefact(Kind.BASE, "tiny", data="same"))
    tape.admit(2, artefact(Kind.BASE, "tiny", data="same", label=secret))
    tape.admit(3, artefact(Kind.BASE, "tiny", data="same"))
    assert [one.label for one in tape.state.artefacts.values()] == [secret]


def test_keys_gates_denials_and_the_root(tape):
    tape("trust.pinned", {"fingerprint": "f", "version": 1}, actor=DAEMON)
    tape("serve.key.created", {"key": "k", "tenant": "desk", "record": {"id": "k"}})
    tape("gate.decided", {"run": "r", "go": True})
    tape("worker.denied", {}, actor=DAEMON)
    state = tape.state
    assert (state.root["fingerprint"], state.denials, state.gates["r"]["go"], state.gates["r"]["seq"]) == (
        "f",
        1,
        True,
        2,
    )
    assert not state.keys["k"].revoked
    tape("serve.key.revoked", {"key": "k"})
    tape("serve.key.revoked", {"key": "unknown"})
    assert list(state.keys) == ["k"]
    assert state.keys["k"].revoked


def test_people_come_from_the_founding(tape):
    eve = Person("eve", (Role.AUDITOR,), (7,), {"schema": "k"}, "f")
    tape(
        "site.founded",
        {"site": "Harbour", "zones": ["site"], "gaps": ["one"], "people": [eve.to_json()]},
        actor=DAEMON,
    )
    assert (tape.state.site, tape.state.zones, tape.state.people) == ("Harbour", ("site",), {"eve": eve})


def test_an_unknown_action_changes_nothing_but_the_size(tape):
    tape("future.act", {"artefacts": [artefact(Kind.BASE, "tiny").to_json()]})
    tape("future.act.done", {"artefacts": [artefact(Kind.BASE, "tiny").to_json()]}, cause=0)
    fresh = State()
    assert tape.state.size == 2
    tape.state.size = 0
    assert tape.state == fresh


def test_facts_and_what_applications_ask_are_no_acts_of_people(tape):
    tape("session.opened", {"person": "alice"})
    tape("answer", {}, actor=DAEMON)
    tape("audit.read", {})
    assert tape.state.acts == {}


def test_what_a_delta_builds_upon_is_told_in_as_many_events_as_it_takes(tape):
    request = tape("bundle.import", {"path": "/m"})
    tape("bundle.verified", {"manifest": "m", "delta": ["a", "b"]}, cause=request)
    tape("bundle.delta", {"bases": ["c"]}, cause=request)
    tape("bundle.delta", {"bases": ["x"]}, cause=99)
    assert tape.state.imports[request].facts["delta"] == ["a", "b", "c"]


def test_people_for_whom_the_founding_had_no_room_come_after_it_and_nobody_else_does(tape):
    def someone(name):
        return Person(name, (Role.AUDITOR,), (1,), {}, "ab").to_json()

    tape("people.listed", {"people": [someone("early")]})
    tape("site.founded", {"site": "s", "people": [someone("alice")], "further": 2})
    assert (tape.state.awaited, [*tape.state.people]) == (2, ["alice"])
    tape("people.listed", {"people": [someone("alice"), someone("bob")]}, cause=0)
    assert tape.state.awaited == 1
    tape("people.listed", {"people": [someone("carol")]}, cause=0)
    tape("people.listed", {"people": [someone("mallory")]}, cause=0)
    assert tape.state.awaited == 0
    assert tape.state.enrolled == {"alice": 1, "bob": 2, "carol": 3}
    assert [*tape.state.people] == ["alice", "bob", "carol"]
