"""Pictures of every screen, at the smallest size and at an ordinary one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from holdfast.keys import person
from holdfast.paths import Home
from holdfast_tui.app import HoldfastApp

from .recorded import Recorded
from .seeing import until_seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.pilot import Pilot

SIZES = [(80, 24), (120, 40)]
SCREENS = {
    "bundles": ("alice", "1", "waiting"),
    "training": ("olga", "2", "step 80 of 120"),
    "serving": ("olga", "3", "starter:authority"),
    "audit": ("aude", "4", "bundle.admit.done"),
    "help": ("olga", "question_mark", "Keys of Bundles"),
    "import": ("alice", "i", "Path of the medium"),
}
EMPTY = {
    "bundles": ("alice", "1", "Press i"),
    "training": ("olga", "2", "Press t"),
    "serving": ("olga", "3", "Press s"),
}


def _app(who: str, *, empty: bool) -> HoldfastApp:
    return HoldfastApp(Home(Path("/nowhere")), person.generate(who), Recorded(empty=empty))


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def _come_to(key: str, sign: str, person_: str) -> Callable[[Pilot[None]], object]:
    async def walk(pilot: Pilot[None]) -> None:
        await until_seen(pilot, f"{person_} (")
        await until_seen(pilot, "log ")
        await pilot.press(key)
        await until_seen(pilot, sign)
        await pilot.pause()

    return walk


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("screen", SCREENS)
def test_screen(screen: str, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
    who, key, sign = SCREENS[screen]
    assert snap_compare(_app(who, empty=False), terminal_size=size, run_before=_come_to(key, sign, who))


@pytest.mark.parametrize("screen", EMPTY)
def test_empty_screen_names_the_next_key(screen: str, snap_compare: Callable[..., bool]) -> None:
    who, key, sign = EMPTY[screen]
    assert snap_compare(_app(who, empty=True), terminal_size=(80, 24), run_before=_come_to(key, sign, who))


def test_without_colour(monkeypatch: pytest.MonkeyPatch, snap_compare: Callable[..., bool]) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "vt220")
    app = _app("olga", empty=False)
    assert app.plain
    assert snap_compare(app, terminal_size=(80, 24), run_before=_come_to("2", "step 80 of 120", "olga"))
