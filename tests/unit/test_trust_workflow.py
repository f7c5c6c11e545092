"""The workflow under our own profile: what is believed, and the key of every refusal."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tests.conformance.simulator import ALL, NOW, Repository, holder, pair_signers, rule
from tuf.api.metadata import MetaFile

from holdfast import canonical, hashing
from holdfast.errors import UntrustedBundle
from holdfast.trust import delegation, metadata
from holdfast.trust.workflow import TrustState, Workflow

ROLES = ["root", *ALL]


@pytest.fixture
def people():
    return [holder("Ada"), holder("Bo")]


@pytest.fixture
def repository(people):
    made = Repository(holders=people)
    made.add("targets", "manifest.json", b"manifest")
    made.publish(*ALL)
    return made


def refusal(repository, state=None, now=None, **options):
    with pytest.raises(UntrustedBundle) as caught:
        repository.walk(state, now, **options)
    return caught.value


def seen(repository):
    return repository.walk().state(None)


def edit(repository, role, change, *, sign=True):
    """Change a role's document by hand; sign what results, or keep the signatures as they were."""
    document = json.loads(repository.latest(role))
    change(document)
    data = canonical.encode(document)
    if sign:
        file = repository.files[role].from_bytes(data)
        file.signatures.clear()
        for one in repository.signers[role]:
            file.sign(one, append=True)
        data = metadata.encode(file)
    repository.serve(role, repository.files[role].signed.version, data)


def test_what_is_well_signed_is_believed(repository):
    flow = repository.walk()
    assert flow.target("manifest.json").length == 8
    assert flow.target("other.json") is None
    assert flow.holders == ("Ada", "Bo")
    assert flow.expires == NOW + timedelta(days=30)
    assert flow.root_bytes == repository.served["1.root.json"]
    assert set(flow.accepted) == set(ROLES)


def test_the_state_is_what_was_accepted(repository):
    state = repository.walk().state(NOW, b"list")
    assert state == TrustState(
        repository.served["1.root.json"],
        repository.served["timestamp.json"],
        repository.served["snapshot.json"],
        NOW,
        b"list",
    )
    assert repository.walk(state).state(NOW).revocations == b"list"


def test_the_steps_have_one_order(repository):
    flow = Workflow(repository.pinned(), NOW)
    with pytest.raises(RuntimeError):
        flow.update_snapshot(repository.served["snapshot.json"])
    with pytest.raises(RuntimeError):
        flow.state(None)
    flow.update_timestamp(repository.served["timestamp.json"])
    with pytest.raises(RuntimeError):
        flow.update_root(repository.served["1.root.json"])


@pytest.mark.parametrize("role", ROLES)
def test_a_stranger_s_signature_is_refused_even_beside_enough(repository, role):
    repository.signers[role] = [*repository.signers[role], *pair_signers(holder("Cy"))]
    repository.issue(role)
    for above in ("snapshot", "timestamp"):
        repository.issue(above)
    assert refusal(repository).key == "trust.unknown-key"


@pytest.mark.parametrize("role", ROLES)
def test_a_wrong_signature_is_refused_even_beside_enough(people, role):
    repository = Repository(holders=[*people, holder("Cy")])
    repository.root.roles[role].threshold = 2
    repository.publish("root", *ALL)

    def spoil(document):
        first = document["signatures"][0]
        first["sig"] = first["sig"][:-1] + ("0" if first["sig"][-1] != "0" else "1")

    edit(repository, role, spoil, sign=False)
    assert refusal(repository).key == "trust.signature"


@pytest.mark.parametrize("spelling", [str.upper, lambda sig: sig[:2] + " " + sig[2:], lambda sig: sig + "\n"])
def test_a_signature_has_one_spelling(repository, spelling):
    def respell(document):
        document["signatures"][0]["sig"] = spelling(document["signatures"][0]["sig"])

    edit(repository, "timestamp", respell, sign=False)
    assert refusal(repository).key == "trust.signature"


@pytest.mark.parametrize("role", ROLES)
def test_one_holder_alone_is_refused_although_the_threshold_is_met(repository, role):
    repository.signers[role] = pair_signers(holder("Ada"))
    repository.issue(role)
    error = refusal(repository)
    assert error.key == "trust.holders"
    assert error.fields["holders"] == ["Ada"]


@pytest.mark.parametrize("kept", [0, 1])
def test_both_algorithms_are_needed(repository, people, kept):
    repository.signers["timestamp"] = [pair_signers(pair)[kept] for pair in people]
    repository.issue("timestamp")
    assert refusal(repository).key == "trust.algorithm"


