"""Delegation graphs: who is asked, in which order, and through whom a role was reached."""

from __future__ import annotations

import hashlib

import pytest
from tests.conformance.simulator import ALL, signer

# Delegations in order: (from, to), with what is special; then the roles that a vain search visits.
GRAPHS = {
    "one": ([("targets", "A", {})], "A"),
    "two in order": ([("targets", "A", {}), ("targets", "B", {})], "AB"),
    "children before siblings": (
        [("targets", "A", {}), ("targets", "B", {}), ("A", "C", {}), ("A", "D", {})],
        "ACDB",
    ),
    "depth first": ([("targets", "A", {}), ("targets", "B", {}), ("A", "C", {}), ("C", "D", {})], "ACDB"),
    "a chain of six": (
        [("targets", "A", {}), *[(a, b, {}) for a, b in ("AB", "BC", "CD", "DE", "EF")]],
        "ABCDEF",
    ),
    "terminating": ([("targets", "A", {"terminating": True}), ("targets", "B", {})], "A"),
    "terminating with children": (
        [("targets", "A", {"terminating": True}), ("targets", "B", {}), ("A", "C", {})],
        "AC",
    ),
    "terminating deep down ends everything": (
        [
            ("targets", "A", {}),
            ("targets", "B", {}),
            ("A", "C", {"terminating": True}),
            ("A", "D", {}),
            ("C", "E", {}),
        ],
        "ACE",
    ),
    "siblings before a terminating one are visited": (
        [("targets", "A", {}), ("targets", "B", {"terminating": True}), ("targets", "C", {})],
        "AB",
    ),
    "terminating for other paths does not end anything": (
        [("targets", "A", {"terminating": True, "paths": ["*.md"]}), ("targets", "B", {})],
        "B",
    ),
    "branches for other paths are passed over": (
        [("targets", "A", {"paths": ["*.md"]}), ("targets", "B", {}), ("A", "C", {})],
        "B",
    ),
    "a cycle": ([("targets", "A", {}), ("A", "B", {}), ("B", "C", {}), ("C", "A", {})], "ABC"),
    "a role that delegates to itself": ([("targets", "A", {}), ("A", "A", {})], "A"),
    "two ways to one role": (
        [("targets", "A", {}), ("targets", "B", {}), ("A", "C", {}), ("B", "C", {})],
        "ACB",
    ),
    "two ways, the first for other paths": (
        [("targets", "A", {}), ("targets", "B", {}), ("A", "C", {"paths": ["*.md"]}), ("B", "C", {})],
        "ABC",
    ),
    "no paths at all": ([("targets", "A", {"paths": []}), ("targets", "B", {})], "B"),
}


def build(repository, graph):
    for above, below, special in graph:
        repository.delegate(above, below, **special)
    for role in sorted({below for _, below, _ in graph}):
        repository.publish(role)
    repository.publish(*ALL)


@pytest.mark.parametrize(("graph", "order"), GRAPHS.values(), ids=GRAPHS)
def test_a_vain_search_visits_the_roles_in_preorder(run, repository, graph, order):
    build(repository, graph)
    assert run.download("missing") == 1
    assert run.repository.requests[4:] == [f"1.{role}" for role in order]
    assert set(run.trusted()) == {"root", "timestamp", "snapshot", "targets", *order}


PATTERNS = [
    ("*", "file", True),
    ("*", "folder/file", False),
    ("*/*", "folder/file", True),
    ("folder/*", "folder/file", True),
    ("folder/*", "folder/deep/file", False),
    ("*.tgz", "x.tgz", True),
    ("*.tgz", "x.tgz.txt", False),
    ("file-?", "file-1", True),
    ("file-?", "file-10", False),
    ("file-?", "file-/", False),
    ("a/*/c", "a/b/c", True),
    ("a/*/c", "a/b/b/c", False),
    ("FILE", "file", False),
    ("folder", "folder/file", False),
]


@pytest.mark.parametrize(("pattern", "path", "covered"), PATTERNS)
def test_patterns_match_segment_by_segment(run, repository, pattern, path, covered):
    repository.delegate("targets", "D", paths=["nothing-else", pattern])
    repository.add("D", path, b"1")
    repository.publish("D", *ALL)
    assert run.download(path) == (0 if covered else 1)
    assert ("1.D" in run.repository.requests) is covered


def test_a_path_must_be_covered_by_every_delegation_on_the_way(run, repository):
    repository.delegate("targets", "A", paths=["a/*"])
    repository.delegate("A", "B", paths=["*/*"])
    repository.add("B", "a/file", b"1")
    repository.add("B", "b/file", b"2")
    repository.publish("A", "B", *ALL)
    assert run.download("a/file") == 0
    assert run.download("b/file") == 1
    assert run.repository.requests[-1] == "timestamp"


def test_the_first_role_in_order_wins(run, repository):
    for name in "AB":
        repository.delegate("targets", name)
        repository.add(name, "file", name.encode())
        repository.publish(name)
    repository.publish(*ALL)
    assert run.download("file") == 0
    assert run.downloaded() == [b"A"]


def test_the_delegator_wins_over_those_beneath(run, repository):
    repository.delegate("targets", "A")
    repository.add("A", "file", b"A")
    repository.add("targets", "file", b"T")
    repository.publish("A", *ALL)
    assert run.download("file") == 0
    assert run.downloaded() == [b"T"]


def test_hash_prefixes(run, repository):
    digest = hashlib.sha256(b"some/file").hexdigest()
    wrong = "0" if digest[0] != "0" else "1"
    repository.delegate("targets", "A", path_hash_prefixes=[wrong])
    repository.delegate("targets", "B", path_hash_prefixes=[wrong, digest[:3]])
    repository.add("B", "some/file", b"B")
    repository.publish("A", "B", *ALL)
    assert run.download("some/file") == 0
    assert run.repository.requests[4:5] == ["1.B"]


