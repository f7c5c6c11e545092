"""Compatibility by digest: adapter, base and tokenizer fit, or the medium that is missing is named."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.audit.event import Actor, Draft, Event, Source, Subject, prepare
from holdfast.daemon import acceptance
from holdfast.errors import UntrustedBundle, UntrustedInput
from holdfast.governance import listing
from holdfast.governance.labels import Label
from holdfast.governance.state import State
from holdfast.media.manifest import Delta

HERE = Label("internal", frozenset(), frozenset({"site"}))
ALICE = Actor(person="alice", uid=1, role="administrator", session="s")


def made(kind, name, *parents, version="1", label=HERE, files=1):
    refs = tuple(
        FileRef(f"f{at}", 1, hashing.sha512(f"{kind}{name}{version}{at}".encode())) for at in range(files)
    )
    return Artefact(kind, name, version, refs, label, parents=tuple(one.digest for one in parents))


BASE, TOKENIZER = made(Kind.BASE, "tiny"), made(Kind.TOKENIZER, "tiny")
OTHER = made(Kind.TOKENIZER, "tiny", version="2")


class Site:
    """A site's state, and media that come to it."""

    def __init__(self):
        self.state = State()
        self.state.zones = ("site",)

    def say(self, action, params, cause=None):
        seq = self.state.size
        now = "2026-03-01T12:00:00.000000Z"
        event = Event(
            action=action,
            actor=ALICE,
            subject=None,
            label=None,
            params=params,
            cause=cause,
            seq=seq,
            time=now,
            clock="host",
            source=Source("daemon", "0" * 16, seq),
        )
        self.state.apply(event)
        return seq

    def brought(self, name, *found, origins=None, collection=""):
        request = self.say("bundle.import", {"path": "/m"})
        facts = {"manifest": name, "name": name, "version": "1", "collection": collection}
        self.say("bundle.verified", facts, request)
        for one in found:
            for told in listing.divide(one, origins or {}):
                self.say(listing.LISTED, told, request)
        named = listing.digest_of(one.digest for one in found)
        self.say("bundle.import.done", {"artefacts": len(found), "listing": named, "missing": []}, request)
        admission = self.say("bundle.admit", {"request": request})
        generation = len(self.state.generations) + 1
        self.say(
            "bundle.admit.done",
            {"request": request, "generation": generation, "artefacts": len(found), "root": {}},
            admission,
        )

    def check(self, *found, origins=None, delta=None, collection=""):
        manifest = SimpleNamespace(origins=origins or {}, delta=delta, collection=collection)
        acceptance.check(
            SimpleNamespace(state=self.state), SimpleNamespace(artefacts=found, manifest=manifest)
        )

    def refused(self, *found, **more):
        with pytest.raises(UntrustedBundle) as caught:
            self.check(*found, **more)
        return caught.value


@pytest.fixture
def site():
    return Site()


def test_an_adapter_comes_with_its_base_or_after_it(site):
    adapter = made(Kind.ADAPTER, "triage", BASE, TOKENIZER)
    site.check(BASE, TOKENIZER, adapter)
    site.brought("models", BASE, TOKENIZER)
    site.check(adapter)


def test_an_adapter_without_its_base_says_which_medium_brings_it(site):
    adapter = made(Kind.ADAPTER, "triage", BASE, TOKENIZER)
    error = site.refused(adapter, origins={BASE.digest: "models 7"})
    assert (error.key, error.fields["medium"]) == ("bundle.parents", "models 7")
    assert "Import the medium models 7 first" in error.remedy
    assert BASE.digest in site.refused(adapter).remedy
    site.brought("models", BASE, TOKENIZER)
    site.say("store.gc", {"artefacts": [BASE.digest], "generations": [1]})
    error = site.refused(adapter)
    assert error.fields["medium"] == "models 1"
    assert "base tiny@1" in error.message


