"""Keys of every common type, keys that are listed twice, and signatures that do not count."""

from __future__ import annotations

import json

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tests.conformance.simulator import ALL, signer

SCHEMES = ["ed25519", "ecdsa-sha2-nistp256", "rsassa-pss-sha256", "rsa-pkcs1v15-sha256"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_common_keys_sign_a_root(run, repository, scheme):
    one = signer(1, scheme)
    repository.signers["root"].append(one)
    repository.root.add_key(one.public_key, "root")
    repository.root.roles["root"].threshold = 2
    repository.publish("root")
    assert run.refresh() == 0
    assert run.trusted()["root"] == 2
    repository.publish("root")
    document = json.loads(repository.latest("root"))
    last = document["signatures"][-1]
    last["sig"] = last["sig"][:-2] + ("00" if last["sig"][-2:] != "00" else "01")
    repository.serve("root", 3, json.dumps(document).encode())
    assert run.refresh() == 1
    assert run.trusted()["root"] == 2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_common_keys_sign_a_delegated_role(run, repository, scheme):
    repository.delegate("targets", "D", signers=[signer(1, scheme)])
    repository.add("D", "file", b"1")
    repository.publish("D", *ALL)
    assert run.download("file") == 0


def test_post_quantum_keys(run, repository):
    repository.rotate("timestamp", CryptoSigner.generate_mldsa())
    repository.publish("root", "timestamp")
    assert run.refresh() == 0


def test_a_key_under_two_ids_counts_once(run, repository):
    real = signer("real")
    key = real.public_key
    twin = SSlibKey("ab" * 32, key.keytype, key.scheme, dict(key.keyval))
    repository.rotate("snapshot", real)
    repository.root.add_key(twin, "snapshot")
    repository.root.roles["snapshot"].threshold = 2
    repository.publish("root", *ALL)
    document = json.loads(repository.latest("snapshot"))
    document["signatures"].append({**document["signatures"][0], "keyid": twin.keyid})
    repository.serve("snapshot", 2, json.dumps(document).encode())
    assert run.refresh() == 1
    assert "snapshot" not in run.trusted()


def test_a_key_id_listed_twice_is_refused(run, repository):
    repository.root.roles["snapshot"].keyids *= 2
    repository.publish("root", *ALL)
    assert run.refresh() == 1
    assert "snapshot" not in run.trusted()


def test_a_signature_given_twice_is_refused(run, repository):
    document = json.loads(repository.latest("snapshot"))
    document["signatures"] *= 2
    repository.serve("snapshot", 1, json.dumps(document).encode())
    assert run.refresh() == 1
    assert "snapshot" not in run.trusted()


@pytest.mark.parametrize("signature", ["", "00", "no hexadecimal", "ff" * 64])
def test_a_wrong_signature_beside_enough_right_ones_does_no_harm(run, repository, signature):
    repository.root.add_key(signer("second").public_key, "timestamp")
    repository.publish("root")
    repository.signers["timestamp"].append(signer("second"))
    repository.publish("timestamp")
    document = json.loads(repository.latest("timestamp"))
    document["signatures"][0]["sig"] = signature
    repository.serve("timestamp", 2, json.dumps(document).encode())
    assert run.refresh() == 0


@pytest.mark.parametrize("signature", [None, 5, ["00"], {}])
def test_a_signature_that_is_no_text_is_refused(run, repository, signature):
    document = json.loads(repository.latest("timestamp"))
    document["signatures"][0]["sig"] = signature
    repository.serve("timestamp", 1, json.dumps(document).encode())
    assert run.refresh() == 1


@pytest.mark.parametrize(
    "key",
    [
        {"keytype": "new", "scheme": "new", "keyval": {"public": "00"}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {}},
        {"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": "no key"}},
        {"keytype": "rsa", "scheme": "pgp+rsa-pkcsv1.5", "keyval": {"public": "00"}},
        {"keytype": 5, "scheme": None, "keyval": []},
        "no key",
        None,
    ],
)
def test_a_malformed_key_never_counts(run, repository, key):
    document = json.loads(repository.latest("targets"))
    document["signed"]["version"] = 2
    document["signed"]["delegations"] = {
        "keys": {"ab" * 32: key},
        "roles": [{"name": "D", "keyids": ["ab" * 32], "threshold": 1, "terminating": False, "paths": ["*"]}],
    }
    signed = resigned(repository, document)
    repository.serve("targets", 2, signed)
    repository.files["D"] = repository.files["targets"].from_bytes(repository.latest("targets"))
    repository.snapshot.meta["targets.json"].version = 2
    repository.snapshot.meta["D.json"] = repository.snapshot.meta["targets.json"]
    repository.serve("D", 2, signed)
    repository.publish("snapshot", "timestamp")
    assert run.download("file") == 1
    assert "D" not in run.trusted()


def resigned(repository, document):
    """Sign a document that the library itself would not write."""
    from securesystemslib.formats import encode_canonical

    [one] = repository.signers["targets"]
    signature = one.sign(encode_canonical(document["signed"]).encode())
    document["signatures"] = [signature.to_dict()]
    return json.dumps(document).encode()
