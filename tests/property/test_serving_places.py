"""Places: never more than there are, never all to one tenant, always given back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UntrustedRequest
from holdfast.serving.front.faults import Busy
from holdfast.serving.front.places import LONGEST, Bounds, Places

TENANTS = ("greedy", "other", "third")


def taken(places, tenant, size, bounds, now):
    try:
        return places.take("base", tenant, size, bounds, now)
    except (Busy, UntrustedRequest) as refused:
        return refused


@given(
    st.integers(1, 8),
    st.integers(0, 16),
    st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(1, 5), st.booleans()), max_size=60),
    st.booleans(),
)
def test_what_is_held_never_exceeds_the_bound_and_is_given_back(parallel, queue, asked, shared):
    places, bounds, held = Places(), Bounds(parallel, queue, shared), []
    for now, (tenant, size, leaves) in enumerate(asked):
        if leaves and held:
            places.leave(held.pop(0), now)
        found = taken(places, tenant, size, bounds, now)
        if isinstance(found, Busy):
            assert 1 <= found.fields["retry_after"] <= LONGEST
        elif isinstance(found, UntrustedRequest):
            assert size > parallel + queue
        else:
            held.append(found)
        assert places.held == sum(place.size for place in held) <= parallel + queue
    for place in held:
        places.leave(place, len(asked))
    assert places.held == 0
    places.keep(frozenset())


@given(st.integers(2, 64), st.integers(0, 64))
def test_a_greedy_tenant_leaves_room_for_the_next_and_takes_all_when_it_is_alone(parallel, queue):
    places, bounds = Places(), Bounds(parallel, queue, shared=True)
    for _ in range(parallel + queue):
        taken(places, "greedy", 1, bounds, 0.0)
    assert 0 < places.held < parallel + queue
    places.take("base", "other", 1, bounds, 0.0)
    places.take("other", "greedy", 1, bounds, 0.0)  # another model has places of its own
    alone, bounds = Places(), Bounds(parallel, queue, shared=False)
    for _ in range(parallel + queue):
        alone.take("base", "greedy", 1, bounds, 0.0)


def test_the_time_to_come_again_follows_what_requests_took():
    places, bounds = Places(), Bounds(1, 0, shared=False)
    for took in (10.0, 20.0):
        place = places.take("base", "one", 1, bounds, 100.0)
        places.leave(place, 100.0 + took)
    places.take("base", "one", 1, bounds, 0.0)
    with pytest.raises(Busy) as refused:
        places.take("base", "one", 1, bounds, 0.0)
    assert refused.value.fields["retry_after"] == 15


def test_nobody_is_told_to_wait_longer_than_can_be_foreseen_and_what_computed_nothing_teaches_nothing():
    places, bounds = Places(), Bounds(1, 0, shared=False)
    places.leave(places.take("base", "one", 1, bounds, 0.0), 1800.0)
    places.leave(places.take("base", "one", 1, bounds, 0.0), None)
    places.take("base", "one", 1, bounds, 0.0)
    with pytest.raises(Busy) as refused:
        places.take("base", "one", 1, bounds, 0.0)
    assert refused.value.fields["retry_after"] == LONGEST


def test_places_outlive_their_model_in_the_table_and_a_share_is_given_back_whole():
    places, bounds = Places(), Bounds(4, 0, shared=True)
    held = places.take("base", "one", 2, bounds, 0.0)
    places.keep(frozenset())
    assert places.held == 2
    places.leave(held, None)
    places.take("base", "one", 3, bounds, 0.0)  # as if it had never held any
    assert places.held == 3
