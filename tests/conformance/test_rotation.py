"""Ladders of roots, and keys of the other roles that change on the way."""

from __future__ import annotations

import pytest
from tests.conformance.simulator import ALL, signer
from tuf.api.metadata import Role

# Each rung: the keys listed, the threshold, the keys that sign. The first rung is what the client starts from.
LADDERS = {
    "one key to another": [([1], 1, [1]), ([2], 1, [1, 2]), ([2], 1, [2])],
    "strangers sign too": [([1], 1, [1, 8]), ([2], 1, [8, 2, 1, 9]), ([2], 1, [9, 2])],
    "any three of five": [
        ([1, 2, 3, 4, 5], 3, signing) for signing in ([1, 2, 3], [3, 4, 5], [1, 3, 5], [2, 3, 4])
    ],
    "one of five replaced": [([1, 2, 3, 4, 5], 3, [1, 2, 3]), ([2, 3, 4, 5, 6], 3, [2, 3, 4])],
    "one of five replaced, by the one who leaves": [
        ([1, 2, 3, 4, 5], 3, [1, 2, 3]),
        ([2, 3, 4, 5, 6], 3, [1, 2, 3, 6]),
        ([2, 3, 4, 5, 6], 3, [4, 5, 6]),
    ],
    "all five replaced": [
        ([1, 2, 3, 4, 5], 3, [1, 2, 3]),
        ([6, 7, 8, 9, 10], 3, [1, 2, 3, 6, 7, 8]),
        ([6, 7, 8, 9, 10], 3, [8, 9, 10]),
    ],
    "threshold up": [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 3, [1, 2, 3])],
    "threshold down": [([1, 2, 3], 3, [1, 2, 3]), ([1, 2, 3], 1, [1, 2, 3]), ([1, 2, 3], 1, [2])],
    "a second key joins": [([1], 1, [1]), ([1, 2], 2, [1, 2])],
    "nine rungs": [([rung, rung + 1], 2, sorted({rung - 1, rung, rung + 1} - {0})) for rung in range(1, 10)],
}
BROKEN = {  # the last rung must be refused
    "not signed by the old key": [([1], 1, [1]), ([2], 1, [2, 8])],
    "not signed by the new key": [([1], 1, [1]), ([2], 1, [1, 8])],
    "too few of the old": [([1, 2, 3, 4, 5], 3, [1, 2, 3]), ([3, 4, 5, 6, 7], 3, [4, 5, 6, 7])],
    "too few of the new": [([1, 2, 3, 4, 5], 3, [1, 2, 3]), ([3, 4, 5, 6, 7], 3, [1, 2, 3, 4])],
    "raised threshold not reached": [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [2])],
    "old threshold not reached": [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1])],
    "a break after good rungs": [([1], 1, [1]), ([1, 2], 1, [1]), ([2, 3], 2, [2, 3]), ([4], 1, [4])],
}


def climb(repository, ladder):
    """Publish a ladder in place of the repository's first root; gives the bytes of every rung."""
    rungs = []
    for version, (listed, threshold, signing) in enumerate(ladder, start=1):
        root = repository.root
        for keyid in list(root.roles["root"].keyids):
            root.revoke_key(keyid, "root")
        root.roles["root"] = Role([], threshold)
        for number in listed:
            root.add_key(signer(number).public_key, "root")
        repository.signers["root"] = [signer(number) for number in signing]
        root.version = version
        repository.issue("root")
        rungs.append(repository.latest("root"))
    return rungs


@pytest.mark.parametrize("ladder", LADDERS.values(), ids=LADDERS)
def test_every_rung_of_a_good_ladder_is_climbed(run, repository, ladder):
    rungs = climb(repository, ladder)
    assert run.init(rungs[0]) == 0
    assert run.refresh() == 0
    assert run.metadata.joinpath("root.json").read_bytes() == rungs[-1]
    roots = [name for name in run.repository.requests if name.endswith("root")]
    assert roots == [f"{version}.root" for version in range(2, len(ladder) + 2)]


@pytest.mark.parametrize("ladder", BROKEN.values(), ids=BROKEN)
def test_a_broken_rung_is_refused_and_the_one_before_kept(run, repository, ladder):
    rungs = climb(repository, ladder)
    assert run.init(rungs[0]) == 0
    assert run.refresh() == 1
    assert run.metadata.joinpath("root.json").read_bytes() == rungs[-2]


def test_a_long_ladder_is_climbed_in_one_refresh(run, repository):
    for _ in range(60):
        repository.publish("root")
    assert run.refresh() == 0
    assert run.trusted()["root"] == 61


def test_a_root_can_not_be_skipped(run, repository):
    repository.publish("root")
    repository.publish("root")
    repository.served["2.root.json"] = repository.served["3.root.json"]
    assert run.refresh() == 1
    assert run.trusted()["root"] == 1


def test_a_root_can_not_be_repeated(run, repository):
    repository.served["2.root.json"] = repository.served["1.root.json"]
    assert run.refresh() == 1


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    "change",  # the keys listed, the threshold, the keys that sign, whether that is enough
    [
        ([1], 1, [1], True),
        ([1], 1, [1, 8, 9], True),
        ([1, 2, 3], 2, [1, 3], True),
        ([1, 2, 3, 4, 5], 3, [2, 3, 5], True),
        ([1], 1, [2], False),
        ([1, 2, 3], 2, [1, 8], False),
        ([1, 2, 3], 3, [1, 2], False),
        ([1, 2, 3, 4, 5], 3, [1, 2, 8, 9], False),
    ],
)
def test_new_keys_of_the_other_roles(run, repository, role, change):
    listed, threshold, signing, accepted = change
    run.refresh()
    repository.rotate(role, *[signer(number) for number in listed])
    repository.root.roles[role].threshold = threshold
    repository.signers[role] = [signer(number) for number in signing]
    repository.publish("root", *ALL)
    assert run.refresh() == (0 if accepted else 1)
    assert run.trusted()["root"] == 2
    assert run.trusted()[role] == (2 if accepted else 1)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_kept_file_whose_keys_were_rotated_away_is_fetched_again(run, repository, role):
    """Also when the repository signs the same version with the new key."""
    run.refresh()
    repository.rotate(role, signer("new"))
    repository.issue(role)
    repository.publish("root")
    assert run.refresh() == 0
    assert run.metadata.joinpath(f"{role}.json").read_bytes() == repository.latest(role)


def test_a_threshold_that_can_not_be_reached_is_not(run, repository):
    repository.root.roles["snapshot"].threshold = 2
    repository.publish("root", *ALL)
    assert run.refresh() == 1
    assert "snapshot" not in run.trusted()