def test_hash_bins(run, repository):
    repository.bins(3, "bin")
    bins = sorted(role for role in repository.files if role.startswith("bin"))
    paths = [f"file-{number}" for number in range(12)]
    for path in paths:
        home = repository.top.delegations.succinct_roles.get_role_for_target(path)
        repository.add(home, path, path.encode())
    repository.publish(*bins, *ALL)
    assert len(bins) == 8
    assert run.download(*paths) == 0
    assert len(run.downloaded()) == 12
    assert run.download("missing") == 1


@pytest.mark.parametrize(
    ("threshold", "signing", "accepted"), [(2, 2, True), (2, 3, True), (2, 1, False), (4, 3, False)]
)
def test_thresholds_of_delegated_roles(run, repository, threshold, signing, accepted):
    keys = [signer(number) for number in range(3)]
    repository.delegate("targets", "D", signers=keys, threshold=threshold)
    repository.signers["D"] = keys[:signing]
    repository.add("D", "file", b"1")
    repository.publish("D", *ALL)
    assert run.download("file") == (0 if accepted else 1)
    assert ("D" in run.trusted()) is accepted


def test_a_role_that_can_not_be_verified_ends_the_search(run, repository):
    for name in "AB":
        repository.delegate("targets", name)
    repository.add("B", "file", b"B")
    repository.signers["A"] = [signer("stranger")]
    repository.publish("A", "B", *ALL)
    assert run.download("file") == 1
    assert "1.B" not in run.repository.requests
    assert set(run.trusted()) == {"root", "timestamp", "snapshot", "targets"}


def test_a_role_that_the_snapshot_does_not_name_is_not_asked_for(run, repository):
    repository.delegate("targets", "D")
    repository.publish("D")
    del repository.snapshot.meta["D.json"]
    repository.publish(*ALL)
    assert run.download("file") == 1
    assert run.repository.requests[-1] == "2.targets"


def test_a_kept_role_is_used_again_without_a_request(run, repository):
    repository.delegate("targets", "D")
    repository.add("D", "one", b"1")
    repository.add("D", "two", b"2")
    repository.publish("D", *ALL)
    assert run.download("one") == 0
    assert run.download("two") == 0
    assert run.repository.requests[1] == "timestamp"
    assert [name for name in run.repository.requests if name.endswith(".D")] == []


def two_ways(repository, second):
    """Let A and B delegate to C for different paths, B with other keys than C's file is signed with."""
    for name in "AB":
        repository.delegate("targets", name, paths=[f"{name.lower()}/*"])
    repository.delegate("A", "C", paths=["a/*"], signers=[signer("first")])
    repository.delegate("B", "C", paths=["b/*"], signers=[signer(second)])
    repository.add("C", "a/file", b"a")
    repository.add("C", "b/file", b"b")
    repository.publish("A", "B", "C", *ALL)


def test_a_role_trusted_through_one_delegator_is_not_trusted_through_another(run, repository):
    two_ways(repository, "second")
    assert run.download("a/file") == 0
    assert run.download("b/file") == 1
    assert run.downloaded() == [b"a"]


def test_nor_is_it_within_one_run_of_the_client(run, repository):
    two_ways(repository, "second")
    assert run.download("a/file", "b/file") == 1
    assert run.downloaded() == [b"a"]


def test_a_role_that_both_delegators_vouch_for_is_fetched_once(run, repository):
    two_ways(repository, "first")
    assert run.download("a/file", "b/file") == 0
    assert run.repository.requests.count("1.C") == 1


def test_a_kept_role_whose_delegator_changed_the_keys_is_no_longer_trusted(run, repository):
    repository.delegate("targets", "D")
    repository.add("D", "file", b"1")
    repository.publish("D", *ALL)
    assert run.download("file") == 0
    run.targets.joinpath("file").unlink()
    repository.top.revoke_key(repository.signers["D"][0].public_key.keyid, "D")
    repository.top.add_key(signer("other").public_key, "D")
    repository.publish(*ALL)
    assert run.download("file") == 1
    # The same version signed by the new key takes its place.
    repository.signers["D"] = [signer("other")]
    repository.issue("D")
    assert run.download("file") == 0
    assert run.metadata.joinpath("D.json").read_bytes() == repository.latest("D")


def test_a_kept_role_whose_delegation_ended_vouches_for_nothing(run, repository):
    repository.delegate("targets", "D")
    repository.add("D", "file", b"1")
    repository.publish("D", *ALL)
    assert run.download("file") == 0
    repository.top.delegations = None
    repository.publish(*ALL)
    assert run.download("file") == 1


def test_a_search_visits_at_most_thirty_two_roles(run, repository):
    names = [f"r{number:02}" for number in range(33)]
    for name in names:
        repository.delegate("targets", name)
        repository.publish(name)
    repository.add(names[31], "reached", b"1")
    repository.add(names[32], "too-far", b"2")
    repository.publish(names[31], names[32], *ALL)
    assert run.download("reached") == 0
    assert run.download("too-far") == 1
    assert run.downloaded() == [b"1"]


def test_a_top_level_name_can_not_be_delegated_to(run, repository):
    repository.delegate("targets", "D")
    repository.publish("D", *ALL)
    data = repository.latest("targets")
    changed = data.replace(b'"name": "D"', b'"name": "snapshot"')
    assert changed != data
    repository.serve("targets", 2, changed)
    assert run.refresh() == 1
