"""The plan of volumes, and what a volume says of itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import canonical, hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.errors import UntrustedBundle
from holdfast.formats.chunking import LARGE, Chunk
from holdfast.governance.labels import Label
from holdfast.media import volume
from holdfast.media.manifest import Delta, Entry, Manifest, Source
from holdfast.media.volume import CLUSTER, MIN_SIZE, Volume

LABEL = Label("public", frozenset(), frozenset({"site"}))
DIGEST = hashing.sha512(b"manifest")
SIZES = st.lists(st.integers(1, 3 * 2**20), max_size=60)
ROOMS = st.integers(4 * 2**20, 40 * 2**20)


def manifest_of(sizes: list[int], absent: int = 0) -> Manifest:
    """A manifest of one file whose chunks have these sizes; the first ``absent`` of them are left out."""
    chunks = tuple(Chunk(hashing.sha512(str(number).encode()), size) for number, size in enumerate(sizes))
    ref = FileRef("items.jsonl", sum(sizes), hashing.of_chunks(chunk.digest for chunk in chunks))
    record = Artefact(Kind.DATASET, "data", "1", (ref,), LABEL)
    sources = {chunk.digest: Source(record.digest, "items.jsonl", 0) for chunk in chunks[:absent]}
    return Manifest(
        name="m",
        version="1",
        description="d",
        publisher="p",
        created=datetime(2026, 3, 1, tzinfo=UTC),
        entries=(Entry(record, "MIT", {"items.jsonl": chunks}),),
        delta=Delta(DIGEST, "Outpost", sources) if sources else None,
    )


@given(SIZES, ROOMS, st.integers(0, 5))
def test_every_carried_chunk_is_on_exactly_one_volume_in_order_and_none_is_too_full(sizes, room, absent):
    found = manifest_of(sizes, absent)
    parts = volume.plan(found, room)
    assert [digest for part in parts for digest in part] == list(found.carried)
    for part in parts:
        assert sum(-(-found.carried[digest] // CLUSTER) * CLUSTER for digest in part) <= room
    assert len(parts) == 1 or all(parts)


@given(SIZES, ROOMS)
def test_the_plan_depends_on_manifest_and_size_alone(sizes, room):
    first, again = manifest_of(sizes), manifest_of(list(sizes))
    parts = volume.plan(first, room)
    assert parts == volume.plan(again, room)
    for number in range(1, len(parts) + 1):
        told = volume.parse(Volume(number, len(parts), room, DIGEST).encode())
        assert volume.assigned(told, again, DIGEST) == set(parts[number - 1])


def test_a_chunk_larger_than_a_volume_and_too_many_volumes_are_refused():
    with pytest.raises(UntrustedBundle, match="a chunk takes"):
        volume.plan(manifest_of([LARGE]), LARGE - 1)
    with pytest.raises(UntrustedBundle, match="volumes; 999 are allowed"):
        volume.plan(manifest_of([MIN_SIZE] * 1000), MIN_SIZE)
    assert len(volume.plan(manifest_of([MIN_SIZE] * 999), MIN_SIZE)) == 999


def test_a_volume_of_another_medium_or_count_is_refused():
    found = manifest_of([MIN_SIZE] * 3)
    other = hashing.sha512(b"other")
    with pytest.raises(UntrustedBundle, match="names another manifest"):
        volume.assigned(Volume(1, 3, MIN_SIZE, other), found, DIGEST)
    with pytest.raises(UntrustedBundle, match="it says 2 volumes; at its size there are 3"):
        volume.assigned(Volume(1, 2, MIN_SIZE, DIGEST), found, DIGEST)


GOOD = Volume(2, 3, MIN_SIZE, DIGEST)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", "holdfast.volume/2"),
        ("number", 0),
        ("number", 4),
        ("number", True),
        ("number", 1.5),
        ("count", 0),
        ("count", 1000),
        ("size", MIN_SIZE - 1),
        ("size", "1"),
        ("manifest", "\x1b[2J"),
        ("manifest", None),
        ("extra", 1),
    ],
)
def test_a_malformed_volume_is_refused(field, value):
    document = json.loads(GOOD.encode()) | {field: value}
    with pytest.raises(UntrustedBundle) as caught:
        volume.parse(canonical.encode(document))
    assert caught.value.key == "media.volume"
    assert "\x1b" not in str(caught.value)


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
    ).map(lambda value: json.dumps(value).encode())
)
def test_nothing_but_our_errors_comes_out_of_a_foreign_volume(data):
    try:
        found = volume.parse(data)
    except UntrustedBundle:
        return
    assert found.encode() == data