def test_too_few_signatures_are_refused(repository):
    repository.signers["snapshot"] = repository.signers["snapshot"][:1]
    repository.issue("snapshot")
    error = refusal(repository)
    assert (error.key, error.fields["found"], error.fields["needed"]) == ("trust.threshold", 1, 2)


def test_signatures_may_come_in_turn_without_changing_what_names_the_file(repository):
    """Snapshot and timestamp name what a file says, so that another holder's signature breaks nothing."""
    everyone = repository.signers["targets"]
    repository.signers["targets"] = everyone[:2]
    repository.issue("targets")
    repository.issue("snapshot")
    repository.issue("timestamp")
    assert refusal(repository).key == "trust.holders"
    file = repository.files["targets"]
    for one in everyone[2:]:
        file.sign(one, append=True)
    repository.serve("targets", 2, metadata.encode(file))
    assert repository.walk().holders == ("Ada", "Bo")


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_carried_that_nobody_signed(repository, role):
    edit(repository, role, lambda document: document.update(more=1), sign=False)
    assert refusal(repository).key == "trust.form"
    edit(repository, role, lambda document: document.pop("more"), sign=False)
    edit(repository, role, lambda document: document["signatures"][0].update(more=1), sign=False)
    assert refusal(repository).key == "trust.form"


@pytest.mark.parametrize("role", ROLES)
def test_bytes_are_canonical(repository, role):
    data = repository.latest(role)
    repository.serve(role, repository.files[role].signed.version, data.replace(b",", b", ", 1))
    assert refusal(repository).key == "trust.form"


@pytest.mark.parametrize(
    ("role", "change", "key"),
    [
        ("timestamp", lambda d: d["signed"].update(_type="snapshot"), "trust.form"),
        ("timestamp", lambda d: d["signed"].update(spec_version="2.0.31"), "trust.spec-version"),
        ("timestamp", lambda d: d["signed"].update(spec_version=1), "trust.spec-version"),
        ("timestamp", lambda d: d["signed"].update(version=True), "trust.form"),
        ("timestamp", lambda d: d["signed"].update(version=1.5), "trust.form"),
        ("timestamp", lambda d: d["signed"].update(version=0), "trust.form"),
        ("timestamp", lambda d: d["signed"].update(version="1"), "trust.form"),
        ("timestamp", lambda d: d["signed"].update(later=0.5), "trust.form"),
        ("timestamp", lambda d: d["signed"].update(later="\ud800"), "json.surrogate"),
        ("timestamp", lambda d: d["signed"].update(expires="tomorrow"), "trust.form"),
        ("timestamp", lambda d: d["signed"]["meta"]["snapshot.json"].update(version=True), "trust.form"),
        ("root", lambda d: d["signed"]["roles"]["root"].update(threshold=2.0), "trust.form"),
        ("root", lambda d: d["signed"]["roles"]["root"].update(threshold=True), "trust.form"),
        ("root", lambda d: d["signed"]["roles"]["root"]["keyids"].append(7), "trust.policy"),
        ("root", lambda d: d["signed"]["roles"].update(more={"keyids": [], "threshold": 2}), "trust.form"),
        ("root", lambda d: d["signed"]["roles"]["root"]["keyids"].append("ab"), "trust.policy"),
        ("targets", lambda d: d["signed"]["targets"]["manifest.json"].update(length=True), "trust.form"),
        ("targets", lambda d: d["signed"]["targets"]["manifest.json"].update(length=-1), "trust.form"),
        ("targets", lambda d: d["signatures"].append(d["signatures"][0]), "trust.duplicate-key"),
        (
            "root",
            lambda d: d["signed"]["roles"]["root"]["keyids"].extend(["ab", "ab"]),
            "trust.duplicate-key",
        ),
        (
            "targets",
            lambda d: d["signed"].update(delegations={"roles": [{"keyids": [1, 1]}]}),
            "trust.duplicate-key",
        ),
        ("targets", lambda d: d["signed"].update(delegations={"roles": [{}, 5]}), "trust.form"),
        ("targets", lambda d: d["signed"].update(delegations=[]), "trust.form"),
        ("targets", lambda d: d["signatures"][0].update(sig=5), "trust.form"),
        ("targets", lambda d: d["signatures"][0].update(keyid=5), "trust.form"),
    ],
)
def test_malformed_files_are_refused(repository, role, change, key):
    data = json.loads(repository.latest(role))
    change(data)
    document = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    repository.serve(role, repository.files[role].signed.version, document)
    assert refusal(repository).key == key


