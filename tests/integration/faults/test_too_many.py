"""A million tiny files, and manifests that claim a billion things: refused in bounded memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MOST_MEMORY = 300  # MB of a process that judges any of them, its interpreter included
MOST_TIME = 20  # seconds of processor time for one of them


@pytest.mark.parametrize(("what", "count"), [("listings", 7), ("forged", 18)])
def test_what_is_too_much_is_refused_in_bounded_memory_and_time(place, what, count):
    folder = place / what
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.faults.crowd", what, str(folder)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == count
    for one in told:
        assert one["key"].partition(".")[0] in {"media", "json", "artefact"}, one
        assert one["seconds"] < MOST_TIME, one
    assert told[-1]["peak"] < MOST_MEMORY, told
    if what == "listings":
        assert {one["key"] for one in told} == {"media.unlisted"}
