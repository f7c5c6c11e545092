"""Media of many files: each artefact has events of its own, and they count only when all of them are there."""

from __future__ import annotations

import json

import pytest
from tests import recorded

from holdfast import canonical
from holdfast.artefact import Kind
from holdfast.audit.verify import MAX_EVENT
from holdfast.client import operations
from holdfast.daemon import imports
from holdfast.errors import NoSpace
from holdfast.governance import listing, snapshot
from holdfast.governance.state import State
from holdfast.report import folder
from holdfast.report.sign import RECEIPT
from holdfast.report.verify import verify

COUNT = 1200  # files of the larger artefact: several events


@pytest.fixture(scope="session")
def crowded(press, media, tmp_path_factory):
    """Publish a medium with a data set of many files and one of few."""
    return publish(press, media.first, tmp_path_factory.mktemp("crowded"), {"many": COUNT, "few": 3})


def publish(press, previous, out, counts):
    text = (
        'schema = "holdfast.medium/1"\nname = "rows"\nversion = "1"\n'
        'description = "Many files."\npublisher = "Test works"\n'
    )
    for name, count in counts.items():
        place = out / name
        place.mkdir()
        for file in (f"rows-{at:05}.jsonl" for at in range(count)):
            (place / file).write_text(json.dumps({"text": f"{name} {file}"}) + "\n")
        text += (
            f'[[artefact]]\nkind = "dataset"\nname = "{name}"\nversion = "1"\npath = "{name}"\n'
            'licence = "CC0-1.0"\n'
            '[artefact.label]\nlevel = "internal"\ncompartments = []\nzones = ["site"]\n'
        )
    (out / "recipe.toml").write_text(text)
    return press.build(out, out / "medium", previous=previous)


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


async def receipt(daemon, request):
    out = daemon.place.folder / f"receipt-{request}"
    async with daemon.session("aude") as client:
        job = (await client.call("POST", f"/v1/bundles/{request}/receipt"))["job"]
        await client.finish(job)
        await operations.save_report(client, job, out)
    return folder.read(out)


def taken_up(events):
    """Check that folding goes on from a snapshot at cuts all over a log."""
    whole = State()
    for event in events:
        whole.apply(event)
    for cut in range(0, len(events), max(1, len(events) // 12)):
        state = State()
        for event in events[:cut]:
            state.apply(event)
        state = snapshot.decode(snapshot.encode(state))
        for event in events[cut:]:
            state.apply(event)
        assert state == whole
    return whole


async def test_a_medium_of_many_files_is_listed_admitted_and_proven(daemon, crowded):
    request = await daemon.take_in(daemon.place.insert(crowded, "crowded"))
    told = daemon.events(listing.LISTED)[-8:]
    told = [event for event in told if event.cause == request]
    assert {event.subject.kind for event in told} == {"dataset"}
    assert max(len(canonical.encode(event.to_json())) for event in told) < MAX_EVENT
    assert len(told) == 1 + told[0].params["parts"] > 5
    found = daemon.state.imports[request]
    assert {one.name: len(one.files) for one in found.artefacts} == {"many": COUNT, "few": 3}
    assert found.facts["files"] == COUNT + 3
    assert daemon.state.listed == {}
    async with daemon.session("bob") as client:
        shown = (await client.call("GET", f"/v1/bundles/{request}"))["facts"]["artefacts"]
    assert {one["name"]: one["files"] for one in shown} == {"many": COUNT, "few": 3}
    await daemon.admit(request)
    many = daemon.state.resolve("many", Kind.DATASET)
    assert many.made_by == daemon.state.generation().made_by
    daemon.services.store.verify(many)
    files = await receipt(daemon, request)
    assert verify(files).ok
    facts = json.loads(files[RECEIPT.facts])
    assert {one["name"]: one["files"] for one in facts["artefacts"]} == {"many": COUNT, "few": 3}
    assert {one["name"]: one["bytes"] for one in facts["artefacts"]}["many"] == many.size
    assert len(facts["proofs"]) == 1 + 3 + 2 + 2  # the founding, the import, two artefacts, the admission
    assert len(files[RECEIPT.facts]) < 70_000
    state = taken_up([*daemon.services.log.events()])
    assert state == daemon.state
    daemon.at_rest()


async def test_what_was_listed_before_an_import_failed_changes_nothing(stocked, daemon, crowded, monkeypatch):
    path = stocked.insert(crowded, "crowded")
    before = dict(daemon.state.artefacts)

    def full(*_arguments):
        raise NoSpace("disk.full", "The disk is full.", remedy="Make room.")

    with monkeypatch.context() as patch:
        patch.setattr(imports.quarantine, "keep_trust", full)
        with pytest.raises(NoSpace):
            await daemon.take_in(path)
    failed = daemon.state.imports[max(daemon.state.imports)]
    assert len([one for one in daemon.events(listing.LISTED) if one.cause == failed.request]) > 5
    assert (failed.state, failed.artefacts) == ("failed", ())
    assert daemon.state.listed == {}
    assert daemon.state.artefacts == before
    request = await daemon.take_in(path)  # goes on from what was copied, and lists it all again
    assert len(daemon.state.imports[request].artefacts) == 2
    daemon.at_rest()


async def test_an_import_that_died_while_it_listed_is_interrupted_and_brings_nothing(stocked, crowded):
    async with stocked.open() as daemon:
        recorder = daemon.services.recorder
        actor = daemon.events("bundle.import")[0].actor
        begun = await recorder.fact(actor, "bundle.import", {"path": "/m"})
        found = daemon.state.resolve("tiny", Kind.BASE)
        for told in listing.divide(found, {}):
            await recorder.fact(actor, listing.LISTED, told, cause=begun.seq)
        assert [*daemon.state.listed] == [begun.seq]
    async with stocked.open() as daemon:
        assert daemon.state.listed == {}
        assert daemon.state.imports[begun.seq].state == "interrupted"
        assert daemon.state.imports[begun.seq].artefacts == ()
        request = await daemon.take_in(stocked.insert(crowded, "crowded"))
        await daemon.admit(request)


async def test_an_outcome_that_names_another_list_brings_nothing(daemon):
    """Only whoever writes the log could say so; what does not agree is not taken for anything."""
    recorder = daemon.services.recorder
    actor = daemon.events("bundle.import")[0].actor
    found = daemon.state.resolve("tiny", Kind.BASE)
    (told,) = listing.divide(found, {})
    for parts, named in (
        ([told], []),
        ([], [found.digest]),
        ([told, told], [found.digest]),
        ([{**told, "part": 2}], [found.digest]),
    ):
        async with recorder.act(actor, "bundle.import", {"path": "/m"}) as act:
            for one in parts:
                await recorder.fact(actor, listing.LISTED, one, cause=act.seq)
            told = {"artefacts": 1, "listing": listing.digest_of(named)}
            act.outcome = recorded.sample("bundle.import.done", **told)
        ended = daemon.state.imports[act.seq]
        assert (ended.state, ended.artefacts) == ("failed", ())
        async with daemon.session("bob") as client:
            assert (await client.call("GET", f"/v1/bundles/{act.seq}"))["approval"] is None
