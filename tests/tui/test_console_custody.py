"""Sealed texts and witnesses by the keyboard at 80 columns and 24 lines, on a daemon's own app and an auditor's own device."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.integration.daemon.test_daemon_sealed import answered

from holdfast.audit import cosigning
from holdfast.audit.witnessfolder import WitnessFolder
from holdfast.governance.sealings import Standing
from holdfast.keys import scryptbox
from holdfast_tui.screens.codes import Codes

from .seeing import fill, forget, leave, read_to_the_end, seen, until, until_seen, until_told
from .test_console_acts import console, daemon, sit_down
from .test_console_evidence import scanned

__all__ = ["daemon"]  # a fixture
REASON = "A complaint was made."


async def test_texts_are_asked_for_from_the_event_and_granted_by_another_person(daemon, tmp_path):
    seq = answered(daemon)
    proof = tmp_path / "proof"
    async with console(daemon, "aude") as pilot:
        await pilot.press("4")
        await until_seen(pilot, "opened a session", 120)
        await pilot.press("f")
        await until_seen(pilot, "Show only")
        await fill(pilot, "answer", "", "", "", "")
        await until_seen(pilot, "Only action answer")
        await until_seen(pilot, "tax-office")
        await pilot.press("enter")
        await until_seen(pilot, f"Event {seq + 1}")
        assert "answer.done, outcome of answer" in seen(pilot.app)
        await pilot.press("p")
        await until_seen(pilot, "Write the proof")
        await fill(pilot, str(proof))
        await until_told(pilot, "The proof of event")
        await pilot.press("u")
        await until_seen(pilot, f"Ask for the texts of answer {seq}")
        await fill(pilot, REASON)
        await until_told(pilot, "waits for another person")
        await leave(pilot)
        await pilot.press("5")
        await until_seen(pilot, "sealed texts: 1 asked")
        await until_seen(pilot, f"answer {seq}")
        forget(pilot.app)
        await until_seen(pilot, REASON)
        await pilot.press("g")
        await read_to_the_end(pilot)
        await until_told(pilot, "Ask a second person.")
        await sit_down(pilot, "bob")
        await pilot.press("g")
        read = await read_to_the_end(pilot)
        for text in (
            "unseal: The sealed prompt",
            f"event {seq}",
            "prompt, answer",
            REASON,
            "aude alone opens it",
        ):
            assert text in read
        await until_told(pilot, "is granted.")
        await until_seen(pilot, "aude opens it in the command line, once: `holdfast sealed open")
        assert "What is the fee" not in seen(pilot.app)
    (found,) = daemon.state.sealings.requests.values()
    assert (found.standing(daemon.services.now()), found.decided_by) == (Standing.GRANTED, "bob")
    assert proof.read_bytes().startswith(b"c2sp.org/tlog-proof@v1\n")


async def test_erasure_and_retention_are_asked_for_granted_and_refused(daemon):
    answered(daemon)
    async with console(daemon, "alice") as pilot:
        await pilot.press("5")
        await until_seen(pilot, "No exception was asked for")
        await pilot.press("d")
        await until_seen(pilot, "Ask for a subject's sealed texts")
        await fill(pilot, "tax-office", "Asked for erasure.", "ann")
        await until_seen(pilot, "x takes it back")
        await pilot.press("k")
        await until_seen(pilot, "Which texts")
        await fill(pilot, "prompt", "soon", "The schedule.")
        await until_told(pilot, "Type a number")
        await pilot.press("k")
        await until_seen(pilot, "Which texts")
        await fill(pilot, "prompt", "90", "The schedule.")
        await until_seen(pilot, "prompts 90 days")
        await sit_down(pilot, "bob")
        forget(pilot.app)
        await until_seen(pilot, "g shows and grants it")
        await pilot.press("x")
        await until_seen(pilot, "Refuse request")
        await fill(pilot, "Ninety is too few.")
        await until_seen(pilot, "Refused by bob: Ninety is too few.")
        await pilot.press("g")  # of those that are open, one is left
        read = await read_to_the_end(pilot)
        assert "can't be undone" in read
        assert "Asked for erasure." in read
        await until_told(pilot, "is granted.")
        await until(pilot, lambda: "sealed texts" not in seen(pilot.app))
    assert len(daemon.state.sealings.erased) == 1
    assert not daemon.state.sealings.retention
    daemon.at_rest()


@pytest.fixture
def device(tmp_path):
    return WitnessFolder.create(tmp_path / "device", "auditor.example/ada", "open sesame", n=scryptbox.MIN_N)


async def test_a_witness_is_added_asked_by_file_and_by_codes_and_its_answer_taken_in(
    daemon, device, tmp_path
):
    request, answer = tmp_path / "request", tmp_path / "answer"
    keys = (daemon.place.home.log / "log.pub").read_bytes()

    def cosign(data: bytes) -> int:
        made = cosigning.cosign(
            device, data, log_keys=keys, opened=lambda: device.open("open sesame"), now=int(time.time())
        )
        answer.write_bytes(made.note)
        return made.size

    async with console(daemon, "alice") as pilot:
        await pilot.press("6")
        await until_seen(pilot, "No witness cosigns this log yet")
        await pilot.press("a")
        await until_seen(pilot, "Add a witness")
        await fill(pilot, "ada", str(tmp_path / "nothing"))
        await until_told(pilot, "can't be read")
        await pilot.press("a")
        await until_seen(pilot, "Add a witness")
        await fill(pilot, "ada", str(Path(device.path) / "witness.pub"))
        await until_seen(pilot, "A witness was added")
        await pilot.press("escape")
        await until_seen(pilot, "never")
        await pilot.press("c")
        await until_told(pilot, "needs the role auditor")
        await sit_down(pilot, "aude")
        await pilot.press("f")
        await until_seen(pilot, "Write a checkpoint for ada")
        await fill(pilot, str(request))
        await until_told(pilot, "The checkpoint is in")
        size = cosign(request.read_bytes())
        await pilot.press("t")
        await until_seen(pilot, "Take in what a witness cosigned")
        await fill(pilot, str(answer))
        await until_told(pilot, f"ada cosigned {size} events")
        await until(pilot, lambda: "never" not in seen(pilot.app))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, Codes))
        cut = await scanned(pilot, len(pilot.app.screen._codes))
        await leave(pilot)
        later = cosign("\n".join(cut).encode())
        assert later > size
        await pilot.press("t")
        await until_seen(pilot, "Take in what a witness cosigned")
        await fill(pilot, str(answer))
        await until_told(pilot, f"ada cosigned {later} events")
        await sit_down(pilot, "alice")
        await pilot.press("x")
        await until_seen(pilot, "Remove the witness ada")
        await fill(pilot, "The device was lost.")
        await until_seen(pilot, "No witness cosigns this log yet")
    assert [one.params["size"] for one in daemon.events("audit.cosigned")] == [size, later]
    assert daemon.events("audit.witness.removed")[0].params["reason"] == "The device was lost."
