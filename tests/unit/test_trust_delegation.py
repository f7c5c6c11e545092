"""Delegated publishers under our own profile: limited to paths, held to the same policy, found in order."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.conformance.simulator import ALL, NOW, Repository, holder, pair_signers, rule

from holdfast.errors import UntrustedBundle
from holdfast.trust import delegation
from holdfast.trust.delegation import MAX_DELEGATED_ROLES
from holdfast.trust.profile import MAX_PATTERNS, is_pattern, is_role_name
from holdfast.trust.workflow import TrustState

PATH = "adapters/health/manifest.json"
CY_DI = ("Cy", "Di")


@pytest.fixture
def repository():
    made = Repository(holders=[holder("Ada"), holder("Bo")])
    made.delegate("targets", "health", holders=map(holder, CY_DI), paths=["adapters/health/*"])
    made.add("health", PATH, b"manifest")
    made.publish("health", *ALL)
    return made


def search(repository, path=PATH, state=None, now=None, **options):
    return repository.walk(state, now, **options).find(path, repository.latest)


def refusal(repository, *arguments, **options):
    with pytest.raises(UntrustedBundle) as caught:
        search(repository, *arguments, **options)
    return caught.value


def test_a_delegated_publisher_is_found_with_its_own_signers(repository):
    flow = repository.walk()
    found = flow.find(PATH, repository.latest)
    assert (found.role, found.holders, found.info.length) == ("health", CY_DI, 8)
    assert [link.name for link in found.chain] == ["health"]
    assert flow.holders == ("Ada", "Bo")


def test_top_level_files_are_found_without_asking_for_anything(repository):
    repository.add("targets", "manifest.json", b"1")
    repository.publish(*ALL)
    found = repository.walk().find("manifest.json", pytest.fail)
    assert (found.role, found.chain, found.holders) == ("targets", (), ("Ada", "Bo"))
    assert found.covers("anything/at/all")


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        ("adapters/health/triage", True),
        ("adapters/health/deep/triage", False),
        ("adapters/healthy/triage", False),
        ("adapters/health", False),
        ("bases/health/triage", False),
        ("adapters/health/..", True),  # a name like any other: publication paths are made of checked names
        ("", False),
    ],
)
def test_what_else_a_publisher_may_speak_for(repository, path, covered):
    assert search(repository).covers(path) is covered


def test_every_delegation_of_the_chain_must_cover(repository):
    """A delegated publisher that delegates further can't give more than it has."""
    repository.delegate("health", "clinic", holders=map(holder, ("Ed", "Fay")), paths=["*/*/*", "bases/*"])
    repository.add("clinic", "adapters/health/clinic.json", b"1")
    repository.publish("clinic", "health", *ALL)
    found = search(repository, "adapters/health/clinic.json")
    assert (found.role, found.holders) == ("clinic", ("Ed", "Fay"))
    assert [link.name for link in found.chain] == ["health", "clinic"]
    assert found.covers("adapters/health/triage")
    assert not found.covers("bases/health")
    assert not found.covers("adapters/finance/triage")


def test_a_publisher_is_not_asked_beyond_its_paths(repository):
    repository.add("health", "bases/core/manifest.json", b"1")
    repository.publish("health", *ALL)
    flow = repository.walk()
    with pytest.raises(UntrustedBundle) as caught:
        flow.find("bases/core/manifest.json", pytest.fail)
    assert caught.value.key == "trust.not-vouched"


def test_the_expiry_of_the_publisher_counts(repository):
    repository.files["health"].signed.expires = NOW + timedelta(days=3)
    repository.publish("health", *ALL)
    flow = repository.walk()
    flow.find(PATH, repository.latest)
    assert flow.expires == NOW + timedelta(days=3)
    assert refusal(repository, now=NOW + timedelta(days=3)).key == "trust.expired"


@pytest.mark.parametrize(
    ("signers", "key"),
    [
        (("Cy",), "trust.holders"),
        (("Ada", "Bo"), "trust.unknown-key"),
        (("Cy", "Di", "Ada"), "trust.unknown-key"),
        ((), "trust.threshold"),
    ],
)
def test_the_policy_of_the_delegation_is_judged_as_root_s(repository, signers, key):
    repository.signers["health"] = [one for name in signers for one in pair_signers(holder(name))]
    repository.publish("health", *ALL)
    error = refusal(repository)
    assert (error.key, error.fields["role"]) == (key, "health")


@pytest.mark.parametrize("kept", [0, 1])
def test_both_algorithms_are_needed(repository, kept):
    repository.signers["health"] = [pair_signers(holder(name))[kept] for name in CY_DI]
    repository.publish("health", *ALL)
    assert refusal(repository).key == "trust.algorithm"


