"""What the console does when somebody may not, when the daemon goes, and when there is nothing yet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from textual import events

from holdfast.daemon import process
from holdfast.daemon.app import create_app
from holdfast.errors import HoldfastError, NotAuthenticated, NotFound
from holdfast.keys import person
from holdfast.paths import Home
from holdfast_tui import actions, identity
from holdfast_tui.app import HoldfastApp
from holdfast_tui.messages import ChatEnded, ChatText
from holdfast_tui.screens.dialogs import Decision, Field, Form, Reading
from holdfast_tui.screens.section import Section
from holdfast_tui.screens.tables import Listing
from holdfast_tui.widgets.transcript import Transcript

from .conftest import PASSPHRASE, PEOPLE, daemon
from .recorded import Recorded
from .seeing import fill, leave, seen, told, until, until_seen, until_told

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.screen import Screen

    from .conftest import Place


def recorded(who: str, **how: bool) -> tuple[HoldfastApp, Recorded]:
    transport = Recorded(**how)
    return HoldfastApp(Home(Path("/nowhere")), person.generate(who), transport), transport


async def test_what_a_role_may_not_do_is_told_with_the_way_out() -> None:
    app, transport = recorded("aude")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "aude (auditor)")
        assert "(i import)" in seen(app)
        await pilot.press("i")
        assert "Press w" in await until_told(pilot, "needs the role administrator or operator")
    assert ("POST", "/v1/bundles/import") not in transport.asked


async def test_the_daemons_refusal_is_told_with_its_remedy() -> None:
    app, _ = recorded("alice")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "waiting")
        await pilot.press("i")
        await until_seen(pilot, "Import a medium")
        await fill(pilot, "/media/[bold]x")
        assert "Record it." in await until_told(pilot, "POST /v1/bundles/import was not recorded.")


@pytest.mark.parametrize(
    ("make", "key", "answer"),
    [
        (lambda: Form("Say", [Field("what", "What", optional=True)]), "enter", {"what": ""}),
        (lambda: Decision("Do it", "It is done.", "do it"), "escape", False),
        (lambda: Reading("Read", "A text."), "escape", None),
        (lambda: Listing("See", [("one", 4)], [], {}, look=str, empty="None."), "escape", None),
    ],
)
async def test_a_key_that_is_pressed_again_and_again_closes_a_dialog_once(
    make: Callable[[], Screen[object]], key: str, answer: object
) -> None:
    app, _ = recorded("olga")
    given: list[object] = []
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "waiting")
        dialog = make()
        await app.push_screen(dialog, given.append)
        await pilot.pause()
        assert app._driver is not None
        for _ in range(3):  # before the first of them is dealt with
            app._driver.send_message(events.Key(key, None))
        await until(pilot, lambda: given)
        for _ in range(
            8
        ):  # the other keys are dealt with too: each pass takes them from one widget to the next
            await pilot.pause()
    assert given == [answer]


async def test_a_lost_daemon_is_a_state_of_the_strip_and_comes_back_by_itself() -> None:
    app, transport = recorded("olga")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "root v1")
        transport.gone = True
        await until_seen(pilot, "DAEMON GONE")
        await pilot.press("2")
        assert isinstance(app.screen, Section)
        assert not told(app)
        transport.gone = False
        await until_seen(pilot, "root v1")
        await until_seen(pilot, "authority@1.0.0")


async def test_a_forgotten_session_is_opened_again() -> None:
    app, transport = recorded("olga")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "waiting")
        transport.forgets = True
        await pilot.press("r")
        await until(pilot, lambda: transport.logins == 2)
        assert not told(app)


async def test_a_restarted_daemon_is_found_again(site: Place) -> None:
    app = HoldfastApp(site.home, site.pairs["alice"])
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "DAEMON GONE")
        with daemon(site.home):
            await until_seen(pilot, "Nothing was imported yet.")
            assert "no root pinned" in seen(app)
        await until_seen(pilot, "DAEMON GONE")
        with daemon(site.home):
            await until_seen(pilot, "no root pinned")
            await pilot.press("b")
            await until_seen(pilot, "Roll back")
            await fill(pilot, "1")
            await until_told(pilot, "There is no generation 1")
            assert "UNEXPLAINED" not in seen(app)
        await until_seen(pilot, "DAEMON GONE")
        with daemon(site.home) as process_:
            await until_seen(pilot, "no root pinned")
            process_.kill()
            await until_seen(pilot, "DAEMON GONE")
        with daemon(site.home):
            await until_seen(pilot, "! last run UNEXPLAINED")
            await pilot.press("h")
            await until_seen(pilot, "The run before it ended UNEXPLAINED")


async def test_persons_change_over_the_daemons_own_app(site: Place) -> None:
    async with process.opened(site.home) as services:
        transport = httpx.ASGITransport(create_app(services), client=(str(os.getuid()), os.getpid()))
        app = HoldfastApp(site.home, site.pairs["alice"], transport, keys=str(site.keys))
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            await until_seen(pilot, "alice (administrator)")
            await pilot.press("w")
            await until_seen(pilot, "olga (operator)")
            await fill(pilot, "olga", "not it")
            await until_told(pilot, "the passphrase is wrong")
            await until_seen(pilot, "alice (administrator)")
            await pilot.press("w")
            await until_seen(pilot, "Who sits down")
            await fill(pilot, "olga", PASSPHRASE)
            await until_seen(pilot, "olga (operator)")
            await pilot.press("f4")
            await until_seen(pilot, "Reading the log needs the role auditor.")
        recorded_ = [event.action for event in services.log.events()]
        assert recorded_.count("session.opened") == 2
        assert recorded_.count("session.closed") == 2
        assert "access.denied" not in recorded_


async def test_every_action_is_handled_and_explained() -> None:
    app, _ = recorded("olga")
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "olga (")
        for section in actions.SECTIONS:
            await pilot.press(str(actions.SECTIONS.index(section) + 1))
            await pilot.pause()
            assert section == app.section.SECTION
            own = {action.name for action in actions.of(section) if action.section == section}
            assert own <= set(app.section.handlers())
            await pilot.press("question_mark")
            await until_seen(pilot, "Keys of")
            assert actions.of(section)[0].help in seen(app)
            await leave(pilot)


async def test_the_palette_does_what_the_key_does() -> None:
    app, _ = recorded("alice")
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "waiting")
        await pilot.press("ctrl+p", *"roll back")
        await until_seen(pilot, "earlier generation")
        await pilot.press("enter")
        await until_seen(pilot, "the one before if left empty")


def test_no_key_is_bound_twice_in_one_place_and_all_can_be_sent_by_a_serial_line() -> None:
    for section in actions.SECTIONS:
        keys = [key for action in actions.of(section) for key in action.keys]
        assert len(keys) == len(set(keys))
        for key in keys:
            assert len(key) == 1 or key in (
                "question_mark",
                "ctrl+p",
                "f1",
                "f2",
                "f3",
                "f4",
                "f5",
                "f6",
                "f7",
            ), key


@pytest.mark.parametrize("role", ["administrator", "operator", "auditor"])
def test_refusals_name_a_role_that_may(role: str) -> None:
    for action in actions.REGISTRY:
        refusal = actions.refusal(action, [role])
        if refusal is not None:
            assert role not in refusal
            other = refusal.removeprefix("needs the role ").split(" or ")[0]
            assert actions.refusal(action, [other]) is None


@pytest.mark.parametrize("name", ["nobody", "../alice", "a/b", ""])
def test_a_key_that_is_not_there_is_told_with_the_way_out(name: str, site: Place) -> None:
    with pytest.raises(NotFound) as caught:
        identity.unlock(site.keys, name, PASSPHRASE)
    assert caught.value.key == "keys.missing"
    assert "HOLDFAST_KEYS" in caught.value.remedy


def test_keys_open_with_their_passphrase_alone(site: Place) -> None:
    for name in PEOPLE:
        assert identity.unlock(site.keys, name, PASSPHRASE) == site.pairs[name]
    with pytest.raises(NotAuthenticated):
        identity.unlock(site.keys, "olga", "no passphrase of hers")
    (site.keys / "olga.key").write_bytes(b"{}")
    with pytest.raises(HoldfastError):
        identity.unlock(site.keys, "olga", PASSPHRASE)


async def test_an_answer_of_the_person_before_is_not_shown_to_the_next() -> None:
    app, _ = recorded("olga")
    async with app.run_test(size=(80, 24)) as pilot:
        await until_seen(pilot, "olga (")
        await pilot.press("3")
        await until_seen(pilot, "starter:authority")
        section = app.section
        transcript = section.query_one(Transcript)
        first = transcript.ask("olga", "Whose is the quay?")
        section.post_message(ChatText(first, "The answer to the first"))
        await until_seen(pilot, "The answer to the first")
        section.person_changed()
        await until(pilot, lambda: "Whose is the quay?" not in seen(app))
        section.post_message(ChatText(first, " goes on"))
        section.post_message(ChatEnded(first, None))
        second = transcript.ask("bob", "And the water?")
        section.post_message(ChatText(first, "late"))
        section.post_message(ChatText(second, "The state's."))
        await until_seen(pilot, "The state's.")
        assert "late" not in seen(app)
        assert "goes on" not in seen(app)
        assert "no receipt" not in seen(app)
