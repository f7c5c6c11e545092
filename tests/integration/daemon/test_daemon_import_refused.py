"""Media that the daemon must not take in: the active generation stays, and nothing is left of the attempt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.daemon import imports
from holdfast.errors import NotFound, NotPermitted, UntrustedBundle
from holdfast.trust import ceremony


def flip_a_byte(medium, _):
    installed = {path.name for path in (medium.parent / "medium").glob("chunks/*/*")}
    chunk = next(path for path in medium.glob("chunks/*/*") if path.name not in installed)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0x40
    chunk.chmod(0o600)
    chunk.write_bytes(bytes(data))


def add_an_empty_file(medium, _):
    (medium / "metadata" / "notes").touch()


def take_a_chunk_away(medium, _):
    next(medium.glob("chunks/*/*")).unlink()


def resign(medium, pairs, *, days=30):
    root = (medium / "metadata" / "1.root.json").read_bytes()
    manifest = (medium / "targets" / "manifest.json").read_bytes()
    made = ceremony.make_release(
        pairs,
        root,
        targets={"manifest.json": manifest},
        first_version=2,
        expires=datetime.now(UTC) + timedelta(days=days),
    )
    for name, data in made.files.items():
        (medium / "metadata" / f"{name}.json").write_bytes(data)


def let_it_expire(medium, pairs):
    resign(medium, [pairs["ada"], pairs["bo"]], days=-1)


def sign_by_one_holder(medium, pairs):
    resign(medium, [pairs["ada"]])


def take_all_away(medium, _):
    shutil.rmtree(medium)


def swap_two_chunks(medium, _):
    one, other = sorted(medium.glob("chunks/*/*"), key=lambda path: path.stat().st_size)[-2:]
    data = one.read_bytes()
    one.write_bytes(data[:1] + bytes(len(data) - 1))
    other.write_bytes(bytes(other.stat().st_size))


@pytest.fixture
async def running(stocked):
    async with stocked.open() as opened:
        yield opened


async def refused(daemon, medium, kind=UntrustedBundle):
    with pytest.raises(kind) as caught:
        await daemon.take_in(medium)
    assert daemon.state.active == 1
    assert [one.state for one in daemon.state.imports.values()] == ["admitted", "failed"]
    failed = daemon.events("bundle.import.failed")[0]
    assert failed.params["error"] == caught.value.key
    assert caught.value.remedy
    daemon.at_rest()
    return caught.value


@pytest.mark.parametrize(
    ("spoil", "key"),
    [
        (flip_a_byte, "media.changed"),
        (add_an_empty_file, "media.unlisted"),
        (take_a_chunk_away, "media.missing"),
        (let_it_expire, "trust.expired"),
        (sign_by_one_holder, "trust.holders"),
    ],
)
async def test_a_spoiled_medium_is_refused_and_leaves_nothing(running, media, pairs, spoil, key):
    medium = running.place.insert(media.second, "second")
    spoil(medium, pairs)
    error = await refused(running, medium)
    assert (error.key, error.exit_code) == (key, 3)


@pytest.mark.parametrize(
    ("spoil", "key"),
    [(flip_a_byte, "media.changed"), (take_all_away, "media.missing"), (swap_two_chunks, "media.changed")],
)
async def test_a_medium_that_changes_between_check_and_copy_is_refused(
    running, media, spoil, key, monkeypatch
):
    medium = running.place.insert(media.second, "second")
    real = imports.importer.take_in

    def spoil_then_take(*arguments):
        spoil(medium, None)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(imports.importer, "take_in", spoil_then_take)
        error = await refused(running, medium)
    assert (error.key, error.exit_code) == (key, 3)
    shutil.rmtree(medium, ignore_errors=True)
    request = await running.take_in(running.place.insert(media.second, "second"))
    await running.admit(request)
    running.at_rest()


async def test_what_the_inspection_finds_is_told_recorded_and_shown(running, press, media):
    """A chat template that reaches for Python's insides, signed by a publisher who did not look."""
    medium = press.publish(
        "hostile", version="66", previous=media.first, template="{{ ''.__class__.__mro__ }}"
    )
    error = await refused(running, running.place.insert(medium, "hostile"))
    assert error.exit_code == 3
    request = max(running.state.imports)
    async with running.session("alice") as client:
        shown = await client.call("GET", f"/v1/bundles/{request}")
    (finding,) = shown["findings"]
    assert finding["file"] == "chat_template.jinja"
    assert finding["key"].startswith("formats.")
    assert finding["sentence"].startswith("tokenizer/tiny: ")
    assert shown["resumable"] is False
    assert not [*running.place.home.quarantine.iterdir()]


async def test_an_older_medium_than_the_installed_is_refused(running, media):
    await running.admit(await running.take_in(running.place.insert(media.second, "second")))
    with pytest.raises(UntrustedBundle) as caught:
        await running.take_in(running.place.media_root / "medium")
    assert caught.value.key == "trust.rollback"
    assert running.state.active == 2
    running.at_rest()


async def test_a_medium_of_strangers_is_refused(running, press, pairs):
    strangers = type(press)(press.folder / "strangers", [pairs["bob"], pairs["olga"]])
    medium = running.place.insert(strangers.publish("foreign", version="1"), "foreign")
    assert (await refused(running, medium)).exit_code == 3


async def test_a_bundle_for_another_zone_is_refused(running, press, media):
    medium = press.publish("abroad", version="3", previous=media.first, zone="abroad")
    assert (await refused(running, running.place.insert(medium, "abroad"))).key == "bundle.zone"


async def test_nothing_is_imported_before_a_root_was_pinned(place, media):
    place.found()
    async with place.open() as daemon:
        with pytest.raises(NotFound) as caught:
            await daemon.take_in(place.insert(media.first))
        assert caught.value.key == "trust.none"
        assert "trust init" in caught.value.remedy
        assert daemon.state.active == 0
        daemon.at_rest()


