"""What a person at the terminal sees and types."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App
    from textual.pilot import Pilot


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
    """Type into a form's lines from the one that has the focus, Enter after each; what stands there is replaced."""
    for answer in answers:
        await pilot.press("ctrl+u", *answer, "enter")
    await pilot.pause()
