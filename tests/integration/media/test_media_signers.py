"""Media whose bytes are whole and whose signatures are not what the pinned root asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Role, Root

from holdfast import canonical
from holdfast.errors import Conflict, NotFound, UntrustedBundle, UsageRefused, VerificationFailed
from holdfast.keys import person
from holdfast.media import build, trusthome
from holdfast.media.build import Origin
from holdfast.trust import ceremony, delegation, fingerprint, metadata, policy, revocation
from holdfast.trust.workflow import TrustState


def resign(medium, pairs, *, version=1, now, days=30):
    """Sign the medium's manifest anew with these keys."""
    root = (medium / "metadata" / "1.root.json").read_bytes()
    manifest = (medium / "targets" / "manifest.json").read_bytes()
    put(medium, release(pairs, root, manifest, first_version=version, expires=now + timedelta(days=days)))


def release(pairs, root, manifest, **more):
    return ceremony.make_release(pairs, root, targets={"manifest.json": manifest}, **more)


def put(medium, made):
    (medium / "metadata" / "timestamp.json").write_bytes(made.timestamp)
    (medium / "metadata" / "snapshot.json").write_bytes(made.snapshot)
    (medium / "metadata" / "targets.json").write_bytes(made.roles["targets"])


def keep_signatures(medium, wanted):
    """Drop the signatures of timestamp whose key does not satisfy the test."""
    path = medium / "metadata" / "timestamp.json"
    keys = json.loads((medium / "metadata" / "1.root.json").read_bytes())["signed"]["keys"]
    document = json.loads(path.read_bytes())
    document["signatures"] = [s for s in document["signatures"] if wanted(keys[s["keyid"]]["scheme"])]
    path.write_bytes(canonical.encode(document))


def refusal(kit, medium, state=None, now=None):
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium, state, now or kit.NOW)
    return caught.value.key


def test_unknown_signers_are_refused(medium, kit):
    strangers = [person.generate("Cy"), person.generate("Di")]
    root = ceremony.make_root(strangers, expires=kit.NOW + timedelta(days=99))
    manifest = (medium / "targets" / "manifest.json").read_bytes()
    put(
        medium,
        release(strangers, root, manifest, expires=kit.NOW + timedelta(days=9)),
    )
    assert refusal(kit, medium) == "trust.unknown-key"


def test_one_of_the_two_holders_does_not_suffice_although_both_keys_meet_the_threshold(medium, kit, holders):
    resign(medium, holders[:1], now=kit.NOW)
    assert refusal(kit, medium) == "trust.holders"


def test_one_holder_signing_twice_counts_once(medium, kit, holders):
    resign(medium, [holders[0]], now=kit.NOW)
    path = medium / "metadata" / "timestamp.json"
    document = json.loads(path.read_bytes())
    document["signatures"] *= 2
    path.write_bytes(canonical.encode(document))
    assert refusal(kit, medium) == "trust.duplicate-key"


def test_a_single_signature_is_below_the_threshold(medium, kit, holders):
    resign(medium, holders[:1], now=kit.NOW)
    keep_signatures(medium, lambda scheme: scheme == "ed25519")
    assert refusal(kit, medium) == "trust.threshold"


@pytest.mark.parametrize("left", ["ed25519", "ml-dsa-87/1"])
def test_both_algorithms_are_needed(medium, kit, left):
    keep_signatures(medium, lambda scheme: scheme == left)
    assert refusal(kit, medium) == "trust.algorithm"


def test_a_wrong_signature_is_refused_even_beside_enough_right_ones(medium, kit):
    path = medium / "metadata" / "timestamp.json"
    document = json.loads(path.read_bytes())
    first = document["signatures"][0]["sig"]
    document["signatures"][0]["sig"] = first[:-1] + ("0" if first[-1] != "0" else "1")
    path.write_bytes(canonical.encode(document))
    assert refusal(kit, medium) == "trust.signature"


def test_an_unpinned_root_is_refused_and_its_fingerprint_told(medium, kit):
    other = ceremony.make_root(
        [person.generate("Cy"), person.generate("Di")], expires=kit.NOW + timedelta(days=99)
    )
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium, TrustState(other))
    assert caught.value.key == "trust.unpinned-root"
    assert caught.value.fields["fingerprint"] == fingerprint.of_root(
        (medium / "metadata" / "1.root.json").read_bytes()
    )


