"""Training by the keyboard: data prepared in sight, estimates, what stopped runs and replays say, evaluations side by side."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.daemon.test_daemon_evaluations import evaluate, medium, site, worker

from holdfast.client import datapage
from holdfast.errors import VerificationFailed
from holdfast.keys import person
from holdfast.paths import Home
from holdfast_tui import compared, trained
from holdfast_tui.app import HoldfastApp
from holdfast_tui.screens.dialogs import Switch
from holdfast_tui.screens.training import TrainingSection

from . import learned
from .recorded import Recorded
from .seeing import fill, leave, read_to_the_end, seen, told, until, until_seen, until_told
from .test_console_acts import console

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from holdfast.canonical import Json

__all__ = ["medium", "site", "worker"]  # fixtures
RECIPE = Path(__file__).resolve().parents[2] / "bundles" / "starter" / "adapt.toml"
NARROW = (80, 24)


def recorded(*, empty: bool = False) -> tuple[HoldfastApp, Recorded]:
    transport = Recorded(empty=empty)
    return HoldfastApp(Home(Path("/nowhere")), person.generate("olga"), transport), transport


async def come(pilot: Pilot[None], sign: str = "step 80 of 120") -> None:
    await until_seen(pilot, "olga (")
    await pilot.press("2")
    await until_seen(pilot, sign)


def failing(key: str, message: str, remedy: str, **fields: list[str]) -> dict[str, Json]:
    error = VerificationFailed(key, message, remedy=remedy, **fields).to_dict()
    return {"kind": "error", "error": error}  # type: ignore[dict-item]  # plain data


async def test_an_estimate_prepares_the_data_in_sight_and_shows_what_a_run_needs() -> None:
    app, daemon = recorded()
    daemon.answers |= {
        "/v1/artefacts/starter": {"artefact": {}},
        "PUT /v1/uploads": {"upload": "u1"},
        "POST /v1/datasets": {"job": 70},
        "POST /v1/runs/estimate": {"job": 71},
    }
    comparing = {"kind": "progress", "step": "comparing with the suites", "done": 2, "total": 5}
    prepared = {
        "kind": "result",
        "result": {"dataset": learned.sha("d1"), "quarantined": 2, "overlap": {"general": 24, "domain": 0}},
    }
    compared_, calibrated = asyncio.Event(), asyncio.Event()
    daemon.streams = {
        70: [comparing, compared_, prepared],
        71: [
            {"kind": "progress", "step": "calibrating", "done": 0, "total": 0},
            calibrated,
            {"kind": "result", "result": {"estimate": learned.ESTIMATE | {"free_bytes": 81_400_000_000}}},
        ],
    }
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await come(pilot)
        await pilot.press("e")
        await until_seen(pilot, "Estimate a run")
        await fill(pilot, str(RECIPE), "starter")
        await until(pilot, lambda: isinstance(app.focused, Switch))
        await pilot.press("space", "enter")
        await until_seen(pilot, "preparing the data of adapt.toml: comparing with the suites · 40 %")
        compared_.set()
        await until_told(
            pilot,
            "Data set d1d1d1d1: 2 rows were set aside; 24 items of the suite general stand in its rows.",
        )
        await until_seen(pilot, "estimate of adapt.toml: calibrating")
        calibrated.set()
        await until_seen(pilot, "1 min 37 s")
        for text in (
            "1.2 GB",
            "14.2 MB of 81.4 GB free",
            "1.5 kJ (estimated: 99 s",
            "0.0001 EUR",
            "t starts",
        ):
            assert text in seen(app)
        await leave(pilot)
        await pilot.press("t")
        await until_seen(pilot, "Start a run")
        assert "[x] Set malformed rows aside" in seen(app)
        assert "adapt.toml" in seen(app)
    asked = [body for path, body in daemon.sent if path == "/v1/runs/estimate"]
    assert [(one["model"], one["quarantine"]) for one in asked if isinstance(one, dict)] == [
        ("starter", True)
    ]
    assert [path for path, _ in daemon.sent].count("/v1/datasets") > 1
    assert not [one for one in app.signs() if "preparing" in one]


async def test_an_estimate_that_ends_elsewhere_is_told_in_a_sentence() -> None:
    app, _ = recorded()
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await come(pilot)
        await pilot.press("t")
        await until_seen(pilot, "Start a run")
        section = app.section
        assert isinstance(section, TrainingSection)
        sentence = section._estimated("adapt.toml", {"estimate": learned.ESTIMATE})
        assert sentence == (
            "The estimate of adapt.toml: It needs 1 min 37 s, memory 1.2 GB, disk 14.2 MB, energy 1.5 kJ,"
            " cost 0.0001 EUR."
        )
        assert "Start a run" in seen(app)


async def test_every_mistake_of_a_recipe_is_shown_and_nothing_is_sent(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # a short path, which no width of the screen cuts
    recipe = tmp_path / "bad.toml"
    lines = (
        RECIPE.read_text()
        .replace("seed = ", "seeds = ", 1)
        .replace('method = "sft"', 'method = "\x1b[1msft"', 1)
    )
    recipe.write_text(lines.replace("\x1b", "\\u001b"))
    app, daemon = recorded()
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await come(pilot)
        await pilot.press("t")
        await until_seen(pilot, "Start a run")
        await fill(pilot, recipe.name, "starter")
        await pilot.press("enter")
        await until_seen(pilot, "Refused")
        text = seen(app)
        assert "bad.toml:" in text
        assert text.count("- line ") >= 2
        assert "seeds" in text
        await pilot.press("escape")
        await until_seen(pilot, "step 80 of 120")
    assert not [one for one in daemon.asked if one[0] in ("PUT", "POST") and "session" not in one[1]]


async def test_a_replay_that_goes_another_way_says_at_which_step_and_what_differs() -> None:
    app, daemon = recorded()
    daemon.answers["POST /v1/runs/44/replay"] = {"job": 72}
    differences = ["torch is 2.13.0 there and 2.12.0 here.", "threads is 2 there and 4 here."]
    sentence = "The replay was the same at step 60, and another one at step 70."
    remedy = f"What differs in the environment: {'; '.join(differences)}."
    daemon.streams = {72: [failing("train.replay-differs", sentence, remedy, differences=differences)]}
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await come(pilot)
        await pilot.press("y")
        await until_told(pilot, "Select a run that is done.")
        await pilot.press("down")
        await until_seen(pilot, "gate: go")
        await pilot.press("y")
        await until_seen(pilot, "[ ] Also where software or machine")
        await pilot.press("x", "enter")
        await until_seen(pilot, "another one at step 70")
        for one in differences:
            assert f"- {one}" in seen(app)
        await leave(pilot)
        await pilot.press("enter")
        await until_seen(pilot, "started 2026")
        body = "\n".join(trained.page(learned.done({"state": "done"})))
        assert "57: another way: step 70 is the first that differs" in body
        assert "threads: 2 there, 4 here." in body
        assert "46: the same, bit for bit" in body
    assert ("/v1/runs/44/replay", {"anyway": True}) in daemon.sent


async def test_a_paused_run_goes_on_or_is_given_up_and_its_page_is_inert() -> None:
    app, daemon = recorded()
    daemon.answers |= {
        "POST /v1/runs/43/resume": {"job": 73},
        "POST /v1/runs/43/discard": {"run": 43, "bytes": 14_200_000},
    }
    ended = asyncio.Event()
    daemon.streams = {73: [ended, {"kind": "result", "result": {}}]}
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await come(pilot)
        await pilot.press("d")
        await until_told(pilot, "Select a run that was stopped.")
        await pilot.press("down", "down")
        await until_seen(pilot, "s goes on with it, d gives it up")
        await pilot.press("enter")
        await until_seen(pilot, "Run 43")
        await until_seen(pilot, "s goes on from its last checkpoint")
        assert "\x1b" not in seen(app)
        assert "\u202e" not in seen(app)
        assert r"\x1b[2J" in seen(app)
        await leave(pilot)
        await pilot.press("d")
        assert "Its checkpoints are removed" in await read_to_the_end(pilot)
        await until_told(pilot, "Run 43 is given up; 14.2 MB are free again.")
        await pilot.press("s")
        await until_seen(pilot, "run 73: starting")
        ended.set()
        await until_told(pilot, "Run 73 is done.")


async def test_the_page_of_a_running_run_tells_how_far_it_is() -> None:
    app, daemon = recorded()
    daemon.answers["/v1/runs/61"] = {
        "number": 61,
        "state": "running",
        "figures": None,
        "estimate": learned.ESTIMATE,
    }
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await come(pilot)
        await pilot.press("enter")
        await until_seen(pilot, "decided once the run is done")
        assert "80 steps, - tokens, loss 0." in seen(app)
        assert "5946 tokens/s, - of the measured" in seen(app)


async def test_nothing_to_look_up_names_the_next_key() -> None:
    app, _ = recorded(empty=True)
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await come(pilot, "No runs yet.")
        await pilot.press("l")
        await until_seen(pilot, "No data sets yet. Esc and t")
        await leave(pilot)
        await pilot.press("v")
        await until_seen(pilot, "No evaluations yet. Esc and g")
        await pilot.press("enter", "m")
        await until_seen(pilot, "Compare two evaluations")
        await pilot.press("enter")
        await until_seen(pilot, "Still needed: A")
        assert not told(app)


async def test_evaluations_are_listed_shown_and_compared_on_the_daemons_own_app(site, worker) -> None:
    async with site.session("olga") as olga:
        worker.outcomes = {"transformers": "1" * 9 + "000"}
        first = await evaluate(olga)
        worker.outcomes = {"transformers": "0" + "1" * 11}
        second = await evaluate(olga)
    async with console(site, "olga") as pilot:
        await pilot.press("2")
        await until_seen(pilot, "No runs yet.")
        await pilot.press("l")
        await until_seen(pilot, "No data sets yet.")
        await leave(pilot)
        await pilot.press("v")
        await until_seen(pilot, "transformers quiz/")
        await pilot.press("enter")
        await until_seen(pilot, "0.9167")
        await leave(pilot)
        await pilot.press("m")
        await until_seen(pilot, "Compare two evaluations")
        await pilot.press("enter", "enter")  # the selected one, and the one before it of the same suites
        await until_seen(pilot, f"{first} beside {second}")
        await until_seen(pilot, "0.750 0.917 +3 -1   0.625 same")
        assert "What is 0?" in seen(pilot.app)


_texts = st.text(max_size=8) | st.sampled_from(["done", "sha512:ab", learned.HOSTILE])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_WORDS = (
    (trained.page, learned.done({"state": "done", "gate": learned.GATE, "person": "olga"})),
    (trained.estimate, learned.ESTIMATE),
    (compared.described, learned.EVALUATION),
    (compared.comparison, learned.COMPARISON),
    (datapage.lines, learned.PROFILE),
)


def broken(data: st.DataObject, value: Json) -> Json:
    """Put something else in the place of some part."""
    if data.draw(st.integers(0, 9)) == 0:
        return data.draw(_json)
    if isinstance(value, dict):
        return {name: broken(data, one) for name, one in value.items()}
    if isinstance(value, list):
        return [broken(data, one) for one in value]
    return value


@pytest.mark.parametrize(
    ("words", "answer"), _WORDS, ids=["page", "estimate", "described", "comparison", "profile"]
)
@settings(max_examples=25)
@given(data=st.data())
def test_answers_of_another_shape_are_told_and_never_raise(words, answer, data) -> None:
    found = {name: broken(data, one) for name, one in answer.items()}
    for line in words(found):
        assert isinstance(line, str)


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({}, []),
        ({"mistakes": ["a.toml:1: one"], "file": "a.toml"}, []),
        ({"mistakes": ["", "x"]}, []),
        (
            {"mistakes": ["a.toml:1: one", "b.jsonl:2: \x1b"], "file": "a.toml"},
            ["a.toml:", "", "- line 1: one", "- b.jsonl:2: \\x1b", "", "Do it."],
        ),
        ({"differences": ["two", ""]}, ["It is wrong: one.", "", "- two", "", "Do it."]),
        ({"differences": ["wrong: one."]}, ["It is", "", "- wrong: one.", "", "Do it."]),
    ],
)
def test_a_refusal_that_lists_things_is_told_line_by_line(fields, lines) -> None:
    error = VerificationFailed("any", "It is wrong: one.", remedy="Do it.", **fields)
    assert trained.refused(error) == lines


def test_a_page_fits_a_dialog() -> None:
    page = learned.done({"state": "done", "gate": learned.GATE, "person": "olga"})
    for lines in (trained.page(page), compared.comparison(learned.COMPARISON)):
        for line in lines:
            assert max(map(len, line.split("\n"))) <= 72, line
