"""Words that wait a moment for those after them: as one text, in order, and never kept back by more than the pace."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.serving import link
from holdfast.serving.engine.outbox import PACE, Outbox
from holdfast.serving.engine.sampling import Chosen
from holdfast.serving.engine.speech import Speech

DONE = link.Done(1, 3, 0, 2, 5, 1, 0.5)


class Letters:
    """A vocabulary of characters."""

    def piece(self, token):
        return chr(token).encode()


class Sent:
    """An outbox, those who speak, its clock, and the frames that it sent."""

    def __init__(self):
        self.now, self.frames = 100.0, []
        self.box = Outbox(lambda frame: self.frames.append(list(frame.events)), lambda: self.now)
        self.speeches = {}

    def say(self, number, choice, letters):
        speech = self.speeches.setdefault((number, choice), Speech(number, choice, Letters()))
        for letter in letters:
            speech.add(Chosen(ord(letter), None))
            if not speech.waiting:
                self.box.put(speech)

    def step(self, *events, seconds=0.0):
        for event in events:
            if isinstance(event, link.Piece):
                self.say(*event[:3])
            else:
                self.box.put(event)
        self.now += seconds
        self.box.pace()


@pytest.fixture
def sent():
    return Sent()


def test_what_comes_after_a_pause_goes_at_once_and_what_follows_waits_and_goes_as_one(sent):
    sent.step(link.Piece(1, 0, "a"))
    assert sent.frames == [[link.Piece(1, 0, "a")]]
    sent.step(link.Piece(1, 0, "b"), link.Piece(2, 0, "u"), seconds=PACE / 4)
    sent.step(link.Piece(1, 0, "c"), link.Piece(1, 1, "v"), seconds=PACE / 4)
    assert len(sent.frames) == 1
    sent.step(seconds=PACE)
    assert sent.frames[1:] == [[link.Piece(1, 0, "bc"), link.Piece(2, 0, "u"), link.Piece(1, 1, "v")]]


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
    sent.box.put(Speech(1, 0, Letters()))
    sent.step(seconds=1)
    assert not sent.frames


def test_an_echo_is_said_before_the_words_after_it(sent):
    sent.box.put(link.Piece(1, 0, "prompt"))
    sent.step(link.Piece(1, 0, "a"))
    assert sent.frames == [[link.Piece(1, 0, "prompt"), link.Piece(1, 0, "a")]]


_EVENTS = st.one_of(
    st.builds(link.Piece, st.integers(1, 3), st.integers(0, 1), st.sampled_from(["", "a", "bc", "é"])),
    st.builds(link.End, st.integers(1, 3), st.integers(0, 1), st.just(link.Ending.STOP)),
)
_STEPS = st.lists(
    st.tuples(st.lists(_EVENTS, max_size=4), st.floats(0, 2 * PACE), st.booleans()), max_size=12
)


@given(_STEPS)
def test_every_text_arrives_once_in_its_order_and_no_later_than_the_pace(steps):
    sent = Sent()
    put, last, ended = [], None, set()
    for drawn, seconds, flush in steps:
        events = []
        for event in drawn:  # what has ended says nothing more
            if (key := (event.id, event.choice)) not in ended:
                events.append(event)
                if isinstance(event, link.End):
                    ended.add(key)
        frames = len(sent.frames)
        put += events
        sent.step(*events, seconds=seconds)
        if flush:
            sent.box.flush()
        if len(sent.frames) > frames:
            last = sent.now
        elif any(not isinstance(event, link.Piece) or event.text for event in events):  # they were kept back
            assert last is not None
            assert sent.now - last < PACE
            assert all(isinstance(event, link.Piece) for event in events)
    sent.box.flush()
    said = [event for frame in sent.frames for event in frame]
    assert heard(said) == heard(put)


def heard(events):
    """What each choice said, its end as a bar."""
    found = defaultdict(str)
    for event in events:
        found[event.id, event.choice] += event.text if isinstance(event, link.Piece) else "|"
    return {key: text for key, text in found.items() if text}
