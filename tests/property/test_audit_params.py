"""What the registry types: every event that it describes can be recorded and told, and nothing else can."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import recorded
from tests.recorded import DIGEST, TIME

from holdfast.audit import actions, event, params
from holdfast.audit.event import Actor, Draft, Source, Subject
from holdfast.audit.sentences import MAX_SENTENCE
from holdfast.errors import UntrustedRequest

ALICE = Actor("alice", 1000, "operator", "s1")
SOURCE = Source("daemon", "0" * 16, 0)
QUICK = settings(max_examples=12)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", actions.REGISTRY)
def test_what_an_action_describes_is_taken_and_reads_back(name):
    @QUICK
    @given(recorded.values(actions.REGISTRY[name].params))
    def check(drawn):
        draft = Draft(name, ALICE, Subject("adapter", DIGEST), params=drawn, cause=7)
        assert actions.admit(draft).name == name
        found = event.parse(event.prepare(draft).stamp(8, TIME, "host", SOURCE))
        assert found.params == drawn
        assert actions.admit(found).name == name
        told = actions.describe(found.to_json())
        assert 0 < len(told) <= MAX_SENTENCE
        assert told.isprintable()

    check()


@pytest.mark.parametrize("name", actions.REGISTRY)
def test_each_single_change_is_refused_and_named(name):
    record = actions.REGISTRY[name].params
    good = recorded.plainest(record)
    actions.admit(Draft(name, ALICE, params=good))
    mutants = [({**good, "unheard_of": 1}, "unheard_of")]
    mutants += [({key: one for key, one in good.items() if key != gone}, gone) for gone in good]
    mutants += [
        (good | {key: bad}, key) for key, kind in record.types.items() for bad in recorded.wrong(kind)
    ]
    for mutant, where in mutants:
        with pytest.raises(UntrustedRequest) as caught:
            actions.admit(Draft(name, ALICE, params=mutant))
        fields = caught.value.fields
        assert caught.value.key == "audit.params"
        assert (fields["action"], fields["parameter"].partition(".")[0].partition("[")[0]) == (name, where)
        assert name in caught.value.message
        assert where in caught.value.message
        assert isinstance(fields["expected"], str)


@given(st.sampled_from(sorted(actions.REGISTRY)), anything)
def test_a_check_answers_whatever_it_is_given(name, value):
    wrong = actions.REGISTRY[name].params.check(value)
    assert wrong is None or isinstance(wrong, params.Wrong)


@given(
    st.sampled_from(sorted(actions.REGISTRY)),
    st.dictionaries(st.sampled_from(["actor", "subject", "params", "cause"]), anything),
    st.dictionaries(st.text(max_size=12), anything, max_size=4),
)
def test_any_event_is_told_in_one_printable_line(name, parts, loose):
    for told in (
        actions.describe({"action": name, **parts}),
        actions.describe({"action": name, "params": loose}),
    ):
        assert len(told) <= MAX_SENTENCE
        assert told.isprintable()


@pytest.mark.parametrize("name", actions.REGISTRY)
def test_a_sentence_survives_each_wrong_parameter(name):
    record = actions.REGISTRY[name].params
    for key, kind in record.types.items():
        for bad in recorded.wrong(kind):
            told = actions.describe({"action": name, "params": recorded.plainest(record) | {key: bad}})
            assert told.isprintable()
            assert len(told) <= MAX_SENTENCE


def test_a_document_is_bounded_in_depth_and_bytes():
    kind = params.Document("thing", 20)
    deep = 1
    for _ in range(params.MAX_DEPTH):
        deep = [deep]
    assert params.Document("thing", 200).check(deep) is None
    assert params.Document("thing", 200).check([deep]) is not None
    assert kind.check("x" * 18) is None
    assert kind.check("x" * 19) is not None
    for _ in range(100_000):
        deep = [deep]
    assert kind.check(deep) is not None