def no_policy(delegations):
    del delegations.unrecognized_fields[delegation.POLICY]


def one_is_enough(delegations):
    delegations.unrecognized_fields[delegation.POLICY]["min_holders"] = 1


def weak_threshold(delegations):
    delegations.roles["health"].threshold = 1


def unknown_key(delegations):
    delegations.unrecognized_fields[delegation.POLICY]["holders"]["Ed"] = ["ab"]


@pytest.mark.parametrize("change", [no_policy, one_is_enough, weak_threshold, unknown_key])
def test_a_weak_policy_in_targets_is_refused_before_anybody_is_asked(repository, change):
    change(repository.top.delegations)
    repository.publish(*ALL)
    with pytest.raises(UntrustedBundle) as caught:
        repository.walk()
    assert (caught.value.key, caught.value.fields["role"]) == ("trust.policy", "targets")


def test_a_weak_policy_of_a_publisher_is_refused_when_it_is_reached(repository):
    repository.delegate("health", "clinic", holders=map(holder, ("Ed", "Fay")), paths=["adapters/health/*"])
    one_is_enough(repository.files["health"].signed.delegations)
    repository.publish("clinic", "health", *ALL)
    error = refusal(repository, "adapters/health/other.json")
    assert (error.key, error.fields["role"]) == ("trust.policy", "health")


@pytest.mark.parametrize(
    "limits",
    [
        {"path_hash_prefixes": ["ab"]},
        {"paths": []},
        {"paths": ["adapters/../*"]},
        {"paths": ["/adapters/*"]},
        {"paths": ["adapters/[a-z]*"]},
        {"paths": ["adapters//x"]},
        {"paths": ["a" * 300]},
        {"paths": ["x"] * (MAX_PATTERNS + 1)},
    ],
)
def test_limits_must_be_readable_path_patterns(repository, limits):
    repository.delegate("targets", "other", holders=map(holder, CY_DI), **limits)
    repository.publish("other", *ALL)
    with pytest.raises(UntrustedBundle) as caught:
        repository.walk()
    assert caught.value.key == "trust.delegation"


@pytest.mark.parametrize("name", ["Health", "h_1", "1h", "a/b", "..", "x" * 41, "h.1", "ü"])
def test_names_of_publishers_are_plain(repository, name):
    repository.delegate("targets", name, holders=map(holder, CY_DI), paths=["x/*"])
    repository.publish(*ALL)
    with pytest.raises(UntrustedBundle) as caught:
        repository.walk()
    assert caught.value.key == "trust.delegation"


def test_whether_a_search_ends_is_true_or_false(repository):
    repository.top.delegations.roles["health"].terminating = "yes"
    repository.publish(*ALL)
    with pytest.raises(UntrustedBundle) as caught:
        repository.walk()
    assert caught.value.key == "trust.delegation"


def test_hash_bins_are_refused():
    repository = Repository(holders=[holder("Ada"), holder("Bo")])
    repository.bins(2, "bin")
    repository.publish(*ALL)
    with pytest.raises(UntrustedBundle) as caught:
        repository.walk()
    assert caught.value.key == "trust.delegation"


def test_a_publisher_s_file_of_another_publication_is_refused(repository):
    first = repository.latest("health")
    repository.publish("health", *ALL)
    with pytest.raises(UntrustedBundle) as caught:
        repository.walk().find(PATH, lambda role: first)  # noqa: ARG005 - the role is known
    assert (caught.value.key, caught.value.fields["role"]) == ("trust.mix", "health")


def test_another_content_of_the_version_that_is_named_is_refused(repository):
    repository.files["health"].signed.unrecognized_fields["note"] = "other"
    repository.issue("health")
    error = refusal(repository)
    assert (error.key, error.fields["role"]) == ("trust.mix", "health")


@pytest.mark.parametrize(
    ("path", "algorithm"), [("adapters/health/../x", "sha512"), ("adapters/health/x", "sha256")]
)
def test_a_publisher_s_targets_are_judged_like_the_top_level_s(repository, path, algorithm):
    repository.add("health", path, b"1", [algorithm])
    repository.publish("health", *ALL)
    error = refusal(repository)
    assert (error.key, error.fields["role"]) == ("trust.targets", "health")


def test_a_publisher_that_the_snapshot_does_not_name_is_refused(repository):
    del repository.snapshot.meta["health.json"]
    repository.publish("snapshot", "timestamp")
    assert refusal(repository).key == "trust.unnamed"


