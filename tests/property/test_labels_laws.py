"""Labels are a join semilattice in which every step tightens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UntrustedInput
from holdfast.governance import labels
from holdfast.governance.labels import LEVELS, Label
from holdfast.governance.state import tighten

NAMES = st.sets(st.sampled_from(["a", "b", "c", "d"]))
LABELS = st.builds(
    Label,
    st.sampled_from(LEVELS),
    NAMES.map(frozenset),
    NAMES.map(lambda names: frozenset(names | {"home"})),  # a common zone, so that every join exists
)


def tighter(one: Label, other: Label) -> bool:
    """Tell whether the first is at least as tight as the second."""
    return (
        LEVELS.index(one.level) >= LEVELS.index(other.level)
        and one.compartments >= other.compartments
        and one.zones <= other.zones
    )


@given(LABELS, LABELS, LABELS)
def test_the_join_is_associative_commutative_and_idempotent(one, two, three):
    assert one.join(two).join(three) == one.join(two.join(three))
    assert one.join(two) == two.join(one)
    assert one.join(one) == one


@given(LABELS, LABELS, LABELS)
def test_a_join_is_the_least_label_that_is_as_tight_as_both(one, two, bound):
    joined = one.join(two)
    assert tighter(joined, one)
    assert tighter(joined, two)
    if tighter(bound, one) and tighter(bound, two):
        assert tighter(bound, joined)


@given(LABELS, LABELS, LABELS)
def test_who_may_see_what_was_derived_may_see_what_it_came_from(reader, one, two):
    if reader.permits(one.join(two)):
        assert reader.permits(one)
        assert reader.permits(two)


@given(LABELS)
def test_a_label_reads_back(label):
    assert labels.parse(label.to_json()) == label


@given(LABELS, LABELS, st.booleans())
def test_what_is_recorded_again_is_never_loosened(known, told, apart):
    if apart:
        told = Label(told.level, told.compartments, frozenset({"elsewhere"}))
        with pytest.raises(UntrustedInput):
            known.join(told)
    found = tighten(known, told)
    assert tighter(found, known)
    assert LEVELS.index(found.level) >= LEVELS.index(told.level)
    assert found.compartments >= told.compartments
