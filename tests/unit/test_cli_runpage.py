"""The page of a run as people read it: at most 80 columns, whatever is known of it and whatever its names are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli import runpage

DIGEST = "sha512:" + "ab" * 64
BARE = {
    "number": 7,
    "state": "running",
    "recipe": "lesson@1",
    "base": "tiny",
    "method": "sft",
    "tuning": "lora",
    "time": "2026-01-01T00:00:00.000000Z",
    "person": "olga",
    "params": {"base": DIGEST, "recipe": DIGEST, "data": {"rows.jsonl": DIGEST}},
    "data": {"rows.jsonl": {"dataset": DIGEST, "rows": 1300, "held_out": 0, "quarantined": 5}},
    "result": {},
    "total": {"parts": [7], "unknown": [7], "energy": {"joules": None, "how": None, "cost": None}},
}
ENERGY = {
    "joules": 5400.0,
    "how": "measured: RAPL, the whole processor",
    "cost": 0.0000021,
    "currency": "EUR",
}
WHOLE = BARE | {
    "state": "done",
    "run": DIGEST,
    "model": DIGEST,
    "total": {
        "parts": [3, 5, 7],
        "unknown": [5],
        "seconds": 4000.0,
        "peak_memory_bytes": 2 * 10**9,
        "disk_bytes": 10**6,
        "energy": ENERGY,
    },
    "estimate": {
        "seconds": 125.4,
        "memory_bytes": 10**9,
        "disk_bytes": 10**6,
        "energy": ENERGY | {"cost": 1234.5},
    },
    "figures": {
        "steps": 1000,
        "tokens": 1_234_567,
        "tokens_per_second": 812.3,
        "final_loss": 0.51,
        "stopped_early": 900,
        "gemm_fraction": 0.41,
        "gemm_peak_flops": 0.9e12,
        "padding": 0.031,
        "quarantined": 3,
        "gpu": "NVIDIA H200",
    },
    "held_out": {"a/very/long/path/" * 12 + "rows.jsonl": {"before": 1.5, "after": 1.25}},
    "result": {"states": DIGEST},
    "manifest": {
        "environment": {"packages": {"torch": "2.13.0"}, "software": {"version": "1", "digest": DIGEST}}
    },
    "replays": [
        {"number": 8, "state": "done", "equal": True, "diverged": None},
        {"number": 9, "state": "failed", "equal": False, "diverged": 20},
        {"number": 10, "state": "cancelled", "equal": None, "diverged": None},
    ],
    "gate": {"go": False, "reasons": ["too " + "long " * 60]},
}


def told(page):
    lines = runpage.lines(page)
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    return "\n".join(lines)


def test_what_is_not_known_is_a_dash_and_never_nought():
    text = told(BARE | {"estimate": {"disk_bytes": 10}})
    for name in ("time", "memory", "energy", "cost"):
        (line,) = [one for one in text.splitlines() if one.startswith(name)]
        assert line.split()[1:] == ["-", "-"]
    assert "killed without" not in text  # it still runs


def test_a_running_run_says_how_far_it_is_and_compares_nothing_yet():
    latest = {"step": 1043, "steps": 4000, "loss": 0.71234, "tokens_per_second": 412.6, "eta_s": 125.4}
    text = told(BARE | {"latest": latest})
    assert "step 1,043 of 4,000, loss 0.7123, 413 tokens/s, 2 min 05 s left" in " ".join(text.split())
    assert "estimated" not in text
    assert "course" not in told(BARE | {"latest": None})


def test_everything_that_is_known_is_told_beside_the_estimate():
    text = told(WHOLE)
    for part in (
        "2 min 05 s",
        "1 h 06 min",
        "1.0 GB",
        "2.0 GB",
        "5.4 kJ",
        "1,234.5000 EUR",
        "2.1e-06 EUR",
        "measured: RAPL",
        "went on from 3, 5",
        "what 5 needed",
        "41.0% of the measured",
        "3.1% of the tokens",
        "ended early at step 900",
        "3 rows",
        "1,300 rows, 5 set aside",
        "NVIDIA H200",
        "1.5000 1.2500",
        "8: the same, bit for bit",
        "9: another way by step 20",
        "10: cancelled",
        "NO-GO",
    ):
        assert part in " ".join(text.split()) or part in text, part


@pytest.mark.parametrize("state", ["failed", "cancelled", "interrupted", "paused"])
def test_a_stopped_run_says_what_can_be_done(state):
    text = told(BARE | {"state": state, "resumable": True, "result": {"message": "why " * 50}})
    assert "train resume 7" in text
    assert "train discard 7" in text
    assert "why why" in text
    assert "as run 9" in told(BARE | {"state": state, "resumable": True, "resumed_by": 9})
    assert "given up" in told(BARE | {"state": state, "resumable": False, "discarded": True})


@given(
    st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=300).filter(str.isprintable)
)
def test_no_name_breaks_the_page(name):
    page = WHOLE | {
        "recipe": name,
        "held_out": {name: {"before": None}},
        "gate": {"go": True, "reasons": [name]},
    }
    assert all(len(line) <= 80 for line in runpage.lines(page))


def test_an_estimate_labels_its_energy():
    found = {"steps": 9, "seconds": 1.0, "disk_bytes": 10, "free_bytes": 10**9, "energy": ENERGY}
    text = "\n".join(runpage.estimate(found))
    assert "10 B of 1.0 GB free" in text
    assert "measured: RAPL" in text
    assert "memory      -" in text
