"""What a person at the terminal sees and types."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual.events import Paste

from holdfast_tui.screens.dialogs import Decision

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App
    from textual.pilot import Pilot

LONG = 30  # characters; each typed key takes the pilot some hundredths of a second


def seen(app: App[None]) -> str:
    """Give the text of the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def told(app: App[None]) -> str:
    """Give all notifications that are up."""
    return "\n".join(f"{one.title}: {one.message}" for one in app._notifications)


async def until(pilot: Pilot[None], what: Callable[[], object], seconds: float = 60) -> None:
    """Wait for something to be true; show the screen if it never is."""
    try:
        async with asyncio.timeout(seconds):
            while not what():
                await pilot.pause(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s:\n{seen(pilot.app)}\n{told(pilot.app)}") from None


async def until_seen(pilot: Pilot[None], text: str, seconds: float = 60) -> None:
    """Wait for a text on the screen."""
    await until(pilot, lambda: text in seen(pilot.app), seconds)


async def until_told(pilot: Pilot[None], text: str, seconds: float = 60) -> None:
    """Wait for a notification."""
    await until(pilot, lambda: text in told(pilot.app), seconds)


async def fill(pilot: Pilot[None], *answers: str) -> None:
    """Answer a form from the line that has the focus, Enter after each; what stands there is replaced.

    What is long is pasted, as a person would.
    """
    for answer in answers:
        focused = pilot.app.screen.focused
        await pilot.press("ctrl+u")
        if len(answer) > LONG and focused is not None:
            focused.post_message(Paste(answer))
            await pilot.pause()
        else:
            await pilot.press(*answer)
        await pilot.press("enter")
    await pilot.pause()


async def read_to_the_end(pilot: Pilot[None]) -> str:
    """Press Enter until the dialog has decided; give all that was seen of it."""
    pages = []
    await until(pilot, lambda: isinstance(pilot.app.screen, Decision))
    while isinstance(pilot.app.screen, Decision):
        await pilot.pause()
        pages.append(seen(pilot.app))
        await pilot.press("enter")
        await pilot.pause()
    return "\n".join(pages)
