"""Roots made by the ceremony, judged by what a site runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import chain, combinations, permutations

import pytest

from holdfast import canonical
from holdfast.errors import Conflict, UntrustedBundle, UsageRefused
from holdfast.keys import person
from holdfast.trust import ceremony, fingerprint, holders, ladder, roots, signing, standing
from holdfast.trust.workflow import TrustState, Workflow

NOW = datetime(2026, 3, 1, tzinfo=UTC)
END = NOW + timedelta(days=900)
ADA, BO, CY, DI, BO2 = (person.generate(name) for name in ("Ada", "Bo", "Cy", "Di", "Bo"))


def signed(data, *pairs):
    for pair in pairs:
        data = signing.add_signature(data, pair)
    return data


def root_of(*pairs, **more):
    return signed(roots.draft_root([one.public for one in pairs], expires=END, **more), *pairs)


def accepts(*ladder_):
    workflow = Workflow(TrustState(ladder_[0]), NOW)
    for data in ladder_[1:]:
        workflow.update_root(data)
    return workflow


def test_a_draft_needs_no_secret_key_and_is_no_root_until_enough_have_signed():
    draft = roots.draft_root([ADA.public, BO.public, CY.public], expires=END)
    print_ = fingerprint.of_root(draft)
    assert canonical.decode(draft, limit=10**6, what="draft")["signatures"] == []
    state = standing.of_root(draft, None)
    assert (state.signed, state.waiting, state.needed) == ((), ("Ada", "Bo", "Cy"), 2)
    with pytest.raises(UntrustedBundle) as caught:
        accepts(draft)
    assert caught.value.key == "trust.threshold"
    once = signed(draft, CY)
    assert standing.of_root(once, None).needed == 1
    with pytest.raises(UntrustedBundle) as caught:
        accepts(once)
    assert caught.value.key == "trust.holders"
    twice = signed(once, ADA)
    assert standing.of_root(twice, None).complete
    assert accepts(twice).holders == ("Ada", "Cy")
    assert fingerprint.of_root(twice) == print_


def test_roles_have_their_own_holders():
    made = root_of(ADA, BO, CY, roles={"snapshot": ["Ada", "Cy"], "timestamp": ["Bo", "Cy"]})
    listed = {name: len(role.keyids) for name, role in accepts(made).root.roles.items()}
    assert listed == {"root": 6, "targets": 6, "snapshot": 4, "timestamp": 4}


@pytest.mark.parametrize(
    ("people", "more"),
    [
        ([ADA], {}),
        ([], {}),
        ([ADA, person.KeyPair("Ada", BO.ed25519_seed, BO.ml_dsa_87_seed)], {}),
        ([ADA, person.KeyPair("Bo", ADA.ed25519_seed, BO.ml_dsa_87_seed)], {}),
        ([ADA, BO], {"threshold": 1}),
        ([ADA, BO], {"threshold": 5}),
        ([ADA, BO], {"min_holders": 1}),
        ([ADA, BO], {"min_holders": 3}),
        ([ADA, BO, CY], {"min_holders": 3, "roles": {"snapshot": ["Ada", "Bo"]}}),
        ([ADA, BO], {"roles": {"snapshot": ["Ada"]}}),
        ([ADA, BO], {"roles": {"snapshot": ["Ada", "Cy"]}}),
        ([ADA, BO], {"roles": {"mirrors": ["Ada", "Bo"]}}),
    ],
)
def test_a_root_that_could_not_be_signed_by_different_people_is_not_drafted(people, more):
    with pytest.raises(UsageRefused):
        roots.draft_root([one.public for one in people], expires=END, **more)


def test_a_site_follows_five_roots_with_holders_joining_rotating_and_leaving():
    first = root_of(ADA, BO, CY)
    second = signed(roots.next_root(first, expires=END, add=[DI.public]), ADA, CY)
    third = signed(roots.next_root(second, expires=END, replace_keys={"Bo": BO2.public}), DI, ADA)
    fourth = signed(roots.next_root(third, expires=END, remove=["Cy"]), BO2, DI)
    fifth = signed(roots.next_root(fourth, expires=END, threshold=6, min_holders=3), ADA, BO2, DI)
    every = (first, second, third, fourth, fifth)
    workflow = accepts(*every)
    assert (workflow.root.version, workflow.holders) == (5, ("Ada", "Bo", "Di"))
    rungs = ladder.climb(dict(enumerate(every, start=1)))
    assert all(one.standing.complete for one in rungs)
    assert [one.changes for one in rungs[1:]] == [
        ("Di joins, for root, targets, snapshot, timestamp",),
        ("Bo has new keys",),
        ("Cy leaves",),
        (
            *(f"the threshold of {role} is 6 instead of 2" for role in roots.ROLES),
            "3 different holders must sign instead of 2",
        ),
    ]
    assert len({one.fingerprint for one in rungs}) == 5
    # From the third on, the key that was replaced vouches for nothing.
    with pytest.raises(UntrustedBundle) as caught:
        accepts(first, second, third, signed(roots.next_root(third, expires=END, remove=["Cy"]), BO, DI))
    assert caught.value.key == "trust.unknown-key"


@pytest.mark.parametrize("signers", chain(*(combinations((ADA, BO, BO2, CY), count) for count in range(5))))
def test_what_is_called_complete_is_what_a_site_accepts(signers):
    first = root_of(ADA, BO)
    draft = roots.next_root(first, expires=END, replace_keys={"Bo": BO2.public}, add=[CY.public])
    second = signed(draft, *signers)
    state = standing.of_root(second, first)
    try:
        accepts(first, second)
    except UntrustedBundle:
        assert not state.complete
        assert state.needed > 0
        assert state.waiting
    else:
        assert state.complete
        assert (state.needed, state.waiting) == (0, ())
    # The root before needs Ada and the old keys of Bo, the new one any two of its three.
    assert state.complete == ({ADA, BO} <= set(signers) and len({ADA, BO2, CY} & set(signers)) >= 2)


def test_somebody_who_stands_in_both_lists_is_counted_once():
    first = root_of(ADA, BO, CY)
    second = roots.next_root(first, expires=END, remove=["Cy"], add=[DI.public])
    assert standing.of_root(second, first).needed == 2
    assert standing.of_root(signed(second, CY), first).needed == 2
    assert standing.of_root(signed(second, CY, DI), first).needed == 1


@pytest.mark.parametrize("order", permutations((ADA, BO, DI)))
def test_a_root_may_be_signed_in_any_order_and_twice(order):
    first = root_of(ADA, BO)
    second = roots.next_root(first, expires=END, add=[DI.public])
    left = [standing.of_root(second, first).needed]
    for pair in order:
        second = signed(second, pair)
        assert signed(second, pair) == second
        left.append(standing.of_root(second, first).needed)
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    assert accepts(first, second).root.version == 2


def refused(change, **more):
    with pytest.raises(UsageRefused) as caught:
        roots.next_root(root_of(ADA, BO), expires=END, **change, **more)
    return caught.value.key


def test_a_next_root_that_makes_no_sense_is_not_drafted():
    stranger = person.KeyPair("Eve", BO.ed25519_seed, DI.ml_dsa_87_seed)
    assert refused({"remove": ["Bo"]}) == "trust.ceremony-holders"
    assert refused({"remove": ["Cy"]}) == "trust.ceremony-holder"
    assert refused({"replace_keys": {"Cy": DI.public}}) == "trust.ceremony-holder"
    assert refused({"replace_keys": {"Ada": BO2.public}}) == "trust.ceremony-taken"
    assert refused({"replace_keys": {"Ada": ADA.public}}) == "trust.ceremony-key-known"
    assert refused({"add": [BO2.public]}) == "trust.ceremony-taken"
    assert refused({"add": [stranger.public]}) == "trust.ceremony-key-known"
    assert refused({"add": [ADA.public]}) == "trust.ceremony-present"
    assert refused({"add": [CY.public]}, roles=["mirrors"]) == "trust.ceremony-role"
    assert refused({"min_holders": 3}) == "trust.ceremony-holders"
    assert refused({"threshold": 1}) == "trust.ceremony-holders"


def test_a_root_follows_only_one_that_is_itself_signed():
    draft = roots.draft_root([ADA.public, BO.public], expires=END)
    with pytest.raises(Conflict) as caught:
        roots.next_root(signed(draft, ADA), expires=END, add=[CY.public])
    assert caught.value.key == "trust.root-unfinished"
    assert "Bo" in caught.value.remedy


def test_a_holder_gets_further_roles_and_a_successor_takes_them_over():
    first = root_of(ADA, BO, CY, roles={"snapshot": ["Ada", "Bo"]})
    second = signed(roots.next_root(first, expires=END, add=[CY.public], roles=["snapshot"]), ADA, BO)
    assert roots.changes(second, first) == (
        "Cy holds root, targets, snapshot, timestamp instead of root, targets, timestamp",
    )
    third = signed(roots.next_root(second, expires=END, replace_keys={"Cy": DI.public}), ADA, BO)
    assert "Cy leaves" in roots.changes(third, second)
    assert len(accepts(first, second, third).root.roles["snapshot"].keyids) == 6


def test_a_root_that_leaves_or_skips_the_ladder_is_told():
    first = root_of(ADA, BO)
    second = signed(roots.next_root(first, expires=END, add=[CY.public]), ADA, BO)
    third = signed(roots.next_root(second, expires=END, remove=["Bo"]), ADA, CY)
    for files in ({1: first, 3: third}, {1: first, 2: third}, {}, {1: second}):
        with pytest.raises(UntrustedBundle) as caught:
            ladder.climb(files)
        assert caught.value.key in {"trust.root-missing", "trust.root-version"}
    # Bo has left, so his old signature means nothing to the third root's own list.
    assert ladder.climb({2: second, 3: third})[1].standing.complete


def test_wrong_and_foreign_signatures_are_refused_while_signing():
    draft = roots.draft_root([ADA.public, BO.public], expires=END)
    with pytest.raises(UntrustedBundle) as caught:
        standing.of_root(signed(draft, CY), None)
    assert caught.value.key == "trust.unknown-key"
    document = canonical.decode(signed(draft, ADA), limit=10**6, what="draft")
    document["signatures"][0]["sig"] = "00" * 64
    spoiled = canonical.encode(document)
    with pytest.raises(UntrustedBundle) as caught:
        standing.of_root(spoiled, None)
    assert caught.value.key == "trust.signature"
    # Whoever signs again puts the right signature in the place of the wrong one.
    assert standing.of_root(signed(spoiled, ADA), None).signed == ("Ada",)


def test_the_keys_in_a_root_tell_the_fingerprint_that_their_holder_knows():
    keys = holders.keys_of(ADA.public)
    assert holders.public_of("Ada", keys) == ADA.public
    with pytest.raises(UntrustedBundle):
        holders.public_of("Ada", keys[:1])


def test_a_root_made_at_once_is_signed_by_all():
    made = ceremony.make_root([ADA, BO], expires=END)
    assert standing.of_root(made, None).signed == ("Ada", "Bo")
    with pytest.raises(UsageRefused):
        ceremony.make_root([ADA], expires=END)
    with pytest.raises(UsageRefused):
        ceremony.make_root([ADA, BO, BO2], expires=END)
