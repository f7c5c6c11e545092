"""What is made beneath a root, finished or not, judged by what a site runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import Snapshot, Targets, Timestamp

from holdfast import canonical
from holdfast.errors import HoldfastError, UntrustedBundle, UntrustedInput, UsageRefused
from holdfast.keys import person
from holdfast.trust import ceremony, metadata, publisher, roots, signing, standing
from holdfast.trust.publisher import Delegation
from holdfast.trust.workflow import TrustState, Workflow

NOW = datetime(2026, 3, 1, tzinfo=UTC)
END = NOW + timedelta(days=90)
ADA, BO, CY, DI, ED, FE = (person.generate(name) for name in ("Ada", "Bo", "Cy", "Di", "Ed", "Fe"))
ROOT = ceremony.make_root([ADA, BO, CY], expires=END)
HEALTH = Delegation("health", ("adapters/health/*",), (DI.public, ED.public))
PATH = "adapters/health/manifest.json"
OWN = {"manifest.json": b"{}"}


def release(*pairs, root=ROOT, targets=OWN, **more):
    return ceremony.make_release(pairs, root, targets=targets, expires=END, **more)


def signed(files, *pairs, only=("targets", "snapshot", "timestamp")):
    return {role: _signed(data, pairs) if role in only else data for role, data in files.items()}


def _signed(data, pairs):
    for pair in pairs:
        data = signing.add_signature(data, pair)
    return data


def site(files, *ladder, state=None):
    """Walk a site up the roots and through the files; it knows ``state`` from before."""
    workflow = Workflow(state or TrustState(ROOT), NOW)
    for data in ladder:
        workflow.update_root(data)
    workflow.update_timestamp(files["timestamp"])
    workflow.update_snapshot(files["snapshot"])
    workflow.update_targets(files["targets"])
    return workflow


def found(workflow, files, path=PATH):
    return workflow.find(path, files.__getitem__)


def versions(files):
    return {role: signing.read(data).signed.version for role, data in files.items()}


def standings(files, root=ROOT):
    return {one.role: (one.signed, one.needed) for one in standing.of_release(root, files)}


def test_one_holder_makes_it_and_another_finishes_it():
    made = release(ADA).files
    assert standings(made) == dict.fromkeys(("targets", "snapshot", "timestamp"), (("Ada",), 1))
    for role, key in (
        ("timestamp", "trust.holders"),
        ("snapshot", "trust.holders"),
        ("targets", "trust.holders"),
    ):
        others = {"timestamp", "snapshot", "targets"} - {role}
        with pytest.raises(UntrustedBundle) as caught:
            site(signed(made, BO, only=others))
        assert (caught.value.key, caught.value.fields["role"]) == (key, role)
    done = signed(made, CY)
    assert site(done).holders == ("Ada", "Cy")
    assert all(one.complete for one in standing.of_release(ROOT, done))


@pytest.mark.parametrize("order", list(permutations((ADA, BO, CY))))
def test_signatures_come_in_any_order_and_on_any_file_first(order):
    made = release().files
    assert standings(made)["targets"] == ((), 2)
    for number, pair in enumerate(order):
        roles = list(made)[number:] + list(made)[:number]
        for role in roles:
            made[role] = signing.add_signature(made[role], pair)
    assert site(made).holders == ("Ada", "Bo", "Cy")


def test_a_file_with_other_content_is_not_the_one_named_whoever_signs_it():
    made = signed(release(ADA).files, BO)
    other = signed(release(ADA, targets={"manifest.json": b"[]"}).files, BO)
    for role in ("targets", "snapshot"):
        with pytest.raises(UntrustedBundle) as caught:
            site({**made, role: other[role]})
        assert caught.value.key == "trust.mix"


def test_versions_rise_by_one_and_start_where_one_says():
    first = signed(release(ADA, first_version=7).files, BO)
    assert versions(first) == {"timestamp": 7, "snapshot": 7, "targets": 7}
    second = signed(release(CY, previous=first).files, BO)
    assert versions(second) == {"timestamp": 8, "snapshot": 8, "targets": 8}
    state = site(first).state(None)
    site(second, state=state)
    with pytest.raises(UntrustedBundle) as caught:
        site(first, state=site(second, state=state).state(None))
    assert caught.value.key == "trust.rollback"


def delegated(*, root=ROOT, **more):
    return signed(release(ADA, root=root, delegate=[HEALTH], **more).files, BO)


def test_a_delegated_publisher_makes_a_release_that_the_roots_holders_only_countersign():
    first = delegated()
    assert "health" not in first
    made = release(DI, ED, targets={PATH: b"{}"}, previous=first, role="health").files
    assert made["targets"] == first["targets"]
    assert standings(made)["health"] == (("Di", "Ed"), 0)
    assert standings(made)["snapshot"] == ((), 2)
    with pytest.raises(UntrustedBundle) as caught:
        site(made)
    assert caught.value.key == "trust.threshold"
    done = signed(made, ADA, CY, only={"snapshot", "timestamp"})
    answer = found(site(done, state=site(first).state(None)), done)
    assert (answer.role, answer.holders) == ("health", ("Di", "Ed"))
    assert answer.covers("adapters/health/triage")
    assert not answer.covers("adapters/law/triage")
    assert versions(done) == {"timestamp": 2, "snapshot": 2, "targets": 1, "health": 1}


def published():
    """A medium of the top, then one of the delegated publisher."""
    made = release(DI, ED, targets={PATH: b"{}"}, previous=delegated(), role="health").files
    return signed(made, ADA, CY, only={"snapshot", "timestamp"})


def test_a_publisher_can_neither_skip_its_own_quorum_nor_speak_for_others():
    alone = release(DI, targets={PATH: b"{}"}, previous=delegated(), role="health").files
    alone = signed(alone, ADA, BO, only={"snapshot", "timestamp"})
    with pytest.raises(UntrustedBundle) as caught:
        found(site(alone), alone)
    assert caught.value.key == "trust.holders"
    with pytest.raises(UntrustedBundle) as caught:
        found(site(published()), published(), "adapters/law/manifest.json")
    assert caught.value.key == "trust.not-vouched"


def test_later_media_carry_the_publisher_over_byte_for_byte():
    before = published()
    after = signed(release(ADA, previous=before, targets={"manifest.json": b"2"}).files, BO)
    assert after["health"] == before["health"]
    assert versions(after) == {"timestamp": 3, "snapshot": 3, "targets": 2, "health": 1}
    state = site(before).state(None)
    assert found(site(after, state=state), after).role == "health"


def test_a_replaced_delegation_drops_the_signatures_of_who_left():
    successor = Delegation("health", HEALTH.paths, (DI.public, FE.public))
    after = signed(release(ADA, previous=published(), delegate=[successor]).files, BO)
    assert standings(after)["health"] == (("Di",), 1)
    done = signed(after, FE, only={"health"})
    assert found(site(done, state=site(published()).state(None)), done).holders == ("Di", "Fe")


def test_a_delegation_that_ended_leaves_its_name_behind_and_does_not_begin_again():
    before = published()
    after = signed(release(ADA, previous=before, undelegate=["health"]).files, BO)
    assert "health" not in after
    workflow = site(after, state=site(before).state(None))
    with pytest.raises(UntrustedBundle):
        found(workflow, after)
    with pytest.raises(UsageRefused) as caught:
        release(ADA, previous=after, delegate=[HEALTH])
    assert caught.value.key == "trust.delegate-ended"
    with pytest.raises(UsageRefused) as caught:
        release(DI, ED, targets={PATH: b"{}"}, previous=after, role="health")
    assert caught.value.key == "trust.ceremony-role"


def test_a_publisher_delegates_further_and_nobody_gets_more_than_was_given():
    inner = Delegation("triage", ("adapters/health/*", "adapters/law/*"), (ED.public, FE.public))
    middle = release(DI, ED, targets={}, previous=delegated(), role="health", delegate=[inner]).files
    middle = signed(middle, ADA, CY, only={"snapshot", "timestamp"})
    made = release(ED, FE, targets={PATH: b"{}"}, previous=middle, role="triage").files
    done = signed(made, ADA, CY, only={"snapshot", "timestamp"})
    answer = found(site(done), done)
    assert [link.name for link in answer.chain] == ["health", "triage"]
    assert not answer.covers("adapters/law/triage")


def test_the_revocation_list_is_carried_over_until_it_is_given_anew():
    def listed(files):
        return metadata.parse(Targets, files["targets"]).signed.targets["revocations.json"]

    first = signed(release(ADA, targets={**OWN, "revocations.json": b"1"}).files, BO)
    second = signed(release(ADA, previous=first).files, BO)
    assert listed(second) == listed(first)
    third = release(ADA, previous=second, targets={**OWN, "revocations.json": b"2"}).files
    assert listed(third) != listed(first)


def test_after_a_holder_left_what_is_carried_over_is_signed_anew_by_those_who_stay():
    before = published()
    second = _signed(roots.next_root(ROOT, expires=END, remove=["Bo"]), (ADA, CY))
    made = release(DI, ED, root=second, targets={PATH: b"2"}, previous=before, role="health").files
    assert standings(made, second)["targets"] == (("Ada",), 1)
    done = signed(made, ADA, CY, only={"targets", "snapshot", "timestamp"})
    assert found(site(done, second, state=site(before).state(None)), done).role == "health"


def test_whoever_may_sign_nothing_is_told():
    with pytest.raises(UsageRefused) as caught:
        release(ADA, DI)
    assert (caught.value.key, caught.value.fields["holder"]) == ("trust.ceremony-stranger", "Di")
    with pytest.raises(UsageRefused) as caught:
        release(DI, targets={PATH: b"{}"}, role="health")
    assert caught.value.key == "trust.ceremony-role"
    few = ceremony.make_root([ADA, BO], expires=END)
    with pytest.raises(UsageRefused):
        release(CY, root=few)


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"undelegate": ["law"]}, "trust.delegate-unknown"),
        ({"undelegate": ["health"], "delegate": [HEALTH]}, "trust.delegate-unknown"),
        ({"delegate": [HEALTH, HEALTH]}, "trust.delegate-twice"),
        (
            {"delegate": [Delegation("law", ("adapters/law/*",), (person.generate("Di").public, FE.public))]},
            "trust.delegate-holder",
        ),
        (
            {
                "delegate": [
                    Delegation(
                        "law",
                        ("adapters/law/*",),
                        (DI.public, ED.public, FE.public),
                        threshold=3,
                        min_holders=3,
                    )
                ]
            },
            "trust.delegate-min-holders",
        ),
    ],
)
def test_a_delegation_that_contradicts_another_is_refused(more, key):
    with pytest.raises(UsageRefused) as caught:
        release(ADA, previous=delegated(), **more)
    assert caught.value.key == key


def test_delegations_stand_beside_each_other():
    law = Delegation("law", ("adapters/law/*",), (DI.public, FE.public), terminating=True)
    made = signed(release(ADA, previous=delegated(), delegate=[law]).files, BO)
    given = metadata.parse(Targets, made["targets"]).signed.delegations
    assert list(given.roles) == ["health", "law"]
    done = release(DI, FE, targets={"adapters/law/manifest.json": b"{}"}, previous=made, role="law").files
    done = signed(done, ADA, BO, only={"snapshot", "timestamp"})
    assert found(site(done), done, "adapters/law/manifest.json").holders == ("Di", "Fe")


def test_every_file_has_only_one_list_and_a_file_of_nobody_is_refused():
    with pytest.raises(UntrustedBundle) as caught:
        standing.of_release(ROOT, {**release(ADA).files, "law": published()["health"]})
    assert caught.value.key == "trust.delegation"


def test_a_delegation_travels_as_a_document():
    assert publisher.parse(HEALTH.encode()) == HEALTH
    with pytest.raises(UntrustedInput):
        publisher.parse(HEALTH.encode() + b"\n")


@pytest.mark.parametrize(
    "change",
    [
        {"role": "targets"},
        {"role": "Health"},
        {"role": "../health"},
        {"paths": ()},
        {"paths": ("adapters/health/*", "adapters/health/*")},
        {"paths": ("/adapters/*",)},
        {"paths": ("adapters/../*",)},
        {"holders": (DI.public,)},
        {"holders": (DI.public, DI.public)},
        {"threshold": 1},
        {"threshold": 5},
        {"min_holders": 1},
        {"min_holders": 3},
    ],
)
def test_a_delegation_that_gives_too_much_or_to_too_few_is_refused(change):
    good = {"role": "health", "paths": HEALTH.paths, "holders": HEALTH.holders}
    with pytest.raises(UsageRefused):
        Delegation(**{**good, **change})
    plain = canonical.decode(HEALTH.encode(), limit=10**6, what="delegation")
    told = {
        name: [one.to_json() for one in value]
        if name == "holders"
        else list(value)
        if name == "paths"
        else value
        for name, value in change.items()
    }
    with pytest.raises(UntrustedInput):
        publisher.parse(canonical.encode({**plain, **told}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    field=st.sampled_from(["schema", "role", "paths", "threshold", "min_holders", "terminating", "holders"]),
    value=JSON,
)
def test_a_hostile_delegation_raises_nothing_but_our_errors(field, value):
    plain = canonical.decode(HEALTH.encode(), limit=10**6, what="delegation")
    try:
        read = publisher.parse(canonical.encode({**plain, field: value}))
    except HoldfastError:
        return
    assert canonical.decode(read.encode(), limit=10**6, what="delegation")[field] == value


@given(data=st.binary(max_size=200))
def test_hostile_metadata_raises_nothing_but_our_errors(data):
    for read in (signing.read, publisher.parse, lambda data: standing.of_root(data, None)):
        with pytest.raises(UntrustedInput):
            read(data)


@pytest.mark.parametrize("kind", [Targets, Snapshot, Timestamp])
def test_only_the_metadata_of_a_role_is_read(kind):
    files = release(ADA).files
    assert isinstance(signing.read(files[kind.type]).signed, kind)
    with pytest.raises(UntrustedBundle):
        signing.read(canonical.encode({"signed": {"_type": "mirrors"}, "signatures": []}))
