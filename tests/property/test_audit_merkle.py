"""The tree against the definition in RFC 6962, and its proofs against RFC 9162."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audit import merkle
from holdfast.audit.verify import Refused


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def grow(count: int) -> tuple[merkle.Tree, list[bytes]]:
    leaves = [merkle.leaf_hash(n.to_bytes(4, "big")) for n in range(count)]
    tree = merkle.Tree(lambda start, stop: leaves[start:stop])
    for leaf in leaves:
        tree.append(leaf)
    return tree, leaves


BIG, LEAVES = grow(2_100)  # eight whole tiles and a part
sizes = st.one_of(
    st.integers(1, 40), st.integers(1, len(LEAVES)), st.sampled_from([255, 256, 257, 511, 512, 1024, 2048])
)


def test_the_vectors_of_rfc_6962():
    assert (
        merkle.Frontier().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


@given(sizes)
def test_roots_are_those_of_the_definition(size):
    root = naive_root(LEAVES[:size])
    assert BIG.root_at(size) == root
    assert grow(size)[0].root() == root


@given(st.data())
def test_inclusion_proofs_lead_to_the_root_and_nothing_else_does(data):
    size = data.draw(sizes)
    index = data.draw(st.integers(0, size - 1))
    path = BIG.inclusion(index, size)
    assert merkle.inclusion_root(LEAVES[index], index, size, path) == BIG.root_at(size)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index)) if size > 1 else None
    if other is not None:
        with suppress(Refused):  # the path does not even have the right length
            assert merkle.inclusion_root(LEAVES[index], other, size, path) != BIG.root_at(size)
    for wrong in (path[:-1], [*path, path[0]]) if path else ([LEAVES[0]],):
        with pytest.raises(Refused):
            merkle.inclusion_root(LEAVES[index], index, size, wrong)


@given(st.data())
def test_consistency_proofs_hold_for_true_beginnings_only(data):
    new = data.draw(sizes)
    old = data.draw(st.integers(1, new))
    path = BIG.consistency(old, new)
    first, second = BIG.root_at(old), BIG.root_at(new)
    assert merkle.consistent(old, new, first, second, path)
    assert not merkle.consistent(old, new, LEAVES[0][::-1], second, path)
    assert not merkle.consistent(old, new, first, LEAVES[0][::-1], path)
    assert not merkle.consistent(0, new, first, second, path)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        bad = [*path[:at], bytes(32), *path[at + 1 :]]
        assert not merkle.consistent(old, new, first, second, bad)
        assert not merkle.consistent(old, new, first, second, path[:-1])