def test_what_an_earlier_medium_told_of_origins_is_remembered(site):
    site.brought("notes", made(Kind.ADAPTER, "notes", BASE), origins={BASE.digest: "models 3"})
    assert site.refused(made(Kind.ADAPTER, "triage", BASE)).fields["medium"] == "models 3"


def test_a_damaged_base_is_no_base(site):
    site.brought("models", BASE, TOKENIZER)
    site.say("store.damaged", {"artefact": BASE.digest})
    assert site.refused(made(Kind.ADAPTER, "triage", BASE)).fields["parent"] == BASE.digest
    site.brought("models", BASE)
    site.check(made(Kind.ADAPTER, "triage", BASE))


def test_an_adapter_of_another_tokenizer_is_refused(site):
    site.brought("models", BASE, TOKENIZER)
    site.check(made(Kind.ADAPTER, "triage", BASE, TOKENIZER))
    site.brought("older", replace(OTHER, name="kept"))
    error = site.refused(made(Kind.ADAPTER, "triage", BASE, OTHER))
    assert (error.key, error.fields["parent"]) == ("bundle.tokenizer", OTHER.digest)


def test_an_adapter_that_names_no_base_is_refused(site):
    assert site.refused(made(Kind.ADAPTER, "triage")).key == "bundle.no-base"


def test_a_delta_for_another_site_is_refused(site):
    delta = Delta("sha512:" + "0" * 128, "Elsewhere", {})
    site.check(BASE, delta=delta)
    wanting = SimpleNamespace(bases=frozenset({BASE.digest}))
    assert site.refused(OTHER, delta=wanting, origins={BASE.digest: "models 7"}).key == "bundle.delta-base"
    site.brought("models", BASE)
    site.check(OTHER, delta=wanting)


def test_what_the_log_could_not_take_is_refused_before_anything_is_copied(site):
    site.check(made(Kind.DATASET, "many", files=10_000))
    parents = [made(Kind.DATASET, f"rows{at}") for at in range(200)]
    site.brought("rows", *parents)
    crowded = made(Kind.RUN, "crowded", *parents)
    error = site.refused(crowded)
    assert (error.key, error.fields["artefact"]) == ("bundle.record", crowded.digest)
    site.check(made(Kind.RUN, "less", *parents[:100]))
    many = [made(Kind.RUN, f"run{at}", *parents[:100]) for at in range(200)]
    assert site.refused(*many).key == "bundle.records"
    site.check(*many[:100])
    told = "x"
    for _ in range(9):
        told = [told]
    assert site.refused(replace(BASE, meta={"deep": told})).key == "bundle.record"
    site.check(replace(BASE, meta={"deep": told[0][0]}))
    long = Label("public", frozenset(f"{at:060}" for at in range(60)), frozenset({"site"}))
    other = replace(long, compartments=frozenset(f"x{at}" for at in range(60)))
    site.check(made(Kind.BASE, "one", label=long))
    with pytest.raises(UntrustedInput):  # what lets both in could carry no label
        site.check(made(Kind.BASE, "one", label=long), made(Kind.BASE, "two", label=other))


@pytest.mark.parametrize("wide", ["x", "\U0001f600", '"'])
def test_every_event_of_what_is_accepted_fits_the_log(site, wide):
    """However much of each thing there is, and whatever it is written with."""
    who = Actor(person=wide * 256, uid=2**32 - 2, role="administrator", session="s" * 43)
    groups = frozenset(f"{at:02}" + wide * 8 for at in range(64))
    label = Label("restricted", groups, frozenset({"site"}))
    for count in (1, 5, 500):
        one = made(Kind.BASE, "n" * 128, version="v" * 128, label=label)
        refs = tuple(FileRef(f"{at:05}" + wide * 235, 2**39, one.digest) for at in range(count))
        found = replace(one, files=refs, meta={"x": wide * 500})
        parents = []
        while listing.head_size(replace(found, parents=tuple(parents)), {}) < listing.MAX_HEAD - 600:
            parents.append(one.digest[:-3] + f"{len(parents):03}")
        found = replace(found, parents=tuple(parents))
        origins = {parents[-1]: "m" * 100} if parents else {}
        site.state.artefacts |= {parent: replace(BASE, kind=Kind.DATASET) for parent in parents}
        site.check(found, origins=origins)
        parts = [*listing.divide(found, origins)]
        for told in parts:
            subject = Subject(found.kind.value, found.digest)
            prepare(Draft(listing.LISTED, who, subject, found.label, told, cause=2**53 - 1))
        assert listing.join(parts) == (found,)


