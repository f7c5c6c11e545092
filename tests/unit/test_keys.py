"""Key pairs, their signatures, and the envelopes they lie in."""

from __future__ import annotations

import json

import pytest

from holdfast import canonical
from holdfast.errors import NotAuthenticated, UntrustedInput, UsageRefused, VerificationFailed
from holdfast.keys import envelope, person, service

CHEAP = envelope.MIN_N  # scrypt at its lowest cost: these passphrases protect nothing


@pytest.fixture(scope="module")
def ada():
    return person.generate("Ada")


@pytest.fixture(scope="module")
def sealed(ada):
    return envelope.seal(ada, "correct horse", n=CHEAP)


def test_both_signatures_verify(ada):
    person.verify(ada.public, "session", b"challenge", person.sign(ada, "session", b"challenge"))


@pytest.mark.parametrize(
    ("domain", "payload"), [("admit", b"challenge"), ("session", b"challengf"), ("session", b"")]
)
def test_a_signature_is_for_one_purpose_and_one_payload(ada, domain, payload):
    signatures = person.sign(ada, "session", b"challenge")
    with pytest.raises(NotAuthenticated) as caught:
        person.verify(ada.public, domain, payload, signatures, error=NotAuthenticated)
    assert caught.value.key == "keys.signature"


@pytest.mark.parametrize("broken", [0, 1])
def test_one_right_signature_is_not_enough(ada, broken):
    signatures = person.sign(ada, "session", b"challenge")
    signatures[broken] = person.sign(ada, "session", b"another")[broken]
    with pytest.raises(UntrustedInput):
        person.verify(ada.public, "session", b"challenge", signatures)
    with pytest.raises(UntrustedInput):
        person.verify(
            person.generate("Ada").public, "session", b"another", person.sign(ada, "session", b"another")
        )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s[:1],
        lambda s: [s[0], s[0]],
        lambda s: [*s, s[0]],
        lambda _: None,
        lambda s: [{**s[0], "signature": s[0]["signature"].upper()}, s[1]],
        lambda s: [{**s[0], "signature": s[0]["signature"][:-2]}, s[1]],
        lambda s: [{**s[0], "signature": "zz" * 64}, s[1]],
        lambda s: [{**s[0], "signature": 7}, s[1]],
        lambda s: [{**s[0], "more": 1}, s[1]],
        lambda s: [{**s[0], "algorithm": "none"}, s[1]],
    ],
)
def test_malformed_signatures_are_refused(ada, spoil):
    with pytest.raises(UntrustedInput) as caught:
        person.verify(ada.public, "session", b"x", spoil(person.sign(ada, "session", b"x")))
    assert caught.value.key == "keys.signature-form"


def test_the_public_document_survives_a_round_and_has_a_stable_fingerprint(ada):
    document = canonical.encode(ada.public.to_json())
    assert person.parse_public(document) == ada.public
    groups = ada.public.fingerprint.split(" ")
    assert len(groups) == 10
    assert {len(group) for group in groups} == {4}
    renamed = person.KeyPair("Bo", ada.ed25519_seed, ada.ml_dsa_87_seed)
    assert renamed.public.fingerprint != ada.public.fingerprint


@pytest.mark.parametrize("holder", ["", "a/b", "a:b", " a", "x" * 129, "a\nb", None, 3])
def test_a_public_document_of_a_bad_holder_is_refused(ada, holder):
    with pytest.raises(UntrustedInput):
        person.public_from_json({**ada.public.to_json(), "holder": holder})


@pytest.mark.parametrize("field", ["ed25519", "ml-dsa-87"])
@pytest.mark.parametrize("value", ["", "00", None, "g" * 64, 5])
def test_a_public_document_with_a_bad_key_is_refused(ada, field, value):
    with pytest.raises(UntrustedInput):
        person.public_from_json({**ada.public.to_json(), field: value})


def test_secrets_are_not_shown(ada):
    assert ada.ed25519_seed.hex() not in repr(ada)
    assert str(ada.ed25519_seed) not in repr(ada)


def test_an_envelope_opens_with_its_passphrase_alone(ada, sealed):
    assert envelope.open_envelope(sealed, "correct horse") == ada
    assert envelope.public_of(sealed) == ada.public
    with pytest.raises(NotAuthenticated) as caught:
        envelope.open_envelope(sealed, "correct horsf")
    assert caught.value.exit_code == 4


def test_a_passphrase_may_be_composed_differently(ada):
    sealed = envelope.seal(ada, "caf\u00e9 caf\u00e9", n=CHEAP)
    assert envelope.open_envelope(sealed, "cafe\u0301 cafe\u0301") == ada


@pytest.mark.parametrize("passphrase", ["", "seven77", "x" * 1025])
def test_a_passphrase_that_protects_nothing_is_refused(ada, passphrase):
    with pytest.raises(UsageRefused):
        envelope.seal(ada, passphrase, n=CHEAP)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("kdf", "n", 2**21),
        ("kdf", "n", 2**50),
        ("kdf", "n", 2**14),
        ("kdf", "n", 2**17 + 1),
        ("kdf", "n", 131072.0),
        ("kdf", "n", True),
        ("kdf", "r", 2**20),
        ("kdf", "p", 2**20),
        ("kdf", "name", "pbkdf2"),
        ("kdf", "salt", "00"),
        ("cipher", "nonce", ""),
        ("cipher", "name", "none"),
    ],
)
def test_a_costly_or_odd_envelope_is_refused_before_any_work(sealed, part, name, value):
    document = json.loads(sealed)
    document[part][name] = value
    with pytest.raises(UntrustedInput) as caught:
        envelope.open_envelope(json.dumps(document).encode(), "correct horse")
    assert caught.value.key == "keys.envelope-form"


@pytest.mark.parametrize("change", ["holder", "salt", "n"])
def test_what_stands_outside_the_sealed_part_is_bound_to_it(sealed, change):
    document = json.loads(sealed)
    if change == "holder":
        document["public"]["holder"] = "Bo"
    elif change == "salt":
        document["kdf"]["salt"] = "00" * 16
    else:
        document["kdf"]["n"] = CHEAP * 2
    with pytest.raises(NotAuthenticated):
        envelope.open_envelope(json.dumps(document).encode(), "correct horse")


def test_a_service_key_survives_a_round_and_nothing_else_is_read(ada):
    assert service.decode(service.encode(ada)) == ada
    for data in (b"", b"{}", service.encode(ada)[:-3], service.encode(ada).replace(b"ed25519", b"ed25518")):
        with pytest.raises(VerificationFailed):
            service.decode(data)
