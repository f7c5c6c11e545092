"""A medium in several volumes: each is an act of its own, in any order, by anybody; the last one completes it."""

from __future__ import annotations

import asyncio
import shutil
import threading

import pytest

from holdfast.client import operations
from holdfast.daemon import imports, quarantine
from holdfast.errors import Conflict, NotFound, UntrustedBundle
from holdfast.media import copy
from holdfast.media.contents import stopped


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


@pytest.fixture
def inserted(stocked, volumes):
    return [stocked.insert(folder, folder.name) for folder in volumes]


async def taken(daemon, medium, who="alice"):
    async with daemon.session(who) as client:
        return await client.finish(await operations.start_import(client, medium))


async def test_volumes_come_in_any_order_from_several_people_and_the_last_completes(daemon, inserted):
    count = len(inserted)
    assert count >= 3
    first = await taken(daemon, inserted[-1], "alice")
    assert (first["volumes"], first["present"]) == (count, [count])
    assert first["missing"] == [*range(1, count)]
    for medium in inserted[1:-1]:
        await taken(daemon, medium, "olga")
    assert {one.state for one in daemon.state.imports.values()} == {"admitted", "collecting"}
    daemon.at_rest()
    last = await taken(daemon, inserted[0], "alice")
    assert last["missing"] == []
    assert daemon.state.imports[last["request"]].state == "waiting"
    assert {daemon.state.imports[one].state for one in (first["request"],)} == {"collected"}
    async with daemon.session("bob") as client:
        shown = await client.call("GET", f"/v1/bundles/{last['request']}")
    assert [one["number"] for one in shown["parts"]] == [count, *range(2, count), 1]
    assert [one["requester"] for one in shown["parts"]] == ["alice", *["olga"] * (count - 2), "alice"]
    assert len({one["digest"] for one in shown["parts"]}) == count
    outcome = await daemon.admit(last["request"])
    assert outcome["generation"] == 2
    for one in outcome["artefacts"]:
        daemon.services.store.verify(daemon.state.artefacts[one["digest"]])
    daemon.at_rest()


async def test_what_is_collected_outlasts_the_daemon_and_is_not_read_again(stocked, inserted):
    async with stocked.open() as daemon:
        await taken(daemon, inserted[0])
    async with stocked.open() as daemon:
        for medium in inserted[1:-1]:
            await taken(daemon, medium)
        shutil.rmtree(inserted[0])  # whoever reads it again fails
        last = await taken(daemon, inserted[-1])
        assert last["missing"] == []
        await daemon.admit(last["request"])
        daemon.at_rest()