def test_expired_metadata_is_refused(medium, kit):
    assert refusal(kit, medium, now=kit.NOW + timedelta(days=366)) == "trust.expired"


def test_a_clock_that_was_set_back_does_not_make_it_fresh(medium, kit):
    state = TrustState(kit.state_of(medium).root, floor=kit.NOW + timedelta(days=366))
    assert refusal(kit, medium, state) == "trust.expired"


def test_a_medium_from_far_ahead_is_not_believed_by_one_person(medium, kit):
    assert refusal(kit, medium, now=kit.NOW - timedelta(days=401)) == "trust.floor-jump"
    assert kit.judge(medium, now=kit.NOW - timedelta(days=399)).state.floor == kit.NOW


def test_an_older_medium_than_the_one_imported_is_refused(medium, desk, kit):
    newer = desk.build("newer", build.origin(None, medium)).folder
    state = kit.judge(newer, kit.state_of(medium)).state
    kit.judge(newer, state)
    assert refusal(kit, medium, state) == "trust.rollback"


def test_the_same_version_with_another_content_is_refused(medium, desk, kit):
    start = Origin({1: (medium / "metadata" / "1.root.json").read_bytes()})
    (desk.folder / "source" / "quiz" / "items.jsonl").write_text('{"question": "!"}\n')
    other = desk.build("other", start).folder
    state = kit.judge(other, kit.state_of(medium)).state
    assert refusal(kit, medium, state) == "trust.two-faces"


@pytest.mark.parametrize("name", ["snapshot.json", "targets.json"])
def test_metadata_of_two_media_does_not_mix(medium, desk, kit, name):
    newer = desk.build("newer", build.origin(None, medium)).folder
    (newer / "metadata" / name).write_bytes((medium / "metadata" / name).read_bytes())
    assert refusal(kit, newer) == "trust.mix"


def make_root(signers, listed, kit, *, version=2, change=None):
    """Make a root by hand: listing the keys of some holders, signed by some."""
    rule = policy.Policy({p.holder: tuple(s.public_key.keyid for s in crypto(p)) for p in listed}, 2)
    keys = [s.public_key for p in listed for s in crypto(p)]
    signed = Root(
        version=version,
        expires=kit.NOW + timedelta(days=99),
        keys={key.keyid: key for key in keys},
        roles={n: Role([k.keyid for k in keys], 2) for n in ("root", "timestamp", "snapshot", "targets")},
        consistent_snapshot=False,
        unrecognized_fields={delegation.POLICY: rule.to_json()},
    )
    if change:
        change(signed)
    made = Metadata(signed)
    for pair in signers:
        for signer in crypto(pair):
            made.sign(signer, append=True)
    return metadata.encode(made)


def crypto(pair):
    return CryptoSigner(pair.ed25519), CryptoSigner(pair.ml_dsa_87)


def test_a_root_that_old_and_new_holders_sign_is_followed(medium, kit, holders):
    ada, bo = holders
    cy = person.generate("Cy")
    first = kit.state_of(medium).root
    second = make_root([ada, bo, cy], [ada, cy], kit)
    manifest = (medium / "targets" / "manifest.json").read_bytes()
    (medium / "metadata" / "2.root.json").write_bytes(second)
    put(
        medium,
        release([ada, cy], second, manifest, expires=kit.NOW + timedelta(days=9)),
    )
    verdict = kit.judge(medium, TrustState(first))
    assert (verdict.root_version, verdict.holders) == (2, ("Ada", "Cy"))
    # What was followed once is trusted from then on, and the medium is still whole under it.
    assert kit.judge(medium, verdict.state).root_version == 2


@pytest.mark.parametrize("version", [2, 3])
def test_a_root_that_the_old_holders_did_not_sign_or_that_skips_is_refused(medium, kit, holders, version):
    newcomers = [person.generate("Cy"), person.generate("Di")]
    signers = newcomers if version == 2 else [*holders, *newcomers]
    data = make_root(signers, newcomers, kit, version=version)
    (medium / "metadata" / "2.root.json").write_bytes(data)
    assert refusal(kit, medium) == ("trust.threshold" if version == 2 else "trust.root-version")


