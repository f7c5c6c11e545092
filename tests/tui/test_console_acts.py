"""Every act that lets something in, out, or be used again, by the keyboard at 80 columns and 24 lines, on a daemon's own app."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.integration.daemon import late

from holdfast.artefact import Kind
from holdfast.media import claims
from holdfast.media import request as documents
from holdfast.report import folder, verify
from holdfast_tui.app import HoldfastApp

from .seeing import fill, forget, leave, read_to_the_end, seen, until, until_seen, until_told

if TYPE_CHECKING:
    from textual.pilot import Pilot

PASSPHRASE = "open sesame"
REASON = "Its tokens leak names."


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


@asynccontextmanager
async def console(daemon, who):
    transport = httpx.ASGITransport(daemon.app, client=(str(os.getuid()), os.getpid()))
    app = HoldfastApp(daemon.place.home, daemon.place.pairs[who], transport, keys=str(daemon.place.keys))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, f"{who} (")
        await until_seen(pilot, "admitted")
        yield pilot
    assert app.return_code in (None, 0)


async def sit_down(pilot: Pilot[None], who: str) -> None:
    await pilot.press("w")
    await until_seen(pilot, "Who sits down")
    await fill(pilot, who, PASSPHRASE)
    await until_seen(pilot, f"{who} (")


async def take_in(pilot: Pilot[None], medium, told: str) -> None:
    forget(pilot.app)
    await pilot.press("i")
    await until_seen(pilot, "Path of the medium")
    await fill(pilot, str(medium))
    await until_told(pilot, told)


async def test_a_medium_in_volumes_is_collected_admitted_receipted_and_rolled_back(daemon, volumes, tmp_path):
    inserted = [daemon.place.insert(one, one.name) for one in volumes]
    count = len(inserted)
    async with console(daemon, "alice") as pilot:
        await take_in(pilot, inserted[1], f"Insert volume 1 of {count}, then press i.")
        await until_seen(pilot, f"collecting 1/{count}")
        await until_seen(pilot, f"In: 2. Missing: 1, 3-{count}." if count > 3 else "In: 2. Missing: 1, 3.")
        await pilot.press("i")
        await until_seen(pilot, f"Insert volume 1 of {count}.")
        assert str(inserted[1])[-20:] in seen(pilot.app)
        await leave(pilot)
        for medium in inserted[2:]:
            await take_in(pilot, medium, "Insert volume 1 of")
        await take_in(pilot, inserted[0], "waits for a second administrator")
        await until_seen(pilot, f"volume 2 of {count}")
        await pilot.press("a")
        await read_to_the_end(pilot)
        await until_told(pilot, "Ask a second person.")
        assert daemon.state.active == 1
        await sit_down(pilot, "bob")
        await pilot.press("a")
        read = await read_to_the_end(pilot)
        await until_told(pilot, "Generation 2 is active.")
        assert daemon.state.active == 2
        for number in range(1, count + 1):
            assert f"{number} of {count}, serial" in read
        for text in (
            "signed by    ada, bo",
            "role         targets, collection -",
            "valid until",
            "revokes      no",
        ):
            assert text in read
        await until_seen(pilot, "was admitted by bob")
        out = tmp_path / "receipt"
        await pilot.press("e")
        await until_seen(pilot, "Folder to write")
        await fill(pilot, str(out))
        await until_told(pilot, "files of the receipt are in", 120)
        assert verify.verify(folder.read(out), fingerprint=daemon.services.appliance.public.fingerprint).ok
        await pilot.press("b")
        await until_seen(pilot, "Generation; the one before")
        await fill(pilot, "")
        await until_told(pilot, "Generation 1 is active.")
        assert daemon.state.active == 1
        await until_seen(pilot, "gen 1")
    daemon.at_rest()


async def test_a_set_that_is_not_complete_is_given_up(daemon, volumes):
    async with console(daemon, "olga") as pilot:
        await take_in(pilot, daemon.place.insert(volumes[0], "one"), "Insert volume 2")
        await until_seen(pilot, "collecting 1/")
        await pilot.press("d")
        await until_seen(pilot, "Give up import")
        await leave(pilot)
        assert daemon.state.staged
        await pilot.press("d")
        assert "removed from quarantine" in await read_to_the_end(pilot)
        await until_told(pilot, "is given up.")
        await until_seen(pilot, "was discarded by olga")
        await pilot.press("d")
        await until_told(pilot, "Select an import that is not complete")
    assert not daemon.state.staged
    daemon.at_rest()


async def test_what_inspection_refuses_is_told_with_every_finding(daemon, press, media):
    medium = press.publish(
        "sly", version="4444", previous=media.first, template="{{ messages.__class__.__mro__ }}"
    )
    async with console(daemon, "alice") as pilot:
        await take_in(pilot, daemon.place.insert(medium, "sly"), "Refused")
        forget(pilot.app)
        await until_seen(pilot, "is refused: ")
        listed = daemon.state.imports[max(daemon.state.imports)].facts["findings"]
        await pilot.press("enter")
        await until_seen(pilot, "no other copy of the medium would change")
        for one in listed:
            assert f"({one['key']})" in seen(pilot.app)
            assert one["sentence"].split()[0] in seen(pilot.app)
        await leave(pilot)
        await pilot.press("a")
        await until_told(pilot, "No import is waiting.")


async def test_a_second_administrator_rejects_with_a_reason(daemon, media):
    async with console(daemon, "alice") as pilot:
        await take_in(pilot, daemon.place.insert(media.second, "second"), "waits for a second administrator")
        await sit_down(pilot, "bob")
        await pilot.press("x")
        await until_seen(pilot, "asked by alice")
        await fill(pilot, "not ordered")
        await until_told(pilot, "is rejected.")
        await until_seen(pilot, "was rejected by bob: not ordered")
    (event,) = daemon.events("bundle.reject")
    assert (event.actor.person, event.params["reason"]) == ("bob", "not ordered")
    assert event.params["approval"]["statement"]["action"] == "bundle.reject"
    daemon.at_rest()


async def test_an_expired_medium_that_revokes_comes_in_by_an_exception(daemon, press, media):
    base = next(
        one.artefact
        for one in claims.of_medium(media.first).manifest.entries
        if one.artefact.kind is Kind.BASE
    )
    medium = late.revoke(press, "late", media.first, base, reason=REASON, age=60, days=30)
    path = daemon.place.insert(medium, "late")
    async with console(daemon, "alice") as pilot:
        await take_in(pilot, path, "press 5 and e to ask for an exception")
        await pilot.press("5")
        await until_seen(pilot, "No exception was asked for")
        await pilot.press("e")
        await until_seen(pilot, "Ask for an exception")
        await fill(pilot, "The ship comes in June.")  # rule and subject are known from the refusal
        await until_told(pilot, "waits for another administrator")
        await until_seen(pilot, "exceptions: 1 asked, 0 in force")
        await pilot.press("g")
        await read_to_the_end(pilot)
        await until_told(pilot, "Ask a second person.")
        await sit_down(pilot, "bob")
        await pilot.press("g")
        read = await read_to_the_end(pilot)
        assert "expired: One medium may be imported" in read
        assert "The ship comes in June." in read
        await until_seen(pilot, "in force")
        await until_seen(pilot, "exceptions: 0 asked, 1 in force")
        await pilot.press("1")
        await until_seen(pilot, "Generations")
        await take_in(pilot, path, "waits for a second administrator")
        await sit_down(pilot, "alice")
        await pilot.press("a")
        read = await read_to_the_end(pilot)
        await until_told(pilot, "Generation 2 is active.")
        for text in (
            "let in by a granted exception",
            REASON,
            "STOPS BEING USABLE HERE: base tiny@1",
            "no artefact",
        ):
            assert text in read
    assert daemon.state.revocations.keys() == {base.digest}


async def test_what_was_asked_for_is_refused_or_taken_back(daemon):
    async with console(daemon, "alice") as pilot:
        await pilot.press("5")
        await until_seen(pilot, "No exception was asked for")
        for subject in ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"):
            await pilot.press("e")
            await until_seen(pilot, "Ask for an exception")
            await fill(pilot, "floor", subject, "The clock was wrong.")
            await until_told(pilot, "waits for another administrator")
            forget(pilot.app)
        await until(pilot, lambda: seen(pilot.app).count("floor  ") == 2)
        await until_seen(pilot, "x takes it back")
        await pilot.press("x")
        await until_seen(pilot, "Why; it goes on the record")
        await fill(pilot, "a mistake")
        await until_told(pilot, "is refused.")
        await until_seen(pilot, "Refused by alice: a mistake")
        await sit_down(pilot, "bob")
        await pilot.press("x")
        await until_seen(pilot, "Why; it goes on the record")
        await fill(pilot, "the clock is right")
        await until_told(pilot, "is refused.")
        forget(pilot.app)
        await until(pilot, lambda: seen(pilot.app).count("refused") == 2)
        await pilot.press("g")
        await until_told(pilot, "No request is open.")
        await pilot.press("enter")
        await until_seen(pilot, "decided by")
    assert [one.refusal for one in daemon.state.exceptions.values()] == ["the clock is right", "a mistake"]


async def test_an_inventory_is_let_out_by_a_second_administrator_and_written(daemon, tmp_path):
    out = tmp_path / "request.json"
    async with console(daemon, "alice") as pilot:
        await pilot.press("5")
        await until_seen(pilot, "No exception was asked for")
        await pilot.press("i")
        await until_seen(pilot, "Make an inventory")
        await fill(pilot, "")
        await until_told(pilot, "waits for another administrator")
        await until_seen(pilot, "inventory open")
        await pilot.press("f")
        await until_told(pilot, "Select an inventory that was let out.")
        await sit_down(pilot, "bob")
        await pilot.press("g")
        read = await read_to_the_end(pilot)
        assert "INTERNAL" in read
        assert "tokenizer tiny 1" in read
        await until_seen(pilot, "inventory granted")
        await pilot.press("f")
        await until_seen(pilot, "Its label goes with it: INTERNAL")
        await fill(pilot, str(out))
        await until_told(pilot, "is in /")
        data = out.read_bytes()
        forget(pilot.app)
        await pilot.press("f")
        await until_seen(pilot, "File to write")
        await fill(pilot, str(out))
        await until_told(pilot, "Name a new file.")
        assert out.read_bytes() == data
    (found,) = daemon.state.inventories.values()
    assert (found.decided_by, len(daemon.events("request.fetched"))) == ("bob", 1)
    assert {one.kind for one in documents.verify(data).request.artefacts} == {
        Kind.BASE,
        Kind.TOKENIZER,
        Kind.SUITE,
    }