@pytest.mark.parametrize("change", ["older", "other"])
def test_an_older_or_another_file_of_a_publisher_is_refused(repository, change):
    repository.publish("health", *ALL)
    state = repository.walk().state(None)
    if change == "older":
        repository.files["health"].signed.version = 1
    else:
        repository.files["health"].signed.unrecognized_fields["note"] = "x"
    repository.issue("health")
    repository.publish("snapshot", "timestamp")
    error = refusal(repository, state=state)
    assert error.key == {"older": "trust.rollback", "other": "trust.two-faces"}[change]
    assert error.fields["role"] == "health"


def test_a_kept_publisher_is_verified_against_its_present_delegator(repository):
    kept = {"health": repository.latest("health")}
    pinned = repository.pinned()
    state = TrustState(pinned.root, delegated=kept)
    assert repository.walk(state).find(PATH, pytest.fail).role == "health"
    # The keys change hands; the file that Cy and Di signed vouches for nothing any more.
    repository.top.delegations = None
    repository.delegate("targets", "health", holders=map(holder, ("Ed", "Fay")), paths=["adapters/health/*"])
    repository.publish(*ALL)
    asked = []
    with pytest.raises(UntrustedBundle) as caught:
        repository.walk(state).find(PATH, lambda role: asked.append(role) or kept[role])
    assert caught.value.key == "trust.unknown-key"
    assert asked == ["health"]


def test_within_one_pass_a_file_is_judged_anew_for_every_delegator(repository):
    """Health and finance both delegate to clinic, with different keys."""
    repository.delegate("targets", "finance", holders=map(holder, CY_DI), paths=["adapters/finance/*"])
    for above, people in (("health", ("Ed", "Fay")), ("finance", ("Gus", "Ida"))):
        repository.delegate(above, "clinic", holders=map(holder, people), paths=[f"adapters/{above}/*"])
        repository.add("clinic", f"adapters/{above}/one.json", b"1")
    repository.publish("clinic", "finance", "health", *ALL)
    flow = repository.walk()
    assert flow.find("adapters/health/one.json", repository.latest).holders == ("Ed", "Fay")
    with pytest.raises(UntrustedBundle) as caught:
        flow.find("adapters/finance/one.json", repository.latest)
    assert caught.value.key == "trust.unknown-key"


def test_a_search_is_bounded():
    repository = Repository(holders=[holder("Ada"), holder("Bo")])
    names = [f"r{number}" for number in range(MAX_DELEGATED_ROLES + 1)]
    for name in names:
        repository.delegate("targets", name, holders=map(holder, CY_DI), paths=["x/*"])
        repository.publish(name)
    repository.publish(*ALL)
    error = refusal(repository, "x/missing")
    assert (error.key, error.fields["limit"]) == ("trust.delegation-bound", 32)


def test_a_path_that_is_no_text_is_vouched_for_by_nobody(repository):
    assert refusal(repository, "\ud800").key == "trust.not-vouched"


def test_the_fetcher_s_own_failure_passes_through(repository):
    def fetch(role):
        raise FileNotFoundError(role)

    with pytest.raises(FileNotFoundError):
        repository.walk().find(PATH, fetch)


def test_a_search_that_failed_can_be_made_again(repository):
    flow = repository.walk()
    with pytest.raises(UntrustedBundle):
        flow.find("missing", repository.latest)
    assert flow.find(PATH, repository.latest).role == "health"


def test_names_and_patterns():
    assert all(map(is_role_name, ["a", "health", "h-1", "x" * 40]))
    assert not any(map(is_role_name, ["", "root", "targets", "snapshot", "timestamp", "A", "-a", None, 5]))
    assert all(map(is_pattern, ["*", "adapters/health/*", "a.b-c_d?", "Mistral-7B*"]))
    assert not any(
        map(
            is_pattern,
            [
                "",
                ".",
                "..",
                "a/..",
                "/a",
                "a/",
                "a//b",
                "[a]",
                "a b",
                "ü",
                None,
                "a\n",
                "**",
                "a/**",
                "a/b**",
                "a/./b",
            ],
        )
    )


def test_a_second_publisher_shares_the_policy(repository):
    repository.delegate("targets", "finance", holders=map(holder, ("Di", "Ed")), paths=["adapters/finance/*"])
    repository.add("finance", "adapters/finance/manifest.json", b"1")
    repository.publish("finance", *ALL)
    assert set(repository.top.delegations.unrecognized_fields[delegation.POLICY]["holders"]) == {
        "Cy",
        "Di",
        "Ed",
    }
    assert search(repository, "adapters/finance/manifest.json").holders == ("Di", "Ed")
    assert rule([holder("Di")])["holders"].keys() == {"Di"}
