"""Listings: a record is divided into events and put together again, whole or not at all."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import canonical, hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.errors import UntrustedInput
from holdfast.governance import listing
from holdfast.governance.labels import Label

LABEL = Label("public", frozenset({"ward"}), frozenset({"site"}))
DIGEST = hashing.sha512(b"x")


def made(files, name="tiny", parents=()):
    refs = tuple(FileRef(f"f{at:05}.bin", at * at, DIGEST) for at in range(files))
    return Artefact(Kind.BASE, name, "1", refs, LABEL, parents=parents, meta={"x": 1.5})


@given(st.lists(st.integers(1, 700), max_size=4))
def test_what_was_divided_comes_together_again(counts):
    found = tuple(made(count, f"tiny{at}") for at, count in enumerate(counts))
    parts = [told for one in found for told in listing.divide(one, {})]
    assert listing.join(parts) == found
    assert all(len(canonical.encode(told)) < listing.MAX_FILES + 2_000 for told in parts)


def test_a_record_with_few_files_is_one_event_and_the_files_of_a_large_one_follow():
    (small,) = listing.divide(made(3), {})
    assert (small["part"], small["parts"], small["files"]) == (1, 1, 3)
    assert len(small["artefact"]["files"]) == 3
    head, *rest = listing.divide(made(1000), {})
    assert head["artefact"]["files"] == []
    assert {one["parts"] for one in (head, *rest)} == {len(rest) + 1}
    assert [one["part"] for one in rest] == [*range(2, len(rest) + 2)]
    assert {one["files"] for one in (head, *rest)} == {1000}
    assert {one["bytes"] for one in (head, *rest)} == {made(1000).size}
    assert sum(len(one["artefact"]["files"]) for one in rest) == 1000
    assert len(rest) == 5  # of about 190 bytes each


def test_the_length_of_an_entry_is_reckoned_as_it_is_written():
    for path in ("a", 'a"b', "öst/\U0001f600.bin", "x" * 240):
        file = FileRef(path, 2**40, DIGEST)
        entry = {"path": path, "size": file.size, "digest": file.digest}
        assert listing._length(file) == len(canonical.encode(entry)) + 1


def test_origins_are_told_of_its_own_parents_alone():
    other = hashing.sha512(b"y")
    head, *rest = listing.divide(made(100, parents=(DIGEST,)), {DIGEST: "models 1", other: "models 2"})
    assert head["origins"] == {DIGEST: "models 1"}
    assert [one["origins"] for one in rest] == [{}]
    assert listing.origins_of([head, *rest]) == {DIGEST: "models 1"}
    assert listing.origins_of([{"origins": 7}, {}]) == {}


def test_a_list_is_named_by_its_artefacts_in_their_order():
    names = [hashing.sha512(text) for text in (b"1", b"2")]
    assert listing.digest_of(names) == listing.digest_of(iter(names))
    assert len({listing.digest_of(one) for one in (names, names[::-1], names[:1], [])}) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts.pop(2),
        lambda parts: parts.pop(0),
        lambda parts: parts.pop(1),
        lambda parts: parts.insert(1, parts[1]),
        lambda parts: parts.reverse(),
        lambda parts: parts[1]["artefact"].update(name="other"),
        lambda parts: parts[1]["artefact"].update(digest=DIGEST),
        lambda parts: parts[1]["artefact"].update(label=LABEL.to_json()),
        lambda parts: parts[1]["artefact"]["files"].pop(),
        lambda parts: parts[1]["artefact"].update(files=None),
        lambda parts: parts[0].update(artefact=None),
        lambda parts: parts[0].update(artefact=[]),
        lambda parts: parts[0].pop("part"),
        lambda parts: parts[0]["artefact"].pop("label"),
        lambda parts: parts[2].update(parts=9),
        lambda parts: parts.append({}),
        lambda parts: parts.append({"part": 1, "parts": 1, "artefact": {"files": [7]}}),
    ],
)
def test_a_list_with_a_part_missing_doubled_or_changed_is_no_list(change):
    parts = [*listing.divide(made(300), {}), *listing.divide(made(2, "other"), {})]
    assert len(listing.join(parts)) == 2
    changed = copy.deepcopy(parts)
    change(changed)
    with pytest.raises(UntrustedInput):
        listing.join(changed)
