"""API keys: shown once, matched in constant time, opening only what they list and are for."""

from __future__ import annotations

import hmac
import json
from types import SimpleNamespace

import pytest

from holdfast.errors import UntrustedInput, UntrustedRequest
from holdfast.governance.labels import Label
from holdfast.serving import keys
from holdfast.serving.quota import Quota

INTERNAL = Label("internal", frozenset(), frozenset({"site"}))
SECRET = Label("secret", frozenset({"x"}), frozenset({"site"}))


def choice(name="base", label=INTERNAL):
    return SimpleNamespace(id=name, label=label)


def minted(models=("base",), clearance=INTERNAL, **options):
    return keys.mint("tax-office", models, clearance, **options)


def test_a_minted_key_matches_and_neither_its_secret_nor_its_hash_is_in_the_grant():
    made = minted(quota=Quota(5, None, 2))
    secret = made.secret.split("-")[2]
    assert len(bytes.fromhex(secret)) == 32
    assert secret not in str(made.key.to_json())
    told = json.dumps(made.grant.to_json())
    assert made.hash not in told
    assert secret not in told
    assert keys.KeyRing([made.key]).match(made.secret) == made.key
    assert keys.parse(made.key.to_json()) == made.key
    assert keys.parse_grant(made.grant.to_json()) == made.grant


def test_a_secret_is_256_random_bits_of_its_own():
    drawn = iter([b"\x01" * 4, b"\x02" * 32])
    made = minted(random=lambda size: next(one for one in drawn if len(one) == size))
    assert made.secret == f"hf-{'01' * 4}-{'02' * 32}"


def test_two_keys_have_nothing_in_common():
    one, two = minted(), minted()
    assert one.secret != two.secret
    assert one.hash != two.hash


@pytest.mark.parametrize("change", ["", "hf-", "hf-00000000-" + "0" * 64, "Bearer", "\x00", "é", "\ud800"])
def test_anything_else_matches_nothing(change):
    assert keys.KeyRing([minted().key]).match(change) is None


def test_the_right_id_with_a_wrong_secret_matches_nothing():
    made = minted()
    text = made.secret
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    ring = keys.KeyRing([made.key])
    assert ring.match(wrong) is None
    assert ring.match(text + "0") is None
    assert ring.match(text.upper()) is None


def test_an_unknown_key_matches_nothing_though_its_hash_were_that_of_nobody():
    made = minted()
    assert keys.KeyRing([]).match(made.secret) is None


def test_comparison_is_made_whether_or_not_the_id_is_known(monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    made = minted()
    ring = keys.KeyRing([made.key])
    for presented in ("", "hf-00000000-" + "0" * 64, "nonsense", made.secret):
        ring.match(presented)
    assert [(len(a), len(b)) for a, b in compared] == [(64, 64)] * 4


def test_a_ring_knows_the_tenants_that_have_a_key():
    assert keys.KeyRing([minted().key, minted().key]).tenants == {"tax-office"}
    assert keys.KeyRing([]).tenants == frozenset()


def test_a_key_opens_what_it_lists_and_its_clearance_covers():
    grant = minted().grant
    assert grant.opens(choice("base"))
    assert not grant.opens(choice("other"))
    assert not grant.opens(choice("base", SECRET))
    assert minted([keys.ANY], SECRET).grant.opens(choice("other", SECRET))
    assert not minted([], SECRET).grant.opens(choice("base"))


@pytest.mark.parametrize(
    ("name", "opened"),
    [("base:tax", True), ("base:tax@2", True), ("base", False), ("base2:tax", False), ("bas", False)],
)
def test_a_base_with_a_star_opens_its_adapters_alone(name, opened):
    assert minted(["base:*"]).grant.opens(choice(name)) is opened


def test_an_adapter_does_not_open_its_versions_unless_they_are_listed():
    assert not minted(["base:tax"]).grant.opens(choice("base:tax@1"))
    assert minted(["base:tax@1"]).grant.opens(choice("base:tax@1"))


def test_a_key_for_metrics_alone_opens_no_model():
    grant = minted([keys.ANY], scopes=["metrics"]).grant
    assert grant.may("metrics")
    assert not grant.may("inference")
    assert not grant.opens(choice())
    both = minted(scopes=["metrics", "inference"]).grant
    assert both.may("metrics")
    assert both.opens(choice())


def test_a_key_is_for_inference_unless_said_otherwise():
    assert minted().grant.scopes == ("inference",)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "xyz"}, {"id": 5}, {"hash": "0"}, {"hash": None}, {"tenant": "a/b"}, {"tenant": None}, {"models": "base"},
        {"models": [""]}, {"models": ["x"] * 65}, {"models": ["x" * 401]}, {"models": ["a*"]}, {"models": ["*:*"]},
        {"models": [":*"]}, {"models": ["a:b*"]}, {"models": ["**"]}, {"models": [1]}, {"clearance": {}}, {"extra": 1},
        {"scopes": []}, {"scopes": ["root"]}, {"scopes": ["metrics", "metrics"]}, {"scopes": [[]]}, {"scopes": "metrics"},
        {"quota": None}, {"quota": {}}, {"quota": {"requests_per_minute": 1, "tokens_per_day": 1, "parallel": 0}},
        {"quota": {"requests_per_minute": True, "tokens_per_day": None, "parallel": None}},
        {"quota": {"requests_per_minute": 1.5, "tokens_per_day": None, "parallel": None}},
        {"quota": {"requests_per_minute": 10**9, "tokens_per_day": None, "parallel": None}},
    ],
)  # fmt: skip
def test_malformed_kept_keys_are_refused(change):
    with pytest.raises(UntrustedInput):
        keys.parse(minted().key.to_json() | change)


@pytest.mark.parametrize("missing", ["id", "hash", "tenant", "models", "clearance", "scopes", "quota"])
def test_a_kept_key_without_a_field_is_refused(missing):
    told = minted().key.to_json()
    del told[missing]
    with pytest.raises(UntrustedRequest):
        keys.parse(told)


def test_two_keys_of_one_id_are_refused():
    told = minted().key.to_json()
    with pytest.raises(UntrustedRequest) as caught:
        keys.parse_all([told, told])
    assert caught.value.key == "serve.key"
