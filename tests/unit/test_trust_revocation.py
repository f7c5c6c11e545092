"""The revocation list: what may be read, and what may follow what."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from holdfast import canonical, hashing
from holdfast.errors import UntrustedBundle
from holdfast.trust import revocation
from holdfast.trust.revocation import MAX_ENTRIES, MAX_REASON, Revocation, RevocationList

ISSUED = datetime(2027, 3, 1, 12, tzinfo=UTC)
ONE, TWO, THREE = (hashing.sha512(text) for text in (b"one", b"two", b"three"))


def entry(digest=ONE, **changes):
    facts = {
        "kind": "adapter",
        "name": "triage",
        "reason": "It names patients.",
        "instead": None,
        "since": ISSUED,
    }
    return Revocation(digest, **{**facts, **changes})


def listed(*entries, counter=1, issued=ISSUED):
    return RevocationList(counter, issued, {one.digest: one for one in entries})


def refusal(call, *arguments):
    with pytest.raises(UntrustedBundle) as caught:
        call(*arguments)
    return caught.value.key


def test_what_is_written_is_read():
    made = listed(entry(TWO), entry(ONE, instead=THREE, reason="Ungenügend: 日本"), counter=7)
    found = revocation.parse(made.encode())
    assert found == made
    assert list(found.entries) == sorted([ONE, TWO])
    assert found.encode() == made.encode()


def test_an_empty_list_is_one():
    assert revocation.parse(listed().encode()) == listed()


def change(**fields):
    return lambda document: document.update(fields)


def in_entry(**fields):
    return lambda document: document["entries"][0].update(fields)


MALFORMED = {
    "schema": change(schema="holdfast.revocations/2"),
    "a field too many": change(more=1),
    "a field too few": lambda document: document.pop("issued"),
    "counter zero": change(counter=0),
    "counter negative": change(counter=-1),
    "counter true": change(counter=True),
    "counter text": change(counter="1"),
    "counter a fraction": change(counter=1.5),
    "issued no moment": change(issued="yesterday"),
    "issued unpadded": change(issued="2027-3-01T12:00:00Z"),
    "issued with another zone": change(issued="2027-03-01T12:00:00+01:00"),
    "entries no list": change(entries={}),
    "entry no object": change(entries=["x"]),
    "an entry twice": lambda document: document["entries"].append(document["entries"][0]),
    "entries unsorted": lambda document: document["entries"].reverse(),
    "digest short": in_entry(digest="sha512:00"),
    "digest of another kind": in_entry(digest=hashing.sha256(b"")),
    "digest no text": in_entry(digest=None),
    "kind unknown": in_entry(kind="rumour"),
    "kind no text": in_entry(kind=5),
    "name empty": in_entry(name=""),
    "name with a slash": in_entry(name="a/b"),
    "reason empty": in_entry(reason=""),
    "reason no text": in_entry(reason=5),
    "reason too long": in_entry(reason="x" * (MAX_REASON + 1)),
    "reason that moves the cursor": in_entry(reason="\x1b[2J"),
    "reason of two lines": in_entry(reason="one\ntwo"),
    "reason that turns the line around": in_entry(reason="a\u202eb"),
    "instead no digest": in_entry(instead="the newer one"),
    "instead empty": in_entry(instead=""),
    "instead itself revoked": in_entry(instead=max(ONE, TWO)),
    "instead itself": lambda document: document["entries"][0].update(
        instead=document["entries"][0]["digest"]
    ),
    "since no moment": in_entry(since=0),
    "since after the list": in_entry(since="2027-03-01T12:00:01Z"),
    "entry with a field too many": in_entry(more=1),
    "entry with a field too few": lambda document: document["entries"][0].pop("since"),
}


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED)
def test_malformed_lists_are_refused(spoil):
    document = json.loads(listed(entry(ONE), entry(TWO)).encode())
    spoil(document)
    assert refusal(revocation.parse, canonical.encode(document)) == "trust.revocations-form"


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 200])
def test_other_documents_are_refused(data):
    assert refusal(revocation.parse, data).startswith(("json.", "trust.revocations-form"))


def test_what_is_no_digest_is_told_in_one_sentence():
    document = json.loads(listed(entry()).encode())
    document["entries"][0]["digest"] = "sha512:abc"
    with pytest.raises(UntrustedBundle) as caught:
        revocation.parse(canonical.encode(document))
    assert caught.value.message == "The revocation list is refused: 'sha512:abc' is not a digest."


def test_bytes_are_canonical():
    assert refusal(revocation.parse, listed(entry()).encode() + b"\n") == "trust.revocations-form"


def test_sizes_are_bounded():
    assert refusal(revocation.parse, b" " * (revocation.MAX_DOCUMENT + 1)) == "json.too-large"
    many = {
        "schema": revocation.SCHEMA,
        "counter": 1,
        "issued": "2027-03-01T12:00:00Z",
        "entries": [0] * (MAX_ENTRIES + 1),
    }
    assert refusal(revocation.parse, canonical.encode(many)) == "trust.revocations-form"


def test_a_list_may_follow_itself_and_a_longer_one_with_a_higher_counter():
    old = listed(entry(ONE))
    revocation.follows(None, None)
    revocation.follows(None, old)
    revocation.follows(old, old)
    revocation.follows(old, listed(entry(ONE), entry(TWO), counter=2))
    revocation.follows(old, listed(entry(ONE, reason="Also wrong."), counter=9))


@pytest.mark.parametrize(
    ("new", "key"),
    [
        (None, "missing"),
        (listed(entry(ONE), counter=1), "rollback"),
        (listed(entry(ONE), entry(TWO), entry(THREE), counter=1), "rollback"),
        (listed(entry(ONE), entry(TWO), counter=2), "two-faces"),
        (listed(entry(ONE), counter=2, issued=ISSUED + timedelta(days=1)), "two-faces"),
        (listed(entry(TWO), counter=3), "dropped"),
        (listed(counter=3), "dropped"),
    ],
)
def test_other_lists_may_not_follow(new, key):
    assert refusal(revocation.follows, listed(entry(ONE), counter=2), new) == f"trust.revocations-{key}"


def test_a_list_reaches_what_the_log_says_was_admitted():
    for found in (None, listed(entry(ONE), counter=1)):
        revocation.reaches(0, found)
    revocation.reaches(2, listed(entry(ONE), counter=2))
    for found in (None, listed(entry(ONE), counter=1)):
        assert refusal(revocation.reaches, 2, found) == "trust.revocations-rollback"


def test_a_publisher_extends_a_list():
    first = revocation.extended(None, entry(ONE), ISSUED)
    assert (first.counter, set(first.entries)) == (1, {ONE})
    second = revocation.extended(first, entry(TWO, instead=THREE), ISSUED + timedelta(days=1))
    assert (second.counter, set(second.entries)) == (2, {ONE, TWO})
    revocation.follows(first, second)
    corrected = revocation.extended(
        second, entry(ONE, reason="Worse than thought."), ISSUED + timedelta(days=2)
    )
    assert corrected.entries[ONE].reason == "Worse than thought."
    assert (
        refusal(revocation.extended, corrected, entry(THREE), ISSUED + timedelta(days=3))
        == "trust.revocations-form"
    )