async def test_a_root_pinned_while_the_daemon_runs_is_recorded_before_it_is_used(place, media):
    place.found()
    async with place.open() as daemon:
        assert not daemon.events("trust.pinned")
        place.found(media.first)
        await daemon.take_in(place.insert(media.first))
        actions = daemon.actions()
        assert actions.index("trust.pinned") < actions.index("bundle.import")


async def test_media_are_taken_from_beneath_the_media_roots_only(running, media, tmp_path):
    root = running.place.media_root
    outside = shutil.copytree(media.second, tmp_path / "outside")
    (root / "link").symlink_to(outside)
    (root / "deep").mkdir()
    (root / "deep" / "link").symlink_to(root / "medium")
    (root / "file").touch()
    async with running.session("alice") as client:
        for named, kind, key in (
            (outside, NotPermitted, "media.root"),
            (f"{root}/../outside", NotPermitted, "media.root"),
            (f"{root}-beside", NotPermitted, "media.root"),
            ("medium", NotPermitted, "media.root"),
            (root / "link", NotPermitted, "media.link"),
            (root / "link" / "metadata", NotPermitted, "media.link"),
            (root / "deep" / "link", NotPermitted, "media.link"),
            (root / "file", NotFound, "media.missing"),
            (root / "nothing", NotFound, "media.missing"),
            (f"{root}/medium\0/x", NotFound, "media.missing"),
        ):
            with pytest.raises(kind) as caught:
                await client.call("POST", "/v1/bundles/import", {"path": str(named)})
            assert caught.value.key == key, named
    assert len(running.state.imports) == 1
    running.at_rest()


SMALL = """
import asyncio, json, subprocess, sys
from datetime import UTC, datetime
from pathlib import Path
home, script = Path(sys.argv[1]), sys.argv[2]
subprocess.run(["/usr/bin/env", "mount", "-t", "tmpfs", "-o", "size=" + sys.argv[3], "tmpfs", str(home)], check=True)
exec(script)
"""
"""Runs a script over a home that is a small file system of its own, in namespaces of its own."""


TIGHT = {"low_space_bytes": 2**20, "reserve_bytes": 2**20}  # as little as a site may keep for its log


def in_small_home(home, size, script):
    home.mkdir(parents=True)
    done = subprocess.run(
        ["/usr/bin/env", "unshare", "-rm", sys.executable, "-c", SMALL, str(home), script, size],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


SHORT_OF_SPACE = """
from holdfast.errors import HoldfastError, NoSpace
from holdfast.trust.workflow import TrustState
from holdfast.daemon import process
from holdfast.daemon.sessions import Session
from holdfast.daemon import imports
from holdfast.cli import service
from holdfast.media import trusthome
from holdfast.paths import Home
from holdfast.trust import fingerprint
place = home.parent
service.found_home(Home(home), place / "site.toml")
root = (place / "media" / "medium" / "metadata" / "1.root.json").read_bytes()
trusthome.pin(home / "trust", root, fingerprint.of_root(root), datetime.now(UTC))
async def work():
    async with process.opened(Home(home)) as services:
        session = Session("s", services.state.people["alice"], 0, 1e18)
        job = await imports.submit(services, session, str(place / "media" / "medium"))
        last = [entry async for entry in job.follow(0)][-1]["error"]
        left = [path for path in services.home.quarantine.rglob("*") if path.is_file() and path.name != "journal"]
        left += (services.home.store / "stage").iterdir()
        print(json.dumps([last["type"], last["key"], last["fields"], len(left)]))
asyncio.run(work())
"""


def test_too_little_disk_is_told_with_figures_before_anything_is_copied(place, media):
    import json

    place.audit = TIGHT
    place.site_document()
    place.media_root.mkdir()
    place.insert(media.first)
    kind, key, fields, left = json.loads(in_small_home(place.home.root, "16m", SHORT_OF_SPACE)[-1])
    assert (kind, key, left) == ("NoSpace", "store.no-space", 0)
    assert fields["needed"] > 2**26  # the bundle and the reserve of the log
    assert 0 < fields["free"] < 2**24


FULL_DISK = """
from holdfast.errors import NoSpace
from holdfast.daemon import process
from holdfast.audit.event import Actor
from holdfast.cli import service
from holdfast.paths import Home
service.found_home(Home(home), home.parent / "site.toml")
ran = []
async def work():
    async with process.opened(Home(home)) as services:
        alice = Actor(person="alice", uid=0, role="administrator", session="s")
        with (home / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError:
                pass
        for _ in range(200):
            try:
                async with services.recorder.act(alice, "bundle.rollback", {"from": 1, "to": 2}):
                    ran.append(services.log.size)
            except NoSpace as error:
                print(json.dumps([error.key, len(ran), services.state.size, services.log.size]))
                break
        try:
            async with services.recorder.act(alice, "bundle.rollback", {"from": 1, "to": 2}):
                print(json.dumps("it ran"))
        except NoSpace as error:
            print(json.dumps(error.key))
asyncio.run(work())
(home / "ballast").unlink()
async def again():
    async with process.opened(Home(home)) as services:
        print(json.dumps([len(services.log.unfinished()), services.state.size == services.log.size]))
asyncio.run(again())
"""


def test_an_act_whose_intent_cannot_be_recorded_does_not_happen(place):
    import json

    place.audit = TIGHT
    place.site_document()
    told = [json.loads(line) for line in in_small_home(place.home.root, "8m", FULL_DISK)]
    (key, ran, folded, synced), after, reopened = told
    assert key == after == "audit.reserve"
    assert folded == synced
    assert ran < 200
    assert reopened == [0, True]
