"""Releases by the keyboard at 80 columns and 24 lines: proposed by one person, approved by another, rolled back by one alone."""

from __future__ import annotations

import pytest
from tests.integration.daemon.releasing import approve, gguf, propose, train

from .seeing import fill, forget, read_to_the_end, seen, until, until_seen, until_told
from .test_console_acts import console, daemon, sit_down

pytestmark = pytest.mark.model
__all__ = ["daemon", "gguf"]  # fixtures


async def test_a_run_is_proposed_approved_by_another_person_and_rolled_back(daemon, gguf):
    first = await propose(daemon, await train(daemon, gguf, "lesson", 1))
    await approve(daemon, first)
    second = await train(daemon, gguf, "lesson", 2)
    number = daemon.state.runs[second.run.digest]
    async with console(daemon, "olga") as pilot:
        await pilot.press("7")
        await until_seen(pilot, "b rolls lesson back")
        await pilot.press("b")
        await until_told(pilot, "Select a release whose alias has an earlier one")
        await pilot.press("p")
        await until_seen(pilot, "Propose a release")
        await fill(pilot, str(number), "")
        await until_told(pilot, "waits for an administrator: a approves it.")
        await until_seen(pilot, "x takes it back")
        request = max(daemon.state.releases.proposals)
        await pilot.press("a")
        await until_told(pilot, "olga may not do that: it needs the role administrator.")
        await sit_down(pilot, "bob")
        forget(pilot.app)
        await until_seen(pilot, "a shows and approves it")
        await pilot.press("a")
        read = await read_to_the_end(pilot)
        for text in (
            f"#{number} lesson@1",
            "quiz/all: 0.9 on q8_0",
            "dataset      rows@1",
            "base         tiny@1",
            "go (event",
        ):
            assert text in read
        await until_told(pilot, f"lesson is release #{request}: it is served when its base is.")
        await until_seen(pilot, "superseded")
        await pilot.press("b")
        await until_seen(pilot, "Roll lesson back")
        assert f"Earlier ones: {first['request']}" in seen(pilot.app)
        await fill(pilot, "It answers worse.")  # the release before stands there
        await until_told(pilot, f"lesson is release #{first['request']}")
        await until_seen(pilot, "rolled back")
        await until(pilot, lambda: "superseded" not in seen(pilot.app))
    assert daemon.state.releases.in_force("lesson").request == first["request"]
    assert daemon.events("release.rollback")[0].actor.person == "bob"
    daemon.at_rest()