def test_rollback_protection_ends_only_where_the_keys_were_rotated_away(medium, desk, kit, holders):
    ada, bo = holders
    newer = desk.build("newer", build.origin(None, medium)).folder
    seen = kit.judge(newer, kit.state_of(medium)).state
    newcomers = [person.generate("Cy"), person.generate("Di")]
    second = make_root([ada, bo, *newcomers], newcomers, kit)
    manifest = (medium / "targets" / "manifest.json").read_bytes()
    (medium / "metadata" / "2.root.json").write_bytes(second)
    put(
        medium,
        release(newcomers, second, manifest, expires=kit.NOW + timedelta(days=9)),
    )
    assert kit.judge(medium, seen).root_version == 2


def weak_threshold(signed):
    signed.roles["timestamp"].threshold = 1


def one_holder_enough(signed):
    signed.unrecognized_fields[delegation.POLICY]["min_holders"] = 1


def no_policy(signed):
    del signed.unrecognized_fields[delegation.POLICY]


def shared_key(signed):
    held = signed.unrecognized_fields[delegation.POLICY]["holders"]
    held["Bo"].append(held["Ada"][0])


def ownerless_key(signed):
    signed.unrecognized_fields[delegation.POLICY]["holders"]["Bo"].pop()


@pytest.mark.parametrize("change", [weak_threshold, one_holder_enough, no_policy, shared_key, ownerless_key])
def test_a_root_with_a_weak_policy_is_refused_although_it_is_well_signed(kit, holders, change):
    data = make_root(holders, holders, kit, version=1, change=change)
    with pytest.raises(UntrustedBundle) as caught:
        trusthome.checked_root(data, fingerprint.of_root(data), kit.NOW)
    assert caught.value.key == "trust.policy"


def test_one_key_under_two_ids_is_refused(kit, holders):
    def alias(signed):
        keyid = signed.roles["root"].keyids[0]
        twin = SSlibKey(
            "ab" * 32, signed.keys[keyid].keytype, signed.keys[keyid].scheme, signed.keys[keyid].keyval
        )
        signed.keys[twin.keyid] = twin
        signed.unrecognized_fields[delegation.POLICY]["holders"]["Cy"] = [twin.keyid]

    data = make_root(holders, holders, kit, version=1, change=alias)
    with pytest.raises(UntrustedBundle) as caught:
        trusthome.checked_root(data, fingerprint.of_root(data), kit.NOW)
    assert caught.value.key == "trust.key-form"


def test_trust_is_pinned_by_fingerprint_and_never_replaced(medium, kit, tmp_path):
    home = tmp_path / "trust"
    root = kit.state_of(medium).root
    with pytest.raises(NotFound):
        trusthome.load(home)
    with pytest.raises(UntrustedBundle) as caught:
        trusthome.pin(home, root, "ab" * 32, kit.NOW)
    assert caught.value.key == "trust.fingerprint"
    with pytest.raises(UsageRefused):
        trusthome.pin(home, root, fingerprint.of_root(root)[:20], kit.NOW)
    typed = fingerprint.of_root(root).upper().replace(" ", "-")
    assert trusthome.pin(home, root, typed, kit.NOW) == fingerprint.of_root(root)
    trusthome.pin(home, root, typed, kit.NOW)
    other = ceremony.make_root([person.generate("Cy"), person.generate("Di")], expires=kit.NOW)
    with pytest.raises(Conflict):
        trusthome.pin(home, other, fingerprint.of_root(other), kit.NOW)


def test_what_a_medium_showed_is_kept_byte_for_byte(medium, kit, tmp_path):
    home = tmp_path / "trust"
    root = kit.state_of(medium).root
    trusthome.pin(home, root, fingerprint.of_root(root), kit.NOW)
    verdict = kit.judge(medium, trusthome.load(home))
    trusthome.commit_trust(verdict, home)
    assert trusthome.load(home) == verdict.state
    revoked = revocation.RevocationList(3, kit.NOW).encode()
    trusthome.commit_trust(replace(verdict, state=replace(verdict.state, revocations=revoked)), home)
    assert trusthome.load(home).revocations == revoked
    (home / trusthome.FILE).write_bytes(
        (home / trusthome.FILE).read_bytes().replace(b'"revocations"', b'"revoked"')
    )
    with pytest.raises(VerificationFailed):
        trusthome.load(home)
