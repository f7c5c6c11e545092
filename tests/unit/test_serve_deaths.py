"""When a place is given up: only deaths within the window count, and each makes the next pause longer."""

from __future__ import annotations

import pytest

from holdfast.daemon.serve import deaths
from holdfast.daemon.serve.deaths import FIRST_PAUSE, MAX_DEATHS, PAUSE_GROWS, WINDOW_SECONDS, Deaths


@pytest.fixture
def clock(monkeypatch):
    """The moment that the next death is counted at, in seconds."""
    moment = [0.0]
    monkeypatch.setattr(deaths.time, "monotonic", lambda: moment[0])
    return moment


def test_pauses_grow_until_there_were_too_many_deaths(clock):
    found = Deaths()
    for count in range(1, MAX_DEATHS + 1):
        clock[0] += 1
        assert (found.add(), len(found)) == (count, count)
        assert found.pause == pytest.approx(FIRST_PAUSE * PAUSE_GROWS ** (count - 1))
        assert found.too_many == (count == MAX_DEATHS)
    found.forget()
    assert (len(found), found.too_many, found.add()) == (0, False, 1)


def test_what_dies_less_often_than_the_window_allows_is_always_started_again(clock):
    found = Deaths()
    for _ in range(10 * MAX_DEATHS):
        clock[0] += WINDOW_SECONDS / (MAX_DEATHS - 1)
        found.add()
        assert not found.too_many
        assert found.pause <= FIRST_PAUSE * PAUSE_GROWS ** (MAX_DEATHS - 2)
