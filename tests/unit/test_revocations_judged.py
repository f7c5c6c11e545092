"""Which artefacts a revocation reaches, and what an exception lifts."""

from __future__ import annotations

import pytest

from holdfast import hashing
from holdfast.errors import UntrustedInput
from holdfast.governance import revocations
from holdfast.governance.revocations import Revocation

NAMES = ("base", "tokenizer", "data", "adapter", "gguf", "lora", "other")
DIGESTS = {name: hashing.sha512(name.encode()) for name in NAMES}
PARENTS = {
    "adapter": ("base", "tokenizer", "data"),
    "gguf": ("base", "tokenizer"),
    "lora": ("adapter", "base", "tokenizer"),
}


def parents(digest):
    name = next((name for name, found in DIGESTS.items() if found == digest), "")
    return tuple(DIGESTS[one] for one in PARENTS.get(name, ()))


def revoked(*names):
    return {
        DIGESTS[name]: Revocation(
            DIGESTS[name], "base", name, "It leaks.", "2026-03-01T12:00:00Z", None, "late 3"
        )
        for name in names
    }


def blocked(*names, excepted=()):
    known = revoked(*names)
    lifted = frozenset(DIGESTS[name] for name in excepted)
    found = {name: revocations.blocking(DIGESTS[name], known, parents, lifted) for name in NAMES}
    return {name: one.name for name, one in found.items() if one is not None}


def test_whoever_descends_from_a_revoked_artefact_is_revoked_with_it():
    assert blocked("base") == dict.fromkeys(("base", "adapter", "gguf", "lora"), "base")
    assert blocked("data") == dict.fromkeys(("data", "adapter", "lora"), "data")
    assert blocked("gguf") == {"gguf": "gguf"}
    assert not blocked()


def test_the_nearest_of_several_is_told():
    assert blocked("base", "adapter")["lora"] == "adapter"
    assert blocked("base", "adapter")["gguf"] == "base"


def test_an_exception_lifts_what_the_artefact_inherits_and_nothing_beside_it():
    assert blocked("base", excepted=["base"]) == {}
    assert blocked("base", excepted=["gguf"]) == dict.fromkeys(("base", "adapter", "lora"), "base")
    # A lora stands on its adapter and on its base: an exception for the adapter leaves the other way open.
    assert blocked("base", excepted=["adapter"]) == dict.fromkeys(("base", "gguf", "lora"), "base")
    assert blocked("base", "data", excepted=["base"]) == dict.fromkeys(("data", "adapter", "lora"), "data")
    assert blocked("base", excepted=["other"]) == blocked("base")


def test_records_that_go_round_in_a_circle_end():
    circle = {"a": ("b",), "b": ("a",)}
    assert revocations.blocking("a", {}, lambda digest: circle[digest]) is None
    known = {"b": revoked("base")[DIGESTS["base"]]}
    assert revocations.blocking("a", known, lambda digest: circle[digest]) is known["b"]


def test_a_recorded_revocation_is_read_as_it_was_written():
    one = revoked("base")[DIGESTS["base"]]
    assert revocations.parse(one.to_json(), "late 3") == one
    for wrong in (
        None,
        [],
        one.to_json() | {"more": ""},
        one.to_json() | {"reason": None},
        one.to_json() | {"instead": 5},
    ):
        with pytest.raises(UntrustedInput):
            revocations.parse(wrong, "late 3")


def test_the_sentence_names_the_reason_and_the_way_it_came():
    one = revoked("base")[DIGESTS["base"]]
    own = revocations.sentence(one, "base tiny", one.digest)
    assert "is revoked since 2026-03-01T12:00:00Z by late 3: It leaks." in own
    assert "was made from" not in own
    other = revocations.sentence(one, "gguf tiny", DIGESTS["gguf"])
    assert "was made from base base" in other
    assert other.endswith("It leaks.")
