"""What an auditor does at the console: events whole and inert, proofs, verification, queries, codes that scan; with one that answers as recorded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st
from rich.segment import ControlType, Segment
from rich.style import Style
from rich.text import Text
from tests.integration.witness.toylog import ToyLog
from textual.color import Color
from textual.widgets import Static

from holdfast.audit import frames, qr, witness
from holdfast_tui import asked, evidence, health, queries
from holdfast_tui.inert import INERT
from holdfast_tui.reading import DIALOG, age, plain, since
from holdfast_tui.screens.codes import Codes

from .logged import ANSWERS, EVENTS, HALTED, HOSTILE, QUERIES, ROWS, VERIFIED
from .recorded import status
from .seeing import HEARD, fill, leave, seen, until, until_seen, until_told
from .test_console_pictures import MOMENT
from .test_console_states import recorded

if TYPE_CHECKING:
    from pathlib import Path

    from textual.app import App
    from textual.pilot import Pilot

OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
WORDS = st.sampled_from(
    ["open", "unseal", "erase", "retention", "granted", "stopped", "2026-01-01T00:00:00Z", HOSTILE]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


def anything(*samples: dict) -> st.SearchStrategy[dict]:
    """Answers with the fields of the samples, and anything in them."""
    names = sorted({name for one in samples for name in one})
    return st.dictionaries(st.sampled_from(names), PLAIN)


def shown(app: App[None]) -> list[Segment]:
    """Give what is written to the terminal for the whole screen."""
    return [segment for strip in app.screen._compositor.render_strips() for segment in strip]


def assert_inert(app: App[None]) -> None:
    for segment in shown(app):
        assert not OBEYED.search(segment.text), segment


@given(anything(*EVENTS, *ANSWERS))
def test_any_event_is_told_on_lines_that_fit(event: dict) -> None:
    lines = [*evidence.described(event), *evidence.under(event).split("\n")[:1]]
    assert evidence.about(event) is not None
    for one in lines[:-1]:
        assert "\n" not in one or max(map(len, one.split("\n"))) <= DIALOG
        assert not OBEYED.search(one.replace("\n", ""))


@given(anything(VERIFIED) | st.builds(lambda index: {"index": index}, anything(VERIFIED["index"])))
def test_any_verdict_is_told(found: dict) -> None:
    assert all(isinstance(one, str) for one in evidence.verdict(found))


@given(anything(status(empty=False, trouble=True), HALTED), anything(HALTED))
def test_any_status_is_told(one: dict, other: dict) -> None:
    assert all(isinstance(line, str) for line in health.described(one | other))
    assert all(isinstance(words, str) for words in health.attention(one | other))


@given(
    anything(
        dict.fromkeys(("request", "kind", "state", "standing", "time", "reason", "requester", "days"), 0)
    )
)
def test_any_request_is_told(found: dict) -> None:
    for one in asked.collected({"sealed": [found], "exceptions": [found]}).values():
        assert isinstance(asked.next_step(one, "bob", MOMENT), str)
        assert all(isinstance(line, str) for line in asked.described(one, MOMENT))
        assert asked.place(one) in ("sealed", "exceptions", "requests")


@given(anything(*QUERIES), anything(ROWS))
def test_any_query_and_answer_is_told(query: dict, answer: dict) -> None:
    assert queries.listed([query])
    assert all(field.label for field in queries.fields(query))
    heads, rows = queries.rows(answer)
    assert all(len(one) == len(heads) for one in rows)
    assert queries.covered("x", answer)


def test_problems_gaps_and_notes_are_counted_apart() -> None:
    found = VERIFIED | {"verified": False, "problems": [{"seq": 7, "what": "its leaf is another one"}] * 50}
    assert evidence.counted(found) == "50 problems, 2 gaps, 1 note"
    text = "\n".join(evidence.verdict(found))
    assert "is NOT what was signed" in text
    assert "50 PROBLEMs" in text
    assert (
        text.index("its leaf is another one")
        < text.index("unexplained restart")
        < text.index("not signed yet")
    )
    assert "and 10 more" in text
    assert "WAS NOT what the log says" in text


def test_an_index_that_is_right_says_so() -> None:
    index = {"differed": None, "seconds": 0.25, "built": None, "fault": None}
    assert "says what the log says (compared in 0.2 s)" in "\n".join(
        evidence.verdict(VERIFIED | {"index": index})
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "under a minute"),
        (60, "1 minute"),
        (7_300, "2 hours"),
        (86_400, "1 day"),
        (9 * 86_400, "9 days"),
        (None, "-"),
    ],
)
def test_ages(seconds: int | None, words: str) -> None:
    assert age(seconds) == words


@given(st.text())
def test_no_moment_has_no_age_and_no_text_is_obeyed(text: str) -> None:
    assert isinstance(since(text, MOMENT), str)
    assert not OBEYED.search(plain(text).replace("\n", ""))
    (segment,) = INERT.apply([Segment(text, Style())], Color(0, 0, 0))
    assert not OBEYED.search(segment.text)
    if text.isprintable():
        assert segment.text == plain(text) == text


def test_what_controls_the_terminal_on_our_own_behalf_passes() -> None:
    ours = Segment("\x1b[H", None, [(ControlType.HOME,)])
    assert INERT.apply([ours], Color(0, 0, 0)) == [ours]


async def test_what_is_hostile_in_events_is_shown_and_does_nothing() -> None:
    app, transport = recorded("aude")
    transport.answers["/v1/audit/events"] = {"events": ANSWERS, "next": None}
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until_seen(pilot, "aude (")
        await pilot.press("4")
        await until_seen(pilot, r"\x1b[2J\x1b]0;gone\x07[bold red]all well[/]")
        assert_inert(app)
        await pilot.press("enter")
        await until_seen(pilot, "Event 213")
        assert_inert(app)
        await until(pilot, lambda: scrolled_to(app, r"\u202egnp.exe"))
        assert_inert(app)
        await leave(pilot)
        await pilot.press("down", "enter")
        await until_seen(pilot, "not of a registered type")
        assert_inert(app)
        await leave(pilot)
        await pilot.press("f")
        await until_seen(pilot, "Show only")
        await fill(pilot, "[bold]x", "", "", "", "")
        await until_seen(pilot, "Only action [bold]x")
        app.section.query_one("#view", Static).update(Text(f"as it came {HOSTILE}"))  # past all words
        await until_seen(pilot, "as it came")
        assert_inert(app)


def scrolled_to(app: App[None], text: str) -> bool:
    if text in seen(app):
        return True
    app.screen.query_one("#reading-body").scroll_page_down(animate=False)
    return False


async def test_an_event_is_read_whole_and_its_proof_written_once(tmp_path: Path) -> None:
    app, transport = recorded("aude")
    transport.answers["/v1/audit/proofs/41"] = {"seq": 41, "event": "{}", "proof": "c2sp.org/tlog-proof@v1\n"}
    out = tmp_path / "proof"
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "aude (")
        await pilot.press("4")
        await until_seen(pilot, "Admitting an inspected bundle")
        await pilot.press("down", "down", "enter")
        await until_seen(pilot, "bundle.admit.done, outcome of bundle.admit")
        await pilot.press("p")
        await until_seen(pilot, "Write the proof of event 41")
        await fill(pilot, str(out))
        await until_told(pilot, "The proof of event 41 is in")
        assert out.read_text() == "c2sp.org/tlog-proof@v1\n"
        await until_seen(pilot, "outcome of bundle.admit")
        await pilot.press("p")
        await until_seen(pilot, "File to write")
        await fill(pilot, str(out))
        await until_told(pilot, "Name a new file.")
        await pilot.press("p")
        await until_seen(pilot, "File to write")
        del transport.answers["/v1/audit/proofs/41"]
        await fill(pilot, str(tmp_path / "other"))
        await until_told(pilot, "was not recorded")
    assert [*tmp_path.iterdir()] == [out]  # noqa: ASYNC240 - nobody waits for it here


async def test_a_filter_is_sent_shown_and_taken_back() -> None:
    app, transport = recorded("aude")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "aude (")
        await pilot.press("4")
        await until_seen(pilot, "aude read the audit log")
        await pilot.press("f")
        await until_seen(pilot, "Show only")
        await fill(pilot, "train.run", "olga", "operator", "recipe", "2026-01-01")
        await until_seen(
            pilot, "Only action train.run, person olga, role operator, kind recipe, since 2026-01-01"
        )
        wanted = transport.queried[-1]
        assert (
            wanted.items()
            >= {"action": "train.run", "person": "olga", "since": "2026-01-01", "kind": "recipe"}.items()
        )
        await pilot.press("f")
        await fill(pilot, "", "", "", "", "")
        await until(pilot, lambda: "Only action" not in seen(app))
        assert "action" not in transport.queried[-1]


async def test_a_saved_query_is_picked_filled_in_asked_and_read() -> None:
    app, transport = recorded("aude")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "aude (")
        await pilot.press("4")
        await until_seen(pilot, "aude read the audit log")
        await pilot.press("s")
        await until_seen(pilot, "Saved queries")
        await pilot.press("enter")
        await until_seen(pilot, "person, text: Whose deeds.")
        await fill(pilot, "olga", "2000-01-01")
        await until_seen(pilot, "rows 1 to 50 of 119")
        assert transport.sent[-1] == (
            "/v1/audit/sql",
            {
                "saved": "acts-of",
                "parameters": {"person": "olga", "since": "2000-01-01"},
                "limit": queries.MAX_ROWS,
            },
        )
        assert_inert(app)
        await pilot.press("n", "n", "n")
        await until_seen(pilot, "rows 101 to 119 of 119")
        await pilot.press("b", "b", "b")
        await until_seen(pilot, "rows 1 to 50 of 119")
        await pilot.press("enter")
        await until_seen(pilot, r"\u202egnp.exe")
        assert_inert(app)
        await leave(pilot)
        await leave(pilot)
        await until_seen(pilot, "aude read the audit log")


async def test_an_answers_texts_are_asked_for_from_either_of_its_events() -> None:
    app, transport = recorded("aude")
    transport.answers["/v1/audit/events"] = {"events": [*EVENTS[1:2], *ANSWERS], "next": None}
    transport.answers["POST /v1/sealed/unseal"] = {"request": 400}
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "aude (")
        await pilot.press("4")
        await until_seen(pilot, "olga trains")
        await pilot.press("u")
        await until_told(pilot, "Select an answer")
        await pilot.press("down", "enter")
        await until_seen(pilot, "Event 213")
        await pilot.press("u")
        await until_seen(pilot, "Ask for the texts of answer 212")
        await fill(pilot, "A complaint.")
        await until_told(pilot, "Request #400 waits for another person")
    assert ("/v1/sealed/unseal", {"answer": 212, "reason": "A complaint."}) in transport.sent


async def test_the_log_that_stops_and_goes_on_again_is_told_once() -> None:
    app, transport = recorded("olga")
    before = transport.answers["/v1/status"]
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "root v1")
        assert "h more" not in seen(app)
        transport.answers["/v1/status"] = before | HALTED
        await until_told(pilot, "takes no new acts")
        await until_seen(pilot, "! ACTS STOPPED: 61.2 MB left · log UNWITNESSED · last run UNEXPLAINED")
        await pilot.press("h")
        await until_seen(pilot, "STOPPED: 61.2 MB are free")
        await pilot.press("escape")
        failed = {"space": HALTED["space"] | {"failure": "The disk is gone."}}
        transport.answers["/v1/status"] = before | HALTED | failed
        await until_seen(pilot, "the log failed")
        transport.answers["/v1/status"] = before
        await until_told(pilot, "acts go on")
        await until(pilot, lambda: "ACTS STOPPED" not in seen(app))
        assert "acts go on" not in "\n".join(HEARD[app])  # but for the one that was waited for


# --- codes


def photograph(app: App[None]) -> np.ndarray:
    """Turn the screen's cells into pixels, by the colours that each is written in."""
    width, height = app.size
    screen = np.zeros((2 * height, width), dtype=np.uint8)
    for row, strip in enumerate(app.screen._compositor.render_strips()):
        column = 0
        for segment in strip:
            fore, back = (bright(segment.style, ground=ground) for ground in (False, True))
            for cell in segment.text:
                upper, lower = {"▀": (fore, back), "▄": (back, fore), "█": (fore, fore)}.get(
                    cell, (back, back)
                )
                screen[2 * row, column], screen[2 * row + 1, column] = upper, lower
                column += 1
    return np.kron(screen, np.ones((4, 4), dtype=np.uint8))


