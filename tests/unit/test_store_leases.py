"""Leases: what is held is not removed, what is being removed is not held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import Conflict
from holdfast.store.leases import Leases

A, B, C = (f"sha512:{digit * 128}" for digit in "abc")


def test_what_is_held_is_left_out_of_a_removal():
    leases = Leases()
    with leases.hold("serving", {A, B}), leases.removing({A, B, C}) as free:
        assert free == {C}
    assert leases.held == {}


def test_what_is_being_removed_cannot_be_held():
    leases = Leases()
    with leases.removing({A}), pytest.raises(Conflict) as caught:
        leases.take("train.run", {A, B})
    assert caught.value.key == "store.removing"
    assert leases.held == {}
    leases.take("train.run", {A})


def test_a_lease_ends_with_its_block_however_that_ends():
    leases = Leases()

    def work():
        with leases.hold("job", {A}):
            assert leases.held == {A: ("job",)}
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert leases.held == {}


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.frozensets(st.sampled_from([A, B, C]))), max_size=6))
def test_each_holder_is_named_until_it_lets_go(wanted):
    leases = Leases()
    numbers = [leases.take(holder, digests) for holder, digests in wanted]
    for digest in (A, B, C):
        holders = sorted(holder for holder, digests in wanted if digest in digests)
        assert leases.held.get(digest, ()) == tuple(holders)
    for number in (*numbers, *numbers):
        leases.release(number)
    assert leases.held == {}
