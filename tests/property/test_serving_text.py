"""Text leaves in whole characters and never takes a stop string's beginning with it, however the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from holdfast.serving.engine.text import TextStream

SMALL = st.text("abcé€😀", max_size=40)
STOPS = st.lists(st.text("abcé€", min_size=1, max_size=4), max_size=3)


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def run(pieces, stops):
    stream = TextStream(stops)
    sent = []
    for piece in pieces:
        sent.append(stream.push(piece))
        if stream.stopped:
            return sent, True
    sent.append(stream.finish())
    return sent, stream.stopped


def first_complete(text, stops):
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@given(SMALL, STOPS, st.lists(st.integers(0, 200), max_size=12))
def test_any_cut_gives_the_text_up_to_the_first_complete_stop(text, stops, places):
    sent, stopped = run(cut(text.encode(), places), stops)
    assert ("".join(sent), stopped) == first_complete(text, stops)


@given(st.binary(max_size=60), st.lists(st.integers(0, 200), max_size=12))
def test_malformed_bytes_become_replacement_characters(data, places):
    sent, stopped = run(cut(data, places), [])
    assert "".join(sent) == data.decode("utf-8", "replace")
    assert not stopped


@given(SMALL, STOPS)
def test_what_was_sent_is_never_taken_back(text, stops):
    expected, _ = first_complete(text, stops)
    stream = TextStream(stops)
    so_far = ""
    for character in text:
        so_far += stream.push(character.encode())
        assert expected.startswith(so_far)
        if stream.stopped:
            break


def test_text_is_not_held_back_without_need():
    stream = TextStream(["END"])
    assert [stream.push(piece) for piece in (b"abc", b"dE", b"N", b"x", b"EN", b"D.")] == [
        "abc",
        "d",
        "",
        "ENx",
        "",
        "",
    ]
    assert stream.stopped