def bright(style: Style | None, *, ground: bool) -> int:
    colour = None if style is None else style.bgcolor if ground else style.color
    return 0 if colour is None else max(colour.get_truecolor())


async def scanned(pilot: Pilot[None], count: int) -> list[str]:
    found = []
    for number in range(1, count + 1):
        await until_seen(pilot, f"{number}/{count} ")
        (code,) = zxingcpp.read_barcodes(photograph(pilot.app), formats=zxingcpp.BarcodeFormat.QRCode)
        found.append(code.text)
        await pilot.press("enter")
        await pilot.pause()
    return found


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("terminal", ["xterm-256color", "linux"])
async def test_codes_scan_off_the_screen_and_give_the_request(
    size: tuple[int, int], terminal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", terminal)
    log = ToyLog(3_000)
    request = log.request(1_777)
    app, transport = recorded("aude")
    transport.answers["POST /v1/audit/checkpoint"] = {
        "request": request.decode(),
        "size": 3_000,
        "checkpoint": "",
    }
    async with app.run_test(size=size, notifications=True) as pilot:
        await until_seen(pilot, "aude (")
        await pilot.press("6")
        await until_seen(pilot, "ministry")
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Codes))
        assert transport.sent[-1] == ("/v1/audit/checkpoint", {"witness": "ada"})
        count = len(witness.frames_of(request))
        cut = await scanned(pilot, count)
        assert len(set(cut)) == count > 1
        joined = witness.parse(frames.join("\n".join(reversed(cut)).encode()))
        whole = witness.parse(request)
        assert (joined.old, joined.proof) == (whole.old, whole.proof)
        assert joined.checkpoint == witness.compact(whole.checkpoint)
        await pilot.press("b")
        await until_seen(pilot, f"{count}/{count} ")
        await pilot.resize_terminal(qr.WIDTH - 1, 24)
        await until_seen(pilot, "A code needs 45")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, Codes))


async def test_a_terminal_without_blocks_is_told_how_to_have_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "vt220")
    app, transport = recorded("aude")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until_seen(pilot, "aude (")
        await pilot.press("6")
        await until_seen(pilot, "ministry")
        await pilot.press("c")
        await until_told(pilot, "Press f")
    assert ("POST", "/v1/audit/checkpoint") not in transport.asked
