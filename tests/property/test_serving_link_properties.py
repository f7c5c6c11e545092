"""The link between front and engine: whatever is said is read as it was said, and no bytes do worse than be refused."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import NoSpace, UntrustedRequest, WorkerFailed
from holdfast.frames import HEAD, MAX_FRAME
from holdfast.serving import link
from holdfast.serving.linkreader import Splitter, parse_reply, parse_request
from holdfast.serving.linkwriter import pack

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
IDS = st.integers(0, link.MAX_ID)
TOKEN = st.integers(0, link.MAX_TOKEN)
TOKENS = st.lists(TOKEN, max_size=5).map(tuple)
NUMBER = st.floats(-50, 50)
COUNT = st.integers(0, 1000)
MESSAGES = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=3).map(tuple)
WORDS, IDS_GIVEN = st.builds(link.Words, TEXT), st.builds(link.Tokens, TOKENS)
PROMPT = st.one_of(st.builds(link.Chat, MESSAGES), WORDS, IDS_GIVEN)
SAMPLING = st.builds(
    link.Sampling,
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1),
    top_k=COUNT,
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.5, 2),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logit_bias=st.dictionaries(TOKEN, NUMBER, max_size=3),
    seed=st.integers(0, link.MAX_SEED),
)
REQUESTS = st.one_of(
    st.builds(
        link.Generate,
        id=IDS,
        lane=TEXT,
        tenant=TEXT,
        prompt=PROMPT,
        most=st.none() | COUNT,
        sampling=SAMPLING,
        seconds=st.floats(0, 1000),
        choices=st.integers(1, link.MAX_CHOICES),
        stops=st.lists(TEXT, max_size=3).map(tuple),
        logprobs=st.none() | st.integers(0, link.MAX_LOGPROBS),
        echo=st.booleans(),
        grammar=st.none() | st.builds(link.Grammar, st.sampled_from(link.GrammarKind), TEXT),
    ),
    st.builds(link.Embed, IDS, TEXT, st.lists(WORDS | IDS_GIVEN, max_size=3).map(tuple)),
    st.builds(link.Tokenize, IDS, st.builds(link.Chat, MESSAGES) | WORDS, st.booleans(), st.booleans()),
    st.builds(link.Detokenize, IDS, TOKENS),
    st.builds(link.Cancel, IDS),
    st.builds(link.Forget, st.none() | TEXT),
)
OCTETS = st.binary(max_size=6).map(tuple)
LOGPROB = st.builds(
    link.Logprob,
    TOKEN,
    TEXT,
    OCTETS,
    st.none() | NUMBER,
    st.lists(st.builds(link.Alternative, TOKEN, TEXT, OCTETS, NUMBER), max_size=2).map(tuple),
    COUNT,
)
CHOICE = st.integers(0, link.MAX_CHOICES - 1)
DONE = st.builds(link.Done, IDS, COUNT, COUNT, COUNT, COUNT, COUNT, st.floats(0, 1000), st.booleans())
EVENT = st.one_of(
    st.builds(link.Piece, IDS, CHOICE, TEXT, st.lists(LOGPROB, max_size=2).map(tuple)),
    st.builds(link.End, IDS, CHOICE, st.sampled_from(link.Ending)),
    DONE,
)
ERRORS = st.builds(
    lambda kind, message, value: kind("serve.test", message, remedy="None.", value=value),
    st.sampled_from([NoSpace, UntrustedRequest, WorkerFailed]),
    TEXT,
    st.none() | TEXT | COUNT | st.booleans(),
)
VECTOR = st.binary(min_size=4, max_size=4).map(lambda four: base64.b64encode(four * 3).decode())
REPLIES = st.one_of(
    st.builds(
        link.Up, st.just("sha512:" + "a" * 128), st.integers(1, 9), st.integers(1, 9), st.booleans(), COUNT
    ),
    st.builds(link.Accepted, IDS, COUNT),
    st.builds(link.Failed, IDS, ERRORS),
    st.builds(lambda error, took: link.Failed(took.id, error, took), ERRORS, DONE),
    st.builds(link.Events, st.lists(EVENT, max_size=4).map(tuple)),
    st.builds(link.Embedded, IDS, st.lists(VECTOR, max_size=2).map(tuple), COUNT, st.floats(0, 1000)),
    st.builds(link.Tokenized, IDS, TOKENS),
    st.builds(link.Detokenized, IDS, TEXT),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(REQUESTS)
def test_a_request_is_read_as_it_was_written(request):
    assert parse_request(pack(request)[HEAD:]) == request


@given(REPLIES)
def test_a_reply_is_read_as_it_was_written(reply):
    assert parse_reply(pack(reply)[HEAD:]) == reply


@given(st.lists(REPLIES, max_size=4), st.data())
def test_frames_are_found_however_the_stream_is_cut(replies, data):
    stream = b"".join(map(pack, replies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    splitter, found = Splitter(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += [parse_reply(body) for body in splitter.push(stream[begin:end])]
    assert found == replies
    assert splitter.empty


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_our_errors_alone(body):
    for parse in (parse_request, parse_reply):
        with pytest.raises(WorkerFailed):
            parse(body)


@given(st.one_of(REQUESTS, REPLIES), st.data())
def test_a_message_with_any_field_replaced_is_read_or_refused(message, data):
    plain = json.loads(pack(message)[HEAD:])
    places = list(_places(plain))
    holder, key = data.draw(st.sampled_from(places)) if places else (plain, "id")
    holder[key] = data.draw(JSON)
    if isinstance(holder, dict) and data.draw(st.booleans()):
        holder[data.draw(TEXT)] = data.draw(JSON)
    body = json.dumps(plain).encode()
    for parse, kinds in ((parse_request, link.Request), (parse_reply, link.Reply)):
        with suppress(WorkerFailed):
            assert isinstance(parse(body), kinds)


def _places(value):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


def test_what_no_frame_can_hold_is_refused_before_it_is_sent():
    for text in ("\ud800", "x" * MAX_FRAME):
        with pytest.raises(WorkerFailed):
            pack(link.Detokenized(1, text))


def test_a_frame_that_announces_too_much_is_refused_at_once():
    with pytest.raises(WorkerFailed):
        list(Splitter().push((MAX_FRAME + 1).to_bytes(HEAD, "big")))
