"""API keys: shown once, matched in constant time, opening only what they list."""

from __future__ import annotations

import hmac

import pytest

from holdfast.errors import UntrustedInput, UntrustedRequest
from holdfast.governance.labels import Label
from holdfast.serving import keys, spec

INTERNAL = Label("internal", frozenset(), frozenset({"site"}))
SECRET = Label("secret", frozenset({"x"}), frozenset({"site"}))


def choice(name="base", label=INTERNAL):
    model = spec.ModelSpec(
        id=name, path="/in/model", digest="sha512:" + "0" * 128, label=label.to_json(), context=64
    )
    return spec.Choice(model, None)


def test_a_minted_key_matches_and_its_secret_is_not_kept():
    text, kept = keys.mint("tax-office", ["base"], INTERNAL)
    secret = text.split("-")[2]
    assert len(bytes.fromhex(secret)) == 32
    assert secret not in str(kept.to_json())
    assert keys.KeyRing([kept]).match(text) == kept
    assert keys.parse(kept.to_json()) == kept


def test_two_keys_have_nothing_in_common():
    assert keys.mint("a", ["base"], INTERNAL)[0] != keys.mint("a", ["base"], INTERNAL)[0]


@pytest.mark.parametrize("change", ["", "hf-", "hf-00000000-" + "0" * 64, "Bearer", "\x00", "é", "\ud800"])
def test_anything_else_matches_nothing(change):
    _, kept = keys.mint("a", ["base"], INTERNAL)
    assert keys.KeyRing([kept]).match(change) is None


def test_the_right_id_with_a_wrong_secret_matches_nothing():
    text, kept = keys.mint("a", ["base"], INTERNAL)
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    ring = keys.KeyRing([kept])
    assert ring.match(wrong) is None
    assert ring.match(text + "0") is None
    assert ring.match(text.upper()) is None


def test_comparison_is_made_whether_or_not_the_id_is_known(monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    ring = keys.KeyRing([keys.mint("a", ["base"], INTERNAL)[1]])
    for presented in ("", "hf-00000000-" + "0" * 64, "nonsense"):
        ring.match(presented)
    assert len(compared) == 3


def test_a_revoked_key_opens_nothing():
    text, kept = keys.mint("a", [keys.ANY], INTERNAL)
    assert kept.opens(choice())
    assert keys.KeyRing([kept.revoke()]).match(text) is None
    assert not kept.revoke().opens(choice())


def test_a_key_opens_what_it_lists_and_its_clearance_covers():
    _, kept = keys.mint("a", ["base"], INTERNAL)
    assert kept.opens(choice("base"))
    assert not kept.opens(choice("other"))
    assert not kept.opens(choice("base", SECRET))
    assert keys.mint("a", [keys.ANY], SECRET)[1].opens(choice("other", SECRET))
    assert not keys.mint("a", [], SECRET)[1].opens(choice("base"))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "xyz"}, {"id": 5}, {"hash": "0"}, {"tenant": "a/b"}, {"tenant": None}, {"models": "base"},
        {"models": [""]}, {"models": ["x"] * 5000}, {"revoked": 1}, {"clearance": {}}, {"extra": 1},
    ],
)  # fmt: skip
def test_malformed_kept_keys_are_refused(change):
    _, kept = keys.mint("a", ["base"], INTERNAL)
    with pytest.raises(UntrustedInput):
        keys.parse(kept.to_json() | change)


def test_two_keys_of_one_id_are_refused():
    _, kept = keys.mint("a", ["base"], INTERNAL)
    with pytest.raises(UntrustedRequest) as caught:
        keys.parse_all([kept.to_json(), kept.to_json()])
    assert caught.value.key == "serve.key"