def test_what_a_medium_does_not_bring_stays_in_force(site):
    """An adapter's medium does not put its base out of force; a base of the same name does take the other's place."""
    site.brought("models", BASE, TOKENIZER)
    adapter = made(Kind.ADAPTER, "triage", BASE, TOKENIZER)
    site.brought("triage", adapter)
    assert all(site.state.is_active(one.digest) for one in (BASE, TOKENIZER, adapter))
    newer = made(Kind.BASE, "tiny", version="2")
    site.brought("models", newer)
    assert site.state.is_active(newer.digest)
    assert not site.state.is_active(BASE.digest)
    assert site.state.is_active(TOKENIZER.digest)


def test_a_delegated_publisher_does_not_take_another_ones_name(site):
    """Delegation limits paths; at the site an artefact goes by kind and name alone."""
    triage, better = (made(Kind.ADAPTER, "triage", BASE, version=version) for version in "12")
    site.brought("models", BASE, TOKENIZER, triage)
    site.check(better)
    error = site.refused(better, collection="health")
    assert (error.key, error.fields["artefact"]) == ("bundle.name-taken", triage.digest)
    assert "top-level publisher" in error.message
    assert (
        site.refused(made(Kind.TOKENIZER, "tiny", version="3"), collection="health").key
        == "bundle.name-taken"
    )
    own = made(Kind.ADAPTER, "dosage", BASE)
    site.check(own, collection="health")
    site.brought("health", own, collection="health")
    site.check(made(Kind.ADAPTER, "dosage", BASE, version="2"), collection="health")
    error = site.refused(made(Kind.ADAPTER, "dosage", BASE, version="2"), collection="finance")
    assert "the collection health" in error.message
    site.check(made(Kind.ADAPTER, "dosage", BASE, version="2"))


def test_bringing_the_same_bytes_again_does_not_make_a_name_ones_own(site):
    triage = made(Kind.ADAPTER, "triage", BASE)
    site.brought("models", BASE, triage)
    site.check(triage, collection="health")
    site.brought("health", triage, collection="health")
    better = made(Kind.ADAPTER, "triage", BASE, version="2")
    assert site.refused(better, collection="health").key == "bundle.name-taken"


def test_models_that_share_a_tokenizer_keep_it_each_under_its_own_name(site):
    """The same bytes are one artefact; a new tokenizer of one model does not take the other's away."""
    base, shared = made(Kind.BASE, "kin"), replace(TOKENIZER, name="kin", version="5")
    site.brought("models", BASE, TOKENIZER)
    site.brought("kin", base, shared)
    assert site.state.resolve("kin", Kind.TOKENIZER).digest == TOKENIZER.digest
    assert site.state.resolve("kin@5", Kind.TOKENIZER).digest == TOKENIZER.digest
    site.brought("models", OTHER)
    assert site.state.resolve("tiny", Kind.TOKENIZER).digest == OTHER.digest
    assert site.state.resolve("kin", Kind.TOKENIZER).digest == TOKENIZER.digest
    assert site.state.is_active(TOKENIZER.digest)
    site.check(made(Kind.ADAPTER, "triage", base, TOKENIZER))
    assert site.refused(made(Kind.ADAPTER, "triage", base, OTHER)).key == "bundle.tokenizer"