@pytest.mark.parametrize("role", ROLES)
def test_sizes_are_bounded(repository, role):
    repository.serve(role, repository.files[role].signed.version, b" " * (metadata.MAX_BYTES[role] + 1))
    assert refusal(repository).key == "json.too-large"


def test_names_by_hash_of_the_file_are_refused(repository):
    data = repository.served["snapshot.json"]
    repository.timestamp.snapshot_meta = MetaFile.from_data(2, data, ["sha512"])
    repository.issue("timestamp")
    assert refusal(repository).key == "trust.form"


@pytest.mark.parametrize("extra", [{"length": 5}, {"hashes": {"sha512": "00"}}, {"more": 1}])
def test_a_name_carries_nothing_else(repository, extra):
    edit(repository, "timestamp", lambda document: document["signed"]["meta"]["snapshot.json"].update(extra))
    assert refusal(repository).key == "trust.form"


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_files_of_two_publications_do_not_mix(repository, role):
    first = repository.latest(role)
    repository.publish(*ALL)
    repository.serve(role, 3, first)
    error = refusal(repository)
    assert (error.key, error.fields["role"]) == ("trust.mix", role)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_another_content_of_the_version_that_is_named_is_refused(repository, role):
    """Well signed, of the right version, and not what was named."""
    repository.files[role].signed.unrecognized_fields["note"] = "other"
    repository.issue(role)
    error = refusal(repository)
    assert (error.key, error.fields["role"]) == ("trust.mix", role)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_the_version_in_the_name_counts_too(repository, role):
    above = {"snapshot": "timestamp", "targets": "snapshot"}[role]

    def lie(document):
        document["signed"]["meta"][f"{role}.json"]["version"] = 9

    edit(repository, above, lie)
    if above == "snapshot":
        repository.timestamp.snapshot_meta = metadata.named(
            repository.files["snapshot"].from_bytes(repository.latest("snapshot"))
        )
        repository.issue("timestamp")
    assert refusal(repository).key == "trust.mix"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_an_older_file_is_refused(repository, role):
    repository.publish(*ALL)
    state = seen(repository)
    repository.files[role].signed.version = 1
    repository.issue(role)
    for above in ALL[ALL.index(role) + 1 :]:
        repository.publish(above)
    error = refusal(repository, state)
    assert (error.key, error.fields["role"]) == ("trust.rollback", role)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_another_content_of_a_version_seen_before_is_refused(repository, role):
    state = seen(repository)
    repository.files[role].signed.unrecognized_fields["note"] = "other"
    repository.issue(role)
    for above in ALL[ALL.index(role) + 1 :]:
        repository.publish(above)
    error = refusal(repository, state)
    assert (error.key, error.fields["role"]) == ("trust.two-faces", role)


def test_more_signatures_on_a_version_seen_before_are_no_other_content(people):
    repository = Repository(holders=[*people, holder("Cy")])
    for role in ROLES:
        repository.root.roles[role].threshold = 2
    repository.publish("root", *ALL)
    everyone = repository.signers["timestamp"]
    repository.signers["timestamp"] = everyone[:4]
    repository.issue("timestamp")
    state = seen(repository)
    repository.signers["timestamp"] = everyone
    repository.issue("timestamp")
    assert repository.walk(state).accepted["timestamp"] == repository.served["timestamp.json"]


def test_a_role_that_is_dropped_from_the_snapshot_is_refused(repository, people):
    repository.delegate("targets", "health", holders=people, paths=["adapters/health/*"])
    repository.publish("health", *ALL)
    state = seen(repository)
    repository.top.delegations = None
    del repository.snapshot.meta["health.json"]
    repository.publish(*ALL)
    error = refusal(repository, state)
    assert (error.key, error.fields["role"]) == ("trust.dropped", "health")
    repository.snapshot.meta["health.json"] = metadata.named(repository.files["health"])
    repository.publish(*ALL)
    repository.walk(state)


def test_protection_ends_where_the_keys_were_rotated_away(repository, people):
    repository.publish(*ALL)
    state = seen(repository)
    cy, di = holder("Cy"), holder("Di")
    new = [one for pair in (cy, di) for one in pair_signers(pair)]
    for role in ("timestamp", "snapshot"):
        repository.rotate(role, *new)
    repository.root.unrecognized_fields[delegation.POLICY] = rule([*people, cy, di])
    repository.publish("root")
    for role in ("snapshot", "timestamp"):
        repository.files[role].signed.version = 0
        repository.publish(role)
    assert repository.walk(state).state(None).root == repository.served["2.root.json"]


