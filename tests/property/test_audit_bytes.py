"""Hostile bytes: everything that is read from outside answers with our own errors, and accepted bytes are canonical."""

from __future__ import annotations

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from holdfast import canonical
from holdfast.audit import checkpoint, event, segment, verify
from holdfast.audit.event import Actor, Draft, Source, Subject
from holdfast.errors import HoldfastError, VerificationFailed
from holdfast.governance.labels import Label

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=8)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not 2**53 <= abs(number) < 1e21
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
drafts = st.builds(
    Draft,
    st.sampled_from(["train.run", "access.denied", "answer.done"]),
    st.builds(Actor, names, st.none() | st.integers(0, 2**32 - 2), names, st.none() | names),
    st.none() | st.just(Subject("adapter", "sha512:" + "0f" * 64)),
    st.none()
    | st.builds(
        Label,
        st.just("secret"),
        st.frozensets(names, max_size=2),
        st.frozensets(names, min_size=1, max_size=2),
    ),
    st.dictionaries(texts, values, max_size=4),
    st.none() | st.integers(0, 2**53 - 1),
)
TIME = "2026-01-02T03:04:05.000006Z"
SOURCE = Source("daemon", "0" * 16, 0)


@given(values)
def test_the_quick_encoder_writes_what_rfc_8785_says(value):
    assert canonical.encode(value) == rfc8785.dumps(value)


@given(st.floats(2**53, 1e21, exclude_max=True))
def test_a_float_that_would_read_back_as_a_wide_integer_is_refused(number):
    for value in (number, -number):
        try:
            data = canonical.encode({"x": [value]})
        except HoldfastError:
            continue
        raise AssertionError(data)


@given(drafts, st.integers(0, 2**40))
def test_every_event_reads_back_from_its_only_bytes(draft, seq):
    data = event.prepare(draft).stamp(seq, TIME, "trusted", SOURCE)
    assert verify.LAYOUT.fullmatch(data)
    found = event.parse(data)
    assert (found.seq, found.time, found.actor) == (seq, TIME, draft.actor)
    assert canonical.encode(found.to_json()) == data


@given(st.data())
def test_changed_bytes_are_refused_or_are_canonical_bytes_of_another_event(data):
    whole = event.prepare(data.draw(drafts)).stamp(3, TIME, "host", SOURCE)
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.integers(0, 3))
    changed = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + cut :]
    try:
        found = event.parse(changed)
    except VerificationFailed:
        return
    assert canonical.encode(found.to_json()) == changed


@given(st.binary(max_size=300))
def test_noise_is_refused_by_every_reader(data):
    for read in (event.parse, checkpoint.parse):
        try:
            read(data)
        except HoldfastError:
            continue
        raise AssertionError(read)
    assert not verify.verify_proof(data, [verify.Key("x", verify.ED25519, bytes(32))]).ok


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=5), st.integers(0, 600))
def test_a_cut_segment_gives_the_whole_records_before_the_cut(bodies, cut):
    data = b"".join(segment.record(body, verify.leaf_hash(body), 0) for body in bodies)[:cut]
    found = list(verify.records(data, 0))
    whole = [each.body for each in found if each.fault is None]
    assert whole == bodies[: len(whole)]
    assert sum(len(body) + verify.HEAD.size for body in whole) <= cut
    assert all(each.torn for each in found[len(whole) :])
    assert len(found) - len(whole) <= 1


@given(st.binary(max_size=200))
def test_noise_behind_a_segment_never_becomes_an_event(noise):
    body = b"body"
    found = list(verify.records(segment.record(body, verify.leaf_hash(body), 0) + noise, 0))
    assert found[0].body == body
    assert all(each.fault for each in found[1:])
