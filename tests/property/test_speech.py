"""What a choice says is the same whenever it is asked for, with its log-probabilities, up to a stop string."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.serving.engine.logprobs import Ranked
from holdfast.serving.engine.sampling import Chosen
from holdfast.serving.engine.speech import Speech

PIECES = [b"a", b"b", b" c", "é".encode(), "€".encode()[:1], "€".encode()[1:], b"\xff", b"", b"ab"]
TOKENS = st.lists(st.integers(0, len(PIECES) - 1), max_size=30)
STOPS = st.lists(st.text("abcé", min_size=1, max_size=3), max_size=2)


class Vocabulary:
    """A few pieces; the first of an answer loses its space after token 7."""

    def piece(self, token, *, after=None):
        return PIECES[token].lstrip() if after == 7 else PIECES[token]


def spoken(tokens, takes, stops, *, ranked, after=None, offset=0):
    """Add the tokens one by one, ask after each as ``takes`` says, and at the end; the texts, and the entries."""
    speech = Speech(1, 2, Vocabulary(), stops=stops, after=after, offset=offset)
    pieces, stopped = [], False
    for at, token in enumerate(tokens):
        stopped = speech.add(Chosen(token, Ranked(token, -1.0, ()) if ranked else None))
        if stopped:
            break
        if takes and takes[at % len(takes)]:
            pieces.append(speech.take())
    speech.end()
    pieces.append(speech.take())
    assert speech.take() is None
    said = [piece for piece in pieces if piece is not None]
    assert all((piece.id, piece.choice) == (1, 2) for piece in said)
    return "".join(piece.text for piece in said), [one for piece in said for one in piece.logprobs], stopped


@given(TOKENS, st.lists(st.booleans(), max_size=5), STOPS, st.booleans())
@example(
    [0, 1, 0], [False, True], ["ba"], True
)  # asked for while what may become the stop string is held back
def test_it_does_not_matter_when_the_words_are_taken(tokens, takes, stops, ranked):
    assert spoken(tokens, takes, stops, ranked=ranked) == spoken(tokens, [], stops, ranked=ranked)


@given(TOKENS, st.lists(st.booleans(), max_size=5), st.integers(0, 9))
def test_without_stops_the_text_is_that_of_all_tokens_and_each_has_its_entry(tokens, takes, offset):
    text, entries, stopped = spoken(tokens, takes, [], ranked=True, offset=offset)
    assert text == b"".join(PIECES[token] for token in tokens).decode("utf-8", "replace")
    assert [entry.token for entry in entries] == tokens
    assert all(offset <= entry.offset <= offset + len(text) for entry in entries)
    assert not stopped


@given(TOKENS, st.lists(st.booleans(), max_size=5), STOPS)
def test_nothing_after_a_stop_string_is_said_or_listed(tokens, takes, stops):
    text, entries, stopped = spoken(tokens, takes, stops, ranked=True)
    whole = b"".join(PIECES[token] for token in tokens).decode("utf-8", "replace")
    assert whole.startswith(text)
    if stopped:
        assert any(whole[len(text) :].startswith(stop) for stop in stops)
        assert all(entry.offset < len(text) for entry in entries)
    else:
        assert text == whole
        assert len(entries) == len(tokens)


def test_a_space_between_prompt_and_answer_is_left_out_once():
    assert spoken([2, 2], [True], [], ranked=False, after=7)[0] == "c c"
    assert spoken([2, 2], [], [], ranked=False, after=7)[0] == "c c"
    assert spoken([2, 2], [], [], ranked=False, after=3)[0] == " c c"