@pytest.mark.parametrize("role", ROLES)
def test_expired_files_are_refused_and_the_medium_is_named(repository, role):
    repository.files[role].signed.expires = NOW + timedelta(days=3)
    repository.publish("root", *ALL)
    assert repository.walk(now=NOW + timedelta(days=2))
    error = refusal(repository, now=NOW + timedelta(days=3))
    medium = hashing.sha512(repository.served["timestamp.json"])
    assert (error.key, error.fields["role"], error.fields["medium"]) == ("trust.expired", role, medium)
    assert f"holdfast exception ask expired {medium}" in error.remedy


@pytest.mark.parametrize("role", ROLES)
def test_a_waived_medium_may_be_expired_and_no_other(repository, role):
    repository.files[role].signed.expires = NOW + timedelta(days=3)
    repository.publish("root", *ALL)
    medium = hashing.sha512(repository.served["timestamp.json"])
    late = NOW + timedelta(days=99)
    assert repository.walk(now=late, waived=frozenset({medium})).state(None)
    assert refusal(repository, now=late, waived=frozenset({hashing.sha512(b"")})).key == "trust.expired"


def test_a_waiver_lifts_nothing_but_expiry(repository):
    repository.signers["targets"] = pair_signers(holder("Ada"))
    repository.publish(*ALL)
    medium = hashing.sha512(repository.served["timestamp.json"])
    assert refusal(repository, now=NOW + timedelta(days=99), waived={medium}).key == "trust.holders"


def test_the_floor_counts_as_now(repository):
    state = replace(repository.pinned(), floor=NOW + timedelta(days=31))
    assert refusal(repository, state).key == "trust.expired"
    assert refusal(repository, state, NOW - timedelta(days=900)).key == "trust.expired"


def test_roots_over_many_versions(repository, people):
    names = ["Cy", "Di", "Ed", "Fay", "Gus"]
    current = list(people)
    for name in names:
        leaving, current = current[0], [*current[1:], holder(name)]
        new = [one for pair in current for one in pair_signers(pair)]
        for role in ROLES:
            repository.rotate(role, *new)
        repository.root.unrecognized_fields[delegation.POLICY] = rule(current)
        repository.signers["root"] = [*pair_signers(leaving), *new]
        repository.publish("root")
    repository.publish(*ALL)
    flow = repository.walk()
    assert flow.root.version == 6
    assert flow.holders == ("Fay", "Gus")
    assert repository.walk(flow.state(None)).root.version == 6


def test_a_root_that_old_holders_did_not_sign_is_refused(repository):
    new = [one for name in ("Cy", "Di") for one in pair_signers(holder(name))]
    repository.rotate("root", *new)
    field = repository.root.unrecognized_fields[delegation.POLICY]
    field["holders"].update(rule([holder("Cy"), holder("Di")])["holders"])
    repository.publish("root")
    assert refusal(repository).key == "trust.threshold"


def test_a_root_that_one_old_holder_signed_is_refused(repository):
    new = [one for name in ("Ada", "Cy") for one in pair_signers(holder(name))]
    for role in ROLES:
        repository.rotate(role, *new)
    repository.root.unrecognized_fields[delegation.POLICY] = rule([holder("Ada"), holder("Cy")])
    repository.publish("root", *ALL)
    assert refusal(repository).key == "trust.holders"


@pytest.mark.parametrize("version", [1, 3, 9])
def test_a_root_that_is_not_the_next_is_refused(repository, version):
    repository.root.version = version
    repository.issue("root")
    data = repository.latest("root")
    flow = Workflow(TrustState(data if version == 1 else repository.served["1.root.json"]), NOW)
    with pytest.raises(UntrustedBundle) as caught:
        flow.update_root(data)
    assert caught.value.key == "trust.root-version"
    assert caught.value.fields["expected"] == 2


def weak_threshold(root):
    root.roles["timestamp"].threshold = 1


def one_is_enough(root):
    root.unrecognized_fields[delegation.POLICY]["min_holders"] = 1


def more_than_there_are(root):
    root.unrecognized_fields[delegation.POLICY]["min_holders"] = 3


def true_is_no_number(root):
    root.unrecognized_fields[delegation.POLICY]["min_holders"] = True


def none(root):
    del root.unrecognized_fields[delegation.POLICY]