async def test_a_damaged_volume_is_named_and_made_again_alone(daemon, inserted, volumes):
    await taken(daemon, inserted[0])
    chunk = max(inserted[1].glob("chunks/*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(UntrustedBundle) as caught:
        await taken(daemon, inserted[1])
    assert caught.value.fields["volume"] == 2
    assert "Volume 2 of" in caught.value.message
    failed = max(daemon.state.imports.values(), key=lambda one: one.request)
    assert (failed.state, failed.facts["kept"]) == ("failed", True)
    daemon.at_rest()
    shutil.rmtree(inserted[1])
    again = [*inserted[2:], daemon.place.insert(volumes[1], "again")]
    for medium in again:
        last = await taken(daemon, medium)
    assert last["missing"] == []


async def test_a_collecting_set_is_discarded_by_request_or_manifest(daemon, inserted):
    first = await taken(daemon, inserted[0])
    second = await taken(daemon, inserted[1])
    async with daemon.session("bob") as client:
        done = await client.call("POST", "/v1/bundles/discard", {"named": str(first["request"])})
        assert done["manifest"] == first["manifest"]
        with pytest.raises(NotFound):
            await client.call("POST", "/v1/bundles/discard", {"named": first["manifest"]})
    assert {daemon.state.imports[one["request"]].state for one in (first, second)} == {"discarded"}
    assert not [*daemon.place.home.quarantine.iterdir()]
    again = await taken(daemon, inserted[1])
    assert again["present"] == [2]


async def test_of_two_imports_of_one_medium_at_once_one_is_told_of_the_other(daemon, inserted, monkeypatch):
    real, refused = imports.importer.take_in, threading.Event()

    def after_the_other(*arguments):  # neither is over before the other has begun
        assert refused.wait(120)
        return real(*arguments)

    monkeypatch.setattr(imports.importer, "take_in", after_the_other)

    async def end(client, job):
        try:
            return await client.finish(job)
        finally:
            refused.set()

    async with daemon.session("alice") as client:
        jobs = [await operations.start_import(client, medium) for medium in inserted[:2]]
        ended = await asyncio.gather(*(end(client, job) for job in jobs), return_exceptions=True)
    lost = [one for one in ended if isinstance(one, Conflict)]
    assert len(lost) == 1
    assert lost[0].key == "bundle.importing"
    assert lost[0].fields["job"] in jobs
    won = next(one for one in ended if not isinstance(one, Conflict))
    assert len(won["present"]) == 1
    daemon.at_rest()


async def test_an_import_that_was_cancelled_goes_on_where_it_stopped(stocked, press, media, monkeypatch):
    medium = stocked.insert(
        press.publish("resumed", version="7", previous=media.first, size=20_000_000), "resumed"
    )
    async with stocked.open() as daemon:
        real, copied = imports.importer.take_in, []

        def stopped_half_way(verified, store, stage, progress, cancelled):
            def stop_then_report(step, done, total):
                progress(step, done, total)
                if step == "copying" and done * 2 > total:
                    for job in daemon.services.jobs.running:
                        daemon.services.jobs.cancel(job.number, "bob")
                    raise stopped()

            return real(verified, store, stage, stop_then_report, cancelled)

        def counted(verified, store, stage, progress, cancelled):
            found = real(verified, store, stage, progress, cancelled)
            copied.append(found)
            return found

        monkeypatch.setattr(copy, "BATCH", 2**20)
        monkeypatch.setattr(imports.importer, "take_in", stopped_half_way)
        with pytest.raises(Exception, match="stopped"):
            await taken(daemon, medium)
        found = max(daemon.state.imports.values(), key=lambda one: one.request)
        assert found.state == "cancelled"
        assert quarantine.stage(daemon.services, found.manifest).is_dir()
        async with daemon.session("alice") as client:
            listed = (await client.call("GET", "/v1/bundles"))["imports"]
            assert [one["resumable"] for one in listed] == [True, False]
        monkeypatch.setattr(imports.importer, "take_in", counted)
        last = await taken(daemon, medium)
        assert copied[0].reused > 0
        assert copied[0].copied < last["bytes"]
        await daemon.admit(last["request"])
        daemon.at_rest()


def test_the_command_line_says_what_is_missing(stocked, inserted):
    stocked.run("up")
    out, _ = stocked.call("bundle", "import", str(inserted[1]), who="alice")
    assert f"1 of {len(inserted)} volumes are here" in out
    assert "Still missing: 1, 3" in out
    listed, _ = stocked.call("bundle", "list", who="alice")
    assert f"collecting, {len(inserted) - 1} missing" in listed
    told = stocked.told("bundle", "list", who="alice")["imports"][0]
    assert told["missing"] == [1, *range(3, len(inserted) + 1)]
    out, _ = stocked.call("bundle", "show", str(told["request"]), who="alice")
    assert "missing volumes: 1, 3" in out
    assert "serial" in out
    out, _ = stocked.call("bundle", "discard", str(told["request"]), who="alice")
    assert f"Discarded request {told['request']}" in out
    assert stocked.refused("bundle", "discard", "999", who="alice", code=1)["key"] == "bundle.unknown"


async def test_volumes_whose_whole_is_refused_are_all_closed(daemon, press, media, cut):
    """The last volume completes the medium, and its chat template is refused: nothing of any volume is kept."""
    whole = press.publish(
        "refused",
        version="88",
        previous=media.first,
        size=10_000_000,
        template="{{ ''.__class__.__mro__ }}",
    )
    folders = [daemon.place.insert(one, one.name) for one in cut(whole)]
    for medium in folders[:-1]:
        await taken(daemon, medium)
    with pytest.raises(UntrustedBundle) as caught:
        await taken(daemon, folders[-1])
    assert len(caught.value.fields["findings"]) == 1
    assert {one.state for one in daemon.state.imports.values()} == {"admitted", "failed"}
    assert not [*daemon.place.home.quarantine.iterdir()]
    daemon.at_rest()
