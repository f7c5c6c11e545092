"""The loss curve and the fold of a job's stream: any points, any size, any order of arrival."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_tui.feed import MAX_POINTS, SAMPLES, Feed
from holdfast_tui.widgets.chart import draw

POINTS = st.lists(
    st.floats(min_value=-1e6, max_value=1e6) | st.just(math.nan) | st.just(math.inf), max_size=200
)


@given(POINTS, st.integers(0, 500), st.integers(0, 130), st.integers(0, 45))
def test_a_drawing_has_the_size_that_was_asked_for(
    losses: list[float], steps: int, width: int, height: int
) -> None:
    for plain in (True, False):
        lines = draw(list(enumerate(losses, 1)), steps, width, height, plain=plain)
        assert len(lines) == height
        assert all(len(line) <= width for line in lines)


def test_a_falling_loss_falls_from_left_to_right() -> None:
    lines = draw([(step, 10 - step) for step in range(1, 10)], 9, 40, 12, plain=True)
    stars = [line.index("*") for line in lines if "*" in line]
    assert stars == sorted(stars)
    assert lines[0].startswith("loss 1.000  least 1.000 at step 9")
    assert lines[1].lstrip().startswith("9.000|*")
    assert lines[-1].endswith(" 9")
    assert lines[-1].isascii()


def test_braille_has_eight_dots_to_a_cell() -> None:
    lines = draw([(1, 1.0), (2, 0.0)], 2, 30, 6, plain=False)
    dots = "".join(lines[1:-1])
    assert sum((ord(char) - 0x2800).bit_count() for char in dots if 0x2800 <= ord(char) < 0x2900) >= 16


def entry(n: int, **figures: float) -> dict[str, int | float | str]:
    return {"n": n, "kind": "metric", "step": n, "steps": 9, **figures}


def test_entries_are_taken_once_in_order() -> None:
    feed = Feed(7, "run 7")
    for n in (1, 2, 2, 1, 3):
        feed.take(entry(n, loss=1 / n, eta_s=65.0, tokens_per_second=10.0))
    assert [step for step, _ in feed.points] == [1, 2, 3]
    assert feed.line() == "run 7: step 3 · 33 % · 10.0 tokens/s · 1 min 05 s left"
    feed.take(
        {
            "n": 4,
            "kind": "error",
            "error": {"type": "Conflict", "key": "x", "message": "Stopped.", "remedy": ""},
        }
    )
    assert feed.ended
    assert feed.line() == "run 7: Stopped."


def test_a_very_long_run_stays_bounded_and_keeps_its_ends() -> None:
    feed = Feed(1, "run 1")
    for n in range(1, 3 * MAX_POINTS):
        feed.take(entry(n, loss=float(n)))
    assert len(feed.points) <= MAX_POINTS
    assert feed.points[0] == (1, 1.0)
    assert feed.points[-1] == (3 * MAX_POINTS - 1, 3.0 * MAX_POINTS - 1)


@given(
    st.dictionaries(
        st.sampled_from(["n", "kind", "step", "loss", "error", "result", "text"]),
        st.none() | st.integers() | st.text(max_size=5),
    )
)
def test_an_entry_of_another_shape_breaks_nothing(entry_: dict[str, int | str | None]) -> None:
    feed = Feed(1, "x")
    feed.take(entry_)
    assert isinstance(feed.line(), str)


def test_an_import_says_how_many_bytes_how_fast() -> None:
    now = [0.0]
    feed = Feed(61, "import #61", clock=lambda: now[0])
    for n, (seconds, done) in enumerate([(0, 0), (0.01, 500_000_000), (1, 600_000_000), (3, 900_000_000)], 1):
        now[0] = seconds
        feed.take({"n": n, "kind": "progress", "step": "copying", "done": done, "total": 4_000_000_000})
    # What came in the first moment was read before anybody looked.
    assert feed.line() == "import #61: copying · 900.0 MB of 4.0 GB · 22 % · 133.3 MB/s"
    feed.take({"n": 5, "kind": "progress", "step": "checking", "done": 1, "total": 4_000_000_000})
    assert feed.rate() is None
    for n in range(6, 200):
        now[0] = n
        feed.take({"n": n, "kind": "progress", "step": "checking", "done": n * 10**6, "total": 10**9})
    assert len(feed.samples) <= SAMPLES
    assert feed.rate() == pytest.approx(10**6)
