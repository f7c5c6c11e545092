"""Pictures of every screen, at the smallest size and at an ordinary one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input

from holdfast.keys import person
from holdfast.paths import Home
from holdfast_tui.app import HoldfastApp

from .recorded import Recorded
from .seeing import until, until_seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.pilot import Pilot

SIZES = [(80, 24), (120, 40)]
MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
# Who looks, the keys that lead there with what is seen after each, and whether there is trouble.
SCREENS = {
    "bundles": ("alice", ("1 waiting",)),
    "collecting": ("alice", ("1 waiting", "down", "down Insert volume 3 of 7")),
    "refused": ("alice", ("1 waiting", "down 14 findings", "enter auto_map")),
    "admit": ("bob", ("1 waiting", "a Admit import #52")),
    "training": ("olga", ("2 step 80 of 120",)),
    "train": ("olga", ("2 step 80 of 120", "t Start a run")),
    "run": ("olga", ("2 step 80 of 120", "down 5946", "enter estimated")),
    "profile": ("olga", ("2 step 80 of 120", "l held out", "enter contradictions")),
    "evaluations": ("olga", ("2 step 80 of 120", "v before-transformers")),
    "comparison": (
        "olga",
        (
            "2 step 80 of 120",
            "v before-transformers",
            "m Compare two",
            "enter",
            "enter worse within noise",
        ),
    ),
    "serving": ("olga", ("3 starter:authority",)),
    "engines": ("olga", ("3 starter:authority", "e 398.5 MB")),
    "service-keys": ("olga", ("3 starter:authority", "k 60/min", "down", "down DEAD")),
    "new-key": ("olga", ("3 starter:authority", "k 60/min", "n Requests at once")),
    "usage": ("olga", ("3 starter:authority", "y Energy is estimated")),
    "audit": ("aude", ("4 aude read the audit log",)),
    "event": (
        "aude",
        ("4 aude read the audit log", "down", "down bundle.admit.done", "enter outcome of bundle.admit"),
    ),
    "filter": ("aude", ("4 aude read the audit log", "f From this time on")),
    "verified": ("aude", ("4 aude read the audit log", "v Verified: no problems")),
    "queries": ("aude", ("4 aude read the audit log", "s Saved queries", "down Saved by aude")),
    "rows": ("aude", ("4 aude read the audit log", "s Saved queries", "down Saved by aude", "enter of 119")),
    "witnesses": ("aude", ("6 ministry",)),
    "requests": ("bob", ("5 in force",)),
    "releases": ("olga", ("7 superseded",)),
    "approve": ("bob", ("7 superseded", "a Approve release #103")),
    "unseal": ("bob", ("5 in force", "g Grant unseal #90")),
    "erase": ("bob", ("5 in force", "down", "g Grant erase #88")),
    "health": ("olga", ("h How the home is",)),
    "grant": ("bob", ("5 in force", "down", "down", "down", "g Grant exception #71")),
    "help": ("olga", ("question_mark Keys of Bundles",)),
    "import": ("alice", ("i Path of the medium",)),
}
TROUBLE = {
    "revoked-served": ("olga", ("3 starter:authority",)),
    "taken-out": ("olga", ("3 starter:authority", "down", "down", "down TAKEN OUT: The engine")),
    "revoked-trained": ("olga", ("2 step 80 of 120", "down at step 119")),
}
HALTED = {
    "halted": ("alice", ("1 ACTS STOPPED",)),
    "halted-health": ("alice", ("1 ACTS STOPPED", "h UNEXPLAINED")),
}
EMPTY = {
    "bundles": ("alice", ("1 Press i",)),
    "training": ("olga", ("2 Press t",)),
    "serving": ("olga", ("3 Press s",)),
    "requests": ("alice", ("5 Press e",)),
    "witnesses": ("alice", ("6 Press a",)),
    "releases": ("olga", ("7 Press p",)),
    "audit": ("aude", ("4 No event fits.",)),
}


def _app(who: str, **how: bool) -> HoldfastApp:
    app = HoldfastApp(Home(Path("/nowhere")), person.generate(who), Recorded(**how))
    app.now = lambda: MOMENT
    return app


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(Input, "cursor_blink", False)  # a picture that is taken later is the same


def _come_to(who: str, steps: Sequence[str]) -> Callable[[Pilot[None]], object]:
    async def walk(pilot: Pilot[None]) -> None:
        await until_seen(pilot, f"{who} (")
        await until_seen(pilot, "log ")
        for step in steps:
            key, _, sign = step.partition(" ")
            await pilot.press(key)
            await until_seen(pilot, sign)
        await until(pilot, lambda: not pilot.app._signs)  # what was read is there, and its sign gone
        await pilot.pause()

    return walk


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("screen", SCREENS)
def test_screen(screen: str, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
    who, steps = SCREENS[screen]
    assert snap_compare(_app(who), terminal_size=size, run_before=_come_to(who, steps))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("screen", TROUBLE)
def test_what_is_revoked_is_seen(
    screen: str, size: tuple[int, int], snap_compare: Callable[..., bool]
) -> None:
    who, steps = TROUBLE[screen]
    assert snap_compare(_app(who, trouble=True), terminal_size=size, run_before=_come_to(who, steps))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("screen", HALTED)
def test_a_log_that_takes_nothing_is_seen(
    screen: str, size: tuple[int, int], snap_compare: Callable[..., bool]
) -> None:
    who, steps = HALTED[screen]
    assert snap_compare(_app(who, halted=True), terminal_size=size, run_before=_come_to(who, steps))


@pytest.mark.parametrize("screen", EMPTY)
def test_empty_screen_names_the_next_key(screen: str, snap_compare: Callable[..., bool]) -> None:
    who, steps = EMPTY[screen]
    assert snap_compare(_app(who, empty=True), terminal_size=(80, 24), run_before=_come_to(who, steps))


def test_without_colour(monkeypatch: pytest.MonkeyPatch, snap_compare: Callable[..., bool]) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "vt220")
    app = _app("olga", trouble=True)
    assert app.plain
    assert snap_compare(app, terminal_size=(80, 24), run_before=_come_to("olga", ("2 step 80 of 120",)))
