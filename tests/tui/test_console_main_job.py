"""The main job by the keyboard alone, at 80 columns and 24 lines, on a real daemon and the real starter content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input, Static

from holdfast.audit import verify
from holdfast_tui.app import HoldfastApp
from holdfast_tui.widgets.chart import LossChart
from holdfast_tui.widgets.transcript import Transcript

from .conftest import PASSPHRASE, STEPS
from .seeing import fill, leave, read_to_the_end, seen, until, until_seen, until_told

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from .conftest import Place

LONG = 240  # seconds for work with a model on a busy machine


async def switch(pilot: Pilot[None], person: str) -> None:
    await pilot.press("w")
    await until_seen(pilot, "Who sits down")
    await fill(pilot, person, PASSPHRASE)
    await until_told(pilot, f"{person} is signed in")
    await until_seen(pilot, f"{person} (")


async def bring_in(pilot: Pilot[None], place: Place) -> None:
    """An administrator imports, and can't admit what they asked for themselves; the second one can."""
    await until_seen(pilot, "Press i to import")
    await pilot.press("i")
    await until_seen(pilot, "Import a medium")
    await fill(pilot, str(place.medium))
    await until_told(pilot, "waits for a second administrator", LONG)
    await until_seen(pilot, "waiting")
    await pilot.press("a")
    await read_to_the_end(pilot)
    await until_told(pilot, "Ask a second person.")
    await switch(pilot, "bob")
    await pilot.press("a")
    assert "signed by    paul, petra" in await read_to_the_end(pilot)
    await until_told(pilot, "Generation 1 is active.", LONG)
    await until_seen(pilot, "PUBLIC")
    await until_seen(pilot, "gen 1")


async def train(pilot: Pilot[None], place: Place) -> None:
    """Training is not an administrator's; an operator starts a run, and the curve fills."""
    await pilot.press("2")
    await until_seen(pilot, "No runs yet.")
    await pilot.press("t")
    await until_told(pilot, "needs the role operator")
    await switch(pilot, "olga")
    await pilot.press("t")
    await until_seen(pilot, "Start a run")
    await fill(pilot, str(place.recipe), "starter", "")
    chart = pilot.app.section.query_one(LossChart)
    await until(pilot, lambda: chart.points, LONG)
    await until_told(pilot, "is done.", LONG)
    assert [step for step, _ in chart.points] == list(range(1, STEPS + 1))
    await until_seen(pilot, f"least {min(loss for _, loss in chart.points):.3f}")
    await until_seen(pilot, "tokens/s · made")
    await pilot.press("enter")
    await until_seen(pilot, "estimated  ")
    page = pilot.app.screen.query_one("#reading-body").query_one(Static)
    for text in ("matrix-product peak", "padding", "states", "environment", "W a core"):
        assert text in str(page.content)
    await leave(pilot)
    await pilot.press("l")
    await until_seen(pilot, "held out")
    await pilot.press("enter")
    await until_seen(pilot, "characters/row")
    await leave(pilot)
    await leave(pilot)


async def serve_and_chat(pilot: Pilot[None]) -> int:
    """The base is quantized, served and asked; both receipts are shown."""
    await pilot.press("f3")
    await until_seen(pilot, "Nothing is served.")
    await pilot.press("z")
    await until_seen(pilot, "Make GGUF files")
    await fill(pilot, "starter", "", "q8_0")
    await until_told(pilot, "Converted.", LONG)
    await pilot.press("s")
    await until_seen(pilot, "Start serving")
    await fill(pilot, "starter", "", "q8_0")
    await until_seen(pilot, "Serving at http", LONG)
    await pilot.press("c")
    await until(pilot, lambda: isinstance(pilot.app.screen.focused, Input))
    await pilot.press(*"What is a permit?", "enter")
    await until_seen(pilot, "answer receipt", LONG)
    # A long answer moves the question out of sight.
    transcript = pilot.app.screen.query_one(Transcript)
    asked, receipts = (str(transcript.query_one(f".{one}", Static).content) for one in ("asked", "receipts"))
    assert asked == "olga: What is a permit?"
    assert transcript.answer
    request, answer = (int(part.split()[0].strip(",")) for part in receipts.split("receipt ")[1:3])
    assert 0 < request < answer
    await pilot.press("escape")
    await until(pilot, lambda: not isinstance(pilot.app.screen.focused, Input))
    return answer


async def audit(pilot: Pilot[None], answer: int, proof: Path, keys: bytes) -> None:
    """An auditor finds the answer's event, writes its proof, verifies the log and asks a saved query."""
    await pilot.press("4")
    await until_seen(pilot, "Reading the log needs the role auditor.")
    await switch(pilot, "aude")
    await until_seen(pilot, "opened a session", LONG)
    await pilot.press("f")
    await until_seen(pilot, "Show only")
    await fill(pilot, "answer", "", "", "", "")
    await until_seen(
        pilot, "Only action answer", LONG
    )  # else an event of another kind may still be the first
    await until_seen(pilot, "answer.done", LONG)
    await pilot.press("enter")
    await until_seen(pilot, f"Event {answer}")
    await pilot.press("p")
    await until_seen(pilot, "Write the proof of event")
    await fill(pilot, str(proof))
    await until_told(pilot, "The proof of event", LONG)
    assert verify.verify_proof(proof.read_bytes(), verify.parse_keys(keys)).ok  # noqa: ASYNC240 - nobody waits for it here
    await leave(pilot)
    await pilot.press("v")
    await until_seen(pilot, "Verified: no problems", LONG)
    await until_seen(pilot, "says what the log says")
    await leave(pilot)
    await pilot.press("s")
    await until_seen(pilot, "acts-of", LONG)
    await fill_query(pilot)
    await until_seen(pilot, "of events 0 to", LONG)
    assert "train.run" in seen(pilot.app)
    await leave(pilot)


async def fill_query(pilot: Pilot[None]) -> None:
    """Ask who did what, of the operator."""
    await pilot.press("enter")
    await until_seen(pilot, "Whose deeds.")
    await fill(pilot, "olga", "2000-01-01", "9999-01-01")


@pytest.mark.model
@pytest.mark.timeout(900)
async def test_import_admit_train_serve_chat_and_audit_by_keyboard(live: Place) -> None:
    app = HoldfastApp(live.home, live.pairs["alice"], keys=str(live.keys))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await bring_in(pilot, live)
        await train(pilot, live)
        answer = await serve_and_chat(pilot)
        await audit(pilot, answer, live.folder / "proof", (live.home.log / "log.pub").read_bytes())
        await pilot.press("q")
    assert app.return_code == 0
