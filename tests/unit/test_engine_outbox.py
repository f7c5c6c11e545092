"""Texts that wait a moment for those after them: joined, in order, and never kept back by more than the pace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.serving import link
from holdfast.serving.engine.outbox import PACE, Outbox

DONE = link.Done(1, 3, 0, 2, 5, 1, 0.5)


class Sent:
    """An outbox, its clock, and the frames that it sent."""

    def __init__(self):
        self.now, self.frames = 100.0, []
        self.box = Outbox(lambda frame: self.frames.append(list(frame.events)), lambda: self.now)

    def step(self, *events, seconds=0.0):
        for event in events:
            self.box.put(event)
        self.now += seconds
        self.box.pace()


@pytest.fixture
def sent():
    return Sent()


def token(number):
    return link.Logprob(number, "x", (120,), -1.0, (), number)


def test_what_comes_after_a_pause_goes_at_once_and_what_follows_waits_and_is_joined(sent):
    sent.step(link.Piece(1, 0, "a"))
    assert sent.frames == [[link.Piece(1, 0, "a")]]
    sent.step(link.Piece(1, 0, "b", (token(1),)), link.Piece(2, 0, "u"), seconds=PACE / 4)
    sent.step(link.Piece(1, 0, "c", (token(2),)), link.Piece(1, 1, "v"), seconds=PACE / 4)
    assert len(sent.frames) == 1
    sent.step(seconds=PACE)
    joined = link.Piece(1, 0, "bc", (token(1), token(2)))
    assert sent.frames[1:] == [[joined, link.Piece(2, 0, "u"), link.Piece(1, 1, "v")]]


@pytest.mark.parametrize("end", [link.End(1, 0, link.Ending.STOP), DONE])
def test_an_end_waits_for_nobody(sent, end):
    sent.step(link.Piece(1, 0, "a"))
    sent.step(link.Piece(1, 0, "b"), end)
    assert sent.frames[1:] == [[link.Piece(1, 0, "b"), end]]
    sent.step(link.Piece(2, 0, "c"))
    assert len(sent.frames) == 2  # the pace is kept again


def test_steps_that_are_slower_than_the_pace_are_sent_one_by_one(sent):
    for at in range(5):
        sent.step(link.Piece(1, 0, str(at)), seconds=1.01 * PACE)
    assert [[piece.text for piece in frame] for frame in sent.frames] == [["0"], ["1"], ["2"], ["3"], ["4"]]


def test_nothing_is_sent_where_there_is_nothing(sent):
    sent.box.flush()
    sent.step(seconds=1)
    assert not sent.frames


_EVENTS = st.one_of(
    st.builds(link.Piece, st.integers(1, 3), st.integers(0, 1), st.text(max_size=3)),
    st.builds(link.End, st.integers(1, 3), st.integers(0, 1), st.just(link.Ending.STOP)),
)


@given(st.lists(st.tuples(st.lists(_EVENTS, max_size=4), st.floats(0, 2 * PACE), st.booleans())))
def test_every_text_arrives_once_in_its_order_and_no_later_than_the_pace(steps):
    sent = Sent()
    put, last = [], None
    for events, seconds, flush in steps:
        frames = len(sent.frames)
        put += events
        sent.step(*events, seconds=seconds)
        if flush:
            sent.box.flush()
        if len(sent.frames) > frames:
            last = sent.now
        elif events:  # they were kept back
            assert last is not None
            assert sent.now - last < PACE
            assert all(isinstance(event, link.Piece) for event in events)
    sent.box.flush()
    got = [event for frame in sent.frames for event in frame]

    def heard(events, key):
        mine = [event for event in events if (event.id, event.choice) == key]
        texts = [event.text if isinstance(event, link.Piece) else "|" for event in mine]
        return "".join(texts)

    for key in {(event.id, event.choice) for event in put}:
        assert heard(got, key) == heard(put, key)
