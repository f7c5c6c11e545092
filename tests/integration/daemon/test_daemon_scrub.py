"""Scrubbing: damage is found, recorded and shown; what is damaged is not used until its medium was imported again."""

from __future__ import annotations

import pytest

from holdfast.artefact import Kind
from holdfast.daemon import admissible
from holdfast.errors import VerificationFailed


def damage(daemon, kind=Kind.BASE, name="model.safetensors"):
    base = daemon.state.resolve("tiny", kind)
    path = daemon.services.store.folder(base.digest) / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))
    return base


async def scrubbed(daemon, who="bob"):
    async with daemon.session(who) as client:
        return await client.finish((await client.call("POST", "/v1/store/scrub"))["job"])


async def test_a_sound_store_is_said_to_be_sound(stocked):
    async with stocked.open() as daemon:
        found = await scrubbed(daemon)
        assert (found["checked"], found["damaged"], found["unnamed"]) == (3, [], [])
        assert found["bytes"] == sum(one.size for one in daemon.state.artefacts.values())
        assert not daemon.events("store.damaged")


async def test_damage_is_recorded_once_and_outlasts_the_daemon(stocked):
    async with stocked.open() as daemon:
        base = damage(daemon)
        found = await scrubbed(daemon)
        (row,) = found["damaged"]
        assert (row["artefact"], row["medium"], row["count"]) == (base.digest, "tiny 1", 1)
        assert row["faults"][0]["file"] == "model.safetensors"
        assert row["faults"][0]["recorded"] != row["faults"][0]["found"]
        await scrubbed(daemon)
        assert len(daemon.events("store.damaged")) == 1
        assert daemon.events("store.damaged")[0].cause == daemon.events("store.scrub")[0].seq
    async with stocked.open() as daemon:
        with pytest.raises(VerificationFailed) as caught:
            admissible.usable(daemon.services, base)
        assert (caught.value.key, caught.value.fields["medium"]) == ("artefact.damaged", "tiny 1")
        assert "tiny 1 again" in caught.value.remedy
        admissible.usable(daemon.services, daemon.state.resolve("tiny", Kind.TOKENIZER))


async def test_importing_the_medium_again_repairs(stocked):
    async with stocked.open() as daemon:
        base = damage(daemon)
        await scrubbed(daemon)
        request = await daemon.take_in(stocked.media_root / "medium")
        assert daemon.state.damaged
        with pytest.raises(VerificationFailed):
            daemon.services.store.verify(base)
        await daemon.admit(request)
        daemon.services.store.verify(base)
        admissible.usable(daemon.services, base)
        assert (await scrubbed(daemon))["damaged"] == []
        daemon.at_rest()


async def test_what_is_gone_altogether_is_damage_too(stocked):
    async with stocked.open() as daemon:
        suite = daemon.state.resolve("quiz", Kind.SUITE)
        daemon.services.store.remove(suite.digest)
        found = await scrubbed(daemon)
        assert [one["artefact"] for one in found["damaged"]] == [suite.digest]
        await daemon.admit(await daemon.take_in(stocked.media_root / "medium"))
        daemon.services.store.verify(suite)


async def test_a_training_on_a_damaged_base_is_refused_before_it_starts(stocked):
    from holdfast.client import training

    async with stocked.open() as daemon:
        damage(daemon)
        await scrubbed(daemon)
        async with daemon.session("olga") as client:
            with pytest.raises(VerificationFailed) as caught:
                await training.start(client, stocked.recipe(), "tiny")
        assert caught.value.key == "artefact.damaged"
        assert "train.run" not in daemon.actions()


def test_the_command_line_exits_3_and_names_what_is_damaged(stocked):
    stocked.run("up")
    out, _ = stocked.call("store", "scrub", who="bob")
    assert "3 of 3 artefacts" in out
    stocked.run("down")
    path = next((stocked.home.store / "artefacts").glob("*/tokenizer.json"))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b" ")
    stocked.run("up")
    out, err = stocked.call("store", "scrub", who="bob", code=3)
    assert "DAMAGED: tokenizer tiny@1 (import tiny 1 again)" in out
    assert "1 of 3 artefacts in the store are damaged" in err