def more(root):
    root.unrecognized_fields[delegation.POLICY]["later"] = 1


def one_algorithm(root):
    root.unrecognized_fields[delegation.POLICY]["algorithms"].pop()


def shared(root):
    held = root.unrecognized_fields[delegation.POLICY]["holders"]
    held["Bo"].append(held["Ada"][0])


def twice(root):
    held = root.unrecognized_fields[delegation.POLICY]["holders"]
    held["Bo"].append(held["Bo"][0])


def ownerless(root):
    root.unrecognized_fields[delegation.POLICY]["holders"]["Bo"].pop()


def no_keys(root):
    root.unrecognized_fields[delegation.POLICY]["holders"]["Cy"] = []


def odd_keys(root):
    root.unrecognized_fields[delegation.POLICY]["holders"]["Cy"] = [{}]


def odd_name(root):
    held = root.unrecognized_fields[delegation.POLICY]["holders"]
    held["a/b"] = held.pop("Ada")


def crowd(root):
    held = root.unrecognized_fields[delegation.POLICY]["holders"]
    held.update({f"n{number}": ["00"] for number in range(20)})


WEAK = [
    weak_threshold,
    one_is_enough,
    more_than_there_are,
    true_is_no_number,
    none,
    more,
    one_algorithm,
    shared,
    twice,
    ownerless,
    no_keys,
    odd_keys,
    odd_name,
    crowd,
]


@pytest.mark.parametrize("change", WEAK)
def test_a_root_with_a_weak_policy_is_refused_although_it_is_well_signed(repository, change):
    change(repository.root)
    repository.publish("root")
    with pytest.raises(UntrustedBundle) as caught:
        Workflow(repository.pinned(), NOW).update_root(repository.latest("root"))
    assert (caught.value.key, caught.value.fields["role"]) == ("trust.policy", "root")


def alias(root):
    key = root.keys[root.roles["root"].keyids[0]]
    twin = SSlibKey("ab" * 32, key.keytype, key.scheme, dict(key.keyval))
    root.keys[twin.keyid] = twin
    root.unrecognized_fields[delegation.POLICY]["holders"]["Cy"] = [twin.keyid]


def other_algorithm(root):
    key = CryptoSigner.generate_ecdsa().public_key
    root.keys[key.keyid] = key
    root.unrecognized_fields[delegation.POLICY]["holders"]["Cy"] = [key.keyid]


def decorated(root):
    root.keys[root.roles["root"].keyids[0]].unrecognized_fields["note"] = "x"


def no_point(root):
    keyid = root.roles["root"].keyids[0]
    root.keys[keyid].keyval["public"] = "zz"


@pytest.mark.parametrize("change", [alias, other_algorithm, decorated, no_point])
def test_keys_of_other_kinds_or_under_other_ids_are_refused(repository, change):
    kept = {keyid: key.to_dict() for keyid, key in repository.root.keys.items()}
    change(repository.root)
    repository.publish("root")
    repository.root.keys = {keyid: SSlibKey.from_dict(keyid, dict(key)) for keyid, key in kept.items()}
    with pytest.raises(UntrustedBundle) as caught:
        Workflow(TrustState(repository.latest("root")), NOW)
    assert caught.value.key == "trust.key-form"


@pytest.mark.parametrize("path", ["../up", "/absolute", "a//b", "nul\x00", "a\\b", ".hidden", "x" * 300])
def test_targets_have_plain_paths(repository, path):
    repository.add("targets", path, b"1")
    repository.publish(*ALL)
    assert refusal(repository).key == "trust.targets"


@pytest.mark.parametrize("algorithms", [("sha256",), ("sha256", "sha512")])
def test_targets_are_named_by_sha512_alone(repository, algorithms):
    repository.add("targets", "other.json", b"1", algorithms)
    repository.publish(*ALL)
    assert refusal(repository).key == "trust.targets"


@pytest.mark.parametrize(
    "name", ["Health.json", "root.json", "health", "a/b.json", ".json", "x" * 50 + ".json"]
)
def test_the_snapshot_names_roles_alone(repository, name):
    repository.snapshot.meta[name] = repository.snapshot.meta["targets.json"]
    repository.publish("snapshot", "timestamp")
    assert refusal(repository).key == "trust.form"


def test_the_snapshot_names_the_targets(repository):
    del repository.snapshot.meta["targets.json"]
    repository.publish("snapshot", "timestamp")
    assert refusal(repository).key == "trust.form"
