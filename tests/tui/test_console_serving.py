"""Keys of applications by the keyboard at 80 columns and 24 lines, on a daemon's own app; and what is asked of it to serve more or less."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast.daemon.serve import keys as servekeys
from holdfast.keys import person
from holdfast.paths import Home
from holdfast.serving import keys
from holdfast_tui import served
from holdfast_tui.app import HoldfastApp

from .recorded import Recorded
from .seeing import fill, forget, leave, read_to_the_end, seen, until, until_seen, until_told
from .served import KEYS, USED, engines
from .test_console_acts import console, daemon, sit_down

__all__ = ["daemon"]  # a fixture


async def test_a_key_is_made_shown_once_read_and_revoked(daemon):
    async with console(daemon, "olga") as pilot:
        await pilot.press("3")
        await until_seen(pilot, "Nothing is served.")
        await pilot.press("k")
        await until_seen(pilot, "No keys yet.")
        await pilot.press("n")
        await until_seen(pilot, "Make a key")
        await fill(pilot, "tax-office", "tiny tiny:*", "internal", "tax", "", "", "60", "20x", "")
        await until_told(pilot, "20x is not a whole number.")
        assert not daemon.state.keys
        await pilot.press("n")
        await until_seen(pilot, "Make a key")
        await fill(
            pilot, "tax-office", "", "public", "", " ", "", "", "", ""
        )  # the blank turns inference off
        await until_told(pilot, "A key asks models, reads figures, or does both.")
        assert not daemon.state.keys
        await pilot.press("n")
        await until_seen(pilot, "Make a key")
        await fill(
            pilot, "tax-office", "tiny tiny:*", "internal", "tax, land register", "", " ", "60", "200000", ""
        )
        await until_seen(pilot, "It is shown this once")
        secret = next(word for word in seen(pilot.app).split() if word.startswith("hf-"))
        (kept,) = keys.parse_all(servekeys.counting(daemon.services))
        assert secret.startswith(f"hf-{kept.id}-")
        assert (kept.tenant, kept.models, kept.clearance.level) == (
            "tax-office",
            ("tiny", "tiny:*"),
            "internal",
        )
        assert kept.clearance.compartments == {"tax", "land register"}
        assert kept.scopes == keys.SCOPES
        assert (kept.quota.requests_per_minute, kept.quota.tokens_per_day, kept.quota.parallel) == (
            60,
            200_000,
            None,
        )
        await pilot.press("escape")
        await until_seen(pilot, "60/min, 200k/day")
        assert secret not in seen(pilot.app)
        await pilot.press("enter")
        await until_seen(pilot, "at most 60 in a minute")
        await leave(pilot)
        await pilot.press("x")
        read = await read_to_the_end(pilot)
        assert f"Revoke key {kept.id}" in read
        await until_told(pilot, f"Key {kept.id} is revoked.")
        await until_seen(pilot, "revoked")
        assert daemon.state.keys[kept.id].revoked
        forget(pilot.app)
        await pilot.press("x")
        await until_told(pilot, "select one that is not revoked")
        await leave(pilot)
        await sit_down(pilot, "aude")
        await pilot.press("n")
        await until_told(pilot, "needs the role")
        await pilot.press("k")
        await until_seen(pilot, kept.id)  # whoever is here may see which keys there are
    daemon.at_rest()


@pytest.fixture
async def pilot():
    app = HoldfastApp(Home(Path("/nowhere")), person.generate("olga"), Recorded())
    app.now = lambda: datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with app.run_test(size=(80, 24), notifications=True) as found:
        await until_seen(found, "olga (")
        await found.press("3")
        await until_seen(found, "starter:authority")
        yield found


def test_engines_are_told_with_their_memory_their_deaths_and_why_they_are_out():
    told = served.engines({"engines": engines(trouble=True)})
    for text in ("weights 301.0 MB", "398.5 MB", "1 of late", "OUT", "died 3 times", "`holdfast serve"):
        assert text in told
    assert served.engines({}) == "No engine runs."
    lacking = [{"adapter": "sha512:ab", "why": "It has other bytes.", "remedy": "Load it again."}]
    told = served.engines({"engines": [{"state": "up", "lacking": lacking}]})
    assert "It has other bytes." in told
    assert "Load it again." in told


@pytest.mark.parametrize(
    ("engine", "word", "sentence"),
    [
        ({"state": "up"}, "served", ""),
        ({"state": "starting", "deaths": 2}, "STARTING", "after 2 deaths"),
        ({"state": "out", "why": "It died.", "remedy": "Load it."}, "TAKEN OUT", "It died. Load it."),
        ({}, "served", ""),
    ],
)
def test_a_model_stands_as_its_engine_does(engine, word, sentence):
    serving = {"engines": [{"models": ["wide"], **engine}]}
    assert served.state(serving, "wide") == word
    assert sentence in served.hindrance(serving, "wide")
    assert bool(sentence) == bool(served.hindrance(serving, "wide"))
    assert served.state(serving, "another") == "served"


@pytest.mark.parametrize("odd", [None, {}, [], "x", 5, {"used": 3, "quota": [], "models": {}}])
def test_answers_of_another_shape_are_told_and_raise_nothing(odd):
    one = odd if isinstance(odd, dict) else {}
    serving = {"engines": odd, "models": odd, "address": odd}
    assert served.summary(serving, [one])
    assert isinstance(served.engines(serving), str)
    assert served.key_rows([one])
    assert served.key_page(one)
    assert served.key_note(one)
    assert served.usage_rows({"rows": odd}) == [] or isinstance(odd, list)
    assert served.usage_note({"total": odd})


def test_limits_lose_no_digit():
    for count, told in ((1, "1/day"), (1500, "1500/day"), (2000, "2k/day"), (3_000_000, "3M/day")):
        assert served.limits({"tokens_per_day": count}) == told
    assert served.limits({"requests_per_minute": None}) == "-"


def test_keys_that_count_come_first_and_dead_ones_are_said_aloud():
    rows = served.key_rows(KEYS)
    assert [cells[2] for _, cells in rows] == ["valid", "valid", "DEAD", "revoked"]
    assert "make another" in served.key_note(KEYS[3])


def test_energy_stands_with_how_it_is_known():
    assert "estimated: processor time at 15 W a core" in served.usage_note(USED)
    assert served.usage_rows(USED)[0][-2:] == ["2.5 kJ", "0.0002 EUR"]
    assert served.usage_rows({**USED, "currency": None, "rows": [{"joules": 5, "cost": None}]})[0][-1] == "-"


async def test_what_is_served_is_changed_by_what_the_daemon_is_asked(pilot):
    daemon = pilot.app.link._transport
    for path in ("/v1/models/quantize", "/v1/serving/start", "/v1/serving/load", "/v1/serving/unload"):
        daemon.answers[f"POST {path}"] = {"job": 44}
    await pilot.press("z")
    await until_seen(pilot, "Make GGUF files")
    await fill(pilot, "wide", "", "")
    await until(pilot, lambda: daemon.sent[-1][0] == "/v1/models/quantize")
    assert daemon.sent[-1][1] == {"model": "wide", "adapter": None, "types": []}
    await pilot.press("s")
    await until_seen(pilot, "the smallest that keeps the floor")
    await fill(pilot, "wide", "61", "")
    await until(pilot, lambda: daemon.sent[-1][0] == "/v1/serving/start")
    assert daemon.sent[-1][1] == {"model": "wide", "adapters": ["61"], "quantization": None}
    await pilot.press("l")
    await until_seen(pilot, "Serve more")
    await fill(pilot, "wide", "61 44", "q8_0")
    await until(pilot, lambda: daemon.sent[-1][0] == "/v1/serving/load")
    assert daemon.sent[-1][1] == {"model": "wide", "adapters": ["61", "44"], "quantization": "q8_0"}
    await pilot.press("down", "u")
    assert "starter:authority" in await read_to_the_end(pilot)
    await until(pilot, lambda: daemon.sent[-1][0] == "/v1/serving/unload")
    assert daemon.sent[-1][1] == {"model": "starter:authority"}
    await pilot.press("y")
    await until_seen(pilot, "Energy is estimated")
    assert daemon.queried[-1] == {"by": "tenant,model", "since": "2026-03-01"}
