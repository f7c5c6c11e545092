"""What a person at the terminal sees and types."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from textual.events import Paste
from textual.widgets import Input, Static

from holdfast_tui.screens.dialogs import Decision, Form, Switch

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App
    from textual.pilot import Pilot

LONG = 30  # characters; each typed key takes the pilot some hundredths of a second
PATIENCE = 120  # seconds; a busy machine may take as long, and a quick one waits no longer than it must
HEARD: WeakKeyDictionary[App[None], list[str]] = (
    WeakKeyDictionary()
)  # notifications, until somebody waited for them


def seen(app: App[None]) -> str:
    """Give the text of the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def told(app: App[None]) -> str:
    """Give all notifications that are up."""
    return "\n".join(f"{one.title}: {one.message}" for one in app._notifications)


def forget(app: App[None]) -> None:
    """Take all notifications away."""
    app.clear_notifications()
    HEARD.pop(app, None)


async def until(pilot: Pilot[None], what: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for something to be true; show the screen if it never is."""
    try:
        async with asyncio.timeout(seconds):
            while not what():
                await pilot.pause(0.05)
    except TimeoutError:
        heard = "\n".join(HEARD.get(pilot.app, []))
        raise AssertionError(f"not within {seconds} s:\n{seen(pilot.app)}\n{heard}") from None


async def until_seen(pilot: Pilot[None], text: str, seconds: float = PATIENCE) -> None:
    """Wait for a text on the screen."""
    await until(pilot, lambda: text in seen(pilot.app), seconds)


async def until_told(pilot: Pilot[None], text: str, seconds: float = PATIENCE) -> str:
    """Wait for a notification, which may be gone again by then; each is given once."""

    def found() -> str | None:
        return next((one for one in HEARD.get(pilot.app, []) if text in one), None)

    await until(pilot, found, seconds)
    whole = str(found())
    HEARD[pilot.app].remove(whole)
    return whole


async def leave(pilot: Pilot[None]) -> None:
    """Close a dialog: the next key is for what lies beneath it."""
    screen = pilot.app.screen
    await pilot.press("escape")
    await until(pilot, lambda: pilot.app.screen is not screen)


async def fill(pilot: Pilot[None], *answers: str) -> None:
    """Answer a form line by line, Enter after each; what stands there is replaced.

    What is long is pasted, as a person would. No key is pressed before the line that should take it has the focus.
    """
    await until(pilot, lambda: isinstance(pilot.app.screen, Form) and pilot.app.screen.focused)
    screen = pilot.app.screen
    for answer in answers:
        line = screen.focused
        assert isinstance(line, Input | Switch)
        await pilot.press("ctrl+u")
        if len(answer) > LONG:
            line.post_message(Paste(answer))
            await pilot.pause()
        else:
            await pilot.press(*answer)
        if isinstance(line, Input):
            await until(pilot, lambda line=line, answer=answer: line.value == answer)
        await pilot.press("enter")
        await until(pilot, lambda line=line: pilot.app.screen is not screen or screen.focused is not line)


async def read_to_the_end(pilot: Pilot[None]) -> str:
    """Press Enter until the dialog has decided; give all that was seen of it."""
    pages = []
    await until(pilot, lambda: isinstance(pilot.app.screen, Decision))
    screen = pilot.app.screen
    body = screen.query_one("#reading-body").query_one(Static)
    await until_seen(pilot, "Enter: ")
    while pilot.app.screen is screen:
        pages.append(seen(pilot.app))
        at = screen.find_widget(body).region
        await pilot.press("enter")
        await until(
            pilot, lambda at=at: pilot.app.screen is not screen or screen.find_widget(body).region != at
        )
    return "\n".join(pages)
